"""Making the codes of vector spaces, and files of those that are full."""

from functools import partial
from pathlib import Path

from retrieval_store.base import tracing
from retrieval_store.base.tracing import log_of
from retrieval_store.engine.access import Access
from retrieval_store.engine.codes.segments import SpaceCodes
from retrieval_store.engine.database.failures import translated
from retrieval_store.engine.memory import CachedState
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.engine.nearest.planner import is_worth_codes
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.engine.storage import derived
from retrieval_store.engine.storage.derived import DerivedFile
from retrieval_store.engine.storage.log import Write
from retrieval_store.errors import DamagedError
from retrieval_store.query.types import Progress

_log = log_of("maintenance")
FILES_AT_ONCE = 4  # recorded in one transaction


def code(points: Access, name: str, progress: Progress) -> None:
    """Let the codes of a space take in the vectors that they lack, from files if there are any."""
    cached = _with_files(points, name)
    space = cached.state.spaces.get(name)
    if space is None or not _should_have_codes(space):
        return
    codes = cached.kept.spaces[name].codes
    if codes.closed or not codes.lacks(space.space.slots):
        return
    try:
        with tracing.span("code", points.name):
            while codes.lacks(space.space.slots) and not codes.closed:
                codes.take_in(space)
                progress(0, space.space.slots)
        _log.debug("%r has codes of %d vectors", points.name, space.space.slots)
    except DamagedError:
        if not points.has_moved_on(cached.state):
            raise  # else the files are those of the generation before


def _with_files(points: Access, name: str) -> CachedState:
    """What is in memory of the collection now, with the codes of all files that there are."""

    def look(view: SearchView) -> CachedState:
        space = view.state.spaces.get(name)
        if space is not None and _should_have_codes(space):
            codes = view.kept.spaces[name].codes
            codes.load_saved(view.connection, space.space.slots, newer=True)
        return CachedState(view.state, view.kept)

    return points.read(look)


def _should_have_codes(space: SpaceState) -> bool:
    return is_worth_codes(space.space.slots, space.space.dimension or 0, space.space.metric)


def save_codes(points: Access, name: str, every: bool = False) -> None:
    """Write files of full segments that are in none, where they have grown enough, or of `every`
    one; only the one process that does maintenance may."""
    cached = _with_files(points, name)  # another process may have saved more than this one has
    codes = cached.kept.spaces[name].codes_at_hand if name in cached.kept.spaces else None
    if codes is None or points.directory is None:
        return
    unsaved = codes.unsaved(every)
    for start in range(0, len(unsaved), FILES_AT_ONCE):
        some = unsaved[start : start + FILES_AT_ONCE]
        _save(points, points.directory, codes, some, cached.state.head.seq)


def _save(points: Access, directory: Path, codes: SpaceCodes, some: list[int], seq: int) -> None:
    made: list[DerivedFile] = []
    with translated(directory):
        for number in some:
            key = codes.key_of(number)
            made.append(derived.write_file(directory, key, partial(codes.write, number), seq))

    def record(write: Write) -> None:
        for file in made:
            derived.record(write.connection, file)

    points.write(record)
    codes.map(made, directory)
