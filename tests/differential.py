"""Holds the answers of one version of the package against those of another.

    python tests/differential.py record FILE [--questions 3000] [--seed 1]
    python tests/differential.py compare FILE

`record` makes stores on disk, in memory and served, writes to them, asks questions of both fronts
that are drawn at random from the seed, and writes each answer as a line of JSON; beside them what
the public names, their parameters and the command line look like. `compare` does the same with
the code that it finds, prints what differs, and exits with 1 if anything does.

Only what the documentation shows is used. Each question is drawn from a generator of its own, so
that an answer that differs doesn't change the questions after it.
"""

import argparse
import asyncio
import dataclasses
import enum
import hashlib
import importlib
import inspect
import json
import logging
import math
import os
import pickle
import random
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("COLUMNS", "100")  # helps are as wide everywhere
import numpy as np

import retrieval_store as rs
import retrieval_store.errors
from retrieval_store import exchange
from retrieval_store.filters import expression as ex
from retrieval_store.qdrant import QdrantClient, explain, models, why
from retrieval_store.server import running

DIGITS, LONGEST, SHOWN = 6, 20_000, 60
Draw = random.Random
Line = dict[str, Any]

# ---- canonical forms

_OWN_UUID = "00000000-0000-4000-8000-"
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_HEX_UUID = re.compile(r"\b[0-9a-f]{32}\b")
_MODULES = re.compile(r"\b(?:retrieval_store|qdrant_client|__main__)(?:\.[a-z_]\w*)*\.(?=\w)")
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_PORT = re.compile(r"(127\.0\.0\.1|localhost):\d+")


class Masked:
    """Texts without what changes from run to run: paths, ids that are drawn, addresses, modules."""

    directory = "/nowhere"

    @classmethod
    def text(cls, text: str) -> str:
        for path in (str(Path(cls.directory).resolve()), cls.directory):
            text = text.replace(path, "<dir>")
        text = _UUID.sub(lambda m: m[0] if m[0].startswith(_OWN_UUID) else "<uuid>", text)
        text = _HEX_UUID.sub("<hex>", text)
        text = _PORT.sub(r"\1:<port>", text)
        return _ADDRESS.sub("<address>", _MODULES.sub("", text))


def number(value: float) -> Any:
    """A float with few digits; as JSON has no infinity, that as a text."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else str(value)


def canonical(value: Any) -> Any:
    """A value as JSON that is the same in each run."""
    match value:
        case None | bool():
            return value
        case enum.Enum():
            return canonical(value.value)
        case int():
            return int(value)
        case float():
            return number(value)
        case str():
            return Masked.text(value)
        case np.ndarray():
            return {"dtype": str(value.dtype), "values": canonical(value.tolist())}
        case np.generic():
            return canonical(value.item())
        case uuid.UUID() | datetime() | date() | Path():
            return Masked.text(str(value))
        case BaseException():
            return failure(value)
        case list() | tuple():
            return [canonical(one) for one in value]
        case set() | frozenset():
            return sorted((canonical(one) for one in value), key=json.dumps)
        case Mapping():
            return {Masked.text(str(key)): canonical(one) for key, one in value.items()}
    name = type(value).__name__
    if hasattr(value, "model_dump"):
        fields = value.model_dump(exclude_none=True)
        for volatile in ("operation_id", "time", "creation_time", "checksum", "size", "name"):
            if name in ("UpdateResult", "SnapshotDescription"):
                fields.pop(volatile, None)
        return {"is": name, **canonical(fields)}
    if dataclasses.is_dataclass(value) or hasattr(type(value), "__dataclass_fields__"):
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        return {"is": name, **canonical(fields)}
    return Masked.text(repr(value))


def failure(error: BaseException) -> Any:
    """An error by its class and what it says."""
    told = [type(error).__name__, Masked.text(str(error))[:600]]
    status = getattr(error, "status_code", None)
    return {"error": told} if status is None else {"error": told, "status": int(status)}


def shortened(answer: Any) -> Any:
    """An answer, or of a long one its beginning and what tells it from others."""
    text = json.dumps(answer, ensure_ascii=False)
    if len(text) <= LONGEST:
        return answer
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return {"blake2b": digest, "length": len(text), "begins": text[:300]}


class Recorder:
    """Asks, and keeps what was answered."""

    def __init__(self, seed: int) -> None:
        self.seed, self.lines, self.questions = seed, [], 0
        self.unused: set[str] = set()

    def draw(self, *of: Any) -> Draw:
        """A generator of random numbers that depends on nothing but its name and the seed."""
        return Draw(f"{self.seed}/{'/'.join(map(str, of))}")

    def ask(self, what: str, call: Callable[[], Any], *, counts: bool = True) -> Any:
        """Call something, and keep what it returns or raises; None where it raises."""
        result = None
        try:
            result = call()
            answer = canonical(result)
        except Exception as error:
            answer = failure(error)
        self.questions += counts
        what = Masked.text(what)
        said = what if len(what) <= 700 else f"{what[:700]}…"
        self.lines.append({"step": len(self.lines), "what": said, "answer": shortened(answer)})
        return result

    def call(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The same of a method, by what it is called with."""
        given = [told(one) for one in args]
        given += [f"{key}={told(one)}" for key, one in kwargs.items()]
        return self.ask(f"{name}({', '.join(given)})", lambda: method(*args, **kwargs))


def told(value: Any) -> str:
    """An argument, shortly."""
    if hasattr(value, "model_dump"):
        return f"{type(value).__name__}{value.model_dump(exclude_none=True)}"
    if isinstance(value, np.ndarray):
        return f"array{value.shape}"
    text = repr(value)
    return text if len(text) < 500 else f"{text[:500]}…"


# ---- what is drawn

WORDS = [
    "cat",
    "dog",
    "house",
    "houses",
    "river",
    "bank",
    "interest",
    "rate",
    "rates",
    "sleeping",
    "sleeps",
    "bark",
    "night",
    "error",
    "pump",
    "door",
    "filter",
    "water",
    "captain",
    "whale",
    "sand",
    "spice",
    "prince",
    "tea",
    "soup",
    "roses",
    "train",
    "coast",
    "knife",
    "onion",
    "bread",
    "flour",
    "salt",
    "green",
    "blue",
    "red",
    "café",
    "naïve",
    "Straße",
    "über",
    "中文",
    "don't",
    "the",
    "a",
    "of",
    "and",
    "is",
    "was",
    "running",
    "runs",
    "ran",
    "quick",
    "brown",
    "fox",
    "jumps",
    "lazy",
    "money",
    "loan",
    "loans",
    "storm",
    "ship",
    "sail",
    "sea",
    "island",
    "E4711",
    "E4712",
    "ZX-81",
    "part_7",
    "v2.0",
    "1984",
    "2001",
    "apples",
    "brick",
    "sky",
    "cold",
    "warm",
    "hot",
    "winter",
    "summer",
    "spring",
    "month",
    "year",
    "weekday",
]
KEYS = ("n", "x", "s", "tags", "b", "when", "o", "o.k", "o.name", "a.b", "odd", "book", "none")
BIG = (2**53, 2**53 + 1, 2**63 - 1, -(2**62), 10**15)


def text_of(draw: Draw, least: int = 3, most: int = 14) -> str:
    count = draw.randint(least, most)
    return " ".join(WORDS[int(len(WORDS) * draw.random() ** 1.7)] for _ in range(count))


def moment(draw: Draw) -> str:
    at = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=draw.randrange(40_000))
    kind = draw.randrange(4)
    if kind == 0:
        return at.date().isoformat()
    return at.isoformat() if kind < 3 else at.replace(tzinfo=None).isoformat()


def place(draw: Draw) -> dict[str, float]:
    return {"lon": round(draw.uniform(-180, 180), 3), "lat": round(draw.uniform(-85, 85), 3)}


def own_uuid(draw: Draw) -> str:
    return f"{_OWN_UUID}{draw.randrange(1000):012x}"


def odd(draw: Draw) -> Any:
    some = [None, True, False, 0, 1, 1.0, -2.5, "1", "", [], {}, [1, "a"], [None], {"k": [1]}]
    return draw.choice([*some, *BIG, moment(draw), "2024-13-01"])


def metadata(draw: Draw, at: int) -> dict[str, Any]:
    """Of a record; each key is missing from some."""
    every = {
        "n": at % 23 if draw.random() < 0.9 else draw.choice((*BIG, None, 3.5)),
        "x": round(draw.gauss(0, 10), 2),
        "s": draw.choice(WORDS[:20]),
        "tags": [draw.choice(WORDS[:12]) for _ in range(draw.randrange(4))],
        "b": draw.random() < 0.5,
        "when": moment(draw),
        "o": {
            "k": draw.randrange(9),
            "name": draw.choice(WORDS[:9]),
            "list": [
                {"a": draw.randrange(5), "b": draw.choice(WORDS[:5])}
                for _ in range(draw.randrange(3))
            ],
        },
        "a.b": draw.randrange(3),
        "odd": odd(draw),
        "book": f"book {at % 37}" if draw.random() < 0.8 else at % 5,
        "geo": place(draw) if draw.random() < 0.8 else [place(draw), place(draw)],
        "u": own_uuid(draw),
        "text": text_of(draw, 1, 6),
    }
    return {key: value for key, value in every.items() if draw.random() < 0.85}


def value_like(draw: Draw, key: str) -> Any:
    """What might stand under a key."""
    match key:
        case "n" | "o.k" | "a.b":
            return draw.choice((draw.randrange(23), draw.randrange(5), float(draw.randrange(9))))
        case "x":
            return round(draw.gauss(0, 10), 1)
        case "when":
            return moment(draw) if draw.random() < 0.8 else datetime.fromisoformat(moment(draw))
        case "b":
            return draw.random() < 0.5
        case "book":
            return f"book {draw.randrange(40)}"
        case "odd" | "none":
            return odd(draw)
    return draw.choice(WORDS[:20])


