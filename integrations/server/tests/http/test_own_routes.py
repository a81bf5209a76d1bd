"""The package's own routes: every request is answered in time, never with an internal error, and a
refused one has written nothing."""

import contextlib
import random
from contextlib import closing

import numpy as np
import orjson
import pytest

import retrieval_store
from integrations.server.tests.http.asked import Asking
from retrieval_store import SparseVector
from retrieval_store.extension import (
    Analyzer,
    BestOfEach,
    Bm25,
    Fields,
    FuseRankings,
    NearestDense,
    NearestSparse,
    NewSpace,
    NonDenseVectors,
    PointBatch,
    Query,
    QueryStep,
    Vectors,
    WriteRules,
    filter_of,
)
from retrieval_store_server import app
from retrieval_store_server.native.codec import pack_message, unpack_message
from retrieval_store_server.native.methods import POINTS, ROOT, STORE

VALUES = (None, True, False, 0, 1, -1, 7, 2**63, -(2**63), 1.5, "", "a", "\0", [], [1], ["a"], {})
WHERE = filter_of(
    {"$or": [{"n": {"$gte": 2}}, {"k": {"$in": ["a", "b"]}}, {"t": {"$ne": "x"}}]}, None
)
DOCUMENTS = filter_of(None, {"$regex": "wo.d"})
NEAR = NearestDense("", np.ones((2, 3), np.float32), ef=9)
WORDS = Bm25(("words", "river"), Analyzer("english", frozenset(["the"])), True)
SPARSE = NearestSparse(
    "sparse", (SparseVector(np.array([1, 5], np.uint32), np.ones(2, np.float32)),), WHERE
)
LEGS = (QueryStep(NEAR, 10, WHERE), QueryStep(WORDS, 10, DOCUMENTS))
QUESTIONS = [
    Query((QueryStep(NEAR, 5, WHERE, threshold=9.0, offset=1),), Fields(True, True, True, ("",))),
    Query((QueryStep(SPARSE, 5),), Fields(vectors=("sparse",)), BestOfEach(("k",), 2)),
    Query(
        (QueryStep(FuseRankings("adaptive", (0.5, 0.5)), 5, prefetch=LEGS),),
        Fields(),
        measured=NEAR,
    ),
    Query((QueryStep(NEAR, 3), QueryStep(WORDS, 3)), Fields(payload=True)),
]
BATCH = PointBatch(
    ["new", 7],
    {
        "": Vectors(np.ones((2, 3), np.float32), np.array([0, 1])),
        "sparse": NonDenseVectors(
            [SparseVector(np.array([3], np.uint32), np.ones(1, np.float32))], np.array([1])
        ),
    },
    [{"n": 1, "l": [{"a": 1}]}, None],
    ["words", None],
)
CALLS = [
    *((POINTS[name], {"question": one}) for one in QUESTIONS for name in ("ask", "explain")),
    (POINTS["put"], {"batch": BATCH, "rules": WriteRules("update", "insert", where=WHERE)}),
    (POINTS["append"], {"batch": BATCH}),
    (POINTS["delete"], {"ids": ["p1", 3], "expression": WHERE, "limit": 2}),
    (POINTS["merge_payload"], {"expression": WHERE, "payload": {"k": None, "l": [1]}}),
    (
        POINTS["get"],
        {"ids": None, "expression": WHERE, "limit": 3, "offset": 1, "fields": Fields(True)},
    ),
    (
        POINTS["in_order"],
        {
            "path": ("n",),
            "expression": WHERE,
            "limit": 3,
            "offset": 0,
            "descending": True,
            "fields": Fields(uri=True, vectors=("",), version=True),
        },
    ),
    (POINTS["sample"], {"expression": WHERE, "size": 2, "fields": Fields(True)}),
    (POINTS["facet"], {"path": ("k",), "expression": WHERE, "limit": 3}),
    (POINTS["kinds"], {"path": ("k",)}),
    (POINTS["count_within"], {"expression": WHERE, "seconds": 0.5}),
    (POINTS["project"], {"space": "", "expression": WHERE, "sample": 3, "seed": 1, "path": ("k",)}),
    (POINTS["warm"], {"paths": [("n",)], "analyzer": Analyzer("english", frozenset())}),
    (POINTS["configure_index"], {"space": "", "index": {"name": "hnsw", "settings": {}}}),
    (POINTS["add_space"], {"name": "more", "space": NewSpace("cosine", {}, "sparse")}),
    (POINTS["drop_space"], {"name": "nothing"}),
    (STORE["page"], {"limit": 3, "offset": 0}),
    (
        STORE["create"],
        {"name": "made", "settings": {}, "spaces": {"": NewSpace("l2")}, "collection_id": None},
    ),
    (STORE["by_name"], {"name": "things"}),
    (STORE["exchange_aliases"], {"before": {}, "after": {"alias": "things"}}),
    (STORE["verified"], {"analyzers": {"x": Analyzer()}}),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "store"
    with retrieval_store.Client(path) as client, closing(Asking(app(client))) as ask:
        things = client.create_collection("things", {"sparse": {}}, embedding_function=None)
        things.add(
            ids=[f"p{i}" for i in range(6)],
            embeddings=[[i, 0, 1] for i in range(6)],
            documents=[f"words number {i}" for i in range(6)],
            metadatas=[{"n": i, "k": "ab"[i % 2]} for i in range(6)],
            sparse_embeddings=[{"indices": [i], "values": [1]} for i in range(6)],
        )
        yield ask, things


def path_of(method, things):
    if method.name in STORE and STORE[method.name] is method:
        return f"{ROOT}/store/{method.name}"
    return f"{ROOT}/points/{things.id}/{method.name}"


@pytest.mark.parametrize(("method", "given"), CALLS, ids=lambda one: getattr(one, "name", ""))
def test_each_is_answered_with_what_a_client_reads(store, method, given):
    ask, things = store
    answer = ask("POST", path_of(method, things), raw=b"".join(method.encode_arguments(given)))
    if method.name == "drop_space":
        assert answer.json["error"] == "NotFoundError"
        return
    assert answer.status == 200, answer.body
    method.decode_result(answer.body)


def changed(value, draw):
    """JSON with one value replaced by another."""
    if isinstance(value, dict | list) and value and draw.random() < 0.85:
        keys = [*value] if isinstance(value, dict) else [*range(len(value))]
        key = draw.choice(keys)
        made = dict(value) if isinstance(value, dict) else list(value)
        if isinstance(value, dict) and draw.random() < 0.1:
            del made[key]
        else:
            made[key] = changed(value[key], draw)
        return made
    return draw.choice(VALUES)


def state_of(things):
    return things.get(include=["documents", "metadatas", "embeddings"]), things.configuration


def test_hostile_messages_are_no_error_of_the_server(store):
    ask, things = store
    draw = random.Random(0)
    refused = 0
    for _ in range(500):
        method, given = draw.choice(CALLS)
        data, arrays = unpack_message(b"".join(method.encode_arguments(given)))
        if draw.random() < 0.8:
            data = changed(data, draw)
        elif arrays:
            arrays = [draw.choice(ODD) if draw.random() < 0.5 else one for one in arrays]
        before = state_of(things)
        answer = ask("POST", path_of(method, things), raw=b"".join(pack_message(data, arrays)))
        assert answer.status < 500, (method.name, data, answer.body)
        if answer.status != 200:
            refused += 1
            assert orjson.loads(answer.body)["error"]
            assert repr(state_of(things)) == repr(before), (method.name, data)
    assert refused > 100


ODD = [
    np.empty((0, 3), np.float32),
    np.ones((2, 4), np.float32),
    np.full((2, 3), np.nan, np.float32),
    np.full((2, 3), 3e38, np.float32),
    np.array([-1, 5]),
    np.array([1, 0]),
    np.array([0, 0], np.uint32),
    np.ones((2, 3, 1), np.float32),
    np.array([2**63 - 1, 2]),
]


def test_a_reader_may_read_alone(tmp_path):
    with contextlib.ExitStack() as stack:
        made = app(tmp_path / "s", api_keys=["full"], read_only_api_keys=["look"])
        ask = stack.enter_context(closing(Asking(made)))
        for name, method in {**STORE, **POINTS}.items():
            kind = "store" if name in STORE else "points/00000000-0000-0000-0000-000000000000"
            path = f"{ROOT}/{kind}/{name}"
            assert ask("POST", path, raw=b"").status == 401
            assert ask("POST", path, raw=b"", api_key="wrong").status == 401
            expected = 400 if method.access == "read" else 403
            assert ask("POST", path, raw=b"", api_key="look").status == expected
            assert ask("POST", path, raw=b"", api_key="full").status == 400


def test_read_only_service_is_reported(tmp_path):
    with retrieval_store.Client(tmp_path / "s") as client:
        client.create_collection("things", embedding_function=None)
    with closing(Asking(app(tmp_path / "s", read_only=True))) as ask:
        sent = b"".join(STORE["drop"].encode_arguments({"name": "things"}))
        answer = ask("POST", f"{ROOT}/store/drop", raw=sent)
        assert (answer.status, answer.json["error"]) == (403, "ReadOnlyError")
