/* Records the candidates of a query. A bound that is NaN excludes nothing, so such a row is kept. */

#include "layout.h"

/* Add a lower bound to the k greatest. Once there are k, the least of them is the floor. */
static void note_lower(Sought *sought, double lower)
{
    double *best = sought->best;
    int64_t at, other;
    if (sought->held < sought->k) { /* insert: the new leaf moves up */
        at = sought->held++;
        while (at > 0 && best[other = (at - 1) / 2] > lower) {
            best[at] = best[other];
            at = other;
        }
    } else { /* replace the root: the new number moves down */
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

/* Drop the candidates whose upper bound is below the floor. */
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
