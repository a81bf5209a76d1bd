/* AVX-512 with VNNI, as in x86 servers since 2019: sixteen rows in a register, each in a lane of 32
   bits, to which one instruction adds four products. */

#include "kernel.h"

#if defined(__x86_64__) || defined(_M_X64)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512vnni"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512vnni")
#endif

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "widening.h"

static inline __m512i four_bytes(const int8_t *digits)
{
    int32_t bits;
    memcpy(&bits, digits, 4);
    return _mm512_set1_epi32(bits);
}

static inline __m512i lower_half(__m512i bytes)
{
    return _mm512_and_si512(bytes, _mm512_set1_epi8(15));
}

static inline __m512i upper_half(__m512i bytes)
{
    return lower_half(_mm512_srli_epi16(bytes, 4));
}

static void block_products(const uint8_t *codes, const int8_t *digits, int64_t chunks,
                           int32_t *products)
{
    const int8_t *uppers = digits + 4 * chunks;
    __m512i low0 = _mm512_setzero_si512(), low1 = low0, high0 = low0, high1 = low0;
    __m512i more0 = low0, more1 = low0, most0 = low0, most1 = low0;
    int64_t chunk = 0;
    for (; chunk + 2 <= chunks; chunk += 2) { /* sums of their own, so that none waits for another */
        const uint8_t *bytes = codes + chunk * BLOCK * 4;
        __m512i one = _mm512_loadu_si512(bytes), two = _mm512_loadu_si512(bytes + 64);
        __m512i three = _mm512_loadu_si512(bytes + 128), four = _mm512_loadu_si512(bytes + 192);
        __m512i lower = four_bytes(digits + 4 * chunk), upper = four_bytes(uppers + 4 * chunk);
        low0 = _mm512_dpbusd_epi32(low0, lower_half(one), lower);
        low1 = _mm512_dpbusd_epi32(low1, lower_half(two), lower);
        high0 = _mm512_dpbusd_epi32(high0, upper_half(one), upper);
        high1 = _mm512_dpbusd_epi32(high1, upper_half(two), upper);
        lower = four_bytes(digits + 4 * chunk + 4);
        upper = four_bytes(uppers + 4 * chunk + 4);
        more0 = _mm512_dpbusd_epi32(more0, lower_half(three), lower);
        more1 = _mm512_dpbusd_epi32(more1, lower_half(four), lower);
        most0 = _mm512_dpbusd_epi32(most0, upper_half(three), upper);
        most1 = _mm512_dpbusd_epi32(most1, upper_half(four), upper);
    }
    for (; chunk < chunks; chunk++) {
        const uint8_t *bytes = codes + chunk * BLOCK * 4;
        __m512i one = _mm512_loadu_si512(bytes), two = _mm512_loadu_si512(bytes + 64);
        __m512i lower = four_bytes(digits + 4 * chunk), upper = four_bytes(uppers + 4 * chunk);
        low0 = _mm512_dpbusd_epi32(low0, lower_half(one), lower);
        low1 = _mm512_dpbusd_epi32(low1, lower_half(two), lower);
        high0 = _mm512_dpbusd_epi32(high0, upper_half(one), upper);
        high1 = _mm512_dpbusd_epi32(high1, upper_half(two), upper);
    }
    low0 = _mm512_add_epi32(_mm512_add_epi32(low0, high0), _mm512_add_epi32(more0, most0));
    low1 = _mm512_add_epi32(_mm512_add_epi32(low1, high1), _mm512_add_epi32(more1, most1));
    _mm512_storeu_si512(products, low0);
    _mm512_storeu_si512(products + 16, low1);
}

