/* AVX2, as in x86 processors since 2013: eight rows in a register, each in a lane of 32 bits.

   A product of four bits with seven and a sign is at most 15 × 127, and 16 bits hold eight pairs of
   those; so sums are widened after four chunks. */

#include "kernel.h"

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

#define TOGETHER 4 /* chunks whose sums fit into 16 bits */

static inline __m256i four_bytes(const int8_t *digits)
{
    int32_t bits;
    memcpy(&bits, digits, 4);
    return _mm256_set1_epi32(bits);
}

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

static void block_products(const uint8_t *codes, const int8_t *digits, int64_t chunks,
                           int32_t *products)
{
    const int8_t *uppers = digits + 4 * chunks;
    __m256i total0 = _mm256_setzero_si256(), total1 = total0, total2 = total0, total3 = total0;
    for (int64_t chunk = 0; chunk < chunks;) {
        int64_t stop = chunk + TOGETHER < chunks ? chunk + TOGETHER : chunks;
        __m256i sum0 = _mm256_setzero_si256(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
        for (; chunk < stop; chunk++) {
            const __m256i *bytes = (const __m256i *)(codes + chunk * BLOCK * 4);
            __m256i lower = four_bytes(digits + 4 * chunk), upper = four_bytes(uppers + 4 * chunk);
            sum0 = _mm256_add_epi16(sum0, both_products(_mm256_loadu_si256(bytes), lower, upper));
            sum1 = _mm256_add_epi16(sum1, both_products(_mm256_loadu_si256(bytes + 1), lower, upper));
            sum2 = _mm256_add_epi16(sum2, both_products(_mm256_loadu_si256(bytes + 2), lower, upper));
            sum3 = _mm256_add_epi16(sum3, both_products(_mm256_loadu_si256(bytes + 3), lower, upper));
        }
        total0 = widened_sum(total0, sum0);
        total1 = widened_sum(total1, sum1);
        total2 = widened_sum(total2, sum2);
        total3 = widened_sum(total3, sum3);
    }
    _mm256_storeu_si256((__m256i *)products, total0);
    _mm256_storeu_si256((__m256i *)(products + 8), total1);
    _mm256_storeu_si256((__m256i *)(products + 16), total2);
    _mm256_storeu_si256((__m256i *)(products + 24), total3);
}

/* The sixteen rows of half a block with four queries, so that bits are taken apart once for all. */
static void half_block_of_four(const uint8_t *codes, const int8_t *const digits[4], int64_t chunks,
                               int32_t products[4][BLOCK], int first)
{
    __m256i total[4][2];
    for (int i = 0; i < 4; i++)
        total[i][0] = total[i][1] = _mm256_setzero_si256();
    for (int64_t chunk = 0; chunk < chunks;) {
        int64_t stop = chunk + TOGETHER < chunks ? chunk + TOGETHER : chunks;
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

static uint32_t may_reach(const int32_t *products, const float *rows, const Bounds *bounds)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    uint32_t found = 0;
    for (int row = 0; row < BLOCK; row += 8) {
        __m256i whole = _mm256_loadu_si256((const __m256i *)(products + row));
        whole = _mm256_sub_epi32(_mm256_add_epi32(whole, whole), _mm256_set1_epi32(bounds->base));
        __m256 side = _mm256_loadu_ps(rows + SIDE * BLOCK + row);
        __m256 scale = _mm256_mul_ps(_mm256_loadu_ps(rows + SCALE * BLOCK + row), _mm256_set1_ps(bounds->scale));
        __m256 score = _mm256_fmadd_ps(_mm256_loadu_ps(rows + RESIDUAL * BLOCK + row),
                                       _mm256_set1_ps(bounds->by_residual),
                                       _mm256_set1_ps(bounds->constant));
        score = _mm256_fmadd_ps(_mm256_loadu_ps(rows + REACH * BLOCK + row),
                                _mm256_set1_ps(bounds->by_reach), score);
        score = _mm256_fmadd_ps(_mm256_andnot_ps(sign, side), _mm256_set1_ps(bounds->by_side), score);
        score = _mm256_fmadd_ps(side, _mm256_set1_ps(bounds->side), score);
        score = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), scale, score);
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

/* A table's entries are at most 63, so that four fit into a byte; bytes become 16 bits as the lower and
   the upper ones of pairs, which are put in order at the end. */
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
#include "clusters_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

const InstructionSet avx2_set = {"avx2", scan_codes, scan_floats, rank_clusters,
                                 scan_clusters};

#endif
