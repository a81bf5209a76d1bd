/* AVX-512 with VNNI, for x86 servers since 2019. A register contains some chunks of a tile, with lanes of 32
   bits for each row. One instruction adds four products to a lane. */

#include "layout.h"

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

#define AHEAD 2048 /* prefetch distance in bytes; the processor's own prefetching is too late */

static inline __m512i lower_half(__m512i bytes)
{
    return _mm512_and_si512(bytes, _mm512_set1_epi8(15));
}

static inline __m512i upper_half(__m512i bytes)
{
    return lower_half(_mm512_srli_epi16(bytes, 4));
}

/* A mask of the remaining bytes, at most one register. */
static inline __mmask64 bytes_left(int64_t bytes)
{
    return bytes >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << bytes) - 1;
}

/* The sums of a tile. The lanes of its rows alternate. */
static inline __m512i tile_sums(const uint8_t *tile, const int8_t *lower, int64_t bytes)
{
    const int8_t *upper = lower + bytes;
    __m512i low = _mm512_setzero_si512(), high = low;
    int64_t i = 0;
    for (; i + 64 <= bytes; i += 64) {
        __m512i some = _mm512_loadu_si512(tile + i);
        _mm_prefetch((const char *)tile + i + AHEAD, _MM_HINT_T0);
        low = _mm512_dpbusd_epi32(low, lower_half(some), _mm512_loadu_si512(lower + i));
        high = _mm512_dpbusd_epi32(high, upper_half(some), _mm512_loadu_si512(upper + i));
    }
    if (i < bytes) {
        __mmask64 there = bytes_left(bytes - i);
        __m512i some = _mm512_maskz_loadu_epi8(there, tile + i);
        low = _mm512_dpbusd_epi32(low, lower_half(some), _mm512_maskz_loadu_epi8(there, lower + i));
        high = _mm512_dpbusd_epi32(high, upper_half(some), _mm512_maskz_loadu_epi8(there, upper + i));
    }
    return _mm512_add_epi32(low, high);
}

static inline __m512i both_ones(__m512i one, __m512i other)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi32(one, other), _mm512_unpackhi_epi32(one, other));
}

static inline __m512i both_pairs(__m512i one, __m512i other)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi64(one, other), _mm512_unpackhi_epi64(one, other));
}

/* The sums of four rows, in each quarter of a register. tiles: the lanes of the tiles that contain the rows. */
static inline __m512i sums_of_four_rows(const __m512i *tiles, int rows_of_tile)
{
    if (rows_of_tile == 4)
        return tiles[0];
    if (rows_of_tile == 2)
        return both_pairs(tiles[0], tiles[1]);
    return both_pairs(both_ones(tiles[0], tiles[1]), both_ones(tiles[2], tiles[3]));
}

/* The sums of sixteen rows: the quarters of four registers with the sums of four rows, added. */
static inline __m512i sums_of_rows(const __m512i fours[4])
{
    __m512i one = _mm512_add_epi32(_mm512_shuffle_i64x2(fours[0], fours[1], 0x44),
                                   _mm512_shuffle_i64x2(fours[0], fours[1], 0xee));
    __m512i other = _mm512_add_epi32(_mm512_shuffle_i64x2(fours[2], fours[3], 0x44),
                                     _mm512_shuffle_i64x2(fours[2], fours[3], 0xee));
    return _mm512_add_epi32(_mm512_shuffle_i64x2(one, other, 0x88),
                            _mm512_shuffle_i64x2(one, other, 0xdd));
}

static void tile_products(const uint8_t *tile, const int8_t *tiled, int64_t chunks, int32_t *products)
{
    int rows = tile_rows(chunks);
    __m512i sums = tile_sums(tile, tiled, 4 * rows * chunks);
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64(sums, 1));
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    if (rows == 4)
        _mm_storeu_si128((__m128i *)products, four);
    else if (rows == 2)
        _mm_storel_epi64((__m128i *)products, two);
    else
        *products = _mm_cvtsi128_si32(two) + _mm_extract_epi32(two, 1);
}

static inline void products_of_tiles(const uint8_t *codes, const int8_t *tiled, int64_t chunks,
                                     int32_t *products, int rows_of_tile)
{
    int64_t bytes = 4 * rows_of_tile * chunks;
    for (int row = 0; row < BLOCK; row += 16) {
        __m512i fours[4], tiles[4];
        for (int four = 0; four < 4; four++) {
            for (int tile = 0; tile < 4 / rows_of_tile; tile++, codes += bytes)
                tiles[tile] = tile_sums(codes, tiled, bytes);
            fours[four] = sums_of_four_rows(tiles, rows_of_tile);
        }
        _mm512_storeu_si512(products + row, sums_of_rows(fours));
    }
}

static inline __m512i four_bytes(const int8_t *digits)
{
    int32_t bits;
    memcpy(&bits, digits, 4);
    return _mm512_set1_epi32(bits);
}

/* The half codes are separated once for all four queries. */
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

/* The floats of sixteen rows, sorted by kind. The rows are in the order 0, 4, 8, 12, 1, 5, 9, 13 and so on. */
static inline void load_of_rows(const float *rows, __m512 kinds[OF_ROW])
{
    __m512 one = _mm512_loadu_ps(rows), two = _mm512_loadu_ps(rows + 16);
    __m512 three = _mm512_loadu_ps(rows + 32), four = _mm512_loadu_ps(rows + 48);
    __m512 low = _mm512_unpacklo_ps(one, two), more_low = _mm512_unpacklo_ps(three, four);
    __m512 high = _mm512_unpackhi_ps(one, two), more_high = _mm512_unpackhi_ps(three, four);
    kinds[0] = _mm512_shuffle_ps(low, more_low, 0x44);
    kinds[1] = _mm512_shuffle_ps(low, more_low, 0xee);
    kinds[2] = _mm512_shuffle_ps(high, more_high, 0x44);
    kinds[3] = _mm512_shuffle_ps(high, more_high, 0xee);
}

static uint32_t may_reach(const int32_t *products, const float *rows, const Bounds *bounds)
{
    const __m512i turn = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    uint32_t found = 0; /* this permutation is its own inverse */
    for (int row = 0; row < BLOCK; row += 16) {
        __m512 kinds[OF_ROW];
        load_of_rows(rows + row * OF_ROW, kinds);
        __m512i whole = _mm512_permutexvar_epi32(turn, _mm512_loadu_si512(products + row));
        whole = _mm512_sub_epi32(_mm512_add_epi32(whole, whole), _mm512_set1_epi32(bounds->base));
        __m512 scale = _mm512_mul_ps(kinds[SCALE], _mm512_set1_ps(bounds->scale));
        __m512 score = _mm512_fmadd_ps(kinds[RESIDUAL], _mm512_set1_ps(bounds->by_residual),
                                       _mm512_set1_ps(bounds->constant));
        score = _mm512_fmadd_ps(kinds[REACH], _mm512_set1_ps(bounds->by_reach), score);
        score = _mm512_fmadd_ps(_mm512_abs_ps(kinds[SIDE]), _mm512_set1_ps(bounds->by_side), score);
        score = _mm512_fmadd_ps(kinds[SIDE], _mm512_set1_ps(bounds->side), score);
        score = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), scale, score);
        score = _mm512_permutexvar_ps(turn, score);
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

/* A table's entries are at most 63, so the sum of four fits into a byte: those for both halves of two bytes
   of a row. A register contains the signs of one group, and its two halves are added separately. */
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

#if defined(__clang__)
#pragma clang attribute pop
#endif

const InstructionSet avx512_set = {"avx512", scan_codes, scan_floats};

#endif
