"""The table of shapes: typical stores, generated from seeds.

A shape defines the features of its records; a step defines those it needs. Everything is made by
numpy and from texts in every Python, so it is the same on any machine.
"""

import ast
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tasks import modules

Floats = NDArray[np.float32]
Metadata = dict[str, Any]

TOPICS = ("rivers", "engines", "birds", "law", "music", "bridges", "salt", "maps", "glass", "tea")
TAGS = ("old", "new", "long", "short", "draft", "final", "secret", "public")


@dataclass(repr=False)  # which tracebacks would take minutes to print
class Records:
    """n records: ids, (n, d) vectors, and n values of each other feature."""

    ids: list[str]
    vectors: Floats
    metadatas: list[Metadata] | None = None
    documents: list[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, first: int, last: int) -> "Records":
        return Records(
            self.ids[first:last],
            self.vectors[first:last],
            self.metadatas and self.metadatas[first:last],
            self.documents and self.documents[first:last],
        )


@dataclass(frozen=True)
class Shape:
    """size: the number of records; keys: how many of `KEYS`, in order; centres: the number of
    clusters; spread: the radius of a cluster, relative to the distance of centres from 0."""

    name: str
    size: int
    dimension: int
    metric: str = "cosine"
    keys: int = 5
    texts: bool = False
    centres: int = 500
    spread: float = 1.0
    vectors: Callable[["Shape", int, np.random.Generator], Floats] | None = None
    has: frozenset[str] = field(default=frozenset())

    @property
    def kinds(self) -> frozenset[str]:
        """The features that steps may need."""
        fields = {"texts": self.texts, "keys": self.keys > 0, "all keys": self.keys >= len(KEYS)}
        return frozenset({kind for kind, holds in fields.items() if holds} | self.has)

    def make(self, size: int, seed: int = 0) -> Records:
        random = np.random.default_rng([seed, size])
        ids = [f"{self.name}-{i:06d}" for i in range(size)]
        metadatas = metadatas_of(size, self.keys, random) if self.keys else None
        if self.texts:
            documents, vectors = passages(
                size, random, f"reference{seed}n" if seed else "reference"
            )
            return Records(ids, vectors, metadatas, documents)
        return Records(ids, clustered(self, size, random), metadatas)


def clustered(shape: Shape, size: int, random: np.random.Generator) -> Floats:
    """Vectors around centres; with a small spread they are nearly the same."""
    centres = random.standard_normal((shape.centres, shape.dimension), dtype=np.float32)
    vectors = random.standard_normal((size, shape.dimension), dtype=np.float32)
    spread = np.float32(shape.spread)
    if shape.spread < 1:  # a half are copies of their centres
        vectors *= spread * random.choice(np.float32([0, 0, 0, 1, 1, 0.1]), (size, 1))
    else:
        vectors *= spread
    vectors += centres[random.integers(0, shape.centres, size)]
    return vectors


# Keys of metadata, of the kinds that filters tell apart: strings of few and of many values, numbers,
# moments as texts, lists, bools, what is nested, and what is of several kinds or missing.
def _topic(n: int, random: np.random.Generator) -> list[Any]:
    weights = np.arange(len(TOPICS), 0, -1.0)
    return random.choice(TOPICS, n, p=weights / weights.sum()).tolist()


def _year(n: int, random: np.random.Generator) -> list[Any]:
    return random.integers(1990, 2026, n).tolist()


def _price(n: int, random: np.random.Generator) -> list[Any]:
    return random.exponential(50, n).round(2).tolist()


def _day(n: int, random: np.random.Generator) -> list[Any]:
    first = date(2020, 1, 1)
    return [str(first + timedelta(days=int(d))) for d in random.integers(0, 2000, n)]


def _tags(n: int, random: np.random.Generator) -> list[Any]:
    counts, drawn = random.integers(0, 4, n), random.integers(0, len(TAGS), (n, 3))
    return [[TAGS[t] for t in row[:c]] for row, c in zip(drawn.tolist(), counts, strict=True)]