def condition(draw: Draw, key: str) -> Any:
    """A condition on one key in Chroma's shape."""
    value = value_like(draw, key)
    many = [value_like(draw, key) for _ in range(draw.randint(1, 5))]
    match draw.randrange(13):
        case 0:
            return value
        case 1:
            return {"$eq": value}
        case 2:
            return {"$ne": value}
        case 3:
            return {"$in": many}
        case 4:
            return {"$nin": many}
        case 5 | 6:
            return {draw.choice(("$gt", "$gte", "$lt", "$lte")): value}
        case 7:
            return {"$gte": value, "$lt": value_like(draw, key)}
        case 8:
            return {draw.choice(("$contains", "$not_contains")): draw.choice((value, "cat", 1))}
        case 9:
            return {"$size": draw.randrange(4)}
        case 10:
            return {"$exists": draw.random() < 0.5}
        case 11:
            return {"$not": condition(draw, key)} if draw.random() < 0.7 else {"$not": {"$gt": 3}}
    return draw.choice(({"$has": 1}, {"$in": 3}, {"$gt": [1]}, {}, {"$size": -1}, {"$exists": 1}))


def where(draw: Draw, depth: int = 3) -> Any:
    """A filter on metadata, or now and then an expression or something that is none."""
    kind = draw.random()
    if kind < 0.04:
        return draw.choice(({}, {"$and": []}, {"$or": {}}, "n", {"$xor": [{"n": 1}]}, {"": 1}, [1]))
    if kind < 0.14:
        return expression(draw, depth)
    if depth and kind < 0.5:
        several = [where_dict(draw, depth - 1) for _ in range(draw.randint(1, 3))]
        name = draw.choice(("$and", "$or", "$nor", "$not"))
        return {name: several[0] if name == "$not" else several}
    return where_dict(draw, depth)


def where_dict(draw: Draw, depth: int) -> dict[str, Any]:
    if depth and draw.random() < 0.4:
        several = [where_dict(draw, depth - 1) for _ in range(draw.randint(1, 3))]
        name = draw.choice(("$and", "$or", "$nor", "$not"))
        return {name: several[0] if name == "$not" else several}
    keys = draw.sample(KEYS, 1 if draw.random() < 0.8 else 2)
    return {key: condition(draw, key) for key in keys}


class Leap(ex.ValueLeaf):  # as a user would write one
    """Points whose number is even."""

    def __init__(self, path: tuple[str, ...]) -> None:
        self.path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Leap) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"Leap({self.path})"

    def holds(self, value: Any) -> bool:
        return isinstance(value, int) and value % 2 == 0


def expression(draw: Draw, depth: int) -> Any:
    if depth and draw.random() < 0.5:
        terms = tuple(expression(draw, depth - 1) for _ in range(draw.randint(1, 3)))
        kinds = (ex.And(terms), ex.Or(terms), ex.Not(terms[0]), ex.AtLeast(terms, 2))
        return draw.choice(kinds)
    key = draw.choice(("n", "x", "s", "tags"))
    path, value = (key,), value_like(draw, key)
    low = draw.randrange(20)
    return draw.choice(
        (
            ex.OneOf(path, (value,)),
            ex.ListHas(("tags",), draw.choice(WORDS[:12])),
            ex.HasLength(("tags",), draw.randrange(3)),
            ex.Range(path, gte=low, lt=low + 8),
            ex.TextRange(("s",), "$gte", draw.choice(WORDS[:20])),
            ex.TextIn(("s",), draw.choice("aeiou")),
            ex.Exists(("o", "k")),
            ex.HasId((f"p{low}", f"p{low + 1}", str(low))),
            ex.DocumentContains(draw.choice(WORDS[:20])),
            ex.DocumentMatches(draw.choice(WORDS[:20])),
            Leap(("n",)),
        )
    )


def where_document(draw: Draw, depth: int = 2) -> Any:
    if draw.random() < 0.04:
        return draw.choice(({"$regex": "("}, {"$contains": 1}, {}, {"$like": "a"}, "cat"))
    if depth and draw.random() < 0.35:
        several = [where_document(draw, depth - 1) for _ in range(draw.randint(1, 3))]
        name = draw.choice(("$and", "$or", "$nor", "$not"))
        return {name: several[0] if name == "$not" else several}
    name = draw.choice(("$contains", "$not_contains", "$regex", "$not_regex"))
    word = draw.choice(WORDS)
    if "regex" in name:
        word = draw.choice(
            (rf"\b{re.escape(word)}\b", f"(?i){word[:3]}", "^[a-m]", r"\d{4}", "t.e")
        )
    return {name: word}


def vectors(draw: Draw, count: int, size: int, exact: bool) -> np.ndarray[Any, Any]:
    """Random vectors. exact: of few bits, so that sums of products have no rounding; some are
    copies of others then, whose order is that of insertion."""
    random_numbers = np.random.default_rng(draw.randrange(2**32))
    if not exact:
        return random_numbers.standard_normal((count, size)).astype(np.float32)
    made = random_numbers.integers(-64, 65, (count, size)).astype(np.float32) / 16
    made[17::41] = made[16::41][: len(made[17::41])]
    return made


def sparse(draw: Draw, room: int = 60, most: int = 8) -> dict[str, Any]:
    indices = sorted(draw.sample(range(room), draw.randint(1, most)))
    return {"indices": indices, "values": [draw.randint(1, 40) / 8 for _ in indices]}


