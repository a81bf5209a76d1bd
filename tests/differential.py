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
import itertools
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
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("COLUMNS", "100")  # helps are as wide everywhere
import numpy as np
from pydantic import TypeAdapter

import retrieval_store as rs
import retrieval_store.errors
import retrieval_store_files as exchange
from retrieval_store.filters import expression as ex
from retrieval_store.qdrant import QdrantClient, explain, models, why
from retrieval_store_server import running

DIGITS, LONGEST, SHOWN = 6, 40_000, 60
Draw = random.Random
Line = dict[str, Any]

# ---- canonical forms

OWN_UUID = "00000000-0000-4000-8000-"
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_HALF_UUID = re.compile(r"\.\.\.[0-9a-f-]+(?=>)")
_DATED = re.compile(r"\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-\d{6}")
_TIME = re.compile(r'"time":[\d.e-]+')
_BYTES = re.compile(r'"bytes":\d+')  # on disk, which paths in catalogs are part of
_FILE = re.compile(r"(?<=<module )(\S+) from [^>]*")
_HEX_UUID = re.compile(r"\b[0-9a-f]{32}\b")
_MODULES = re.compile(r"\b(?:retrieval_store|qdrant_client|__main__)(?:\.[a-z_]\w*)*\.(?=\w)")
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_PORT = re.compile(r"(127\.0\.0\.1|localhost):\d+")


class Masked:
    """Texts without what changes from run to run: paths, ids that are drawn, addresses, modules."""

    directory, sorts = "/nowhere", False

    @classmethod
    def text(cls, text: str) -> str:
        for path in (str(Path(cls.directory).resolve()), cls.directory):
            text = text.replace(path, "<dir>")
        text = _UUID.sub(lambda m: m[0] if m[0].startswith(OWN_UUID) else "<uuid>", text)
        text = _HALF_UUID.sub("...<uuid>", _HEX_UUID.sub("<hex>", text))
        text = _DATED.sub("<now>", text)
        text = _BYTES.sub('"bytes":0', _TIME.sub('"time":0', text))
        text = _FILE.sub(r"\1", text)
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
            keys = sorted(value, key=str) if Masked.sorts else value
            return {Masked.text(str(key)): canonical(value[key]) for key in keys}
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
    said = str(error)
    if hasattr(error, "debug_error_string"):  # of gRPC, whose text has times in it
        said = f"{error.code()} {error.details()}"  # type: ignore[attr-defined]
    told = [type(error).__name__, Masked.text(said)[:600]]
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

    def call(self, label: str, call: Any, /, *args: Any, **kwargs: Any) -> Any:
        """The same of a method, by what it is called with."""
        given = [told(one) for one in args]
        given += [f"{key}={told(one)}" for key, one in kwargs.items()]
        return self.ask(f"{label}({', '.join(given)})", lambda: call(*args, **kwargs))


def told(value: Any) -> str:
    """An argument, shortly."""
    if hasattr(value, "model_dump"):
        return f"{type(value).__name__}{value.model_dump(exclude_none=True)}"
    if isinstance(value, np.ndarray):
        return f"array{value.shape}"
    text = repr(value)
    return text if len(text) < 500 else f"{text[:500]}…"


# ---- what is drawn

_TEXT = """cat dog house houses river bank interest rate rates sleeping sleeps bark night error pump
door filter water captain whale sand spice prince tea soup roses train coast knife onion bread
flour salt green blue red café naïve Straße über 中文 don't the a of and is was running runs ran
quick brown fox jumps lazy money loan loans storm ship sail sea island E4711 E4712 ZX-81 part_7
v2.0 1984 2001 apples brick sky cold warm hot winter summer spring month year weekday"""
WORDS = _TEXT.split()
BIG = (2**53, 2**53 + 1, 2**63 - 1, -(2**62), 10**15)

