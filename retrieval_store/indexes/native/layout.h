/* The structures that the compiled functions share with Python, and the layout of codes in memory. The proof
   that no bound is too small is in ../quantized.py, which uses the same names.

   Every field takes eight bytes, so that Python can write these structures as plain arrays. */

#ifndef RETRIEVAL_STORE_LAYOUT_H
#define RETRIEVAL_STORE_LAYOUT_H

#include <stdint.h>

#define KERNEL_VERSION 8 /* of these structures, of the layout of codes, and of distances; Python compares it */
#define BLOCK 32         /* rows in a block */
#define MOST_TILED 4     /* greatest number of rows in a tile */
#define CHUNK 8          /* consecutive numbers of a row, whose half codes take four bytes */
#define GROUP 16         /* consecutive numbers of a row, whose signs take two bytes */
#define GROUP_BYTES 64   /* bytes of signs for one group and one block: BLOCK bytes for each half of the group */
#define TABLE_BYTES 128  /* bytes of a query's tables for one group, for the lower and upper halves of bytes */
#define CACHED_BYTES 65536 /* bytes of codes that a group of queries scans before the next group does */
#define DIGITS (8 + 8 * MOST_TILED) /* greatest number of bytes of a query's digits for one chunk */
#define ROUNDOFF 5.9604644775390625e-08 /* the unit roundoff of float32, 2⁻²⁴ */

enum of_row { SCALE, RESIDUAL, SIDE, REACH, OF_ROW };
enum of_signs { FACTOR, OWN_SIDE, OF_SIGNS }; /* floats that are stored with the signs of a row */

enum metric { COSINE, PRODUCT, L2, L1 };
enum datatype { FLOAT32, FLOAT16, UINT8 };
enum state { DONE, MORE, OUTSIDE, UNSAFE };

/* The codes of consecutive rows in one frame. Row r is number r % BLOCK of block r / BLOCK.

   high: [blocks][BLOCK / T][chunks][T][4] bytes, the upper four bits of the codes, in tiles of T rows
   (`tile_rows`). In chunk j, the lower half of byte b belongs to number 8j + b, and the upper half to number
   8j + 4 + b.

   low: [rows][chunks][4] bytes, the lower four bits, in the same order within a chunk.

   rows: [rows][OF_ROW] for each row the scale, the residual of the upper bits, the side, and the reach, which
   is the norm of the vector that the code stands for. finer: [rows] the residuals of all bits.

   signs: for each block [groups × GROUP_BYTES], then [OF_SIGNS × BLOCK] floats. In a group, byte r of half p
   contains the signs of row r for the numbers 8p to 8p + 7, the first in bit 0. The floats are the factors,
   and copies of the sides, which are NaN for a row without valid bounds.

   slots: [rows], or NULL if row r has the slot first + r. Then `first` is a multiple of BLOCK. */
typedef struct {
    const uint8_t *high, *low;
    const float *rows, *finer;
    const uint8_t *signs;
    const int64_t *slots;
    int64_t first, count, frame;
} Piece;

/* A query vector, rotated and quantized for one frame.

   digits: [chunks][4] for the lower halves of bytes, then [chunks][4] for the upper halves. tiled: the same,
   with every four digits repeated for each row of a tile. sum: the sum of all digits.

   The score of a row is scale × (scale of the row) × product + side × (side of the row) + offset. The error
   of the score is at most by_residual × residual + by_reach × reach + by_side × |side| + constant. spread:
   the share of by_residual and by_reach that is the standard error of the score.

   tables: [groups][TABLE_BYTES] for a scan of signs, or NULL. The product of a row's signs with the query is
   step × (the sum of the row's entries) + base. This product times the row's factor estimates the score, with
   the standard error by_factor × factor. */
typedef struct {
    const int8_t *digits, *tiled;
    uint8_t *tables;
    int64_t sum;
    double scale, offset, side, by_residual, by_reach, by_side, constant, spread, step, base, by_factor;
} Turned;

/* The candidates of one query, and later its hits.

   best: the k greatest lower bounds, as a heap with the least at the front. held: how many of these are
   present. floor: rows with a score below it are excluded.

   slots, uppers: [capacity] the candidates and the upper bounds of their scores. found: the number of
   candidates. The query is given up as hard if there are more than `most` candidates at any time, or more
   than `left` at the end.

   After `decide`, uppers contains distances. chosen: how many of the first entries are hits: the k nearest,
   and those as far as the k-th. tied: whether two hits are equally far.

   passed, refined, measured: for how many rows signs, upper bits and distances were compared. */
typedef struct {
    double floor;
    double *best;
    int64_t k, held;
    int64_t *slots;
    double *uppers;
    int64_t found, capacity, most, left, hard, chosen, tied, passed, refined, measured;
} Sought;

enum row_test { ALL_OF, ANY_OF, NONE_OF, NUMBERED, LISTED };

/* A condition on rows, as a tree of nodes in one array. Each node comes before its terms, which are
   conditions, too. size: the number of nodes of the condition, including its terms.

   NUMBERED: each row has a number. numbers: [count] numbers of `width` bytes, for the rows from `base` on. A
   row fulfils the condition if first <= number < stop. If `among` isn't NULL, the bit of the number in
   `among` must also be 1: bit number % 8 of the byte number / 8 - first / 8. For the rows listed in `over`
   the number doesn't count: they fulfil the condition if `held` lists them. Both lists ascend.

   LISTED: the rows in `held` fulfil the condition. */
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

