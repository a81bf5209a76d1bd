"""Ranks rows by inverted lists: documents by BM25, sparse vectors by dot products.

Filters apply during ranking: only rows that fulfil the filter are ranked, but document frequencies
are computed over the whole collection. `Measures` contain the length of each row and the number of
rows, which ranking needs. They are updated for the rows that writes have changed.

`lists_for` returns the lists: cached and updated, loaded from files, or built now. Each kind of
list (the words of documents by an analyzer, the trigrams of documents, the vectors of a sparse
space) is cached once, for all states with the same row numbers.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np

from retrieval_store.base.analysis import K1, Analyzer, B, idf_of, is_identifier
from retrieval_store.base.arrays import (
    NOWHERE,
    Bools,
    CowArray,
    Floats,
    Ints,
    Ints32,
    Matrix,
    SparseVector,
    distinct,
)
from retrieval_store.base.fusion import FIRST, RARITY_POWER, Ranking, contained_share
from retrieval_store.engine.state.caches import LayerCache, Layers, current, outside, refresh
from retrieval_store.engine.state.mapped_files import CheckCancelled, PointsFile
from retrieval_store.engine.state.state import AnyView
from retrieval_store.engine.storage.derived import DerivedFile
from retrieval_store.engine.storage.records import read_records
from retrieval_store.engine.storage.schema import DOCUMENT, NON_DENSE, Space
from retrieval_store.engine.storage.write import read_blobs
from retrieval_store.engine.text import inverted
from retrieval_store.engine.text.inverted import (
    TRIGRAMS,
    ListKey,
    Lists,
    ListView,
    Measures,
    MeasuresByKey,
    file_key,
)

ROOM = 8_192  # rows that can be added before the sizes of all rows are computed again


def measure_layers(
    measures_by_key: MeasuresByKey, key: Hashable, layers: Layers[Lists], alive: Bools
) -> Measures:
    """The measures of the layers, for a state whose existing points are in the rows `alive`."""
    measures = measures_by_key.get(key)
    if measures is None or len(alive) > len(measures.sizes):
        measures = measures_by_key[key] = _measure_all(layers, alive)
    elif len(measures.changed) or measures.segments is not layers.segments:
        measures = measures_by_key[key] = _advance(measures, layers, alive)
    return measures


def _measure_all(layers: Layers[Lists], alive: Bools) -> Measures:
    sizes = np.zeros(len(alive) + ROOM, np.int64)
    for segment in layers.segments:
        is_known = segment.rows < len(alive)
        sizes[segment.rows[is_known]] = segment.sizes[is_known]
    sizes[: len(alive)] *= alive
    return Measures(
        layers.segments,
        layers.above(),
        CowArray(sizes, NOWHERE, NOWHERE),
        int(np.count_nonzero(sizes)),
        int(sizes.sum()),
        NOWHERE,
    )


def _advance(measures: Measures, layers: Layers[Lists], alive: Bools) -> Measures:
    rows = distinct(measures.changed)
    before, after = measures.sizes[rows], _sizes_at(layers, rows) * alive[rows]
    return Measures(
        layers.segments,
        layers.above(),
        measures.sizes.with_values(rows, after),
        measures.holders + int(np.count_nonzero(after)) - int(np.count_nonzero(before)),
        measures.total + int(after.sum() - before.sum()),
        NOWHERE,
    )


def _sizes_at(layers: Layers[Lists], rows: Ints) -> Ints:
    sizes = np.zeros(len(rows), np.int64)
    for segment in layers.segments:
        is_here = ~outside(rows, segment.rows)
        sizes[is_here] = segment.sizes[np.searchsorted(segment.rows, rows[is_here])]
    return sizes


LISTS_WORTH = 20_000  # points; with fewer, lists are rebuilt quickly
ROWS_A_PIECE, BYTES_A_PIECE = 20_000, 8_000_000
SAMPLED = 200  # documents of a sample
ROWS_A_STEP = 500  # rows that are listed in less than a tenth of a second
Read: TypeAlias = Callable[[Callable[[ListView], Any]], Any]


@dataclass(frozen=True, slots=True)
class ListFile(PointsFile[ListView, Layers[Lists]]):
    """The file with the inverted lists of one kind."""

    what: ClassVar[str] = "lists of words"
    list_key: ListKey

    @classmethod
    def in_file(cls, path: Path) -> "ListFile":
        """The `ListFile` of the lists that this file's header names."""
        return cls(inverted.key_in(path))

    @property
    def parts(self) -> int:
        return NON_DENSE if inverted.is_sparse(self.list_key) else DOCUMENT

    @property
    def key(self) -> str:
        return file_key(self.list_key)

    def writer(self, view: ListView, check_cancelled: CheckCancelled) -> Callable[[Path], int]:
        """A function that writes the lists in memory, merged, without deleted or replaced data. If
        there are no lists in memory, new lists are built first."""
        layers = in_one_piece(view, self.list_key) or renew_lists(
            view, self.list_key, check_cancelled
        )
        write = inverted.write
        return partial(
            write,
            key=self.list_key,
            layers=layers,
            state=view.state,
            check_cancelled=check_cancelled,
        )

    def unmap(self, view: ListView) -> None:
        view.caches.lists.unmap([self.list_key])

    def read(self, path: Path, derived_file: DerivedFile, source: ListView) -> Layers[Lists]:
        return inverted.read_lists(
            path, self.list_key, source.state.pks, self.stale_rows(source, derived_file)
        )


