"""Verifies a store: reads every byte of it, and reports the problems of each file.

For databases it checks every page through the checksum VFS, their structure by SQLite's own check,
and whether the tables agree. For vector files it checks the checksum of every block, with a reader
that hasn't verified any block yet. For derived files it checks the checksums, and whether they
agree with the points and vectors of the collection. A checksum reveals accidental damage, but the
author of a forged file gives it a correct checksum. So every derived value is compared:

- Inverted lists and columns are rebuilt, block by block, and must be equal. A state, updated from
  the change log, must equal the state that is loaded from the database. Points that were written
  after a file are left out, because a reader of the file reads these points from the database.
- Codes. A search relies on the stored error bounds. They are computed again in float64 from the
  centre, the seed and the scales of the file, without the compiled part that computes codes. The
  bounds concern the distance of each rotated vector from its decoded code, the length of the
  decoded vector, and the part that is stored exactly. The codes themselves can be any that keep
  these bounds.
- Signs. The signs of each rotated vector, and the factor that converts them to a score, are
  computed in the same way, and can differ only by roundings. The recall of searches by signs is
  measured again, and must not be much lower than the recorded recall.
- Indexes. An index of a class that can return its vectors (`KnowsVectors`) must return all of them.
  In other indexes each stored vector is searched for, and each hit must have the distance that the
  index returns. Whenever a graph is read, `indexes.hnsw` checks that each slot occurs once and that
  no link leads outside. The links themselves aren't compared, because a rebuilt graph has other
  links. So removed links aren't found here (docs/security.md says so).
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TypeAlias, TypeVar

import apsw
import numpy as np

from retrieval_store.base.analysis import Analyzer
from retrieval_store.base.arrays import (
    Bools,
    Floats,
    Ints,
    Matrix,
    Metric,
    Stored,
    as_float32,
    distinct,
    hit_distances,
)
from retrieval_store.base.system import usable_cores
from retrieval_store.base.workers import WorkerPool
from retrieval_store.engine.access import Access, StoreHooks
from retrieval_store.engine.filtering import columns
from retrieval_store.engine.filtering.cache import FilterView
from retrieval_store.engine.filtering.columns import KIND, ColumnFile, SavedColumns
from retrieval_store.engine.filtering.segments import Postings, ValueSegment, build_segment
from retrieval_store.engine.search.codes import (
    FILE_SEGMENTS,
    SEGMENT,
    CodeSnapshot,
    MappedSegments,
)
from retrieval_store.engine.search.context import SearchView
from retrieval_store.engine.search.index_lifecycle import FindClass
from retrieval_store.engine.search.recall import Measured, Measurement, Recall
from retrieval_store.engine.sqlite import CORRUPTION_ERRORS, FileDatabase, corruption_error, select
from retrieval_store.engine.state.caches import Layers
from retrieval_store.engine.state.mapped_files import StateFile
from retrieval_store.engine.state.state import NONE, AnyView, SpaceState, State
from retrieval_store.engine.storage.catalog import CATALOG
from retrieval_store.engine.storage.derived import (
    DerivedFile,
    DerivedKind,
    OutdatedError,
    all_files,
    find,
    find_all,
    path_of,
    refuse_damaged,
)
from retrieval_store.engine.storage.files import DERIVED, POINTS_NAME
from retrieval_store.engine.storage.records import decode_payloads, read_records, read_values
from retrieval_store.engine.storage.write import read_non_dense
from retrieval_store.engine.text.inverted import TRIGRAMS, ListKey, Lists, Vocabulary
from retrieval_store.engine.text.ranking import ListFile, in_pieces
from retrieval_store.errors import (
    ClientClosedError,
    DamagedError,
    InvalidArgumentError,
    MissingDependencyError,
    NotFoundError,
    PluginError,
    StorageError,
)
from retrieval_store.indexes import DEFAULT_RECALL, KnowsVectors, VectorIndex
from retrieval_store.indexes.exact import (
    SAFE_LENGTHS,
    UNIT_ROUNDOFF,
    exact_distances,
)
from retrieval_store.indexes.native import BLOCK
from retrieval_store.indexes.quantized import Codes, Frame, factors_and_sides, rotate, signs_of
from retrieval_store.query.types import FileReport, Mode

V = TypeVar("V")
T = TypeVar("T")
POSTINGS_AT_ONCE = 4_000_000
VALUES_AT_ONCE = 20_000
MAX_ATTEMPTS = 4  # attempts if derived files are replaced meanwhile


def _refuse_false_column(view: FilterView, path: Path, derived_file: DerivedFile) -> None:
    """Raise ValueError unless the file contains the columns of the path for which it is recorded,
    with the correct values."""
    kind = ColumnFile.in_file(path)
    if kind.key != derived_file.key:
        raise ValueError("it is recorded as the column of another key")
    _refuse_other_values(view, kind.read(path, derived_file, view))


def _refuse_other_values(view: FilterView, saved: SavedColumns) -> None:
    """Raise ValueError unless a file has exactly the postings that are built from the points'
    payloads. The postings are compared block by block."""
    decided = _decided_rows(view, saved.stale)
    covered = np.zeros_like(decided)
    covered[saved.by_column[columns.columns_of(saved.path)[0]].rows] = True
    if (decided & ~covered).any():
        raise ValueError("it lacks some points")
    pairs = {column: _pairs(segment.values, decided) for column, segment in saved.by_column.items()}
    rows = np.flatnonzero(decided)
    for start in range(0, len(rows), VALUES_AT_ONCE):
        piece = rows[start : start + VALUES_AT_ONCE]
        (values,) = read_values(view.connection, view.state.pks[piece], [saved.path])
        for column, segment in saved.by_column.items():
            true = build_segment(column, piece, values)
            assert isinstance(true, ValueSegment)
            piece_pairs = _pairs(true.values, decided)
            piece_pairs[1] = _numbers_among(segment.values, true.values)[piece_pairs[1]]
            first, stop = np.searchsorted(pairs[column][0], [piece[0], piece[-1] + 1]).tolist()
            if not np.array_equal(_in_order(piece_pairs), pairs[column][:, first:stop]):
                raise ValueError(f"its entries for the rows {piece[0]} to {piece[-1]} are wrong")


def _pairs(postings: Postings, decided: Bools) -> Ints:
    """Pairs of a row and the number of one of its values, sorted by row: (2, n). Only rows in
    `decided` are included."""
    groups = postings.groups
    numbers = np.repeat(np.arange(len(groups.offsets) - 1), np.diff(groups.offsets))
    return _in_order(np.stack([groups.rows, numbers])[:, decided[groups.rows]])


def _in_order(pairs: Ints) -> Ints:
    return pairs[:, np.lexsort((pairs[1], pairs[0]))]


def _numbers_among(saved: Postings, true: Postings) -> Ints:
    """For each scalar of the true postings, its number in the saved postings; -1 if these lack it.
    Equal scalars of different types, such as 1, 1.0 and true, are different here."""
    numbers: list[int] = [saved.texts.get(text, -1) for text in true.texts]
    by_type = {part.values.dtype: part for part in saved.numbers}
    for part in true.numbers:
        saved_part, among = by_type.get(part.values.dtype), np.full(len(part.values), -1)
        if saved_part is not None and len(saved_part.values):
            places = np.minimum(
                np.searchsorted(saved_part.values, part.values), len(saved_part.values) - 1
            )
            among = np.where(
                saved_part.values[places] == part.values, saved_part.first + places, -1
            )
        numbers += among.tolist()
    return np.array([*numbers, saved.false, saved.false + 1], np.int64)


def _decided_rows(view: AnyView, stale: Ints) -> Bools:
    """Which points' results depend on a file: (rows,) bool. A reader reads stale points from the
    database, so they are False."""
    decided = view.state.alive.copy()
    decided[stale] = False
    return decided


def _refuse_other_lists(view: AnyView, key: ListKey, layers: Layers[Lists]) -> None:
    decided = _decided_rows(view, layers.stale)
    uppermost = np.full(len(decided), -1)
    segments = [*map(_in_good_order, layers.segments)]
    for number, segment in enumerate(segments):
        uppermost[segment.rows] = number
    if (uppermost[decided] < 0).any():
        raise ValueError("it lacks some points")
    for number, segment in enumerate(segments):
        rows = np.flatnonzero(decided & (uppermost == number))
        for piece in _by_postings(segment, rows):
            _refuse_other_postings(view, key, segment, piece)


def _by_postings(segment: Lists, rows: Ints) -> Iterator[Ints]:
    """Yield the rows in batches. A batch has at most a fixed number of postings, or is a single
    row."""
    counts = np.bincount(segment.owners, minlength=int(rows.max(initial=-1)) + 1)
    ends = np.cumsum(counts[rows]) // POSTINGS_AT_ONCE
    yield from np.split(rows, np.flatnonzero(np.diff(ends)) + 1)


def _refuse_other_postings(view: AnyView, key: ListKey, segment: Lists, rows: Ints) -> None:
    """Rebuild the lists of these rows, and raise ValueError unless the segment has exactly the same
    postings and sizes for them."""
    saved = _postings(segment, np.arange(len(segment.offsets) - 1), rows)
    for piece in in_pieces(view, key, rows):
        if not len(piece.rows):
            continue
        true = _postings(piece, _numbers_in(segment, piece), piece.rows)
        first, stop = np.searchsorted(saved[0], [piece.rows[0], piece.rows[-1] + 1]).tolist()
        are_same = np.array_equal(saved[:, first:stop], true)
        if not are_same or not np.array_equal(
            _sizes(segment, piece.rows), _sizes(piece, piece.rows)
        ):
            rows_told = f"{piece.rows[0]} to {piece.rows[-1]}"
            raise ValueError(f"its entries for some of the rows {rows_told} are wrong")


def _postings(lists: Lists, numbers: Ints, rows: Ints) -> Ints:
    """The postings of these rows, sorted by row and then by term: (3, n). They consist of rows,
    numbers of terms, and bits of weights. Lists without weights get the bits of NaN, which no file
    contains. numbers: (t,) the number to use for each term of the lists."""
    mask: Bools = np.zeros(max(rows.max(initial=-1), lists.owners.max(initial=-1)) + 1, np.bool_)
    mask[rows] = True
    parts = [
        start + np.flatnonzero(mask[lists.owners[start : start + POSTINGS_AT_ONCE]])
        for start in range(0, max(1, len(lists.owners)), POSTINGS_AT_ONCE)
    ]
    places = np.concatenate(parts)
    owners = lists.owners[places]
    terms = numbers[np.searchsorted(lists.offsets, places, "right") - 1]
    weights = lists.weights[places] if len(lists.weights) else np.full(len(places), np.nan)
    postings = np.stack([owners, terms, weights.astype(np.float32).view(np.uint32)], dtype=np.int64)
    return postings[:, np.lexsort((terms, owners))]


def _numbers_in(segment: Lists, piece: Lists) -> Ints:
    """For each term of the piece, its number in the segment; -1 if the segment lacks it."""
    if piece.codes is not None:
        codes = segment.codes or {}
        return np.array([codes.get(word, -1) for word in piece.codes], np.int64)
    if segment.codes is not None or not len(segment.terms):
        return np.full(len(piece.terms), -1)
    places = np.minimum(np.searchsorted(segment.terms, piece.terms), len(segment.terms) - 1)
    return np.where(segment.terms[places] == piece.terms, places, -1)


def _sizes(lists: Lists, rows: Ints) -> Matrix:
    """How many words each of the rows has; an empty array for lists without sizes."""
    return lists.sizes[np.searchsorted(lists.rows, rows)] if len(lists.sizes) else lists.sizes


def _in_good_order(lists: Lists) -> Lists:
    """The same lists, with their words as a dict, because all words are looked up. Raises
    ValueError if the rows of a term, the terms or the words are out of order."""
    starts: Bools = np.zeros(len(lists.owners) + 1, np.bool_)
    starts[lists.offsets] = True
    ascending = starts[1:-1] | (np.diff(lists.owners) > 0)
    if not ascending.all():
        raise ValueError("its lists are out of order")
    if (np.diff(lists.terms) <= 0).any():
        raise ValueError("its terms are out of order")
    if isinstance(lists.codes, Vocabulary):
        lists.codes.refuse_disorder()
        return replace(lists, codes={word: code for code, word in enumerate(lists.codes)})
    return lists


def _refuse_other_state(true: State, saved: State) -> None:
    """Raise ValueError unless a saved state equals the state loaded from the database."""
    if not np.array_equal(saved.pks[saved.alive], true.pks):
        raise ValueError("it knows other points")
    for name, space in true.spaces.items():
        if name not in saved.spaces or not _are_same(saved, saved.spaces[name], true, space):
            raise ValueError(f"its entries for vector space {name!r} are wrong")


def _are_same(saved: State, saved_space: SpaceState, true: State, space: SpaceState) -> bool:
    """Whether two states agree on a vector space; they may number rows differently."""
    return (
        np.array_equal(_owners(saved, saved_space), _owners(true, space))
        and np.array_equal(saved_space.slot_of_row.whole()[saved.alive], space.slot_of_row.whole())
        and np.array_equal(saved_space.checksums, space.checksums)
    )


def _owners(state: State, space: SpaceState) -> Ints:
    """The pk that owns each slot, -1 for dead slots."""
    rows = space.row_of_slot.whole()
    owners = np.full(len(rows), NONE, np.int64)
    owners[rows >= 0] = state.pks[rows[rows >= 0]]
    return owners


CODED_CELLS_AT_ONCE = 65_536  # numbers whose codes a thread compares: a core's cache holds them
LOOSE = 1.001  # bounds can exceed the bounded value, but not by more than this factor …
ROUNDED = 2e-5  # … and this share of the vector's length
SIGNS_ROUNDED = 1e-4  # share of a rotated vector's length that exceeds float32's errors
RECALL_SLACK = 0.05  # by chance, the recall may be this much lower when it is measured again
CELLS_AT_ONCE = 4_000_000  # numbers of vectors that are compared with an index's at the same time
SEARCHED_AT_ONCE = 1_000  # vectors for which an index is searched at the same time
CANDIDATES = 10  # candidates that are requested for each of these vectors


def _refuse_other_codes(
    space: SpaceState, first: int, is_over: Event, saved: MappedSegments
) -> None:
    """Raise ValueError unless the codes in a file are valid for the vectors of a space. first: the
    slot of the file's first code. is_over: see `_end_if`."""
    for number, codes in enumerate(saved.segments):
        _end_if(is_over)
        _refuse_wrong_codes(codes, space, first + number * SEGMENT)