class Embedding:
    """Embeds texts by their letters, the same each time."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, input: Iterable[str]) -> list[Any]:
        return [self._one(text) for text in input]

    def embed_query(self, input: Iterable[str]) -> list[Any]:
        return self(input)

    def _one(self, text: str) -> Any:
        total = np.zeros(self.size)
        for word in text.split() or [""]:
            digest = hashlib.blake2b(word.encode(), digest_size=self.size).digest()
            total += np.frombuffer(digest, np.uint8).astype(float) - 127
        return (total / 64).astype(np.float32)


def shortest_first(query: str, documents: Iterable[str]) -> list[float]:
    """A re-ranker."""
    return [-len(one) + 3.0 * (query.split() or [""])[0].count(one[:1]) for one in documents]


# ---- the front in Chroma's shape


@dataclasses.dataclass
class Kind:
    """What a collection is like, and what share of the questions it is asked."""

    name: str
    count: int
    size: int
    space: str
    share: float
    configuration: dict[str, Any] = dataclasses.field(default_factory=dict)
    exact: bool = True
    on_disk: bool = True

    @property
    def sparse(self) -> bool:
        return "sparse" in self.configuration


KINDS = (
    Kind("small", 60, 8, "l2", 0.2, {"sparse": {"idf": False}}, on_disk=False),
    Kind(
        *("middle", 700, 16, "cosine", 0.3),
        {"text": {"language": "english", "stopwords": True}, "sparse": {"idf": True}},
        exact=False,
    ),
    Kind("large", 2600, 32, "ip", 0.25, {"text": {"stopwords": ["the", "don't"]}}),
    Kind("halves", 900, 12, "l2", 0.1, {"vectors": {"datatype": "float16"}, "index": "exact"}),
    Kind("huge", 21_500, 24, "l2", 0.15, {}),
)
INCLUDES = ("documents", "metadatas", "embeddings", "uris")
RESULTS = ("points", "matching", "legs", "alphas")


class Fronts:
    """Asks collections in Chroma's shape."""

    def __init__(self, recorder: Recorder, directory: Path) -> None:
        self.recorder, self.path = recorder, directory / "store"
        self.clients = {True: rs.Client(self.path), False: rs.Client()}
        self.held: dict[str, Any] = {}

    def reopen(self) -> None:
        self.clients[True].close()
        self.clients[True] = rs.Client(self.path)
        self.held.clear()

    def opened(self, kind: Kind) -> Any:
        if kind.name not in self.held:
            function = Embedding(kind.size) if kind.count > 100 else None
            client = self.clients[kind.on_disk]
            self.held[kind.name] = client.get_collection(kind.name, embedding_function=function)
        return self.held[kind.name]

    def make(self, kind: Kind) -> None:
        configuration = {"hnsw": {"space": kind.space}, **kind.configuration}
        client, record = self.clients[kind.on_disk], self.recorder
        draw = record.draw("make", kind.name)
        record.ask(
            f"create {kind.name}",
            lambda: repr(
                client.create_collection(
                    kind.name, configuration, {"made": "here"}, embedding_function=None
                ).configuration
            ),
        )
        collection = self.opened(kind)
        made = vectors(draw, kind.count, kind.size, kind.exact)
        for start in range(0, kind.count, 4_000):
            at = range(start, min(start + 4_000, kind.count))
            ids = [f"p{i}" if i % 5 else str(i) for i in at]
            documents = [None if i % 11 == 3 else text_of(draw) for i in at]
            metadatas = [
                metadata(draw, i) if kind.count < 5_000 or i % 4 == 0 else {"n": i % 23} for i in at
            ]
            uris = [f"file:{i}" if i % 11 == 3 else None for i in at]
            given: dict[str, Any] = {"documents": documents, "metadatas": metadatas, "uris": uris}
            if kind.sparse:
                given["sparse_embeddings"] = [None if i % 7 == 0 else sparse(draw) for i in at]
            record.ask(
                f"{kind.name}.add {at}",
                lambda ids=ids, at=at, given=given: collection.add(
                    ids, made[at.start : at.stop], **given
                ),
            )
        if kind.count > 20_000:
            record.ask(f"{kind.name}.optimize", collection.optimize)

    def run(self, questions: int) -> None:
        for kind in KINDS:
            self.make(kind)
        for kind in KINDS:
            for at in range(round(questions * kind.share)):
                draw = self.recorder.draw(kind.name, at)
                if at and at % 150 == 0:
                    self.reopen()
                if at % 9 == 8:
                    self.write(kind, draw)
                self.question(kind, draw)

    def ids(self, kind: Kind, draw: Draw, most: int = 6) -> list[str]:
        many = [draw.randrange(kind.count + 3) for _ in range(draw.randint(1, most))]
        return list(dict.fromkeys(f"p{i}" if i % 5 else str(i) for i in many))

    def write(self, kind: Kind, draw: Draw) -> None:
        """One of the writes, or one that can't be."""
        collection, name, record = self.opened(kind), kind.name, self.recorder
        ids = self.ids(kind, draw)
        given: dict[str, Any] = {"metadatas": [metadata(draw, draw.randrange(99)) for _ in ids]}
        if draw.random() < 0.7:
            given["documents"] = [text_of(draw) for _ in ids]
        if draw.random() < 0.7 or kind.count <= 100:
            given["embeddings"] = vectors(draw, len(ids), kind.size, kind.exact)
        if kind.sparse and draw.random() < 0.5:
            given["sparse_embeddings"] = [sparse(draw) for _ in ids]
        match draw.randrange(12):
            case 0:
                record.call(f"{name}.add", collection.add, ids, **given)
            case 1 | 2:
                record.call(f"{name}.upsert", collection.upsert, ids, **given)
            case 3:
                record.call(f"{name}.upsert", collection.upsert, ids, **given, replace=True)
            case 4:
                given["replace_metadata"] = True
                record.call(f"{name}.upsert", collection.upsert, ids, **given)
            case 5 | 6:
                record.call(f"{name}.update", collection.update, ids, **given)
            case 7:
                record.call(f"{name}.delete", collection.delete, ids[:2])
            case 8:
                document = where_document(draw)
                record.call(
                    *(f"{name}.delete", collection.delete),
                    where={"n": draw.randrange(23)},
                    where_document=document,
                    limit=draw.choice((1, 2, 3)),
                )
            case 9:
                records = [
                    {"id": one, "embedding": [1.0] * kind.size, "metadata": {"n": 1}} for one in ids
                ]
                record.call(f"{name}.add_from", collection.add_from, records, 2, upsert=True)
            case 10:
                self.bad_write(kind, draw, ids)
            case 11:
                setting = draw.choice(
                    (
                        {"configuration": {"text": {"stopwords": ["cat", "dog"]}}},
                        {"configuration": {"hnsw": {"ef_search": draw.choice((50, 140))}}},
                        {"configuration": {"hnsw": {"space": "cosine"}}},
                        {"metadata": {"note": draw.randrange(9)}},
                        {"configuration": {"colour": 1}},
                        {"name": "x"},
                    )
                )
                record.call(f"{name}.modify", collection.modify, **setting)
                record.ask(
                    f"{name} settings", lambda: [collection.metadata, collection.configuration]
                )
        record.call(f"{name}.count", collection.count)

    def bad_write(self, kind: Kind, draw: Draw, ids: list[str]) -> None:
        collection = self.opened(kind)
        wide = [[0.5] * (kind.size + 1)]
        bad: list[dict[str, Any]] = [
            {"ids": ids, "embeddings": wide * len(ids)},
            {"ids": ["p1", "p1"], "embeddings": [[0.0] * kind.size] * 2},
            {"ids": "new", "embeddings": [[math.nan] * kind.size]},
            {"ids": "new", "embeddings": [[1.0] * kind.size], "metadatas": {"$bad": 1}},
            {"ids": "new", "embeddings": [[1.0] * kind.size], "metadatas": {"a": object}},
            {"ids": "new", "embeddings": [[1.0] * kind.size], "metadatas": [{}, {}]},
            {"ids": "", "embeddings": [[1.0] * kind.size]},
            {"ids": [3], "embeddings": [[1.0] * kind.size]},
            {"ids": "new"},
            {"ids": [], "embeddings": []},
            {"ids": "new", "embeddings": "abc"},
            {
                "ids": "new",
                "embeddings": [[1.0] * kind.size],
                "sparse_embeddings": {"indices": [1]},
            },
            {"ids": "new", "vectors": [[1.0] * kind.size]},
        ]
        method = draw.choice(("add", "upsert", "update"))
        self.recorder.call(f"{kind.name}.{method}", getattr(collection, method), **draw.choice(bad))

    def question(self, kind: Kind, draw: Draw) -> None:
        collection, name, record = self.opened(kind), kind.name, self.recorder
        which = draw.random()
        if which < 0.12:
            filters = self.filters(draw)
            record.call(f"{name}.count", collection.count, **filters)
        elif which < 0.3:
            record.call(f"{name}.get", collection.get, **self.getting(kind, draw))
        elif which < 0.72:
            record.call(f"{name}.query", collection.query, **self.querying(kind, draw))
        elif which < 0.79:
            asked = self.querying(kind, draw)
            record.ask(f"{name}.explain({told(asked)})", lambda: self.explained(collection, asked))
        elif which < 0.86:
            asked = self.querying(kind, draw, several=False)
            asked.pop("include", None)
            named: dict[str, Any] = {"records": self.ids(kind, draw, 3)}
            if draw.random() < 0.3:
                named = {"containing": draw.choice(WORDS)}
            if draw.random() < 0.3:
                named["same"] = draw.choice(("book", "n"))
            record.ask(
                f"{name}.why({told(asked)}, {told(named)})",
                lambda: self.reasons(collection.why(**asked, **named)),
            )
        elif which < 0.96:
            search = self.searching(kind, draw)
            record.ask(f"{name}.search({told(search)})", lambda: collection.search(search))
        else:
            self.odd_question(kind, draw)

    @staticmethod
    def reasons(found: Any) -> Any:
        return [str(found), [canonical(one) for one in found]]

    @staticmethod
    def explained(collection: Any, asked: dict[str, Any]) -> Any:
        found = collection.explain(**asked)
        return {key: found.get(key) for key in (*RESULTS, "reranked")}

    def filters(self, draw: Draw) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if draw.random() < 0.6:
            given["where"] = where(draw)
        if draw.random() < 0.35:
            given["where_document"] = where_document(draw)
        return given

    def getting(self, kind: Kind, draw: Draw) -> dict[str, Any]:
        asked = self.filters(draw)
        if draw.random() < 0.25:
            asked["ids"] = draw.choice((self.ids(kind, draw, 12), "p1", [], [1]))
        if draw.random() < 0.85:
            asked["limit"] = draw.choice((0, 1, 5, 20, -1) if draw.random() < 0.2 else (5, 10, 20))
        if draw.random() < 0.4:
            asked["offset"] = draw.choice((0, 3, 25, 3_000, 1.5))
        if draw.random() < 0.3:
            asked["order_by"] = draw.choice(("n", "x", "when", "s", "odd", "b", "", "o"))
            asked["descending"] = draw.random() < 0.5
        if draw.random() < 0.4:
            asked["include"] = draw.sample(INCLUDES, draw.randrange(4))
        elif draw.random() < 0.1:
            asked["include"] = draw.choice(
                (["sparse_embeddings"], ["distances"], "documents", ["data"])
            )
        if "limit" not in asked and "ids" not in asked:
            asked["include"] = []
        return asked

    def querying(self, kind: Kind, draw: Draw, several: bool = True) -> dict[str, Any]:
        asked: dict[str, Any] = self.filters(draw) if draw.random() < 0.6 else {}
        count = draw.choice((1, 1, 2, 3)) if several else 1
        made = vectors(draw, count, kind.size, kind.exact)
        texts = [text_of(draw, 1, 5) for _ in range(count)]
        asked["n_results"] = draw.choice((1, 3, 10, 25))
        mode = draw.choice(("dense", "dense", "dense", "text", "hybrid", "hybrid", "sparse"))
        if mode != "dense":
            asked["mode"] = mode
        if mode == "sparse":
            asked["query_sparse"] = [sparse(draw) for _ in range(count)]
        elif mode == "dense" and draw.random() < 0.2:
            named = self.ids(kind, draw, 3)
            asked["like"] = named
            if draw.random() < 0.5:
                asked["unlike"] = self.ids(kind, draw, 2)
        elif mode == "dense":
            if draw.random() < 0.8:
                asked["query_embeddings"] = made if draw.random() < 0.7 else made.tolist()
            else:
                asked["query_texts"] = texts
        else:
            asked["query_texts"] = texts
            if mode == "hybrid" and draw.random() < 0.7:
                asked["query_embeddings"] = made
            if mode == "hybrid" and kind.sparse and draw.random() < 0.4:
                asked["query_sparse"] = [sparse(draw) for _ in range(count)]
        if mode == "hybrid":
            if draw.random() < 0.4:
                asked["alpha"] = draw.choice((0, 0.2, 0.5, 0.9, 1))
            if draw.random() < 0.5:
                asked["fusion"] = draw.choice(("rrf", "weighted", "adaptive"))
            if draw.random() < 0.2:
                asked["depth"] = draw.choice(((5, 5), (50, 20), (3,)))
        if draw.random() < 0.15:
            asked["offset"] = draw.choice((1, 10, 70))
        if draw.random() < 0.15:
            name, value = ("max_distance", 40) if mode == "dense" else ("min_score", 0.4)
            asked[name] = value * draw.choice((0.1, 1, 2))
        if draw.random() < 0.15:
            asked["group_by"] = draw.choice(("book", "n", "tags", "o", "none"))
            asked["group_size"] = draw.choice((1, 2, 3))
        if draw.random() < 0.1:
            asked["ids"] = self.ids(kind, draw, 30)
        if draw.random() < 0.1:
            asked["exact"] = True
        if draw.random() < 0.06:
            asked["rerank"] = shortest_first
            asked["rerank_from"] = draw.choice((5, 20))
            asked["rerank_query"] = texts[0] if count == 1 else texts
        if draw.random() < 0.4:
            asked["include"] = draw.sample((*INCLUDES, "distances"), draw.randrange(5))
        if draw.random() < 0.05:
            asked.update(
                draw.choice(
                    (
                        {"top_k": 3},
                        {"filter": {}},
                        {"n_results": 0},
                        {"n_results": "3"},
                        {"mode": "words"},
                        {"fusion": "max"},
                        {"alpha": 2},
                        {"ef": 0},
                        {"query_images": ["a"]},
                        {"include": ["everything"]},
                        {"min_score": "1"},
                        {"max_distance": math.nan},
                        {"group_size": 2},
                        {"query_embeddings": [[1.0]]},
                        {"query_texts": []},
                        {"rerank_from": 3},
                    )
                )
            )
        return asked

    def searching(self, kind: Kind, draw: Draw) -> Any:
        """Searches as Chroma writes them."""

        def knn() -> Any:
            if kind.sparse and draw.random() < 0.3:
                query, key = sparse(draw), "sparse_embedding"
            else:
                query, key = vectors(draw, 1, kind.size, kind.exact)[0].tolist(), rs.K.EMBEDDING
            default = draw.choice((None, 5.0))
            return rs.Knn(query, key, draw.choice((5, 16, 40)), default, draw.random() < 0.3)

        rank: Any = None
        match draw.randrange(8):
            case 0 | 1:
                rank = knn()
            case 2:
                ranks = [rs.Knn(knn().to_dict()["$knn"]["query"], return_rank=True, limit=30)] * 2
                rank = rs.Rrf(ranks, k=draw.choice((10, 60)), weights=[1.0, 2.0], normalize=True)
            case 3:
                rank = knn() * 2 + knn() / 3 - 1
            case 4:
                rank = (knn().exp() + rs.Val(2)).log().max(0.5)
            case 5:
                rank = abs(-knn()).min(rs.Val(7)) * 0.5
            case 6:
                rank = draw.choice((rs.Val(1), {"$knn": {}}, {"$what": 1}))
        condition = None
        if draw.random() < 0.5:
            key = rs.K(draw.choice(("n", "x")))
            condition = draw.choice(
                (
                    (key > 3) & (rs.K("s") != "cat"),
                    (key <= 4) | (rs.K.DOCUMENT.contains("cat")),
                    rs.K("s").is_in(["dog", "cat"]) & key.not_in([3]),
                    rs.K.ID.is_in(self.ids(kind, draw)),
                    rs.K.DOCUMENT.regex("^[a-m]") | rs.K("tags").contains("cat"),
                    {"n": {"$gte": 3}},
                    rs.K.DOCUMENT.not_contains("dog") & (rs.K("b") == True),  # noqa: E712
                )
            )
        group = None
        if draw.random() < 0.25:
            best = draw.choice((rs.MinK, rs.MaxK))(draw.choice((rs.K.SCORE, rs.K("x"))), 2)
            group = rs.GroupBy(draw.choice((rs.K("book"), ["n", "b"])), best)
        some = (rs.K.DOCUMENT, rs.K.SCORE, "n", "s", rs.K.METADATA, rs.K.EMBEDDING)
        select = draw.sample(some, draw.randrange(5))
        search = rs.Search(
            condition, rank, group, rs.Limit(draw.randrange(3), draw.choice((3, 10))), select
        )
        return [search, rs.Search().rank(knn()).limit(3)] if draw.random() < 0.2 else search

    def odd_question(self, kind: Kind, draw: Draw) -> None:
        collection, name, record = self.opened(kind), kind.name, self.recorder
        match draw.randrange(8):
            case 0:
                record.call(f"{name}.peek", collection.peek, draw.randint(1, 4))
            case 1:
                batch = draw.choice((7, 5_000))
                record.ask(
                    f"{name}.iterate {batch}",
                    lambda: list(collection.iterate(batch, where={"n": {"$lt": 2}}))[:60],
                )
            case 2:
                record.ask(f"{name}.stats", lambda: collection.stats()["points"])
            case 3:
                keys = draw.sample(("n", "s", "x"), 2)
                record.ask(
                    f"{name}.warm {keys}",
                    lambda: (
                        (warmed := collection.warm(keys, True)) and [warmed["points"], [*warmed]]
                    ),
                )
            case 4:
                record.ask(
                    f"{name} has", lambda: ["p1" in collection, 3 in collection, bool(collection)]
                )
            case 5:
                table = rs.to_pandas(collection.get(limit=9), expand=True)
                record.ask(f"{name} as a table", lambda: table.to_csv())
            case 6:
                record.ask(f"{name} pickled", lambda: pickle.dumps(collection))
            case 7:
                record.ask(f"{name} shown", lambda: [repr(collection), collection._repr_html_()])


