/* The search of clusters, the same for all instruction sets. A file that includes this defines before

   sums_of_signs: of a block's bits with the tables of a query, uint16[BLOCK];
   at_least: one bit for each of BLOCK scores that isn't below a threshold. */

#define LEVELS 2048       /* by which clusters are put in order */
#define NEAREST 16        /* clusters that are looked at first … */
#define FIRST_PLACES 1024 /* … until so many places, or a quarter of what is wanted, were seen */
#define MOST_EFFORT 4.0   /* times as much, or as little, is looked at as usual */

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

/* Let a block's clusters take their places among the nearest, which are in order; `best` has their
   scores. */
static void take_nearest(ClusterScan *scan, float *best, const float *terms, int64_t first,
                         int64_t count)
{
    for (int64_t in = 0; in < count; in++) {
        int64_t at = scan->ordered < NEAREST ? scan->ordered++ : NEAREST - 1;
        if (at == NEAREST - 1 && !(terms[in] > best[at]))
            continue;
        for (; at > 0 && best[at - 1] < terms[in]; at--) {
            best[at] = best[at - 1];
            scan->order[at] = scan->order[at - 1];
        }
        best[at] = terms[in];
        scan->order[at] = (int32_t)(first + in);
    }
}

/* Score all centres by the upper halves of their codes, and put the nearest clusters in order. */
static void score_centres(ClusterScan *scan)
{
    const Piece *centres = scan->centres;
    const Turned *turned = scan->turned;
    float sum = (float)(15 * turned->sum), scale = (float)turned->scale, side = (float)turned->side;
    float best[NEAREST];
    for (int i = 0; i < NEAREST; i++)
        best[i] = -INFINITY;
    for (int64_t first = 0; first < scan->clusters; first += BLOCK) {
        const float *rows = centres->rows + first * OF_ROW;
        int64_t count = scan->clusters - first < BLOCK ? scan->clusters - first : BLOCK;
        int32_t products[BLOCK], near = 0;
        float terms[BLOCK];
        block_products(centres->high + first * 4 * scan->chunks, turned->digits, scan->chunks,
                       products);
        for (int in = 0; in < BLOCK; in++)
            terms[in] = (2 * (float)products[in] - sum) * (scale * rows[SCALE * BLOCK + in]) +
                        rows[SIDE * BLOCK + in] * side;
        for (int in = 0; in < BLOCK; in++)
            near |= terms[in] > best[NEAREST - 1];
        memcpy(scan->products + first, products, 4 * (size_t)count);
        memcpy(scan->terms + first, terms, 4 * (size_t)count);
        if (near)
            take_nearest(scan, best, terms, first, count);
    }
}

static void find_range(const float *keys, int64_t count, float *least, float *greatest)
{
    float low[BLOCK], high[BLOCK];
    int64_t at = 0;
    for (int in = 0; in < BLOCK; in++) {
        low[in] = INFINITY;
        high[in] = -INFINITY;
    }
    for (; at + BLOCK <= count; at += BLOCK)
        for (int in = 0; in < BLOCK; in++) {
            low[in] = keys[at + in] < low[in] ? keys[at + in] : low[in];
            high[in] = keys[at + in] > high[in] ? keys[at + in] : high[in];
        }
    for (; at < count; at++) {
        low[0] = keys[at] < low[0] ? keys[at] : low[0];
        high[0] = keys[at] > high[0] ? keys[at] : high[0];
    }
    *least = low[0];
    *greatest = high[0];
    for (int in = 1; in < BLOCK; in++) {
        *least = low[in] < *least ? low[in] : *least;
        *greatest = high[in] > *greatest ? high[in] : *greatest;
    }
}

/* Give each cluster a level by the floor, the first is the best. A row x of a cluster with the centre c
   has the score c·q + (x - c)·q, of which the second part is spread about 0 in proportion to the
   cluster's radius; so has -|x - q|²/2, less half the radius squared. Clusters that were looked at have
   the level -1. */
static void find_levels(ClusterScan *scan)
{
    int64_t clusters = scan->clusters;
    float least, greatest, *keys = scan->terms, half = scan->frame->metric == L2 ? 0.5f : 0;
    const float *radii = scan->radii;
    int32_t *levels = scan->levels;
    float floor = isfinite(scan->floor) ? (float)(scan->floor - scan->turned->offset)
                                        : keys[scan->order[0]]; /* nothing was found */
    for (int64_t i = 0; i < clusters; i++)
        keys[i] = (keys[i] - half * radii[i] * radii[i] - floor) / radii[i];
    find_range(keys, clusters, &least, &greatest);
    float scale = greatest > least ? (LEVELS - 1) / (greatest - least) : 0;
    for (int64_t i = 0; i < clusters; i++) {
        float level = (greatest - keys[i]) * scale;
        level = level > 0 ? level : 0; /* NaN, too */
        levels[i] = (int32_t)(level < LEVELS - 1 ? level : LEVELS - 1);
    }
    for (int64_t i = 0; i < scan->next; i++)
        levels[scan->order[i]] = -1;
    scan->ordered = scan->next;
    scan->level = 0;
}

/* Put the clusters of the next levels in order, until there are `enough`. */
static void order_more(ClusterScan *scan, int64_t enough)
{
    int64_t starts[LEVELS + 1] = {0}, last = scan->level, first = scan->level;
    const int32_t *levels = scan->levels;
    for (int64_t i = 0; i < scan->clusters; i++)
        starts[levels[i] + 1]++;
    starts[first] = scan->ordered;
    for (; last < LEVELS && starts[last] - scan->ordered < enough; last++)
        starts[last + 1] += starts[last];
    scan->ordered = starts[last];
    scan->level = last;
    for (int64_t i = 0; i < scan->clusters; i++)
        if (levels[i] < last && levels[i] >= first)
            scan->order[starts[levels[i]]++] = (int32_t)i;
}

