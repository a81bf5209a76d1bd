/* The search of clusters, the same for all instruction sets. A file that includes this defines before

   sums_of_signs: of a block's bits with the tables of a query, uint16[BLOCK];
   at_least: one bit for each of BLOCK scores that isn't below a threshold. */

#define LEVELS 4096 /* of scores, by which clusters are put in order */

/* The score of a centre by all bits of its code. */
static double term_of(const ClusterScan *scan, int64_t cluster, int64_t product)
{
    const Piece *centres = scan->centres;
    const Turned *turned = scan->turned;
    const float *rows = centres->rows + cluster / BLOCK * OF_ROW * BLOCK + cluster % BLOCK;
    double whole = (double)(2 * product) - 255.0 * (double)turned->sum;
    double scale = turned->scale * rows[SCALE * BLOCK];
    return whole * scale / 16 + rows[SIDE * BLOCK] * turned->side + turned->offset;
}

/* All clusters by the scores of their centres, the nearest first, as far as 4,096 levels tell. */
static void rank_clusters(ClusterScan *scan)
{
    const Piece *centres = scan->centres;
    const Turned *turned = scan->turned;
    int64_t clusters = scan->clusters, counts[LEVELS + 1] = {0};
    float least = INFINITY, greatest = -INFINITY, sum = (float)(15 * turned->sum);
    float scale_of_query = (float)turned->scale, side = (float)turned->side;
    for (int64_t first = 0; first < clusters; first += BLOCK) {
        const float *rows = centres->rows + first * OF_ROW;
        int64_t count = clusters - first < BLOCK ? clusters - first : BLOCK;
        int32_t products[BLOCK];
        float terms[BLOCK];
        block_products(centres->high + first * 4 * scan->chunks, turned->digits, scan->chunks,
                       products);
        for (int in = 0; in < BLOCK; in++)
            terms[in] = (2 * (float)products[in] - sum) * (scale_of_query * rows[SCALE * BLOCK + in]) +
                        rows[SIDE * BLOCK + in] * side;
        memcpy(scan->products + first, products, 4 * (size_t)count);
        memcpy(scan->terms + first, terms, 4 * (size_t)count);
        for (int64_t in = 0; in < count; in++) {
            least = terms[in] < least ? terms[in] : least;
            greatest = terms[in] > greatest ? terms[in] : greatest;
        }
    }
    float scale = greatest > least ? (LEVELS - 1) / (greatest - least) : 0;
    for (int64_t i = 0; i < clusters; i++) {
        float level = (greatest - scan->terms[i]) * scale;
        int32_t number = level >= 0 ? level < LEVELS - 1 ? (int32_t)level : LEVELS - 1 : 0;
        memcpy(scan->terms + i, &number, 4);
        counts[number + 1]++;
    }
    for (int64_t level = 0; level < LEVELS; level++)
        counts[level + 1] += counts[level];
    for (int64_t i = 0; i < clusters; i++) {
        int32_t number;
        memcpy(&number, scan->terms + i, 4);
        scan->order[counts[number]++] = (int32_t)i;
    }
}

/* The places of a block from `first` to before `stop`, of the allowed rows. */
static uint32_t allowed_places(const ClusterScan *scan, const uint8_t *slots, int64_t first,
                               int64_t stop)
{
    uint32_t there = stop >= BLOCK ? 0xffffffffu : (1u << stop) - 1, found = 0;
    there &= 0xffffffffu << first;
    if (!scan->allowed)
        return there;
    for (int64_t i = 0; i < BLOCK; i++) {
        uint32_t slot;
        memcpy(&slot, slots + 4 * i, 4);
        uint32_t known = slot < scan->limit ? slot : 0;
        found |= (scan->allowed[known / 32] >> known % 32 & (slot < scan->limit)) << i;
    }
    return found & there;
}

static int64_t count_bits(uint32_t bits)
{
    int64_t count = 0;
    for (; bits; bits &= bits - 1)
        count++;
    return count;
}

