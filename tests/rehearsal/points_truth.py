"""A QdrantClient's collection beside the scenario's own: how it is created, its expected content,
and the expected scores by numpy.
"""

import gc
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from tests.rehearsal.scenario import Scenario, compare
from tests.rehearsal.shapes import TAGS, Records

Id = int | str
Floats = NDArray[np.float64]
Words = dict[int, float]  # a sparse vector
NAME = "points"
DISTANCES = {"cosine": "Cosine", "l2": "Euclid", "ip": "Dot"}
PIECES = 4, 8  # of a multivector, the first numbers of the dense one


@dataclass
class Point:
    """dense, words and pieces are None if the point has no vector of that name."""

    dense: NDArray[np.float32] | None
    words: Words | None
    pieces: NDArray[np.float32] | None
    payload: dict[str, Any]

    def vectors(self) -> dict[str, Any]:
        reported: dict[str, Any] = {}
        if self.dense is not None:
            reported["dense"] = self.dense.tolist()
        if self.words is not None:
            reported["words"] = sparse(self.words)
        if self.pieces is not None:
            reported["pieces"] = self.pieces.tolist()
        return reported

    def copy(self) -> "Point":
        return Point(self.dense, self.words, self.pieces, deepcopy(self.payload))


def sparse(words: Words) -> models.SparseVector:
    return models.SparseVector(indices=list(words), values=list(words.values()))


class Points:
    """The expected points by id, in the order of ids: integers before UUIDs."""

    def __init__(self, metric: str, points: dict[Id, Point]) -> None:
        self.metric = metric
        self.points = points
        self._rows: dict[str, tuple[list[Id], Any]] = {}
        self._ids: list[Id] | None = None

    def __len__(self) -> int:
        return len(self.points)

    @property
    def ids(self) -> list[Id]:
        if self._ids is None:
            self._ids = sorted(self.points, key=place_of)
        return self._ids

    def changed(self) -> None:
        """Note that vectors have changed, or that points were added or deleted."""
        self._rows.clear()
        self._ids = None

    def matching(self, holds: Callable[[Id, dict[str, Any]], bool]) -> list[Id]:
        return [one for one in self.ids if holds(one, self.points[one].payload)]

    def rows(self, name: str) -> tuple[list[Id], Any]:
        """The ids of the points with a vector of this name, and all of these vectors: float64, of
        length 1 for cosine, or a sparse matrix."""
        if name not in self._rows:
            ids = [one for one in self.ids if getattr(self.points[one], name) is not None]
            own = [getattr(self.points[one], name) for one in ids]
            if name == "words":
                made = matrix_of(own)
            else:
                made = np.asarray(own, np.float64)
                if name == "dense" and self.metric == "cosine":
                    made = made / np.linalg.norm(made, axis=-1, keepdims=True)
            self._rows[name] = ids, made
        return self._rows[name]

    def alike(self, query: Any, ids: Sequence[Id] | None = None) -> Floats:
        """The similarities of all dense vectors to a query, or of those of some points; more is
        nearer."""
        own, rows = self.rows("dense")
        if ids is not None:
            places = {one: i for i, one in enumerate(own)}
            rows = rows[[places[one] for one in ids]]
        query = np.asarray(query, np.float64)
        if self.metric == "l2":
            return -((rows - query) ** 2).sum(axis=1)
        return rows @ (query / np.linalg.norm(query) if self.metric == "cosine" else query)

    def scores(self, query: Any, name: str = "dense") -> dict[Id, float]:
        """The scores of all possible hits of a query, as returned to users."""
        ids, rows = self.rows(name)
        if name == "dense":
            return dict(zip(ids, self.scores_from(self.alike(query)).tolist(), strict=True))
        if name == "pieces":
            queries = np.asarray(query, np.float64)
            best = np.einsum("npd,qd->nqp", rows, queries).max(axis=2).sum(axis=1)
            return dict(zip(ids, best.tolist(), strict=True))
        dots = rows @ matrix_of([query], rows.shape[1]).toarray()[0]  # all weights are more than 0
        return {ids[i]: float(dots[i]) for i in np.flatnonzero(dots)}

    def scores_from(self, alike: Floats) -> Floats:
        """The returned scores of a dense search; for a distance, its values."""
        return np.sqrt(-alike) if self.metric == "l2" else alike

    @property
    def sign(self) -> int:
        """The sign of dense scores: -1 if the least is the best."""
        return -1 if self.metric == "l2" else 1


