/* The search by codes, the same for all instruction sets. A file that includes this defines before

   block_products: of a block's upper bits with the digits of one query, int32[BLOCK];
   block_products_of_four: with those of four queries, int32[4][BLOCK];
   row_product: of a row's lower bits;
   may_reach: one bit for each row of a block whose upper bound isn't below a threshold. */

#include <math.h>

#define CACHED_BYTES 65536 /* of codes, which each group of queries reads again */

static uint32_t wanted_rows(const Scan *scan, const Piece *piece, int64_t block)
{
    int64_t left = piece->count - block * BLOCK;
    uint32_t there = left >= BLOCK ? 0xffffffffu : (1u << left) - 1;
    if (scan->allowed && !piece->slots)
        there &= scan->allowed[piece->first / BLOCK + block];
    return there;
}

/* A floor in the units of float32, rounded down. */
static float threshold_of(const Sought *sought, const Turned *turned)
{
    double floor = sought->floor - turned->offset;
    if (!(floor > -3e38))
        return -INFINITY;
    return nextafterf((float)floor, -INFINITY);
}

static Bounds bounds_of(const Turned *turned, const Sought *sought)
{
    Bounds bounds;
    bounds.base = (int32_t)(uint32_t)(15 * (uint64_t)turned->sum); /* which wraps, for any sum */
    bounds.scale = (float)turned->scale;
    bounds.side = (float)turned->side;
    bounds.by_residual = (float)turned->by_residual;
    bounds.by_reach = (float)turned->by_reach;
    bounds.by_side = (float)turned->by_side;
    bounds.constant = (float)turned->constant;
    bounds.threshold = threshold_of(sought, turned);
    return bounds;
}

/* Look at the rows of a block that may reach the floor, by all their bits. */
static void look_closer(const Scan *scan, const Piece *piece, int64_t block, uint32_t rows,
                        const int32_t *products, const Turned *turned, Sought *sought)
{
    const float *of_rows = piece->rows + block * OF_ROW * BLOCK;
    for (int in = 0; in < BLOCK; in++) {
        if (!(rows >> in & 1))
            continue;
        int64_t row = block * BLOCK + in;
        int64_t low = row_product(piece->low + row * 4 * scan->chunks, turned->digits, scan->chunks);
        /* Exact: all of these are integers far below 2⁵³. */
        double product = (double)(2 * (16 * (int64_t)products[in] + low)) - 255.0 * (double)turned->sum;
        double side = of_rows[SIDE * BLOCK + in];
        double score = product * of_rows[in] * (turned->scale / 16) + side * turned->side;
        double error = turned->by_residual * piece->finer[row] +
                       turned->by_reach * of_rows[REACH * BLOCK + in] + turned->by_side * fabs(side) +
                       turned->constant;
        score += turned->offset;
        take(sought, piece->slots ? piece->slots[row] : piece->first + row, score - error,
             score + error);
        if (sought->hard)
            return;
    }
}

/* Look at the rows of a block that may reach the floor, which then may rise. A filter is asked for these
   alone. */
static void look_at_block(const Scan *scan, const Piece *piece, int64_t block, uint32_t wanted,
                          const int32_t *products, const Turned *turned, Sought *sought,
                          Bounds *bounds)
{
    uint32_t rows = wanted & may_reach(products, piece->rows + block * OF_ROW * BLOCK, bounds);
    if (rows && scan->filter && !piece->slots)
        rows = allowed_slots(scan->filter, piece->first + block * BLOCK, rows);
    if (rows) {
        look_closer(scan, piece, block, rows, products, turned, sought);
        bounds->threshold = threshold_of(sought, turned);
    }
}

static void blocks_for_one(const Scan *scan, const Piece *piece, int64_t start, int64_t stop,
                           int64_t query)
{
    const Turned *turned = scan->turned + piece->frame * scan->queries + query;
    Sought *sought = scan->sought + query;
    Bounds bounds = bounds_of(turned, sought);
    int32_t products[BLOCK];
    for (int64_t block = start; block < stop && !sought->hard; block++) {
        uint32_t wanted = wanted_rows(scan, piece, block);
        if (!wanted)
            continue;
        block_products(piece->high + block * BLOCK * 4 * scan->chunks, turned->digits, scan->chunks,
                       products);
        look_at_block(scan, piece, block, wanted, products, turned, sought, &bounds);
    }
}

/* The same for four queries, of which the bits of codes are taken apart once. */
static void blocks_for_four(const Scan *scan, const Piece *piece, int64_t start, int64_t stop,
                            const int64_t queries[4])
{
    const Turned *turned = scan->turned + piece->frame * scan->queries;
    const int8_t *digits[4];
    int32_t products[4][BLOCK];
    Bounds bounds[4];
    for (int i = 0; i < 4; i++) {
        digits[i] = turned[queries[i]].digits;
        bounds[i] = bounds_of(turned + queries[i], scan->sought + queries[i]);
    }
    for (int64_t block = start; block < stop; block++) {
        uint32_t wanted = wanted_rows(scan, piece, block);
        if (!wanted)
            continue;
        block_products_of_four(piece->high + block * BLOCK * 4 * scan->chunks, digits, scan->chunks,
                               products);
        for (int i = 0; i < 4; i++)
            if (!scan->sought[queries[i]].hard)
                look_at_block(scan, piece, block, wanted, products[i], turned + queries[i],
                              scan->sought + queries[i], bounds + i);
    }
}

/* Some blocks for all queries, while the cache holds them. Hard queries are passed over. */
static void blocks_for_all(const Scan *scan, const Piece *piece, int64_t start, int64_t stop)
{
    int64_t waiting[4];
    int count = 0;
    for (int64_t query = 0; query < scan->queries; query++) {
        if (scan->sought[query].hard)
            continue;
        waiting[count++] = query;
        if (count == 4) {
            blocks_for_four(scan, piece, start, stop, waiting);
            count = 0;
        }
    }
    for (int i = 0; i < count; i++)
        blocks_for_one(scan, piece, start, stop, waiting[i]);
}

static int64_t smaller(int64_t one, int64_t other) { return one < other ? one : other; }

/* Look at codes for about as long as `work` says; MORE when any are left. */
static int scan_codes(Scan *scan)
{
    if (scan->chunks < 1 || scan->queries < 1)
        return DONE;
    int64_t block_bytes = BLOCK * 4 * scan->chunks;
    int64_t left = scan->work / (block_bytes * scan->queries) + 1;
    int64_t cached = scan->queries > 1 ? CACHED_BYTES / block_bytes + 1 : left;
    for (; scan->piece < scan->piece_count; scan->piece++, scan->block = 0) {
        const Piece *piece = scan->pieces + scan->piece;
        int64_t blocks = (piece->count + BLOCK - 1) / BLOCK;
        while (scan->block < blocks) {
            int64_t stop = smaller(blocks, scan->block + smaller(left, cached));
            if (!left)
                return MORE;
            blocks_for_all(scan, piece, scan->block, stop);
            left -= stop - scan->block;
            scan->block = stop;
        }
    }
    return DONE;
}