# What is asked, one of the choices of a block (between bars, or on lines) at random, with what
# stands in <> drawn in its turn:
# another block, a value of `Values`, or one of a list; <name*3> stands for one to three of them.
# Of the fields whose names end with "?" half are left out, of "??" three in four, of "???" seven
# in eight; "+" takes in the fields of an object. The first choice is taken where it gets too deep.
GRAMMAR = r"""
where:
  "<fields>" | "<fields>" | "<fields>" | {"$and": "<where*3>"} | {"$or": "<where*3>"}
  {"$nor": "<where*2>"} | {"$not": "<where>"}
filter:
  "<where>" | "<where>" | "<where>" | "<where>" | "<where>" | "<where>" | "<expression>"
  "<bad_filter>"
fields:
  {"n": "<n_is>"} | {"x": "<n_is>"} | {"n": "<n_is>", "x": "<n_is>"} | {"o.k": "<n_is>"}
  {"a.b": "<n_is>"} | {"s": "<s_is>"} | {"o.name": "<s_is>"} | {"book": "<s_is>"}
  {"tags": "<tags_are>"} | {"when": "<when_is>"} | {"b": "<[true, false]>"} | {"odd": "<odd_is>"}
  {"none": "<odd_is>"}
n_is:
  "<small>" | {"$eq": "<small>"} | {"$ne": "<small>"} | {"$in": "<small*5>"}
  {"$nin": "<small*5>"} | {"$gt": "<small>"} | {"$gte": "<small>", "$lt": "<small>"}
  {"$lte": "<real>"} | {"$exists": "<[true, false]>"} | {"$not": "<n_is>"} | {"$gt": "<big>"}
s_is:
  "<word>" | {"$ne": "<word>"} | {"$in": "<word*9>"} | {"$nin": "<word*9>"} | {"$gte": "<word>"}
  {"$lt": "<word>"} | {"$not": "<s_is>"} | "<book>"
tags_are:
  {"$contains": "<word>"} | {"$not_contains": "<word>"} | {"$size": "<[0, 1, 2, 3]>"}
  {"$contains": "<word>", "$size": 2} | {"$exists": "<[true, false]>"} | {"$not": "<tags_are>"}
when_is:
  {"$gte": "<moment>"} | {"$lt": "<moment>"} | {"$gt": "<time>", "$lte": "<time>"}
  {"$eq": "<moment>"} | {"$not": "<when_is>"}
odd_is:
  {"$exists": "<[true, false]>"} | "<odd>" | {"$eq": "<odd>"} | {"$ne": "<odd>"}
  {"$in": "<odd*3>"} | {"$gt": "<odd>"} | {"$contains": "<odd>"}
bad_filter:
  {} | {"$and": []} | {"$or": {}} | "n" | {"$xor": [{"n": 1}]} | {"": 1} | [1]
  {"n": {"$has": 1}} | {"n": {"$in": 3}} | {"$and": [{"n": {"$gt": [1]}}]}
  {"tags": {"$size": -1}} | {"n": {}}
document:
  {"$contains": "<word>"} | {"$contains": "<word>"} | {"$not_contains": "<word>"}
  {"$regex": "<pattern>"} | {"$not_regex": "<pattern>"} | {"$and": "<document*3>"}
  {"$or": "<document*3>"} | {"$nor": "<document*2>"} | {"$not": "<document>"} | "<bad_document>"
pattern:
  "<["\\bcat\\b", "(?i)RIV", "^[a-m]", "\\d{4}", "t.e", "s$", "(cat|dog) \\w+", "\\pL{9}"]>"
bad_document:
  {"$regex": "("} | {"$contains": 1} | {} | {"$like": "a"} | "cat"
filters:
  {"where?": "<filter>", "where_document??": "<document>"}
kinds:
  "<["documents", "metadatas", "embeddings", "uris"]>"
question:
  {"do": "count", "+": "<filters>"} | {"do": "get", "+": "<get>"} | {"do": "get", "+": "<get>"}
  {"do": "query", "+": "<query>", "+more": "<more>"}
  {"do": "query", "+": "<query>", "+more": "<more>"}
  {"do": "query", "+": "<query>", "+more": "<more>"}
  {"do": "query", "+": "<query>", "+more": "<more>"}
  {"do": "query", "+": "<query>", "+more": "<more>", "+wrong": "<wrong_query>"}
  {"do": "explain", "+": "<query>", "+more": "<more>"}
  {"do": "why", "+": "<one_query>", "+more": "<of_why>", "records": "<ids>"}
  {"do": "why", "+": "<one_query>", "+more": "<of_why>", "containing": "<word>", "same?": "book"}
  {"do": "search", "+": "<search>"} | {"do": "search", "+": "<search>"}
  {"do": "other", "which": "<[0, 1, 2, 3, 4, 5, 6, 7, 8]>"}
get:
  {"+": "<filters>", "limit": "<[5, 10, 20]>", "offset??": "<[0, 3, 25, 3000]>"}
  {"+": "<filters>", "limit": 8, "order_by": "<["n", "x", "when", "odd", "s"]>", "descending?": true}
  {"+": "<filters>", "ids": "<ids>", "include?": "<kinds*4>"}
  {"ids": "<ids>", "order_by??": "n"} | {"where": "<filter>", "include": []}
  {"limit": 5, "include": "<kinds*4>", "offset": "<[5, 50, 555]>"}
  {"ids": "<[["p1"], "p1", [], [1], ["p1", "p1"]]>", "include??": ["sparse_embeddings"]}
  {"limit": 3, "include": "<[["sparse_embeddings"], ["distances"], "documents", ["data"]]>"}
  {"limit": "<[0, -1, 1.5, true]>"}
  {"limit": 3, "order_by": "<["", "o", "b", 3, "none", "tags"]>", "offset???": -1}
one_query:
  {"query_embeddings": "<vector>"} | {"query_texts": "<text>"}
  {"query_texts": "<text>", "mode": "text", "min_score???": 1.5}
  {"query_texts": "<text>", "query_embeddings": "<vector>", "mode": "hybrid", "+": "<fusing>"}
  {"query_sparse": "<sparse>", "mode": "sparse"}
  {"query_sparse": "<sparse>", "query_embeddings": "<vector>", "mode": "hybrid", "+": "<fusing>"}
query:
  {"query_embeddings": "<vector>", "max_distance???": "<[4, 40, 80, -5]>"}
  {"query_embeddings": "<vectors>"} | {"query_texts": "<text>"}
  {"like": "<ids>", "unlike?": "<ids>"}
  {"query_texts": "<text*3>", "mode": "text", "min_score???": "<[0.5, 1.5]>"}
  {"query_sparse": "<sparse*3>", "mode": "sparse", "min_score???": 2}
  {"query_texts": "<text*2>", "mode": "hybrid", "+": "<fusing>", "min_score???": 0.3}
  {"query_texts": "<text>", "query_embeddings": "<vector>", "mode": "hybrid", "+": "<fusing>"}
  {"query_sparse": "<sparse>", "query_embeddings": "<vector>", "mode": "hybrid", "+": "<fusing>"}
  {"query_texts": "<text>", "rerank": "<reranker>", "rerank_from?": 20, "min_score???": -40}
  {"query_embeddings": "<vector>", "rerank": "<reranker>", "rerank_query": "<text>"}
fusing:
  {} | {"alpha": "<[0, 0.2, 0.5, 0.9, 1]>", "depth???": "<[[5, 5], [50, 20], [3]]>"}
  {"fusion": "<["rrf", "weighted", "adaptive"]>", "alpha??": "<[0.3, 0.7]>"}
more:
  {"n_results": "<[1, 3, 10, 25]>", "include??": "<kinds*4>"}
  {"n_results": "<[3, 10]>", "+": "<filters>", "include???": ["embeddings", "distances"]}
  {"n_results": "<[3, 10]>", "+": "<filters>", "offset???": "<[1, 10, 70]>", "exact???": true}
  {"n_results": "<[3, 10]>", "group_by": "<["book", "n", "tags", "o", "none"]>", "group_size?": 2}
  {"n_results": 5, "ids": "<many_ids>", "+": "<filters>", "ef???": 30}
of_why:
  {"n_results": "<[1, 5]>"} | {"n_results": "<[1, 5]>", "+": "<filters>"}
  {"n_results": 3, "where": "<filter>", "group_by???": "book", "offset???": 2}
wrong_query:
  "<[{"top_k": 3}, {"filter": {}}, {"n_results": 0}, {"n_results": "3"}, {"mode": "words"}]>"
  "<[{"fusion": "max"}, {"alpha": 2}, {"ef": 0}, {"query_images": ["a"]}, {"group_size": 2}]>"
  "<[{"include": ["everything"]}, {"min_score": "1"}, {"query_embeddings": [[1.0]]}]>"
  "<[{"query_texts": []}, {"rerank_from": 3}, {"group_by": 3}, {"depth": [0, 1]}, {"where": 3}]>"
  "<[{"nonsense": 3}, {"max_distance": "far"}, {"query_sparse": {"indices": [1]}}, {"like": []}]>"
search:
  {"filter?": "<chroma>", "rank": "<rank>", "limit": "<window>", "select": "<select>"}
  {"filter?": "<chroma>", "rank": "<rank>", "limit": "<window>", "group_by": "<best>"}
  {"filter": "<chroma>", "limit": "<window>", "select?": "<select>"}
window:
  {"limit": "<[3, 10]>", "offset": "<[0, 2]>"}
select:
  {"keys": ["#id", "#score", "n"]} | {"keys": ["#document", "#metadata", "#score"]}
  {"keys": ["s", "x", "#embedding"]} | {"keys": ["#what"]}
best:
  {"keys": ["book"], "aggregate": {"$min_k": {"keys": ["#score"], "k": 2}}}
  {"keys": ["n", "b"], "aggregate": {"$max_k": {"keys": ["x", "#score"], "k": 1}}}
  {"keys": ["s"], "aggregate": {"$min_k": {"keys": ["n"], "k": 3}}}
rank:
  {"$knn": {"query": "<flat>", "key": "#embedding", "limit": "<[5, 16, 40]>", "default??": 5.0}}
  {"$knn": {"query": "<sparse>", "key": "words", "limit": 16}}
  {"$knn": {"query": "<text>", "key": "#embedding", "limit": 9, "return_rank??": true}}
  {"$sum": ["<rank>", {"$val": 2}, "<rank>"]} | {"$mul": ["<rank>", {"$val": 0.5}]}
  {"$sub": {"left": "<rank>", "right": "<rank>"}}
  {"$div": {"left": "<rank>", "right": {"$val": 3}}}
  {"$log": {"$sum": [{"$abs": "<rank>"}, {"$val": 1}]}}
  {"$exp": {"$mul": ["<rank>", {"$val": 0.01}]}} | {"$max": ["<rank>", {"$val": 0.5}]}
  {"$min": ["<rank>", "<rank>"]}
  "<[{"$val": 1}, {"$knn": {}}, {"$what": 1}, {"$log": {"$val": -1}}]>"
chroma:
  {"n": {"$gte": "<small>"}} | {"#document": {"$contains": "<word>"}}
  {"#id": {"$in": "<many_ids>"}}
  {"$or": [{"s": {"$in": "<word*5>"}}, {"#document": {"$regex": "^[a-m]"}}]}
  {"$and": [{"x": {"$lt": "<real>"}}, {"b": true}]} | {"tags": {"$contains": "<word>"}}
write:
  {"do": "add", "+": "<records>"} | {"do": "upsert", "+": "<records>"}
  {"do": "upsert", "+": "<records>", "replace": true}
  {"do": "upsert", "+": "<records>", "replace_metadata": true}
  {"do": "update", "+": "<records>"}
  {"do": "update", "ids": "<ids>", "metadatas": {"n": null, "x": "<real>"}}
  {"do": "delete", "ids": "<ids>"}
  {"do": "delete", "where": {"n": "<small>"}, "where_document?": "<document>", "limit": 2}
  {"do": "delete", "+": "<[{}, {"ids": []}, {"ids": ["p1"], "limit": 1}, {"where": {}}]>"}
  {"do": "add_from", "source": "<dicts>", "batch": 2, "upsert": true}
  {"do": "modify", "configuration": {"text": {"stopwords": "<word*4>"}}}
  {"do": "modify", "configuration": {"hnsw": {"ef_search": "<[50, 140]>"}}}
  {"do": "modify", "metadata": {"note": "<small>"}} | {"do": "modify", "+": "<wrong_setting>"}
  {"do": "<["add", "upsert", "update"]>", "+": "<wrong_records>"}
wrong_setting:
  "<[{"configuration": {"hnsw": {"space": "cosine"}}}, {"configuration": {"colour": 1}}]>"
  "<[{"name": "x"}, {"metadata": {"$a": 1}}, {"configuration": {"text": {"language": "klingon"}}}]>"
wrong_records:
  {"ids": "new", "embeddings": [[1.0, 2.0, 3.0]]} | {"ids": ["p1", "p1"], "embeddings": "<pair>"}
  {"ids": ["p1", "new", "newer"], "embeddings": "<pair>"}
  {"ids": "new", "embeddings": "<vector>", "metadatas": "<[{"$bad": 1}, [{}, {}], {"": 1}, "a", 3]>"}
  {"ids": "new", "embeddings": "<vector>", "metadatas": {"a": "<unknown>"}}
  {"ids": "<["", [3], [], null]>", "embeddings": "<vector>"}
  {"ids": "new", "embeddings": "<["abc", [], [[null]], 3]>"} | {"ids": "new"}
  {"ids": "new", "embeddings": "<vector>", "sparse_embeddings": {"indices": [1, 1], "values": [1, 2]}}
  {"ids": "new", "vectors": [[1.0]]}
  {"ids": "new", "embeddings": "<vector>", "documents": "<[3, ["a", "b"]]>"}
q_filter:
  {"must": "<clause*2>"} | {"should": "<clause*3>"} | {"must_not": "<clause*2>"}
  {"must": "<clause*2>", "must_not": "<clause*2>"}
  {"must?": "<clause>", "should": "<clause*3>", "must_not??": "<clause>"}
  {"min_should": {"conditions": "<clause*4>", "min_count": "<[1, 2]>"}, "must??": "<clause>"} | {}
clause:
  {"key": "n", "match": {"value": "<small>"}} | {"key": "<field>", "match": {"value": "<small>"}}
  {"key": "<["s", "tags", "o.name", "text"]>", "match": {"value": "<word>"}}
  {"key": "<["b", "odd"]>", "match": {"value": "<[true, false]>"}}
  {"key": "u", "match": {"value": "<own_uuid>"}}
  {"key": "<["s", "tags"]>", "match": {"any": "<word*5>"}}
  {"key": "<["n", "x", "o.list[].a"]>", "match": {"any": "<small*5>"}}
  {"key": "<["s", "tags"]>", "match": {"except": "<word*5>"}}
  {"key": "n", "match": {"except": "<small*5>"}}
  {"key": "<["text", "s"]>", "match": {"text": "<text>"}}
  {"key": "<["text", "s"]>", "match": {"phrase": "<text>"}}
  {"key": "<["text", "s"]>", "match": {"text_any": "<text>"}}
  {"key": "s", "match": {"prefix": "<["ca", "s", "house", ""]>"}}
  {"key": "<["n", "x", "o.k", "odd", "s"]>", "range": {"gte??": "<small>", "lt": "<small>"}}
  {"key": "<["n", "x", "o.list[].a", "o.k"]>", "range": {"gt": "<small>", "lte??": "<small>"}}
  {"key": "<["when", "s"]>", "range": {"gte": "<moment>", "lt?": "<moment>"}}
  {"key": "<["tags", "o.list", "geo", "n"]>", "values_count": {"gte?": 1, "lt?": 3}}
  {"key": "geo", "geo_radius": {"center": "<place>", "radius": "<radius>"}}
  {"key": "geo", "geo_bounding_box": "<box>"}
  {"key": "geo", "geo_polygon": {"exterior": {"points": "<ring>"}}}
  {"is_empty": {"key": "<field>"}} | {"is_null": {"key": "<field>"}} | {"has_id": "<q_id*30>"}
  {"slice": {"total": 3, "index": "<[0, 1, 2, 3]>"}}
  {"key": "<field>", "is_empty": "<[true, false]>"}
  {"key": "<field>", "is_null": "<[true, false]>"}
  {"has_vector": "<["", "dense", "multi", "words", "what"]>"}
  {"nested": {"key": "<["o.list", "o.list[]", "tags"]>", "filter": "<inner>"}} | "<q_filter>"
inner:
  {"must": [{"key": "a", "match": {"value": "<[0, 1, 2]>"}}]}
  {"must_not": [{"key": "b", "match": {"value": "<word>"}}], "should?": "<clause*2>"}
field:
  "<["n", "x", "s", "tags", "b", "when", "o.k", "o.list[].a", "odd", "geo", "u", "text", "none"]>"
formula:
  "<["n", "x", "$score", "$score", "o.k", "$score[1]", "s"]>" | "<[1.5, 2.0]>" | "<clause>"
  {"sum": "<formula*3>"} | {"mult": "<formula*2>"} | {"max": "<formula*2>"}
  {"min": "<formula*2>"} | {"neg": "<formula>"} | {"abs": "<formula>"}
  {"div": {"left": "<formula>", "right": "<formula>", "by_zero_default?": 1.0}}
  {"sqrt": {"abs": "<formula>"}} | {"pow": {"base": {"abs": "<formula>"}, "exponent": 0.5}}
  {"exp": {"div": {"left": "<formula>", "right": 1000.0}}}
  {"log10": {"sum": [{"abs": "<formula>"}, 1.0]}}
  {"ln": {"sum": [{"abs": "<formula>"}, "<[1.0, -1.0]>"]}}
  {"acosh": {"sum": [{"abs": "<formula>"}, 1.0]}}
  {"exp_decay": {"x": "<formula>", "target": 5.0, "scale": 4.0, "midpoint": "<[0.5, 2.0]>"}}
  {"gauss_decay": {"x": "n", "target": "<formula>", "scale": 2.0}}
  {"lin_decay": {"x": {"datetime_key": "when"}, "target": {"datetime": "2021-05-01"}, "scale": 1e7}}
  {"geo_distance": {"origin": "<place>", "to": "geo"}}
defaults:
  {"n": 1, "x": 0.5, "o.k": 2, "when": "2021-01-01T00:00:00Z", "geo": {"lon": 1, "lat": 2}} | {}
example:
  "<q_vector>" | "<q_id>"
pairs:
  {"positive": "<example>", "negative": "<example>"}
q_query:
  "<q_vector>" | "<q_vector>" | "<q_id>"
  {"recommend": {"positive": "<example*2>", "negative?": "<example*2>", "strategy?": "<strategy>"}}
  {"recommend": {"negative": "<example*2>", "strategy?": "<strategy>"}}
  {"discover": {"target": "<example>", "context": "<pairs*2>"}} | {"context": "<pairs*3>"}
  {"order_by": {"key": "<["n", "x", "when", "s", "o.k"]>", "+": "<order>"}}
  {"nearest": "<q_vector>", "mmr": {"diversity?": "<[0.3, 0.9]>", "candidates_limit?": 20}}
  {"relevance_feedback": {"target": "<example>", "feedback": "<judged*3>", "strategy": "<naive>"}}
  null
strategy:
  "<["average_vector", "best_score", "sum_scores"]>"
order:
  {"direction?": "<["asc", "desc"]>", "start_from???": 5}
judged:
  {"example": "<example>", "score": "<[0.1, 0.5, 0.9]>"}
naive:
  {"naive": {"a": 1.0, "b": 0.5, "c": 0.2}}
q_fused:
  {"fusion": "<["rrf", "dbsf"]>"} | {"rrf": {"k": "<[2, 60]>", "weights???": [1.0, 3.0]}}
  {"rrf": {"weights": "<[[1.0, 3.0], [0.5, 0.2]]>"}}
  {"formula": "<formula>", "defaults?": "<defaults>"}
  {"formula": "<formula>", "defaults": "<defaults>"} | "<q_query>"
fetched:
  {"query": "<q_query>", "+": "<using>", "limit": "<[3, 10, 40]>", "filter??": "<q_filter>"}
  {"query": "<q_query>", "+": "<using>", "limit": 20, "score_threshold???": "<[-50.0, 5.0]>"}
  {"query": "<q_fused>", "prefetch": ["<fetched>", "<fetched>"], "+": "<using>", "limit": 9}
  {"query": "<by_words>", "using": "text", "limit": 20, "filter??": "<q_filter>"}
by_words:
  {"text": "<text>"}
  {"text": {"query": "<text>", "scoring": {"bm25": {"k": 1.5, "b": "<[0.0, 0.5, 1.0]>"}}}}
asked:
  {"query": "<q_query>", "+": "<using>", "limit": "<[1, 5, 10, 30]>", "filter?": "<q_filter>"}
  {"query": "<q_query>", "+": "<using>", "limit": 7, "+more": "<q_more>"}
  {"query": "<q_query>", "+": "<using>", "limit": 5, "filter": "<q_filter>", "+more": "<q_more>"}
  {"query": "<q_fused>", "prefetch": ["<fetched>", "<fetched>"], "+": "<using>", "limit": 9}
  {"query": "<by_words>", "using": "text", "limit": 8, "filter??": "<q_filter>"}
  {"query": "<by_words>", "using": "text", "params": {"idf": {"corpus": "<q_filter>"}}}
  {"query": "<sparse>", "using": "words", "params": {"idf": {"corpus": "<q_filter>"}}, "limit": 6}
  {"query": "<q_fused>", "prefetch": "<fetched*3>", "+": "<using>", "limit": 20, "+more": "<q_more>"}
q_more:
  {"with_payload": "<shown>", "with_vector??": true, "offset???": "<[1, 5, 50]>"}
  {"score_threshold": "<[-20.0, 0.2, 5.0, 9.0]>", "offset??": 2}
  {"params": {"exact?": true, "hnsw_ef?": 50}, "filter?": "<q_filter>"}
  {"lookup_from": "<lookup>"}
  "<[{"limit": 0}, {"limit": -1}, {"using": "what"}, {"offset": -1}, {"query": []}, {"query": [1.0]}]>"
shown:
  "<[true, false, ["n", "o.k"], {"include": ["o.list[].a"]}, {"exclude": ["text", "o"]}]>"
lookup:
  "<[{"collection": "strict"}, {"collection": "named", "vector": "half"}, {"collection": "none"}]>"
q_question:
  {"do": "query_points", "+": "<asked>"} | {"do": "query_points", "+": "<asked>"}
  {"do": "query_points", "+": "<asked>"} | {"do": "query_points", "+": "<asked>"}
  {"do": "query_points", "+": "<asked>"}
  {"do": "query_points_groups", "+": "<asked>", "group_by": "<group>", "group_size": "<[1, 3]>"}
  {"do": "query_points_groups", "+": "<asked>", "group_by": "n", "with_lookup": "<looked_up>"}
  {"do": "query_batch_points", "requests": "<asked*3>"} | {"do": "explain", "+": "<asked>"}
  {"do": "why", "+": "<asked>", "records": "<q_id*2>"}
  {"do": "scroll", "scroll_filter": "<q_filter>", "limit": "<[3, 10, 20]>", "order_by??": "<ordered>"}
  {"do": "scroll", "order_by": "<ordered>", "limit": "<[3, 10]>", "with_vectors??": true}
  {"do": "scroll", "limit": 5, "offset": "<q_id>", "scroll_filter?": "<q_filter>"}
  {"do": "count", "count_filter": "<q_filter>", "exact??": false}
  {"do": "count", "count_filter": "<q_filter>"}
  {"do": "facet", "key": "<group>", "facet_filter?": "<q_filter>", "limit": "<[3, 50]>"}
  {"do": "retrieve", "ids": "<q_id*5>", "with_vectors?": true, "with_payload??": ["n"]}
  {"do": "sampled", "which": "<[0, 1, 2]>"}
group:
  "<["book", "n", "tags", "s", "o.list[].a", "b", "u", "x"]>"
ordered:
  {"key": "<["n", "x", "when", "s", "o.k", "b"]>", "+": "<order>"}
  {"key": "when", "start_from": "<["2021-06-01T00:00:00Z", 3]>", "direction?": "desc"}
q_write:
  {"do": "upsert", "points": "<q_point*2>"}
  {"do": "upsert", "points": "<q_point*2>", "update_filter": "<q_filter>"}
  {"do": "upsert", "points": "<q_point*2>", "update_mode": "<["insert_only", "update_only"]>"}
  {"do": "set_payload", "payload": "<payload>", "points": "<chosen>", "key?": "<["o", "o.q", "tags[0]"]>"}
  {"do": "overwrite_payload", "payload": "<payload>", "points": "<chosen>"}
  {"do": "delete_payload", "keys": ["n", "o.k", "o.list[].a"], "points": "<chosen>"}
  {"do": "clear_payload", "points_selector": "<chosen>"}
  {"do": "delete", "points_selector": "<chosen>"} | {"do": "update_vectors", "points": "<moved>"}
  {"do": "delete_vectors", "vectors": "<space*1>", "points": "<chosen>"}
  {"do": "batch_update_points", "update_operations": "<operation*3>"}
  {"do": "create_payload_index", "field_name": "<["x", "odd", "o.name", "o.list", "geo", "none"]>", "field_schema": "<schema>"}
  {"do": "delete_payload_index", "field_name": "<["x", "odd", "o.name", "geo", "none"]>"}
  {"do": "update_collection", "metadata": {"note": "<small>"}}
  {"do": "update_collection_aliases", "change_aliases_operations": "<aliasing*2>"}
  {"do": "upsert", "points": "<[[], [{"id": 1, "vector": [1.0]}], [{"id": "a", "vector": {}}]]>"}
  {"do": "upsert", "points": [{"id": "<[1, -1]>", "vector": {"what": [1.0, 2.0]}}]}
  {"do": "<["delete", "clear_payload"]>", "points_selector": "<[[], [1000000], ["x"]]>"}
  {"do": "set_payload", "payload": {"a": 1}, "points": [1000000]}
  {"do": "delete_vectors", "vectors": ["what"], "points": [1]}
chosen:
  "<q_id*4>" | "<q_id*2>" | {"must": [{"key": "n", "match": {"value": "<small>"}}]}
schema:
  "<["keyword", "integer", "float", "bool", "datetime", "geo", "uuid", "text"]>"
  {"type": "text", "tokenizer": "<["word", "prefix", "whitespace", "multilingual"]>", "lowercase": true}
  {"type": "keyword", "prefix": true}
aliasing:
  {"create_alias": {"collection_name": "<["plain", "none"]>", "alias_name": "<["a", "b", "plain"]>"}}
  {"delete_alias": {"alias_name": "a"}}
  {"rename_alias": {"old_alias_name": "b", "new_alias_name": "c"}}
operation:
  {"upsert": {"points": "<q_point*2>"}} | {"delete": {"points": "<q_id*2>"}}
  {"set_payload": {"payload": "<payload>", "points": "<q_id*1>"}}
  {"overwrite_payload": {"payload": "<payload>", "points": "<q_id*1>"}}
  {"delete_payload": {"keys": ["x"], "points": "<q_id*2>"}}
"""


