/* Every instruction set of this processor against plain C: the same rows found of the same codes, and
   of the same vectors, for dimensions and counts that fill no register. Exits with 1 at a difference.

       cc compare.c ../../../retrieval_store/indexes/native/[sources].c -o compare -lm && ./compare */

#include "layout.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const InstructionSet *rs_set(int64_t number);
const char *rs_set_name(int64_t number);
int rs_scan(const InstructionSet *set, Scan *scan);
int rs_scan_floats(const InstructionSet *set, FloatScan *scan);
int rs_distances(const Distances *wanted);
void rs_encode(const Encoding *to);
void rs_turn(const float *query, double length, const Frame *frame, double *wide, int8_t *digits,
             uint8_t *tables, Turned *turned);
void rs_gather(const Gathering *to);
int64_t rs_test_rows(const RowTestNode *test, const int64_t *rows, int64_t start, int64_t count,
                     uint32_t *bits);
double rs_length(const float *vector, int64_t dimension);
int rs_search(const InstructionSet *set, Search *search);

static uint64_t seed = 88172645463325252u;

static double chance(void) /* xorshift: in [-1, 1) */
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) / 4503599627370496.0 - 1;
}

static void *room(int64_t count, int64_t size) /* of just that size, so that sanitizers see more */
{
    void *made = calloc((size_t)count, (size_t)size);
    if (!made)
        exit(2);
    return made;
}

#define QUERIES 6
#define K 5

typedef struct {
    Sought sought[QUERIES];
} All;

static All *sought_of(int64_t count)
{
    All *all = room(1, sizeof(All));
    for (int i = 0; i < QUERIES; i++) {
        Sought *one = all->sought + i;
        one->floor = -INFINITY;
        one->best = room(K, 8);
        one->k = K;
        one->slots = room(count + 1, 8);
        one->uppers = room(count + 1, 8);
        one->capacity = count + 1;
        one->most = count;
    }
    return all;
}

static int by_slot(const void *one, const void *other)
{
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

/* What is left of each query, in order; bounds may differ by roundings, so no more than a few. */
static int64_t left_of(Sought *sought)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < sought->found; i++)
        if (sought->uppers[i] >= sought->floor)
            sought->slots[kept++] = sought->slots[i];
    qsort(sought->slots, (size_t)kept, 8, by_slot);
    return kept;
}

static int is_found(const Sought *sought, int64_t kept, int64_t slot)
{
    return bsearch(&slot, sought->slots, (size_t)kept, 8, by_slot) != NULL;
}

static void release(All *all)
{
    for (int i = 0; i < QUERIES; i++) {
        free(all->sought[i].best);
        free(all->sought[i].slots);
        free(all->sought[i].uppers);
    }
    free(all);
}

/* The K nearest in float64 must be among what each search has left. */
static int lost(Sought *sought, const double *distances, const uint32_t *allowed, int64_t count,
                const char *what, const char *set)
{
    int64_t kept = left_of(sought);
    for (int64_t row = 0; row < count; row++) {
        int64_t nearer = 0;
        if (allowed && !(allowed[row / BLOCK] >> row % BLOCK & 1)) {
            if (is_found(sought, kept, row)) {
                printf("%s by %s: row %lld mustn't be found\n", what, set, (long long)row);
                return 1;
            }
            continue;
        }
        for (int64_t other = 0; other < count; other++)
            if (!allowed || (allowed[other / BLOCK] >> other % BLOCK & 1))
                nearer += distances[other] < distances[row];
        if (nearer < K && !is_found(sought, kept, row)) {
            printf("%s by %s: row %lld is lost\n", what, set, (long long)row);
            return 1;
        }
    }
    return 0;
}

