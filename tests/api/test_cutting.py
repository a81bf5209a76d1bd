"""Queries with offsets, distance limits, groups, or stored points as queries; points ordered by a
number.
"""

import numpy as np
import pytest

from retrieval_store import Groups, Hybrid
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError

COUNT, DIMENSION = 40, 4
RANDOM = np.random.default_rng(8)
VECTORS = RANDOM.normal(size=(COUNT, DIMENSION)).astype(np.float32)
QUERIES = RANDOM.normal(size=(2, DIMENSION)).astype(np.float32)


@pytest.fixture(params=["l2", "cosine"])
def points(client, request):
    collection = client.create_collection(
        "points", configuration={"hnsw": {"space": request.param}}, embedding_function=None
    )
    collection.add(
        ids=[str(i) for i in range(COUNT)],
        embeddings=VECTORS,
        documents=[f"word{i % 5} of {i}" for i in range(COUNT)],
        metadatas=[
            {"book": f"b{i % 7}", "n": COUNT - i} if i % 9 else {"other": True}
            for i in range(COUNT)
        ],
    )
    return collection


def test_pages_of_hits_join(points):
    everything = points.query(query_embeddings=QUERIES, n_results=COUNT)
    for mode in ({}, {"where": {"n": {"$gt": 5}}}):
        whole = points.query(query_embeddings=QUERIES, n_results=COUNT, **mode)
        pages = [
            points.query(query_embeddings=QUERIES, n_results=6, offset=start, **mode)
            for start in range(0, COUNT, 6)
        ]
        for i in range(2):
            for field in ("ids", "distances"):
                joined = [one for page in pages for one in page[field][i]]
                assert joined == whole[field][i]
    texts = points.query(query_texts="word3", mode="text", n_results=5)["ids"][0]
    later = points.query(query_texts="word3", mode="text", n_results=3, offset=2)["ids"][0]
    assert later == texts[2:]
    assert points.query(query_embeddings=QUERIES, offset=COUNT)["ids"] == [[], []]
    assert len(everything["ids"][0]) == COUNT


def test_farther_hits_are_left_out(points):
    whole = points.query(query_embeddings=QUERIES, n_results=COUNT)
    farthest = whole["distances"][0][10]
    found = points.query(query_embeddings=QUERIES, n_results=COUNT, max_distance=farthest)
    for i in range(2):
        within = [d for d in whole["distances"][i] if d <= farthest]
        assert found["distances"][i] == within
        assert found["ids"][i] == whole["ids"][i][: len(within)]


@pytest.mark.parametrize("size", [1, 3])
def test_the_best_of_each_kind(points, size):
    whole = points.query(query_embeddings=QUERIES, n_results=COUNT)
    found = points.query(
        query_embeddings=QUERIES, n_results=5, group_by=Groups("book", size), include=[]
    )
    for i in range(2):
        times, expected = {}, []
        for one, metadata in zip(whole["ids"][i], whole["metadatas"][i], strict=True):
            book = metadata.get("book")
            times[book] = times.get(book, 0) + 1
            if book is not None and times[book] <= size:
                expected.append(one)
        assert found["ids"][i] == expected[:5]
    assert found["metadatas"] is None
    assert points.query(query_embeddings=QUERIES, group_by="nowhere")["ids"] == [[], []]


def test_numbers_that_are_equal_are_one_kind(client):
    collection = client.create_collection("numbers", embedding_function=None)
    kinds = [1, 1.0, True, 0, -0.0, 1e300, "1", 2**53, 2.0**53, 10**16, 1e16]
    collection.add(
        ids=[str(i) for i in range(len(kinds))],
        embeddings=[[float(i), 1.0] for i in range(len(kinds))],
        metadatas=[{"kind": kind} for kind in kinds],
    )
    found = collection.query(query_embeddings=[0.0, 1.0], n_results=9, group_by="kind")
    assert found["ids"] == [["0", "2", "3", "5", "6", "7", "9"]]


def of_kinds(whole, cut):
    """The hits that remain of all hits, by applying groups, distance, offset and limit one by
    one."""
    times, found = {}, []
    for one, metadata, distance in zip(
        whole["ids"][0], whole["metadatas"][0], whole["distances"][0], strict=True
    ):
        value = metadata["deep"].get("kind") if "deep" in metadata else None
        key = repr(value) if isinstance(value, bool | dict | str) else value
        times[key] = times.get(key, 0) + 1
        if value is not None and distance <= cut["max_distance"]:
            found += [one] * (times[key] <= cut["group_by"].size)
    return found[cut["offset"] :][: cut["n_results"]]


