/* What a query has found so far. Bounds that are no number prove nothing: such a row is kept. */

#include "kernel.h"

/* Put a lower bound among the k best; the least of them, once there are k, is the floor. */
static void note_lower(Sought *sought, double lower)
{
    double *best = sought->best;
    int64_t at, other;
    if (sought->held < sought->k) { /* a new leaf rises */
        at = sought->held++;
        while (at > 0 && best[other = (at - 1) / 2] > lower) {
            best[at] = best[other];
            at = other;
        }
    } else { /* the root goes, and what takes its place sinks */
        if (lower <= best[0])
            return;
        at = 0;
        while ((other = 2 * at + 1) < sought->k) {
            if (other + 1 < sought->k && best[other + 1] < best[other])
                other++;
            if (best[other] >= lower)
                break;
            best[at] = best[other];
            at = other;
        }
    }
    best[at] = lower;
    if (sought->held == sought->k && best[0] > sought->floor)
        sought->floor = best[0];
}

/* Let go of rows that have fallen below the floor. */
void drop_below_floor(Sought *sought)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < sought->found; i++)
        if (!(sought->uppers[i] < sought->floor)) {
            sought->slots[kept] = sought->slots[i];
            sought->uppers[kept++] = sought->uppers[i];
        }
    sought->found = kept;
}

void keep_candidate(Sought *sought, int64_t slot, double lower, double upper)
{
    if (upper < sought->floor)
        return;
    if (lower == lower)
        note_lower(sought, lower);
    if (sought->found == sought->capacity) {
        drop_below_floor(sought);
        if (sought->found > sought->most) {
            sought->hard = 1;
            return;
        }
    }
    sought->slots[sought->found] = slot;
    sought->uppers[sought->found++] = upper;
}
