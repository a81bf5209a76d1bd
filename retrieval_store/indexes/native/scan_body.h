/* The scan of codes, the same for all instruction sets. A file that includes this defines these functions
   before:

   products_of_tiles: the products of a block's upper bits, in tiles of a given number of rows, with the tiled
   digits of one query, int32[BLOCK];

   block_products_of_four: the products of a block [chunks][BLOCK][4] with the digits of four queries,
   int32[4][BLOCK];

   tile_products: the products of a tile's upper bits with the tiled digits, int32[tile_rows];

   row_product: the product of a row's lower bits with the digits;

   may_reach: a bit for each row of a block whose upper bound isn't below a threshold;

   sums_of_signs: the sums of a query's table entries for a block's signs, uint16[BLOCK];

   at_least: a bit for each of BLOCK scores that isn't below a threshold. */

#include <math.h>


static void block_products(const uint8_t *codes, const int8_t *tiled, int64_t chunks, int32_t *products)
{
    int rows_of_tile = tile_rows(chunks);
    if (rows_of_tile == 4) /* a constant for the compiler in each call */
        products_of_tiles(codes, tiled, chunks, products, 4);
    else if (rows_of_tile == 2)
        products_of_tiles(codes, tiled, chunks, products, 2);
    else
        products_of_tiles(codes, tiled, chunks, products, 1);
}

static uint32_t wanted_rows(const Scan *scan, const Piece *piece, int64_t block)
{
    int64_t left = piece->count - block * BLOCK;
    uint32_t there = left >= BLOCK ? 0xffffffffu : (1u << left) - 1;
    if (scan->allowed && !piece->slots)
        there &= scan->allowed[piece->first / BLOCK + block];
    return there;
}

/* The floor as a threshold for scores without the offset, in float32, rounded down. */
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
    bounds.base = (int32_t)(uint32_t)(15 * (uint64_t)turned->sum); /* wraps around as intended, for any sum */
    bounds.scale = (float)turned->scale;
    bounds.side = (float)turned->side;
    bounds.by_residual = (float)turned->by_residual;
    bounds.by_reach = (float)turned->by_reach;
    bounds.by_side = (float)turned->by_side;
    bounds.constant = (float)turned->constant;
    bounds.threshold = threshold_of(sought, turned);
    return bounds;
}

static int64_t slot_of(const Piece *piece, int64_t row)
{
    return piece->slots ? piece->slots[row] : piece->first + row;
}

/* The score of a row by all bits of its code. product: the product of the upper bits. */
static Scored scored_by_bits(const Scan *scan, const Piece *piece, int64_t row, int64_t product,
                             const Turned *turned)
{
    const float *of_row = piece->rows + row * OF_ROW;
    int64_t low = row_product(piece->low + row * 4 * scan->chunks, turned->digits, scan->chunks);
    /* Exact, because all of these are integers far below 2⁵³. */
    double whole = (double)(2 * (16 * product + low)) - 255.0 * (double)turned->sum;
    double side = of_row[SIDE];
    Scored scored;
    scored.score = whole * of_row[SCALE] * (turned->scale / 16) + side * turned->side + turned->offset;
    scored.error = turned->by_residual * piece->finer[row] + turned->by_reach * of_row[REACH] +
                   turned->by_side * fabs(side) + turned->constant;
    return scored;
}

/* Compare these rows of a block by all bits. */
static void look_closer(const Scan *scan, const Piece *piece, int64_t block, uint32_t rows,
                        const int32_t *products, const Turned *turned, Sought *sought)
{
    for (; rows && !sought->hard; rows &= rows - 1) {
        int in = first_bit(rows);
        int64_t row = block * BLOCK + in;
        Scored scored = scored_by_bits(scan, piece, row, products[in], turned);
        keep_candidate(sought, slot_of(piece, row), scored.score - scored.error, scored.score + scored.error);
    }
}

/* Compare the rows of a block that may reach the floor, which may raise the floor. The filter is applied only
   to these rows. */
static void look_at_block(const Scan *scan, const Piece *piece, int64_t block, uint32_t wanted,
                          const int32_t *products, const Turned *turned, Sought *sought,
                          Bounds *bounds)
{
    uint32_t rows = wanted & may_reach(products, piece->rows + block * BLOCK * OF_ROW, bounds);
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
        block_products(piece->high + block * BLOCK * 4 * scan->chunks, turned->tiled, scan->chunks,
                       products);
        look_at_block(scan, piece, block, wanted, products, turned, sought, &bounds);
    }
}