@pytest.mark.embedded
def test_kinds_of_any_value_are_followed_through_writes(client):
    random = np.random.default_rng(11)
    collection = client.create_collection("kinds", embedding_function=None)
    kinds = [1, 1.0, "1", True, "true", 2.5, {"a": 1}, {"a": 2}, None, 'x"y', "\x00"]

    def drawn():
        kind = kinds[random.integers(len(kinds))]
        return {"deep": {"kind": kind} if kind is not None else {}}

    for _ in range(12):
        ids = [str(i) for i in random.choice(400, 60, replace=False)]
        vectors = random.normal(size=(60, DIMENSION)).astype(np.float32)
        collection.upsert(ids=ids, embeddings=vectors, metadatas=[drawn() for _ in ids])
        collection.delete(ids=ids[:5])
        query = {"query_embeddings": random.normal(size=(1, DIMENSION))}
        whole = collection.query(**query, n_results=400)
        for _ in range(8):
            cut = {
                "n_results": int(random.integers(1, 40)),
                "offset": int(random.integers(0, 12)),
                "max_distance": float(random.choice([2.0, 6.0, 1e9])),
                "group_by": Groups("deep.kind", int(random.integers(1, 9))),
            }
            found = collection.query(**query, **cut)
            assert found["ids"][0] == of_kinds(whole, cut)


def test_it_is_explained_how_a_cut_is_answered(points):
    explanation = points.explain(query_embeddings=QUERIES[:1], n_results=7, group_by="book")
    plain = points.explain(query_embeddings=QUERIES[:1], n_results=7)
    assert set(explanation) == set(plain)
    if "plans" in explanation:  # what is asked for again is planned again
        assert len(explanation["plans"]) >= len(plain["plans"]) == 1


def test_more_like_these(points):
    unit = VECTORS.astype(np.float64)
    cosine = points.configuration["hnsw"]["space"] == "cosine"
    if cosine:
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    query = 2 * unit[[1, 2]].mean(axis=0) - unit[[3]].mean(axis=0)
    found = points.query(like=["1", "2"], unlike="3", n_results=10)
    expected = points.query(query_embeddings=query, n_results=COUNT)["ids"][0]
    assert found["ids"][0] == [one for one in expected if one not in ("1", "2", "3")][:10]
    only = points.query(like="5", n_results=3, where={"book": "b1"})
    assert "5" not in only["ids"][0] and len(only["ids"][0]) == 3
    assert {m["book"] for m in only["metadatas"][0]} == {"b1"}


def test_points_are_counted_by_filters(points):
    assert points.count() == COUNT
    assert points.count(where={"book": "b1"}) == len(points.get(where={"book": "b1"})["ids"])
    assert points.count(where_document={"$contains": "word4"}) == 8
    assert points.count(where={"book": "nope"}) == 0


@pytest.mark.parametrize("descending", [False, True])
def test_points_in_the_order_of_a_number(points, descending):
    numbers = {str(i): COUNT - i for i in range(COUNT) if i % 9}
    expected = sorted(numbers, key=numbers.__getitem__, reverse=descending)
    assert points.get(order_by="n", descending=descending)["ids"] == expected
    page = points.get(order_by="n", descending=descending, limit=7, offset=3, include=["metadatas"])
    assert page["ids"] == expected[3:10]
    some = points.get(order_by="n", descending=descending, where={"book": "b2"})["ids"]
    assert some == [one for one in expected if int(one) % 7 == 2]
    named = points.get(ids=["4", "2", "9"], order_by="n", descending=descending)["ids"]
    assert named == [one for one in expected if one in ("4", "2")]


def test_descending_needs_a_key_to_order_by(points):
    with pytest.raises(InvalidArgumentError, match="descending needs order_by"):
        points.get(descending=True)


