/* Making places of clusters and tables of queries, and keeping the best of what was found. */

#include "exported.h"
#include "kernel.h"
#include "widening.h"

#include <math.h>
#include <string.h>

#define HIGHEST 63 /* of an entry of a table: four of them fit into a byte */

static int64_t groups_of(int64_t dimension) { return (dimension + GROUP - 1) / GROUP; }

/* Make a query ready. A table has of four numbers the sums with all sixteen choices of signs, less the
   smallest, in steps that are the same for all; each stands there twice, for registers of 32 bytes. */
static void make_tables(ClusterScan *scan)
{
    const Frame *frame = scan->frame;
    const float *query = scan->query, *mean = frame->centre;
    double *wide = scan->wide, length = scan->length;
    int64_t dimension = frame->dimension, count = 4 * groups_of(dimension);
    double widest = 0, base = 0;
    for (int64_t i = 0; i < dimension; i++)
        wide[i] = (frame->metric == COSINE ? query[i] / length : query[i]) - mean[i];
    rotate_query(wide, frame);
    for (int64_t table = 0; table < count; table++) {
        double sum = 0;
        for (int64_t i = 4 * table; i < 4 * table + 4 && i < dimension; i++)
            sum += fabs(wide[i]);
        widest = sum > widest ? sum : widest;
        base -= sum;
    }
    double step = widest > 0 ? 2 * widest / HIGHEST : 1;
    for (int64_t table = 0; table < count; table++) {
        uint8_t *place = scan->tables + table / 4 * TABLE_BYTES + table % 4 / 2 * 32 + table % 2 * 64;
        for (int signs = 0; signs < 16; signs++) {
            double sum = 0; /* twice what has the sign that makes it larger */
            for (int i = 0; i < 4 && 4 * table + i < dimension; i++) {
                double number = wide[4 * table + i];
                sum += (signs >> i & 1) == (number > 0) ? 2 * fabs(number) : 0;
            }
            double entry = rint(sum / step);
            place[signs] = place[signs + 16] = (uint8_t)(entry < HIGHEST ? entry : HIGHEST);
        }
    }
    scan->step = step;
    scan->base = base;
}

/* Make a query ready, for centres too, of which cosines are products with a query of length 1. */
static void begin(ClusterScan *scan)
{
    const float *query = scan->query;
    double length = scan->length;
    if (scan->frame->metric == COSINE) {
        for (int64_t i = 0; i < scan->frame->dimension; i++)
            scan->unit[i] = (float)(query[i] / length);
        query = scan->unit;
        length = 1;
    }
    turn_query(query, length, scan->centre_frame, scan->wide, scan->digits, scan->turned);
    make_tables(scan);
}

EXPORTED void rs_cluster_rank(const InstructionSet *set, ClusterScan *scan)
{
    begin(scan);
    set->rank_clusters(scan);
}

/* What the centre leaves of a row, in `room`; its product with the centre. */
static double left_of(const ClusterEncoding *to, uint32_t slot, double *square)
{
    int64_t dimension = to->frame->dimension;
    const float *row = widened(to->rows, slot, dimension, to->datatype, to->room);
    double length = 1, product = 0;
    *square = 0;
    if (to->frame->metric == COSINE)
        length = length_of(row, dimension);
    length = length > 0 ? length : 1;
    for (int64_t i = 0; i < dimension; i++) {
        double left = row[i] / length - to->centre[i];
        *square += left * left;
        product += left * to->centre[i];
        to->room[i] = (float)left;
    }
    return product;
}

static void place_row(const ClusterEncoding *to, int64_t index)
{
    int64_t dimension = to->frame->dimension, groups = groups_of(dimension), at = to->at + index;
    uint8_t *block = to->blocks + at / BLOCK * (groups * GROUP_BYTES + OF_PLACE * BLOCK);
    uint8_t *rest = block + groups * GROUP_BYTES + 4 * (at % BLOCK);
    double square, product = left_of(to, to->slots[index], &square), sum = 0, of_centre = 0;
    rotate_row(to->room, to->frame);
    for (int64_t byte = 0; byte < groups * 2; byte++) {
        uint8_t signs = 0;
        for (int64_t i = 8 * byte; i < 8 * byte + 8 && i < dimension; i++) {
            int positive = to->room[i] > 0;
            signs |= (uint8_t)(positive << (i - 8 * byte));
            sum += fabs(to->room[i]);
            of_centre += positive ? to->other[i] : -to->other[i];
        }
        block[byte * BLOCK + at % BLOCK] = signs;
    }
    double factor = sum > 0 ? square / sum : 0;
    float offset = (float)((to->frame->metric == L2 ? -square / 2 : product) - factor * of_centre);
    float scale = (float)factor;
    memcpy(rest, &offset, 4);
    memcpy(rest + 4 * BLOCK, &scale, 4);
    memcpy(rest + 8 * BLOCK, &to->slots[index], 4);
}

/* Make the places of rows; OUTSIDE where there is no row for a slot. For a row x with the centre c,
   r = x - c, and s the signs of r after the rotation, r·(q - c) is estimated as |r|² s·(q - c) / s·r
   (RaBitQ, arXiv 2405.12497): unbiased, since signs after a random rotation are wrong in no
   direction. So -|x - q|²/2 is about -|r|²/2 - |q - c|²/2 + g s·(q - c), and x·q about r·c + c·q +
   g s·(q - c), with g = |r|² / s·r. What depends on the row alone is its offset and its factor g;
   s·(q - c) is s·(q - m) - s·(c - m), where m is the mean, so that one table a query does for all. */