/* Bits are taken apart once for all four queries. */
static void block_products_of_four(const uint8_t *codes, const int8_t *const digits[4],
                                   int64_t chunks, int32_t products[4][BLOCK])
{
    __m512i total[4][2];
    for (int i = 0; i < 4; i++)
        total[i][0] = total[i][1] = _mm512_setzero_si512();
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const uint8_t *bytes = codes + chunk * BLOCK * 4;
        __m512i one = _mm512_loadu_si512(bytes), other = _mm512_loadu_si512(bytes + 64);
        __m512i one_low = lower_half(one), one_high = upper_half(one);
        __m512i other_low = lower_half(other), other_high = upper_half(other);
        for (int i = 0; i < 4; i++) {
            __m512i lower = four_bytes(digits[i] + 4 * chunk);
            __m512i upper = four_bytes(digits[i] + 4 * (chunks + chunk));
            total[i][0] = _mm512_dpbusd_epi32(total[i][0], one_low, lower);
            total[i][1] = _mm512_dpbusd_epi32(total[i][1], other_low, lower);
            total[i][0] = _mm512_dpbusd_epi32(total[i][0], one_high, upper);
            total[i][1] = _mm512_dpbusd_epi32(total[i][1], other_high, upper);
        }
    }
    for (int i = 0; i < 4; i++) {
        _mm512_storeu_si512(products[i], total[i][0]);
        _mm512_storeu_si512(products[i] + 16, total[i][1]);
    }
}

static int64_t row_product(const uint8_t *low, const int8_t *digits, int64_t chunks)
{
    const int8_t *uppers = digits + 4 * chunks;
    int64_t bytes = 4 * chunks;
    __m512i one = _mm512_setzero_si512(), other = one;
    for (int64_t i = 0; i < bytes; i += 64) {
        __mmask64 there = bytes - i >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (bytes - i)) - 1;
        __m512i some = _mm512_maskz_loadu_epi8(there, low + i);
        one = _mm512_dpbusd_epi32(one, lower_half(some), _mm512_maskz_loadu_epi8(there, digits + i));
        other = _mm512_dpbusd_epi32(other, upper_half(some), _mm512_maskz_loadu_epi8(there, uppers + i));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(one, other));
}

static uint32_t may_reach(const int32_t *products, const float *rows, const Bounds *bounds)
{
    uint32_t found = 0;
    for (int row = 0; row < BLOCK; row += 16) {
        __m512i whole = _mm512_loadu_si512(products + row);
        whole = _mm512_sub_epi32(_mm512_add_epi32(whole, whole), _mm512_set1_epi32(bounds->base));
        __m512 side = _mm512_loadu_ps(rows + SIDE * BLOCK + row);
        __m512 scale = _mm512_mul_ps(_mm512_loadu_ps(rows + SCALE * BLOCK + row), _mm512_set1_ps(bounds->scale));
        __m512 score = _mm512_fmadd_ps(_mm512_loadu_ps(rows + RESIDUAL * BLOCK + row),
                                       _mm512_set1_ps(bounds->by_residual),
                                       _mm512_set1_ps(bounds->constant));
        score = _mm512_fmadd_ps(_mm512_loadu_ps(rows + REACH * BLOCK + row),
                                _mm512_set1_ps(bounds->by_reach), score);
        score = _mm512_fmadd_ps(_mm512_abs_ps(side), _mm512_set1_ps(bounds->by_side), score);
        score = _mm512_fmadd_ps(side, _mm512_set1_ps(bounds->side), score);
        score = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), scale, score);
        __mmask16 reach = _mm512_cmp_ps_mask(score, _mm512_set1_ps(bounds->threshold), _CMP_NLT_UQ);
        found |= (uint32_t)reach << row;
    }
    return found;
}

static inline __mmask16 first_of(int64_t count)
{
    return count >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << count) - 1);
}

static void row_sums(const float *row, const float *query, int64_t dimension, float *product,
                     float *square)
{
    __m512 product0 = _mm512_setzero_ps(), product1 = product0, square0 = product0,
           square1 = product0;
    int64_t i = 0;
    for (; i + 32 <= dimension; i += 32) {
        __m512 one = _mm512_loadu_ps(row + i), other = _mm512_loadu_ps(row + i + 16);
        product0 = _mm512_fmadd_ps(one, _mm512_loadu_ps(query + i), product0);
        product1 = _mm512_fmadd_ps(other, _mm512_loadu_ps(query + i + 16), product1);
        square0 = _mm512_fmadd_ps(one, one, square0);
        square1 = _mm512_fmadd_ps(other, other, square1);
    }
    for (; i < dimension; i += 16) {
        __mmask16 there = first_of(dimension - i);
        __m512 one = _mm512_maskz_loadu_ps(there, row + i);
        product0 = _mm512_fmadd_ps(one, _mm512_maskz_loadu_ps(there, query + i), product0);
        square0 = _mm512_fmadd_ps(one, one, square0);
    }
    *product = _mm512_reduce_add_ps(_mm512_add_ps(product0, product1));
    *square = _mm512_reduce_add_ps(_mm512_add_ps(square0, square1));
}