def blocks_of(grammar: str) -> dict[str, list[Any]]:
    """The lines of each block by its name."""
    blocks: dict[str, list[Any]] = {}
    for line in grammar.strip().splitlines():
        if not line.startswith(" "):
            lines = blocks.setdefault(line.rstrip(":"), [])
        else:  # lists in <> are JSON in JSON, whose quotes needn't be escaped
            quoted = re.sub(r'"<(\[.*?\])>"', lambda one: json.dumps(f"<{one[1]}>"), line)
            lines += map(json.loads, quoted.split(" | "))
    return blocks


BLOCKS = blocks_of(GRAMMAR)
_DRAWN = re.compile(r"<(?:([a-z_]+)(?:\*(\d+))?|(\[.*\]))>", re.DOTALL)
DEEPEST = 7


class Values:
    """Draws what a block says, and the values that aren't told by one. kind: of the collection that
    is asked."""

    def __init__(self, draw: Draw, kind: "Kind") -> None:
        self.random, self.kind = draw, kind
        self.vector_space = kind.spaces[0]

    def grow(self, name: str, depth: int = DEEPEST) -> Any:
        """Something that the block, or the method, of this name may be."""
        if name not in BLOCKS:
            return getattr(self, name)()
        before = self.vector_space
        if name in ("asked", "fetched"):
            self.vector_space = self.random.choice(self.kind.spaces)
        lines = BLOCKS[name]
        if not self.kind.sparse and self.random.random() < 0.9:
            lines = [one for one in lines if "<sparse" not in str(one)] or lines
        if "text" not in self.kind.indexed and self.random.random() < 0.9:
            lines = [one for one in lines if "<by_words" not in str(one)] or lines
        grown = self.fill(self.random.choice(lines) if depth > 0 else lines[0], depth - 1)
        self.vector_space = before
        return grown

    def fill(self, template: Any, depth: int) -> Any:
        """A line with what is drawn in the places of what stands in <>."""
        if isinstance(template, list):
            return [self.fill(one, depth) for one in template]
        if isinstance(template, dict):
            filled: dict[str, Any] = {}
            for key, value in template.items():
                name = key.rstrip("?")
                if any(self.random.random() < 0.5 for _ in key[len(name) :]):
                    continue
                grown = self.fill(value, depth)
                filled.update(grown if name.startswith("+") else {name: grown})
            return filled
        found = _DRAWN.fullmatch(template) if isinstance(template, str) else None
        if found is None:
            return template
        name, most, choices = found.groups()
        if choices is not None:
            return self.random.choice(json.loads(choices))
        if most is None:
            return self.grow(name, depth)
        return [self.grow(name, depth) for _ in range(self.random.randint(1, int(most)))]

    # Plain values

    def small(self) -> int:
        return self.random.randrange(23)

    def real(self) -> float:
        return round(self.random.gauss(0, 10), 1)

    def big(self) -> Any:
        return self.random.choice((*BIG, 2.0**53, -1e300))

    def word(self) -> str:
        return WORDS[int(40 * self.random.random() ** 2)]

    def book(self) -> str:
        return f"book {self.random.randrange(40)}"

    def text(self, least: int = 1, most: int = 5) -> str:
        count = self.random.randint(least, most)
        return " ".join(WORDS[int(len(WORDS) * self.random.random() ** 1.7)] for _ in range(count))

    def moment(self) -> str:
        at = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=self.random.randrange(40_000))
        if self.random.random() < 0.25:
            return at.date().isoformat()
        return (at if self.random.random() < 0.7 else at.replace(tzinfo=None)).isoformat()

    def time(self) -> datetime:
        return datetime.fromisoformat(self.moment())

    def odd(self) -> Any:
        some = [None, True, False, 0, 1, 1.0, -2.5, "1", "", [], {}, [1, "a"], [None], {"k": [1]}]
        return self.random.choice([*some, *BIG, self.moment(), "2024-13-01"])

    def place(self) -> dict[str, float]:
        lon, lat = self.random.uniform(-180, 180), self.random.uniform(-85, 85)
        return {"lon": round(lon, 3), "lat": round(lat, 3)}

    def own_uuid(self) -> str:
        return f"{OWN_UUID}{self.random.randrange(1000):012x}"

    def payload(self, at: int | None = None) -> dict[str, Any]:
        """Metadata of a record; each key is missing from some."""
        draw = self.random
        at = draw.randrange(99) if at is None else at
        some = [{"a": draw.randrange(5), "b": self.word()} for _ in range(draw.randrange(3))]
        every = {
            "n": at % 23 if draw.random() < 0.9 else draw.choice((*BIG, None, 3.5)),
            "x": round(draw.gauss(0, 10), 2),
            "s": self.word(),
            "tags": [self.word() for _ in range(draw.randrange(4))],
            "b": draw.random() < 0.5,
            "when": self.moment(),
            "o": {"k": draw.randrange(9), "name": self.word(), "list": some},
            "a.b": draw.randrange(3),
            "odd": self.odd(),
            "book": f"book {at % 37}" if draw.random() < 0.8 else at % 5,
            "geo": self.place() if draw.random() < 0.8 else [self.place(), self.place()],
            "u": self.own_uuid(),
            "text": self.text(1, 6),
        }
        return {key: value for key, value in every.items() if draw.random() < 0.85}

    # Vectors

    def rows(self, count: int, size: int, exact: bool) -> np.ndarray[Any, Any]:
        """Random vectors. exact: of few bits, so that sums of products have no rounding; some are
        copies of others then, whose order is that of insertion."""
        drawn = np.random.default_rng(self.random.randrange(2**32))
        if not exact:
            return drawn.standard_normal((count, size)).astype(np.float32)
        made = drawn.integers(-64, 65, (count, size)).astype(np.float32) / 16
        made[17::41] = made[16::41][: len(made[17::41])]
        return made

    def vector(self) -> Any:
        return self.rows(1, self.kind.size, self.kind.exact)

    def flat(self) -> Any:
        return self.vector()[0].tolist()

    def pair(self) -> Any:
        return self.rows(2, self.kind.size, self.kind.exact)

    def vectors(self) -> Any:
        made = self.rows(self.random.randint(1, 3), self.kind.size, self.kind.exact)
        return made if self.random.random() < 0.5 else made.tolist()

    def sparse(self) -> dict[str, Any]:
        indices = sorted(self.random.sample(range(60), self.random.randint(1, 8)))
        return {"indices": indices, "values": [self.random.randint(1, 40) / 8 for _ in indices]}

    # Of collections in Chroma's shape

    def ids(self, most: int = 4) -> list[str]:
        many = [self.random.randrange(self.kind.count + 3) for _ in range(most)]
        some = [f"p{i}" if i % 5 else str(i) for i in many]
        return list(dict.fromkeys(some[: self.random.randint(1, most)]))

    def many_ids(self) -> list[str]:
        return self.ids(30)

    def records(self) -> dict[str, Any]:
        """Some, whose ids may be there already."""
        ids = self.ids()
        given: dict[str, Any] = {"ids": ids, "metadatas": [self.payload() for _ in ids]}
        if self.random.random() < 0.7:
            given["documents"] = [self.text(3, 14) for _ in ids]
        if self.random.random() < 0.7 or not self.kind.embeds:
            given["embeddings"] = self.rows(len(ids), self.kind.size, self.kind.exact)
        if self.kind.sparse and self.random.random() < 0.5:
            given["sparse_embeddings"] = [self.sparse() for _ in ids]
        return given

    def dicts(self) -> list[dict[str, Any]]:
        return [{"id": one, "embedding": self.flat(), "metadata": {"n": 1}} for one in self.ids()]

    def unknown(self) -> object:
        return object

    def reranker(self) -> Callable[..., Any]:
        return shortest_first

    def expression(self, depth: int = 2) -> Any:
        """A filter as an expression."""
        draw = self.random
        if depth and draw.random() < 0.6:
            terms = tuple(self.expression(depth - 1) for _ in range(draw.randint(1, 3)))
            kinds = (ex.And(terms), ex.Or(terms), ex.Not(terms[0]), ex.AtLeast(terms, 2))
            return draw.choice(kinds)
        low, word = draw.randrange(20), self.word()
        some = (
            *(ex.OneOf(("s",), (word, "dog")), ex.OneOf(("n",), (low, low + 1.0))),
            *(ex.ListHas(("tags",), word), ex.HasLength(("tags",), low % 3), Even(("n",))),
            *(ex.Range(("n",), gte=low, lt=low + 8), ex.TextRange(("s",), gte=word)),
            *(ex.TextIn(("s",), word[:1]), ex.Exists(("o", "k")), ex.HasId((f"p{low}", "5"))),
            *(ex.DocumentContains(word), ex.DocumentMatches(word)),
        )
        return draw.choice(some)

    # Of collections in Qdrant's shape

    def using(self) -> dict[str, Any]:
        return {"using": self.vector_space or None}

    def space(self) -> str:
        return self.random.choice(self.kind.spaces)

    def q_vector(self) -> Any:
        return self.vector_in(self.vector_space)

    def vector_in(self, space: str) -> Any:
        if space in ("words", "plain"):
            return self.sparse()
        size = SIZES[space]
        if space in ("multi", "angles"):
            return self.rows(self.random.randint(1, 4), size, exact=space == "multi").tolist()
        made = self.rows(1, size, space != "dense")[0]
        if space == "bytes":
            return (abs(made) * 30).astype(int).tolist()
        return [round(float(one), 4) for one in made]

    def q_id(self) -> Any:
        at = self.random.randrange(self.kind.count)
        return f"{OWN_UUID}{at:012x}" if at % 10 == 7 else at

    def q_point(self, at: int | None = None) -> dict[str, Any]:
        at = self.random.randrange(self.kind.count + 20) if at is None else at
        point_id = f"{OWN_UUID}{at:012x}" if at % 10 == 7 else at
        every = dict.fromkeys(self.kind.spaces)
        vector: Any = {one: self.vector_in(one) for one in every if self.random.random() < 0.93}
        if "" in every:
            vector = self.vector_in("")
        return {"id": point_id, "vector": vector, "payload": self.payload(at)}

    def moved(self) -> list[dict[str, Any]]:
        space = self.space()
        vector = self.vector_in(space)
        return [{"id": self.q_id(), "vector": {space: vector} if space else vector}]

    def looked_up(self) -> Any:
        more = {"collection": self.kind.name, "with_payload": ["n"], "with_vectors": True}
        return self.random.choice(("none", self.kind.name, more))

    def radius(self) -> float:
        return round(self.random.uniform(1e5, 8e6))

    def box(self) -> dict[str, Any]:
        west, south = self.random.randrange(-180, 90), self.random.randrange(-80, 30)
        lon, top = west + self.random.randrange(90), south + self.random.randrange(10, 50)
        return {"top_left": {"lon": west, "lat": top}, "bottom_right": {"lon": lon, "lat": south}}

    def ring(self) -> list[dict[str, Any]]:
        corners = [(-60, -40), (70, -50), (self.random.randrange(10, 90), 60), (-60, -40)]
        count = 3 if self.random.random() < 0.1 else 4
        return [{"lon": lon, "lat": lat} for lon, lat in corners[:count]]