static int compare(int64_t dimension, int64_t count, int64_t metric)
{
    int64_t chunks = (dimension + CHUNK - 1) / CHUNK, blocks = (count + BLOCK - 1) / BLOCK;
    float *rows = room(count * dimension, 4), *queries = room(QUERIES * dimension, 4);
    float *centre = room(dimension, 4), *signs = room(2 * dimension, 4);
    for (int64_t i = 0; i < count * dimension; i++)
        rows[i] = (float)chance();
    for (int64_t i = 0; i < QUERIES * dimension; i++)
        queries[i] = (float)chance();
    for (int64_t i = 0; i < 2 * dimension; i++)
        signs[i] = chance() < 0 ? -1 : 1;
    centre[0] = 1;
    Frame frame = {centre, signs, dimension, metric};
    Piece piece = {room(blocks * BLOCK * chunks, 4), room(blocks * BLOCK * chunks, 4),
                   room(blocks * BLOCK * OF_ROW, 4), room(blocks * BLOCK, 4),
                   room(blocks, signs_bytes(chunks)), NULL, 0, count, 0};
    double *wide = room(dimension, 8);
    float *own = room(dimension, 4);
    Encoding encoding = {&frame, rows, count, FLOAT32, 0, (uint8_t *)piece.high,
                         (uint8_t *)piece.low, (float *)piece.rows, (float *)piece.finer,
                         (uint8_t *)piece.signs, wide, own};
    uint32_t *allowed = room(blocks, 4);
    int8_t *digits = room(QUERIES * DIGITS, chunks), *other = room(DIGITS, chunks);
    uint8_t *tables = room(groups_of(chunks), TABLE_BYTES);
    uint8_t *blocks_room = room(CACHED_BYTES + BLOCK * 4 * chunks, 1);
    Turned turned[QUERIES];
    double *distances[QUERIES];
    int wrong = 0;
    if (metric != L1)
        rs_encode(&encoding);
    for (int64_t block = 0; block < blocks; block++)
        allowed[block] = (uint32_t)(int32_t)(chance() * 2147483647.0) * 2654435761u;
    /* The same by rows, of which each slot has the one from the other end: their numbers are 5 or 6. */
    int64_t *owners = room(count, 8);
    uint16_t *numbers = room(count, 2);
    for (int64_t slot = 0; slot < count; slot++) {
        owners[slot] = metric == L2 ? slot : count - 1 - slot;
        numbers[owners[slot]] = (uint16_t)(allowed[slot / BLOCK] >> slot % BLOCK & 1 ? 5 + slot % 2 : 7);
    }
    RowTestNode tests[] = {{ALL_OF, 3, NULL, 0, 0, 0, 0, 0, NULL, NULL, 0, NULL, 0},
                       {NUMBERED, 1, numbers, 2, 0, count, 5, 7, NULL, NULL, 0, NULL, 0},
                       {NUMBERED, 1, numbers, 2, 0, count, 0, 7, NULL, NULL, 0, NULL, 0}};
    RowFilter by_rows = {owners, count, NULL, NULL, 0, NULL, tests};
    /* And by bits of rows, where every 40th slot has moved to the row that it has. */
    uint8_t *mask = room((count + 7) / 8, 1);
    int64_t *before = room(count, 8), *moved = room(count, 8), *moved_rows = room(count, 8), moves = 0;
    for (int64_t slot = 0; slot < count; slot++) {
        int is_allowed = allowed[slot / BLOCK] >> slot % BLOCK & 1;
        mask[owners[slot] / 8] |= (uint8_t)(is_allowed << owners[slot] % 8);
        before[slot] = owners[slot];
        if (slot % 40 == 7) {
            before[slot] = -1;
            moved[moves] = slot;
            moved_rows[moves++] = owners[slot];
        }
    }
    RowFilter by_bits = {before, count, moved, moved_rows, moves, mask, NULL};
    const RowFilter *filters[] = {NULL, NULL, &by_rows, &by_bits};
    for (int i = 0; i < QUERIES; i++) {
        double length = rs_length(queries + i * dimension, dimension);
        if (metric != L1)
            rs_turn(queries + i * dimension, length, &frame, wide, digits + i * DIGITS * chunks, NULL,
                    turned + i);
        distances[i] = room(count, 8);
        Distances wanted = {rows, NULL, queries + i * dimension, own, distances[i], count, count,
                            dimension, FLOAT32, metric, length};
        rs_distances(&wanted);
    }
    for (int64_t number = 0; rs_set(number); number++)
        for (int filtered = 0; filtered < 4; filtered++) {
            const char *name = rs_set_name(number);
            for (int together = 1; together <= QUERIES && metric != L1; together += QUERIES - 1) {
                All *all = sought_of(count);
                for (int first = 0; first < QUERIES; first += together) {
                    Scan scan = {&piece, 1, turned + first, all->sought + first, together, chunks,
                                 filtered == 1 ? allowed : NULL,
                                 filters[filtered], 0, 0, 64, NULL, 1, 0, 0,
                                 together > 1 ? blocks_room : NULL};
                    while (rs_scan(rs_set(number), &scan) == MORE)
                        ;
                }
                for (int i = 0; i < QUERIES; i++)
                    wrong += lost(all->sought + i, distances[i], filtered ? allowed : NULL, count,
                                  "codes", name);
                release(all);
            }
            /* All of it in one call, by a proof and by signs whose errors have no limit. */
            for (int i = 0; i < 2 * QUERIES && metric != L1; i++) {
                int query = i / 2, by_signs = i % 2;
                All *all = sought_of(count);
                const Frame *frames[] = {&frame};
                Distances by_floats = {rows, NULL, queries + query * dimension, own, NULL, count, 0,
                                       dimension, FLOAT32, metric, 0};
                Turned one;
                Scan scan = {&piece, 1, &one, all->sought, 1, chunks, filtered == 1 ? allowed : NULL,
                             filters[filtered], 0, 0, 64, by_signs ? &by_floats : NULL,
                             query + 1, by_signs, 1e9, NULL};
                all->sought->left = count;
                Search search = {queries + query * dimension, frames, 1, wide, &one, other,
                                 by_signs ? tables : NULL, &scan, &by_floats, 0};
                int state;
                while ((state = rs_search(rs_set(number), &search)) == MORE)
                    ;
                int64_t wanted = 0, chosen = all->sought->chosen;
                for (int64_t row = 0; row < count; row++)
                    wanted += !filtered || (allowed[row / BLOCK] >> row % BLOCK & 1);
                int bad = state != DONE || chosen < (wanted < K ? wanted : K);
                for (int64_t at = 0; at < chosen; at++)
                    bad |= all->sought->uppers[at] != distances[query][all->sought->slots[at]];
                if (bad)
                    printf("one call by %s is wrong: %d, %lld of %lld, kind %d\n", name, state,
                           (long long)chosen, (long long)wanted, filtered);
                wrong += bad + lost(all->sought, distances[query], filtered ? allowed : NULL, 0, "", name);
                release(all);
            }
            All *all = sought_of(count);
            for (int i = 0; i < QUERIES && !filtered; i++) {
                double length = 0;
                for (int64_t j = 0; j < dimension; j++)
                    length += (double)queries[i * dimension + j] * queries[i * dimension + j];
                FloatScan scan = {rows, NULL, queries + i * dimension, own, all->sought + i, count,
                                  count, dimension, FLOAT32, metric, 0, 64, sqrt(length)};
                while (rs_scan_floats(rs_set(number), &scan) == MORE)
                    ;
                wrong += lost(all->sought + i, distances[i], NULL, count, "vectors", name);
            }
            release(all);
        }
    void *all[] = {rows, queries, centre, signs, (void *)piece.high, (void *)piece.low,
                   (void *)piece.rows, (void *)piece.finer, (void *)piece.signs, wide, own, allowed, digits,
                   tables, blocks_room, other, owners, numbers, mask, before, moved, moved_rows};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        free(all[i]);
    for (int i = 0; i < QUERIES; i++)
        free(distances[i]);
    return wrong;
}

