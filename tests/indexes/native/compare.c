/* Every instruction set of this processor against plain C: the same rows found of the same codes, and
   of the same vectors, for dimensions and counts that fill no register. Exits with 1 at a difference.

       cc compare.c ../../../retrieval_store/indexes/native/[sources].c -o compare -lm && ./compare */

#include "kernel.h"

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
             Turned *turned);
void rs_gather(const Gathering *to);
int64_t rs_test_rows(const RowTest *test, const int64_t *rows, int64_t start, int64_t count,
                     uint32_t *bits);
double rs_length(const float *vector, int64_t dimension);
int rs_search(const InstructionSet *set, Search *search);
int rs_cluster_encode(const ClusterEncoding *to);
void rs_cluster_rank(const InstructionSet *set, ClusterScan *scan);
int rs_cluster_scan(const InstructionSet *set, ClusterScan *scan);

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
                   room(blocks * OF_ROW * BLOCK, 4), room(blocks * BLOCK, 4), NULL, 0, count, 0};
    double *wide = room(dimension, 8);
    float *own = room(dimension, 4);
    Encoding encoding = {&frame, rows, count, FLOAT32, 0, (uint8_t *)piece.high,
                         (uint8_t *)piece.low, (float *)piece.rows, (float *)piece.finer, wide, own};
    uint32_t *allowed = room(blocks, 4);
    int8_t *digits = room(QUERIES * CHUNK, chunks), *other = room(CHUNK, chunks);
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
    RowTest tests[] = {{ALL_OF, 3, NULL, 0, 0, 0, 0, 0, NULL, NULL, 0, NULL, 0},
                       {NUMBERED, 1, numbers, 2, 0, count, 5, 7, NULL, NULL, 0, NULL, 0},
                       {NUMBERED, 1, numbers, 2, 0, count, 0, 7, NULL, NULL, 0, NULL, 0}};
    RowFilter by_rows = {owners, count, NULL, NULL, 0, NULL, tests};
    for (int i = 0; i < QUERIES; i++) {
        double length = rs_length(queries + i * dimension, dimension);
        if (metric != L1)
            rs_turn(queries + i * dimension, length, &frame, wide, digits + i * CHUNK * chunks, turned + i);
        distances[i] = room(count, 8);
        Distances wanted = {rows, NULL, queries + i * dimension, own, distances[i], count, count,
                            dimension, FLOAT32, metric, length};
        rs_distances(&wanted);
    }
    for (int64_t number = 0; rs_set(number); number++)
        for (int filtered = 0; filtered < 3; filtered++) {
            const char *name = rs_set_name(number);
            for (int together = 1; together <= QUERIES && metric != L1; together += QUERIES - 1) {
                All *all = sought_of(count);
                for (int first = 0; first < QUERIES; first += together) {
                    Scan scan = {&piece, 1, turned + first, all->sought + first, together, chunks,
                                 filtered == 1 ? allowed : NULL,
                                 filtered == 2 ? &by_rows : NULL, 0, 0, 64};
                    while (rs_scan(rs_set(number), &scan) == MORE)
                        ;
                }
                for (int i = 0; i < QUERIES; i++)
                    wrong += lost(all->sought + i, distances[i], filtered ? allowed : NULL, count,
                                  "codes", name);
                release(all);
            }
            for (int i = 0; i < QUERIES && metric != L1; i++) { /* all of it in one call */
                All *all = sought_of(count);
                const Frame *frames[] = {&frame};
                Distances by_floats = {rows, NULL, queries + i * dimension, own, NULL, count, 0,
                                       dimension, FLOAT32, metric, 0};
                Turned one;
                Scan scan = {&piece, 1, &one, all->sought, 1, chunks, filtered == 1 ? allowed : NULL,
                             filtered == 2 ? &by_rows : NULL, 0, 0, 64};
                all->sought->left = count;
                Search search = {queries + i * dimension, frames, 1, wide, &one, other, &scan,
                                 &by_floats, 0};
                int state;
                while ((state = rs_search(rs_set(number), &search)) == MORE)
                    ;
                int64_t wanted = 0, chosen = all->sought->chosen;
                for (int64_t row = 0; row < count; row++)
                    wanted += !filtered || (allowed[row / BLOCK] >> row % BLOCK & 1);
                int bad = state != DONE || chosen < (wanted < K ? wanted : K);
                for (int64_t at = 0; at < chosen; at++)
                    bad |= all->sought->uppers[at] != distances[i][all->sought->slots[at]];
                if (bad)
                    printf("one call by %s is wrong: %d, %lld of %lld, kind %d\n", name, state,
                           (long long)chosen, (long long)wanted, filtered);
                wrong += bad + lost(all->sought, distances[i], filtered ? allowed : NULL, 0, "", name);
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
                   (void *)piece.rows, (void *)piece.finer, wide, own, allowed, digits,
                   other, owners, numbers};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        free(all[i]);
    for (int i = 0; i < QUERIES; i++)
        free(distances[i]);
    return wrong;
}

