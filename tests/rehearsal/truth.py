"""The expected content of a collection in plain Python, and its expected results by the simplest
methods: filters one record at a time, distances in float64.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.helpers import oracle
from tests.rehearsal.shapes import Metadata, Records

Where = dict[str, Any]


@dataclass
class Record:
    vector: NDArray[np.float32]
    metadata: Metadata | None
    document: str | None


class Truth:
    """The records by id, in the order of first insertion."""

    def __init__(self, metric: str, records: Records | None = None) -> None:
        self.metric = metric
        self.records: dict[str, Record] = {}
        self._matrix: NDArray[np.float64] | None = None
        self._squares: NDArray[np.float64] | None = None
        self._matching: dict[str, list[str]] = {}  # of what was asked since the last change
        if records is not None:
            self.add(records)

    def __len__(self) -> int:
        return len(self.records)

    def add(self, records: Records) -> None:
        """Add new records, and replace existing ones."""
        n = len(records)
        metadatas, documents = records.metadatas or [None] * n, records.documents or [None] * n
        for row in zip(records.ids, records.vectors, metadatas, documents, strict=True):
            self.records[row[0]] = Record(row[1], row[2], row[3])
        self._changed()

    def part(self, ids: Iterable[str], without_metadata: bool = False) -> "Truth":
        """A separate model with only these records."""
        own = Truth(self.metric)
        for one in ids:
            own.records[one] = replace(self.records[one])
            if without_metadata:
                own.records[one].metadata = None
        return own

    def merge(self, ids: Iterable[str], metadata: Callable[[Metadata], Metadata]) -> None:
        """Change metadata like `update`: key by key; None deletes a key."""
        for one in ids:
            record = self.records[one]
            merged = {**(record.metadata or {}), **metadata(record.metadata or {})}
            record.metadata = {key: v for key, v in merged.items() if v is not None}
        self._matching.clear()

    def rewrite(self, ids: Sequence[str], documents: Sequence[str]) -> None:
        for one, document in zip(ids, documents, strict=True):
            self.records[one].document = document
        self._matching.clear()

    def move(self, ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        for one, vector in zip(ids, vectors, strict=True):
            self.records[one].vector = vector
        self._matrix = self._squares = None

    def delete(self, ids: Iterable[str]) -> None:
        for one in ids:
            del self.records[one]
        self._changed()

    def _changed(self) -> None:
        self._matrix = self._squares = None
        self._matching.clear()

    @property
    def ids(self) -> list[str]:
        return list(self.records)

    def matching(
        self, where: Where | None = None, where_document: Where | None = None
    ) -> list[str]:
        """The ids of the records that fulfil both filters, in order."""
        query = repr((where, where_document))
        if query not in self._matching:
            self._matching[query] = self._found(where, where_document)
        return list(self._matching[query])

    def _found(self, where: Where | None, where_document: Where | None) -> list[str]:
        return [
            one
            for one, record in self.records.items()
            if (where is None or oracle.matches(record.metadata, where))
            and (where_document is None or oracle.document_matches(record.document, where_document))
        ]

    def list_in_order(self, ids: Iterable[str], key: str, descending: bool) -> list[str]:
        """The records with a number or a time at a key: numbers first, ties by insertion; or the
        reverse of that."""
        reports = []
        for place, one in enumerate(ids):
            value = oracle.value_of(self.records[one].metadata or {}, key)
            if oracle.is_number(value):
                reports.append((0, value, place, one))
            elif isinstance(value, str) and (time := oracle.time_in(value)) is not None:
                reports.append((1, time.timestamp(), place, one))
        reports.sort(reverse=descending)
        return [row[-1] for row in reports]

    def facet(self, key: str, ids: Iterable[str]) -> list[tuple[Any, int]]:
        return oracle.facet([self.records[one].metadata for one in ids], key)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """All vectors, (n, d), in order."""
        if self._matrix is None:
            rows = [record.vector for record in self.records.values()]
            self._matrix = np.asarray(rows, np.float64)
        return self._matrix

    def distances(
        self, query: NDArray[Any], ids: Sequence[str] | None = None
    ) -> NDArray[np.float64]:
        """The distances of all records, or of these, as in hits."""
        if ids is None:
            return self._all_distances(np.asarray(query, np.float64))
        rows = np.asarray([self.records[one].vector for one in ids])
        return oracle.brute_force(np.asarray(query), rows, self.metric)

    def _all_distances(self, query: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distances by products, in a tenth of the time; float64 is precise enough."""
        dots = self.matrix @ query
        if self._squares is None:
            self._squares = np.einsum("ij,ij->i", self.matrix, self.matrix)
        if self.metric == "l2":
            return np.maximum(self._squares - 2 * dots + query @ query, 0)
        if self.metric == "cosine":
            dots /= np.sqrt(self._squares) * np.linalg.norm(query)
        return 1 - dots

    def nearest(
        self, query: NDArray[Any], k: int, allowed: Iterable[str] | None = None
    ) -> NDArray[np.float64]:
        """The distances of the k nearest, least first, of all records or of the matching ones."""
        distances = self.distances(query)
        if allowed is not None:
            chosen = set(allowed)
            distances = distances[[one in chosen for one in self.records]]
        if k < len(distances):
            distances = np.partition(distances, k - 1)[:k]
        return np.sort(distances)[:k]


def own_word(document: str) -> str:
    """The last word of a text, which is unique."""
    return document.split()[-1]


def check_hits(
    truth: Truth,
    query: NDArray[Any],
    ids: Sequence[str],
    distances: Sequence[float],
    k: int,
    allowed: Iterable[str] | None = None,
) -> float:
    """The share of the k nearest that was found. Fails if a hit is repeated, doesn't match, has a
    wrong distance or position, or if there are too few."""
    allowed = None if allowed is None else set(allowed)
    there = len(truth) if allowed is None else len(allowed)
    assert len(ids) == min(k, there), f"{len(ids)} hits of {min(k, there)}"
    assert len(set(ids)) == len(ids), "a hit is doubled"
    if not ids:
        return 1.0
    unknown = [one for one in ids if one not in truth.records]
    assert not unknown, f"hits that aren't there: {unknown[:3]}"
    if allowed is not None:
        wrong = [one for one in ids if one not in allowed]
        assert not wrong, f"hits that the filter doesn't allow: {wrong[:3]}"
    own = truth.distances(query, ids)
    margin = 1e-5 * (1 + np.abs(own))
    if truth.metric == "ip":  # products nearly cancel, which a server adds up as float32
        margin += 1e-6 * np.linalg.norm(query) * np.linalg.norm(truth.matrix, axis=1).max()
    off = np.abs(np.asarray(distances) - own) > margin
    assert not off.any(), f"{ids[int(off.argmax())]} has distance {distances[int(off.argmax())]}"
    assert (np.diff(distances) >= -1e-9).all(), "hits aren't in the order of their distances"
    right = truth.nearest(query, k, allowed)
    return float((own <= right[-1] + margin).sum() / len(ids))
