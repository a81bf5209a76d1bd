/* What the compiled functions and their caller share: how codes lie in memory, and what a search
   knows. The proof that no bound is too small stands in ../quantized.py; names here are those used there.

   Every field takes eight bytes, so that the caller can lay these out as plain arrays. */

#ifndef RETRIEVAL_STORE_KERNEL_H
#define RETRIEVAL_STORE_KERNEL_H

#include <stdint.h>

#define KERNEL_VERSION 8 /* of these structs, of how codes lie and of what distances mean; the caller asks for it */
#define BLOCK 32         /* rows of a block */
#define MOST_TILED 4     /* rows whose upper bits stand together at most */
#define CHUNK 8          /* numbers of a row that stand together, in four bytes */
#define GROUP 16         /* numbers of a row whose signs stand together, in two bytes */
#define GROUP_BYTES 64   /* of a group of a block: BLOCK bytes for each half */
#define TABLE_BYTES 128  /* of a query's tables for a group: of lower and of upper halves of bytes */
#define CACHED_BYTES 65536 /* of codes, which each group of queries reads again */
#define DIGITS (8 + 8 * MOST_TILED) /* bytes of a query's digits for a chunk, at most */
#define ROUNDOFF 5.9604644775390625e-08 /* of float32, 2⁻²⁴ */

enum of_row { SCALE, RESIDUAL, SIDE, REACH, OF_ROW };
enum of_signs { FACTOR, OWN_SIDE, OF_SIGNS }; /* floats of a row beside its signs */

enum metric { COSINE, PRODUCT, L2, L1 };
enum datatype { FLOAT32, FLOAT16, UINT8 };
enum state { DONE, MORE, OUTSIDE, UNSAFE };

/* Codes of rows in one frame. Row r is the r % BLOCK-th of the block r / BLOCK.
   high: [blocks][BLOCK / T][chunks][T][4] bytes, the upper four bits of the numbers of T rows (`tile_rows`):
   of chunk j the byte b has number 8j + b in its lower half, and 8j + 4 + b in its upper one. low: [rows][chunks][4], the
   lower four bits, laid out alike. rows: [rows][OF_ROW] scales, residuals of the upper
   bits alone, sides, and reaches: how long what codes stand for is. finer: [rows] residuals of all
   bits. signs: [blocks][groups × GROUP_BYTES, then OF_SIGNS × BLOCK floats]: the byte r of the pair p of a
   group has of row r the signs of the numbers 8p .. 8p + 7, the first in bit 0; factors, and sides once
   more, NaN for a row that no bound holds for. slots: [rows], or NULL where row r has the slot first + r;
   first is a multiple of BLOCK. */
typedef struct {
    const uint8_t *high, *low;
    const float *rows, *finer;
    const uint8_t *signs;
    const int64_t *slots;
    int64_t first, count, frame;
} Piece;

/* A query in one frame. digits: [chunks][4] for lower halves of bytes, then [chunks][4] for upper
   ones; tiled: the same, each four of them once for each row of a tile; sum: of all digits. A score is scale × scale of the
   row × product + side × side of the row + offset; a bound of its error is by_residual × residual + by_reach
   × reach + by_side × |side| + constant. spread: a share of by_residual and by_reach, which the standard
   error of the score has. tables: [groups][TABLE_BYTES] or NULL, of signs: the product of a row's signs with
   the query is step × the sum of its entries + base, and the row's factor × that is a score; its standard
   error is by_factor × factor. */
typedef struct {
    const int8_t *digits, *tiled;
    uint8_t *tables;
    int64_t sum;
    double scale, offset, side, by_residual, by_reach, by_side, constant, spread, step, base, by_factor;
} Turned;

/* What one query has found. best: the k largest lower bounds, the least of them first (a heap), of
   which `held` are there; floor: no row whose score is below it is looked for; slots, uppers:
   [capacity] the rows that may be among the nearest, and their upper bounds; most: how many of these
   there may be at any time, and left: at last, before the query is given up as hard. Once they are decided (see
   `decide`) uppers holds distances instead; chosen: how many, from the first, are the k nearest and
   those that are as far as the k-th; tied: whether any two of these are equally far. passed: rows whose
   signs were looked at; refined: of these those whose upper bits were; measured: those whose distances. */