#define CLUSTERS 40 /* more than are looked at first */

/* Rows in one or two clusters each, searched by every instruction set: slots that are allowed, each
   once, nearest first, the same by all sets, and the very nearest row among them. */
static int compare_clusters(int64_t dimension, int64_t count, int64_t metric)
{
    int64_t groups = (dimension + GROUP - 1) / GROUP, chunks = (dimension + CHUNK - 1) / CHUNK;
    int64_t blocks = (2 * count + BLOCK - 1) / BLOCK, bytes = groups * GROUP_BYTES + OF_PLACE * BLOCK;
    float *rows = room(count * dimension, 4), *centres = room(CLUSTERS * dimension, 4);
    float *mean = room(dimension, 4), *signs = room(2 * dimension, 4), *query = room(dimension, 4);
    float *own = room(dimension, 4), *other = room(dimension, 4);
    double *wide = room(dimension, 8);
    for (int64_t i = 0; i < count * dimension; i++)
        rows[i] = (float)chance();
    for (int64_t i = 0; i < CLUSTERS * dimension; i++)
        centres[i] = (float)(chance() / 4);
    for (int64_t i = 0; i < 2 * dimension; i++)
        signs[i] = chance() < 0 ? -1 : 1;
    Frame frame = {mean, signs, dimension, metric};
    uint8_t *places = room(blocks, bytes);
    uint32_t *slots = room(count, 4), *allowed = room((count + BLOCK - 1) / BLOCK, 4);
    int64_t offsets[CLUSTERS + 1] = {0};
    for (int64_t cluster = 0; cluster < CLUSTERS; cluster++) {
        int64_t found = 0;
        for (int64_t row = 0; row < count; row++)
            if (row % CLUSTERS == cluster || row / 3 % CLUSTERS == cluster)
                slots[found++] = (uint32_t)row;
        ClusterEncoding encoding = {&frame, rows, slots, count, FLOAT32, found, offsets[cluster],
                                    centres + cluster * dimension, places, own, other};
        if (rs_cluster_encode(&encoding) != DONE)
            return 1;
        offsets[cluster + 1] = offsets[cluster] + found;
    }
    Frame centre_frame = {mean, signs, dimension, metric == L2 ? L2 : PRODUCT};
    int64_t centre_rows = (CLUSTERS + BLOCK - 1) / BLOCK * BLOCK;
    Piece piece = {room(centre_rows * chunks, 4), room(centre_rows * chunks, 4),
                   room(OF_ROW * centre_rows, 4), room(centre_rows, 4), NULL, 0, CLUSTERS, 0};
    Encoding encoding = {&centre_frame, centres, CLUSTERS, FLOAT32, 0, (uint8_t *)piece.high,
                         (uint8_t *)piece.low, (float *)piece.rows, (float *)piece.finer, wide, own};
    rs_encode(&encoding);
    for (int64_t block = 0; block < (count + BLOCK - 1) / BLOCK; block++)
        allowed[block] = (uint32_t)(int32_t)(chance() * 2147483647.0) * 2654435761u;
    int64_t *owners = room(count, 8); /* rows in falling order */
    uint8_t *mask = room(count / 8 + 1, 1);
    int64_t width = 1 << count % 3;
    uint8_t *numbers = room(count, width); /* 5 or 6 of an allowed row, else 4 or 7 … */
    int64_t *over = room(count, 8), *held = room(count, 8), overs = 0, helds = 0; /* … but for these */
    for (int64_t slot = 0; slot < count; slot++) {
        int is_allowed = allowed[slot / BLOCK] >> slot % BLOCK & 1;
        owners[slot] = is_allowed || slot % 2 ? count - 1 - slot : -1;
        int64_t row = count - 1 - slot;
        mask[row / 8] |= (uint8_t)(is_allowed << row % 8);
        int said = slot % 5 ? is_allowed : !is_allowed;
        uint32_t told = (uint32_t)(row % 2 ? 4 + said : 7 - said);
        uint8_t one = (uint8_t)told;
        uint16_t two = (uint16_t)told;
        memcpy(numbers + row * width, width == 1 ? (void *)&one : width == 2 ? (void *)&two : &told,
               (size_t)width);
    }
    int64_t *moved = room(count, 8), *moved_rows = room(count, 8), moves = 0;
    for (int64_t slot = 0; slot < count; slot += 3) {
        moved[moves] = slot;
        moved_rows[moves++] = owners[slot];
        owners[slot] = count / 2;
    }
    for (int64_t row = 0; row < count; row++) {
        if ((count - 1 - row) % 5 == 0) {
            over[overs++] = row;
            if (mask[row / 8] >> row % 8 & 1)
                held[helds++] = row;
        }
    }
    int64_t capacity = 2 * count + 64, size = 1, wrong = 0;
    while (size < 2 * capacity)
        size *= 2;
    Estimate *found = room(capacity, 8);
    uint32_t *index = room(size, 4);
    int8_t *digits = room(CHUNK, chunks);
    uint8_t *tables = room(groups, TABLE_BYTES);
    double *distances = room(count, 8);
    for (int kind = 0; kind < 3; kind++) { /* all, some, and slots below a limit */
        int64_t first[K], firsts = -1, limit = kind == 2 ? count / 2 : count;
        double length = 0;
        for (int64_t i = 0; i < dimension; i++) {
            query[i] = (float)chance();
            length += (double)query[i] * query[i];
        }
        length = sqrt(length);
        Distances wanted = {rows, NULL, query, own, distances, count, count, dimension, FLOAT32,
                            metric, length};
        rs_distances(&wanted);
        for (int64_t number = 0; rs_set(number); number++) {
            int32_t products[CLUSTERS], levels[CLUSTERS], order[CLUSTERS];
            float terms[CLUSTERS], radii[CLUSTERS];
            for (int i = 0; i < CLUSTERS; i++)
                radii[i] = 1 + (float)(i % 3);
            Turned turned;
            Places parts[] = {{places, offsets}};
            All *all = sought_of(count);
            int64_t way = kind == 1 ? (number + count) % 3 : 3; /* the same rows said in three ways */
            RowTest test = {NUMBERED, 1, numbers, width, 0, count, 5, 7, NULL, over, overs, held, helds};
            RowFilter filter = {owners, count, moved, moved_rows, moves, way == 1 ? mask : NULL,
                                way == 2 ? &test : NULL};
            ClusterScan scan = {parts, 1, &piece, radii, &centre_frame, &frame, query, other, wide,
                                &turned, digits, tables, way == 0 ? allowed : NULL,
                                way == 1 || way == 2 ? &filter : NULL, groups, limit,
                                CLUSTERS, chunks, products, terms, levels, order, 0, 0, 0, 16 * count,
                                0, 0, 0, found, 0, capacity, count, index, size, 16, &wanted,
                                all->sought, length, -INFINITY, 0, 0, NAN, 0.1, 1};
            rs_cluster_rank(rs_set(number), &scan);
            int state;
            while ((state = rs_cluster_scan(rs_set(number), &scan)) == MORE)
                ;
            Sought *sought = all->sought;
            int64_t best = -1, bad = state != DONE;
            for (int64_t row = 0; row < limit; row++)
                if ((kind != 1 || (allowed[row / BLOCK] >> row % BLOCK & 1)) &&
                    (best < 0 || distances[row] < distances[best]))
                    best = row;
            for (int64_t i = 0; i < sought->chosen; i++) {
                int64_t slot = sought->slots[i];
                bad |= slot >= limit || (kind == 1 && !(allowed[slot / BLOCK] >> slot % BLOCK & 1));
                bad |= sought->uppers[i] != distances[slot];
                bad |= i > 0 && (sought->uppers[i] < sought->uppers[i - 1] || slot == sought->slots[i - 1]);
                if (firsts >= 0 && i < firsts)
                    bad |= first[i] != slot;
            }
            bad |= best >= 0 && (!sought->chosen || distances[sought->slots[0]] != distances[best]);
            bad |= firsts >= 0 && firsts != sought->chosen;
            firsts = sought->chosen < K ? sought->chosen : K;
            for (int64_t i = 0; i < firsts; i++)
                first[i] = sought->slots[i];
            if (bad)
                printf("clusters by %s: wrong for %lld rows of %lld\n", rs_set_name(number),
                       (long long)count, (long long)dimension);
            wrong += bad;
            release(all);
        }
    }
    slots[0] = (uint32_t)count; /* of no row */
    ClusterEncoding outside = {&frame, rows, slots, count, FLOAT32, 1, 0, centres, places, own, other};
    wrong += rs_cluster_encode(&outside) != OUTSIDE;
    void *all[] = {rows, centres, mean, signs, query, own, other, wide, places, slots, allowed, owners,
                   mask, numbers, over, held, moved, moved_rows, found, index, digits, tables, distances, (void *)piece.high, (void *)piece.low,
                   (void *)piece.rows, (void *)piece.finer};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        free(all[i]);
    return (int)wrong;
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
                   room(2 * OF_ROW * BLOCK, 4), room(2 * BLOCK, 4), NULL, 0, count, 0};
    double *wide = room(dimension + 1, 8);
    int8_t *digits = room(CHUNK, chunks + 1);
    Encoding encoding = {&frame, rows, count, FLOAT32, 0, (uint8_t *)piece.high,
                         (uint8_t *)piece.low, (float *)piece.rows, (float *)piece.finer, wide, own};
    rs_encode(&encoding);
    for (int64_t row = 0; row < 16; row++) {
        const float *query = rows + row * dimension;
        double length = (double)odd[row % 8];
        for (int64_t number = 0; rs_set(number); number++)
            for (int i = 0; i < 5; i++) {
                Turned turned;
                rs_turn(query, length, &frame, wide, digits, &turned);
                turned.sum = i < 4 ? sums[i] : turned.sum;
                All *all = sought_of(count);
                Scan scan = {&piece, 1, &turned, all->sought, 1, chunks, NULL, NULL, 0, 0, 64};
                while (rs_scan(rs_set(number), &scan) == MORE)
                    ;
                FloatScan floats = {rows, NULL, query, own, all->sought + 1, count, count, dimension,
                                    FLOAT32, metric, 0, 64, length};
                while (rs_scan_floats(rs_set(number), &floats) == MORE)
                    ;
                release(all);
            }
    }
    void *all[] = {rows, own, centre, signs, (void *)piece.high, (void *)piece.low,
                   (void *)piece.rows, (void *)piece.finer, wide, digits};
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
    RowTest tests[] = {{ANY_OF, 6, NULL, 0, 0, 0, 0, 0, NULL, NULL, 0, NULL, 0},
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
    static const int64_t dimensions[] = {1, 2, 7, 8, 9, 20, 31, 64, 77, 100, 257};
    static const int64_t counts[] = {1, 5, 31, 32, 33, 200};
    int wrong = wrong_tests, tried = 0;
    for (size_t d = 0; d < sizeof(dimensions) / sizeof(*dimensions); d++)
        for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++)
            for (int64_t metric = COSINE; metric <= L1; metric++, tried++)
                wrong += compare(dimensions[d], counts[c], metric);
    for (size_t d = 2; d < sizeof(dimensions) / sizeof(*dimensions); d++) /* of few numbers many tie */
        for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++)
            for (int64_t metric = COSINE; metric < L1; metric++, tried++)
                wrong += compare_clusters(dimensions[d], counts[c], metric);
    printf("%d sets of vectors by", tried);
    for (int64_t number = 0; rs_set_name(number); number++)
        printf(" %s", rs_set_name(number));
    printf(": %d wrong\n", wrong);
    return wrong != 0;
}
