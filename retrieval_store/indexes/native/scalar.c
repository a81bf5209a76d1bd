/* Plain C, for processors with none of the other instruction sets. */

#include "layout.h"
#include "widening.h"

#include <math.h>
#include <string.h>

static void tile_products(const uint8_t *tile, const int8_t *tiled, int64_t chunks, int32_t *products)
{
    int rows = tile_rows(chunks);
    const int8_t *uppers = tiled + 4 * rows * chunks;
    for (int row = 0; row < rows; row++)
        products[row] = 0;
    for (int64_t i = 0; i < 4 * rows * chunks; i++)
        products[i / 4 % rows] += (tile[i] & 15) * tiled[i] + (tile[i] >> 4) * uppers[i];
}

static inline void products_of_tiles(const uint8_t *codes, const int8_t *tiled, int64_t chunks,
                                     int32_t *products, int rows_of_tile)
{
    for (int row = 0; row < BLOCK; row += rows_of_tile)
        tile_products(codes + row * 4 * chunks, tiled, chunks, products + row);
}

static void products_by_chunk(const uint8_t *codes, const int8_t *digits, int64_t chunks,
                              int32_t *products)
{
    const int8_t *upper = digits + 4 * chunks;
    for (int row = 0; row < BLOCK; row++)
        products[row] = 0;
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        for (int row = 0; row < BLOCK; row++) {
            const uint8_t *four = codes + (chunk * BLOCK + row) * 4;
            int32_t sum = 0;
            for (int i = 0; i < 4; i++)
                sum += (four[i] & 15) * digits[4 * chunk + i] + (four[i] >> 4) * upper[4 * chunk + i];
            products[row] += sum;
        }
}

static void block_products_of_four(const uint8_t *codes, const int8_t *const digits[4],
                                   int64_t chunks, int32_t products[4][BLOCK])
{
    for (int i = 0; i < 4; i++)
        products_by_chunk(codes, digits[i], chunks, products[i]);
}

static int64_t row_product(const uint8_t *low, const int8_t *digits, int64_t chunks)
{
    const int8_t *upper = digits + 4 * chunks;
    int32_t sum = 0;
    for (int64_t i = 0; i < 4 * chunks; i++)
        sum += (low[i] & 15) * digits[i] + (low[i] >> 4) * upper[i];
    return sum;
}

static uint32_t may_reach(const int32_t *products, const float *rows, const Bounds *bounds)
{
    uint32_t found = 0;
    for (int row = 0; row < BLOCK; row++) {
        const float *of_row = rows + row * OF_ROW;
        float side = of_row[SIDE];
        int32_t whole = (int32_t)(2 * (uint32_t)products[row] - (uint32_t)bounds->base);
        float score = (float)whole * (of_row[SCALE] * bounds->scale);
        float error = of_row[RESIDUAL] * bounds->by_residual +
                      of_row[REACH] * bounds->by_reach + fabsf(side) * bounds->by_side;
        score += side * bounds->side + (error + bounds->constant);
        found |= (uint32_t)!(score < bounds->threshold) << row;
    }
    return found;
}

static void row_sums(const float *row, const float *query, int64_t dimension, float *product,
                     float *square)
{
    float products[8] = {0}, squares[8] = {0}; /* lanes, which compilers put into registers */
    int64_t i = 0;
    for (; i + 8 <= dimension; i += 8)
        for (int lane = 0; lane < 8; lane++) {
            products[lane] += row[i + lane] * query[i + lane];
            squares[lane] += row[i + lane] * row[i + lane];
        }
    for (; i < dimension; i++) {
        products[0] += row[i] * query[i];
        squares[0] += row[i] * row[i];
    }
    *product = *square = 0;
    for (int lane = 0; lane < 8; lane++) {
        *product += products[lane];
        *square += squares[lane];
    }
}

static float row_distance(const float *row, const float *query, int64_t dimension, int absolute)
{
    float sums[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= dimension; i += 8)
        for (int lane = 0; lane < 8; lane++) {
            float apart = row[i + lane] - query[i + lane];
            sums[lane] += absolute ? fabsf(apart) : apart * apart;
        }
    for (; i < dimension; i++) {
        float apart = row[i] - query[i];
        sums[0] += absolute ? fabsf(apart) : apart * apart;
    }
    for (int lane = 1; lane < 8; lane++)
        sums[0] += sums[lane];
    return sums[0];
}

static void sums_of_signs(const uint8_t *bits, const uint8_t *tables, int64_t groups, uint16_t *sums)
{
    memset(sums, 0, BLOCK * sizeof *sums);
    for (int64_t pair = 0; pair < 2 * groups; pair++) {
        const uint8_t *entries = tables + pair / 2 * TABLE_BYTES + pair % 2 * 32;
        for (int row = 0; row < BLOCK; row++) {
            uint8_t byte = bits[pair * BLOCK + row];
            sums[row] = (uint16_t)(sums[row] + entries[byte & 15] + entries[64 + (byte >> 4)]);
        }
    }
}

static uint32_t at_least(const float *scores, float threshold)
{
    uint32_t found = 0;
    for (int row = 0; row < BLOCK; row++)
        found |= (uint32_t)!(scores[row] < threshold) << row;
    return found;
}

#include "scan_body.h"
#include "floats_body.h"

const InstructionSet scalar_set = {"scalar", scan_codes, scan_floats};
