/* AVX2, for x86 processors since 2013. A register contains some chunks of a tile, with lanes of 32 bits for
   each row.

   The product of a half code and a digit is at most 15 × 127. Sums of eight pairs of such products fit into
   16 bits, so sums are widened after four registers. */

#include "layout.h"

#if defined(__x86_64__) || defined(_M_X64)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2,fma")
#endif

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "widening.h"

#define TOGETHER 128 /* bytes whose products are added in 16 bits */
#define AHEAD 2048   /* prefetch distance in bytes; the processor's own prefetching is too late */

static inline __m256i lower_half(__m256i bytes)
{
    return _mm256_and_si256(bytes, _mm256_set1_epi8(15));
}

static inline __m256i upper_half(__m256i bytes)
{
    return lower_half(_mm256_srli_epi16(bytes, 4));
}

static inline __m256i both_products(__m256i bytes, __m256i lower, __m256i upper)
{
    return _mm256_add_epi16(_mm256_maddubs_epi16(lower_half(bytes), lower),
                            _mm256_maddubs_epi16(upper_half(bytes), upper));
}

static inline __m256i widened_sum(__m256i total, __m256i sums)
{
    return _mm256_add_epi32(total, _mm256_madd_epi16(sums, _mm256_set1_epi16(1)));
}

static inline __m256i products_of(const uint8_t *bytes, const int8_t *lower, const int8_t *upper)
{
    return both_products(_mm256_loadu_si256((const __m256i *)bytes),
                         _mm256_loadu_si256((const __m256i *)lower),
                         _mm256_loadu_si256((const __m256i *)upper));
}

/* Like `products_of`, for the bytes after the last whole register, a multiple of four. */
static inline __m256i products_of_last(const uint8_t *bytes, const int8_t *lower, const int8_t *upper,
                                       int64_t count)
{
    __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i there = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(count / 4)), lanes);
    return both_products(_mm256_maskload_epi32((const int *)bytes, there),
                         _mm256_maskload_epi32((const int *)lower, there),
                         _mm256_maskload_epi32((const int *)upper, there));
}

/* The sums of a tile. The lanes of its rows alternate. */
static inline __m256i tile_sums(const uint8_t *tile, const int8_t *lower, int64_t bytes)
{
    const int8_t *upper = lower + bytes;
    __m256i total = _mm256_setzero_si256(), rest = total;
    int64_t i = 0;
    for (; i + TOGETHER <= bytes; i += TOGETHER) {
        _mm_prefetch((const char *)tile + i + AHEAD, _MM_HINT_T0);
        _mm_prefetch((const char *)tile + i + AHEAD + 64, _MM_HINT_T0);
        __m256i one = _mm256_add_epi16(products_of(tile + i, lower + i, upper + i),
                                       products_of(tile + i + 32, lower + i + 32, upper + i + 32));
        __m256i two = _mm256_add_epi16(products_of(tile + i + 64, lower + i + 64, upper + i + 64),
                                       products_of(tile + i + 96, lower + i + 96, upper + i + 96));
        total = widened_sum(total, _mm256_add_epi16(one, two));
    }
    for (; i + 32 <= bytes; i += 32)
        rest = widened_sum(rest, products_of(tile + i, lower + i, upper + i));
    if (i < bytes)
        rest = widened_sum(rest, products_of_last(tile + i, lower + i, upper + i, bytes - i));
    return _mm256_add_epi32(total, rest);
}

static inline __m256i both_pairs(__m256i one, __m256i other)
{
    return _mm256_add_epi32(_mm256_unpacklo_epi64(one, other), _mm256_unpackhi_epi64(one, other));
}

/* The sums of four rows, in both halves of a register. tiles: the lanes of the tiles that contain the rows. */
static inline __m256i sums_of_four_rows(const __m256i *tiles, int rows_of_tile)
{
    if (rows_of_tile == 4)
        return tiles[0];
    if (rows_of_tile == 2)
        return both_pairs(tiles[0], tiles[1]);
    return _mm256_hadd_epi32(_mm256_hadd_epi32(tiles[0], tiles[1]), _mm256_hadd_epi32(tiles[2], tiles[3]));
}