class Even(ex.ValueLeaf):  # as a user would write one
    """Points whose number is even."""

    def __init__(self, path: tuple[str, ...]) -> None:
        self.path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Even) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"Even({self.path})"

    def holds(self, value: Any) -> bool:
        return isinstance(value, int) and value % 2 == 0


class Embedding:
    """Embeds texts by their words, the same each time."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, input: Iterable[str]) -> list[Any]:
        return [self._one(text) for text in input]

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


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a collection is like, and what share of the questions of its front it is asked."""

    name: str
    count: int
    share: float
    size: int = 0
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    exact: bool = True
    on_disk: bool = True
    embeds: bool = True
    spaces: tuple[str, ...] = ("",)
    indexed: tuple[str, ...] = ()

    @property
    def sparse(self) -> bool:
        return "sparse" in self.settings or "words" in self.spaces


ENGLISH = {"text": {"language": "english", "stopwords": True}, "sparse": {"idf": True}}
HALVES = {"hnsw": {"space": "l2"}, "vectors": {"datatype": "float16"}, "index": "exact"}
DOTS = {"hnsw": {"space": "ip"}, "text": {"stopwords": ["the", "don't"]}}
SMALL = Kind("small", 60, 0.2, 8, {"sparse": {"idf": False}}, on_disk=False)
MIDDLE = Kind("middle", 700, 0.3, 16, {"hnsw": {"space": "cosine"}, **ENGLISH}, exact=False)
KINDS = (
    *(
        SMALL,
        MIDDLE,
        Kind("large", 2_600, 0.25, 32, DOTS),
        Kind("halves", 900, 0.1, 12, HALVES, embeds=False),
    ),
    Kind("huge", 21_500, 0.15, 24),
)
EVERYTHING = ["documents", "metadatas", "embeddings", "uris", "sparse_embeddings"]
EXPLAINED = ("points", "matching", "legs", "alphas", "reranked")