def _end_if(is_over: Event) -> None:
    """Raise CancelledError if nobody waits for this thread's result any more. is_over: an event
    that is set once nobody waits."""
    if is_over.is_set():
        raise CancelledError


def _refuse_wrong_codes(codes: Codes, space: SpaceState, first: int) -> None:
    slots = np.arange(first, first + SEGMENT)
    if slots[-1] >= space.space.slots:
        raise ValueError(f"it has codes of more than {space.space.slots} vectors")
    rows = space.vectors.rows(space.space.slots)
    space.vectors.verify_once(rows, space.checksums, slots)
    blocks = max(1, CODED_CELLS_AT_ONCE // (BLOCK * rows.shape[1]))
    for start in range(0, SEGMENT, step := BLOCK * blocks):
        block_slots = slots[start : start + step]
        if not _holds(codes, start, as_float32(rows[block_slots]).astype(np.float64)).all():
            raise ValueError("it has bounds that don't hold for its vectors")


def _holds(codes: Codes, start: int, vectors: Floats) -> Bools:
    """Whether the stored numbers of some codes are correct, and their error bounds as tight as
    possible. vectors: the vectors of the rows from `start` on; the rows must form complete
    blocks."""
    span = slice(start, start + len(vectors))
    blocks = slice(span.start // BLOCK, span.stop // BLOCK)
    scales, residuals, sides, reaches = codes.rows[span].astype(np.float64).T
    finer = codes.finer[span].astype(np.float64)
    centred, lengths, good = _encode_rows(vectors, codes.frame, sides)
    turned, dimension = rotate(centred, codes.frame), centred.shape[1]
    nibbles = codes.high[blocks].transpose(0, 1, 3, 2, 4).reshape(-1, *codes.low.shape[1:])
    high, low = _numbers(nibbles, dimension), _numbers(codes.low[span], dimension)
    upper = (high - 7.5) * scales[:, None]
    whole = (16 * high + low - 127.5) * (scales[:, None] / 16)
    slack = ROUNDED * (_length(centred) + lengths + 1e-20)
    longest = np.maximum(_length(upper), _length(whole))
    true_ones = _length(turned - upper), _length(turned - whole), longest
    for bounds, true in zip((residuals, finer, reaches), true_ones, strict=True):
        good &= (true <= bounds) & (np.isinf(bounds) | (bounds <= true * LOOSE + slack))
    unbounded: Bools = np.isinf(residuals) & np.isinf(finer)
    return (good & _signs_hold(codes, span, turned, sides)) | unbounded


def _signs_hold(codes: Codes, span: slice, turned: Floats, sides: Floats) -> Bools:
    """Whether the signs and the factors of some rows are correct. If a number is so near 0 that
    rounding decides, either sign is correct. turned: the rotated rows; sides: the parts of the rows
    that are stored exactly. The rows must form complete blocks."""
    factors, sides_beside = factors_and_sides(codes, slice(span.start // BLOCK, span.stop // BLOCK))
    signs, longest = signs_of(codes, np.arange(span.start, span.stop)), _length(turned)
    doubtful = np.abs(turned) <= SIGNS_ROUNDED * longest[:, None]
    sizes = np.abs(turned).sum(axis=1)
    true_factors = np.divide(longest**2, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    good: Bools = ((signs == (turned > 0)) | doubtful).all(axis=1)
    good &= np.abs(factors - true_factors) <= SIGNS_ROUNDED * true_factors + 1e-20
    good &= sides_beside == sides
    return good


def _encode_rows(vectors: Floats, frame: Frame, sides: Floats) -> tuple[Floats, Floats, Bools]:
    """For each vector: the part of it that is coded, before rotation; its length; and whether
    `sides` is correct. `sides` is the part that is stored exactly; the coded part is computed from
    it."""
    lengths, centre = _length(vectors), frame.centre.astype(np.float64)
    safe = (lengths >= SAFE_LENGTHS[0]) & (lengths <= SAFE_LENGTHS[1])
    rows = np.where(safe[:, None], vectors, 0.0)
    if frame.metric == "l2":
        centred = rows - centre
        half_squared_norms = _length(centred) ** 2 / 2
        rounding = 2 * UNIT_ROUNDOFF * half_squared_norms + 1e-40
        return centred, lengths, np.abs(sides - half_squared_norms) <= rounding
    if frame.metric == "cosine":
        rows = np.divide(rows, lengths[:, None], out=np.zeros_like(rows), where=safe[:, None])
    shares = rows @ centre / max(float(centre @ centre), 1e-300)
    near = np.abs(sides - shares) <= 2 * UNIT_ROUNDOFF * np.abs(shares) + 1e-12 * _length(rows)
    return rows - np.outer(sides, centre), lengths, near


def _numbers(nibbles: np.ndarray, dimension: int) -> Matrix:
    """The numbers that are packed two in a byte: (n, dim). Every four bytes contain eight numbers:
    first the four in the lower halves, then the four in the upper halves."""
    halves = np.stack([nibbles & 15, nibbles >> 4], axis=2)
    return halves.reshape(len(nibbles), -1)[:, :dimension].astype(np.float32)


def _length(rows: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows)))


def _refuse_other_vectors(space: SpaceState, index: VectorIndex) -> None:
    """Raise ValueError unless an index contains the vectors of a space."""
    if len(index) > space.space.slots:
        raise ValueError(f"it claims {len(index)} vectors of {space.space.slots}")
    rows = space.vectors.rows(space.space.slots)[: len(index)]
    lengths = space.vectors.norms(rows, space.checksums, None).lengths
    if not isinstance(index, KnowsVectors):
        _refuse_wrong_distances(index, rows, lengths, space.space.metric)
        return
    wrong_count = sum(
        int(np.count_nonzero(~index.holds(first, piece))) for first, piece in _in_parts(rows)
    )
    if wrong_count:
        raise ValueError(f"{wrong_count} of {len(rows)} vectors aren't those of the collection")


def _in_parts(rows: Stored) -> Iterator[tuple[int, Matrix]]:
    step = max(1, CELLS_AT_ONCE // rows.shape[1])
    for first in range(0, len(rows), step):
        yield first, as_float32(rows[first : first + step])


def _refuse_wrong_distances(
    index: VectorIndex, rows: Stored, lengths: Floats, metric: Metric
) -> None:
    """Search the index for each vector whose length is safe for float32 products. Raise ValueError
    unless each hit exists, occurs once, and has a returned distance that agrees with its stored
    vector. An index is allowed to miss some of the vectors, but not all."""
    searched = np.flatnonzero((lengths >= SAFE_LENGTHS[0]) & (lengths <= SAFE_LENGTHS[1]))
    hits = 0
    for start in range(0, len(searched), SEARCHED_AT_ONCE):
        slots = searched[start : start + SEARCHED_AT_ONCE]
        try:
            numbers, distances = index.search(as_float32(rows[slots]), min(CANDIDATES, len(rows)))
        # An index may find too few candidates, for example; searches use another method then.
        except RuntimeError:
            continue
        hit_slots = np.asarray(numbers).reshape(len(slots), -1).astype(np.int64)
        reported_distances = np.asarray(distances).reshape(len(slots), -1).astype(np.float64)
        if hit_slots.shape != reported_distances.shape:
            raise ValueError("a search finds vectors without a distance")
        for slot_hits in zip(slots.tolist(), hit_slots, reported_distances, strict=True):
            _refuse_wrong_hits(rows, lengths, metric, *slot_hits)
        hits += int(np.count_nonzero((hit_slots == slots[:, None]).any(axis=1)))
    if len(searched) and not hits:
        raise ValueError(f"no search of {len(searched)} finds its query vector")


def _refuse_wrong_hits(
    rows: Stored, lengths: Floats, metric: Metric, slot: int, hit_slots: Ints, distances: Floats
) -> None:
    if len(distinct(hit_slots)) < len(hit_slots):
        raise ValueError("a search finds a vector twice")
    if len(hit_slots) and not 0 <= hit_slots.min() <= hit_slots.max() < len(rows):
        raise ValueError("a search finds vectors that aren't there")
    length = float(lengths[slot])
    measured = exact_distances(
        as_float32(rows[slot : slot + 1])[0], length, rows, hit_slots, metric
    )
    true = hit_distances(measured, metric)
    rounding = (rows.shape[1] + 16) * 4 * UNIT_ROUNDOFF
    if metric == "l2":
        allowed = rounding * (lengths[hit_slots] + length) ** 2
    elif metric == "ip":
        allowed = rounding * (1 + lengths[hit_slots] * length)
    else:
        allowed = np.full(len(hit_slots), rounding)
    wrong = ~(np.abs(distances - true) <= allowed)
    if wrong.any():
        raise ValueError(
            f"a search says that vector {hit_slots[wrong][0]} is {distances[wrong][0]:.6g} "
            f"away from vector {slot}, and not {true[wrong][0]:.6g}"
        )


FindAnalyzer: TypeAlias = Callable[[], Analyzer]
# Raises ValueError for a file with wrong content.
Comparison: TypeAlias = Callable[[Path, DerivedFile], None]
_HOW_TO_MEND = (
    "Nothing is lost: close it everywhere and open the store with rebuild=True, or remove the "
    "folder 'derived' while it is closed, and it is made again"
)
_CLOSE = partial(ClientClosedError, "verified")
_OF_OTHER_TYPES = """
    SELECT pk FROM points WHERE typeof(id) NOT IN ('text', 'integer')
        OR typeof(document) NOT IN ('text', 'null') OR typeof(uri) NOT IN ('text', 'null') LIMIT 1
"""


def no_analyzer() -> Analyzer:
    """The default for callers that don't know a collection's analyzer. It raises
    InvalidArgumentError, so that lists of words aren't compared."""
    raise InvalidArgumentError("how words are found isn't known here")


def verify_catalog(path: Path, mode: Mode) -> FileReport:
    """The report on the catalog of a store."""
    database = FileDatabase(path, CATALOG, mode)
    try:
        database.use(partial(_refuse_problems, path=path))
    except StorageError as error:
        return _report(path, error)
    finally:
        database.close(_CLOSE)
    return _report(path, None)


def verify_collection(
    directory: Path, name: str, mode: Mode, find_class: FindClass, find_analyzer: FindAnalyzer
) -> list[FileReport]:
    """The reports on the files of a collection, each as of one moment. There are no reports if the
    collection is deleted meanwhile. find_class, find_analyzer: return the index classes and the
    analyzer with which the derived files were built.

    If a file is replaced during verification, the new file is checked instead. If a derived file is
    replaced repeatedly, faster than it can be read, it isn't reported.
    """
    path = directory / POINTS_NAME
    reports: dict[str, FileReport] = {}
    attempts = 0
    while True:
        try:
            access = Access.open(directory, name, mode, StoreHooks(find_class))
            try:
                known = frozenset(reports)
                reports |= access.read(_verify_state, access, path, find_analyzer, known)
                present_files = access.read(_files, directory)
            finally:
                access.close(_CLOSE)
        except NotFoundError:
            return []
        except StorageError as error:
            return [_report(path, error)]
        # Only the files can be the cause, because nothing else is read.
        except CORRUPTION_ERRORS as error:
            return [_report(path, corruption_error(error, path))]
        replaced_keys = [
            key
            for key, report in reports.items()
            if report.problem and report.file not in present_files
        ]
        if any(reports[key].file.parent == directory for key in replaced_keys):
            reports = {}  # vectors are compared with all other files
            continue
        for key in replaced_keys:
            del reports[key]
        if not replaced_keys or attempts == MAX_ATTEMPTS:
            return list(reports.values())
        attempts += 1


def _verify_state(
    view: SearchView,
    access: Access,
    path: Path,
    find_analyzer: FindAnalyzer,
    reported_keys: frozenset[str],
) -> dict[str, FileReport]:
    # The state of the view may have been loaded from one of the files that are being verified.
    view = replace(view, state=access.state_in_database(view))
    state = StateFile(view.state.head.generation, access.memory.open_vectors)
    return _reports(view, path, state, find_analyzer, reported_keys)


def _files(view: SearchView, directory: Path) -> set[Path]:
    """The paths of all vector files and derived files of the newest state."""
    derived = {
        directory / DERIVED / derived_file.file for derived_file in all_files(view.connection)
    }
    return {space.vectors.path for space in view.state.spaces.values()} | derived


def _reports(
    view: SearchView,
    path: Path,
    state: StateFile,
    find_analyzer: FindAnalyzer,
    reported_keys: frozenset[str],
) -> dict[str, FileReport]:
    """A report for each file, by a key that names its kind. reported_keys: the keys of files that
    don't have to be checked again."""
    reports: dict[str, FileReport] = {}
    sound: list[SpaceState] = []
    # Vectors before the database, whose check takes longer: a compaction may soon remove their
    # files.
    for space in view.state.spaces.values():
        key = f"vectors {space.space.number}"
        problem = None if key in reported_keys else _problem_of_vectors(space)
        if problem is None:
            sound.append(space)
        if key not in reported_keys:
            reports[key] = _report(space.vectors.path, problem)
    if "points" not in reported_keys:
        _refuse_problems(view.connection, path)
        _refuse_disagreement(view, path)
        reports = {"points": _report(path, None), **reports}
    compare = _comparisons(view, sound, find_analyzer)
    compare[state.key] = _comparison(state, view, partial(_refuse_other_state, view.state))
    is_over = Event()
    thread_comparisons = {
        **_codes_comparisons(view, sound, is_over),
        **_recall_comparisons(view, sound, is_over),
    }
    derived = [
        derived_file
        for derived_file in all_files(view.connection)
        if derived_file.key not in reported_keys
    ]
    with WorkerPool(usable_cores()) as pool:
        report = partial(_derived_report, path.parent)
        waiting = {
            derived_file.key: pool.submit(report, derived_file, thread_comparisons)
            for derived_file in derived
            if derived_file.key in thread_comparisons
        }
        try:
            for derived_file in derived:
                if derived_file.key not in thread_comparisons:
                    reports[derived_file.key] = report(derived_file, compare)
            return reports | {key: made.result() for key, made in waiting.items()}
        finally:
            is_over.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _problem_of_vectors(space: SpaceState) -> StorageError | None:
    try:
        rows = space.vectors.rows(space.space.slots)
        space.vectors.verify_once(rows, space.checksums, None)
    except StorageError as error:
        return error
    return None


def _comparisons(
    view: SearchView, sound: list[SpaceState], find_analyzer: FindAnalyzer
) -> dict[str, Comparison]:
    """For each derived file, by its key, the function that compares it with its source data. The
    source data is read through the view's connection. Obsolete files, which may also exist, have no
    function."""
    sparse = [s.number for s in view.state.non_dense.values() if s.kind == "sparse"]
    keys: list[ListKey] = [
        TRIGRAMS,
        *_words(find_analyzer),
        *(("sparse", number) for number in sparse),
    ]
    lists = {
        kind.key: _comparison(kind, view, partial(_refuse_other_lists, view, kind.list_key))
        for kind in map(ListFile, keys)
    }
    column_comparisons = {
        derived_file.key: partial(_refuse_false_column, view)
        for derived_file in find_all(view.connection, KIND)
    }
    indexes = {
        index.key: _comparison(index, None, partial(_refuse_other_vectors, space))
        for space in sound
        if (index := view.caches.spaces[space.space.name].index).wanted
    }
    return {**lists, **column_comparisons, **indexes}


def _recall_comparisons(
    view: SearchView, sound: list[SpaceState], is_over: Event
) -> dict[str, Comparison]:
    """Like `_comparisons`, but for measured recalls. Only the codes in files are needed for the
    comparison, so other threads can do it. sound: the spaces whose vectors are undamaged. is_over:
    see `_end_if`."""
    comparisons: dict[str, Comparison] = {}
    for space in sound:
        caches = view.caches.spaces[space.space.name]
        if find(view.connection, caches.recall.key):
            caches.codes.load_saved(view.connection, space.space.slots)
            coded = caches.codes.snapshot()
            comparisons[caches.recall.key] = partial(_refuse_other_recall, space, coded, is_over)
    return comparisons


def _refuse_other_recall(
    space: SpaceState, coded: CodeSnapshot, is_over: Event, path: Path, derived_file: DerivedFile
) -> None:
    """Raise ValueError unless searches find about the recorded share of the nearest vectors. The
    check is skipped if too few vectors have codes in files. is_over: see `_end_if`."""
    recall = Recall.from_json(path.read_bytes())
    if coded.together is None or recall.vectors > 2 * coded.stop:
        return
    saved_recall = _mean_recall(recall.measured)
    measured = Measurement(space, coded, partial(_end_if, is_over)).measure_with(recall)
    if measured and (present_recall := _mean_recall(measured)) < saved_recall - RECALL_SLACK:
        raise ValueError(
            f"it says that {saved_recall:.3f} of the nearest are found, "
            f"and now {present_recall:.3f} are"
        )


def _mean_recall(measured: Sequence[Measured]) -> float:
    """The mean recall over all kinds of questions. The mean is used instead of the worst kind,
    because among near-duplicates one question may lose all of its hits by chance."""
    return float(np.mean([min(measurement.recall, DEFAULT_RECALL) for measurement in measured]))


def _codes_comparisons(
    view: SearchView, sound: list[SpaceState], is_over: Event
) -> dict[str, Comparison]:
    """Like `_comparisons`, but for codes. Only vectors and codes are needed for the comparison, so
    other threads can do it. sound: the spaces whose vectors are undamaged. is_over: see
    `_end_if`."""
    codes_of_spaces = [(space, view.caches.spaces[space.space.name].codes) for space in sound]
    slots = FILE_SEGMENTS * SEGMENT
    return {
        codes.key_of(number): _comparison(
            codes, None, partial(_refuse_other_codes, space, number * slots, is_over)
        )
        for space, codes in codes_of_spaces
        for number in range(space.space.slots // slots + 1)
    }


def _comparison(kind: DerivedKind[V, T], source: V, compare: Callable[[T], None]) -> Comparison:
    return lambda path, derived_file: compare(kind.read(path, derived_file, source))


def _words(find_analyzer: FindAnalyzer) -> list[ListKey]:
    try:
        return [("words", find_analyzer())]
    except (InvalidArgumentError, MissingDependencyError):
        return []  # these settings don't support searching for words here


def _derived_report(
    directory: Path, derived_file: DerivedFile, compare: dict[str, Comparison]
) -> FileReport:
    """The report on a derived file. The file could be rebuilt, but its damage is reported, because
    the disk may be faulty, or the file forged."""
    path = directory / DERIVED / derived_file.file
    try:
        refuse_damaged(path_of(directory, derived_file), derived_file)
        if derived_file.key in compare:
            _refuse_false(path, derived_file, compare[derived_file.key])
    except (StorageError, OSError) as error:
        return _report(path, StorageError(f"{error}. {_HOW_TO_MEND}"))
    return _report(path, None)


def _refuse_false(path: Path, derived_file: DerivedFile, compare: Comparison) -> None:
    """Raise DamagedError for a file with wrong content and a correct checksum."""
    try:
        compare(path, derived_file)
    except (OutdatedError, PluginError):
        return  # such a file isn't used, and neither is an index without its class
    except (*CORRUPTION_ERRORS, RuntimeError) as error:
        raise DamagedError(f"{path} is false, though its checksum is right: {error}") from error


def _report(path: Path, problem: StorageError | None) -> FileReport:
    size = 0
    with suppress(FileNotFoundError):  # the process that has replaced the file may have removed it
        size = path.stat().st_size
    return FileReport(path, size, None if problem is None else str(problem))


def _refuse_problems(connection: apsw.Connection, path: Path) -> None:
    problems = [str(row[0]) for row in select(connection, "PRAGMA integrity_check(5)")]
    if problems != ["ok"]:
        raise DamagedError(f"{path} is damaged: {'; '.join(problems)}")


def _refuse_disagreement(view: SearchView, path: Path) -> None:
    """Raise DamagedError if tables contradict each other. A forged file can contain such tables
    with correct checksums."""
    pks = view.state.pks
    rows = select(view.connection, "SELECT pk FROM points ORDER BY pk")
    if not np.array_equal(pks, np.array([pk for (pk,) in rows], np.int64)):
        raise DamagedError(f"{path} is damaged: the points and the bitmaps of points disagree")
    for (pk,) in select(view.connection, _OF_OTHER_TYPES):
        raise DamagedError(
            f"{path} is damaged: what it holds contradicts itself: point {pk} has an id, a "
            "document or a uri of another type"
        )
    for piece in read_records(view.connection, "id, document, uri", pks):
        del piece  # reading is the check: SQLite returns bytes, which Python decodes
    for space in view.state.non_dense.values():
        for _ in read_non_dense(view.connection, space, pks):
            pass
    for piece in read_records(view.connection, "payload", pks):
        try:
            decode_payloads(blob for (blob,) in piece)
        except ValueError as error:
            raise DamagedError(f"{path} is damaged: a payload isn't JSON: {error}") from error