/* Copy the upper bits of some blocks in the order of chunks instead of tiles. Then no lanes of a register
   have to be added up, which pays off for several queries. */
static void put_by_chunks(const Scan *scan, const Piece *piece, int64_t start, int64_t stop)
{
    int64_t chunks = scan->chunks, rows = tile_rows(chunks), unit = 4 * rows;
    for (int64_t block = start; block < stop; block++) {
        if (!wanted_rows(scan, piece, block))
            continue;
        const uint8_t *tiles = piece->high + block * BLOCK * 4 * chunks;
        uint8_t *room = scan->room + (block - start) * BLOCK * 4 * chunks;
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            for (int64_t tile = 0; tile < BLOCK / rows; tile++) {
                const uint8_t *from = tiles + (tile * chunks + chunk) * unit;
                uint8_t *to = room + (chunk * BLOCK / rows + tile) * unit;
                if (rows == 2) /* a constant size for the compiler in each call */
                    memcpy(to, from, 8);
                else if (rows == 1)
                    memcpy(to, from, 4);
                else
                    memcpy(to, from, 16);
            }
    }
}

/* Like `blocks_for_one`, but for four queries at once: the halves of the codes are separated only once. */
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
        block_products_of_four(scan->room + (block - start) * BLOCK * 4 * scan->chunks, digits, scan->chunks,
                               products);
        for (int i = 0; i < 4; i++)
            if (!scan->sought[queries[i]].hard)
                look_at_block(scan, piece, block, wanted, products[i], turned + queries[i],
                              scan->sought + queries[i], bounds + i);
    }
}

/* Rows that wait, so that those of several blocks are prefetched together. */
#define WAITING 16
typedef struct {
    int64_t blocks[WAITING];
    uint32_t rows[WAITING];
    int count;
} Waiting;

/* A waiting row, the product of its upper bits, and later its score by all bits. */
typedef struct {
    int64_t row;
    int32_t product;
    Scored scored;
} Near;

/* The rows of a block that may reach the floor by their signs, as bits. */
static uint32_t reached_by_signs(const uint8_t *signs, int64_t groups, const Turned *turned, double errors,
                                 float threshold)
{
    const uint8_t *factors = signs + groups * GROUP_BYTES, *sides = factors + 4 * BLOCK;
    float step = (float)turned->step, side = (float)turned->side, scores[BLOCK];
    float base = (float)(turned->base + errors * turned->by_factor);
    uint16_t sums[BLOCK];
    sums_of_signs(signs, turned->tables, groups, sums);
    for (int i = 0; i < BLOCK; i++) {
        float factor, own;
        memcpy(&factor, factors + 4 * i, 4);
        memcpy(&own, sides + 4 * i, 4);
        scores[i] = own * side + factor * (base + step * (float)sums[i]);
    }
    return at_least(scores, threshold);
}

static void fetch_bytes(const void *bytes, int64_t count)
{
#if defined(__GNUC__) || defined(__clang__)
    for (int64_t at = 0; at < count; at += 64)
        __builtin_prefetch((const uint8_t *)bytes + at, 0, 3);
#else
    (void)bytes, (void)count;
#endif
}

/* The tiles that contain these rows of a block: the bit of the first row of each tile. */
static uint32_t tiles_of(uint32_t rows, int tiled)
{
    if (tiled == 1)
        return rows;
    rows |= rows >> 1;
    return tiled == 2 ? rows & 0x55555555u : (rows | rows >> 2) & 0x11111111u;
}

/* Add the rows of a block to the waiting rows, and prefetch their tiles and floats. */
static void let_wait(const Scan *scan, const Piece *piece, int64_t block, uint32_t rows, Waiting *waiting)
{
    int tiled = tile_rows(scan->chunks);
    for (uint32_t tiles = tiles_of(rows, tiled); tiles; tiles &= tiles - 1) {
        int64_t first = block * BLOCK + first_bit(tiles);
        fetch_bytes(piece->high + first * 4 * scan->chunks, tiled * 4 * scan->chunks);
        fetch_bytes(piece->rows + first * OF_ROW, 1);
    }
    waiting->blocks[waiting->count] = block;
    waiting->rows[waiting->count++] = rows;
}