/* Without a floor the nearest clusters are put in order, with one all. */
static void rank_clusters(ClusterScan *scan)
{
    score_centres(scan);
    if (!isnan(scan->floor)) {
        find_levels(scan);
        order_more(scan, scan->clusters);
    }
}

/* Estimates that wait until a filter is asked about their slots. */
typedef struct {
    float scores[ASKED];
    uint32_t slots[ASKED];
    int count;
} Waiting;

static void take_estimate(ClusterScan *scan, uint32_t slot, float score)
{
    if (scan->count == scan->capacity)
        keep_best(scan);
    scan->found[scan->count].score = score;
    scan->found[scan->count++].slot = slot;
    scan->passed++;
}

/* Take those that wait and are allowed. */
static void ask_filter(ClusterScan *scan, Waiting *waiting)
{
    uint8_t allowed[ASKED];
    ask_slots(scan->filter, waiting->slots, waiting->count, allowed);
    scan->asked += waiting->count;
    for (int i = 0; i < waiting->count; i++)
        if (allowed[i])
            take_estimate(scan, waiting->slots[i], waiting->scores[i]);
    waiting->count = 0;
}

/* Take the estimates that may be among the best, of allowed rows: a filter is asked for these alone. */
static void take_estimates(ClusterScan *scan, const uint8_t *slots, const float *scores, uint32_t rows,
                           Waiting *waiting)
{
    for (int i = 0; rows; i++, rows >>= 1) {
        uint32_t slot;
        if (!(rows & 1) || scores[i] < scan->threshold)
            continue;
        memcpy(&slot, slots + 4 * i, 4);
        if (slot >= scan->limit) {
            scan->asked++;
        } else if (scan->filter) {
            waiting->scores[waiting->count] = scores[i];
            waiting->slots[waiting->count++] = slot;
            if (waiting->count == ASKED)
                ask_filter(scan, waiting);
        } else {
            scan->asked++;
            if (!scan->allowed || (scan->allowed[slot / 32] >> slot % 32 & 1))
                take_estimate(scan, slot, scores[i]);
        }
    }
}

static void look_at_places(ClusterScan *scan, const uint8_t *block, float term, uint32_t wanted,
                           Waiting *waiting)
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
        take_estimates(scan, factors + 4 * BLOCK, scores, rows, waiting);
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
    Waiting waiting;
    waiting.count = 0;
    if (ahead >= 0) {
        next = part->offsets[ahead] / BLOCK;
        next_stop = (part->offsets[ahead + 1] + BLOCK - 1) / BLOCK;
    }
    for (int64_t at = first / BLOCK; at * BLOCK < stop; at++, next++) {
        if (next < next_stop)
            fetch_block(part->blocks + next * bytes, bytes - 4 * BLOCK);
        int64_t begin = first > at * BLOCK ? first - at * BLOCK : 0, end = stop - at * BLOCK;
        uint32_t wanted = end >= BLOCK ? 0xffffffffu : (1u << end) - 1;
        look_at_places(scan, part->blocks + at * bytes, term, wanted & 0xffffffffu << begin, &waiting);
    }
    if (waiting.count)
        ask_filter(scan, &waiting);
    scan->looked += stop - first;
}

/* About how many allowed places were looked at, by the share of those that were asked about. */
static int64_t seen_places(const ClusterScan *scan)
{
    if (scan->passed == scan->asked)
        return scan->looked;
    return (int64_t)((double)scan->looked * (double)scan->passed / (double)scan->asked);
}

/* Put more clusters in order, if need be: once the nearest say what the floor is, and then when all that
   are in order were looked at. */
static void go_on_ordering(ClusterScan *scan)
{
    int64_t first = scan->wanted / 4 < FIRST_PLACES ? scan->wanted / 4 : FIRST_PLACES;
    int64_t seen = seen_places(scan);
    if (isnan(scan->floor) && (scan->next == scan->ordered || seen >= first)) {
        scan->floor = score_of_kth(scan, scan->sought ? scan->sought->k : scan->most);
        double more = exp(scan->slope * (scan->usual - scan->floor)); /* 1 where the slope is 0 */
        more = more < MOST_EFFORT ? more > 1 / MOST_EFFORT ? more : 1 / MOST_EFFORT : MOST_EFFORT;
        scan->wanted = (int64_t)(more * (double)scan->wanted);
        find_levels(scan);
    }
    if (scan->next == scan->ordered) {
        double left = (double)(scan->wanted - seen) / (double)(seen + 1);
        double enough = 32 + 1.25 * left * (double)scan->next;
        order_more(scan, enough < (double)scan->clusters ? (int64_t)enough : scan->clusters);
    }
}

/* Look at clusters in order, until as many allowed places as wanted were seen; MORE when it takes longer than
   `work` says. */
static int scan_clusters(ClusterScan *scan)
{
    int64_t until = scan->looked + scan->work;
    for (; scan->next < scan->clusters && seen_places(scan) < scan->wanted; scan->next++) {
        if (scan->looked >= until)
            return MORE;
        go_on_ordering(scan);
        int64_t cluster = scan->order[scan->next];
        int64_t ahead = scan->next + 1 < scan->ordered ? scan->order[scan->next + 1] : -1;
        int64_t low = row_product(scan->centres->low + cluster * 4 * scan->chunks,
                                  scan->turned->digits, scan->chunks);
        float term = (float)term_of(scan, cluster, 16 * (int64_t)scan->products[cluster] + low);
        for (int64_t part = 0; part < scan->part_count; part++)
            look_at_part(scan, scan->parts + part, cluster, term, ahead);
    }
    keep_best(scan);
    return DONE;
}