def compare_ids(got: Iterable[Id], wanted: Iterable[Id], what: str, ordered: bool = True) -> None:
    compare([str(one) for one in got], [str(one) for one in wanted], what, ordered)


def place_of(one: Id) -> tuple[bool, Id]:
    return isinstance(one, str), one


WIDTH = 200_000  # sparse vectors have smaller indices


def matrix_of(rows: Sequence[Words], width: int = WIDTH) -> Any:
    from scipy.sparse import csr_array

    starts = np.cumsum([0, *map(len, rows)])
    indices = np.array([index for row in rows for index in row], np.int64)
    values = np.array([value for row in rows for value in row.values()], np.float64)
    return csr_array((values, indices, starts), shape=(len(rows), width))


def best(scores: dict[Id, float], count: int, sign: int = 1) -> list[tuple[Id, float]]:
    """The best of these; ties by id."""
    return sorted(scores.items(), key=lambda one: (-sign * one[1], place_of(one[0])))[:count]


def margin(score: Any) -> Any:
    return 1e-5 * (1 + np.abs(score))


def check_points(
    hits: Sequence[Any],
    scores: dict[Id, float],
    k: int,
    sign: int = 1,
    allowed: Iterable[Id] | None = None,
    offset: int = 0,
) -> float:
    """The share of the right hits that a query returned. Fails if a hit is repeated, doesn't match,
    has a wrong score or position, or if there are too few. scores: of all possible hits. sign: -1
    if the least is the best."""
    if allowed is not None:
        scores = {one: scores[one] for one in allowed if one in scores}
    ids = [hit.id for hit in hits]
    wanted = max(0, min(k, len(scores) - offset))
    assert len(ids) == wanted, f"{len(ids)} hits of {wanted}"
    assert len(set(ids)) == len(ids), "a hit is doubled"
    wrong = [one for one in ids if one not in scores]
    assert not wrong, f"hits that aren't allowed: {wrong[:3]}"
    if not ids:
        return 1.0
    own = np.array([scores[one] for one in ids])
    got = np.array([hit.score for hit in hits])
    off = np.abs(own - got) > margin(own)
    at = int(off.argmax())
    assert not off.any(), f"{ids[at]} has the score {got[at]}, not {own[at]}"
    assert (np.diff(sign * got) <= 1e-9).all(), "hits aren't in the order of their scores"
    right = np.sort(sign * np.fromiter(scores.values(), float))[::-1][offset : offset + k]
    return float((sign * own >= right[-1] - margin(right[-1])).mean())


def uid(i: int) -> str:
    return str(uuid.UUID(int=2**90 + i))


def payload_of(i: int, metadata: dict[str, Any] | None, random: np.random.Generator) -> Any:
    """The metadata of a record, and values of all kinds that only points have."""
    moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=int(random.integers(500_000)))
    away = timezone(timedelta(hours=i % 5 - 2))
    pages, langs = random.integers(1, 400, 3).tolist(), random.integers(0, 3, 3).tolist()
    parts = [{"page": p, "lang": ("en", "de", "fr")[c]} for p, c in zip(pages, langs, strict=True)]
    payload = {
        **(metadata or {}),
        "n": i,
        "bucket": i * 7 % 50,
        "flag": i % 3 == 0,
        "uid": uid(i % 1000),
        "at": {"lon": round(random.uniform(-20, 20), 1), "lat": round(random.uniform(-20, 20), 1)},
        "when": moment.astimezone(away).isoformat(),
        "parts": parts[: i % 4],
        "label": " ".join(random.choice(TAGS, 3).tolist()),
        "weight": round(float(random.exponential(50)), 3),
    }
    if i % 5:
        payload["maybe"] = (None, [], i, [i, i + 1])[i % 5 - 1]
    return payload


