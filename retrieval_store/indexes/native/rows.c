/* Evaluates conditions on rows during a scan. */

#include "exported.h"
#include "layout.h"

#include <string.h>

#define EVERY 0xffffffffu

/* The position of a number in ascending numbers: before those that are equal or greater. */
static int64_t place_among(const int64_t *numbers, int64_t count, int64_t number)
{
    int64_t low = 0;
    while (low < count) {
        int64_t middle = low + (count - low) / 2;
        if (numbers[middle] < number)
            low = middle + 1;
        else
            count = middle;
    }
    return low;
}

static int is_among(const int64_t *numbers, int64_t count, int64_t number)
{
    int64_t place = place_among(numbers, count, number);
    return place < count && numbers[place] == number;
}

static uint32_t number_at(const RowTestNode *test, int64_t place)
{
    if (test->width == 1)
        return ((const uint8_t *)test->numbers)[place];
    if (test->width == 2)
        return ((const uint16_t *)test->numbers)[place];
    return ((const uint32_t *)test->numbers)[place];
}

static int number_fits(const RowTestNode *test, int64_t number)
{
    if (number < test->first || number >= test->stop)
        return 0;
    return !test->among || (test->among[number / 8 - test->first / 8] >> number % 8 & 1);
}

static int has_number(const RowTestNode *test, int64_t row)
{
    if (test->over_count && is_among(test->over, test->over_count, row))
        return is_among(test->held, test->held_count, row);
    int64_t place = row - test->base;
    return place >= 0 && place < test->count && number_fits(test, number_at(test, place));
}

/* A bit for each of 32 bytes that are 0 or 1. A multiplication gathers the bits of eight bytes in one byte. */
static uint32_t bits_of(const uint8_t *flags)
{
    uint32_t bits = 0;
    for (int part = 0; part < 4; part++) {
        uint64_t eight = 0;
        for (int i = 0; i < 8; i++)
            eight |= (uint64_t)flags[8 * part + i] << 8 * i;
        bits |= (uint32_t)(eight * 0x0102040810204080u >> 56) << 8 * part;
    }
    return bits;
}

#define DEFINE_IN_RANGE(TYPE, NAME)                                                                \
    static uint32_t NAME(const TYPE *numbers, TYPE first, TYPE span)                               \
    {                                                                                              \
        uint8_t flags[BLOCK];                                                                      \
        for (int i = 0; i < BLOCK; i++)                                                            \
            flags[i] = (TYPE)(numbers[i] - first) < span;                                          \
        return bits_of(flags);                                                                     \
    }

DEFINE_IN_RANGE(uint8_t, bytes_in_range)
DEFINE_IN_RANGE(uint16_t, shorts_in_range)
DEFINE_IN_RANGE(uint32_t, words_in_range)

/* A bit for each row of a block that is in the ascending list. */
static uint32_t bits_in_block(const int64_t *rows, int64_t count, int64_t row)
{
    uint32_t bits = 0;
    if (!count || rows[0] >= row + BLOCK || rows[count - 1] < row)
        return 0;
    for (int64_t at = place_among(rows, count, row); at < count && rows[at] < row + BLOCK; at++)
        bits |= 1u << (rows[at] - row);
    return bits;
}

/* A bit for each row of a block of consecutive rows that all have numbers, computed in registers. Returns 0
   if the block isn't of this kind. A range of all numbers of the width is handled first, because its span
   doesn't fit into the width. */
static int block_in_range(const RowTestNode *test, int64_t row, uint32_t *found)
{
    int64_t place = row - test->base, most = ((int64_t)1 << 8 * test->width) - 1;
    int64_t first = test->first, stop = test->stop <= most ? test->stop : most + 1;
    if (test->among || place < 0 || place + BLOCK > test->count || first < 0)
        return 0;
    if (first >= stop)
        *found = 0;
    else if (stop - first > most)
        *found = EVERY;
    else if (test->width == 1)
        *found = bytes_in_range((const uint8_t *)test->numbers + place, (uint8_t)first,
                                (uint8_t)(stop - first));
    else if (test->width == 2)
        *found = shorts_in_range((const uint16_t *)test->numbers + place, (uint16_t)first,
                                 (uint16_t)(stop - first));
    else
        *found = words_in_range((const uint32_t *)test->numbers + place, (uint32_t)first,
                                (uint32_t)(stop - first));
    uint32_t over = bits_in_block(test->over, test->over_count, row);
    if (over)
        *found = (*found & ~over) | (over & bits_in_block(test->held, test->held_count, row));
    return 1;
}

static int fulfils_leaf(const RowTestNode *test, int64_t row)
{
    return test->kind == NUMBERED ? has_number(test, row)
                                  : is_among(test->held, test->held_count, row);
}

/* Whether one row fulfils a condition. Recursive, like `rows_that`. */
static int fulfils(const RowTestNode *test, int64_t row)
{
    int64_t kind = test->kind;
    if (kind != ALL_OF && kind != ANY_OF && kind != NONE_OF)
        return fulfils_leaf(test, row);
    for (int64_t term = 1; term < test->size; term += test[term].size)
        if (fulfils(test + term, row) != (kind == ALL_OF))
            return kind == ANY_OF;
    return kind != ANY_OF;
}