# ---- the front in Qdrant's shape

m = models
PLAIN, NAMED, LARGE, STRICT = "plain", "named", "large", "strict"
SIZES = {PLAIN: 300, NAMED: 1200, LARGE: 2600, STRICT: 200}
SHARES = {PLAIN: 0.25, NAMED: 0.45, LARGE: 0.2, STRICT: 0.1}
FIELDS = (
    "n",
    "x",
    "s",
    "tags",
    "b",
    "when",
    "o.k",
    "o.list[].a",
    "odd",
    "geo",
    "u",
    "text",
    "none",
)
INDEXES: dict[str, Any] = {
    "n": m.IntegerIndexParams(type="integer", lookup=True, range=True),
    "x": "float",
    "s": m.KeywordIndexParams(type="keyword"),
    "tags": "keyword",
    "b": "bool",
    "when": "datetime",
    "o.k": "integer",
    "o.list[].a": "integer",
    "geo": "geo",
    "u": "uuid",
    "text": m.TextIndexParams(
        type="text", tokenizer=m.TokenizerType.WORD, lowercase=True, phrase_matching=True
    ),
    "book": "keyword",
}
SPACES = {"": 8, "dense": 16, "multi": 6, "half": 8, "bytes": 5, "large": 32}


def filtered(draw: Draw, depth: int = 2) -> Any:
    """A filter of Qdrant's."""
    parts: dict[str, Any] = {}
    for name in ("must", "should", "must_not"):
        if draw.random() < 0.45:
            parts[name] = [clause(draw, depth) for _ in range(draw.randint(1, 2))]
    if draw.random() < 0.12:
        clauses = [clause(draw, depth) for _ in range(3)]
        parts["min_should"] = m.MinShould(conditions=clauses, min_count=draw.choice((1, 2)))
    return m.Filter(**parts)


def bounds(draw: Draw, values: Callable[[], Any]) -> dict[str, Any]:
    return {
        name: values() for name in draw.sample(("gt", "gte", "lt", "lte"), draw.choice((1, 1, 2)))
    }


def clause(draw: Draw, depth: int) -> Any:
    if depth and draw.random() < 0.15:
        return filtered(draw, depth - 1)
    key = draw.choice(FIELDS)
    match draw.randrange(18):
        case 0:
            return m.HasIdCondition(
                has_id=[draw.randrange(300) for _ in range(20)] + [own_uuid(draw)]
            )
        case 1:
            return m.HasVectorCondition(
                has_vector=draw.choice(("", "dense", "multi", "words", "what"))
            )
        case 2:
            inner = m.Filter(
                must=[m.FieldCondition(key="a", match=m.MatchValue(value=draw.randrange(5)))],
                must_not=[
                    m.FieldCondition(key="b", match=m.MatchValue(value=draw.choice(WORDS[:5])))
                ],
            )
            nested = m.Nested(key=draw.choice(("o.list", "o.list[]", "tags")), filter=inner)
            return m.NestedCondition(nested=nested)
        case 3:
            return m.IsEmptyCondition(is_empty=m.PayloadField(key=key))
        case 4:
            return m.IsNullCondition(is_null=m.PayloadField(key=key))
        case 5:
            return m.FieldCondition(
                key=key, values_count=m.ValuesCount(**bounds(draw, lambda: draw.randrange(4)))
            )
        case 6:
            corner = place(draw)
            top = {"lon": corner["lon"], "lat": corner["lat"] + 30}
            other = {"lon": (corner["lon"] + 90 + 180) % 360 - 180, "lat": corner["lat"] - 30}
            box = m.GeoBoundingBox(top_left=m.GeoPoint(**top), bottom_right=m.GeoPoint(**other))
            return m.FieldCondition(key="geo", geo_bounding_box=box)
        case 7:
            circle = m.GeoRadius(center=m.GeoPoint(**place(draw)), radius=draw.uniform(1e5, 8e6))
            return m.FieldCondition(key="geo", geo_radius=circle)
        case 8:
            ring = [(-60.0, -40.0), (70.0, -50.0), (draw.uniform(10, 90), 60.0), (-60.0, -40.0)]
            points = [
                m.GeoPoint(lon=lon, lat=lat) for lon, lat in ring[: draw.choice((4, 4, 4, 3))]
            ]
            line = m.GeoLineString(points=points)
            return m.FieldCondition(key="geo", geo_polygon=m.GeoPolygon(exterior=line))
        case 9:
            key = draw.choice(("text", "s"))
            words = text_of(draw, 1, 2)
            match = draw.choice(
                (
                    m.MatchText(text=words),
                    m.MatchPhrase(phrase=words),
                    m.MatchTextAny(text_any=words),
                )
            )
            return m.FieldCondition(key=key, match=match)
        case 10:
            return m.FieldCondition(
                key="when", range=m.DatetimeRange(**bounds(draw, lambda: moment(draw)))
            )
        case 11 | 12:
            key = draw.choice(("n", "x", "o.k", "o.list[].a", "odd", "s"))
            return m.FieldCondition(
                key=key, range=m.Range(**bounds(draw, lambda: draw.randrange(-9, 23)))
            )
        case 13:
            many = [draw.choice(WORDS[:20]) for _ in range(3)]
            numbers = [draw.randrange(23) for _ in range(3)]
            key, values = draw.choice((("s", many), ("tags", many), ("n", numbers), ("x", numbers)))
            match = draw.choice((m.MatchAny(any=values), m.MatchExcept(**{"except": values})))
            return m.FieldCondition(key=key, match=match)
        case 14:
            return m.FieldCondition(key="u", match=m.MatchValue(value=own_uuid(draw)))
        case 15:
            return m.FieldCondition(key="s", match=m.MatchPrefix(prefix=draw.choice(WORDS)[:2]))
    value = value_like(draw, key)
    if not isinstance(value, bool | int | str):
        value = draw.randrange(9)
    return m.FieldCondition(key=key, match=m.MatchValue(value=value))