def words_of(i: int, records: Records, known: dict[str, int], random: Any) -> Words:
    """A sparse vector of a text's first words, or of random words if it has none. Weights are
    fractions, so that scores are rarely equal."""
    if records.documents is None:
        drawn = np.minimum(random.zipf(1.3, 20), 30_000).tolist()
    else:
        text = records.documents[i][:400].lower()
        drawn = [known.setdefault(word, len(known)) for word in re.findall(r"[a-z]+", text)]
    counts = Counter(drawn)
    noise = random.random(len(counts)).astype(np.float32)
    weights = np.fromiter(counts.values(), np.float32) + noise
    return dict(zip(sorted(counts), weights.tolist(), strict=True))


def made_of(scenario: Scenario, size: int) -> dict[Id, Point]:
    """Points from the scenario's records: two thirds have integer ids, the others UUIDs."""
    random, records, points = np.random.default_rng(5), scenario.records, {}
    known: dict[str, int] = {}
    pieces, width = PIECES
    for i in range(size):
        one: Id = i * 3 + 1 if i % 3 else str(uuid.uuid5(uuid.NAMESPACE_OID, records.ids[i]))
        payload = payload_of(i, records.metadatas and records.metadatas[i], random)
        if records.documents is not None:
            payload["text"] = records.documents[i]
        vector = records.vectors[i]
        points[one] = Point(
            vector,
            words_of(i, records, known, random),
            np.resize(vector, pieces * width).reshape(PIECES),
            payload,
        )
    return points


def structs(points: dict[Id, Point]) -> list[models.PointStruct]:
    return [
        models.PointStruct(id=one, vector=point.vectors(), payload=point.payload)
        for one, point in points.items()
    ]


@dataclass(repr=False)  # which tracebacks would take minutes to print
class Kept:
    """What the steps share: a client, and the collection's expected content."""

    client: Any
    truth: Points
    original: dict[Id, Point]


def size_of(scenario: Scenario) -> int:
    """The number of records: all, or fewer in short rehearsals and where calls are slow."""
    if scenario.length == "suite":
        return min(scenario.size, 3_000 if scenario.place.name == "disk" else 1_000)
    few = scenario.length == "first" or scenario.place.name == "grpc"
    return min(scenario.size, 20_000 if few else 60_000)  # the answers are worked out in Python


def points_of(scenario: Scenario) -> Kept:
    """The collection of points; it is created if it doesn't exist."""
    if "points" not in scenario.kept:
        client = scenario.place.qdrant()
        if scenario.place.name != "memory":  # where all share the one
            scenario.kept["close points"] = client.close
        made = made_of(scenario, size_of(scenario))
        with scenario.no_clock():
            make_collection(scenario, client, NAME)
            fill(client, made)
        original = {one: point.copy() for one, point in made.items()}
        gc.collect()  # or each collection walks through all that a test knows, for seconds
        gc.freeze()
        scenario.kept["points"] = Kept(client, Points(scenario.shape.metric, made), original)
    kept: Kept = scenario.kept["points"]
    return Kept(scenario.timed(kept.client), kept.truth, kept.original)


def make_collection(scenario: Scenario, client: Any, name: str) -> None:
    if client.collection_exists(name):
        client.delete_collection(name)
    distance = models.Distance(DISTANCES[scenario.shape.metric])
    several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    client.create_collection(
        name,
        {
            "dense": models.VectorParams(size=scenario.shape.dimension, distance=distance),
            "pieces": models.VectorParams(
                size=PIECES[1], distance=models.Distance.DOT, multivector_config=several
            ),
        },
        sparse_vectors_config={"words": models.SparseVectorParams()},
    )