EXPORTED int rs_cluster_encode(const ClusterEncoding *to)
{
    int64_t dimension = to->frame->dimension;
    for (int64_t i = 0; i < dimension; i++)
        to->other[i] = to->centre[i] - to->frame->centre[i];
    rotate_row(to->other, to->frame);
    for (int64_t index = 0; index < to->count; index++) {
        if (to->slots[index] >= to->row_count)
            return OUTSIDE;
        place_row(to, index);
    }
    return DONE;
}

/* Let each slot be there once, with the best of its scores. */
static void drop_twins(ClusterScan *scan)
{
    int64_t kept = 0;
    memset(scan->index, 0xff, 4 * (size_t)scan->index_size);
    for (int64_t i = 0; i < scan->count; i++) {
        Estimate one = scan->found[i];
        int64_t place = one.slot * 0x9e3779b1u & (scan->index_size - 1);
        while (scan->index[place] != 0xffffffffu &&
               scan->found[scan->index[place]].slot != one.slot)
            place = (place + 1) & (scan->index_size - 1);
        if (scan->index[place] == 0xffffffffu) {
            scan->index[place] = (uint32_t)kept;
            scan->found[kept++] = one;
        } else if (one.score > scan->found[scan->index[place]].score) {
            scan->found[scan->index[place]].score = one.score;
        }
    }
    scan->count = kept;
}

/* Bring the `most` best to the front, in no order. */
static void select_best(Estimate *found, int64_t count, int64_t most)
{
    int64_t first = 0, last = count - 1;
    while (first < last) {
        float pivot = found[first + (last - first) / 2].score;
        int64_t i = first, j = last;
        while (i <= j) {
            while (found[i].score > pivot)
                i++;
            while (found[j].score < pivot)
                j--;
            if (i <= j) {
                Estimate one = found[i];
                found[i++] = found[j];
                found[j--] = one;
            }
        }
        if (most <= j)
            last = j;
        else if (most >= i)
            first = i;
        else
            return;
    }
}

void keep_best(ClusterScan *scan)
{
    drop_twins(scan);
    if (scan->count <= scan->most)
        return;
    select_best(scan->found, scan->count, scan->most);
    scan->count = scan->most;
    float worst = INFINITY;
    for (int64_t i = 0; i < scan->count; i++)
        worst = scan->found[i].score < worst ? scan->found[i].score : worst;
    scan->threshold = worst;
}

double score_of_kth(ClusterScan *scan, int64_t k)
{
    double least = INFINITY;
    drop_twins(scan);
    if (scan->count > k)
        select_best(scan->found, scan->count, k);
    for (int64_t i = 0; i < scan->count && i < k; i++)
        least = scan->found[i].score < least ? scan->found[i].score : least;
    return scan->count ? least : -INFINITY;
}

/* The estimates by falling score: heapsort. */
static void sort_estimates(Estimate *found, int64_t count)
{
    for (int64_t size = count, at = count / 2 - 1; size > 1;) {
        if (at < 0) {
            Estimate worst = found[0];
            found[0] = found[--size];
            found[size] = worst;
        }
        int64_t here = at < 0 ? 0 : at--, below;
        while ((below = 2 * here + 1) < size) {
            if (below + 1 < size && found[below + 1].score < found[below].score)
                below++;
            if (!(found[below].score < found[here].score))
                break;
            Estimate one = found[here];
            found[here] = found[below];
            found[below] = one;
            here = below;
        }
    }
}

#define FIRST 32    /* estimates that are decided in any case, and two for each hit */
#define SAFETY 4.0  /* then those that may be off by so many times what the others were */
#define AHEAD 4

/* Distances of the best estimates, the best first, until the next ones are very unlikely to be among
   the nearest, given how far the estimates so far were off. */
static int decide_estimates(ClusterScan *scan)
{
    Sought *sought = scan->sought;
    int64_t least = 2 * sought->k + FIRST;
    double sum = 0, squares = 0;
    sort_estimates(scan->found, scan->count);
    sought->found = 0;
    for (int64_t i = 0; i < scan->count && i < sought->capacity; i++) {
        int64_t slot = scan->found[i].slot;
        if (i + AHEAD < scan->count)
            fetch_row(scan->rows, scan->found[i + AHEAD].slot);
        if (i >= least && sought->held == sought->k) {
            double mean = sum / (double)i, spread = sqrt(fmax(squares / (double)i - mean * mean, 0));
            if (scan->found[i].score + mean + SAFETY * spread < sought->floor)
                break;
        }
        if (slot >= scan->rows->row_count)
            return OUTSIDE;
        double distance = distance_of_slot(scan->rows, slot);
        double score = scan->frame->metric == COSINE ? 1 - distance
                       : scan->frame->metric == L2   ? -distance / 2
                                                     : -distance;
        double off = score - scan->found[i].score;
        sum += off;
        squares += off * off;
        take(sought, slot, score, INFINITY); /* which raises the floor */
        sought->uppers[sought->found - 1] = distance;
    }
    choose_nearest(sought);
    return DONE;
}

EXPORTED int rs_cluster_scan(const InstructionSet *set, ClusterScan *scan)
{
    int state = set->scan_clusters(scan);
    return state == DONE && scan->sought ? decide_estimates(scan) : state;
}