/* Numbers, lengths, sums and dimensions that callers refuse: what comes of them has no meaning, but
   none is undefined. */
static void refused(int64_t dimension, int64_t metric)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, FLT_MIN / 8, 0, 1};
    static const int64_t sums[] = {INT64_MIN, INT64_MIN + 1, INT64_MAX, INT64_MAX / 15};
    int64_t chunks = (dimension + CHUNK - 1) / CHUNK, count = BLOCK + 8;
    float *rows = room(count * dimension + 1, 4), *own = room(dimension + 1, 4);
    float *centre = room(dimension + 1, 4), *signs = room(2 * dimension + 1, 4);
    for (int64_t i = 0; i < count * dimension; i++)
        rows[i] = i % dimension && i / dimension % 2 ? (float)chance() : odd[(i / dimension + i % 5) % 8];
    for (int64_t i = 0; i < 2 * dimension; i++)
        signs[i] = chance() < 0 ? -1 : 1;
    centre[0] = dimension % 2 ? 1 : INFINITY;
    Frame frame = {centre, signs, dimension, metric};
    Piece piece = {room(2 * BLOCK * chunks + 1, 4), room(2 * BLOCK * chunks + 1, 4),
                   room(2 * OF_ROW * BLOCK, 4), room(2 * BLOCK, 4), room(2, signs_bytes(chunks)), NULL, 0,
                   count, 0};
    double *wide = room(dimension + 1, 8);
    int8_t *digits = room(DIGITS, chunks + 1);
    uint8_t *tables = room(groups_of(chunks) + 1, TABLE_BYTES);
    Encoding encoding = {&frame, rows, count, FLOAT32, 0, (uint8_t *)piece.high,
                         (uint8_t *)piece.low, (float *)piece.rows, (float *)piece.finer,
                         (uint8_t *)piece.signs, wide, own};
    rs_encode(&encoding);
    for (int64_t row = 0; row < 16; row++) {
        const float *query = rows + row * dimension;
        double length = (double)odd[row % 8];
        for (int64_t number = 0; rs_set(number); number++)
            for (int i = 0; i < 5; i++) {
                Turned turned;
                rs_turn(query, length, &frame, wide, digits, tables, &turned);
                turned.sum = i < 4 ? sums[i] : turned.sum;
                All *all = sought_of(count);
                Distances measured = {rows, NULL, query, own, NULL, count, 0, dimension, FLOAT32, metric, length};
                for (int by_signs = 0; by_signs < 2; by_signs++) {
                    Scan scan = {&piece, 1, &turned, all->sought + 2 + by_signs, 1, chunks, NULL, NULL, 0, 0,
                                 64, by_signs ? &measured : NULL, 2, by_signs, 2.5, NULL};
                    while (rs_scan(rs_set(number), &scan) == MORE)
                        ;
                }
                FloatScan floats = {rows, NULL, query, own, all->sought + 1, count, count, dimension,
                                    FLOAT32, metric, 0, 64, length};
                while (rs_scan_floats(rs_set(number), &floats) == MORE)
                    ;
                release(all);
            }
    }
    void *all[] = {rows, own, centre, signs, (void *)piece.high, (void *)piece.low,
                   (void *)piece.rows, (void *)piece.finer, (void *)piece.signs, wide, digits, tables};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        free(all[i]);
}