static uint32_t rows_of_leaf(const RowTestNode *test, const int64_t *rows, int in_turn, uint32_t wanted)
{
    uint32_t found = 0;
    if (in_turn && test->kind == LISTED)
        return wanted & bits_in_block(test->held, test->held_count, rows[0]);
    if (in_turn && block_in_range(test, rows[0], &found))
        return found & wanted;
    for (int i = 0; i < BLOCK; i++)
        if (wanted >> i & 1)
            found |= (uint32_t)fulfils_leaf(test, rows[i]) << i;
    return found;
}

/* The rows among `wanted` that fulfil a condition, as bits. in_turn: whether there are BLOCK consecutive
   rows. A term is evaluated only for rows that earlier terms haven't decided. Recursive; the caller limits
   the depth of conditions. */
static uint32_t rows_that(const RowTestNode *test, const int64_t *rows, int in_turn, uint32_t wanted)
{
    uint32_t left = wanted;
    if (test->kind != ALL_OF && test->kind != ANY_OF && test->kind != NONE_OF)
        return rows_of_leaf(test, rows, in_turn, wanted);
    for (int64_t term = 1; term < test->size && left; term += test[term].size) {
        uint32_t found = rows_that(test + term, rows, in_turn, left);
        left = test->kind == ALL_OF ? found : left & ~found;
    }
    return test->kind == ANY_OF ? wanted & ~left : left;
}

static int64_t row_of(const RowFilter *filter, int64_t slot)
{
    if (filter->moved_count) {
        int64_t place = place_among(filter->moved, filter->moved_count, slot);
        if (place < filter->moved_count && filter->moved[place] == slot)
            return filter->rows_of_moved[place];
    }
    return filter->row_of_slot[slot];
}

/* Whether the slots of a block belong to consecutive rows. */
static int belong_to_a_run(const RowFilter *filter, int64_t first)
{
    if (first + BLOCK > filter->slots)
        return 0;
    if (filter->moved_count) {
        int64_t place = place_among(filter->moved, filter->moved_count, first);
        if (place < filter->moved_count && filter->moved[place] < first + BLOCK)
            return 0;
    }
    const int64_t *rows = filter->row_of_slot + first;
    int64_t apart = rows[0] < 0;
    for (int i = 1; i < BLOCK; i++)
        apart |= rows[i] ^ (rows[0] + i);
    return apart == 0;
}

static int row_is_allowed(const RowFilter *filter, int64_t row)
{
    if (row < 0 || (filter->mask && !(filter->mask[row / 8] >> row % 8 & 1)))
        return 0;
    return !filter->test || fulfils(filter->test, row);
}

static int slot_is_allowed(const RowFilter *filter, int64_t slot)
{
    return row_is_allowed(filter, slot < filter->slots ? row_of(filter, slot) : -1);
}

/* The bits of BLOCK rows from this row on, all of which exist. */
static uint32_t bits_from(const uint8_t *mask, int64_t row)
{
    uint64_t bits = 0;
    for (int64_t byte = row / 8; byte <= (row + BLOCK - 1) / 8; byte++)
        bits |= (uint64_t)mask[byte] << 8 * (byte - row / 8);
    return (uint32_t)(bits >> row % 8);
}

uint32_t allowed_slots(const RowFilter *filter, int64_t first, uint32_t wanted)
{
    uint32_t found = 0;
    int several = (wanted & (wanted - 1)) != 0;
    if (several && belong_to_a_run(filter, first)) {
        const int64_t *rows = filter->row_of_slot + first;
        found = filter->mask ? wanted & bits_from(filter->mask, rows[0]) : wanted;
        return found && filter->test ? rows_that(filter->test, rows, 1, found) : found;
    }
    for (; wanted; wanted &= wanted - 1) {
        int in = first_bit(wanted);
        found |= (uint32_t)slot_is_allowed(filter, first + in) << in;
    }
    return found;
}

/* The number of rows that fulfil a condition, among `count` rows: those in `rows`, or if it is NULL, those
   from `start` on. bits: [count / 32, rounded up], or NULL; bit i is set to whether the i-th row fulfils the
   condition. */
EXPORTED int64_t rs_test_rows(const RowTestNode *test, const int64_t *rows, int64_t start, int64_t count,
                              uint32_t *bits)
{
    int64_t some[BLOCK], found = 0;
    for (int64_t first = 0; first < count; first += BLOCK) {
        int64_t left = count - first;
        for (int i = 0; i < BLOCK; i++)
            some[i] = rows && i < left ? rows[first + i] : start + first + i;
        uint32_t word = rows_that(test, some, !rows, left >= BLOCK ? EVERY : (1u << left) - 1);
        found += bits_in(word);
        if (bits)
            bits[first / BLOCK] = word;
    }
    return found;
}