def fill(client: Any, points: dict[Id, Point], name: str = NAME) -> None:
    """Write points, a part by each method that writes."""
    rows = list(points.items())
    batched, uploaded = len(rows) // 3, 2 * len(rows) // 3
    single = len(rows) - min(20, len(rows) // 10)
    for first in range(0, batched, 500):
        part = dict(rows[first : min(first + 500, batched)])
        client.upsert(name, batch_of(part), wait=True)
    part = dict(rows[batched:uploaded])
    client.upload_collection(
        name,
        vectors=(point.vectors() for point in part.values()),
        payload=(point.payload for point in part.values()),
        ids=part,
        batch_size=500,
        wait=True,
    )
    client.upload_points(name, structs(dict(rows[uploaded:single])), batch_size=300, wait=True)
    *alone, last = structs(dict(rows[single:]))
    for one in alone:
        client.upsert(name, [one])
    added = models.UpsertOperation(upsert=models.PointsList(points=[last]))
    client.batch_update_points(name, [added])


def batch_of(points: dict[Id, Point]) -> models.Batch:
    """A batch of points that have all vectors."""
    reports = [point.vectors() for point in points.values()]
    return models.Batch(
        ids=list(points),
        vectors={name: [one[name] for one in reports] for name in reports[0]},
        payloads=[point.payload for point in points.values()],
    )


def put_back(kept: Kept, ids: Iterable[Id]) -> None:
    """Restore these points to their first content."""
    own = {one: kept.original[one].copy() for one in ids}
    rows = list(own.items())
    for first in range(0, len(rows), 1000):
        kept.client.upsert(NAME, structs(dict(rows[first : first + 1000])))
    kept.truth.points.update(own)
    kept.truth.changed()


def pages(client: Any, size: int, name: str = NAME, **named: Any) -> Iterable[list[models.Record]]:
    """All points of a scroll, page by page."""
    following = None
    while True:
        page, following = client.scroll(name, limit=size, offset=following, **named)
        yield page
        if following is None:
            return


def words_in(vectors: dict[str, Any]) -> Words | None:
    """The sparse vector of a point, rounded to float32, since JSON has no more digits."""
    found = vectors.get("words")
    if found is None:
        return None
    values = np.asarray(found.values, np.float32).tolist()
    return dict(zip(found.indices, values, strict=True))


def check_whole(truth: Points, records: Iterable[models.Record]) -> None:
    """Check that these records have the expected payloads and vectors."""
    rows, wanted = [], []
    for record in records:
        point, vectors = truth.points[record.id], dict(record.vector)
        assert record.payload == point.payload, record.id
        assert words_in(vectors) == point.words, record.id
        vectors.pop("words", None)
        pieces = vectors.pop("pieces", None)
        assert (pieces is None) == (point.pieces is None), record.id
        if pieces is not None:
            assert np.allclose(pieces, point.pieces, rtol=1e-6, atol=1e-7), record.id
        dense = vectors.pop("dense", None)
        assert (dense is None) == (point.dense is None), record.id
        if dense is not None:
            rows.append(dense)
            wanted.append(point.dense)
        assert not vectors
    if rows:
        right = np.asarray(wanted, np.float64)
        if truth.metric == "cosine":
            right /= np.linalg.norm(right, axis=1, keepdims=True)
        assert np.allclose(np.asarray(rows), right, rtol=1e-6, atol=1e-6)


def check_collection(scenario: Scenario, client: Any, truth: Points, name: str = NAME) -> None:
    """Check all ids in order, and the whole content of some points."""
    ids = [record.id for page in pages(client, 10_000, name, with_payload=False) for record in page]
    compare_ids(ids, truth.ids, "ids of points")
    drawn = [ids[i] for i in scenario.random.choice(len(ids), min(300, len(ids)), replace=False)]
    check_whole(truth, client.retrieve(name, drawn, with_vectors=True))
    assert client.count(name).count == len(truth)