def formula(draw: Draw, depth: int = 2) -> Any:
    key = draw.choice(("n", "x", "$score", "$score", "o.k", "$score[1]", "s"))
    if not depth:
        return draw.choice((key, 1.5, 2.0, clause(draw, 0)))
    some = [formula(draw, depth - 1) for _ in range(2)]
    decay = m.DecayParamsExpression(x="n", target=5.0, scale=draw.choice((1.0, 4.0)), midpoint=0.5)
    origin = m.GeoPoint(lon=5, lat=5)
    distance = m.GeoDistance(geo_distance=m.GeoDistanceParams(origin=origin, to="geo"))
    by_zero = draw.choice((None, 1.0))
    return draw.choice(
        (
            m.SumExpression(sum=some),
            m.MultExpression(mult=some),
            m.NegExpression(neg=some[0]),
            m.AbsExpression(abs=some[0]),
            m.DivExpression(div=m.DivParams(left=some[0], right=some[1], by_zero_default=by_zero)),
            m.SqrtExpression(sqrt=m.AbsExpression(abs=some[0])),
            m.PowExpression(pow=m.PowParams(base=m.AbsExpression(abs=some[0]), exponent=0.5)),
            m.ExpExpression(exp=m.DivExpression(div=m.DivParams(left=some[0], right=100.0))),
            m.Log10Expression(log10=m.SumExpression(sum=[m.AbsExpression(abs=some[0]), 1.0])),
            m.LnExpression(ln=m.SumExpression(sum=[m.AbsExpression(abs=some[0]), 1.0])),
            m.LnExpression(ln=some[0]),
            m.ExpDecayExpression(exp_decay=decay),
            m.GaussDecayExpression(gauss_decay=decay),
            m.LinDecayExpression(lin_decay=decay),
            distance,
            m.DatetimeKeyExpression(datetime_key="when"),
            m.DatetimeExpression(datetime="2021-05-01T00:00:00Z"),
        )
    )


