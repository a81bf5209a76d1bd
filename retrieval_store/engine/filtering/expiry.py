"""Which points have expired: those with a moment under a key of their payloads that has come.

Every call leaves these out, from that moment on, until maintenance deletes them. The bound of the
filter isn't the present moment, but the last one up to now that any point has: so the filter stays
the same, and its result is kept, until the next point expires.
"""

import time
from bisect import bisect_right

from retrieval_store.engine.filtering.columns import KeptColumn, current_columns
from retrieval_store.engine.filtering.kept import FilterView
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
    moment = now()
    bounds = {ValuesAt(path, "float"): moment, ValuesAt(path, "time"): moment * SECOND}
    columns, terms = current_columns(view, bounds), list[Expression]()
    for values, bound in bounds.items():
        last = _last_up_to(bound, columns[values])
        if last is not None:
            terms.append(Between(values, lte=last))
    gone = Or(tuple(terms)) if len(terms) > 1 else terms[0] if terms else None
    # What a column has may be of points that were changed or deleted.
    return gone if gone is not None and allowed_by(view, gone).count else None


def living(view: FilterView, path: Steps) -> Expression | None:
    """What all other points fulfil; None if none has expired."""
    gone = expired(view, path)
    return None if gone is None else Not(gone)


def _last_up_to(bound: float, column: KeptColumn) -> int | float | None:
    """The greatest number of a column that isn't above a bound."""
    found = (
        part.values[count - 1].item()
        for segment in column.segments
        if isinstance(segment, ValueSegment)
        for part in segment.values.numbers
        if (count := bisect_right(part.values, bound))
    )
    return max(found, default=None)