/* The sums of eight rows: both halves of two registers with the sums of four rows, added. */
static inline __m256i sums_of_eight_rows(__m256i one, __m256i other)
{
    return _mm256_add_epi32(_mm256_permute2x128_si256(one, other, 0x20),
                            _mm256_permute2x128_si256(one, other, 0x31));
}

static void tile_products(const uint8_t *tile, const int8_t *tiled, int64_t chunks, int32_t *products)
{
    int rows = tile_rows(chunks);
    __m256i sums = tile_sums(tile, tiled, 4 * rows * chunks);
    int32_t lanes[8];
    _mm256_storeu_si256((__m256i *)lanes, sums);
    for (int row = 0; row < rows; row++)
        products[row] = 0;
    for (int lane = 0; lane < 8; lane++)
        products[lane % rows] += lanes[lane];
}

static inline __m256i products_of_four_rows(const uint8_t *codes, const int8_t *tiled, int64_t chunks,
                                            int rows_of_tile)
{
    int64_t bytes = 4 * rows_of_tile * chunks;
    __m256i tiles[4];
    for (int tile = 0; tile < 4 / rows_of_tile; tile++)
        tiles[tile] = tile_sums(codes + tile * bytes, tiled, bytes);
    return sums_of_four_rows(tiles, rows_of_tile);
}

static inline void products_of_tiles(const uint8_t *codes, const int8_t *tiled, int64_t chunks,
                                     int32_t *products, int rows_of_tile)
{
    for (int row = 0; row < BLOCK; row += 8, codes += 8 * 4 * chunks) {
        __m256i one = products_of_four_rows(codes, tiled, chunks, rows_of_tile);
        __m256i other = products_of_four_rows(codes + 4 * 4 * chunks, tiled, chunks, rows_of_tile);
        _mm256_storeu_si256((__m256i *)(products + row), sums_of_eight_rows(one, other));
    }
}

static inline __m256i four_bytes(const int8_t *digits)
{
    int32_t bits;
    memcpy(&bits, digits, 4);
    return _mm256_set1_epi32(bits);
}

/* The products of the sixteen rows of half a block with four queries. The half codes are separated only once. */
static void half_block_of_four(const uint8_t *codes, const int8_t *const digits[4], int64_t chunks,
                               int32_t products[4][BLOCK], int first)
{
    __m256i total[4][2];
    for (int i = 0; i < 4; i++)
        total[i][0] = total[i][1] = _mm256_setzero_si256();
    for (int64_t chunk = 0; chunk < chunks;) {
        int64_t stop = chunk + 4 < chunks ? chunk + 4 : chunks;
        __m256i sum[4][2];
        for (int i = 0; i < 4; i++)
            sum[i][0] = sum[i][1] = _mm256_setzero_si256();
        for (; chunk < stop; chunk++) {
            const uint8_t *bytes = codes + (chunk * BLOCK + first) * 4;
            __m256i one = _mm256_loadu_si256((const __m256i *)bytes);
            __m256i other = _mm256_loadu_si256((const __m256i *)(bytes + 32));
            __m256i one_low = lower_half(one), one_high = upper_half(one);
            __m256i other_low = lower_half(other), other_high = upper_half(other);
            for (int i = 0; i < 4; i++) {
                __m256i lower = four_bytes(digits[i] + 4 * chunk);
                __m256i upper = four_bytes(digits[i] + 4 * (chunks + chunk));
                sum[i][0] = _mm256_add_epi16(sum[i][0], _mm256_maddubs_epi16(one_low, lower));
                sum[i][1] = _mm256_add_epi16(sum[i][1], _mm256_maddubs_epi16(other_low, lower));
                sum[i][0] = _mm256_add_epi16(sum[i][0], _mm256_maddubs_epi16(one_high, upper));
                sum[i][1] = _mm256_add_epi16(sum[i][1], _mm256_maddubs_epi16(other_high, upper));
            }
        }
        for (int i = 0; i < 4; i++) {
            total[i][0] = widened_sum(total[i][0], sum[i][0]);
            total[i][1] = widened_sum(total[i][1], sum[i][1]);
        }
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_si256((__m256i *)(products[i] + first), total[i][0]);
        _mm256_storeu_si256((__m256i *)(products[i] + first + 8), total[i][1]);
    }
}