def test_order_by_nested_keys_and_dates(client):
    collection = client.create_collection("ordered", embedding_function=None)
    metadatas = [
        {"a": {"b": 3}},
        {"a.b": 2, "a": {"b": "2020-01-01"}},
        {"a": {"b": "2021-05-01T00:00:00Z"}},
        {"a": {"b": [9, 1]}},
        {"a": 4},
        {"a": {"b": "2021-05-01T00:00:00+02:00"}},
    ]
    ids = [str(i) for i in range(len(metadatas))]
    collection.add(ids=ids, embeddings=[[1.0]] * len(ids), metadatas=metadatas)
    assert collection.get(order_by="a.b")["ids"] == ["3", "1", "0", "5", "2"]
    backwards = collection.get(order_by="a.b", descending=True)["ids"]
    assert backwards == ["2", "5", "3", "0", "1"]
    assert collection.get(order_by="a.b", limit=2, offset=2)["ids"] == ["0", "5"]
    collection.update(ids=["4"], metadatas=[{"a.b": 2.5}])
    assert collection.get(order_by="a.b")["ids"] == ["3", "1", "4", "0", "5", "2"]


def test_strings_that_only_look_like_dates_have_no_order(client):
    collection = client.create_collection("ordered", embedding_function=None)
    texts = ["10-1-01", "2021-05-01", "0010-01-01", "2020-05-01"]
    collection.add(["a", "b", "c", "d"], [[1.0]] * 4, [{"k": text} for text in texts])
    assert collection.get(order_by="k")["ids"] == ["c", "d", "b"]


def test_pages_of_hybrid_queries_join(client):
    collection = client.create_collection("words", embedding_function=None)
    count = 300
    vectors = np.random.default_rng(3).normal(size=(count, DIMENSION)).astype(np.float32)
    texts = [f"w{i % 11} w{i % 5} and {i}" for i in range(count)]
    kinds = [{"kind": i % 60} for i in range(count)]
    collection.add([str(i) for i in range(count)], vectors, kinds, texts)
    ask = {"query_texts": "w3 w2", "query_embeddings": vectors[:1]}
    near = [
        one
        for start in range(30, 100, 10)
        for one in collection.query(**ask, mode="hybrid", n_results=10, offset=start)["ids"][0]
    ]
    assert near == collection.query(**ask, mode="hybrid", n_results=70, offset=30)["ids"][0]
    for cut in ({}, {"group_by": "kind"}):
        shallow = {**ask, "mode": Hybrid(depth=(40, 40)), **cut}
        pages = [
            one
            for start in range(0, 100, 3)
            for one in collection.query(**shallow, n_results=3, offset=start)["ids"][0]
        ]
        assert pages == collection.query(**shallow, n_results=100)["ids"][0]
        assert len(pages) > 20 and len(set(pages)) == len(pages)
    deep = {**ask, "mode": Hybrid(depth=(count, count))}
    far = [
        one
        for start in range(0, count, 50)
        for one in collection.query(**deep, n_results=50, offset=start)["ids"][0]
    ]
    assert far == collection.query(**deep, n_results=count)["ids"][0]


def test_refusals_name_the_argument(points):
    for arguments, named in [
        ({"query_embeddings": QUERIES, "offset": 2**63 - 1}, "offset is"),
        ({"like": [1]}, r"like\[0\] is 1"),
        ({"like": "1", "unlike": ["2", ""]}, r"unlike\[1\] is empty"),
        ({"like": "1", "mode": "text"}, "like goes with mode 'dense'"),
    ]:
        with pytest.raises(InvalidArgumentError, match=named):
            points.query(**arguments)


def test_meaningless_cuts_are_refused(points):
    for arguments, named in [
        ({"offset": -1}, "offset"),
        ({"max_distance": "far"}, "max_distance"),
        ({"max_distance": float("nan")}, "max_distance"),
        ({"max_distance": 10**400}, "max_distance"),
        ({"group_by": ""}, "group_by"),
        ({"group_by": 7}, "group_by"),
        ({"like": "1"}, "like"),
    ]:
        with pytest.raises(InvalidArgumentError, match=named):
            points.query(query_embeddings=QUERIES, **arguments)


def test_likeness_to_nothing_is_refused(points):
    points.upsert(ids=["none"], documents=["no vector"], embeddings=[[1.0] * DIMENSION])
    for arguments in ({"like": []}, {"unlike": ["1"]}, {"like": ["nobody"]}):
        with pytest.raises(InvalidArgumentError, match="like"):
            points.query(**arguments)
    with pytest.raises(InvalidArgumentError, match="max_distance"):
        points.query(query_texts="x", mode="text", max_distance=1.0)
    with pytest.raises((InvalidTypeError, InvalidArgumentError), match="order_by"):
        points.get(order_by="")