typedef struct {
    double floor;
    double *best;
    int64_t k, held;
    int64_t *slots;
    double *uppers;
    int64_t found, capacity, most, left, hard, chosen, tied, passed, refined, measured;
} Sought;

enum row_test { ALL_OF, ANY_OF, NONE_OF, NUMBERED, LISTED };

/* A condition on rows: a tree whose nodes lie behind one another, each before its terms, which are
   conditions too. size: how many nodes it has, with all its terms.
   NUMBERED: rows have numbers, [count] of `width` bytes each, those of the rows from `base` on; a row
   fulfils it whose number n is from `first` on and below `stop`, and has its bit in `among` where that
   isn't NULL (n % 8 of the byte n / 8 - first / 8). Of the rows `over` those fulfil it that are `held`, whatever
   their number is; both ascend. LISTED: the rows that are `held`. */
typedef struct {
    int64_t kind, size;
    const void *numbers;
    int64_t width, base, count, first, stop;
    const uint8_t *among;
    const int64_t *over;
    int64_t over_count;
    const int64_t *held;
    int64_t held_count;
} RowTestNode;

/* Which slots are allowed, by their rows, without a pass over all slots. row_of_slot: [slots], negative
   where no row has the slot; but the slots `moved`, ascending, belong to other rows. mask: a bit for
   each row, or NULL; test: of rows, or NULL. */
typedef struct {
    const int64_t *row_of_slot;
    int64_t slots;
    const int64_t *moved, *rows_of_moved;
    int64_t moved_count;
    const uint8_t *mask;
    const RowTestNode *test;
} RowFilter;

struct distances;

/* A search by codes. turned: [frames][queries]; allowed: bits by slot, 1 where a row may be found, or
   NULL; filter: asked only for rows that may be near, or NULL; piece, block: where it goes on; work: how
   many bytes of codes one call looks at, about. rows: [queries] or NULL. With these the signs are looked at
   first, and whoever may reach the floor if its score is up to `errors` standard errors off goes on, to the
   upper bits, whose errors may be half an error more, then to all bits, and to distances. The blocks whose
   number is a multiple of `stride` come first (sampling: whether it is still at these), so that the floor is
   high for the others. room: of CACHED_BYTES and a block of upper bits, where four queries are looked for
   together, or NULL. */
typedef struct {
    const Piece *pieces;
    int64_t piece_count;
    const Turned *turned;
    Sought *sought;
    int64_t queries, chunks;
    const uint32_t *allowed;
    const RowFilter *filter;
    int64_t piece, block, work;
    const struct distances *distances;
    int64_t stride, sampling;
    double errors;
    uint8_t *room;
} Scan;

/* A search by the vectors themselves. rows: [row_count][dimension] of the datatype; slots: [count] of
   the rows to look at, or NULL for the first `count`; room: [dimension], for a row as float32; length:
   of the query, filled in by the first call; row: where it goes on; work: how many numbers one call
   looks at, about. OUTSIDE is returned where there is no row for a slot, UNSAFE where the query is so
   long or short that float32 might over- or underflow. */
typedef struct {
    const void *rows;
    const int64_t *slots;
    const float *query;
    float *room;
    Sought *sought;
    int64_t row_count, count, dimension, datatype, metric, row, work;
    double length;
} FloatScan;

/* How rows become codes. centre: [dimension] what is taken away first ("l2"), or the direction of
   which each row's share is kept apart; signs: [2][dimension] of +1 and -1, which with
   Hadamard's matrices make the rotation. */
typedef struct {
    const float *centre, *signs;
    int64_t dimension, metric;
} Frame;

/* Rows to be coded, [count][dimension] of the datatype, and where to: at the row `at` and after of
   what a Piece has. room: [dimension] of float64 and of float32. */
typedef struct {
    const Frame *frame;
    const void *vectors;
    int64_t count, datatype, at;
    uint8_t *high, *low;
    float *rows, *finer;
    uint8_t *signs;
    double *wide;
    float *room;
} Encoding;