/* A filter of slots that tests their rows, so that no bitmap of all slots is needed.

   row_of_slot: [slots] the row of each slot, negative for a slot without a row. moved: slots, ascending,
   whose rows are in rows_of_moved instead. mask: a bit for each row, or NULL; test: a condition on rows, or
   NULL. */
typedef struct {
    const int64_t *row_of_slot;
    int64_t slots;
    const int64_t *moved, *rows_of_moved;
    int64_t moved_count;
    const uint8_t *mask;
    const RowTestNode *test;
} RowFilter;

struct distances;

/* A scan of codes for one or more queries.

   turned: [frames][queries]. allowed: a bit for each slot, 1 if its row may be a hit, or NULL. filter:
   applied only to rows that may be near, or NULL. piece, block: where the next call continues. work: about
   how many bytes of codes one call reads.

   distances: [queries], or NULL. If it isn't NULL, the scan begins with the signs. A row whose score may
   reach the floor within `errors` standard errors is compared by its upper bits, within half a standard error
   more. Then it is compared by all bits, and at last by its distance. The blocks whose number is a multiple
   of `stride` are scanned first, so that the floor is high for the others. sampling: whether the scan is
   still at these blocks.

   room: memory for CACHED_BYTES and the upper bits of one block, if four queries are to be compared together,
   or NULL. */
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

/* A scan of vectors.

   rows: [row_count][dimension] of the datatype. slots: [count] the rows to scan, or NULL for the first
   `count` rows. room: [dimension], for a row as float32. length: the norm of the query, which the first call
   sets. row: where the next call continues. work: about how many numbers one call reads.

   Returns OUTSIDE if a slot has no row, and UNSAFE if the norm of the query is so great or small that float32
   might overflow or underflow. */
typedef struct {
    const void *rows;
    const int64_t *slots;
    const float *query;
    float *room;
    Sought *sought;
    int64_t row_count, count, dimension, datatype, metric, row, work;
    double length;
} FloatScan;

/* The transformation of rows before they are quantized.

   centre: [dimension]. For "l2" it is subtracted. For other distances it is a direction, and each row's
   component in this direction is stored separately. signs: [2][dimension] of +1 and -1, which with Hadamard
   matrices make a rotation. */
typedef struct {
    const float *centre, *signs;
    int64_t dimension, metric;
} Frame;

/* Rows to quantize, and where to store their codes. vectors: [count][dimension] of the datatype. The codes
   are stored from row `at` on, as in a Piece. wide, room: [dimension] scratch space of float64 and float32. */
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

/* Rows whose codes are copied into one block of memory. from: pieces of one frame. piece_of, row_of: [count]
   the piece of each row, and the row in it. The other fields are as in Encoding. */
typedef struct {
    const Piece *from;
    const int64_t *piece_of, *row_of;
    int64_t count, chunks;
    uint8_t *high, *low;
    float *rows, *finer;
    uint8_t *signs;
} Gathering;

/* The rows whose distances to compute, as in FloatScan. `decide` takes the slots from a Sought instead. */
typedef struct distances {
    const void *rows;
    const int64_t *slots;
    const float *query;
    float *room;
    double *distances;
    int64_t row_count, count, dimension, datatype, metric;
    double length;
} Distances;

/* A complete search by codes for one query.

   frames: [frame_count] the frames of the codes. wide: [dimension]. turned: [frame_count]. digits:
   [frame_count][DIGITS × chunks]. tables: [frame_count][groups × TABLE_BYTES], or NULL if signs aren't
   scanned. begun: 0 before the first call, which sets the norm of the query.

   Returns UNSAFE if the norm of the query is so great or small that its scores can't be bounded. */
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

/* The position of the lowest bit of a word that isn't 0. */
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

/* The number of rows in a tile. A tile takes at most 256 bytes if possible, because comparing one row reads
   its whole tile. Short rows share a tile, up to four, because then adding up the lanes of a register takes
   less time per row. */
static inline int tile_rows(int64_t chunks) { return chunks < 16 ? MOST_TILED : chunks < 32 ? 2 : 1; }

/* The bytes that the signs of a block take. */
static inline int64_t signs_bytes(int64_t chunks)
{
    return groups_of(chunks) * GROUP_BYTES + OF_SIGNS * BLOCK * (int64_t)sizeof(float);
}

/* The score of a row, which is greater for nearer rows, and a bound of its error, which is infinite if
   float32 can't bound it. */
typedef struct {
    double score, error;
} Scored;

/* The factors that bound the scores of the rows of a block, in float32. */
typedef struct {
    int32_t base;
    float scale, side, by_residual, by_reach, by_side, constant, threshold;
} Bounds;

/* rows.c: which of the slots first + i are allowed, among those whose bit i is set in `wanted`. */
uint32_t allowed_slots(const RowFilter *filter, int64_t first, uint32_t wanted);

/* found.c: how all scans record a candidate. */
void keep_candidate(Sought *sought, int64_t slot, double lower, double upper);
void drop_below_floor(Sought *sought);

/* distances.c: the exact score of a row; prefetch a row. */
double score_of_slot(const Distances *wanted, int64_t slot);
void fetch_row(const Distances *wanted, int64_t slot);

/* codes.c: rotate and quantize a query. */
void turn_query(const float *query, double length, const Frame *frame, double *wide, int8_t *digits,
                uint8_t *tables, Turned *turned);

/* distances.c: the norm of a vector, in float64. */
double length_of(const float *vector, int64_t dimension);

/* distances.c: compute the distances of all candidates in float64, and select the nearest. */
int decide(const Distances *wanted, Sought *sought);

#endif
