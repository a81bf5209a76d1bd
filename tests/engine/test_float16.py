"""Vectors stored as float16: half the size, and every result is that for the rounded numbers."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_store
from retrieval_store.errors import DamagedError, InvalidArgumentError
from retrieval_store.indexes.native import kernel
from retrieval_store.query.types import Fields, NewSpace, PointBatch, Vectors
from tests.helpers import inside
from tests.helpers.batches import ADD, UPSERT, batch, points_of
from tests.helpers.indexed import load_index, with_codes
from tests.helpers.oracle import brute_force
from tests.helpers.questions import nearest_to, search
from tests.helpers.small_stores import points_file, sql
from tests.helpers.tuned import eager_codes, eager_indexes

pytestmark = pytest.mark.embedded
METRICS = ("l2", "ip", "cosine")
DIMENSION = 24
COUNT = 700


def cloud(count, seed=0, scale=1.0):
    numbers = np.random.default_rng(seed).standard_normal((count, DIMENSION)) * scale
    return numbers.astype(np.float32)


def rounded(vectors):
    return np.asarray(vectors, np.float32).astype(np.float16).astype(np.float32)


def made(client, metric="cosine", index="exact", name="things", datatype="float16"):
    configuration = {
        "hnsw": {"space": metric, "ef_construction": 40, "max_neighbors": 8},
        "index": index,
        "vectors": {"datatype": datatype},
    }
    return client.create_collection(name, configuration, embedding_function=None)


def populated(client, *arguments, count=COUNT, **more):
    things = made(client, *arguments, **more)
    ids = [str(i) for i in range(count)]
    things.add(ids=ids, embeddings=cloud(count), metadatas=[{"n": i} for i in range(count)])
    return things


def as_held(count=COUNT):
    return dict(zip(map(str, range(count)), rounded(cloud(count)), strict=True))


def check_answers(things, held, metric, seed=5, below=None):
    """The hits, by id, equal those of float64 brute force over the rounded vectors."""
    ids = [i for i in held if below is None or int(i) < below]
    where = None if below is None else {"n": {"$lt": below}}
    queries = cloud(4, seed)
    found = things.query(query_embeddings=queries, n_results=7, where=where)
    for query, hits, distances in zip(queries, found["ids"], found["distances"], strict=True):
        assert len(hits) == min(7, len(ids))
        if ids:
            truth = brute_force(query, np.array([held[i] for i in ids]), metric)
            by_id = dict(zip(ids, truth.tolist(), strict=True))
            assert np.allclose(distances, np.sort(truth)[:7], rtol=1e-9, atol=1e-12)
            assert np.allclose([by_id[i] for i in hits], distances, rtol=1e-9, atol=1e-12)


def bytes_of_vectors(store):
    return sum(512 * file.stat().st_blocks for file in store.glob("*/*.vectors"))


def problems(client):
    return [report for report in client.verify() if report.problem]


# What is kept.


def test_results_are_the_numbers_rounded_to_float32(client):
    odd = [0.1, -0.0, 65_504, -65_504, 6e-8, 1e-9, 1 / 3, 2_049]
    things = made(client)
    things.add(ids=["a", "b"], embeddings=[odd, np.ones(8)])
    got = things.get(ids=["b", "a"], include=["embeddings"])["embeddings"]
    assert got.dtype == np.float32
    assert np.array_equal(got, rounded([np.ones(8), odd]))
    assert things.peek()["embeddings"][0][5] == 0 and things.peek()["embeddings"][0][7] == 2_048


@pytest.mark.parametrize("how", ["add", "update", "upsert"])
@pytest.mark.parametrize("number", [65_505, -1e30])
def test_a_number_that_float16_lacks_is_refused_and_nothing_is_written(client, how, number):
    things = populated(client, count=10)
    before = things.get(include=["embeddings", "metadatas"])
    vectors = cloud(3, 1)
    vectors[1, 7] = number
    ids = ["x", "y", "z"] if how == "add" else ["3", "4", "y"]
    reported = rf"embeddings\[1\], of id '{ids[1]}', has the number {float(number)}".replace(
        "+", r"\+"
    )
    with pytest.raises(InvalidArgumentError, match=reported + ".* from -65,504 to 65,504"):
        getattr(things, how)(ids=ids, embeddings=vectors, metadatas=[{"n": 99}] * 3)
    after = things.get(include=["embeddings", "metadatas"])
    assert (after["ids"], after["metadatas"]) == (before["ids"], before["metadatas"])
    assert np.array_equal(after["embeddings"], before["embeddings"])
    things.add(ids=["w"], embeddings=cloud(1, 2))
    assert np.array_equal(
        things.get(ids="w", include=["embeddings"])["embeddings"], rounded(cloud(1, 2))
    )


def test_a_point_whose_embedding_is_refused_is_named_also_where_others_have_none(store):
    points = points_of(store, v=NewSpace("l2", datatype="float16"))
    vectors = Vectors(np.array([[1], [1e5]], np.float32), np.array([0, 2]))
    with pytest.raises(InvalidArgumentError, match=r"embeddings\[2\], of id 'c', .* 100000.0,"):
        points.put(PointBatch(["a", "b", "c"], {"v": vectors}), ADD)
    assert points.count() == 0


def test_files_are_half_the_size_and_so_is_memory(tmp_path):
    taken, held = {}, {}
    for datatype in ("float32", "float16"):
        with retrieval_store.Client(tmp_path / datatype) as client:
            populated(client, count=20_000, datatype=datatype)
        taken[datatype] = bytes_of_vectors(tmp_path / datatype)
        with retrieval_store.Client() as client:
            stats = populated(client, count=1_000, datatype=datatype).stats()
            held[datatype] = stats["memory"]["vectors"]
    assert taken["float32"] / taken["float16"] == pytest.approx(2, abs=0.05)
    assert held == {"float32": 96_000, "float16": 48_000}


def test_a_store_is_reopened_by_others_and_read_only(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        populated(client)
        others = retrieval_store.Client(tmp_path, durability="full")
        check_answers(others.get_collection("things", None), as_held(), "cosine")
        others.close()
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        things = client.get_collection("things", None)
        assert things.configuration["vectors"] == {"datatype": "float16"}
        check_answers(things, as_held(), "cosine")


def test_writes_little_by_little_end_in_the_same_blocks_as_one(tmp_path):
    assert inside.rows_per_block(2 * 400) < 500
    vectors = np.random.default_rng(0).standard_normal((1_000, 400)).astype(np.float32)
    with retrieval_store.Client(tmp_path) as client:
        one, many = made(client, name="one"), made(client, name="many")
        one.add(ids=[str(i) for i in range(1_000)], embeddings=vectors)
        for start in range(0, 1_000, 7):
            some = vectors[start : start + 7]
            many.add(ids=[str(start + i) for i in range(len(some))], embeddings=some)
        got = [c.get(include=["embeddings"])["embeddings"] for c in (one, many)]
        assert np.array_equal(got[0], got[1]) and not problems(client)


# How it is searched.


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("coded", [False, True])
def test_results_are_those_of_brute_force_over_rounded_vectors(monkeypatch, client, metric, coded):
    if coded:
        eager_codes(monkeypatch)
    things = populated(client, metric)
    things.optimize()
    reported = things.explain(query_embeddings=cloud(1, 5))["plans"][0]["method"]
    assert reported == ("codes" if coded and kernel() is not None else "exact")
    for seed in range(4):
        for below in (None, 650, 300, 20):
            check_answers(things, as_held(), metric, seed, below)


@pytest.mark.parametrize("metric", METRICS)
def test_an_index_contains_rounded_vectors_and_its_hits_have_exact_distances(client, metric, eager):
    things, held = populated(client, metric, "hnsw"), as_held()
    things.delete(ids=[str(i) for i in range(300)])
    things.optimize()
    load_index(things)
    assert things.explain(query_embeddings=cloud(1, 5))["plans"][0]["method"] == "over-fetch"
    found = things.query(query_embeddings=cloud(1, 5), n_results=7)
    truth = brute_force(cloud(1, 5)[0], np.array([held[i] for i in found["ids"][0]]), metric)
    assert np.allclose(found["distances"][0], truth, rtol=1e-9, atol=1e-12)
    assert not problems(client)


@pytest.mark.parametrize("coded", [False, True])
@settings(max_examples=5)
@given(st.data())
def test_any_history_is_answered_as_by_brute_force(coded, data):
    with pytest.MonkeyPatch.context() as patch, retrieval_store.Client() as client:
        if coded:
            eager_codes(patch)
        metric = data.draw(st.sampled_from(METRICS))
        random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        things, held = populated(client, metric, count=300), as_held(300)
        for step in range(data.draw(st.integers(1, 8))):
            ids = [str(i) for i in random.choice(600, random.integers(1, 150), replace=False)]
            what = data.draw(st.sampled_from(["write", "delete", "optimize"]))
            if what == "write":
                vectors = cloud(len(ids), step, data.draw(st.sampled_from([1e-6, 0.01, 1, 1e4])))
                things.upsert(ids, vectors, metadatas=[{"n": int(i)} for i in ids])
                held.update(zip(ids, rounded(vectors), strict=True))
            elif what == "delete":
                things.delete(ids=ids)
                held = {i: v for i, v in held.items() if i not in ids}
            else:
                things.optimize()
            for below in (None, 600, 20, 20):
                check_answers(things, held, metric, step, below)


def test_queries_are_not_rounded(client):
    things = made(client, "l2")
    things.add(ids=["a", "b"], embeddings=[[1.0], [1.0009765625]])  # neighbours in float16
    found = things.query(query_embeddings=[[1.0004], [1.0006], [1e6]], n_results=1)
    assert found["ids"] == [["a"], ["b"], ["b"]]
    assert found["distances"][0][0] == (np.float64(np.float32(1.0004)) - 1) ** 2


def test_hits_of_words_have_distances_of_what_was_rounded(client):
    things = made(client, "l2")
    vectors = cloud(3)
    things.add(ids=["a", "b", "c"], embeddings=vectors, documents=["one", "two", "two words"])
    found = things.query(
        query_embeddings=cloud(1, 5), query_texts="two", mode="hybrid", n_results=3
    )
    truth = dict(zip("abc", brute_force(cloud(1, 5)[0], rounded(vectors), "l2"), strict=True))
    assert np.allclose(found["distances"][0], [truth[i] for i in found["ids"][0]], rtol=1e-9)


def test_spaces_of_a_collection_have_datatypes_of_their_own(store):
    points = points_of(store, half=NewSpace("l2", datatype="float16"), whole=NewSpace("l2"))
    vectors = cloud(40)
    points.put(batch(list(range(40)), half=vectors, whole=vectors), UPSERT)
    for space, held in (("half", rounded(vectors)), ("whole", vectors)):
        (hits,) = search(points, nearest_to(space, cloud(1, 5), 40, None), Fields(vectors=(space,)))
        truth = brute_force(cloud(1, 5)[0], held, "l2")
        assert np.allclose(hits.distances, np.sort(truth), rtol=1e-9)
        assert np.array_equal(hits.points.vectors[space], held[np.argsort(truth)])


def test_sparse_spaces_have_no_datatype(store):
    with pytest.raises(InvalidArgumentError, match="'v' is sparse, with datatype 'float16'"):
        points_of(store, v=NewSpace("ip", kind="sparse", datatype="float16"))
    assert store.page(None, 0) == []


# When something is wrong.


def spoil(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    return data


def test_a_flipped_bit_is_found_by_verify_and_by_readers(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        populated(client)
        (file,) = tmp_path.glob("*/*.vectors")
    spoil(file, 600 * 2 * DIMENSION)
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", None)
        assert [report.file for report in problems(client)] == [file]
        with pytest.raises(DamagedError, match="block 1, vectors 512 to 699"):
            things.query(query_embeddings=cloud(1))
        got = things.get(ids="3", include=["embeddings"])["embeddings"]
        assert np.array_equal(got[0], as_held()["3"])


@pytest.mark.parametrize("kind", ["index", pytest.param("codes", marks=with_codes)])
def test_verify_compares_derived_files_with_the_rounded_vectors(tmp_path, kind, monkeypatch):
    if kind == "codes":
        eager_codes(monkeypatch)
    else:
        eager_indexes(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:
        populated(client, index="hnsw" if kind == "index" else "exact").optimize()
        assert not problems(client)
    (vectors,) = tmp_path.glob("*/*.vectors")
    data = spoil(vectors, 2 * DIMENSION * 5 + 1)  # the exponent of a number
    first = inside.rows_per_block(2 * DIMENSION) * 2 * DIMENSION
    record = "UPDATE blocks SET checksum = ? WHERE block = 0"
    sql(points_file(tmp_path), record, zlib.crc32(data[:first]))
    with retrieval_store.Client(tmp_path) as client:
        found = [report.file.name for report in problems(client)]
    expected = [f.name for f in tmp_path.glob(f"*/derived/{kind}*")]
    assert found and set(found) <= set(expected)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_invalid_floats_written_by_others_do_no_harm(tmp_path, number, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        populated(client, "l2")
    (file,) = tmp_path.glob("*/*.vectors")
    rows = np.frombuffer(file.read_bytes(), np.float16).copy()
    rows[DIMENSION * 3] = number
    file.write_bytes(rows.tobytes())
    first = inside.rows_per_block(2 * DIMENSION) * 2 * DIMENSION
    record = "UPDATE blocks SET checksum = ? WHERE block = 0"
    sql(points_file(tmp_path), record, zlib.crc32(rows.tobytes()[:first]))
    held = {i: v for i, v in as_held().items() if i != "3"}
    for coded in (False, True):
        if coded:
            eager_codes(monkeypatch)
        with retrieval_store.Client(tmp_path) as client:
            check_answers(client.get_collection("things", None), held, "l2")