/* Codes of rows that are copied together. from: pieces of one frame; piece_of, row_of: [count] where
   each row comes from; then as in Encoding. */
typedef struct {
    const Piece *from;
    const int64_t *piece_of, *row_of;
    int64_t count, chunks;
    uint8_t *high, *low;
    float *rows, *finer;
    uint8_t *signs;
} Gathering;

/* Rows whose distances are wanted, as in FloatScan. (`decide` takes the slots of a Sought.) */
typedef struct distances {
    const void *rows;
    const int64_t *slots;
    const float *query;
    float *room;
    double *distances;
    int64_t row_count, count, dimension, datatype, metric;
    double length;
} Distances;

/* All of a search by codes for one query. frames: [frame_count] of the codes; wide: [dimension]; turned:
   [frame_count]; digits: [frame_count][DIGITS × chunks]; tables: [frame_count][groups × TABLE_BYTES], or NULL
   where signs aren't looked at; begun: 0 before the first call, which fills in the length. UNSAFE is returned where the query is so long or short that its scores can't be bounded. */
typedef struct {
    const float *query;
    const Frame *const *frames;
    int64_t frame_count;
    double *wide;
    Turned *turned;
    int8_t *digits;
    uint8_t *tables;
    Scan *scan;
    Distances *distances;
    int64_t begun;
} Search;

typedef struct {
    const char *name;
    int (*scan)(Scan *);
    int (*scan_floats)(FloatScan *);
} InstructionSet;

extern const InstructionSet scalar_set, avx2_set, avx512_set, neon_set;

static inline int64_t chunks_of(int64_t dimension) { return (dimension + CHUNK - 1) / CHUNK; }

static inline int64_t groups_of(int64_t chunks) { return (chunks * CHUNK + GROUP - 1) / GROUP; }

/* The place of the lowest bit that is set; there is one. */
static inline int first_bit(uint32_t word)
{
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_ctz(word);
#else
    int place = 0;
    for (; !(word & 1); word >>= 1)
        place++;
    return place;
#endif
}

static inline int64_t bits_in(uint32_t word)
{
    int64_t count = 0;
    for (; word; word &= word - 1)
        count++;
    return count;
}

/* How many rows are a tile: as few as take 256 bytes, since a row that is looked at alone needs all of its
   tile; and up to four, since where rows are short it takes longer to add up what a register has of each. */
static inline int tile_rows(int64_t chunks) { return chunks < 16 ? MOST_TILED : chunks < 32 ? 2 : 1; }

/* Bytes of a block of signs. */
static inline int64_t signs_bytes(int64_t chunks)
{
    return groups_of(chunks) * GROUP_BYTES + OF_SIGNS * BLOCK * (int64_t)sizeof(float);
}

/* The score of a row, what grows as the distance falls, and a bound of its error: infinite where
   float32 can't tell. */
typedef struct {
    double score, error;
} Scored;

/* For the rows of one block: by what their scores are bounded, in float32. */
typedef struct {
    int32_t base;
    float scale, side, by_residual, by_reach, by_side, constant, threshold;
} Bounds;

/* rows.c: which of the slots `first` + i, whose bits i are set in `wanted`, are allowed. */
uint32_t allowed_slots(const RowFilter *filter, int64_t first, uint32_t wanted);

/* found.c: what all searches do with a row that may be near. */
void keep_candidate(Sought *sought, int64_t slot, double lower, double upper);
void drop_below_floor(Sought *sought);

/* distances.c: what of a row grows as its distance falls; have the processor fetch it. */
double score_of_slot(const Distances *wanted, int64_t slot);
void fetch_row(const Distances *wanted, int64_t slot);

/* codes.c: make a query ready for codes. */
void turn_query(const float *query, double length, const Frame *frame, double *wide, int8_t *digits,
                uint8_t *tables, Turned *turned);

/* distances.c: the length of a vector, in float64. */
double length_of(const float *vector, int64_t dimension);

/* distances.c: decide by distances in float64 which of the rows that may be near are nearest. */
int decide(const Distances *wanted, Sought *sought);

#endif
