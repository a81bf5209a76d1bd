/* NEON with products of bytes (dotprod), for ARM processors since 2018. A register contains some chunks of a
   tile, with lanes of 32 bits for each row. One instruction adds four products to a lane. */

#include "layout.h"

#if defined(__aarch64__) || defined(_M_ARM64)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "widening.h"

static inline int8x16_t lower_half(uint8x16_t bytes)
{
    return vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15)));
}

static inline int8x16_t upper_half(uint8x16_t bytes)
{
    return vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4));
}

/* The bytes after the last whole register, followed by zeros. */
static inline uint8x16_t last_bytes(const uint8_t *bytes, int64_t count)
{
    uint8_t room[16] = {0};
    memcpy(room, bytes, (size_t)(count < 16 ? count : 16));
    return vld1q_u8(room);
}

/* The sums of a tile. The lanes of its rows alternate. */
static inline int32x4_t tile_sums(const uint8_t *tile, const int8_t *lower, int64_t bytes)
{
    const int8_t *upper = lower + bytes;
    int32x4_t low = vdupq_n_s32(0), high = low;
    int64_t at = 0;
    for (; at + 16 <= bytes; at += 16) {
        uint8x16_t some = vld1q_u8(tile + at);
        low = vdotq_s32(low, lower_half(some), vld1q_s8(lower + at));
        high = vdotq_s32(high, upper_half(some), vld1q_s8(upper + at));
    }
    if (at < bytes) {
        uint8x16_t some = last_bytes(tile + at, bytes - at);
        uint8x16_t one = last_bytes((const uint8_t *)lower + at, bytes - at);
        uint8x16_t other = last_bytes((const uint8_t *)upper + at, bytes - at);
        low = vdotq_s32(low, lower_half(some), vreinterpretq_s8_u8(one));
        high = vdotq_s32(high, upper_half(some), vreinterpretq_s8_u8(other));
    }
    return vaddq_s32(low, high);
}

/* Store the sum of each row of a tile. */
static inline void store_sums(int32x4_t sums, int rows, int32_t *products)
{
    int32_t lanes[4];
    vst1q_s32(lanes, sums);
    for (int row = 0; row < rows; row++) {
        products[row] = 0;
        for (int lane = row; lane < 4; lane += rows)
            products[row] += lanes[lane];
    }
}

static void tile_products(const uint8_t *tile, const int8_t *tiled, int64_t chunks, int32_t *products)
{
    int rows = tile_rows(chunks);
    store_sums(tile_sums(tile, tiled, 4 * rows * chunks), rows, products);
}

static inline void products_of_tiles(const uint8_t *codes, const int8_t *tiled, int64_t chunks,
                                     int32_t *products, int rows_of_tile)
{
    for (int row = 0; row < BLOCK; row += rows_of_tile)
        tile_products(codes + row * 4 * chunks, tiled, chunks, products + row);
}

#define REGISTERS 8 /* registers that one chunk of a block takes */

static inline int8x16_t four_bytes(const int8_t *digits)
{
    int32_t bits;
    memcpy(&bits, digits, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(bits));
}

static void block_products_of_four(const uint8_t *codes, const int8_t *const digits[4],
                                   int64_t chunks, int32_t products[4][BLOCK])
{
    for (int first = 0; first < REGISTERS; first += 4) { /* half a block, sixteen rows */
        int32x4_t total[4][4];
        for (int i = 0; i < 16; i++)
            total[i / 4][i % 4] = vdupq_n_s32(0);
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            for (int part = 0; part < 4; part++) {
                uint8x16_t bytes = vld1q_u8(codes + chunk * BLOCK * 4 + 16 * (first + part));
                int8x16_t low = lower_half(bytes), high = upper_half(bytes);
                for (int i = 0; i < 4; i++) {
                    const int8_t *own = digits[i] + 4 * chunk;
                    total[i][part] = vdotq_s32(total[i][part], low, four_bytes(own));
                    total[i][part] = vdotq_s32(total[i][part], high, four_bytes(own + 4 * chunks));
                }
            }
        for (int i = 0; i < 16; i++)
            vst1q_s32(products[i / 4] + 4 * (first + i % 4), total[i / 4][i % 4]);
    }
}

static int64_t row_product(const uint8_t *low, const int8_t *digits, int64_t chunks)
{
    const int8_t *uppers = digits + 4 * chunks;
    int64_t bytes = 4 * chunks, i = 0;
    int32x4_t total = vdupq_n_s32(0);
    for (; i + 16 <= bytes; i += 16) {
        uint8x16_t some = vld1q_u8(low + i);
        total = vdotq_s32(total, lower_half(some), vld1q_s8(digits + i));
        total = vdotq_s32(total, upper_half(some), vld1q_s8(uppers + i));
    }
    int32_t sum = vaddvq_s32(total);
    for (; i < bytes; i++)
        sum += (low[i] & 15) * digits[i] + (low[i] >> 4) * uppers[i];
    return sum;
}

