/* Distances in float64, by which what may be near is decided. */

#include "exported.h"
#include "kernel.h"
#include "widening.h"

#include <math.h>

#define LANES 4 /* sums go by these, in one order for every row, so that equal rows are equally far */

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

static double distance_of(const Distances *wanted, const float *row)
{
    double length, product;
    if (wanted->metric == L2 || wanted->metric == L1)
        return by_difference(row, wanted->query, wanted->dimension, wanted->metric == L1);
    product = by_product(row, wanted->query, wanted->dimension, &length);
    if (wanted->metric == PRODUCT)
        return 1 - product;
    length *= wanted->length;
    product = length > 0 ? product / length : 0;
    return 1 - (product > 1 ? 1 : product < -1 ? -1 : product);
}

EXPORTED int rs_distances(const Distances *wanted)
{
    for (int64_t i = 0; i < wanted->count; i++) {
        int64_t slot = wanted->slots ? wanted->slots[i] : i;
        if (slot < 0 || slot >= wanted->row_count)
            return OUTSIDE;
        wanted->distances[i] = distance_of(wanted, widened(wanted->rows, slot, wanted->dimension,
                                                           wanted->datatype, wanted->room));
    }
    return DONE;
}