#define WHOLE 18 /* if the needed tiles contain this many rows, the products of the whole block are computed */

/* Like `may_reach`, but for one row. */
static int row_may_reach(int32_t product, const float *of_row, const Bounds *bounds)
{
    float whole = (float)(int32_t)(2 * (uint32_t)product - (uint32_t)bounds->base);
    float score = whole * of_row[SCALE] * bounds->scale + of_row[SIDE] * bounds->side;
    float error = of_row[RESIDUAL] * bounds->by_residual + of_row[REACH] * bounds->by_reach +
                  fabsf(of_row[SIDE]) * bounds->by_side + bounds->constant;
    return !(score + error < bounds->threshold);
}

/* Which of these rows of a block may reach the floor by their upper bits. Sets the rows' products. */
static uint32_t reached_by_upper_bits(const Piece *piece, int64_t block, uint32_t rows, int64_t chunks,
                                      const int8_t *tiled, const Bounds *bounds, int32_t *products)
{
    const uint8_t *codes = piece->high + block * BLOCK * 4 * chunks;
    const float *of_rows = piece->rows + block * BLOCK * OF_ROW;
    int rows_of_tile = tile_rows(chunks);
    uint32_t tiles = tiles_of(rows, rows_of_tile), found = 0;
    if (bits_in(tiles) * rows_of_tile >= WHOLE) {
        block_products(codes, tiled, chunks, products);
        return rows & may_reach(products, of_rows, bounds);
    }
    for (; tiles; tiles &= tiles - 1)
        tile_products(codes + first_bit(tiles) * 4 * chunks, tiled, chunks, products + first_bit(tiles));
    for (; rows; rows &= rows - 1) {
        int in = first_bit(rows);
        found |= (uint32_t)row_may_reach(products[in], of_rows + in * OF_ROW, bounds) << in;
    }
    return found;
}

#define MORE_ERRORS 0.5 /* standard errors that are added for upper bits, because they are compared after the signs */

/* The waiting rows that may also reach the floor by their upper bits. */
static int near_by_upper_bits(const Scan *scan, const Piece *piece, const Waiting *waiting,
                              const Turned *turned, Sought *sought, Near *near)
{
    Bounds bounds = bounds_of(turned, sought);
    double share = (scan->errors + MORE_ERRORS) * turned->spread;
    int32_t products[BLOCK];
    int count = 0;
    if (share < 1) { /* never more than the proven bound */
        bounds.by_residual *= (float)share;
        bounds.by_reach *= (float)share;
    }
    for (int i = 0; i < waiting->count; i++) {
        int64_t block = waiting->blocks[i];
        uint32_t rows = waiting->rows[i];
        sought->refined += bits_in(rows);
        rows = reached_by_upper_bits(piece, block, rows, scan->chunks, turned->tiled, &bounds, products);
        for (; rows; rows &= rows - 1) {
            int in = first_bit(rows);
            near[count].row = block * BLOCK + in;
            near[count].product = products[in];
            fetch_bytes(piece->finer + near[count].row, 1);
            fetch_bytes(piece->low + near[count++].row * 4 * scan->chunks, 4 * scan->chunks);
        }
    }
    return count;
}

/* Compute the exact score of a row. If it contradicts the row's code, the stored vector is damaged. Such a
   row is kept as a candidate, so that the damage is noticed. */
static void measure(const Distances *rows, Sought *sought, int64_t slot, Scored by_bits)
{
    int there = slot >= 0 && slot < rows->row_count; /* otherwise `decide` reports an error */
    double score = there ? score_of_slot(rows, slot) : NAN;
    int agrees = fabs(score - by_bits.score) <= by_bits.error;
    sought->measured++;
    keep_candidate(sought, slot, score, agrees ? score : INFINITY);
}