static uint32_t may_reach(const int32_t *products, const float *rows, const Bounds *bounds)
{
    static const uint32_t bit_of_lane[4] = {1, 2, 4, 8};
    const uint32x4_t bits = vld1q_u32(bit_of_lane);
    uint32_t found = 0;
    for (int row = 0; row < BLOCK; row += 4) {
        int32x4_t whole = vld1q_s32(products + row);
        whole = vsubq_s32(vaddq_s32(whole, whole), vdupq_n_s32(bounds->base));
        float32x4x4_t kinds = vld4q_f32(rows + row * OF_ROW);
        float32x4_t side = kinds.val[SIDE];
        float32x4_t score = vdupq_n_f32(bounds->constant);
        score = vfmaq_n_f32(score, kinds.val[RESIDUAL], bounds->by_residual);
        score = vfmaq_n_f32(score, kinds.val[REACH], bounds->by_reach);
        score = vfmaq_n_f32(score, vabsq_f32(side), bounds->by_side);
        score = vfmaq_n_f32(score, side, bounds->side);
        score = vfmaq_f32(score, vcvtq_f32_s32(whole), vmulq_n_f32(kinds.val[SCALE], bounds->scale));
        uint32x4_t reach = vmvnq_u32(vcltq_f32(score, vdupq_n_f32(bounds->threshold)));
        found |= vaddvq_u32(vandq_u32(reach, bits)) << row;
    }
    return found;
}

static void row_sums(const float *row, const float *query, int64_t dimension, float *product,
                     float *square)
{
    float32x4_t products[4], squares[4];
    int64_t i = 0;
    for (int j = 0; j < 4; j++)
        products[j] = squares[j] = vdupq_n_f32(0);
    for (; i + 16 <= dimension; i += 16)
        for (int j = 0; j < 4; j++) {
            float32x4_t some = vld1q_f32(row + i + 4 * j);
            products[j] = vfmaq_f32(products[j], some, vld1q_f32(query + i + 4 * j));
            squares[j] = vfmaq_f32(squares[j], some, some);
        }
    *product = vaddvq_f32(vaddq_f32(vaddq_f32(products[0], products[1]), vaddq_f32(products[2], products[3])));
    *square = vaddvq_f32(vaddq_f32(vaddq_f32(squares[0], squares[1]), vaddq_f32(squares[2], squares[3])));
    for (; i < dimension; i++) {
        *product += row[i] * query[i];
        *square += row[i] * row[i];
    }
}

static float row_distance(const float *row, const float *query, int64_t dimension, int absolute)
{
    float32x4_t sums[4];
    int64_t i = 0;
    for (int j = 0; j < 4; j++)
        sums[j] = vdupq_n_f32(0);
    for (; i + 16 <= dimension; i += 16)
        for (int j = 0; j < 4; j++) {
            float32x4_t apart = vsubq_f32(vld1q_f32(row + i + 4 * j), vld1q_f32(query + i + 4 * j));
            sums[j] = absolute ? vaddq_f32(sums[j], vabsq_f32(apart)) : vfmaq_f32(sums[j], apart, apart);
        }
    float sum = vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3])));
    for (; i < dimension; i++) {
        float apart = row[i] - query[i];
        sum += absolute ? fabsf(apart) : apart * apart;
    }
    return sum;
}

/* A table's entries are at most 63, so the sum of four fits into a byte: those for both halves of two bytes
   of a row. */
static void sums_of_signs(const uint8_t *bits, const uint8_t *tables, int64_t groups, uint16_t *sums)
{
    const uint8x16_t half = vdupq_n_u8(15);
    for (int part = 0; part < BLOCK; part += 16) {
        uint16x8_t low = vdupq_n_u16(0), high = low;
        for (int64_t group = 0; group < groups; group++) {
            const uint8_t *codes = bits + group * GROUP_BYTES + part;
            const uint8_t *entries = tables + group * TABLE_BYTES;
            uint8x16_t one = vld1q_u8(codes), other = vld1q_u8(codes + BLOCK);
            uint8x16_t first = vaddq_u8(vqtbl1q_u8(vld1q_u8(entries), vandq_u8(one, half)),
                                        vqtbl1q_u8(vld1q_u8(entries + 64), vshrq_n_u8(one, 4)));
            uint8x16_t second = vaddq_u8(vqtbl1q_u8(vld1q_u8(entries + 32), vandq_u8(other, half)),
                                         vqtbl1q_u8(vld1q_u8(entries + 96), vshrq_n_u8(other, 4)));
            uint8x16_t four = vaddq_u8(first, second);
            low = vaddw_u8(low, vget_low_u8(four));
            high = vaddw_u8(high, vget_high_u8(four));
        }
        vst1q_u16(sums + part, low);
        vst1q_u16(sums + part + 8, high);
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

#if defined(__clang__)
#pragma clang attribute pop
#endif

const InstructionSet neon_set = {"neon", scan_codes, scan_floats};

#endif
