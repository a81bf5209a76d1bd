/* The scan of vectors, the same for all instruction sets. A file that includes this defines these functions
   before:

   row_sums: Σ x q and Σ x²; row_distance: Σ (x - q)², or Σ |x - q|; all in float32.

   The error of a sum of n float32 numbers in any order is at most γ = n u / (1 - n u) times the sum of their
   absolute values, with u = 2⁻²⁴ (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., section
   3.1). Computing the terms and the score adds a few roundings.

   Rows are scanned one after another. Scanning four at once was no faster for short rows, and took three
   times as long for long rows, because processors prefetch what is read in order. */

#include "widening.h"

#include <math.h>

#define LARGEST_SQUARE 1e24f            /* greatest squared norm or distance with proven bounds */
#define SMALLEST_SQUARE 1e-24f
#define FETCHED 16 /* how many rows ahead a row is prefetched if rows aren't consecutive in memory */

static Scored scored_by_distance(const FloatScan *scan, const float *row, double gamma)
{
    float distance = row_distance(row, scan->query, scan->dimension, scan->metric == L1);
    int lost = scan->metric == L2 && distance < SMALLEST_SQUARE;
    Scored scored = {0, INFINITY};
    if (distance < LARGEST_SQUARE && !lost) {
        scored.score = -(double)distance;
        scored.error = 2 * gamma * distance + 1e-35;
    }
    return scored;
}

/* Whether all numbers of a row are 0. (Numbers below 1e-23 aren't, but float32 rounds their squares to 0.) */
static int is_zero(const float *row, int64_t dimension)
{
    for (int64_t i = 0; i < dimension; i++)
        if (row[i] != 0)
            return 0;
    return 1;
}

static Scored scored_by_product(const FloatScan *scan, const float *row, double gamma)
{
    float product, square;
    Scored scored = {0, INFINITY};
    row_sums(row, scan->query, scan->dimension, &product, &square);
    if (!(square < LARGEST_SQUARE) || (square < SMALLEST_SQUARE && !is_zero(row, scan->dimension)))
        return scored;
    double lengths = sqrt((double)square) * scan->length;
    scored.score = scan->metric == PRODUCT ? product : lengths > 0 ? product / lengths : 0;
    /* 1e-15: the rounding error of 1 - cosine */
    scored.error = scan->metric == PRODUCT ? 2 * gamma * lengths : 4 * gamma + 1e-15;
    return scored;
}

/* Scan about as many vectors as `work` allows. Returns MORE if vectors are left. */
static int scan_floats(FloatScan *scan)
{
    double gamma = (double)(scan->dimension + 16) * ROUNDOFF;
    int by_distance = scan->metric == L2 || scan->metric == L1;
    int64_t left = scan->work / (scan->dimension > 0 ? scan->dimension : 1) + 1;
    for (; scan->row < scan->count; scan->row++) {
        int64_t slot = scan->slots ? scan->slots[scan->row] : scan->row;
        if (slot < 0 || slot >= scan->row_count)
            return OUTSIDE;
        if (!left--)
            return MORE;
        int64_t ahead = scan->slots && scan->row + FETCHED < scan->count ? scan->slots[scan->row + FETCHED] : -1;
        if (ahead >= 0 && ahead < scan->row_count)
            fetch(scan->rows, ahead, scan->dimension, scan->datatype);
        const float *row = widened(scan->rows, slot, scan->dimension, scan->datatype, scan->room);
        Scored scored = by_distance ? scored_by_distance(scan, row, gamma)
                                    : scored_by_product(scan, row, gamma);
        if (scored.score + scored.error < scan->sought->floor)
            continue;
        keep_candidate(scan->sought, slot, scored.score - scored.error, scored.score + scored.error);
        if (scan->sought->hard)
            return DONE;
    }
    return DONE;
}