class Collections:
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
            function = Embedding(kind.size) if kind.embeds else None
            client = self.clients[kind.on_disk]
            self.held[kind.name] = client.get_collection(kind.name, embedding_function=function)
        return self.held[kind.name]

    def make(self, kind: Kind) -> None:
        record, client = self.recorder, self.clients[kind.on_disk]
        values = Values(record.draw("make", kind.name), kind)
        given = kind.name, kind.settings, {"made": "here"}
        record.call("create", client.create_collection, *given, embedding_function=None)
        collection = self.opened(kind)
        record.ask(kind.name, lambda: [collection.metadata, collection.configuration])
        made = values.rows(kind.count, kind.size, kind.exact)
        for start in range(0, kind.count, 4_000):
            at = range(start, min(start + 4_000, kind.count))
            records: dict[str, Any] = {
                "ids": [f"p{i}" if i % 5 else str(i) for i in at],
                "embeddings": made[at.start : at.stop],
                "documents": [None if i % 11 == 3 else values.text(3, 14) for i in at],
                "metadatas": [values.payload(i) if i % 4 == 0 or i < 3_000 else None for i in at],
                "uris": [f"file:{i}" if i % 11 == 3 else None for i in at],
            }
            if kind.sparse:
                records["sparse_embeddings"] = [None if i % 7 == 0 else values.sparse() for i in at]
            record.ask(f"{kind.name}: {at}", partial(collection.add, **records))
        if kind.count > 20_000:
            record.ask(f"{kind.name}.optimize", collection.optimize)

    def run(self, questions: int, kinds: Iterable[Kind] = KINDS) -> None:
        for kind in kinds:
            self.make(kind)
        for kind in kinds:
            for at in range(round(questions * kind.share)):
                values = Values(self.recorder.draw(kind.name, at), kind)
                if at % 150 == 149:
                    self.reopen()
                if at % 9 == 8:
                    self.ask(kind, values.grow("write"))
                    self.ask(kind, {"do": "count"})
                self.ask(kind, values.grow("question"))

    def ask(self, kind: Kind, asked: dict[str, Any]) -> None:
        """One call, of a method or of what stands for it here."""
        does, collection = asked.pop("do"), self.opened(kind)
        method = getattr(self, f"_{does}", None)
        call = getattr(collection, does, None) if method is None else partial(method, collection)
        self.recorder.call(f"{kind.name}.{does}", call, **asked)

    @staticmethod
    def _explain(collection: Any, **asked: Any) -> Any:
        found = collection.explain(**asked)
        return {key: found.get(key) for key in EXPLAINED}

    @staticmethod
    def _why(collection: Any, **asked: Any) -> Any:
        return told_reasons(collection.why(**asked))

    @staticmethod
    def _search(collection: Any, **asked: Any) -> Any:
        as_dict = collection.search(asked)
        again = collection.search([rs.Search.from_dict(asked), rs.Search().limit(1)])
        return [dict(as_dict), as_dict.rows(), [canonical(one) for one in again["ids"]]]

    @staticmethod
    def _modify(collection: Any, **asked: Any) -> Any:
        collection.modify(**asked)
        return [collection.name, collection.metadata, collection.configuration]

    @staticmethod
    def _other(collection: Any, which: int) -> Any:
        match which:
            case 0:
                return collection.peek(3)
            case 1:
                return list(collection.iterate(7, where={"n": {"$lt": 2}}))[:60]
            case 2:
                warmed = collection.warm(["n", "s"], text=True)
                return [warmed["points"], [*warmed]]
            case 3:
                return ["p1" in collection, 3 in collection, bool(collection), len(collection)]
            case 4:
                return rs.to_pandas(collection.get(limit=9), expand=True).to_csv()
            case 5:
                return pickle.dumps(collection)
            case 6:
                return [repr(collection), collection._repr_html_(), collection.stats()["points"]]
            case 7:
                drawn = collection.map("book", sample=50, mark=["p1"], library="altair")
                return [*drawn.to_dict()["datasets"].values()]
        key, knn = rs.K("n"), rs.Knn([1.0] * collection.peek(1)["embeddings"].shape[1], limit=30)
        where = ((key > 3) & (rs.K("s") != "cat")) | rs.K.DOCUMENT.contains("dog")
        rank = (abs(-knn * 2 + 1).log() / 3 - rs.Val(1)).max(0.5).min(9) + knn.exp() * 0
        both = rs.Rrf(
            [rs.Knn(knn.to_dict()["$knn"]["query"], return_rank=True)] * 2, weights=[1, 2]
        )
        group = rs.GroupBy(rs.K("book"), rs.MinK(rs.K.SCORE, 1))
        plain = rs.Search().where(where).rank(rank).limit(5).select(rs.K.SCORE, "n")
        return dict(collection.search([plain, rs.Search(key.is_in([1, 2]), both, group, 4)]))


