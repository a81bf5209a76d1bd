"""Clusters of vectors, of which a search looks at the nearest, by one bit a number first.

Rows are grouped around centres (k-means in two levels, `train`). A row has a *place* in its nearest
cluster, and another in a second one, chosen so that its residual, what the centre leaves of the
row, points another way than the first (`assign`; SOAR, arXiv 2404.00774): a query for which the
first cluster looks too far is likely to find the row in the second.

A place holds the signs of the rotated residual and two factors, from which the product of row and
query is estimated without bias (RaBitQ, arXiv 2405.12497; `native/clusters.c` says how). A search
looks at so many places, those of the nearest clusters first, and returns the slots with the best
estimates; the caller decides by exact distances. Unlike codes, clusters prove nothing: how many
places must be looked at is measured (`needed_places`).

The nearest few clusters say what score the k-th hit has at least, the *floor*. The others are
ordered by (floor - score of the centre) / radius, since rows of a wide cluster may reach the floor
from farther away. Half as many places do for the same recall as in the order of
the centres' scores.

Rows are known by their slots. Places lie in blocks of 32 (`native/kernel.h` has the layout), as
they are in files. Without the compiled part numpy does the same, several times slower.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import (
    Bools,
    Bytes,
    Floats,
    Ints,
    Matrix,
    Metric,
    Stored,
    as_float32,
    bits_at,
    distinct,
)
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.indexes.exact import (
    UNIT_ROUNDOFF,
    Nearest,
    exact_distances,
    is_safe_length,
    length_of,
    nearest_of,
)
from retrieval_store.indexes.native import (
    BLOCK,
    CHUNK,
    CLUSTER_ENCODING,
    CLUSTER_SCAN,
    DATATYPES,
    DISTANCES,
    METRIC_NUMBERS,
    PIECE,
    PLACES,
    SOUGHT,
    TURNED,
    WORD,
    RowFilter,
    address,
    chunks_of,
    kernel,
    record,
    records,
)
from retrieval_store.indexes.quantized import (
    Bits,
    Codes,
    Frame,
    best_frame,
    blocks_of,
    encode_into,
    first_of,
    room_for,
    rotate,
)

ROWS_PER_CLUSTER, MANY_ROWS = 64, 1_000_000  # of more rows each cluster has more
SAMPLE_PER_CLUSTER = 40  # rows by which centres are found
ROUNDS = 8  # of k-means
PARENTS = 4  # times the square root of the number of clusters
NEAR_PARENTS = 16  # whose clusters a row may belong to
ASSIGNED_AT_ONCE = 16_384  # rows
MOST_EFFORT = 4.0  # as in native/clusters_body.h
SPREAD = 1.0  # λ of SOAR: how much a second residual along the first one counts
GROUP, GROUP_BYTES, TABLE_BYTES, OF_PLACE = 16, 64, 128, 12  # as in native/kernel.h
PIECE_ROWS = 1_024  # compared with centres at once
PLACES_AT_ONCE, NEAREST_PLACES = 65_536, 1_024  # looked at by numpy, the nearest first
CALL_PLACES = 400_000  # looked at in one call: a millisecond or two
Slots32 = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int32]


def clusters_for(rows: int) -> int:
    """How many clusters so many rows should have."""
    return max(16, round(rows / ROWS_PER_CLUSTER * min(1.0, math.cbrt(MANY_ROWS / max(1, rows)))))


def groups_of(dimension: int) -> int:
    """The number of groups of 16 numbers in a row."""
    return -(-dimension // GROUP)


def block_bytes(dimension: int) -> int:
    """Bytes of 32 places."""
    return groups_of(dimension) * GROUP_BYTES + OF_PLACE * BLOCK


@dataclass(frozen=True, eq=False)
class ClusterModel:
    """The centres of clusters, and the rotation of bits. centres: (clusters, dim) float32, of rows
    of length 1 for "cosine"; radii: (clusters,) float32, the root mean square of what centres leave
    of rows; frame: its centre is the mean of all rows, whatever the metric."""

    centres: Matrix
    radii: Matrix
    frame: Frame

    @property
    def metric(self) -> Metric:
        """The metric of the rows."""
        return self.frame.metric

    @property
    def dimension(self) -> int:
        """Numbers of a row."""
        return int(self.centres.shape[1])

    @cached_property
    def codes(self) -> Codes:
        """Codes of the centres, by which they are put in order; cosines are products with rows of
        length 1, which centres haven't."""
        metric: Metric = "l2" if self.metric == "l2" else "ip"
        codes = room_for(len(self.centres), best_frame(self.centres, metric, self.frame.seed))
        encode_into(codes, 0, self.centres)
        return first_of(codes, len(self.centres))


class Places(NamedTuple):
    """The places of the rows of some slots. blocks: (blocks, bytes of one) uint8; offsets:
    (clusters + 1,) int64, the first place of each cluster."""

    blocks: Bytes
    offsets: Ints


