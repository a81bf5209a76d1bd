"""Which points have expired: those with a moment under a key of their payloads that has come.

Every call leaves these out, from that moment on, until maintenance deletes them. The bound of the
filter isn't the present moment, but the last one up to now that any point has: so the filter stays
the same, and its result is kept, until the next point expires.
"""

import math
import time
from bisect import bisect_right

from retrieval_store.engine.filtering.columns import KeptColumn, current_columns
from retrieval_store.engine.filtering.kept import Expiry, FilterView
from retrieval_store.engine.filtering.segments import ValueSegment
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.dates import SECOND
from retrieval_store.filters.nodes import Expression, Not, Or
from retrieval_store.filters.paths import Steps
from retrieval_store.filters.values import Between

now = time.time  # seconds since 1970, by this machine's clock


def expired(view: FilterView, path: Steps) -> Expression | None:
    """What points fulfil that have expired; None if none has. path: where the moment is, in seconds
    since 1970, or as a time of ISO 8601."""
    moment, known = now(), view.kept.expiry.get(path)
    if known is None or not known.holds(view.state.head.seq, moment):
        known = view.kept.expiry[path] = _expiry(view, path, moment)
    return known.gone


def living(view: FilterView, path: Steps) -> Expression | None:
    """What all other points fulfil; None if none has expired."""
    gone = expired(view, path)
    return None if gone is None else Not(gone)


def _expiry(view: FilterView, path: Steps, moment: float) -> Expiry:
    """What has expired at a moment, and until when that stays so."""
    units = {ValuesAt(path, "float"): 1, ValuesAt(path, "time"): SECOND}
    columns, terms = current_columns(view, units), list[Expression]()
    until = math.inf
    for values, unit in units.items():
        last, following = _around(moment * unit, columns[values])
        until = min(until, following / unit)
        if last is not None:
            terms.append(Between(values, lte=last))
    gone = Or(tuple(terms)) if len(terms) > 1 else terms[0] if terms else None
    # What a column has may be of points that were changed or deleted.
    if gone is not None and not allowed_by(view, gone).count:
        gone = None
    return Expiry(view.state.head.seq, moment, until, gone)


def _around(bound: float, column: KeptColumn) -> tuple[int | float | None, float]:
    """The greatest number of a column that isn't above a bound, and the least that is."""
    last, following = None, math.inf
    for segment in column.segments:
        assert isinstance(segment, ValueSegment)
        for part in segment.values.numbers:
            count = bisect_right(part.values, bound)
            if count and (last is None or part.values[count - 1] > last):
                last = part.values[count - 1].item()
            if count < len(part.values):
                following = min(following, float(part.values[count]))
    return last, following