def told_reasons(found: Any) -> Any:
    return [str(found), [canonical(one) for one in found]]


# ---- the front in Qdrant's shape

m = models
SIZES = {"": 8, "dense": 16, "multi": 6, "angles": 4, "half": 8, "bytes": 5, "large": 32}
EVERY = ("dense", "dense", "multi", "angles", "half", "bytes", "words", "plain")
KEYS = ("n", "x", "s", "tags", "b", "when", "o.k", "o.list[].a", "geo", "u", "text", "book")
PLAIN = Kind("plain", 300, 0.25, on_disk=False, indexed=("n", "book"))
NAMED = Kind("named", 1_200, 0.49, spaces=EVERY, indexed=KEYS)
LARGE = Kind("many", 2_600, 0.2, spaces=("large",), indexed=("n", "x", "s", "book"))
STRICT = Kind("strict", 200, 0.06, on_disk=False, indexed=("n",))
INDEXES: dict[str, Any] = {
    **dict.fromkeys(("n", "o.k", "o.list[].a"), "integer"),
    "x": "float",
    "b": "bool",
    "when": "datetime",
    "geo": "geo",
    "u": "uuid",
    **dict.fromkeys(("s", "tags", "book"), "keyword"),
    "text": {"type": "text", "tokenizer": "word", "phrase_matching": True, "scoring": True},
}
CREATED = r"""{
"plain": {"vectors": {"size": 8, "distance": "Euclid"}},
"many": {"vectors": {"large": {"size": 32, "distance": "Dot"}}},
"strict": {
  "vectors": {"size": 8, "distance": "Manhattan"},
  "strict_mode_config": {"enabled": true, "max_query_limit": 20, "search_max_batchsize": 2,
    "unindexed_filtering_retrieve": false, "unindexed_filtering_update": false,
    "upsert_max_batchsize": 50, "filter_max_conditions": 3, "condition_max_size": 10,
    "search_allow_exact": false}},
"named": {
  "vectors": {
    "dense": {"size": 16, "distance": "Cosine"},
    "multi": {"size": 6, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    "angles": {"size": 4, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}},
    "half": {"size": 8, "distance": "Dot", "datatype": "float16"},
    "bytes": {"size": 5, "distance": "Euclid", "datatype": "uint8"}},
  "sparse_vectors": {"words": {"modifier": "idf"}, "plain": {}}}
}"""
RENAMED = {"vectors": "vectors_config", "sparse_vectors": "sparse_vectors_config"}
OF_QUERY = {"filter": "query_filter", "params": "search_params", "with_vector": "with_vectors"}
FILTERS = ("scroll_filter", "count_filter", "facet_filter", "update_filter")