class Effort(NamedTuple):
    """How much a search looks at: `places` allowed places where the k-th hit has the `usual` score,
    and exp(slope * (usual - score)) times as many, MOST_EFFORT times at most, where its score is
    lower: queries whose hits are far away find them in more clusters."""

    places: int
    usual: float = 0.0
    slope: float = 0.0

    def factor(self, floors: Matrix | float) -> Matrix:
        """How many times as many places are looked at for floors."""
        with np.errstate(over="ignore"):
            more = np.exp(self.slope * (self.usual - np.asarray(floors, np.float64)))
        return np.clip(more, 1 / MOST_EFFORT, MOST_EFFORT)


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters that can be searched. parts: places of rows of different age; stop: the slot after
    the last."""

    model: ClusterModel
    parts: tuple[Places, ...]
    stop: int

    @cached_property
    def places(self) -> int:
        """How many there are."""
        return sum(int(part.offsets[-1]) for part in self.parts)

    @cached_property
    def fixed(self) -> tuple[tuple[int, ...], tuple[object, ...]]:
        """What each CLUSTER_SCAN begins with, and what it points to, which is kept for as long.
        Whoever makes clusters for several threads has one of them compute this first."""
        if kernel() is None:
            return (), ()
        codes, frame = self.model.codes, self.model.frame
        parts = records(PLACES, [(address(p.blocks), address(p.offsets)) for p in self.parts])
        centres = record(PIECE, *codes.as_piece(0, 0))
        frames = address(codes.frame.record), address(frame.record)
        fixed = (
            address(parts),
            len(self.parts),
            address(centres),
            address(self.model.radii),
            *frames,
        )
        return fixed, (parts, centres, codes, frame)

    def search(
        self,
        query: Matrix,
        length: float,
        k: int,
        effort: Effort,
        most: int,
        matrix: Stored,
        allowed: Bits | RowFilter | None = None,
        limit: int | None = None,
    ) -> Nearest:
        """The k nearest of the `most` rows with the best estimates among the first allowed places,
        by exact distances. These are left out for rows that are very unlikely to be among
        the k nearest.

        query: (dim,) float32 of that length, which is safe (`exact.is_safe_length`), and not 0 for
        "cosine"; matrix: (n, dim) the vectors, by slots; allowed: a bit for each slot, as in
        `quantized.candidates`, or a filter of rows, which takes no work beforehand; limit: slots
        from here on are left out.
        """
        stop = self.stop if limit is None else limit
        if kernel() is None:
            return _search(self, query, length, k, (effort, most), matrix, allowed, stop)
        room = _ScanRoom.of(self, k, most)
        found = room.search(self, query, length, effort, matrix, allowed, stop)
        room.let_go()
        return found

    def order(self, query: Matrix, length: float, floor: float) -> Numbers:
        """All clusters in the order in which they are looked at, where the k-th hit has the score
        `floor`: its product with the query, or for "l2" less half the squared distance."""
        if kernel() is None:
            return _by_floor(self.model, _scores(self.model, query, length), floor)
        room = _ScanRoom.of(self, 1, 1)
        order = room.order(self, query, length, floor)
        room.let_go()
        return order


class ClusterPass:
    """A search of clusters for any number of queries, one at a time, in any number of threads. The
    arguments are those of `Clusters.search`; the matrix itself isn't kept."""

    def __init__(
        self,
        clusters: Clusters,
        k: int,
        effort: Effort,
        most: int,
        allowed: Bits | RowFilter | None,
        limit: int,
    ) -> None:
        self.k, self._clusters, self._effort = k, clusters, effort
        self._most, self._allowed, self._limit = most, allowed, limit

    @property
    def is_settled(self) -> bool:
        """Whether the filter won't be asked in another way later."""
        return not isinstance(self._allowed, RowFilter)

    def of_length(self, query: Matrix, length: float, matrix: Stored) -> Nearest:
        """See `Clusters.search`."""
        return self._clusters.search(
            query, length, self.k, self._effort, self._most, matrix, self._allowed, self._limit
        )

    def nearest(self, query: Matrix, matrix: Stored) -> Nearest | None:
        """The same; None where the length of the query doesn't allow estimates."""
        length = length_of(query)
        if not is_safe_length(length) or (length == 0 and self._clusters.model.metric != "l2"):
            return None
        return self.of_length(query, length, matrix)


ESTIMATE = 8  # bytes
ROOMS = 8  # that are kept, for as many threads


