/* The search by vectors themselves, the same for all instruction sets. A file that includes this
   defines before

   row_sums: Σ x q and Σ x²; row_distance: Σ (x - q)², or Σ |x - q|; all in float32.

   What sums of n float32 in any order get wrong is at most the share γ = n u / (1 - n u) of the sum
   of the terms' sizes, u = 2⁻²⁴ (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed.,
   section 3.1); a few more roundings come with each term and with what follows.

   One row after another: to look at four at once was no faster where rows are short, and took three
   times as long where they are long, since processors fetch ahead what is read in order. */

#include "widening.h"

#include <math.h>

#define LARGEST_SQUARE 1e24f            /* of rows and of distances; beyond, nothing is proved */
#define SMALLEST_SQUARE 1e-24f
#define FETCHED 16 /* rows that lie apart in memory are fetched so many before they are looked at */

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

/* Numbers below 1e-23 have squares that float32 takes for 0, as those of a row of zeros are. */
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
    /* 1e-15: what is lost of a cosine that is taken from 1 */
    scored.error = scan->metric == PRODUCT ? 2 * gamma * lengths : 4 * gamma + 1e-15;
    return scored;
}

/* Look at vectors for about as long as `work` says; MORE when any are left. */
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