def model(kind: Any, given: Any) -> Any:
    """Values as models of qdrant-client's."""
    return TypeAdapter(kind).validate_python(given)


def as_models(does: str, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a method with models in the places of dicts."""
    made = dict(given)
    if does in ("query_points", "query_points_groups", "explain", "why"):
        fields = {key: made.pop(key) for key in [*made] if key in m.QueryRequest.model_fields}
        request = m.QueryRequest.model_validate(fields)
        made |= {OF_QUERY.get(key, key): getattr(request, key) for key in fields}
        if does == "query_points_groups":
            made.pop("offset", None)
    for key, value in made.items():
        if key in FILTERS:
            made[key] = model(m.Filter, value)
        elif key == "order_by":
            made[key] = model(m.OrderBy, value)
        elif key == "update_mode":
            made[key] = m.UpdateMode(value)
        elif key == "requests":
            made[key] = model(list[m.QueryRequest], value)
        elif key == "update_operations":
            made[key] = model(list[m.UpdateOperation], value)
        elif key == "change_aliases_operations":
            made[key] = model(list[m.AliasOperations], value)
        elif key == "field_schema":
            made[key] = model(m.PayloadSchemaType | m.PayloadSchemaParams, value)
        elif key == "points" and does in ("upsert", "update_vectors"):
            of = m.PointStruct if does == "upsert" else m.PointVectors
            made[key] = model(list[of], value)
        elif key in ("points", "points_selector") and isinstance(value, dict):
            made[key] = model(m.Filter, value)
    return made


class Qdrants:
    """Asks collections in Qdrant's shape."""

    def __init__(self, recorder: Recorder, directory: Path) -> None:
        self.recorder, self.path = recorder, directory / "qdrant"
        self.stores = {True: QdrantClient(path=str(self.path)), False: QdrantClient(":memory:")}

    def client(self, kind: Kind) -> QdrantClient:
        return self.stores[kind.on_disk]

    def reopen(self) -> None:
        self.stores[True].close()
        self.stores[True] = QdrantClient(path=str(self.path))

    def make(self, kind: Kind) -> None:
        name, record, client = kind.name, self.recorder, self.client(kind)
        values = Values(record.draw("qdrant", name), kind)
        fields = json.loads(CREATED)[name]
        config = m.CreateCollection.model_validate(fields)
        given = {RENAMED.get(key, key): getattr(config, key) for key in fields}
        record.ask(f"create {name}", lambda: client.create_collection(name, **given))
        points = model(list[m.PointStruct], [values.q_point(at) for at in range(kind.count)])
        for start in range(0, kind.count, 400 if kind.count > 200 else 40):
            some = points[start : start + (400 if kind.count > 200 else 40)]
            record.ask(f"{name}: {start}", partial(client.upsert, name, some))
        for key in kind.indexed:
            self.ask(
                kind,
                {"do": "create_payload_index", "field_name": key, "field_schema": INDEXES[key]},
            )
        record.ask(f"{name} info", lambda: client.get_collection(name))

    def run(self, questions: int, kinds: Iterable[Kind] = (PLAIN, NAMED, LARGE, STRICT)) -> None:
        for kind in kinds:
            self.make(kind)
        for kind in kinds:
            for at in range(round(questions * kind.share)):
                values = Values(self.recorder.draw("qdrant", kind.name, at), kind)
                if at % 150 == 149:
                    self.reopen()
                if at % 9 == 8:
                    self.ask(kind, values.grow("q_write"))
                    self.ask(kind, {"do": "count", "exact": kind is not STRICT})
                self.ask(kind, values.grow("q_question"))

    def ask(self, kind: Kind, asked: dict[str, Any]) -> None:
        """One call, of a method or of what stands for it here."""
        does, client = asked.pop("do"), self.client(kind)
        own, of_all = getattr(self, f"_{does}", None), does == "update_collection_aliases"
        call = partial(
            getattr(client, does) if own is None else own, *(() if own is None else (client,))
        )
        named = () if of_all else (kind.name,)
        label = f"{kind.name}.{does}({told(asked)})"
        self.recorder.ask(label, lambda: call(*named, **as_models(does, asked)))

    @staticmethod
    def _explain(client: Any, name: str, **asked: Any) -> Any:
        found = explain(client, name, **asked)
        return {key: found.get(key) for key in EXPLAINED}

    @staticmethod
    def _why(client: Any, name: str, **asked: Any) -> Any:
        return told_reasons(why(client, name, **asked))

    @staticmethod
    def _sampled(client: Any, name: str, which: int) -> Any:
        """What has chance in it: only what is the same whatever is drawn is kept."""
        some = m.Filter(must=[m.HasIdCondition(has_id=[*range(1, 16)])])
        space = {"named": "dense", "many": "large"}.get(name)
        if which == 0:
            query = m.SampleQuery(sample=m.Sample.RANDOM)
            found = client.query_points(name, query, query_filter=some, limit=20).points
            return {str(one.id) for one in found}
        if which == 1:
            pairs = client.search_matrix_pairs(name, some, 3, 20, space).pairs
            return {(str(one.a), str(one.b), number(one.score)) for one in pairs}
        return sorted(map(number, client.search_matrix_offsets(name, some, 2, 20, space).scores))

    def snapshots(self) -> None:
        """Snapshots, the collections that are made of them again, and what else a client tells."""
        client, record, name = self.stores[True], self.recorder, LARGE.name
        before = client.scroll(name, limit=40, with_vectors=True)
        made = record.ask("create_snapshot", lambda: client.create_snapshot(name))
        record.ask("list_snapshots", lambda: len(client.list_snapshots(name)))
        record.ask("delete points", lambda: client.delete(name, [1, 2, 3]))
        uri = f"file://{self.path}/snapshots/collection-{name}/{made.name}"
        record.call("recover_snapshot", client.recover_snapshot, name, uri)
        record.ask("recovered", lambda: client.scroll(name, limit=40, with_vectors=True) == before)
        record.ask("full", lambda: bool(client.create_full_snapshot().name))
        record.ask("full", lambda: len(client.list_full_snapshots()))
        record.ask("delete_snapshot", lambda: client.delete_snapshot(name, made.name))
        record.call("recover_snapshot", client.recover_snapshot, name, "file:///nowhere")
        record.ask("in memory", lambda: self.stores[False].create_snapshot("plain"))
        more = m.DenseVectorNameConfig(dense=m.DenseVectorConfig(size=2, distance="Dot"))
        record.call("vector names", client.create_vector_name, "named", "more", more)
        record.call("vector names", client.delete_vector_name, "named", "half")
        record.call("vector names", client.delete_vector_name, "named", "half")
        record.call("info", client.get_collection, "named")
        record.ask("info", lambda: client.info().title)
        record.ask("cluster", lambda: [client.cluster_status(), client.list_shard_keys("named")])
        record.ask("cluster", lambda: client.create_shard_key("named", "a"))
        record.ask("collections", client.get_collections)
        record.ask("exists", lambda: [client.collection_exists(one) for one in ("named", "none")])
        record.call("missing", client.count, "none")
        record.ask("created", lambda: client.create_collection("named", {}))
        with rs.Client(self.path) as opened:
            record.ask("other front", lambda: sorted(one.name for one in opened.list_collections()))
            record.ask("other front", lambda: opened.get_collection(name).get(limit=3))
        record.call("deleted", client.delete_collection, name)
        client.close()
        record.call("closed", client.count, "named")


# ---- what else there is


def served(record: Recorder, questions: int) -> None:
    """Questions of a store that is served, by both fronts."""
    with tempfile.TemporaryDirectory() as directory, running(grpc_port=0) as url:
        fronts = Collections(record, Path(directory))
        fronts.reopen = lambda: None  # type: ignore[method-assign]
        fronts.clients = dict.fromkeys((True, False), rs.Client(url=url))
        fronts.run(questions // 2, [dataclasses.replace(SMALL, name="served", share=1)])
        qdrants, asked = Qdrants(record, Path(directory)), {"check_compatibility": False}
        http = QdrantClient(url=url, **asked)
        rpc = QdrantClient(url=url, grpc_port=url.grpc_port, prefer_grpc=True, **asked)
        turns = itertools.cycle((http, http, rpc))
        qdrants.client = lambda kind: next(turns)  # type: ignore[method-assign]
        qdrants.reopen = lambda: None  # type: ignore[method-assign]
        Masked.sorts = True  # what comes by gRPC has the keys of payloads in any order
        qdrants.run(questions // 2, [dataclasses.replace(PLAIN, share=1)])
        Masked.sorts = False
        record.ask("served aliases", http.get_aliases)
        http.close()
        rpc.close()


def whole_stores(record: Recorder, fronts: Collections, directory: Path) -> None:
    """Forks, copies, snapshots, files, evaluations and the rest of clients."""
    client, small = fronts.clients[True], fronts.opened(MIDDLE)
    memory = fronts.opened(SMALL)
    record.ask("optimize", small.optimize)
    record.ask("middle", lambda: small.get(limit=200, include=EVERYTHING))
    forked = record.ask("fork", lambda: small.fork("forked"))
    record.ask("forked", lambda: forked.get(limit=50, include=EVERYTHING))
    record.ask("fork again", lambda: small.fork("forked"))
    record.ask("snapshot", lambda: client.snapshot(directory / "whole.snapshot"))
    record.ask("snapshot again", lambda: client.snapshot(directory / "whole.snapshot"))
    record.ask("restore", lambda: rs.restore(directory / "whole.snapshot", directory / "restored"))
    with rs.Client(directory / "restored") as restored:
        record.ask(
            "restored", lambda: [(one.name, one.count()) for one in restored.list_collections()]
        )
        again = restored.get_collection("middle", embedding_function=Embedding(16))
        record.ask("restored", lambda: again.get(limit=200, include=EVERYTHING))
        for at in range(40):
            draw = record.draw("restored", at)
            values = Values(draw, MIDDLE)
            record.call(
                "restored.query", again.query, **values.grow("query"), **values.grow("filters")
            )
        record.ask("verify", lambda: [one.problem for one in restored.verify()])
        with rs.Client() as other:
            record.ask("copy", lambda: restored.copy_to(other, ["middle", "halves"]))
            record.ask(
                "copied", lambda: other.get_collection("middle").get(limit=30, include=EVERYTHING)
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
        record.ask(f"from {name}", lambda target=target: target.get(limit=60, include=EVERYTHING))
    bad = directory / "bad.jsonl"
    bad.write_text('{"id": "a", "embedding": [1]}\n{"id": 3}\nnonsense\n')
    record.ask("check", lambda: exchange.check(bad, small))
    record.ask("add_file", lambda: exchange.add_file(small, bad))
    record.ask("passages_of", lambda: list(exchange.passages_of("One. Two two. " * 90)))
    few = small.get(limit=30, where_document={"$contains": " "}, include=["documents"])
    some = zip(few["ids"], few["documents"], strict=True)
    asked = [{"query": one[: 8 + len(one) // 3], "ids": [known]} for known, one in some]
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
            answer = [answer[0], re.sub(r"[\d,.]+", "#", Masked.text(answer[1])), answer[2]]
        record.ask(" ".join(arguments), lambda answer=answer: answer)


# ---- the public surface

ROOMS = (
    *("", "errors", "filters.expression", "embeddings", "loaders", "plugins", "utils"),
    *("exchange", "evaluation", "qdrant", "server", "rerankers", "chromadb", "chromadb.api"),
    *("chromadb.api.types", "chromadb.config", "chromadb.errors", "chromadb.types"),
    *("chromadb.utils.embedding_functions", "chromadb.utils.data_loaders", "chromadb.base_types"),
    *("chromadb.execution.expression", "embeddings.bm25", "embeddings.frameworks"),
    *("embeddings.sentence_transformers", "indexes"),
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

        fronts = Collections(record, directory)
        fronts.run(many)
        note("collections")
        whole_stores(record, fronts, directory)
        note("whole stores")
        fronts.clients[True].close()
        commands(record, fronts.path, directory)
        note("commands")
        qdrants = Qdrants(record, directory)
        qdrants.run(many)
        qdrants.snapshots()
        note("qdrant")
        served(record, 2 * few)
        note("served")
        shown = surface()
        note("surface")
    head = {"head": {"questions": questions, "seed": seed, "asked": record.questions}}
    return [head, *record.lines, *shown]


def alike(one: Any, other: Any) -> bool:
    """Whether two answers are equal, but for rounding."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=3e-6, abs_tol=1e-9)
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