static void block_products_of_four(const uint8_t *codes, const int8_t *const digits[4],
                                   int64_t chunks, int32_t products[4][BLOCK])
{
    half_block_of_four(codes, digits, chunks, products, 0);
    half_block_of_four(codes, digits, chunks, products, BLOCK / 2);
}

static inline int32_t sum_of_lanes(__m256i lanes)
{
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

static int64_t row_product(const uint8_t *low, const int8_t *digits, int64_t chunks)
{
    const int8_t *uppers = digits + 4 * chunks;
    int64_t bytes = 4 * chunks, i = 0;
    __m256i total = _mm256_setzero_si256();
    for (; i + 32 <= bytes; i += 32) {
        __m256i sums = both_products(_mm256_loadu_si256((const __m256i *)(low + i)),
                                     _mm256_loadu_si256((const __m256i *)(digits + i)),
                                     _mm256_loadu_si256((const __m256i *)(uppers + i)));
        total = widened_sum(total, sums);
    }
    int32_t sum = sum_of_lanes(total);
    for (; i < bytes; i++)
        sum += (low[i] & 15) * digits[i] + (low[i] >> 4) * uppers[i];
    return sum;
}

/* The floats of eight rows, sorted by kind. The rows are in the order 0, 2, 4, 6, 1, 3, 5, 7. */
static inline void load_of_rows(const float *rows, __m256 kinds[OF_ROW])
{
    __m256 one = _mm256_loadu_ps(rows), two = _mm256_loadu_ps(rows + 8);
    __m256 three = _mm256_loadu_ps(rows + 16), four = _mm256_loadu_ps(rows + 24);
    __m256 low = _mm256_unpacklo_ps(one, two), more_low = _mm256_unpacklo_ps(three, four);
    __m256 high = _mm256_unpackhi_ps(one, two), more_high = _mm256_unpackhi_ps(three, four);
    kinds[0] = _mm256_shuffle_ps(low, more_low, 0x44);
    kinds[1] = _mm256_shuffle_ps(low, more_low, 0xee);
    kinds[2] = _mm256_shuffle_ps(high, more_high, 0x44);
    kinds[3] = _mm256_shuffle_ps(high, more_high, 0xee);
}

static uint32_t may_reach(const int32_t *products, const float *rows, const Bounds *bounds)
{
    const __m256i turn = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    const __m256i back = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256 sign = _mm256_set1_ps(-0.0f);
    uint32_t found = 0;
    for (int row = 0; row < BLOCK; row += 8) {
        __m256 kinds[OF_ROW];
        load_of_rows(rows + row * OF_ROW, kinds);
        __m256i whole = _mm256_loadu_si256((const __m256i *)(products + row));
        whole = _mm256_permutevar8x32_epi32(whole, turn);
        whole = _mm256_sub_epi32(_mm256_add_epi32(whole, whole), _mm256_set1_epi32(bounds->base));
        __m256 scale = _mm256_mul_ps(kinds[SCALE], _mm256_set1_ps(bounds->scale));
        __m256 score = _mm256_fmadd_ps(kinds[RESIDUAL], _mm256_set1_ps(bounds->by_residual),
                                       _mm256_set1_ps(bounds->constant));
        __m256 size = _mm256_andnot_ps(sign, kinds[SIDE]);
        score = _mm256_fmadd_ps(kinds[REACH], _mm256_set1_ps(bounds->by_reach), score);
        score = _mm256_fmadd_ps(size, _mm256_set1_ps(bounds->by_side), score);
        score = _mm256_fmadd_ps(kinds[SIDE], _mm256_set1_ps(bounds->side), score);
        score = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), scale, score);
        score = _mm256_permutevar8x32_ps(score, back);
        __m256 reach = _mm256_cmp_ps(score, _mm256_set1_ps(bounds->threshold), _CMP_NLT_UQ);
        found |= (uint32_t)_mm256_movemask_ps(reach) << row;
    }
    return found;
}

static inline float sum_of_floats(__m256 lanes)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