def lists_for(view: ListView, key: ListKey) -> Layers[Lists]:
    """The lists of one kind, without stale rows: the words of all documents, their trigrams, or the
    vectors of a sparse space."""
    view.caches.lists.ahead.discard(key)
    return _current_lists(view, key)


def _current_lists(view: ListView, key: ListKey) -> Layers[Lists]:
    seq, alive = view.state.head.seq, view.state.alive
    begin, build = partial(ListFile(key).read_saved, view), partial(_build, view, key)
    return current(view.caches.lists, key, seq, alive, build, begin, inverted.merge_lists)


def make_lists_in_steps(
    read: Read, key: ListKey, check_cancelled: CheckCancelled, most: int | None = None
) -> int:
    """Build the lists of `lists_for` by many short reads, because in a collection in memory all
    other calls wait while one call reads. After each ROWS_A_PIECE rows the lists are usable. The
    function stops if a query builds the rest, or if rows are renumbered between two reads. The last
    read indexes points that were written during the earlier reads. Returns the number of rows with
    lists.

    read: calls a function with the current view. check_cancelled: called between two reads; it can
    raise. most: the maximum number of rows, None for all rows.
    """

    def begin(view: ListView) -> tuple[LayerCache, Ints]:
        cache, state = view.caches.lists, view.state
        layers: Layers[Lists] = cache.at(key, state.head.seq, len(state.alive))
        if len(layers.stale) and not layers.segments:
            cache.await_layers()
            layers = ListFile(key).read_saved(view) or layers
            if layers.segments:
                cache.keep(key, state.head.seq, layers)
        return cache, layers.stale[state.alive[layers.stale]][:most]

    cache, rows = read(begin)
    for start in range(0, len(rows), ROWS_A_PIECE):
        piece = rows[start : start + ROWS_A_PIECE]
        seq = read(lambda view: view.state.head.seq)
        parts: list[Lists] = []
        for first in range(0, len(piece), ROWS_A_STEP):
            step = partial(_list_stale, cache, key, piece[first : first + ROWS_A_STEP])
            step_lists = read(step)
            if step_lists is None:
                return start
            parts += step_lists
            check_cancelled()
        if not read(partial(_put_piece, cache, key, seq, piece, inverted.combine_lists(parts))):
            return start
    if len(rows) and most is None:
        read(lambda view: view.caches.lists is cache and _current_lists(view, key))
    return len(rows)


def _list_stale(cache: LayerCache, key: ListKey, rows: Ints, view: ListView) -> list[Lists] | None:
    """Build the lists of these rows. None if rows were renumbered, or if a query has built the
    lists meanwhile. If a query is building them now, this function waits for it."""
    seq, alive = view.state.head.seq, view.state.alive
    refreshing = cache.refreshing_of(key)
    with refreshing:
        if view.caches.lists is not cache:
            return None
        rows = rows[alive[rows]]  # the other rows have changed meanwhile
        if outside(rows, cache.at(key, seq, len(alive)).stale).any():
            return None
        return list(in_pieces(view, key, rows))


