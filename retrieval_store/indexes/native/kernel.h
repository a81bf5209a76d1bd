/* What the compiled functions and their caller share: how codes lie in memory, and what a search
   knows. The proof that no bound is too small stands in ../scan.py; names here are those used there.

   Every field takes eight bytes, so that the caller can lay these out as plain arrays. */

#ifndef RETRIEVAL_STORE_KERNEL_H
#define RETRIEVAL_STORE_KERNEL_H

#include <stdint.h>

#define KERNEL_VERSION 7 /* of these structs, of how codes lie and of what distances mean; the caller asks for it */
#define BLOCK 32         /* rows of a block */
#define CHUNK 8          /* numbers of a row that stand together, in four bytes */
#define GROUP 16         /* numbers of a row whose signs stand together in clusters, in two bytes */
#define GROUP_BYTES 64   /* of a group of a block: BLOCK bytes for each half */
#define TABLE_BYTES 128  /* of a query's tables for a group: of lower and of upper halves of bytes */
#define OF_PLACE 12      /* bytes of a place besides its bits */
#define ROUNDOFF 5.9604644775390625e-08 /* of float32, 2⁻²⁴ */

enum of_row { SCALE, RESIDUAL, SIDE, REACH, OF_ROW };

enum metric { COSINE, PRODUCT, L2, L1 };
enum datatype { FLOAT32, FLOAT16, UINT8 };
enum state { DONE, MORE, OUTSIDE, UNSAFE };

/* Codes of rows in one frame. Row r is the r % BLOCK-th of the block r / BLOCK.
   high: [blocks][chunks][BLOCK][4] bytes, the upper four bits of the numbers: of chunk j the byte b
   has number 8j + b in its lower half, and 8j + 4 + b in its upper one. low: [rows][chunks][4], the
   lower four bits, laid out alike. rows: [blocks][OF_ROW][BLOCK] scales, residuals of the upper
   bits alone, sides, and reaches: how long what codes stand for is. finer: [rows] residuals of all
   bits. slots: [rows], or NULL where row r has the slot first + r; first is a multiple of BLOCK. */
typedef struct {
    const uint8_t *high, *low;
    const float *rows, *finer;
    const int64_t *slots;
    int64_t first, count, frame;
} Piece;

/* A query in one frame. digits: [chunks][4] for lower halves of bytes, then [chunks][4] for upper
   ones; sum: of all digits. A score is scale × scale of the row × product + side × side of the row +
   offset; a bound of its error is by_residual × residual + by_reach × reach + by_side × |side| +
   constant. */
typedef struct {
    const int8_t *digits;
    int64_t sum;
    double scale, offset, side, by_residual, by_reach, by_side, constant;
} Turned;

/* What one query has found. best: the k largest lower bounds, the least of them first (a heap), of
   which `held` are there; floor: no row whose score is below it is looked for; slots, uppers:
   [capacity] the rows that may be among the nearest, and their upper bounds; most: how many of these
   there may be at any time, and left: at last, before the query is given up as hard. Once they are decided (see
   `decide`) uppers holds distances instead; chosen: how many, from the first, are the k nearest and
   those that are as far as the k-th; tied: whether any two of these are equally far. */
typedef struct {
    double floor;
    double *best;
    int64_t k, held;
    int64_t *slots;
    double *uppers;
    int64_t found, capacity, most, left, hard, chosen, tied;
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
} RowTest;

/* Which slots are allowed, by their rows, without a pass over all slots. row_of_slot: [slots], negative
   where no row has the slot; but the slots `moved`, ascending, belong to other rows. mask: a bit for
   each row, or NULL; test: of rows, or NULL. */
typedef struct {
    const int64_t *row_of_slot;
    int64_t slots;
    const int64_t *moved, *rows_of_moved;
    int64_t moved_count;
    const uint8_t *mask;
    const RowTest *test;
} RowFilter;

/* A search by codes. turned: [frames][queries]; allowed: bits by slot, 1 where a row may be found, or
   NULL; filter: asked only for rows that may be near, or NULL; piece, block: where it goes on; work: how
   many bytes of codes one call looks at, about. */
typedef struct {
    const Piece *pieces;
    int64_t piece_count;
    const Turned *turned;
    Sought *sought;
    int64_t queries, chunks;
    const uint32_t *allowed;
    const RowFilter *filter;
    int64_t piece, block, work;
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
} Gathering;

/* Rows whose distances are wanted, as in FloatScan. (`decide` takes the slots of a Sought.) */
typedef struct {
    const void *rows;
    const int64_t *slots;
    const float *query;
    float *room;
    double *distances;
    int64_t row_count, count, dimension, datatype, metric;
    double length;
} Distances;

/* All of a search by codes for one query. frames: [frame_count] of the codes; wide: [dimension]; turned:
   [frame_count]; digits: [frame_count][8 × chunks]; begun: 0 before the first call, which fills in the
   length. UNSAFE is returned where the query is so long or short that its scores can't be bounded. */
typedef struct {
    const float *query;
    const Frame *const *frames;
    int64_t frame_count;
    double *wide;
    Turned *turned;
    int8_t *digits;
    Scan *scan;
    Distances *rows;
    int64_t begun;
} Search;

/* Places of clusters, in blocks of BLOCK: a place holds one bit of each number of what the cluster's
   centre leaves of a row, two factors, and the row's slot. A row has a place in each of its clusters.
   blocks: [blocks][groups × GROUP_BYTES of bits, then of each place the offset, the factor (float)
   and the slot (uint32)]: byte j of the pair p of a group has of place j the signs of the numbers
   8p .. 8p + 7, the first in bit 0. offsets: [clusters + 1] the first place of each cluster. */