static void row_sums(const float *row, const float *query, int64_t dimension, float *product,
                     float *square)
{
    __m256 product0 = _mm256_setzero_ps(), product1 = product0, square0 = product0,
           square1 = product0;
    int64_t i = 0;
    for (; i + 16 <= dimension; i += 16) {
        __m256 one = _mm256_loadu_ps(row + i), other = _mm256_loadu_ps(row + i + 8);
        product0 = _mm256_fmadd_ps(one, _mm256_loadu_ps(query + i), product0);
        product1 = _mm256_fmadd_ps(other, _mm256_loadu_ps(query + i + 8), product1);
        square0 = _mm256_fmadd_ps(one, one, square0);
        square1 = _mm256_fmadd_ps(other, other, square1);
    }
    *product = sum_of_floats(_mm256_add_ps(product0, product1));
    *square = sum_of_floats(_mm256_add_ps(square0, square1));
    for (; i < dimension; i++) {
        *product += row[i] * query[i];
        *square += row[i] * row[i];
    }
}

static float row_distance(const float *row, const float *query, int64_t dimension, int absolute)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 sum0 = _mm256_setzero_ps(), sum1 = sum0;
    int64_t i = 0;
    for (; i + 16 <= dimension; i += 16) {
        __m256 one = _mm256_sub_ps(_mm256_loadu_ps(row + i), _mm256_loadu_ps(query + i));
        __m256 other = _mm256_sub_ps(_mm256_loadu_ps(row + i + 8), _mm256_loadu_ps(query + i + 8));
        if (absolute) {
            sum0 = _mm256_add_ps(sum0, _mm256_andnot_ps(sign, one));
            sum1 = _mm256_add_ps(sum1, _mm256_andnot_ps(sign, other));
        } else {
            sum0 = _mm256_fmadd_ps(one, one, sum0);
            sum1 = _mm256_fmadd_ps(other, other, sum1);
        }
    }
    float sum = sum_of_floats(_mm256_add_ps(sum0, sum1));
    for (; i < dimension; i++) {
        float apart = row[i] - query[i];
        sum += absolute ? fabsf(apart) : apart * apart;
    }
    return sum;
}

/* A table's entries are at most 63, so the sum of four fits into a byte. Bytes are widened to 16 bits as the
   lower and the upper byte of each pair, and brought into order at the end. */
static void sums_of_signs(const uint8_t *bits, const uint8_t *tables, int64_t groups, uint16_t *sums)
{
    const __m256i bytes = _mm256_set1_epi16(255);
    __m256i even = _mm256_setzero_si256(), odd = even;
    for (int64_t group = 0; group < groups; group++) {
        const __m256i *codes = (const __m256i *)(bits + group * GROUP_BYTES);
        const __m256i *entries = (const __m256i *)(tables + group * TABLE_BYTES);
        __m256i one = _mm256_loadu_si256(codes), other = _mm256_loadu_si256(codes + 1);
        __m256i first = _mm256_add_epi8(
            _mm256_shuffle_epi8(_mm256_loadu_si256(entries), lower_half(one)),
            _mm256_shuffle_epi8(_mm256_loadu_si256(entries + 2), upper_half(one)));
        __m256i second = _mm256_add_epi8(
            _mm256_shuffle_epi8(_mm256_loadu_si256(entries + 1), lower_half(other)),
            _mm256_shuffle_epi8(_mm256_loadu_si256(entries + 3), upper_half(other)));
        __m256i four = _mm256_add_epi8(first, second);
        even = _mm256_add_epi16(even, _mm256_and_si256(four, bytes));
        odd = _mm256_add_epi16(odd, _mm256_srli_epi16(four, 8));
    }
    __m256i low = _mm256_unpacklo_epi16(even, odd), high = _mm256_unpackhi_epi16(even, odd);
    _mm256_storeu_si256((__m256i *)sums, _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256((__m256i *)(sums + 16), _mm256_permute2x128_si256(low, high, 0x31));
}

static uint32_t at_least(const float *scores, float threshold)
{
    uint32_t found = 0;
    for (int row = 0; row < BLOCK; row += 8) {
        __m256 reach = _mm256_cmp_ps(_mm256_loadu_ps(scores + row), _mm256_set1_ps(threshold), _CMP_NLT_UQ);
        found |= (uint32_t)_mm256_movemask_ps(reach) << row;
    }
    return found;
}

#include "scan_body.h"
#include "floats_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

const InstructionSet avx2_set = {"avx2", scan_codes, scan_floats};

#endif