class Qdrants:
    """Asks collections in Qdrant's shape."""

    def __init__(self, recorder: Recorder, directory: Path) -> None:
        self.recorder, self.path = recorder, directory / "qdrant"
        self.stores = {True: QdrantClient(path=str(self.path)), False: QdrantClient(":memory:")}

    def client(self, name: str) -> QdrantClient:
        return self.stores[name in (NAMED, LARGE)]

    def reopen(self) -> None:
        self.stores[True].close()
        self.stores[True] = QdrantClient(path=str(self.path))

    def config(self, name: str) -> dict[str, Any]:
        match name:
            case "plain":
                return {"vectors_config": m.VectorParams(size=8, distance=m.Distance.EUCLID)}
            case "large":
                params = m.VectorParams(size=32, distance=m.Distance.DOT)
                return {"vectors_config": {"large": params}}
            case "strict":
                strict = m.StrictModeConfig(
                    enabled=True,
                    max_query_limit=20,
                    unindexed_filtering_retrieve=False,
                    unindexed_filtering_update=False,
                    upsert_max_batchsize=50,
                    search_max_batchsize=2,
                    filter_max_conditions=3,
                    condition_max_size=10,
                    search_allow_exact=False,
                )
                return {
                    "vectors_config": m.VectorParams(size=8, distance=m.Distance.MANHATTAN),
                    "strict_mode_config": strict,
                }
        max_sim = m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM)
        return {
            "vectors_config": {
                "dense": m.VectorParams(size=16, distance=m.Distance.COSINE),
                "multi": m.VectorParams(
                    size=6, distance=m.Distance.DOT, multivector_config=max_sim
                ),
                "half": m.VectorParams(size=8, distance=m.Distance.DOT, datatype="float16"),
                "bytes": m.VectorParams(size=5, distance=m.Distance.EUCLID, datatype="uint8"),
            },
            "sparse_vectors_config": {
                "words": m.SparseVectorParams(modifier=m.Modifier.IDF),
                "plain": m.SparseVectorParams(),
            },
        }

    def spaces(self, name: str) -> tuple[str, ...]:
        every = ("dense", "dense", "multi", "half", "bytes", "words", "plain")
        return every if name == NAMED else ("large",) if name == LARGE else ("",)

    def vector(self, draw: Draw, space: str) -> Any:
        if space in ("words", "plain"):
            return m.SparseVector(**sparse(draw))
        size = SPACES[space]
        if space == "multi":
            return vectors(draw, draw.randint(1, 4), size, True).tolist()
        made = vectors(draw, 1, size, space != "dense")[0]
        if space == "bytes":
            return (abs(made) * 30).astype(int).tolist()
        return [round(float(one), 4) for one in made]

    def point(self, name: str, draw: Draw, at: int) -> Any:
        point_id = f"{_OWN_UUID}{at:012x}" if at % 10 == 7 else at
        every = dict.fromkeys(self.spaces(name))
        vector = {space: self.vector(draw, space) for space in every if draw.random() < 0.93}
        given = vector.get("", self.vector(draw, "")) if "" in every else vector
        return m.PointStruct(id=point_id, vector=given, payload=metadata(draw, at))

    def make(self, name: str) -> None:
        client, record = self.client(name), self.recorder
        draw = record.draw("qdrant", name)
        record.ask(f"create {name}", lambda: client.create_collection(name, **self.config(name)))
        points = [self.point(name, draw, at) for at in range(SIZES[name])]
        size = 500 if name != STRICT else 40
        for start in range(0, len(points), size):
            record.ask(
                f"{name}.upsert {start}",
                lambda start=start: client.upsert(name, points[start : start + size]),
            )
        if name in (NAMED, LARGE):
            for key, schema in INDEXES.items():
                if name == NAMED or key in ("n", "s", "book"):
                    record.call(
                        f"{name}.create_payload_index",
                        client.create_payload_index,
                        name,
                        key,
                        schema,
                    )
        if name == STRICT:
            record.call(
                f"{name}.create_payload_index", client.create_payload_index, name, "n", "integer"
            )
        record.ask(f"{name} info", lambda: client.get_collection(name))

    def run(self, questions: int) -> None:
        for name in SIZES:
            self.make(name)
        for name, share in SHARES.items():
            for at in range(round(questions * share)):
                draw = self.recorder.draw("q", name, at)
                if at and at % 150 == 0:
                    self.reopen()
                if at % 9 == 8:
                    self.write(name, draw)
                self.question(name, draw)
        self.snapshots()

    def selector(self, name: str, draw: Draw) -> Any:
        if draw.random() < 0.3:
            return m.Filter(
                must=[m.FieldCondition(key="n", match=m.MatchValue(value=draw.randrange(23)))]
            )
        return [self.point_id(name, draw) for _ in range(draw.randint(1, 4))]

    def point_id(self, name: str, draw: Draw) -> Any:
        at = draw.randrange(SIZES[name])
        return f"{_OWN_UUID}{at:012x}" if at % 10 == 7 else at

    def write(self, name: str, draw: Draw) -> None:
        client, record = self.client(name), self.recorder
        one, at = self.point_id(name, draw), draw.randrange(SIZES[name] + 20)
        few = metadata(draw, at)
        space = draw.choice(self.spaces(name))
        vector = self.vector(draw, space)
        match draw.randrange(14):
            case 0:
                points = [self.point(name, draw, at), self.point(name, draw, at + 1)]
                record.call(f"{name}.upsert", client.upsert, name, points)
            case 1:
                record.call(
                    *(f"{name}.upsert", client.upsert, name, [self.point(name, draw, at)]),
                    update_filter=filtered(draw),
                    update_mode=draw.choice(
                        (None, m.UpdateMode.INSERT_ONLY, m.UpdateMode.UPDATE_ONLY)
                    ),
                )
            case 2 | 3:
                key = draw.choice((None, None, "o", "o.deep.er", "tags[0]"))
                record.call(
                    f"{name}.set_payload",
                    client.set_payload,
                    name,
                    few,
                    self.selector(name, draw),
                    key,
                )
            case 4:
                record.call(f"{name}.overwrite_payload", client.overwrite_payload, name, few, [one])
            case 5:
                keys = draw.sample(("n", "o.k", "o.list[].a", "tags", "none"), 2)
                record.call(
                    f"{name}.delete_payload",
                    client.delete_payload,
                    name,
                    keys,
                    self.selector(name, draw),
                )
            case 6:
                record.call(f"{name}.clear_payload", client.clear_payload, name, [one])
            case 7:
                record.call(f"{name}.delete", client.delete, name, [one])
            case 8:
                given = vector if not space else {space: vector}
                points = [m.PointVectors(id=one, vector=given)]
                record.call(f"{name}.update_vectors", client.update_vectors, name, points)
            case 9:
                record.call(f"{name}.delete_vectors", client.delete_vectors, name, [space], [one])
            case 10:
                operations = [
                    m.UpsertOperation(upsert=m.PointsList(points=[self.point(name, draw, at)])),
                    m.SetPayloadOperation(set_payload=m.SetPayload(payload=few, points=[at])),
                    m.DeletePayloadOperation(
                        delete_payload=m.DeletePayload(keys=["x"], points=[at])
                    ),
                    m.OverwritePayloadOperation(
                        overwrite_payload=m.SetPayload(payload=few, points=[one])
                    ),
                    m.DeleteOperation(delete=m.PointIdsList(points=[one])),
                ]
                some = draw.sample(operations, 3)
                record.call(f"{name}.batch_update_points", client.batch_update_points, name, some)
            case 11:
                key = draw.choice(("x", "s", "text", "geo", "none", "o.k"))
                schema = draw.choice((INDEXES.get(key, "keyword"), "keyword", "text", "float"))
                if draw.random() < 0.4:
                    record.call(
                        f"{name}.delete_payload_index", client.delete_payload_index, name, key
                    )
                else:
                    record.call(
                        f"{name}.create_payload_index",
                        client.create_payload_index,
                        name,
                        key,
                        schema,
                    )
            case 12:
                self.bad_write(name, draw)
            case 13:
                change = draw.choice(
                    (
                        {"metadata": {"note": draw.randrange(5)}},
                        {"optimizers_config": m.OptimizersConfigDiff(indexing_threshold=5)},
                        {"vectors_config": {"what": m.VectorParamsDiff()}},
                    )
                )
                record.call(f"{name}.update_collection", client.update_collection, name, **change)
                alias = m.CreateAlias(
                    collection_name=name, alias_name=draw.choice(("a", "b", name))
                )
                operations = [m.CreateAliasOperation(create_alias=alias)]
                record.call("aliases", client.update_collection_aliases, operations)
                record.ask("aliases", lambda: client.get_aliases())
        record.ask(f"{name} count", lambda: client.count(name))

    def bad_write(self, name: str, draw: Draw) -> None:
        client = self.client(name)
        space = self.spaces(name)[0]
        wrong: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
            ("upsert", client.upsert, (name, [m.PointStruct(id=1, vector={space: [1.0]})])),
            ("upsert", client.upsert, (name, [m.PointStruct(id=1, vector={"what": [1.0]})])),
            ("upsert", client.upsert, (name, [m.PointStruct(id="no uuid", vector={})])),
            ("upsert", client.upsert, (name, [m.PointStruct(id=-1, vector={})])),
            ("upsert", client.upsert, (name, [])),
            ("delete", client.delete, (name, [])),
            ("upsert", client.upsert, ("missing", [m.PointStruct(id=1, vector={})])),
            ("set_payload", client.set_payload, (name, {"a": 1}, [10**6])),
            (
                "create_collection",
                client.create_collection,
                (name, m.VectorParams(size=1, distance="Dot")),
            ),
            ("create_payload_index", client.create_payload_index, (name, "a b[", "keyword")),
            ("delete_vectors", client.delete_vectors, (name, ["what"], [1])),
            ("create_vector_name", client.create_vector_name, (name, space, None)),
        ]
        what, method, args = draw.choice(wrong)
        self.recorder.call(f"{name}.{what}", method, *args)

    def query(self, name: str, draw: Draw, space: str, fused: bool = False) -> Any:
        """A query of one of the kinds."""

        def given() -> Any:
            return self.vector(draw, space) if draw.random() < 0.5 else self.point_id(name, draw)

        def pair() -> Any:
            return m.ContextPair(positive=given(), negative=given())

        if fused:
            return draw.choice(
                (
                    m.FusionQuery(fusion=m.Fusion.RRF),
                    m.FusionQuery(fusion=m.Fusion.DBSF),
                    m.RrfQuery(rrf=m.Rrf(k=draw.choice((2, 60)))),
                    m.RrfQuery(rrf=m.Rrf(k=10, weights=[1.0, 3.0])),
                    m.FormulaQuery(formula=formula(draw), defaults={"n": 1, "x": 0.5, "o.k": 2}),
                    m.FormulaQuery(formula=formula(draw)),
                    m.NearestQuery(nearest=self.vector(draw, space)),
                )
            )
        match draw.randrange(12):
            case 0 | 1 | 2:
                return self.vector(draw, space)
            case 3:
                return self.point_id(name, draw)
            case 4 | 5:
                strategy = draw.choice((None, *m.RecommendStrategy))
                positive = [given() for _ in range(draw.randrange(3))]
                negative = [given() for _ in range(draw.randrange(2))]
                recommended = m.RecommendInput(
                    positive=positive, negative=negative, strategy=strategy
                )
                return m.RecommendQuery(recommend=recommended)
            case 6:
                pairs = [pair() for _ in range(draw.randint(1, 2))]
                return m.DiscoverQuery(discover=m.DiscoverInput(target=given(), context=pairs))
            case 7:
                return m.ContextQuery(context=[pair() for _ in range(draw.randint(1, 3))])
            case 8:
                key = draw.choice(("n", "x", "when", "s", "o.k"))
                start = draw.choice((None, None, 5))
                direction = draw.choice((None, "asc", "desc"))
                order = m.OrderBy(key=key, direction=direction, start_from=start)
                return m.OrderByQuery(order_by=order)
            case 9:
                diversity = draw.choice((None, 0.3, 0.9))
                mmr = m.Mmr(diversity=diversity, candidates_limit=draw.choice((None, 20)))
                return m.NearestQuery(nearest=self.vector(draw, space), mmr=mmr)
            case 10:
                items = [
                    m.FeedbackItem(example=given(), score=draw.choice((0.1, 0.9))) for _ in range(3)
                ]
                naive = m.NaiveFeedbackStrategy(
                    naive=m.NaiveFeedbackStrategyParams(a=1.0, b=0.5, c=0.2)
                )
                asked = m.RelevanceFeedbackInput(target=given(), feedback=items, strategy=naive)
                return m.RelevanceFeedbackQuery(relevance_feedback=asked)
        return None

    def prefetch(self, name: str, draw: Draw, depth: int) -> Any:
        space = draw.choice(self.spaces(name))
        inner = (
            [self.prefetch(name, draw, depth - 1) for _ in range(2)]
            if depth and draw.random() < 0.3
            else None
        )
        return m.Prefetch(
            query=self.query(name, draw, space, fused=inner is not None),
            using=space or None,
            prefetch=inner,
            filter=filtered(draw) if draw.random() < 0.3 else None,
            limit=draw.choice((3, 10, 40)),
            score_threshold=draw.choice((None, None, None, -50.0)),
        )

    def asking(self, name: str, draw: Draw) -> dict[str, Any]:
        space = draw.choice(self.spaces(name))
        asked: dict[str, Any] = {"using": space or None, "limit": draw.choice((1, 5, 10, 30))}
        if draw.random() < 0.3:
            number = draw.choice((1, 2, 2, 3))
            asked["prefetch"] = [self.prefetch(name, draw, 2) for _ in range(number)]
            asked["query"] = self.query(name, draw, space, fused=True)
        else:
            asked["query"] = self.query(name, draw, space)
        if draw.random() < 0.4:
            asked["query_filter"] = filtered(draw)
        if draw.random() < 0.15:
            asked["offset"] = draw.choice((1, 5, 50))
        if draw.random() < 0.15:
            asked["score_threshold"] = draw.choice((-20.0, 0.2, 5.0, 9.0))
        if draw.random() < 0.4:
            asked["with_payload"] = draw.choice(
                (
                    *(True, False, ["n", "o.k"]),
                    m.PayloadSelectorInclude(include=["o.list[].a"]),
                    m.PayloadSelectorExclude(exclude=["text", "o"]),
                )
            )
        if draw.random() < 0.25:
            asked["with_vectors"] = draw.choice((True, [space]))
        if draw.random() < 0.15:
            asked["search_params"] = m.SearchParams(exact=draw.random() < 0.7, hnsw_ef=50)
        if name == PLAIN and draw.random() < 0.05:
            asked["lookup_from"] = m.LookupLocation(collection=draw.choice((STRICT, "missing")))
        if draw.random() < 0.03:
            wrong = (
                {"limit": 0},
                {"limit": -1},
                {"using": "what"},
                {"offset": -1},
                {"query": []},
                {"query": [1.0]},
            )
            asked.update(draw.choice(wrong))
        return asked

    def question(self, name: str, draw: Draw) -> None:
        client, record = self.client(name), self.recorder
        which = draw.random()
        if which < 0.5:
            record.call(
                f"{name}.query_points", client.query_points, name, **self.asking(name, draw)
            )
        elif which < 0.58:
            asked = self.asking(name, draw)
            asked.pop("offset", None)
            asked["group_by"] = draw.choice(("book", "n", "tags", "s", "o.list[].a", "x"))
            asked["group_size"] = draw.choice((1, 2, 3))
            if draw.random() < 0.2:
                asked["with_lookup"] = draw.choice(
                    (PLAIN, m.WithLookup(collection=name, with_payload=["n"]))
                )
            record.call(f"{name}.query_points_groups", client.query_points_groups, name, **asked)
        elif which < 0.7:
            asked = {"scroll_filter": filtered(draw), "limit": draw.choice((3, 10, 20))}
            if draw.random() < 0.5:
                key = draw.choice(("n", "x", "when", "s", "o.k", "b"))
                direction = draw.choice((None, "asc", "desc"))
                start = draw.choice((None, None, 3, "2021-06-01T00:00:00Z"))
                asked["order_by"] = m.OrderBy(key=key, direction=direction, start_from=start)
            elif draw.random() < 0.5:
                asked["offset"] = self.point_id(name, draw)
            asked["with_vectors"] = draw.random() < 0.1
            record.call(f"{name}.scroll", client.scroll, name, **asked)
        elif which < 0.8:
            record.call(f"{name}.count", client.count, name, filtered(draw))
        elif which < 0.86:
            key = draw.choice(("s", "n", "tags", "b", "u", "book", "x", "o.k"))
            given = filtered(draw) if draw.random() < 0.5 else None
            limit, exact = draw.choice((3, 10, 50)), draw.random() < 0.5
            record.call(f"{name}.facet", client.facet, name, key, given, limit, exact)
        elif which < 0.89:
            ids = [self.point_id(name, draw) for _ in range(4)]
            record.call(
                f"{name}.retrieve", client.retrieve, name, ids, with_vectors=draw.random() < 0.5
            )
        elif which < 0.92:
            requests = []
            for _ in range(draw.randint(1, 3)):
                asked = self.asking(name, draw)
                asked["filter"] = asked.pop("query_filter", None)
                asked["params"] = asked.pop("search_params", None)
                asked["with_vector"] = asked.pop("with_vectors", None)
                requests.append(lambda asked=asked: m.QueryRequest(**asked))
            record.ask(
                f"{name}.query_batch_points of {len(requests)}",
                lambda: client.query_batch_points(name, [make() for make in requests]),
            )
        elif which < 0.94:
            asked = self.asking(name, draw)
            record.ask(
                f"{name} explain {told(asked)}",
                lambda: {key: explain(client, name, **asked).get(key) for key in RESULTS},
            )
        elif which < 0.97:
            asked = self.asking(name, draw)
            ids = [self.point_id(name, draw) for _ in range(2)]
            record.ask(
                f"{name} why {told(asked)}",
                lambda: Fronts.reasons(why(client, name, records=ids, **asked)),
            )
        else:
            self.sampled(name, draw)

    def sampled(self, name: str, draw: Draw) -> None:
        """What has chance in it: only what is the same whatever is drawn is kept."""
        client, record = self.client(name), self.recorder
        space = self.spaces(name)[0]
        few = m.Filter(must=[m.HasIdCondition(has_id=[*range(1, 16)])])
        count = 20
        match draw.randrange(3):
            case 0:
                sample = m.SampleQuery(sample=m.Sample.RANDOM)
                record.ask(
                    f"{name} a sample",
                    lambda: {
                        str(one.id)
                        for one in client.query_points(
                            name, sample, query_filter=few, limit=count
                        ).points
                    },
                )
            case 1:
                record.ask(
                    f"{name} pairs",
                    lambda: {
                        (str(one.a), str(one.b), number(one.score))
                        for one in client.search_matrix_pairs(
                            name, few, 3, count, space or None
                        ).pairs
                    },
                )
            case 2:
                record.ask(
                    f"{name} offsets",
                    lambda: sorted(
                        map(
                            number,
                            client.search_matrix_offsets(name, few, 2, count, space or None).scores,
                        )
                    ),
                )

    def snapshots(self) -> None:
        """Snapshots, and the collections that are made of them again."""
        client, record = self.stores[True], self.recorder
        before = [client.scroll(name, limit=40, with_vectors=True) for name in (NAMED, LARGE)]
        made = record.ask("create_snapshot", lambda: client.create_snapshot(LARGE))
        record.ask("list_snapshots", lambda: len(client.list_snapshots(LARGE)))
        record.ask("delete points", lambda: client.delete(LARGE, [1, 2, 3]))
        path = self.path / "snapshots" / f"collection-{LARGE}" / made.name
        record.ask("recover_snapshot", lambda: client.recover_snapshot(LARGE, f"file://{path}"))
        record.ask(
            "recovered", lambda: client.scroll(LARGE, limit=40, with_vectors=True) == before[1]
        )
        record.ask("full", lambda: bool(client.create_full_snapshot().name))
        record.ask("full", lambda: len(client.list_full_snapshots()))
        record.ask("delete_snapshot", lambda: client.delete_snapshot(LARGE, made.name))
        record.ask("in memory", lambda: self.stores[False].create_snapshot(PLAIN))
        record.ask(
            "vector names",
            lambda: client.create_vector_name(
                NAMED, "more", m.VectorParams(size=2, distance="Dot")
            ),
        )
        record.ask("vector names", lambda: client.delete_vector_name(NAMED, "half"))
        record.ask("info", lambda: client.get_collection(NAMED))
        record.ask("info", lambda: client.info().title)
        record.ask("cluster", lambda: client.cluster_status())
        record.ask("collections", lambda: client.get_collections())
        record.ask("exists", lambda: [client.collection_exists(one) for one in (NAMED, "missing")])
        record.ask("missing", lambda: client.count("missing"))
        opened = rs.Client(self.path)
        record.ask("by the other front", lambda: [one.name for one in opened.list_collections()])
        record.ask("by the other front", lambda: opened.get_collection(LARGE).get(limit=3))
        opened.close()
        record.ask("deleted", lambda: client.delete_collection(LARGE))


