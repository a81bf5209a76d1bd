"""Making files of lists and columns anew, so that nothing of what was deleted or replaced is left
in them, and those that were there are there again, whichever process made them.

What a file is of stands in it: its lists, or the path of its columns. A file of which no point has
changed since it was written is left as it is.
"""

from contextlib import suppress
from functools import partial

from retrieval_store.engine.access import Access
from retrieval_store.engine.database.failures import CORRUPTION_ERRORS
from retrieval_store.engine.filtering import column_files
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.engine.state.state import FILE_KIND
from retrieval_store.engine.storage import derived
from retrieval_store.engine.storage.derived import DerivedFile
from retrieval_store.engine.storage.log import Write
from retrieval_store.engine.storage.schema import LISTED, PAYLOAD
from retrieval_store.engine.upkeep.saving import (
    MOST_COLUMNS,
    changed_since_saved,
    save_column,
    save_list,
    sweep,
)
from retrieval_store.engine.words import list_files
from retrieval_store.engine.words.cache import ListKey, file_key
from retrieval_store.errors import DamagedError, InvalidArgumentError, MissingDependencyError
from retrieval_store.filters.paths import PayloadPath

# What is derived from vectors and numbers alone, and keeps nothing of what was deleted for long.
_NO_CONTENT = ("index.", "codes.", f"{FILE_KIND}.")


def renew(points: Access, held: list[ListKey], used: list[PayloadPath]) -> None:
    """Write the lists that are held, the columns of the paths that are used, and what there are
    files of, anew where points have changed since, as far as there is room, and forget all other
    files of lists and columns. Only the one process that does maintenance may."""
    if points.directory is None:
        return
    kept: set[str] = set()
    for key in points.read(partial(_lists_wanted, held=held)):
        if points.read(partial(_is_current_list, key=key)) or _save(points, key, key in held):
            kept.add(file_key(key))
    paths = dict.fromkeys([*used, *reversed(points.read(_columns_saved))])
    for path in [*paths][:MOST_COLUMNS]:
        current = points.read(partial(_is_current_column, path=path))
        if current or save_column(points, path):
            kept.add(column_files.file_key(path))

    def forget_others(write: Write) -> None:
        files = derived.all_files(write.connection)
        others = [f.key for f in files if not f.key.startswith(_NO_CONTENT) and f.key not in kept]
        derived.forget(write.connection, others)

    points.write(forget_others)
    sweep(points)


def _save(points: Access, key: ListKey, is_held: bool) -> bool:
    """Write lists; returns whether they could be made. What only a file has asked for needn't stay
    in memory."""
    try:
        save_list(points, key)
    except (InvalidArgumentError, MissingDependencyError):
        return False  # there is no such language, or none here
    if not is_held:
        points.cached().kept.lists.forget([key])
    return True


def _lists_wanted(view: SearchView, held: list[ListKey]) -> list[ListKey]:
    """Those that are held, and those that there are files of: of words only the ones that were used
    last, or, where this process has used none, saved last."""
    saved = [key for made in _files(view) for key in _keys_in(view, made)]
    wanted = dict.fromkeys([*held, *(key for key in saved if key[0] != "words")])
    if not any(key[0] == "words" for key in held):
        wanted |= dict.fromkeys([key for key in saved if key[0] == "words"][-1:])
    return [*wanted]


def _columns_saved(view: SearchView) -> list[PayloadPath]:
    """The paths that there are files of."""
    return [path for made in _files(view) for path in _paths_in(view, made)]


def _files(view: SearchView) -> list[DerivedFile]:
    """The records of files, the last that was written last."""
    return sorted(derived.all_files(view.connection), key=lambda made: made.seq)


def _keys_in(view: SearchView, made: DerivedFile) -> list[ListKey]:
    """The key of the lists in this file; none where it has no lists, or not those it should."""
    sparse = {space.number for space in view.state.non_dense.values() if space.kind == "sparse"}
    assert view.directory is not None
    with suppress(*CORRUPTION_ERRORS, DamagedError, OSError):
        key = list_files.key_in(derived.path_of(view.directory, made))
        if file_key(key) == made.key and (key[0] != "sparse" or key[1] in sparse):
            return [key]
    return []


def _paths_in(view: SearchView, made: DerivedFile) -> list[PayloadPath]:
    """The path of the columns in this file; none where it has no columns, or not those it
    should."""
    assert view.directory is not None
    with suppress(*CORRUPTION_ERRORS, DamagedError, OSError):
        path = column_files.path_in(derived.path_of(view.directory, made))
        if column_files.file_key(path) == made.key:
            return [path]
    return []


def _is_current_list(view: SearchView, key: ListKey) -> bool:
    rejected = key in view.kept.lists.demand.rejected
    return changed_since_saved(view, file_key(key), LISTED, rejected) == 0


def _is_current_column(view: SearchView, path: PayloadPath) -> bool:
    rejected = path in view.kept.columns.demand.rejected
    return changed_since_saved(view, column_files.file_key(path), PAYLOAD, rejected) == 0