class _ScanRoom:
    """The memory of searches of some clusters, for k hits each."""

    kept: ClassVar[dict[tuple[int, ...], list["_ScanRoom"]]] = {}

    def __init__(self, count: int, dimension: int, k: int, most: int) -> None:
        self._key = count, dimension, k, most
        self._count, self._dimension, self._k, self._most = self._key
        chunks, groups = chunks_of(dimension), groups_of(dimension)
        self._capacity = max(64, 2 * most)
        self._index = 1 << (2 * self._capacity - 1).bit_length()
        sizes = {
            "scan": CLUSTER_SCAN.size,
            "sought": SOUGHT.size,
            "rows": DISTANCES.size,
            "query": 4 * dimension,
            "unit": 4 * dimension,
            "widened": 4 * dimension,
            "wide": WORD * dimension,
            "turned": TURNED.size,
            "digits": CHUNK * chunks,
            "tables": groups * TABLE_BYTES,
            "products": 4 * count,
            "terms": 4 * count,
            "levels": 4 * count,
            "order": 4 * count,
            "found": ESTIMATE * self._capacity,
            "index": 4 * self._index,
            "best": WORD * k,
            "slots": WORD * (most + 1),
            "uppers": WORD * (most + 1),
        }
        ends = np.cumsum([-(-size // 64) * 64 for size in sizes.values()]).tolist()
        self._room = np.empty(ends[-1] + 64, np.uint8)
        base = address(self._room)
        start = -base % 64
        self._at = dict(zip(sizes, [start, *(start + end for end in ends)], strict=False))
        self._memory = self._room.data
        where = self._where = {name: base + at for name, at in self._at.items()}
        names = ("query", "unit", "wide", "turned", "digits", "tables")
        self._inputs = tuple(where[name] for name in names)
        self._sizes = groups, count, chunks
        self._outputs = tuple(where[name] for name in ("products", "terms", "levels", "order"))

    @classmethod
    def of(cls, clusters: Clusters, k: int, most: int) -> "_ScanRoom":
        """Room for these clusters, perhaps some that was used before."""
        count, dimension = clusters.model.centres.shape
        try:
            return cls.kept[count, dimension, k, most].pop()
        except (KeyError, IndexError):
            return cls(count, dimension, k, most)

    def let_go(self) -> None:
        """Leave it to later searches."""
        if len(self.kept) > ROOMS:
            self.kept.clear()
        alike = self.kept.setdefault(self._key, [])
        if len(alike) < ROOMS:
            alike.append(self)

    def _rank(
        self,
        clusters: Clusters,
        query: Matrix,
        length: float,
        effort: Effort,
        among: tuple[Bits | RowFilter | None, int],
        ends: tuple[int, int],
        floor: float = math.nan,
    ) -> None:
        """Find the nearest clusters, or put all in order by a floor. among: the allowed slots, and
        their limit; ends: of the DISTANCES and the SOUGHT, if it is to be decided."""
        compiled = kernel()
        assert compiled is not None
        (groups, count, chunks), (allowed, limit) = self._sizes, among
        if isinstance(allowed, RowFilter):
            filters = 0, address(allowed.record)
        else:
            filters = address(allowed), 0
        at = self._at["query"]
        self._memory[at : at + 4 * self._dimension] = query.astype(np.float32).tobytes()
        CLUSTER_SCAN.pack_into(
            self._memory, self._at["scan"],
            *clusters.fixed[0], *self._inputs, *filters, groups, limit, count, chunks,
            *self._outputs, 0, 0, 0, effort.places, 0, 0, 0, self._where["found"], 0,
            self._capacity, self._most, self._where["index"], self._index, CALL_PLACES, *ends,
            length, -math.inf, 0.0, 0.0, floor, effort.usual, effort.slope,
        )  # fmt: skip
        compiled.cluster_rank(self._where["scan"])

    def order(self, clusters: Clusters, query: Matrix, length: float, floor: float) -> Numbers:
        """See `Clusters.order`."""
        self._rank(clusters, query, length, Effort(0), (None, 0), (0, 0), floor)
        at = self._at["order"]
        return self._room[at : at + 4 * self._count].view(np.int32).copy()

    def search(
        self,
        clusters: Clusters,
        query: Matrix,
        length: float,
        effort: Effort,
        matrix: Stored,
        allowed: Bits | RowFilter | None,
        limit: int,
    ) -> Nearest:
        """See `Clusters.search`."""
        where, most = self._where, self._most + 1
        rows = where["slots"], where["uppers"]
        head = -math.inf, where["best"], self._k, 0, *rows, 0, most, most, most, 0, 0, 0
        SOUGHT.pack_into(self._memory, self._at["sought"], *head)
        what = DATATYPES[matrix.dtype.char], METRIC_NUMBERS[clusters.model.metric]
        places = address(matrix), 0, where["query"], where["widened"], 0
        sizes = len(matrix), 0, self._dimension
        DISTANCES.pack_into(self._memory, self._at["rows"], *places, *sizes, *what, length)
        ends = where["rows"], where["sought"]
        self._rank(clusters, query, length, effort, (allowed, limit), ends)
        compiled = kernel()
        assert compiled is not None
        compiled.cluster_scan(where["scan"])
        told = SOUGHT.unpack_from(self._memory, self._at["sought"])
        found, chosen, tied = told[6], told[11], told[12]
        at, far = self._at["slots"], self._at["uppers"]
        slots = self._room[at : at + WORD * found].view(np.int64).copy()
        distances = self._room[far : far + WORD * found].view(np.float64).copy()
        return Nearest(slots, distances, chosen, bool(tied))


# Without the compiled part.


class PlaceOrder(NamedTuple):
    """The rows of places, in their order. slots: (places,) uint32; offsets: as in `Places`."""

    slots: Slots32
    offsets: Ints


def _scores(model: ClusterModel, query: Matrix, length: float) -> Matrix:
    """The scores of centres, by cluster."""
    own = query / length if model.metric == "cosine" else query
    terms = model.centres @ own.astype(np.float32)
    if model.metric == "l2":
        terms -= (np.einsum("ij,ij->i", model.centres, model.centres) + own @ own) / 2
    return terms


def _by_floor(model: ClusterModel, terms: Matrix, floor: float) -> Numbers:
    """See `Clusters.order`."""
    half = np.square(model.radii) / 2 if model.metric == "l2" else 0
    return np.argsort((floor + half - terms) / model.radii).astype(np.int32)


def _tables(model: ClusterModel, query: Matrix, length: float) -> Matrix:
    """(bytes, 256) the products of eight numbers of a query with all choices of signs."""
    own = query.astype(np.float64) / (length if model.metric == "cosine" else 1)
    turned = np.zeros(GROUP * groups_of(model.dimension))
    turned[: model.dimension] = rotate((own - model.frame.centre)[None], model.frame)[0]
    signs = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    tables: Matrix = (turned.reshape(-1, 8) @ (2.0 * signs.T - 1)).astype(np.float32)
    return tables


class _Looked(NamedTuple):
    """Estimates of some places. slots: of the allowed ones; scores: float32."""

    slots: Ints
    scores: Matrix


def _look(
    places: Places,
    clusters: Numbers,
    terms: Matrix,
    tables: Matrix,
    among: tuple[Bits | RowFilter | None, int],
) -> _Looked:
    """The estimates of the allowed places of some clusters in one part."""
    firsts, stops = places.offsets[clusters], places.offsets[clusters + 1]
    sizes = stops - firsts
    start = np.cumsum(sizes) - sizes
    every = np.arange(int(sizes.sum())) + np.repeat(firsts - start, sizes)
    of_cluster, (allowed, limit) = np.repeat(terms[clusters], sizes), among
    at = BLOCK * len(tables)
    numbers, of_block = np.unique(every // BLOCK, return_inverse=True)
    blocks, inside = places.blocks[numbers], every % BLOCK
    factors = np.ascontiguousarray(blocks[:, at : at + 8 * BLOCK]).view("<f4")
    slots = np.ascontiguousarray(blocks[:, at + 8 * BLOCK :]).view("<u4")[of_block, inside]
    known = slots < limit
    if isinstance(allowed, RowFilter):
        known &= allowed.passes(np.where(known, slots, 0))
    elif allowed is not None:
        slots = np.where(known, slots, 0)
        known &= bits_at(allowed.view(np.uint8), slots)
    product = np.zeros((len(blocks), BLOCK), np.float32)
    for byte, table in enumerate(tables):
        product += table[blocks[:, byte * BLOCK : (byte + 1) * BLOCK]]
    own = factors[of_block, BLOCK + inside] * product[of_block, inside]
    scores = factors[of_block, inside] + of_cluster + own
    return _Looked(slots[known].astype(np.int64), scores[known])


def _search(
    clusters: Clusters,
    query: Matrix,
    length: float,
    k: int,
    numbers: tuple[Effort, int],
    matrix: Stored,
    allowed: Bits | RowFilter | None,
    limit: int,
) -> Nearest:
    """See `Clusters.search`. numbers: effort and most."""
    model, (effort, most) = clusters.model, numbers
    terms, tables = _scores(model, query, length), _tables(model, query, length)
    order: Numbers = np.argsort(-terms).astype(np.int32)
    at, seen, wanted = 0, 0, effort.places
    slots, scores = np.empty(0, np.int64), np.empty(0, np.float32)
    while at < len(order) and seen < wanted:
        left = min(wanted - seen, PLACES_AT_ONCE) if at else NEAREST_PLACES
        some = order[at : at + max(16, left * len(order) // max(1, clusters.places))]
        looked = [_look(part, some, terms, tables, (allowed, limit)) for part in clusters.parts]
        seen += sum(len(one.slots) for one in looked)
        slots = np.concatenate([slots, *(one.slots for one in looked)])
        scores = np.concatenate([scores, *(one.scores for one in looked)])
        if at == 0:
            floor = float(np.partition(scores, -k)[-k]) if len(scores) >= k else float(terms.max())
            wanted = int(effort.factor(floor) * wanted)
            rest = _by_floor(model, terms, floor)
            order = np.concatenate([some, rest[~np.isin(rest, some)]])
        at += len(some)
    if len(slots) > most:
        slots = slots[np.argpartition(-scores, most)[:most]]
    slots = distinct(slots)
    return nearest_of(slots, exact_distances(query, length, matrix, slots, model.metric), k)


class _ExactPlaces(NamedTuple):
    """What places are made of, in float64. residuals: (n, dim) what centres leave of rows, rotated;
    squares: (n,) their squared lengths; sums: (n,) their products with their own signs; factors:
    (n,) the squares by the sums; parts: (n,) of the offsets what the signs don't decide; centres:
    (n, dim) less the mean, rotated; reaches: (n,) the lengths of the centres themselves."""

    residuals: Floats
    squares: Floats
    sums: Floats
    factors: Floats
    parts: Floats
    centres: Floats
    reaches: Floats

    def products(self, signs: Bools) -> Floats:
        """(n,) of the centres and signs."""
        return np.asarray(np.where(signs, self.centres, -self.centres).sum(axis=1))


def _exact_places(
    rows: Stored, model: ClusterModel, order: PlaceOrder, start: int, stop: int
) -> _ExactPlaces:
    """Of the places from `start` to before `stop`."""
    clusters = np.searchsorted(order.offsets, np.arange(start, stop), "right") - 1
    centres = model.centres[clusters].astype(np.float64)
    whole = as_float32(rows[order.slots[start:stop]]).astype(np.float64)
    if model.metric == "cosine":
        lengths = np.linalg.norm(whole, axis=1, keepdims=True)
        whole /= np.where(lengths > 0, lengths, 1)
    left, frame = whole - centres, model.frame
    residuals, squares = rotate(left, frame), (left * left).sum(axis=1)
    sums = np.abs(residuals).sum(axis=1)
    return _ExactPlaces(
        residuals,
        squares,
        sums,
        np.divide(squares, sums, out=np.zeros_like(sums), where=sums > 0),
        -squares / 2 if model.metric == "l2" else (left * centres).sum(axis=1),
        rotate(centres - frame.centre, frame),
        np.linalg.norm(centres, axis=1),
    )


def _encode_plainly(
    rows: Stored, model: ClusterModel, order: PlaceOrder, start: int, stop: int
) -> Bytes:
    """See `_encode`."""
    dimension, slots = model.dimension, order.slots[start:stop]
    blocks = np.zeros((blocks_of(stop - start), block_bytes(dimension)), np.uint8)
    exact = _exact_places(rows, model, order, start, stop)
    signs, factors = exact.residuals > 0, exact.factors
    offsets = exact.parts - factors * exact.products(signs)
    every = np.zeros((len(blocks) * BLOCK, GROUP * groups_of(dimension)), bool)
    every[: len(slots), :dimension] = signs
    packed = np.packbits(every, axis=1, bitorder="little").reshape(len(blocks), BLOCK, -1)
    at = packed.shape[2] * BLOCK
    blocks[:, :at] = packed.transpose(0, 2, 1).reshape(len(blocks), -1)
    for number, values in enumerate((offsets.astype("<f4"), factors.astype("<f4"), slots)):
        room = np.zeros(len(blocks) * BLOCK, values.dtype)
        room[: len(slots)] = values
        begin = at + 4 * BLOCK * number
        blocks[:, begin : begin + 4 * BLOCK] = room.view(np.uint8).reshape(len(blocks), -1)
    return blocks


class _PlacesRead(NamedTuple):
    """What blocks hold: signs (n, dim), offsets and factors (n,). has_rest: whether something else
    than zeros stands where there is no number and no row."""

    signs: Bools
    offsets: Floats
    factors: Floats
    has_rest: bool

    @classmethod
    def of(cls, blocks: Bytes, count: int, dimension: int) -> "_PlacesRead":
        """Of the first `count` places in some blocks."""
        at = groups_of(dimension) * GROUP_BYTES
        packed = blocks[:, :at].reshape(len(blocks), -1, BLOCK).transpose(0, 2, 1)
        bits = np.unpackbits(packed.reshape(len(blocks) * BLOCK, -1), axis=1, bitorder="little")
        numbers = np.ascontiguousarray(blocks[:, at : at + 8 * BLOCK]).view("<f4")
        offsets, factors = numbers.reshape(-1, 2, BLOCK).transpose(1, 0, 2).reshape(2, -1)
        rest = (bits[count:], bits[:, dimension:], offsets[count:], factors[count:])
        return cls(
            bits[:count, :dimension].astype(bool),
            offsets[:count].astype(np.float64),
            factors[:count].astype(np.float64),
            any(one.any() for one in rest),
        )


# Making them.


def _unit(rows: Matrix, metric: Metric) -> Matrix:
    """The rows as clusters know them: of length 1 for "cosine"."""
    if metric != "cosine":
        return rows
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    scaled: Matrix = np.divide(rows, lengths, dtype=np.float32)
    return scaled


def _kmeans(rows: Matrix, count: int, draw: np.random.Generator) -> Matrix:
    """`count` centres of some rows, (n, dim) float32."""
    if len(rows) <= count:
        return rows.copy()
    centres = rows[np.sort(draw.choice(len(rows), count, replace=False))].copy()
    for _ in range(ROUNDS):
        nearest = _nearest(rows, centres)
        counts = np.bincount(nearest, minlength=count)
        order = np.argsort(nearest, kind="stable")
        full = np.flatnonzero(counts)
        starts = np.cumsum(counts) - counts
        sums = np.add.reduceat(rows[order], starts[full], axis=0)
        centres[full] = sums / counts[full, None]
        if len(empty := np.flatnonzero(counts == 0)):  # they take a row each of the largest
            largest = np.argsort(-counts)[: len(empty)]
            largest = largest[counts[largest] > 1]
            some = rows[order[starts[largest] + counts[largest] // 2]]
            centres[empty[: len(some)]] = some
    return centres


def _nearest(rows: Matrix, centres: Matrix) -> Numbers:
    """The nearest centre of each row."""
    squares = np.einsum("ij,ij->i", centres, centres) / 2
    found = np.empty(len(rows), np.int32)
    for at in range(0, len(rows), PIECE_ROWS):
        some = _products(rows[at : at + PIECE_ROWS], centres)
        some -= squares
        found[at : at + PIECE_ROWS] = some.argmax(axis=1)
    return found


UNSPLIT = 1 << 18  # multiplications in a product; larger ones OpenBLAS splits among threads
FEWEST_ROWS = 4  # of such a product


def _products(rows: Matrix, centres: Matrix) -> Matrix:
    """(rows, centres) all products; with few centres in parts too small to split, since threads
    would wait for each other for many times as long as they multiply."""
    part = UNSPLIT // max(1, centres.size)
    whole = len(rows) // part * part if part >= FEWEST_ROWS else 0
    if not whole:
        return rows @ centres.T
    found = np.empty((len(rows), len(centres)), np.float32)
    stacked = np.matmul(rows[:whole].reshape(-1, part, rows.shape[1]), centres.T)
    found[:whole] = stacked.reshape(whole, -1)
    np.matmul(rows[whole:], centres.T, out=found[whole:])
    return found


class Trained(NamedTuple):
    """A model, and its clusters by parent. parents: (p, dim) float32; firsts: (p + 1,) the first
    cluster of each."""

    model: ClusterModel
    parents: Matrix
    firsts: Ints


def train(
    rows: Stored, slots: Ints, metric: Metric, seed: int, check_cancelled: Callable[[], object]
) -> Trained:
    """Find centres by a sample of the rows at some slots. check_cancelled: called now
    and then; it may raise."""
    draw = np.random.default_rng(seed)
    count = clusters_for(len(slots))
    sample = min(len(slots), SAMPLE_PER_CLUSTER * count)
    chosen = np.sort(draw.choice(slots, sample, replace=False))
    number = max(1, round(math.sqrt(count)))
    first = np.sort(draw.choice(chosen, min(len(chosen), 200 * number), replace=False))
    some = _unit(as_float32(rows[first]), metric)
    mean = np.ascontiguousarray(some.mean(axis=0), np.float32)
    check_cancelled()
    parents = _kmeans(some, number, draw)
    parent = np.empty(len(chosen), np.int32)
    for at in range(0, len(chosen), 16 * PIECE_ROWS):
        check_cancelled()
        piece = chosen[at : at + 16 * PIECE_ROWS]
        parent[at : at + len(piece)] = _nearest(_unit(as_float32(rows[piece]), metric), parents)
    centres, squares = [], []
    for at in range(len(parents)):
        check_cancelled()
        own = chosen[parent == at]
        if len(own):
            share = max(1, round(count * len(own) / len(chosen)))
            vectors = _unit(as_float32(rows[own]), metric)
            centres.append(_kmeans(vectors, share, draw))
            squares.append(_spread(vectors, centres[-1]))
    whole = np.ascontiguousarray(np.concatenate(centres), np.float32)
    model = ClusterModel(whole, radii_of(np.concatenate(squares)), Frame(seed, mean, metric))
    return _under_parents(model, draw)[0]


def _under_parents(model: ClusterModel, draw: np.random.Generator) -> tuple[Trained, Ints]:
    """The same clusters in the order of new parents, and which these were."""
    centres = model.centres
    parents = _kmeans(centres, max(1, round(PARENTS * math.sqrt(len(centres)))), draw)
    parent = _nearest(centres, parents)
    firsts = np.zeros(len(parents) + 1, np.int64)
    np.cumsum(np.bincount(parent, minlength=len(parents)), out=firsts[1:])
    order = np.argsort(parent, kind="stable")
    ordered = ClusterModel(centres[order], model.radii[order], model.frame)
    return Trained(ordered, parents, firsts), order


def _spread(rows: Matrix, centres: Matrix) -> Matrix:
    """For each cluster the mean square of the residuals of some rows, after its centre."""
    nearest = _nearest(rows, centres)
    residuals = rows - centres[nearest]
    sums = np.bincount(nearest, np.einsum("ij,ij->i", residuals, residuals), len(centres))
    counts = np.maximum(1, np.bincount(nearest, minlength=len(centres)))
    return (sums / counts).astype(np.float32)


def radii_of(squares: Matrix) -> Matrix:
    """(clusters,) float32, the radii of clusters of such mean squares. None is below half of what
    is usual: of few rows, or equal ones, a radius says little about the next row."""
    usual = float(np.sqrt(squares.mean())) or 1.0
    return np.maximum(np.sqrt(squares), usual / 2).astype(np.float32)


def assign(
    rows: Stored, slots: Ints, trained: Trained, check_cancelled: Callable[[], object]
) -> tuple[Numbers, Numbers]:
    """The nearest cluster of each row at some slots, and its second one; the same where there is
    but one cluster."""
    one, other = np.empty((2, len(slots)), np.int32)
    for at in range(0, len(slots), ASSIGNED_AT_ONCE):
        check_cancelled()
        piece = slots[at : at + ASSIGNED_AT_ONCE]
        vectors = _unit(as_float32(rows[piece]), trained.model.metric)
        some = slice(at, at + len(piece))
        one[some], other[some] = _nearest_and_second(vectors, trained)
    return one, other


class _ParentGroup(NamedTuple):
    """The clusters of one parent, from `first` to before `stop`, the rows that are near it, and the
    products of these with the centres, less half the squares of the centres."""

    first: int
    stop: int
    rows: Ints
    scores: Matrix


def _nearest_and_second(rows: Matrix, trained: Trained) -> tuple[Numbers, Numbers]:
    """The nearest cluster of each row, among those of its nearest parents, and the second one: of
    residuals r and r', the least |r'|² + λ (r·r')² / |r|²."""
    centres, groups = trained.model.centres, [*_parent_groups(rows, trained)]
    nearest = _Best.of(len(rows))
    for group in groups:
        nearest.take(group, group.scores)
    first = nearest.clusters
    residuals = rows - centres[first]
    sizes = np.maximum(np.einsum("ij,ij->i", residuals, residuals), np.float32(1e-20))
    own = np.einsum("ij,ij->i", residuals, rows)
    second = _Best.of(len(rows), first)
    for group in groups:
        some = group.rows
        # r·r' = r·x - r·c', and |r'|² = |x|² - 2 (x·c' - |c'|²/2)
        along = own[some, None] - _products(residuals[some], centres[group.first : group.stop])
        np.square(along, out=along)
        along *= (-SPREAD / 2 / sizes[some])[:, None]
        along += group.scores
        inside = np.flatnonzero((group.first <= first[some]) & (first[some] < group.stop))
        along[inside, first[some[inside]] - group.first] = -np.inf
        second.take(group, along)
    return first, second.clusters


class _Best(NamedTuple):
    """Of each row the best score so far, and the cluster that has it."""

    scores: Matrix
    clusters: Numbers

    @classmethod
    def of(cls, rows: int, clusters: Numbers | None = None) -> "_Best":
        """None yet."""
        numbers = np.zeros(rows, np.int32) if clusters is None else clusters.copy()
        return cls(np.full(rows, -np.inf, np.float32), numbers)

    def take(self, group: _ParentGroup, scores: Matrix) -> None:
        """Go on with the best of a group, where they are better."""
        at = scores.argmax(axis=1)
        top = np.take_along_axis(scores, at[:, None], 1)[:, 0]
        better = top > self.scores[group.rows]
        self.scores[group.rows[better]] = top[better]
        self.clusters[group.rows[better]] = group.first + at[better]


def _parent_groups(rows: Matrix, trained: Trained) -> Iterator[_ParentGroup]:
    """The clusters that rows may belong to: those of the nearest parents of each."""
    model, parents, firsts = trained
    full = np.flatnonzero(np.diff(firsts))
    some = parents[full]
    far = np.einsum("ij,ij->i", some, some) / 2 - rows @ some.T
    count = min(NEAR_PARENTS, len(full))
    near = np.argpartition(far, count - 1, axis=1)[:, :count].reshape(-1)
    halves = np.einsum("ij,ij->i", model.centres, model.centres) / 2
    order = np.argsort(near, kind="stable")
    ends = np.cumsum(np.bincount(near, minlength=len(full)))
    for at, parent in enumerate(full):
        own = order[ends[at - 1] if at else 0 : ends[at]] // count
        if len(own):
            first, stop = int(firsts[parent]), int(firsts[parent + 1])
            scores = _products(rows[own], model.centres[first:stop])
            scores -= halves[first:stop]
            yield _ParentGroup(first, stop, own, scores)


def in_clusters(slots: Ints, one: Numbers, other: Numbers, clusters: int) -> PlaceOrder:
    """The order of places of rows that belong to two clusters each, or to one twice."""
    twice = one != other
    every = np.concatenate([one, other[twice]])
    order = np.argsort(every, kind="stable")
    whole = np.concatenate([slots, slots[twice]]).astype(np.uint32)[order]
    offsets = np.zeros(clusters + 1, np.int64)
    np.cumsum(np.bincount(every, minlength=clusters), out=offsets[1:])
    return PlaceOrder(whole, offsets)


def encoded(
    rows: Stored, model: ClusterModel, order: PlaceOrder, at_once: int = 2_048
) -> Iterator[Bytes]:
    """The blocks of places, (blocks, bytes of one) uint8, some at a time."""
    for first in range(0, len(order.slots), at_once * BLOCK):
        yield _encode(rows, model, order, first, min(first + at_once * BLOCK, len(order.slots)))


def _encode(rows: Stored, model: ClusterModel, order: PlaceOrder, start: int, stop: int) -> Bytes:
    """The blocks of the places from `start`, a multiple of 32, to before `stop`."""
    compiled = kernel()
    if compiled is None:
        return _encode_plainly(rows, model, order, start, stop)
    blocks = np.zeros((blocks_of(stop - start), block_bytes(model.dimension)), np.uint8)
    room, other = np.empty((2, model.dimension), np.float32)
    frame = address(model.frame.record)
    begin = int(np.searchsorted(order.offsets, start, "right")) - 1
    matrix = address(rows), len(rows), DATATYPES[rows.dtype.char]
    for cluster in range(begin, len(order.offsets) - 1):
        first, last = max(start, int(order.offsets[cluster])), int(order.offsets[cluster + 1])
        if first >= stop:
            break
        last = min(last, stop)
        where = address(order.slots[first:last]), *matrix[1:], last - first, first - start
        centre = address(model.centres[cluster])
        rest = centre, address(blocks), address(room), address(other)
        compiled.cluster_encode(record(CLUSTER_ENCODING, frame, matrix[0], *where, *rest))
    return blocks


def slots_of(places: Places) -> Ints:
    """The slot of each place."""
    at = places.blocks.shape[1] - 4 * BLOCK
    every = np.ascontiguousarray(places.blocks[:, at:]).view("<u4").reshape(-1)
    return every[: int(places.offsets[-1])].astype(np.int64)


# How often what the compiled part makes of a row is rounded in float32: 68 times in the rotation
# (`native/codes.c`), and before and after it. TINY: what float32 loses of the smallest numbers.
ROUNDINGS, TINY = 80, 2.0**-140


def refuse_wrong_places(
    rows: Stored, model: ClusterModel, places: Places, first: int, stop: int
) -> None:
    """Raise ValueError unless all places are of slots from `first` to before `stop`, and say what
    they would if they were made again, but for roundings, which differ between processors."""
    slots = slots_of(places)
    if len(slots) and not first <= int(slots.min()) <= int(slots.max()) < stop:
        raise ValueError("it has places of other slots than it says")
    order = PlaceOrder(slots.astype(np.uint32), places.offsets)
    for begin in range(0, len(slots), PIECE_ROWS):
        end = min(begin + PIECE_ROWS, len(slots))
        blocks = places.blocks[begin // BLOCK : blocks_of(end)]
        found = _PlacesRead.of(blocks, end - begin, model.dimension)
        _refuse_false_places(found, _exact_places(rows, model, order, begin, end), model)


def _refuse_false_places(found: _PlacesRead, exact: _ExactPlaces, model: ClusterModel) -> None:
    """Raise ValueError unless what was read is what is exact, but for roundings.

    Let r be a residual, e its centre less the mean, both rotated, s signs, and `off` the most by
    which roundings move r. Then each number of r is off by no more than that, s·r by no more than
    √dim times that, and s·e by √dim times such a share of |e|. Where a number of r is no more than
    `off`, its sign is chance. The offset must follow from the signs that are there.
    """
    rounded, root = ROUNDINGS * UNIT_ROUNDOFF, math.sqrt(model.dimension)
    wide = model.dimension * 2.0**-52  # of sums in float64, by which rows become of length 1
    lengths, of_unit = np.sqrt(exact.squares), wide if model.metric == "cosine" else 0.0
    off = rounded * lengths + TINY + of_unit
    wrong = found.signs != (exact.residuals > 0)
    if found.has_rest or (wrong & (np.abs(exact.residuals) > off[:, None])).any():
        raise ValueError("it has signs that aren't those of its vectors")
    # Of |r|² / s·r the lower part is off by this share, the upper by up to twice that. The whole is
    # between 0 and |r|, which is all that is known where r is hardly more than roundings.
    share = np.divide(root * off, exact.sums, out=np.ones_like(off), where=exact.sums > 0)
    factors = exact.factors
    of_factors = np.where(share < 0.1, 4 * share * factors, lengths + off) + rounded * factors
    if not (np.abs(found.factors - factors) <= of_factors + TINY).all():
        raise ValueError("it has factors that aren't those of its vectors")
    products, apart = exact.products(found.signs), np.linalg.norm(exact.centres, axis=1)
    offsets = exact.parts - factors * products
    of_offsets = of_factors * np.abs(products) + (factors + of_factors) * root * rounded * apart
    of_offsets += (wide * lengths + of_unit) * (exact.reaches + lengths)
    of_offsets += rounded * np.abs(offsets)
    if not (np.abs(found.offsets - offsets) <= of_offsets + TINY).all():
        raise ValueError("it has offsets that aren't those of its vectors")


COMPARED_CELLS = 4_000_000  # distances of rows and centres in float64 that are held at once


def refuse_misplaced(rows: Stored, trained: Trained, places: Places, living: Ints) -> None:
    """Raise ValueError unless each of these slots has a place in the cluster whose centre is
    nearest among those that it may belong to, or as near but for roundings."""
    every, clusters = slots_of(places), len(places.offsets) - 1
    numbers = np.repeat(np.arange(clusters), np.diff(places.offsets))
    order = np.lexsort((numbers, every))
    every, numbers = every[order], numbers[order]
    if len(lost := np.setdiff1d(living, every)):
        raise ValueError(f"the vector in slot {lost[0]} has no place")
    nearest, _ = assign(rows, living, trained, lambda: None)
    keys = every * (clusters + 1) + numbers
    wanted = living * (clusters + 1) + nearest
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    others, centres = living[keys[at] != wanted], trained.model.centres.astype(np.float64)
    step = max(1, COMPARED_CELLS // clusters)
    for start in range(0, len(others), step):
        slots = others[start : start + step]
        first, stop = np.searchsorted(every, [slots, slots + 1])
        own = numbers[np.minimum(first[:, None] + np.arange(2), stop[:, None] - 1)]
        vectors = _unit(as_float32(rows[slots]), trained.model.metric).astype(np.float64)
        far = _are_far(vectors, trained, centres, own)
        if far.any():
            raise ValueError(
                f"the vector in slot {slots[far][0]} is in clusters that are too far away"
            )


def _are_far(vectors: Floats, trained: Trained, centres: Floats, own: Ints) -> Bools:
    """Whether vectors, (n, dim), are farther from the nearest of their own clusters, (n, 2), than
    from others that `assign` can't have missed, since it compares in float32."""
    parents, sizes = trained.parents.astype(np.float64), np.diff(trained.firsts)
    longest = max(_longest(vectors), _longest(centres), _longest(parents))
    # Of a difference of two squared distances, each -2 x·c + |c|²: by dim products and sums.
    rounding = 6 * (vectors.shape[1] + 8) * UNIT_ROUNDOFF * longest**2
    to_parents = _squared_distances(vectors, parents)
    to_parents[:, sizes == 0] = np.inf
    # A parent is sure to be among the nearest if too few others can have been taken for nearer.
    sure = np.isfinite(to_parents)
    if int(np.count_nonzero(sizes)) > NEAR_PARENTS:
        next_one = np.partition(to_parents, NEAR_PARENTS, axis=1)[:, NEAR_PARENTS]
        sure &= to_parents + rounding < next_one[:, None]
    distances = _squared_distances(vectors, centres)
    nearest = np.where(np.repeat(sure, sizes, axis=1), distances, np.inf).min(axis=1)
    return np.asarray(np.take_along_axis(distances, own, axis=1).min(axis=1) > nearest + rounding)


def _longest(rows: Floats) -> float:
    return float(np.linalg.norm(rows, axis=1).max())


def _squared_distances(rows: Floats, others: Floats) -> Floats:
    """(n, m) of all pairs."""
    squares = np.einsum("ij,ij->i", rows, rows)[:, None] + np.einsum("ij,ij->i", others, others)
    return np.asarray(squares - 2 * (rows @ others.T))


def clusters_of_slots(clusters: Clusters) -> tuple[Numbers, Numbers]:
    """Of each slot its two clusters, the same twice for one that has but one; -1 for slots without
    any."""
    one, other = np.full((2, clusters.stop), -1, np.int32)
    for part in clusters.parts:
        slots, offsets = slots_of(part), part.offsets
        numbers = np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets))
        known = slots < clusters.stop
        one[slots[known]] = numbers[known]
        other[slots[known][::-1]] = numbers[known][::-1]
    return one, other


def needed_places(
    clusters: Clusters,
    query: Matrix,
    length: float,
    of_slots: Sequence[Numbers],
    slots: Ints,
    floor: float,
) -> Ints:
    """How many places must be looked at to reach each of these slots; all where they can't be.
    of_slots: see `clusters_of_slots`; floor: see `Clusters.order`."""
    order = clusters.order(query, length, floor)
    sizes = np.diff([part.offsets for part in clusters.parts]).sum(axis=0)
    until = np.empty(len(order) + 1, np.int64)
    until[order] = np.cumsum(sizes[order])
    until[-1] = clusters.places
    one, other = of_slots
    return np.minimum(until[one[slots]], until[other[slots]])
