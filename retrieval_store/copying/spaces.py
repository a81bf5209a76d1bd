"""Vector spaces of a copy made those of its source, while points come and go.

A space that was dropped and added again has the name of the one before, and none of its vectors;
its number tells. All that a new one holds was written since it was added, so a copy of what
has changed since before that copies all of it.
"""

from collections.abc import Mapping, Sequence

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import Payload
from retrieval_store.query.protocols import EnginePoints
from retrieval_store.query.types import NewSpace, SpaceRecord


def numbers(spaces: Sequence[SpaceRecord]) -> dict[str, int]:
    """The numbers of spaces by their names."""
    return {one.name: one.number for one in spaces}


def as_new(space: SpaceRecord) -> NewSpace:
    """An empty space like this one."""
    return NewSpace(space.metric, space.index, space.kind, space.datatype, space.dimension)


@dataclass(frozen=True, slots=True)
class Steps:
    """What makes the spaces of a copy those of its source: which are dropped first, which are added
    then, and of which the settings change."""

    dropped: Sequence[str]
    added: Mapping[str, NewSpace]
    changed: Mapping[str, Payload]

    def __bool__(self) -> bool:
        return bool(self.dropped or self.added or self.changed)

    def take(self, target: EnginePoints) -> None:
        """Do all that; what a process that died has done already isn't asked for again."""
        for name in self.dropped:
            target.drop_space(name)
        for name, space in self.added.items():
            target.add_space(name, space)
        for name, index in self.changed.items():
            target.configure_index(name, index)


def steps(
    source: Sequence[SpaceRecord], known: Mapping[str, int] | None, target: Sequence[SpaceRecord]
) -> Steps:
    """How the target comes by the vector spaces of the source. known: the numbers of those whose
    vectors the target has; None for all."""
    wanted = {one.name: one for one in source}
    kept = {one.name: one for one in target if _is_kept(one, wanted.get(one.name), known)}
    return Steps(
        [one.name for one in target if one.name not in kept],
        {name: as_new(one) for name, one in wanted.items() if name not in kept},
        {name: wanted[name].index for name, one in kept.items() if one.index != wanted[name].index},
    )


def _is_kept(
    there: SpaceRecord, wanted: SpaceRecord | None, known: Mapping[str, int] | None
) -> bool:
    """Whether a space of the target is that of the source, and can become all that it is."""
    if wanted is None or (known is not None and known.get(wanted.name) != wanted.number):
        return False
    kinds = (there.metric, there.kind, there.datatype)
    if kinds != (wanted.metric, wanted.kind, wanted.datatype):
        return False
    # The first vector fixes the dimension; where there is none any more, only a new space has it.
    fixed_later = there.dimension is None and wanted.count > 0
    return fixed_later or there.dimension == wanted.dimension
