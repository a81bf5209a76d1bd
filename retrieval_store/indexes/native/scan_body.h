/* The search by codes, the same for all instruction sets. A file that includes this defines before

   block_products: of a block's upper bits with the digits of one query, int32[BLOCK];
   block_products_of_four: with those of four queries, int32[4][BLOCK];
   row_product: of a row's lower bits;
   may_reach: one bit for each row of a block whose upper bound isn't below a threshold. */

#include <math.h>

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

static Bounds bounds_of(const Turned *turned, float threshold)
{
    Bounds bounds;
    bounds.base = (int32_t)(15 * turned->sum);
    bounds.scale = (float)turned->scale;
    bounds.side = (float)turned->side;
    bounds.by_residual = (float)turned->by_residual;
    bounds.by_reach = (float)turned->by_reach;
    bounds.by_side = (float)turned->by_side;
    bounds.constant = (float)turned->constant;
    bounds.threshold = threshold;
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
        int64_t product = 2 * (16 * (int64_t)products[in] + low) - 255 * turned->sum;
        double side = of_rows[SIDE * BLOCK + in];
        double score = (double)product * of_rows[in] * (turned->scale / 16) + side * turned->side;
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

static void look_at_block(const Scan *scan, const Piece *piece, int64_t block, uint32_t wanted,
                          int64_t query, const int32_t *products, float *threshold)
{
    const Turned *turned = scan->turned + piece->frame * scan->queries + query;
    Sought *sought = scan->sought + query;
    Bounds bounds = bounds_of(turned, *threshold);
    uint32_t rows = wanted & may_reach(products, piece->rows + block * OF_ROW * BLOCK, &bounds);
    if (rows) {
        look_closer(scan, piece, block, rows, products, turned, sought);
        *threshold = threshold_of(sought, turned);
    }
}

static void blocks_for_one(Scan *scan, const Piece *piece, int64_t stop)
{
    const Turned *turned = scan->turned + piece->frame;
    float threshold = threshold_of(scan->sought, turned);
    int32_t products[BLOCK];
    for (; scan->block < stop && !scan->sought->hard; scan->block++) {
        uint32_t wanted = wanted_rows(scan, piece, scan->block);
        if (!wanted)
            continue;
        block_products(piece->high + scan->block * BLOCK * 4 * scan->chunks, turned->digits,
                       scan->chunks, products);
        look_at_block(scan, piece, scan->block, wanted, 0, products, &threshold);
    }
}

/* A block for all queries, four at a time, while the cache holds it. Hard ones are passed over. */
static void block_for_all(const Scan *scan, const Piece *piece, int64_t block)
{
    uint32_t wanted = wanted_rows(scan, piece, block);
    const uint8_t *codes = piece->high + block * BLOCK * 4 * scan->chunks;
    const Turned *turned = scan->turned + piece->frame * scan->queries;
    int32_t products[4][BLOCK];
    int64_t which[4];
    if (!wanted)
        return;
    for (int64_t query = 0; query < scan->queries;) {
        int together = 0;
        for (; query < scan->queries && together < 4; query++)
            if (!scan->sought[query].hard)
                which[together++] = query;
        const int8_t *digits[4];
        for (int i = 0; i < 4; i++)
            digits[i] = turned[which[i < together ? i : 0]].digits;
        if (together == 0)
            return;
        if (together > 1)
            block_products_of_four(codes, digits, scan->chunks, products);
        else
            block_products(codes, digits[0], scan->chunks, products[0]);
        for (int i = 0; i < together; i++) {
            float threshold = threshold_of(scan->sought + which[i], turned + which[i]);
            look_at_block(scan, piece, block, wanted, which[i], products[i], &threshold);
        }
    }
}

static int64_t smaller(int64_t one, int64_t other) { return one < other ? one : other; }

/* Look at codes for about as long as `work` says; MORE when any are left. */
static int scan_codes(Scan *scan)
{
    int64_t block_bytes = BLOCK * 4 * scan->chunks * scan->queries;
    int64_t left = scan->work / block_bytes + 1;
    while (scan->piece < scan->piece_count) {
        const Piece *piece = scan->pieces + scan->piece;
        int64_t blocks = (piece->count + BLOCK - 1) / BLOCK;
        int64_t stop = smaller(blocks, scan->block + left);
        left -= stop - scan->block;
        if (scan->queries == 1) {
            blocks_for_one(scan, piece, stop);
            if (scan->sought->hard)
                return DONE;
        } else {
            for (; scan->block < stop; scan->block++)
                block_for_all(scan, piece, scan->block);
        }
        if (scan->block < blocks)
            return MORE;
        scan->piece++;
        scan->block = 0;
        if (!left && scan->piece < scan->piece_count)
            return MORE;
    }
    return DONE;
}