static void take_estimates(ClusterScan *scan, const uint8_t *slots, const float *scores, uint32_t rows)
{
    for (int i = 0; rows; i++, rows >>= 1) {
        uint32_t slot;
        if (!(rows & 1) || scores[i] < scan->threshold)
            continue;
        memcpy(&slot, slots + 4 * i, 4);
        if (slot >= scan->limit)
            continue;
        if (scan->count == scan->capacity)
            keep_best(scan);
        scan->found[scan->count].score = scores[i];
        scan->found[scan->count++].slot = slot;
    }
}

static void look_at_places(ClusterScan *scan, const uint8_t *block, float term, uint32_t wanted)
{
    const uint8_t *offsets = block + scan->groups * GROUP_BYTES, *factors = offsets + 4 * BLOCK;
    float step = (float)scan->step, base = (float)scan->base, scores[BLOCK];
    uint16_t sums[BLOCK];
    sums_of_signs(block, scan->tables, scan->groups, sums);
    for (int i = 0; i < BLOCK; i++) {
        float offset, factor;
        memcpy(&offset, offsets + 4 * i, 4);
        memcpy(&factor, factors + 4 * i, 4);
        scores[i] = offset + term + factor * (base + step * (float)sums[i]);
    }
    uint32_t rows = wanted & at_least(scores, (float)scan->threshold);
    if (rows)
        take_estimates(scan, factors + 4 * BLOCK, scores, rows);
}

/* Have the processor fetch what is looked at next into its second cache, which takes more at a time
   than the first: 1.4 times as fast where it was measured. */
static void fetch_block(const uint8_t *block, int64_t bytes)
{
#if defined(__GNUC__) || defined(__clang__)
    for (int64_t at = 0; at < bytes; at += 64)
        __builtin_prefetch(block + at, 0, 2);
#else
    (void)block, (void)bytes;
#endif
}

/* The places of a cluster in one part; `ahead` are those of the next cluster there. */
static void look_at_part(ClusterScan *scan, const Places *part, int64_t cluster, float term,
                         int64_t ahead)
{
    int64_t bytes = scan->groups * GROUP_BYTES + OF_PLACE * BLOCK;
    int64_t first = part->offsets[cluster], stop = part->offsets[cluster + 1];
    int64_t next = 0, next_stop = 0;
    if (ahead >= 0) {
        next = part->offsets[ahead] / BLOCK;
        next_stop = (part->offsets[ahead + 1] + BLOCK - 1) / BLOCK;
    }
    for (int64_t at = first / BLOCK; at * BLOCK < stop; at++, next++) {
        if (next < next_stop)
            fetch_block(part->blocks + next * bytes, bytes - (scan->allowed ? 0 : 4 * BLOCK));
        const uint8_t *block = part->blocks + at * bytes;
        int64_t begin = first > at * BLOCK ? first - at * BLOCK : 0;
        uint32_t wanted = allowed_places(scan, block + bytes - 4 * BLOCK, begin, stop - at * BLOCK);
        if (!wanted)
            continue;
        scan->seen += count_bits(wanted);
        look_at_places(scan, block, term, wanted);
    }
    scan->looked += stop - first;
}

/* Look at clusters, the nearest first, until as many places as wanted were seen; MORE when it takes
   longer than `work` says. */
static int scan_clusters(ClusterScan *scan)
{
    int64_t until = scan->looked + scan->work;
    for (; scan->next < scan->clusters && scan->seen < scan->wanted; scan->next++) {
        if (scan->looked >= until)
            return MORE;
        int64_t cluster = scan->order[scan->next];
        int64_t ahead = scan->next + 1 < scan->clusters ? scan->order[scan->next + 1] : -1;
        int64_t low = row_product(scan->centres->low + cluster * 4 * scan->chunks,
                                  scan->turned->digits, scan->chunks);
        float term = (float)term_of(scan, cluster, 16 * (int64_t)scan->products[cluster] + low);
        for (int64_t part = 0; part < scan->part_count; part++)
            look_at_part(scan, scan->parts + part, cluster, term, ahead);
    }
    keep_best(scan);
    return DONE;
}