def _put_piece(
    cache: LayerCache, key: ListKey, since: int, piece: Ints, lists: Lists, view: ListView
) -> bool:
    """Add lists to the cached lists; returns whether that was possible. piece: the rows that the
    new lists cover; since: the number of the last write before the new lists were built."""
    seq, alive = view.state.head.seq, view.state.alive
    refreshing = cache.refreshing_of(key)
    with refreshing:
        changed = cache.changed_rows(key, since, seq)
        if view.caches.lists is not cache or changed is None:
            return False
        _note_unsaved(view, key, piece)
        layers = cache.at(key, seq, len(alive))
        added = Layers(layers.segments, piece, layers.memory)
        added = refresh(added, alive, lambda _: lists, inverted.merge_lists)
        made = piece[outside(piece, changed)]
        stale = layers.stale[outside(layers.stale, made) & alive[layers.stale]]
        cache.keep(key, seq, Layers(added.segments, stale, added.memory))
    return True


def _build(view: ListView, key: ListKey, rows: Ints) -> Lists:
    _note_unsaved(view, key, rows)
    return inverted.combine_lists(list(in_pieces(view, key, rows)))


def _note_unsaved(view: ListView, key: ListKey, rows: Ints) -> None:
    if len(rows) >= LISTS_WORTH:
        view.caches.unsaved.add(key)


def pure(view: ListView, key: ListKey) -> Layers[Lists] | None:
    """The cached lists of a kind if they are one current segment that this process has built,
    otherwise None. Such a segment certainly contains no data of deleted or replaced points."""
    layers: Layers[Lists] = view.caches.lists.at(key, view.state.head.seq, len(view.state.pks))
    is_one_segment = len(layers.segments) == 1 and not len(layers.stale)
    return layers if is_one_segment and not layers.segments[0].has_unused else None


def is_read(view: ListView, key: ListKey) -> bool:
    """Whether some of the cached lists of a kind were read from a file."""
    layers: Layers[Lists] = view.caches.lists.at(key, view.state.head.seq, len(view.state.pks))
    return any(segment.from_file for segment in layers.segments)


def in_one_piece(view: ListView, key: ListKey) -> Layers[Lists] | None:
    """The cached lists of a kind, merged into one segment without data of deleted or replaced
    points. None if no lists are cached."""
    cache, seq, alive = view.caches.lists, view.state.head.seq, view.state.alive
    if cache.find(key, seq, len(alive)) is None:
        return None
    layers = lists_for(view, key)
    if len(layers.segments) > 1 or layers.segments[0].has_unused:
        layers = Layers((inverted.merge_lists(layers.segments, alive),), NOWHERE)
        cache.keep(key, seq, layers)
    return layers


def renew_lists(view: ListView, key: ListKey, check_cancelled: CheckCancelled) -> Layers[Lists]:
    """Rebuild the lists of a kind from the existing points, as one segment, and cache them instead
    of the old lists. check_cancelled: called after each piece; it can raise."""
    pieces = []
    for piece in in_pieces(view, key, np.flatnonzero(view.state.alive)):
        pieces.append(piece)
        check_cancelled()
    layers = Layers((inverted.combine_lists(pieces),), np.empty(0, np.int64))
    view.caches.lists.keep(key, view.state.head.seq, layers)
    return layers


def in_pieces(view: AnyView, key: ListKey, rows: Ints) -> Iterator[Lists]:
    """Yield the lists of some rows, part by part, so that building them takes limited memory."""
    _, source = key
    for start in range(0, max(1, len(rows)), ROWS_A_PIECE):
        piece = rows[start : start + ROWS_A_PIECE]
        if isinstance(source, int):
            yield _sparse_lists(view, source, piece)
            continue
        for part in _by_size(view, piece):
            documents = documents_of(view, part)
            if source is None:
                yield inverted.list_trigrams(part, documents)
            else:
                yield inverted.list_words(part, documents, source)