static float row_distance(const float *row, const float *query, int64_t dimension, int absolute)
{
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < dimension; i += 16) {
        __mmask16 there = first_of(dimension - i);
        __m512 apart = _mm512_sub_ps(_mm512_maskz_loadu_ps(there, row + i),
                                     _mm512_maskz_loadu_ps(there, query + i));
        sum = absolute ? _mm512_add_ps(sum, _mm512_abs_ps(apart)) : _mm512_fmadd_ps(apart, apart, sum);
    }
    return _mm512_reduce_add_ps(sum);
}

/* A table's entries are at most 63, so that four fit into a byte: both halves of two bytes of a row. A
   register holds the bits of a group, of which each half is summed up by itself. */
static void sums_of_signs(const uint8_t *bits, const uint8_t *tables, int64_t groups, uint16_t *sums)
{
    const __m512i bytes = _mm512_set1_epi16(255);
    __m512i even = _mm512_setzero_si512(), odd = even;
    int64_t group = 0;
    for (; group + 2 <= groups; group += 2) {
        const uint8_t *codes = bits + group * GROUP_BYTES, *entries = tables + group * TABLE_BYTES;
        __m512i one = _mm512_loadu_si512(codes), other = _mm512_loadu_si512(codes + 64);
        __m512i first = _mm512_add_epi8(
            _mm512_shuffle_epi8(_mm512_loadu_si512(entries), lower_half(one)),
            _mm512_shuffle_epi8(_mm512_loadu_si512(entries + 64), upper_half(one)));
        __m512i second = _mm512_add_epi8(
            _mm512_shuffle_epi8(_mm512_loadu_si512(entries + 128), lower_half(other)),
            _mm512_shuffle_epi8(_mm512_loadu_si512(entries + 192), upper_half(other)));
        __m512i four = _mm512_add_epi8(first, second);
        even = _mm512_add_epi16(even, _mm512_and_si512(four, bytes));
        odd = _mm512_add_epi16(odd, _mm512_srli_epi16(four, 8));
    }
    if (group < groups) {
        const uint8_t *entries = tables + group * TABLE_BYTES;
        __m512i one = _mm512_loadu_si512(bits + group * GROUP_BYTES);
        __m512i two = _mm512_add_epi8(
            _mm512_shuffle_epi8(_mm512_loadu_si512(entries), lower_half(one)),
            _mm512_shuffle_epi8(_mm512_loadu_si512(entries + 64), upper_half(one)));
        even = _mm512_add_epi16(even, _mm512_and_si512(two, bytes));
        odd = _mm512_add_epi16(odd, _mm512_srli_epi16(two, 8));
    }
    __m256i evens = _mm256_add_epi16(_mm512_castsi512_si256(even), _mm512_extracti64x4_epi64(even, 1));
    __m256i odds = _mm256_add_epi16(_mm512_castsi512_si256(odd), _mm512_extracti64x4_epi64(odd, 1));
    __m256i low = _mm256_unpacklo_epi16(evens, odds), high = _mm256_unpackhi_epi16(evens, odds);
    _mm256_storeu_si256((__m256i *)sums, _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256((__m256i *)(sums + 16), _mm256_permute2x128_si256(low, high, 0x31));
}

static uint32_t at_least(const float *scores, float threshold)
{
    __m512 least = _mm512_set1_ps(threshold);
    uint32_t low = _mm512_cmp_ps_mask(_mm512_loadu_ps(scores), least, _CMP_NLT_UQ);
    uint32_t high = _mm512_cmp_ps_mask(_mm512_loadu_ps(scores + 16), least, _CMP_NLT_UQ);
    return low | high << 16;
}

#include "scan_body.h"
#include "floats_body.h"
#include "clusters_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

const InstructionSet avx512_set = {"avx512", scan_codes, scan_floats, rank_clusters,
                                 scan_clusters};

#endif