/* Compare all waiting rows by upper bits, by all bits, and by distances. */
static void look_at_waiting(const Scan *scan, const Piece *piece, Waiting *waiting, const Turned *turned,
                            Sought *sought, const Distances *rows)
{
    Near near[WAITING * BLOCK];
    int count = near_by_upper_bits(scan, piece, waiting, turned, sought, near), left = 0;
    waiting->count = 0;
    for (int i = 0; i < count; i++) {
        near[i].scored = scored_by_bits(scan, piece, near[i].row, near[i].product, turned);
        if (near[i].scored.score + near[i].scored.error < sought->floor)
            continue;
        near[left] = near[i];
        fetch_row(rows, slot_of(piece, near[left++].row));
    }
    for (int i = 0; i < left && !sought->hard; i++)
        if (!(near[i].scored.score + near[i].scored.error < sought->floor))
            measure(rows, sought, slot_of(piece, near[i].row), near[i].scored);
}

/* The rows of a block that aren't candidates yet. */
static uint32_t not_found_yet(const Piece *piece, int64_t block, uint32_t rows, const Sought *sought)
{
    for (uint32_t left = rows; left; left &= left - 1) {
        int in = first_bit(left);
        int64_t slot = slot_of(piece, block * BLOCK + in);
        for (int64_t i = 0; i < sought->found; i++)
            if (sought->slots[i] == slot)
                rows &= ~(1u << in);
    }
    return rows;
}

#define FETCHED_BLOCKS 4 /* how many blocks ahead the signs are prefetched */

static void blocks_by_signs(const Scan *scan, const Piece *piece, int64_t start, int64_t stop,
                            int64_t query)
{
    const Turned *turned = scan->turned + piece->frame * scan->queries + query;
    Sought *sought = scan->sought + query;
    int64_t groups = groups_of(scan->chunks), bytes = signs_bytes(scan->chunks);
    int64_t step = scan->sampling ? scan->stride : 1;
    double errors = scan->sampling ? 0 : scan->errors;
    float threshold = threshold_of(sought, turned);
    Waiting waiting;
    waiting.count = 0;
    for (int64_t block = (start + step - 1) / step * step; block < stop && !sought->hard; block += step) {
        uint32_t rows = wanted_rows(scan, piece, block);
        if (!rows)
            continue;
        fetch_bytes(piece->signs + (block + FETCHED_BLOCKS * step) * bytes, bytes);
        sought->passed += BLOCK;
        rows &= reached_by_signs(piece->signs + block * bytes, groups, turned, errors, threshold);
        if (rows && scan->filter && !piece->slots)
            rows = allowed_slots(scan->filter, piece->first + block * BLOCK, rows);
        if (rows && !scan->sampling && block % scan->stride == 0)
            rows = not_found_yet(piece, block, rows, sought);
        if (rows)
            let_wait(scan, piece, block, rows, &waiting);
        if (waiting.count == (scan->sampling ? 1 : WAITING)) {
            look_at_waiting(scan, piece, &waiting, turned, sought, scan->distances + query);
            threshold = threshold_of(sought, turned);
        }
    }
    if (waiting.count && !sought->hard)
        look_at_waiting(scan, piece, &waiting, turned, sought, scan->distances + query);
}

/* Scan some blocks for all queries, while they are in the cache. Hard queries are skipped. */
static void blocks_for_all(const Scan *scan, const Piece *piece, int64_t start, int64_t stop)
{
    int64_t waiting[4], count = 0;
    if (scan->room && !scan->distances)
        put_by_chunks(scan, piece, start, stop);
    for (int64_t query = 0; query < scan->queries; query++) {
        if (scan->sought[query].hard)
            continue;
        if (scan->distances)
            blocks_by_signs(scan, piece, start, stop, query);
        else if (!scan->room)
            blocks_for_one(scan, piece, start, stop, query);
        else
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

/* Scan about as many codes as `work` allows. Returns MORE if codes are left. */
static int scan_codes(Scan *scan)
{
    if (scan->chunks < 1 || scan->queries < 1)
        return DONE;
    int64_t block_bytes = scan->distances ? signs_bytes(scan->chunks) : BLOCK * 4 * scan->chunks;
    int64_t left = scan->work / (block_bytes * scan->queries) + 1;
    int64_t cached = scan->queries > 1 ? CACHED_BYTES / block_bytes + 1 : left;
    do {
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
        scan->piece = scan->sampling ? 0 : scan->piece; /* after the sample, scan all blocks from the first piece on */
    } while (scan->sampling-- > 0);
    scan->sampling = 0;
    return DONE;
}