def _by_size(view: AnyView, rows: Ints) -> Iterator[Ints]:
    """Yield the rows in batches whose documents have about the same total size. The size is
    estimated without reading the documents."""
    pieces = read_records(view.connection, "octet_length(document)", view.state.pks[rows])
    ends = np.cumsum([size or 0 for piece in pieces for (size,) in piece]) // BYTES_A_PIECE
    yield from np.split(rows, np.flatnonzero(np.diff(ends)) + 1)


def sampled_bytes(view: AnyView) -> float:
    """The average size of a document in bytes, estimated from a sample."""
    pks = view.state.pks[view.state.alive]
    sample = pks[:: max(1, len(pks) // SAMPLED)][:SAMPLED]
    pieces = read_records(view.connection, "octet_length(document)", sample)
    return sum(size or 0 for piece in pieces for (size,) in piece) / max(1, len(sample))


def _sparse_lists(view: AnyView, number: int, rows: Ints) -> Lists:
    pks = view.state.pks[rows]
    (space,) = (space for space in view.state.non_dense.values() if space.number == number)
    blobs = list(read_blobs(view.connection, space, pks))
    holders = rows[np.searchsorted(pks, np.array([pk for pk, _ in blobs], np.int64))]
    halves = [len(blob) // 2 for _, blob in blobs]
    indices = b"".join([blob[:half] for (_, blob), half in zip(blobs, halves, strict=True)])
    values = b"".join([blob[half:] for (_, blob), half in zip(blobs, halves, strict=True)])
    lengths = np.array(halves, np.int64) // 4
    return inverted.list_sparse(
        rows,
        holders,
        np.frombuffer(indices, "<u4").astype(np.int64),
        np.frombuffer(values, "<f4"),
        lengths,
    )


def documents_of(view: AnyView, rows: Ints) -> list[str | None]:
    """The documents of some rows."""
    pieces = read_records(view.connection, "document", view.state.pks[rows])
    return [document for piece in pieces for (document,) in piece]


RAREST = 6  # trigrams of a text that are looked up; the documents found are tested anyway
# Rows without repetitions, their weights, and a factor.
Part: TypeAlias = tuple[Ints32, Matrix, float]


def rank_texts(
    view: ListView, analyzer: Analyzer, texts: Sequence[str], k: int, mask: Bools | None
) -> list[Ranking]:
    """For each text, the k best documents by BM25, among documents that contain any of its words.

    score = Σ idf(w) · f · (k1 + 1) / (f + k1 · (1 - b + b · |d| / avg|d|)) over the words w of the
    text; a word that occurs several times in the text counts several times. f: how often w is in
    the document d; idf(w) = ln(1 + (N - n + ½) / (n + ½)) for N documents, n of them with w.
    Robertson and Zaragoza, "The probabilistic relevance framework" (2009); the idf, which is never
    negative, is Lucene's. k1 = 1.2, b = 0.75.
    """
    texts_of = _Texts(view, analyzer, 1.0)
    return [_best_rows(texts_of.parts(text)[0], k, mask, texts_of.height) for text in texts]


def rank_weighed_texts(
    view: ListView,
    analyzer: Analyzer,
    texts: Sequence[str],
    k: int,
    mask: Bools | None,
    identifiers: float,
) -> list[tuple[Ranking, float]]:
    """Like `rank_texts`, but the idf of words that look like identifiers is multiplied by the
    factor `identifiers`. Each ranking comes with the greatest share of the text that one of its
    documents contains (`base.fusion.contained_share`). mask: the rows that can be ranked, None for
    all rows."""
    texts_of = _Texts(view, analyzer, identifiers)
    rankings = []
    for text in texts:
        parts, weights = texts_of.parts(text)
        rows, scores = _best_rows(parts, k, mask, texts_of.height)
        rankings.append(((rows, scores), texts_of.share(rows[:FIRST], parts, weights)))
    return rankings


def word_shares(
    view: ListView, analyzer: Analyzer, text: str, rows: Ints, identifiers: float
) -> list[tuple[str, float, Floats]]:
    """Each distinct word of a text, with its idf and its contribution to the scores of these rows,
    (n,)."""
    texts_of = _Texts(view, analyzer, identifiers)
    parts, _ = texts_of.parts(text)
    shares = []
    for (word, count), (rows_with, often, scale) in zip(
        texts_of.count_words(text), parts, strict=True
    ):
        by_row = np.zeros(texts_of.height)
        by_row[rows_with] = np.multiply(often, scale, dtype=np.float64)
        shares.append((word, scale / (count * (K1 + 1)), by_row[rows]))
    return shares


class _Texts:
    """Ranks documents by texts. identifiers: the factor for the idf of words that look like
    identifiers."""

    def __init__(self, view: ListView, analyzer: Analyzer, identifiers: float) -> None:
        key: ListKey = ("words", analyzer)
        self._layers = lists_for(view, key)
        self._measures = _measures_of(view, key, self._layers)
        self._living = view.state.alive, view.state.has_dead_rows
        self._analyzer, self._identifiers = analyzer, identifiers
        self.height = len(view.state.pks)

    def count_words(self, text: str) -> Iterable[tuple[str, int]]:
        """The distinct words of a text, each with the number of its occurrences."""
        words = self._analyzer.words([text], is_query=True)
        return Counter(words.vocabulary[code] for code in words.codes.tolist()).items()

    def parts(self, text: str) -> tuple[list[Part], list[float]]:
        """Two lists with an entry for each distinct word of a text. An entry of the first list has
        the rows that contain the word, their weights, and a factor for these weights. An entry of
        the second list is the word's weight in `contained_share`."""
        measures = self._measures
        parts, weights = [], []
        for word, count in self.count_words(text):
            rows, often = inverted.find_in(self._layers, word, measures.above, *self._living)
            idf = float(idf_of(measures.holders, max(1, len(rows))))
            idf *= self._identifiers if is_identifier(word) else 1.0
            parts.append((rows, often / (often + _damping(measures, rows)), count * idf * (K1 + 1)))
            weights.append(count * idf**RARITY_POWER)
        return parts, weights

    def share(self, hit_rows: Ints, parts: Sequence[Part], weights: Sequence[float]) -> float:
        """The greatest share of a text that the document of one of the hits contains. parts,
        weights: see `parts`."""
        is_hit = np.zeros(self.height, np.bool_)
        is_hit[hit_rows] = True
        weight_of_row = np.zeros(self.height)  # the weight of the text's words in each row
        for (rows, _, _), weight in zip(parts, weights, strict=True):
            weight_of_row[rows[is_hit[rows]]] += weight
        greatest_idf = float(idf_of(self._measures.holders, 1))
        return contained_share(
            float(weight_of_row[hit_rows].max(initial=0.0)), sum(weights), greatest_idf
        )


def _measures_of(view: ListView, key: ListKey, layers: Layers[Lists]) -> Measures:
    return measure_layers(view.caches.measures, key, layers, view.state.alive)


def _damping(measures: Measures, rows: Ints32) -> Matrix:
    """The term k1 · (1 - b + b · |d| / avg|d|) of BM25 for each of these rows: (n,)."""
    sizes = measures.sizes[rows].astype(np.float32)
    damping: Matrix = K1 * (1 - B + B * sizes / max(measures.average, 1e-9))
    return damping


def _best_rows(parts: Sequence[Part], k: int, mask: Bools | None, height: int) -> Ranking:
    """The k rows whose weights, summed over all parts, are greatest. Rows with equal sums are in
    ascending order. A row can occur only once in a part. mask: the rows that can be returned, None
    for all rows. height: the number of rows of the state."""
    rows, shares = _side_by_side(parts)
    if len(rows) * 8 < height:
        candidates, places = np.unique(rows, return_inverse=True)
        totals = _sums(places, shares, len(candidates))
        if mask is not None:
            candidates, totals = candidates[mask[candidates]], totals[mask[candidates]]
        chosen = _greatest_places(totals, k)
    else:
        # Adding part by part to an array of all rows was slower than counting them all at once.
        totals = _sums(rows, shares, height)
        candidates = np.arange(height) if mask is None else np.flatnonzero(mask)
        totals = totals if mask is None else totals[candidates]
        chosen = _greatest_places(totals, k)
        # Rows without any of the parts may be among them; their total is 0.
        if not (totals[chosen] > 0).all():
            touched = np.zeros(height, np.bool_)
            touched[rows] = True
            candidates, totals = candidates[touched[candidates]], totals[touched[candidates]]
            chosen = _greatest_places(totals, k)
    candidates, totals = candidates[chosen], totals[chosen]
    order = np.argsort(-totals, kind="stable")[:k]
    return candidates[order], totals[order]


def _sums(places: Ints, shares: Floats, count: int) -> Floats:
    totals: Floats = np.bincount(places, shares, count).astype(np.float64, copy=False)
    return totals


def _greatest_places(totals: Floats, k: int) -> Ints:
    """The positions of the k greatest totals, in ascending order. Further totals that equal the
    k-th are included."""
    if len(totals) <= k:
        return np.arange(len(totals))
    return np.flatnonzero(totals >= np.partition(totals, len(totals) - k)[len(totals) - k])


def _side_by_side(parts: Sequence[Part]) -> tuple[Ints, Floats]:
    """The rows of all parts, concatenated, and their weights, in the dtypes that numpy's bincount
    uses."""
    ends = np.cumsum([0, *(len(rows) for rows, _, _ in parts)]).tolist()
    all_rows, shares = np.empty(ends[-1], np.int64), np.empty(ends[-1], np.float64)
    for (rows, weights, scale), start, stop in zip(parts, ends, ends[1:], strict=False):
        all_rows[start:stop] = rows
        np.multiply(weights, scale, out=shares[start:stop], dtype=np.float64)
    return all_rows, shares


def rows_with_all(view: ListView, trigrams: Sequence[int]) -> Bools:
    """Which rows have a document that contains these trigrams: (rows,) bool. If there are many
    trigrams, only the rarest are tested."""
    layers = lists_for(view, TRIGRAMS)
    height = len(view.state.pks)
    above = layers.above()
    living = view.state.alive, view.state.has_dead_rows
    holders = [inverted.find_in(layers, t, above, *living)[0] for t in trigrams]
    mask = np.zeros(height, np.bool_)
    holders.sort(key=len)
    mask[holders[0]] = True
    for rows in holders[1:RAREST]:
        having = np.zeros(height, np.bool_)
        having[rows] = True
        mask &= having
    return mask


def _count_holders(measures: Measures, corpus: Bools) -> int:
    """How many rows of a corpus have words or numbers of a sparse vector."""
    return int(np.count_nonzero(measures.sizes[np.flatnonzero(corpus)] > 0))


def sparse_scores(
    view: ListView,
    space: Space,
    query: SparseVector,
    rows: Ints,
    weighted: bool,
    corpus: Bools | None,
) -> Floats:
    """The dot products of a query vector with the vectors of these rows: (n,). weighted: whether to
    multiply by idf, if the space has that setting. corpus: the rows over which idf is computed,
    None for all rows."""
    mask = np.zeros(len(view.state.pks), np.bool_)
    mask[rows] = True
    ((ranked_rows, totals),) = rank_sparse(view, space, [query], len(rows), mask, corpus, weighted)
    scores = np.zeros(len(mask))
    scores[ranked_rows] = totals
    return scores[rows]


def rank_sparse(
    view: ListView,
    space: Space,
    queries: Sequence[SparseVector],
    k: int,
    mask: Bools | None,
    corpus: Bools | None = None,
    weighted: bool = True,
) -> list[Ranking]:
    """For each query vector, the k rows with the greatest dot products, among rows that share an
    index with it. In a space with the setting "idf", values are multiplied by the idf of their
    index, unless `weighted` is False. The idf is computed over the whole collection, or over the
    rows of a corpus."""
    key: ListKey = ("sparse", space.number)
    layers = lists_for(view, key)
    measures, living = _measures_of(view, key, layers), (view.state.alive, view.state.has_dead_rows)
    by_idf = weighted and space.index.get("idf") is True
    holders = measures.holders if corpus is None else _count_holders(measures, corpus)

    def rank(query: SparseVector) -> Ranking:
        parts = []
        for index, value in zip(query.indices.tolist(), query.values.tolist(), strict=True):
            rows, weights = inverted.find_in(layers, index, measures.above, *living)
            having = len(rows) if corpus is None else int(np.count_nonzero(corpus[rows]))
            scale = value * (float(idf_of(holders, having)) if by_idf else 1.0)
            parts.append((rows, weights, scale))
        return _best_rows(parts, k, mask, len(view.state.pks))

    return [rank(query) for query in queries]
