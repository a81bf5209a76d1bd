"""Whether a copy holds what its source holds: as many points, and a sample of them alike; or all,
of a collection that no journal says is a copy."""

import random

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.copying.pages import ROUNDED, Spaces, differing, everything, pages
from retrieval_store.errors import StorageError
from retrieval_store.query.protocols import PointsBackend
from retrieval_store.query.types import Fields, PointId

SAMPLE, RUN = 1_000, 50  # points, of which so many stand side by side


@dataclass(frozen=True, slots=True)
class Since:
    """What has happened to the source since. ids: which of the points that are there were changed,
    None when that isn't known; rests: whether nothing has, so that nothing was deleted either."""

    ids: frozenset[PointId] | None
    rests: bool


def compare(
    source: PointsBackend,
    target: PointsBackend,
    spaces: Spaces,
    since: Since,
    rounds: bool,
    name: str,
) -> int:
    """How many points were compared; StorageError when one is otherwise, or one too many or too few
    is there. rounds: whether the target is a cluster,
    which rounds vectors."""
    before = source.count() if since.rests else 0
    count = target.count()
    if since.rests and count != before and not source.count() <= count < before:
        raise StorageError(  # where it isn't that points have expired meanwhile
            f"the copy of collection {name!r} has {count:,} points, its source {before:,}"
        )
    if since.ids is None:
        return 0
    fields, compared = everything(spaces), 0
    # A cluster counts its points to find a place among them, several times for each.
    chosen, other = (source, target) if rounds else (target, source)
    for start in _starts(min(count, chosen.count())):
        copied = chosen.get(None, None, RUN, start, fields)
        there = other.get(copied.ids, None, None, 0, fields)
        others = since.ids if since.rests else since.ids | (set(copied.ids) - set(there.ids))
        wrong = differing(copied, there, ROUNDED if rounds else 0) - others
        if wrong:  # unless they have expired since
            wrong &= {*chosen.get([*wrong], None, None, 0, Fields()).ids}
        if wrong:
            raise StorageError(
                f"the copy of collection {name!r} differs from its source: the point "
                f"{min(wrong, key=str)!r} holds something else, or isn't there; copy it again"
            )
        compared += len(copied.ids)
    return compared


def holds_the_same(
    source: PointsBackend, target: PointsBackend, spaces: Spaces, rounds: bool
) -> bool:
    """Whether both have the same points in the same order."""
    if source.count() != target.count():
        return False
    fields, start, tolerance = everything(spaces), 0, ROUNDED if rounds else 0
    for points in pages(source, fields):
        there = target.get(None, None, len(points.ids), start, fields)
        if points.ids != there.ids or differing(points, there, tolerance):
            return False
        start += len(points.ids)
    return True


def _starts(count: int) -> list[int]:
    """Where the runs of a random sample begin; all of them when there are few points."""
    if count <= SAMPLE:
        return list(range(0, count, RUN))
    return sorted(random.sample(range(count - RUN + 1), SAMPLE // RUN))