# ---- what else there is


def served(record: Recorder, questions: int) -> None:
    """The same questions of a store that is served, by both fronts."""
    kind = dataclasses.replace(KINDS[0], name="served", on_disk=True)
    with tempfile.TemporaryDirectory() as directory, running(grpc_port=0) as url:
        fronts = Fronts(record, Path(directory))
        fronts.reopen = lambda: None  # type: ignore[method-assign]
        fronts.clients = {True: rs.Client(url=url)}
        fronts.make(kind)
        for at in range(questions // 2):
            draw = record.draw("served", at)
            if at % 9 == 8:
                fronts.write(kind, draw)
            fronts.question(kind, draw)
        qdrants = Qdrants(record, Path(directory))
        remote = QdrantClient(url=url, check_compatibility=False)
        grpc = QdrantClient(
            url=url, grpc_port=url.grpc_port, prefer_grpc=True, check_compatibility=False
        )
        turn = {"at": 0}

        def client(name: str) -> QdrantClient:
            turn["at"] += 1
            return remote if turn["at"] % 3 else grpc

        qdrants.client = client  # type: ignore[method-assign]
        qdrants.make(PLAIN)
        for at in range(questions // 2):
            draw = record.draw("served by qdrant", at)
            if at % 9 == 8:
                qdrants.write(PLAIN, draw)
            qdrants.question(PLAIN, draw)
        record.ask("served aliases", lambda: remote.get_aliases())
        remote.close()
        grpc.close()


def whole_stores(record: Recorder, fronts: Fronts, directory: Path) -> None:
    """Forks, copies, snapshots, files, evaluations and the rest of clients."""
    client, small = fronts.clients[True], fronts.opened(KINDS[1])
    memory = fronts.opened(KINDS[0])
    everything = ["documents", "metadatas", "embeddings", "uris", "sparse_embeddings"]
    record.ask("optimize", small.optimize)
    record.ask("middle", lambda: small.get(limit=200, include=everything))
    forked = record.ask("fork", lambda: small.fork("forked"))
    record.ask("forked", lambda: forked.get(limit=50, include=everything))
    record.ask("fork again", lambda: small.fork("forked"))
    record.ask("snapshot", lambda: client.snapshot(directory / "whole.snapshot"))
    record.ask("snapshot again", lambda: client.snapshot(directory / "whole.snapshot"))
    record.ask("restore", lambda: rs.restore(directory / "whole.snapshot", directory / "restored"))
    with rs.Client(directory / "restored") as restored:
        record.ask(
            "restored", lambda: [(one.name, one.count()) for one in restored.list_collections()]
        )
        again = restored.get_collection("middle", embedding_function=Embedding(16))
        record.ask("restored", lambda: again.get(limit=200, include=everything))
        for at in range(40):
            draw = record.draw("restored", at)
            record.call("restored.query", again.query, **fronts.querying(KINDS[1], draw))
        record.ask("verify", lambda: [one.problem for one in restored.verify()])
        with rs.Client() as other:
            record.ask("copy", lambda: restored.copy_to(other, ["middle", "halves"]))
            record.ask(
                "copied", lambda: other.get_collection("middle").get(limit=30, include=everything)
            )
            record.ask("copy again", lambda: restored.copy_to(other, ["middle"]))
    record.ask("snapshot of one", lambda: memory.snapshot(directory / "one.snapshot"))
    record.ask(
        "restore one", lambda: rs.restore(directory / "one.snapshot", directory / "restored")
    )
    record.ask("no snapshot", lambda: rs.restore(directory / "nothing", directory / "restored"))
    record.ask("stats", lambda: {key: client.stats()[key] for key in ("collections", "points")})
    record.ask("list", lambda: [one.name for one in client.list_collections(2, 1)])
    record.ask("count", client.count_collections)
    for bad in ("x", "-a-", "a b", "middle", 3):
        record.call("create_collection", client.create_collection, bad, embedding_function=None)
    record.call("get_collection", client.get_collection, "missing")
    record.call(
        "get_or_create", client.get_or_create_collection, "middle", {"hnsw": {"space": "l2"}}
    )
    record.call("delete_collection", client.delete_collection, "missing")
    record.ask("reset", client.reset)
    record.ask("no directory", lambda: rs.Client(directory / "none", create=False))
    record.ask("no url", lambda: rs.Client(url="nonsense://"))
    with rs.Client(fronts.path, read_only=True) as readable:
        record.ask("read only", lambda: readable.get_collection("middle").delete("p1"))
    for name in ("jsonl", "csv", "parquet", "arrays"):
        path = directory / f"middle.{name}"
        export = getattr(exchange, f"export_{name}")
        record.ask(f"export_{name}", lambda export=export, path=path: export(small, path))
        target = client.create_collection(f"from-{name}", {"sparse": {}}, embedding_function=None)
        record.ask(
            f"add_file {name}", lambda target=target, path=path: exchange.add_file(target, path)
        )
        record.ask(f"from {name}", lambda target=target: target.get(limit=60, include=everything))
    bad = directory / "bad.jsonl"
    bad.write_text('{"id": "a", "embedding": [1]}\n{"id": 3}\nnonsense\n')
    record.ask("check", lambda: exchange.check(small, bad))
    record.ask("add_file", lambda: exchange.add_file(small, bad))
    record.ask("passages_of", lambda: list(exchange.passages_of("One. Two two. " * 90)))
    asked = [
        {"query": f"{WORDS[i]} {WORDS[i + 1]}", "ids": [f"p{i}", f"p{i + 1}"]}
        for i in range(1, 9, 2)
    ]
    settings = {"words": {"mode": "text"}, "both": {"mode": "hybrid"}}
    record.ask("evaluate", lambda: str(rs.evaluate(small, asked, settings=settings)))
    record.ask("expires", lambda: expiring(client))
    record.ask("async", lambda: asyncio.run(asynchronously(fronts.path)))
    record.ask("async qdrant", lambda: asyncio.run(asynchronous_qdrant()))


def expiring(client: Any) -> Any:
    collection = client.create_collection("old", {"expires": "until"}, embedding_function=None)
    untils = ({"until": 0}, {"until": "2999-01-01"}, {}, {"until": "2001-01-01T00:00:00Z"})
    collection.add([*"abcd"], embeddings=[[1, i] for i in range(4)], metadatas=list(untils))
    told = [collection.get()["ids"], collection.count(), collection.query([[0, 1]])["ids"]]
    try:
        collection.update("c", metadatas={"until": "soon"})
    except ValueError as error:
        told.append(failure(error))
    return told


async def asynchronously(path: Path) -> Any:
    async with rs.AsyncClient(path) as client:
        middle = await client.get_collection("middle", embedding_function=Embedding(16))
        first = await middle.get(limit=2)
        found = await middle.query(query_texts="cat", mode="text", n_results=3)
        some = [one async for one in middle.iterate(where={"n": 3})]
        try:
            await middle.query(n_results=0, query_texts="a")
        except ValueError as error:
            return [
                first,
                found,
                some,
                await middle.count(),
                await middle.metadata(),
                failure(error),
            ]


async def asynchronous_qdrant() -> Any:
    from retrieval_store.qdrant import AsyncQdrantClient

    client = AsyncQdrantClient(":memory:")
    await client.create_collection("c", m.VectorParams(size=2, distance=m.Distance.DOT))
    points = [m.PointStruct(id=i, vector=[i, 1.0], payload={"n": i}) for i in range(5)]
    await client.upsert("c", points)
    found = await client.query_points("c", [1.0, 0.0], limit=2)
    records = await client.scroll("c", limit=2)
    await client.close()
    return [found, records]


def shell(*arguments: str) -> Any:
    """What a command prints, and its exit code."""
    run = subprocess.run(
        [sys.executable, "-m", "retrieval_store", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
    )
    out = re.sub(r"\d+(\.\d+)? ?(ms|s|kB|KB|MB|KiB|MiB|bytes|seconds)\b", "<measured>", run.stdout)
    return [run.returncode, out, run.stderr[-1500:]]


def commands(record: Recorder, path: Path, directory: Path) -> None:
    """The command line, asked about the same store."""
    store, vector = str(path), json.dumps([0.5] * 16)
    every = [
        ["list", store, "--json"],
        ["count", store, "middle", "--where", '{"n": {"$lt": 5}}'],
        ["peek", store, "middle"],
        ["get", store, "middle", "--limit", "3", "--json"],
        ["get", store, "middle", "p1", "p2"],
        ["query", store, "middle", "--vector", vector, "-k", "3", "--json"],
        ["query", store, "middle", "cat river", "--mode", "text", "-k", "3"],
        ["why", store, "middle", "cat", "--mode", "text", "--record", "p1"],
        ["query", store, "missing", "cat"],
        ["query", store, "middle", "--where", "{"],
        ["count", str(directory / "nowhere"), "middle"],
        ["what"],
        ["export", store, "middle", str(directory / "cli.jsonl")],
        ["info", store, "middle", "--json"],
        ["verify", store],
        ["--version"],
    ]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda one: shell(*one), every))
    for arguments, answer in zip(every, answers, strict=True):
        if arguments[0] in ("info", "verify"):
            answer = [answer[0], re.sub(r"[\d,.]+", "#", answer[1]), answer[2]]
        record.ask(" ".join(arguments), lambda answer=answer: answer)


# ---- the public surface

ROOMS = (
    *("", "errors", "filters.expression", "embeddings", "loaders", "plugins", "utils"),
    *("exchange", "evaluation", "qdrant", "server", "rerankers", "chromadb", "chromadb.api"),
    *("chromadb.api.types", "chromadb.config", "chromadb.errors", "chromadb.types"),
    *("chromadb.utils.embedding_functions", "chromadb.utils.data_loaders", "chromadb.base_types"),
    *("chromadb.execution.expression", "embeddings.bm25", "embeddings.frameworks"),
    *("embeddings.splade", "indexes"),
)


def parameters(value: Any, annotated: bool) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "none"
    if not annotated:
        plain = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
        signature = signature.replace(parameters=plain, return_annotation=signature.empty)
    return Masked.text(str(signature))


def public_names(room: Any) -> list[str]:
    named = getattr(room, "__all__", None)
    if named is not None:
        return sorted(named)
    own = room.__name__
    return sorted(
        name
        for name, value in vars(room).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and str(getattr(value, "__module__", own)).startswith("retrieval_store")
    )


def surface() -> list[Line]:
    """Public names, their parameters, and the helps of all commands."""
    lines: list[Line] = []

    def put(name: str, answer: Any) -> None:
        lines.append({"surface": name, "answer": answer})

    def put_callable(name: str, value: Any) -> None:
        put(f"{name} parameters", parameters(value, annotated=False))
        put(f"{name} annotations", parameters(value, annotated=True))

    for room_name in ROOMS:
        full = f"retrieval_store.{room_name}".rstrip(".")
        try:
            room = importlib.import_module(full)
        except ImportError as error:
            put(full, failure(error))
            continue
        names = public_names(room)
        put(full, names)
        for name in names:
            value, place = getattr(room, name, None), f"{full}.{name}"
            if inspect.isclass(value):
                put(f"{place} is", [one.__name__ for one in value.__mro__ if one is not object])
                put_callable(place, value)
                for member in sorted(dir(value)):
                    if member.startswith("_") or (
                        issubclass(value, BaseException) and hasattr(BaseException, member)
                    ):
                        continue
                    found = inspect.getattr_static(value, member, None)
                    if callable(getattr(value, member, None)):
                        put_callable(f"{place}.{member}", getattr(value, member))
                    else:
                        put(f"{place}.{member}", type(found).__name__)
            elif callable(value):
                put_callable(place, value)
            else:
                put(place, [type(value).__name__, Masked.text(repr(value))[:200]])
    top = shell("--help")
    put("command --help", top)
    names = re.findall(r"^  ([a-z]+)  ", top[1].partition("Commands:")[2], re.MULTILINE)
    with ThreadPoolExecutor(2) as threads:
        for name, answer in zip(
            names, threads.map(lambda one: shell(one, "--help"), names), strict=True
        ):
            put(f"command {name} --help", answer)
    return lines


# ---- recording and comparing


def recorded(questions: int, seed: int) -> list[Line]:
    """All lines, the first of which says what was asked for."""
    logging.getLogger("retrieval_store").setLevel(logging.CRITICAL)
    rs.register_embedding_function  # noqa: B018  loaded before anything is asked
    record = Recorder(seed)
    few = max(20, questions // 20)
    many = (questions - 2 * few) // 2
    with tempfile.TemporaryDirectory() as name:
        Masked.directory, directory = name, Path(name)
        begun = time.perf_counter()

        def note(what: str) -> None:
            seconds = time.perf_counter() - begun
            print(f"{what}: {record.questions} questions, {seconds:.1f} s", file=sys.stderr)

        fronts = Fronts(record, directory)
        fronts.run(many)
        note("collections")
        whole_stores(record, fronts, directory)
        note("whole stores")
        fronts.clients[True].close()
        commands(record, fronts.path, directory)
        note("commands")
        Qdrants(record, directory).run(many)
        note("qdrant")
        served(record, 2 * few)
        note("served")
        shown = surface()
        note("surface")
    head = {"head": {"questions": questions, "seed": seed, "asked": record.questions}}
    return [head, *record.lines, *shown]


def alike(one: Any, other: Any) -> bool:
    """Whether two answers are equal, but for rounding."""
    if isinstance(one, float | int) and isinstance(other, float | int):
        both_truths = isinstance(one, bool) == isinstance(other, bool)
        return both_truths and math.isclose(one, other, rel_tol=3e-6, abs_tol=1e-9)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return [*one] == [*other] and all(alike(one[key], other[key]) for key in one)
    return bool(one == other)


def differences(before: list[Line], after: list[Line]) -> list[str]:
    """What differs, a text each."""
    found: list[str] = []
    for name in ("step", "surface"):
        then = {line[name]: line for line in before if name in line}
        now = {line[name]: line for line in after if name in line}
        for key in [*then, *(one for one in now if one not in then)]:
            old, new = then.get(key), now.get(key)
            if old is None or new is None:
                found.append(f"{name} {key}: only {'after' if old is None else 'before'}")
            elif old.get("what") != new.get("what") or not alike(old["answer"], new["answer"]):
                found.append(
                    f"{name} {key}: {new.get('what', '')}\n"
                    f"  before: {json.dumps(old['answer'], ensure_ascii=False)[:1500]}\n"
                    f"  after:  {json.dumps(new['answer'], ensure_ascii=False)[:1500]}"
                )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Holds one version's answers against another's.")
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--questions", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.action == "record":
        lines = recorded(given.questions, given.seed)
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
        given.file.write_text(text)
        print(f"{len(lines)} lines, {lines[0]['head']['asked']} questions: {given.file}")
        return 0
    before = [json.loads(line) for line in given.file.read_text().splitlines()]
    head = before[0]["head"]
    after = recorded(head["questions"], head["seed"])
    found = differences(before, json.loads(json.dumps(after)))
    for one in found[:SHOWN]:
        print(one)
    print(f"{len(found)} differences in {len(before) - 1} lines")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