def _owner(n: int, random: np.random.Generator) -> list[Any]:
    return [f"user {u}" for u in random.integers(0, max(2, n // 25), n)]


def _source(n: int, random: np.random.Generator) -> list[Any]:
    pages, langs = random.integers(1, 400, n).tolist(), random.integers(0, 3, n).tolist()
    return [{"page": p, "lang": ("en", "de", "fr")[c]} for p, c in zip(pages, langs, strict=True)]


def _note(n: int, random: np.random.Generator) -> list[Any]:
    kinds, numbers = random.integers(0, 6, n).tolist(), random.integers(0, 1000, n).tolist()
    return [
        (number, number / 8, f"note {number}", number % 2 == 0, None, [number, "x"])[kind]
        for kind, number in zip(kinds, numbers, strict=True)
    ]


KEYS = {
    "topic": _topic,
    "year": _year,
    "price": _price,
    "day": _day,
    "tags": _tags,
    "owner": _owner,
    "source": _source,
    "note": _note,
}


def metadatas_of(size: int, keys: int, random: np.random.Generator) -> list[Metadata]:
    columns = {key: make(size, random) for key, make in list(KEYS.items())[:keys]}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for row in rows:
        if row.get("note", 0) is None:
            del row["note"]
    return rows


def passages(size: int, random: np.random.Generator, own: str) -> tuple[list[str], Floats]:
    """Texts of 150 to 300 words: whole paragraphs of real text, then `own` with a number. Their
    vectors are the means of their paragraphs' vectors, weighted by words."""
    texts, lengths, vectors = _paragraphs()
    documents, rows, weights, owners = [], [], [], []
    drawn = random.integers(0, len(texts), size * 40)
    wanted = random.integers(150, 260, size).tolist()
    place = 0
    for i, least in enumerate(wanted):
        words, parts = 0, []
        while words < least:
            one = int(drawn[place % len(drawn)])
            place += 1
            if words + lengths[one] > 300:
                continue
            parts.append(texts[one])
            words += lengths[one]
            rows.append(one)
            weights.append(lengths[one])
            owners.append(i)
        documents.append(f"{chr(10).join(parts)}\n{own}{i:06d}")
    summed = np.zeros((size, vectors.shape[1]), np.float32)
    at = np.searchsorted(owners, np.arange(size))
    for first in range(0, size, 5000):
        last = min(first + 5000, size)
        stop = at[last] if last < size else len(owners)
        own = slice(at[first], stop)
        weighted = vectors[rows[own]] * np.asarray(weights[own], np.float32)[:, None]
        summed[first:last] = np.add.reduceat(weighted, at[first:last] - at[first], axis=0)
    return documents, summed / np.linalg.norm(summed, axis=1, keepdims=True)


@functools.cache
def _paragraphs() -> tuple[list[str], list[int], Floats]:
    """Paragraphs of six to a hundred words of Python's docs, their lengths, and their vectors by
    the default model."""
    from retrieval_store import WordLlamaEmbedding

    found = dict.fromkeys(" ".join(one.split()) for one in _written())
    texts = [one for one in found if 6 <= len(one.split()) <= 100]
    return texts, [len(one.split()) for one in texts], np.asarray(WordLlamaEmbedding()(texts))


def _written() -> Iterator[str]:
    from pydoc_data.topics import topics

    for text in topics.values():
        yield from text.split("\n\n")
    for _, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                yield from (ast.get_docstring(node) or "").split("\n\n")


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("passages", 50_000, 256, keys=8, texts=True),
        Shape("tight", 40_000, 384, metric="l2", keys=5, centres=200, spread=1e-3),
        Shape("wide", 60_000, 768, metric="ip", keys=8),
        Shape("many", 300_000, 384, keys=5),
        Shape("bare", 500_000, 64, metric="l2", keys=0),
        # What Collection has no room for is made by the steps that need it.
        Shape("tokens", 10_000, 16, has=frozenset({"multivectors"})),
        Shape("sparse", 200_000, 16, has=frozenset({"sparse"})),
        Shape("tenants", 100_000, 16, has=frozenset({"tenants"})),
        Shape("folder", 4000, 16, has=frozenset({"folder"})),
        Shape("pictures", 5000, 16, metric="l2", has=frozenset({"pictures"})),
    )
}
