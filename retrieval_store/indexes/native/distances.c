/* Computes distances in float64, and selects the nearest candidates by them. */

#include "exported.h"
#include "layout.h"
#include "widening.h"

#include <math.h>

#define LANES 4 /* partial sums, added in the same order for every row, so that equal rows have equal distances */

static double all_of(const double *lanes) { return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]); }

static double by_difference(const float *row, const float *query, int64_t dimension, int absolute)
{
    double sums[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= dimension; i += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            double apart = (double)row[i + lane] - query[i + lane];
            sums[lane] += absolute ? fabs(apart) : apart * apart;
        }
    for (; i < dimension; i++) {
        double apart = (double)row[i] - query[i];
        sums[0] += absolute ? fabs(apart) : apart * apart;
    }
    return all_of(sums);
}

static double by_product(const float *row, const float *query, int64_t dimension, double *length)
{
    double sums[LANES] = {0}, squares[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= dimension; i += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            double number = row[i + lane];
            sums[lane] += number * query[i + lane];
            squares[lane] += number * number;
        }
    for (; i < dimension; i++) {
        sums[0] += (double)row[i] * query[i];
        squares[0] += (double)row[i] * row[i];
    }
    *length = sqrt(all_of(squares));
    return all_of(sums);
}

double length_of(const float *vector, int64_t dimension)
{
    double length;
    by_product(vector, vector, dimension, &length);
    return length;
}

EXPORTED double rs_length(const float *vector, int64_t dimension)
{
    return length_of(vector, dimension);
}

static double distance_of(const Distances *wanted, const float *row)
{
    double length, product;
    if (wanted->metric == L2 || wanted->metric == L1)
        return by_difference(row, wanted->query, wanted->dimension, wanted->metric == L1);
    product = by_product(row, wanted->query, wanted->dimension, &length);
    if (wanted->metric == PRODUCT)
        return -product; /* 1 - product would lose the digits of a small product */
    length *= wanted->length;
    product = length > 0 ? product / length : 0;
    return 1 - (product > 1 ? 1 : product < -1 ? -1 : product);
}

#define AHEAD 4 /* how many rows ahead a row is prefetched if rows aren't consecutive in memory */

static double distance_of_slot(const Distances *wanted, int64_t slot)
{
    return distance_of(wanted, widened(wanted->rows, slot, wanted->dimension, wanted->datatype,
                                       wanted->room));
}

double score_of_slot(const Distances *wanted, int64_t slot)
{
    double distance = distance_of_slot(wanted, slot);
    return wanted->metric == COSINE ? 1 - distance : wanted->metric == L2 ? -distance / 2 : -distance;
}

void fetch_row(const Distances *wanted, int64_t slot)
{
    if (slot >= 0 && slot < wanted->row_count)
        fetch(wanted->rows, slot, wanted->dimension, wanted->datatype);
}

EXPORTED int rs_distances(const Distances *wanted)
{
    for (int64_t i = 0; i < wanted->count; i++) {
        if (wanted->slots && i + AHEAD < wanted->count)
            fetch_row(wanted, wanted->slots[i + AHEAD]);
        int64_t slot = wanted->slots ? wanted->slots[i] : i;
        if (slot < 0 || slot >= wanted->row_count)
            return OUTSIDE;
        wanted->distances[i] = distance_of_slot(wanted, slot);
    }
    return DONE;
}

/* Whether candidate `one` comes after candidate `other`: it is farther, or equally far with a greater slot. */
static int comes_after(const Sought *sought, int64_t one, int64_t other)
{
    double apart = sought->uppers[one] - sought->uppers[other];
    return apart > 0 || (apart == 0 && sought->slots[one] > sought->slots[other]);
}

static void swap(Sought *sought, int64_t one, int64_t other)
{
    double distance = sought->uppers[one];
    int64_t slot = sought->slots[one];
    sought->uppers[one] = sought->uppers[other];
    sought->slots[one] = sought->slots[other];
    sought->uppers[other] = distance;
    sought->slots[other] = slot;
}

/* Restore the heap of the first `count` candidates, with the last one at the top, after a change at `at`. */
static void sink(Sought *sought, int64_t at, int64_t count)
{
    int64_t below;
    while ((below = 2 * at + 1) < count) {
        if (below + 1 < count && comes_after(sought, below + 1, below))
            below++;
        if (!comes_after(sought, below, at))
            return;
        swap(sought, at, below);
        at = below;
    }
}

/* Heapsort needs no further memory, and takes the same time for every order. */
static void sort(Sought *sought)
{
    for (int64_t at = sought->found / 2 - 1; at >= 0; at--)
        sink(sought, at, sought->found);
    for (int64_t last = sought->found - 1; last > 0; last--) {
        swap(sought, 0, last);
        sink(sought, 0, last);
    }
}

static void choose_nearest(Sought *sought)
{
    sort(sought);
    sought->chosen = sought->found < sought->k ? sought->found : sought->k;
    while (0 < sought->chosen && sought->chosen < sought->found &&
           sought->uppers[sought->chosen] == sought->uppers[sought->chosen - 1])
        sought->chosen++;
    sought->tied = 0;
    for (int64_t i = 1; i < sought->chosen; i++)
        sought->tied |= sought->uppers[i] == sought->uppers[i - 1];
}

/* Replace the upper bounds of all candidates by distances, and sort by them. If more than `left` candidates
   remain, the query is marked as hard instead. */
int decide(const Distances *wanted, Sought *sought)
{
    drop_below_floor(sought);
    sought->hard = sought->found > sought->left;
    for (int64_t i = 0; i < sought->found && !sought->hard; i++) {
        int64_t slot = sought->slots[i];
        if (i + AHEAD < sought->found)
            fetch_row(wanted, sought->slots[i + AHEAD]);
        if (slot < 0 || slot >= wanted->row_count)
            return OUTSIDE;
        sought->uppers[i] = distance_of_slot(wanted, slot);
    }
    if (!sought->hard)
        choose_nearest(sought);
    return DONE;
}

EXPORTED int rs_decide(const Distances *wanted, Sought *sought) { return decide(wanted, sought); }
