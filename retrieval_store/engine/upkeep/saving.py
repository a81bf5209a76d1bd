"""Saving what can be made again: indexes, and lists of words and trigrams."""

from functools import partial
from pathlib import Path

from retrieval_store.engine.access import Access
from retrieval_store.engine.database.failures import translated
from retrieval_store.engine.memory import Moment
from retrieval_store.engine.nearest.indexing import SpaceIndex
from retrieval_store.engine.nearest.kept import Kept, SearchView
from retrieval_store.engine.state.layers import Layers
from retrieval_store.engine.state.state import State
from retrieval_store.engine.storage import derived
from retrieval_store.engine.storage.schema import LISTED, read_changes
from retrieval_store.engine.storage.write import Write
from retrieval_store.engine.words import kept as words
from retrieval_store.engine.words.kept import (
    TRIGRAMS,
    GoingOn,
    ListKey,
    file_key,
    lists_for,
    pure,
    renewed,
)
from retrieval_store.engine.words.list_files import write as write_lists
from retrieval_store.engine.words.lists import Lists

GROWTH_TO_SAVE = 0.1
# Bytes of lists that are written, and points whose documents are read for it, while somebody waits
# for a store to close: a tenth of a second. More is left to the next process, which builds it, or
# catches up from an older file.
CLOSING_BYTES, CLOSING_POINTS = 32 << 20, 10_000


def _nothing() -> None:
    """Whoever saves may go on."""


def save_index(points: Access, name: str, growth: float) -> None:
    """Save the index of a space if it has grown by more than this share since; only the one process
    that does maintenance may."""
    moment = points.moment()
    index = moment.kept.indexes.get(name)
    if index is None or points.directory is None:
        return
    save = partial(_save_grown, points, points.directory, index, moment.state.head.seq, growth)
    if index.filling.take(save):
        sweep(points)


def _save_grown(
    points: Access, directory: Path, index: SpaceIndex, seq: int, growth: float
) -> bool:
    if index.covered - index.saved <= growth * index.covered:
        return False
    with translated(directory):
        made = derived.write_file(directory, index.key, index.save, seq)
    points.write(lambda write: derived.record(write.connection, made))
    index.saved = made.covered
    return True


def build_lists(points: Access) -> None:
    """Build the lists that filters have asked for often enough."""

    def build(view: SearchView) -> None:
        if TRIGRAMS in view.kept.lists.wanted():
            lists_for(view, TRIGRAMS)

    points.read(build)


def save_lists(points: Access, going_on: GoingOn) -> None:
    """Save the lists of words and trigrams that have grown enough since; only the one process that
    does maintenance may. What has been deleted or replaced goes from a file when it is written.
    going_on: called now and then; it may raise."""
    moment = points.moment()
    moment.kept.unsaved.clear()
    for key in worth_saving(moment):
        # Of each a look of its own, since writing one takes a while.
        if points.read(partial(_has_grown, key=key)):
            _save_list(points, key, going_on)
    sweep(points)


def save_small_lists(points: Access) -> None:
    """Save those of them that are written in a moment."""
    for key in worth_saving(points.moment()):
        if points.read(partial(_is_small, key=key)) and points.read(partial(_has_grown, key=key)):
            _save_list(points, key)
    sweep(points)


def renew_lists(points: Access, held: list[ListKey]) -> None:
    """Write those of the lists that are held anew, and forget the files of all others: nothing of
    what was deleted is left in them."""
    kept = {file_key(key): key for key in held}
    for key in held:
        _save_list(points, key)

    def forget_others(write: Write) -> None:
        files = derived.all_files(write.connection)
        lists = [f.key for f in files if not f.key.startswith(("index.", "codes."))]
        others = [key for key in lists if key not in kept]
        derived.forget(write.connection, others)

    points.write(forget_others)
    sweep(points)


def worth_saving(moment: Moment) -> list[ListKey]:
    """The lists that should have files: of words only those of the analyzer used last."""
    if moment.state.count < words.LISTS_WORTH:
        return []
    held: list[ListKey] = moment.kept.lists.held()
    of_words = [key for key in held if key[0] == "words"]
    return [key for key in held if key[0] != "words" or key == of_words[-1]]


def _is_small(view: SearchView, key: ListKey) -> bool:
    held = pure(view, key)
    if held is None:
        return view.state.count <= CLOSING_POINTS
    return sum(segment.nbytes for segment in held.segments) <= CLOSING_BYTES


def _has_grown(view: SearchView, key: ListKey) -> bool:
    return _changed_since_saved(view, key) > GROWTH_TO_SAVE * view.state.count


def _changed_since_saved(view: SearchView, key: ListKey) -> int:
    """How many points have been written since the lists were saved; all, if their file is of no
    use."""
    known = derived.find(view.connection, file_key(key))
    floor = view.state.head.log_floor
    if known is None or known.seq < floor or key in view.kept.lists.rejected:
        return view.state.count
    changed = len(read_changes(view.connection, known.seq).of(LISTED))
    return changed + view.state.head.next_pk - known.covered


def _save_list(points: Access, key: ListKey, going_on: GoingOn = _nothing) -> None:
    if points.directory is None:
        return

    def current(view: SearchView) -> tuple[Layers[Lists], State, Kept]:
        return pure(view, key) or renewed(view, key, going_on), view.state, view.kept

    layers, state, kept = points.read(current)
    with translated(points.directory):
        fill = partial(write_lists, layers=layers, state=state, going_on=going_on)
        made = derived.write_file(points.directory, file_key(key), fill, state.head.seq)
    points.write(lambda write: derived.record(write.connection, made))
    kept.lists.rejected.discard(key)


def sweep(points: Access) -> None:
    """Remove the derived files that no record names."""
    if points.directory is not None:
        files = points.read(lambda view: derived.all_files(view.connection))
        with translated(points.directory):
            derived.sweep(points.directory, files)
