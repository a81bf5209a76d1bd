"""Inverted lists and columns in files compared with what the same points say; see `index_check`."""

import secrets

import numpy as np
import numpy.typing as npt
import orjson

from retrieval_store.base.arrays import Bools, Ints, Matrix
from retrieval_store.engine.database.failures import CONTRADICTIONS
from retrieval_store.engine.filtering import column_files
from retrieval_store.engine.filtering.column_files import Values
from retrieval_store.engine.filtering.kept import FilterView
from retrieval_store.engine.state.layers import Layers
from retrieval_store.engine.state.view import AnyView
from retrieval_store.engine.storage.derived import DerivedFile, deceit, path_of
from retrieval_store.engine.storage.records import read_values
from retrieval_store.engine.words import list_files
from retrieval_store.engine.words.kept import ListKey, in_pieces
from retrieval_store.engine.words.lists import Lists
from retrieval_store.filters.expression import PayloadPath

POSTINGS_AT_ONCE = 4_000_000
Digests = npt.NDArray[np.uint64]


def refuse_false_lists(view: AnyView, key: ListKey, made: DerivedFile) -> None:
    """Raise DamagedError unless the file, whose checksum is right, says of the points what they
    say themselves."""
    head, directory = view.state.head, view.directory
    assert directory is not None
    path = path_of(directory, made)
    if made.seq < head.log_floor:
        return  # nobody can know any more what has changed since, so it isn't used
    try:
        _refuse_later(view, made)
        layers = list_files.read(path, view, made.seq, made.covered)
        others = _count_others(view, key, layers)
        if others:
            raise ValueError(f"of {others} points it says what they don't hold")
    except CONTRADICTIONS as error:
        raise deceit(path, error) from error


def refuse_false_column(view: FilterView, made: DerivedFile) -> None:
    """The same of a column."""
    directory = view.directory
    assert directory is not None
    file = path_of(directory, made)
    if made.seq < view.state.head.log_floor:
        return
    try:
        _refuse_later(view, made)
        path, told = column_files.read(file, view, made.seq, made.covered)
        if column_files.file_key(path) != made.key:
            raise ValueError("it is recorded as the column of another key")
        others = _count_other_values(view, path, told)
        if others:
            raise ValueError(f"of {others} points it says what they don't hold")
    except CONTRADICTIONS as error:
        raise deceit(file, error) from error


def _count_other_values(view: FilterView, path: PayloadPath, told: Values) -> int:
    """Of how many points, but those that are read again anyway, something else is told."""
    decided = view.state.alive.copy()
    decided[told.stale] = False
    rows = np.flatnonzero(decided)
    of_row = dict(zip(told.rows.tolist(), told.values, strict=True))
    missing = object()
    (true,) = read_values(view.connection, view.state.pks[rows], [path])
    pairs = zip((of_row.get(row, missing) for row in rows.tolist()), true, strict=True)
    # As JSON, where 1, 1.0 and true differ.
    return sum(one is missing or orjson.dumps(one) != orjson.dumps(other) for one, other in pairs)


def _refuse_later(view: AnyView, made: DerivedFile) -> None:
    if made.seq > view.state.head.seq or made.covered > view.state.head.next_pk:
        raise ValueError("it claims to know of writes that never were")


def _count_others(view: AnyView, key: ListKey, layers: Layers[Lists]) -> int:
    """Of how many points, but those that are read again anyway, the layers say something else."""
    decided = view.state.alive.copy()
    decided[layers.stale] = False
    secret = np.uint64(secrets.randbits(64))
    told, others = _digests_of_layers(layers, len(decided), secret), 0
    for piece in in_pieces(view, key, np.flatnonzero(decided)):
        true = _digests(piece, len(decided), secret)[piece.rows]
        others += int(np.count_nonzero(true != told[piece.rows]))
    return others


def _digests_of_layers(layers: Layers[Lists], height: int, secret: np.uint64) -> Digests:
    told = np.zeros(height, np.uint64)
    for segment in layers.segments:  # of a row that stands in several the uppermost counts
        _refuse_disorder(segment)
        told[segment.rows] = _digests(segment, height, secret)[segment.rows]
    return told


def _digests(lists: Lists, height: int, secret: np.uint64) -> Digests:
    """(height,) for each row one number made of all that the lists say of it: Σ of h(term) · (2 ·
    the weight's bits + 1), modulo 2^64. As long as `h` is secret, two that differ have the same
    number by chance only; and it takes no more memory than that, where the lists themselves may
    just fit."""
    digests = np.zeros(height, np.uint64)
    codes = lists.codes
    terms = lists.terms if codes is None else np.fromiter(map(hash, codes), np.int64, len(codes))
    shares = _scattered(terms, secret)
    for first in range(0, len(lists.owners), POSTINGS_AT_ONCE):
        some = slice(first, min(first + POSTINGS_AT_ONCE, len(lists.owners)))
        places = np.arange(some.start, some.stop)
        of_terms = shares[np.searchsorted(lists.offsets, places, "right") - 1]
        np.add.at(digests, lists.owners[some], of_terms * _odd(lists.weights[some], len(places)))
    if len(lists.sizes):
        digests[lists.rows] += _scattered(_odd(lists.sizes, len(lists.rows)).view(np.int64), secret)
    return digests


def _odd(weights: Matrix, count: int) -> Digests:
    """(count,) an odd number for each weight, which differ where these do; 1 where there are
    none."""
    if not len(weights):
        return np.ones(count, np.uint64)
    bits = np.ascontiguousarray(weights, np.float32).view(np.uint32)
    return bits.astype(np.uint64) * np.uint64(2) + np.uint64(1)


def _scattered(numbers: Ints, secret: np.uint64) -> Digests:
    """A number of 64 bits for each, as good as random for who doesn't know the secret: the mixing
    step of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    2014)."""
    mixed = numbers.astype(np.uint64) + secret
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return mixed ^ mixed >> np.uint64(31)


def _refuse_disorder(lists: Lists) -> None:
    """Raise ValueError where a reader would be misled by the order of what it looks at."""
    starts: Bools = np.zeros(len(lists.owners) + 1, np.bool_)
    starts[lists.offsets] = True
    ascending = starts[1:-1] | (np.diff(lists.owners) > 0)
    numbered = lists.codes is None or list(lists.codes.values()) == list(range(len(lists.codes)))
    if lists.offsets[0] != 0 or not ascending.all() or not numbered:
        raise ValueError("its lists are out of order")
    if (np.diff(lists.terms) <= 0).any():
        raise ValueError("its terms are out of order")
    if len(lists.weights) not in (0, len(lists.owners)):
        raise ValueError("it has other weights than postings")