typedef struct {
    const uint8_t *blocks;
    const int64_t *offsets;
} Places;

/* A row that may be near, and its estimated score. */
typedef struct {
    float score;
    uint32_t slot;
} Estimate;

/* A search of clusters, in steps: `rank` makes the query ready and finds the nearest clusters, `scan`
   looks at places, and `decide` at the rows of the best estimates. What the nearest clusters hold says
   what score the k-th hit has at least, the floor; by it the others are put in order: how far their
   centre's score is from the floor, in radii. A wide cluster may reach it from farther away.

   parts: places of rows of different age, of the same clusters; centres: their codes, in the frame
   `centre_frame`; radii: [clusters] the root mean square of what their centres leave of rows; frame: of the places' bits, its centre is the mean of all rows; query: [dimension],
   of that length; unit, wide: room for as many numbers; turned, digits: the query for centres; tables:
   [groups][TABLE_BYTES] the query for bits: the product of a place's signs with the query is step ×
   the sum of its entries + base; products, terms, levels, order: [clusters]: of the codes' upper
   halves, scores, which come first, and the clusters, of which so many are `ordered`, those before this
   `level`; floor: NAN until it is known; usual, slope: where the floor is below the usual one, exp(slope ×
   the difference) times as much is wanted; allowed: bits by slot, or NULL;
   filter: of rows, where these bits are NULL, or NULL; limit: slots from here on are none; next: the place in `order` where it goes on; wanted: how many allowed places to look at,
   looked: places whether allowed or not; asked, passed: of rows whose estimates were good enough, and of
   these the allowed ones; found: [capacity] the best `most` so
   far, and others; index: [index_size], a power of two, to find slots that come twice; rows, sought:
   what is decided about, of which the k nearest are found. A call looks at about `work` places. */
typedef struct {
    const Places *parts;
    int64_t part_count;
    const Piece *centres;
    const float *radii;
    const Frame *centre_frame, *frame;
    const float *query;
    float *unit;
    double *wide;
    Turned *turned;
    int8_t *digits;
    uint8_t *tables;
    const uint32_t *allowed;
    const RowFilter *filter;
    int64_t groups, limit, clusters, chunks;
    int32_t *products;
    float *terms;
    int32_t *levels, *order;
    int64_t ordered, level, next, wanted, looked, asked, passed;
    Estimate *found;
    int64_t count, capacity, most;
    uint32_t *index;
    int64_t index_size, work;
    Distances *rows;
    Sought *sought;
    double length, threshold, step, base, floor, usual, slope;
} ClusterScan;

/* Rows whose places of one cluster are made. rows: [row_count][dimension] of the datatype; slots:
   [count]; centre: [dimension] of the cluster; at: the first place in `blocks`; room, other:
   [dimension] float32. The centre of the frame is the mean of all rows, whatever the metric is. */
typedef struct {
    const Frame *frame;
    const void *rows;
    const uint32_t *slots;
    int64_t row_count, datatype, count, at;
    const float *centre;
    uint8_t *blocks;
    float *room, *other;
} ClusterEncoding;

typedef struct {
    const char *name;
    int (*scan)(Scan *);
    int (*scan_floats)(FloatScan *);
    void (*rank_clusters)(ClusterScan *);
    int (*scan_clusters)(ClusterScan *);
} InstructionSet;

extern const InstructionSet scalar_set, avx2_set, avx512_set, neon_set;

/* For the rows of one block: by what their scores are bounded, in float32. */
typedef struct {
    int32_t base;
    float scale, side, by_residual, by_reach, by_side, constant, threshold;
} Bounds;

#define ASKED 64 /* slots that a filter is asked for together */

/* rows.c: which of the slots `first` + i, whose bits i are set in `wanted`, are allowed; the same of
   `count` slots, at most ASKED, that lie apart, so that the processor fetches what is known of several at
   a time. */
uint32_t allowed_slots(const RowFilter *filter, int64_t first, uint32_t wanted);
void ask_slots(const RowFilter *filter, const uint32_t *slots, int count, uint8_t *allowed);

/* found.c: what all searches do with a row that may be near. */
void take(Sought *sought, int64_t slot, double lower, double upper);
void drop_below_floor(Sought *sought);

/* clusters.c: keep the best `most` estimates, each slot once; whoever is worse than the worst of
   these needn't be taken. */
void keep_best(ClusterScan *scan);

/* clusters.c: the k-th best of the estimates so far, or the worst where there are fewer. */
double score_of_kth(ClusterScan *scan, int64_t k);

/* distances.c: the distance of a row; have the processor fetch it; put what was found in order, and say
   which are the nearest. */
double distance_of_slot(const Distances *wanted, int64_t slot);
void fetch_row(const Distances *wanted, int64_t slot);
void choose_nearest(Sought *sought);

/* codes.c: make a query ready for codes. */
void turn_query(const float *query, double length, const Frame *frame, double *wide, int8_t *digits,
                Turned *turned);

/* codes.c: the rotation of a frame, of a row and of a query. */
void rotate_row(float *row, const Frame *frame);
void rotate_query(double *query, const Frame *frame);

/* distances.c: the length of a vector, in float64. */
double length_of(const float *vector, int64_t dimension);

/* distances.c: decide by distances in float64 which of the rows that may be near are nearest. */
int decide(const Distances *wanted, Sought *sought);

#endif