/* A tree of conditions asked of all rows, of some and one by one: the same. */
static int compare_tests(int64_t count)
{
    uint8_t *bytes = room(count, 1), among = 0x5a;
    uint32_t *words = room(count, 4), *bits = room(count / BLOCK + 1, 4);
    int64_t *over = room(count, 8), *held = room(count, 8), *some = room(count, 8);
    int64_t overs = 0, helds = 0, wrong = 0;
    for (int64_t row = 0; row < count; row++) {
        bytes[row] = (uint8_t)(8 * fabs(chance()));
        words[row] = (uint32_t)(4 * fabs(chance())) - 2;
        if (chance() > 0.9)
            over[overs++] = row;
        if (chance() > 0.5)
            held[helds++] = row;
        some[row] = (row * 7 + 3) % count;
    }
    RowTestNode tests[] = {{ANY_OF, 6, NULL, 0, 0, 0, 0, 0, NULL, NULL, 0, NULL, 0},
                       {NUMBERED, 1, bytes, 1, 0, count, 0, 8, &among, over, overs, held, helds},
                       {NONE_OF, 4, NULL, 0, 0, 0, 0, 0, NULL, NULL, 0, NULL, 0},
                       {NUMBERED, 1, words, 4, 0, count, 0, 4294967295, NULL, NULL, 0, NULL, 0},
                       {NUMBERED, 1, bytes, 1, 0, count, 0, 256, NULL, over, overs, held, helds},
                       {LISTED, 1, NULL, 0, 0, 0, 0, 0, NULL, NULL, 0, held, helds}};
    int64_t found = rs_test_rows(tests, NULL, 0, count, bits), each = 0;
    for (int64_t row = 0; row < count; row++) {
        int64_t one = rs_test_rows(tests, row % 2 ? &row : NULL, row, 1, NULL);
        each += one;
        wrong += one != (bits[row / BLOCK] >> row % BLOCK & 1);
    }
    wrong += each != found || rs_test_rows(tests, some, 0, count % 7 ? count : 0, NULL) != (count % 7 ? found : 0);
    void *all[] = {bytes, words, bits, over, held, some};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        free(all[i]);
    if (wrong)
        printf("conditions on %lld rows are wrong\n", (long long)count);
    return wrong != 0;
}

int main(void)
{
    int wrong_tests = 0;
    for (int64_t count = 0; count < 100; count++)
        wrong_tests += compare_tests(count);
    for (int64_t dimension = 0; dimension < 20; dimension++)
        for (int64_t metric = COSINE; metric < L1; metric++)
            refused(dimension, metric);
    static const int64_t dimensions[] = {1, 2, 7, 8, 9, 20, 31, 64, 77, 100, 128, 257, 523};
    static const int64_t counts[] = {1, 5, 31, 32, 33, 200};
    int wrong = wrong_tests, tried = 0;
    for (size_t d = 0; d < sizeof(dimensions) / sizeof(*dimensions); d++)
        for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++)
            for (int64_t metric = COSINE; metric <= L1; metric++, tried++)
                wrong += compare(dimensions[d], counts[c], metric);
    printf("%d sets of vectors by", tried);
    for (int64_t number = 0; rs_set_name(number); number++)
        printf(" %s", rs_set_name(number));
    printf(": %d wrong\n", wrong);
    return wrong != 0;
}
