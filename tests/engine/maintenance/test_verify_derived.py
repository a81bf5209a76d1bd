"""Malicious derived files with correct checksums: `verify` detects them, and a store opened with
rebuild=True doesn't use them. It reports no intact file.
"""

import itertools
import os
import pathlib
import random
import shutil
import threading
import uuid
import zlib
from collections import Counter
from functools import cache

import numpy as np
import pytest

import retrieval_store
from retrieval_store.base.analysis import Analyzer
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.indexes.hnsw import HEADER
from retrieval_store.query.types import Fields, NewSpace
from tests.helpers import derived_files, inside, steps
from tests.helpers.batches import points_of, put, sparse_items
from tests.helpers.indexed import DIMENSION, SMALL, cloud, load_index, populated, space_of, until
from tests.helpers.listed import filled, ready
from tests.helpers.packages import installed, run
from tests.helpers.questions import by_sparse, search
from tests.helpers.small_stores import points_file, sql
from tests.helpers.tuned import eager_codes, eager_indexes, tuned, use_trigrams

COUNT, LINKS = 1_000, 2 * SMALL["hnsw"]["max_neighbors"]


def make_all_eagerly(patch):
    """The smallest collections get indexes and lists, and files of them."""
    eager_indexes(patch)
    use_trigrams(patch)


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    make_all_eagerly(monkeypatch)


def derived_file(store, kind):
    (file,) = store.glob(f"*/derived/{kind}.*")
    return file


def replaced(file, data):
    """Replace the content of a derived file, and its recorded size and checksum."""
    file.write_bytes(data)
    query = "UPDATE derived SET size = ?, checksum = ? WHERE file = ?"
    sql(file.parent.parent / "points.sqlite", query, len(data), zlib.crc32(data), file.name)


def problems(store, **options):
    with retrieval_store.Client(store, **options) as client:
        return {
            report.file.name.split(".")[0]: report.problem for report in problem_reports(client)
        }


def problem_reports(client):
    return [report for report in client.verify() if report.problem]


# Indexes


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Creates closed stores whose collections have a saved index of the metric, once for all tests.
    Returns a function from metric to path."""

    @cache
    def make(metric):
        configuration = {"hnsw": {**SMALL["hnsw"], "space": metric}}
        path = tmp_path_factory.mktemp("indexed") / "store"
        with retrieval_store.Client(path) as client:
            populated(client, configuration=configuration).optimize()
        return path

    return make


@pytest.fixture
def indexed(made, tmp_path):
    """A copy of such a store."""
    return shutil.copytree(made("l2"), tmp_path / "store")


def graph(data):
    """The vectors of a graph at the lowest level, as words: number of links, links, vector,
    label."""
    element = 4 * (1 + LINKS + DIMENSION + 2)
    return np.frombuffer(data, "<u4", COUNT * element // 4, HEADER.itemsize).reshape(COUNT, -1)


def reverse_labels(data):
    graph(data)[:, -2] = graph(data)[::-1, -2].copy()


def replace_vectors(data):
    graph(data)[:, 1 + LINKS : -2] = cloud(COUNT, 77).view(np.uint32)


def replace_one_number(data):
    graph(data)[345, 1 + LINKS : 2 + LINKS].view(np.float32)[:] += 0.5


def cut_links(data):
    """Only a ring of the first 200 vectors is reachable."""
    data[HEADER.itemsize + graph(data).nbytes :] = bytes(4 * COUNT)  # the upper levels
    elements = graph(data)
    elements[:, 0] = 0
    elements[:200, 0] = 8
    elements[:200, 1:9] = (np.arange(200)[:, None] + np.arange(1, 9)) % 200
    header = np.frombuffer(data, HEADER, 1)
    header["max_level"], header["entry"] = 0, 0


def name_one_twice(data):
    graph(data)[7, -2] = 8


def link_outside(data):
    graph(data)[7, 1] = COUNT


FALSE_GRAPHS = [
    (reverse_labels, "l2"),
    (replace_vectors, "ip"),
    (replace_one_number, "cosine"),
    (name_one_twice, "l2"),
    (link_outside, "ip"),
]


def make_false(store, change):
    file = derived_file(store, "index")
    data = bytearray(file.read_bytes())
    change(data)
    replaced(file, bytes(data))


def found_and_nearest(store, **options):
    """The found and the true nearest points, and how many vectors of the index were loaded."""
    with retrieval_store.Client(store, **options) as client:
        things = client.get_collection("things", embedding_function=None)
        loaded, queries = load_index(things), cloud(30, 5)
        found = things.query(query_embeddings=queries, n_results=5)["ids"]
        return found, things.query(query_embeddings=queries, n_results=5, exact=True)["ids"], loaded


@pytest.mark.parametrize(("change", "metric"), FALSE_GRAPHS)
def test_a_graph_that_deceives_is_a_problem(made, tmp_path, change, metric):
    store = shutil.copytree(made(metric), tmp_path / "store")
    assert problems(store) == {}
    make_false(store, change)
    for options in ({}, {"read_only": True}, {"read_only": True, "rebuild": True}):
        assert list(problems(store, **options)) == ["index"]


@pytest.mark.parametrize("change", [reverse_labels, cut_links])
def test_opened_to_be_rebuilt_a_store_does_not_use_its_graph(indexed, change):
    make_false(indexed, change)
    before = derived_file(indexed, "index").read_bytes()
    found, nearest, loaded = found_and_nearest(indexed, read_only=True, rebuild=True)
    assert (found, loaded) == (nearest, 0)
    assert derived_file(indexed, "index").read_bytes() == before  # nothing was written
    assert list(problems(indexed)) == ([] if change is cut_links else ["index"])
    found, nearest, _ = found_and_nearest(indexed, rebuild=True)
    assert found == nearest
    assert problems(indexed) == {}


def test_files_that_this_process_has_loaded_are_dropped_too(indexed):
    make_false(indexed, reverse_labels)
    with retrieval_store.Client(indexed) as before:
        things = before.get_collection("things", embedding_function=None)
        queries = cloud(30, 5)
        nearest = things.query(query_embeddings=queries, n_results=5, exact=True)["ids"]
        assert load_index(things) == COUNT
        assert things.query(query_embeddings=queries, n_results=5)["ids"] != nearest
        with retrieval_store.Client(indexed, rebuild=True) as again:
            assert things.query(query_embeddings=queries, n_results=5)["ids"] == nearest
            assert problem_reports(again) == []
    assert problems(indexed) == {}


def test_readers_with_and_without_rebuilding_do_not_share_what_they_loaded(indexed):
    make_false(indexed, reverse_labels)
    with retrieval_store.Client(indexed, read_only=True):
        found, nearest, _ = found_and_nearest(indexed, read_only=True)
        assert found != nearest
        with retrieval_store.Client(indexed, read_only=True, rebuild=True) as rebuilt:
            things = rebuilt.get_collection("things", embedding_function=None)
            assert things.query(cloud(30, 5), n_results=5)["ids"] == nearest
            until(lambda: space_of(things)["indexed_slots"] == COUNT, "none was made in memory")
            found, nearest, _ = found_and_nearest(indexed, read_only=True, rebuild=True)
            assert sum(set(a) == set(b) for a, b in zip(found, nearest, strict=True)) > 25


def test_every_collection_of_a_store_is_rebuilt(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        for name in ("one", "two", "three"):
            things = client.create_collection(name, SMALL, embedding_function=None)
            things.add(ids=[str(i) for i in range(100)], embeddings=cloud(100))
            things.optimize()
    assert len(list(tmp_path.glob("*/derived/*"))) == 3
    with retrieval_store.Client(tmp_path, rebuild=True):
        assert list(tmp_path.glob("*/derived/*")) == []


def test_a_derived_record_with_a_foreign_file_name_is_removed_too(indexed):
    sql(points_file(indexed), "UPDATE derived SET file = '../../catalog.sqlite'")
    found, nearest, _ = found_and_nearest(indexed, rebuild=True)
    assert found == nearest
    assert problems(indexed) == {}


def test_rebuild_requires_a_path():
    for options in ({}, {"url": "http://127.0.0.1:1"}, {"qdrant_client": object()}):
        with pytest.raises(InvalidArgumentError, match="rebuild goes with path"):
            retrieval_store.Client(rebuild=True, **options)
    with pytest.raises(InvalidArgumentError, match=r"rebuild is 1 \(int\), expected True or False"):
        retrieval_store.Client("x", rebuild=1)


def test_a_report_says_how_to_repair_it(indexed):
    make_false(indexed, reverse_labels)
    (problem,) = problems(indexed).values()
    assert "1000 of 1000 vectors aren't those of the collection" in problem
    assert "open the store with rebuild=True" in problem
    derived_file(indexed, "index").unlink()
    (problem,) = problems(indexed).values()
    assert "is missing" in problem
    assert "open the store with rebuild=True" in problem


@pytest.mark.parametrize("covered", [999, 1_001])
def test_an_index_that_claims_vectors_that_do_not_exist_is_a_problem(indexed, covered):
    sql(points_file(indexed), "UPDATE derived SET covered = ?", covered)
    assert list(problems(indexed)) == ["index"]


def test_a_vector_of_another_length_in_a_graph_for_cosines_is_a_problem(made, tmp_path):
    def lengthen(data):
        graph(data)[7, 1 + LINKS : -2].view(np.float32)[:] *= 100

    store = shutil.copytree(made("cosine"), tmp_path / "store")
    make_false(store, lengthen)
    assert list(problems(store)) == ["index"]


NUMBERS = np.random.default_rng(8)
HONEST = {
    "zeros and others": np.concatenate([np.zeros((500, DIMENSION)), cloud(500)]),
    "ten, a hundred times each": np.repeat(cloud(10), 100, axis=0),
    "of many lengths": cloud(COUNT) * 10 ** NUMBERS.uniform(-11, 11, (COUNT, 1)),
    "with tiny numbers": cloud(COUNT) * 10.0 ** NUMBERS.integers(-44, 2, (COUNT, DIMENSION)),
    "with some too large": np.concatenate([cloud(900), cloud(100) * 1e18]),
    "clusters": np.repeat(cloud(20) * 100, 50, axis=0) + cloud(COUNT) / 1_000,
}


@pytest.mark.parametrize("kind", HONEST)
def test_an_intact_index_is_no_problem(tmp_path, kind):
    settings = {**SMALL["hnsw"], "space": "ip"}
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", {"hnsw": settings}, embedding_function=None)
        ids = [str(i) for i in range(COUNT)]
        things.add(ids=ids, embeddings=HONEST[kind])
        things.optimize()
        assert problem_reports(client) == []
        things.update(ids=ids[:100], embeddings=cloud(100, 3))  # so there are dead slots
        things.delete(ids=ids[300:350])
        assert problem_reports(client) == []
        things.add(ids=[f"new {i}" for i in range(50)], embeddings=cloud(50, 4))
    assert problems(tmp_path) == {}
    with retrieval_store.Client(tmp_path) as client:
        client.get_collection("things", embedding_function=None).optimize()
    assert problems(tmp_path) == {}


def test_an_intact_index_with_low_recall_is_no_problem(tmp_path):
    poor = {"hnsw": {"max_neighbors": 2, "ef_construction": 1, "ef_search": 1}}
    with retrieval_store.Client(tmp_path) as client:
        populated(client, 3_000, poor).optimize()
        assert problem_reports(client) == []


def test_a_file_replaced_during_verification_is_no_problem(indexed, monkeypatch):
    compared = []

    def replacing(compare, path, made, comparison):
        if not compared:
            things.add(ids=[f"{i}" for i in range(5_000, 5_400)], embeddings=cloud(400, 6))
            inside.maintain(inside.access(things))
            assert not path.exists()
        compared.append(made.file)
        compare(path, made, comparison)

    steps.around(monkeypatch, "compare_derived", replacing)
    with retrieval_store.Client(indexed) as client:
        things = client.get_collection("things", embedding_function=None)
        assert problem_reports(client) == []
    assert len(set(compared)) == 2


def test_replacing_a_file_at_each_check_does_not_prolong_verification(indexed, monkeypatch):
    """It would otherwise only reload the collection as long as another writer is busy."""
    looked = []

    def replacing(compare, path, made, comparison):
        looked.append(made.key)
        if made.key.startswith("index"):
            other = path.with_name(f"{made.key}.{uuid.uuid4().hex}")
            path.rename(other)
            change = "UPDATE derived SET file = ? WHERE file = ?"
            sql(path.parents[1] / "points.sqlite", change, other.name, path.name)
        compare(path, made, comparison)

    steps.around(monkeypatch, "compare_derived", replacing)
    with retrieval_store.Client(indexed) as client:
        assert problem_reports(client) == []
    again = Counter(looked)
    assert [count for key, count in again.items() if key.startswith("index")] == [5]
    assert {count for key, count in again.items() if not key.startswith("index")} <= {1}


class TellsVectors:
    """Stands for a protocol that no index has."""


def raises_now_and_then(search, vectors):
    calls = itertools.count()

    def searching(index, queries, count):
        if next(calls) % 3 == 1:
            raise RuntimeError("it finds too few")
        return search(index, queries, count)

    return searching


def finds_nothing(search, vectors):
    return lambda index, queries, count: (
        np.empty((len(queries), 0), np.int64),
        np.empty((len(queries), 0), np.float32),
    )


def finds_the_farthest(search, vectors):
    def searching(index, queries, count):
        numbers, _ = search(index, -queries, count)
        distances = ((queries[:, None] - vectors[numbers]) ** 2).sum(axis=2)
        return numbers, distances.astype(np.float32)

    return searching


@pytest.mark.parametrize("lie", [None, raises_now_and_then, finds_nothing, finds_the_farthest])
def test_an_index_without_access_to_its_vectors_is_queried_for_each_of_them(
    indexed, monkeypatch, lie
):
    with retrieval_store.Client(indexed) as client:
        things = client.get_collection("things", embedding_function=None)
        vectors = things.get(include=["embeddings"])["embeddings"].astype(np.float64)
    steps.replace(monkeypatch, "index_that_knows_vectors", TellsVectors)
    if lie is not None:
        steps.replace(monkeypatch, "search_graph", lie(steps.taken("search_graph"), vectors))
    found = problems(indexed)
    assert bool(found) == (lie in (finds_nothing, finds_the_farthest))
    assert all("no search" in problem for problem in found.values())


# Lists of words, trigrams and sparse vectors


@pytest.fixture(scope="module")
def with_lists(tmp_path_factory):
    """A closed store whose collection has files of words and trigrams."""
    store = tmp_path_factory.mktemp("listed") / "store"
    with pytest.MonkeyPatch.context() as patch:
        make_all_eagerly(patch)
        client, things, _ = filled(store)
        with client:
            ready(things)
            things.query(query_texts="x", mode="text")
            things.optimize()
    return store


@pytest.fixture
def listed(with_lists, tmp_path):
    """A copy of it."""
    return shutil.copytree(with_lists, tmp_path / "store")


def test_lists_recorded_under_another_key_are_not_used(listed, caplog):
    points, swap = points_file(listed), "UPDATE derived SET key = ? WHERE key GLOB ?"
    key = derived_file(listed, "words").name.rpartition(".")[0]
    for name, pattern in (("x", "words*"), (key, "trigrams"), ("trigrams", "x")):
        sql(points, swap, name, pattern)
    assert sorted(problems(listed)) == ["trigrams", "words"]
    with retrieval_store.Client(listed) as client:
        things = client.get_collection("things", embedding_function=None)
        things.query(query_texts="x", mode="text")
    assert "lists of something else" in caplog.text


PARTS = (
    *("pks", "sizes", "terms", "offsets", "owners", "weights"),
    *("vocabulary", "starts", "order"),  # of words
)


def taken_apart(file):
    """The only segment of a file of lists, as arrays."""
    found = derived_files.read_arrays(file, derived_files.LISTS)
    return dict(zip(PARTS, [array.copy() for array in found.arrays], strict=True))


def put_together(file, *segments):
    """The content of a file of the same key with these segments."""
    reported, (has_words,) = derived_files.read_arrays(file, derived_files.LISTS).header
    header = [reported, [has_words] * len(segments)]
    arrays = [segment[name] for segment in segments for name in PARTS]
    return b"".join(derived_files.pieces(derived_files.LISTS, header, arrays))


def empty(arrays):
    for name in arrays:
        arrays[name] = arrays[name][:0]
    arrays["offsets"] = arrays["starts"] = np.zeros(1, np.int64)


def without_postings(arrays):
    for name in ("terms", "owners", "weights", "vocabulary", "order"):
        arrays[name] = arrays[name][:0]
    arrays["offsets"] = arrays["starts"] = np.zeros(1, np.int64)


def move_one_posting(arrays):
    """Move it to a document without the term."""
    offsets, owners = arrays["offsets"], arrays["owners"]
    sizes = np.diff(offsets)
    term = int(np.flatnonzero((sizes > 1) & (sizes < len(arrays["pks"]) // 2))[3])
    held = owners[offsets[term] : offsets[term + 1]]
    others = np.setdiff1d(np.arange(len(arrays["pks"])), held)
    moved = np.sort(np.append(held[1:], others[len(others) // 2]))
    owners[offsets[term] : offsets[term + 1]] = moved


def leave_one_out(arrays):
    """Leave out a document."""
    kept = arrays["owners"] != 5
    arrays["offsets"] = np.append(0, np.cumsum(kept))[arrays["offsets"]]
    for name in ("owners", "weights"):
        arrays[name] = arrays[name][kept] if len(arrays[name]) else arrays[name]


def exchange_terms(arrays):
    if len(arrays["order"]):
        words = words_of(arrays)
        words[2], words[5] = words[5], words[2]
        named = zip(PARTS[-3:], derived_files.Vocabulary.arrays_of(words), strict=True)
        arrays.update(named)
    else:
        arrays["terms"][2], arrays["terms"][5] = arrays["terms"][5], arrays["terms"][2]


def words_of(arrays):
    return [*derived_files.Vocabulary(*(arrays[name] for name in PARTS[-3:]))]


def disorder_of_terms(arrays):
    """Two terms are out of order, so lookups miss them."""
    name = "order" if len(arrays["order"]) else "terms"
    arrays[name][[0, -1]] = arrays[name][[-1, 0]]


def disorder(arrays):
    """The last list with several documents, reversed; a reader may see only a part."""
    offsets = arrays["offsets"]
    term = int(np.flatnonzero(np.diff(offsets) > 1)[-1])
    some = slice(offsets[term], offsets[term + 1])
    arrays["owners"][some] = arrays["owners"][some][::-1].copy()


FALSE_LISTS = [
    empty,
    without_postings,
    move_one_posting,
    leave_one_out,
    exchange_terms,
    disorder,
    disorder_of_terms,
]


def change_lists(file, change):
    arrays = taken_apart(file)
    change(arrays)
    replaced(file, put_together(file, arrays))


@pytest.mark.parametrize("name", ["sizes", "weights"])
def test_a_wrong_number_of_words_is_a_problem(listed, name):
    def one_more(arrays):
        arrays[name][17] += 1

    change_lists(derived_file(listed, "words"), one_more)
    assert list(problems(listed)) == ["words"]


@pytest.mark.parametrize(
    ("kind", "change"),
    [*(("words", one) for one in FALSE_LISTS), ("trigrams", exchange_terms), ("trigrams", empty)],
)
def test_lists_that_deceive_are_a_problem_and_rebuilt(listed, right, kind, change):
    assert problems(listed) == {}
    change_lists(derived_file(listed, kind), change)
    assert list(problems(listed)) == [kind]
    assert texts_found(listed, read_only=True, rebuild=True) == right
    assert list(problems(listed, read_only=True)) == [kind]
    assert texts_found(listed, rebuild=True) == right
    assert problems(listed) == {}


def test_malicious_lists_are_rebuilt_from_the_documents_when_later_writes_are_saved(listed):
    change_lists(derived_file(listed, "words"), leave_one_out)
    with retrieval_store.Client(listed) as client:
        things = client.get_collection("things", embedding_function=None)
        things.query(query_texts="text", mode="text")
        things.add(ids="new", documents="a new text", embeddings=[[0, 0]])
        things.optimize()
        assert problem_reports(client) == []


@pytest.fixture(scope="module")
def right(with_lists):
    """The hits by correct lists."""
    with pytest.MonkeyPatch.context() as patch:
        make_all_eagerly(patch)
        return texts_found(with_lists, read_only=True)


def texts_found(store, **options):
    with retrieval_store.Client(store, **options) as client:
        things = client.get_collection("things", embedding_function=None)
        documents = things.get(limit=40)["documents"]
        words = sorted({word for document in documents for word in document.split()})
        held = [things.get(where_document={"$contains": w}, include=[])["ids"] for w in words]
        ready(things)
        again = [things.get(where_document={"$contains": w}, include=[])["ids"] for w in words]
        assert held == again
        return held, things.query(query_texts=words, mode="text", n_results=5)["ids"]


def test_a_layer_on_top_that_hides_the_one_below_is_a_problem(listed):
    file = derived_file(listed, "words")
    below = taken_apart(file)
    above = {name: array.copy() for name, array in below.items()}
    without_postings(above)
    replaced(file, put_together(file, below, above))
    assert list(problems(listed)) == ["words"]


@pytest.mark.parametrize("claim", ["seq", "covered"])
def test_lists_that_claim_writes_which_never_were_are_a_problem(listed, claim):
    sql(points_file(listed), f"UPDATE derived SET {claim} = 1 << 40 WHERE key NOT LIKE 'i%'")
    assert sorted(problems(listed)) == ["trigrams", "words"]


def test_intact_lists_are_no_problem_after_any_writes(listed):
    moves = random.Random(2)
    with retrieval_store.Client(listed) as client:
        things = client.get_collection("things", embedding_function=None)
        for round_number in range(4):
            some = moves.sample(things.get(include=[])["ids"], 20)
            texts = [
                moves.choice(["", "abé 中\0\U0001f600", "one two two", "Éclair"]) for _ in some
            ]
            things.update(ids=some[:10], documents=texts[:10], embeddings=np.zeros((10, 2)))
            things.delete(ids=some[15:])
            things.add(ids=f"new {round_number}", documents=texts[0], embeddings=[[1, 1]])
            assert problem_reports(client) == []
            if round_number % 4 == 3:
                ready(things)
                things.query(query_texts="one", mode="text")
                things.optimize()
                assert problem_reports(client) == []
        things.modify(configuration={"text": {"stopwords": ["one"]}})
        assert problem_reports(client) == []  # the words' file is of no use any more
        things.query(query_texts="two", mode="text")
        things.optimize()
        assert problem_reports(client) == []
    assert problems(listed) == {}


def test_lists_of_documents_without_a_word_are_no_problem(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids=["a", "b"], embeddings=[[0], [1]])
        things.add(ids="c", embeddings=[[0]], documents="")
        ready(things)
        things.query(query_texts="x", mode="text")
        things.optimize()
        assert len(list(tmp_path.glob("*/derived/[tw]*"))) == 2
        assert problem_reports(client) == []


def test_lists_longer_than_what_is_compared_at_once(listed, monkeypatch):
    tuned(monkeypatch, postings_verified_at_once=70, rows_of_text_at_once=60)
    assert problems(listed) == {}
    change_lists(derived_file(listed, "words"), move_one_posting)
    assert list(problems(listed)) == ["words"]


@pytest.fixture(scope="module")
def with_sparse_lists(tmp_path_factory):
    """A closed store whose collection has a file of lists of sparse vectors."""
    path = tmp_path_factory.mktemp("sparse")
    with pytest.MonkeyPatch.context() as patch:
        make_all_eagerly(patch)
        make_sparse_store(path)
    return path


def make_sparse_store(path):
    store = inside.opened(path)
    points = points_of(store, s=NewSpace("ip", kind="sparse"))
    _, items = sparse_items(300)
    put(points, list(range(300)), items)
    search(points, by_sparse("s", (items[0],), 5, None), Fields())
    store.optimize(store.by_name("things").id, lambda *_: None)
    points.delete([3, 4], None, None)
    put(points, [7, 8, 400], items[:3])
    store.close()


def sparse_problems(path):
    directory = points_file(path).parent
    reports = inside.verify_files(directory, Analyzer)
    return [report.file.name.split(".")[0] for report in reports if report.problem]


@pytest.mark.parametrize("change", [empty, without_postings, move_one_posting, "weights"])
def test_lists_of_sparse_vectors_that_deceive_are_a_problem(with_sparse_lists, tmp_path, change):
    def change_a_weight(arrays):
        arrays["weights"][len(arrays["weights"]) // 2] *= -1

    path = shutil.copytree(with_sparse_lists, tmp_path / "store")
    assert sparse_problems(path) == []
    change_lists(derived_file(path, "sparse"), change_a_weight if change == "weights" else change)
    assert sparse_problems(path) == ["sparse"]


# Indexes of packages

VERIFY = """
import retrieval_store
with retrieval_store.Client("store", **OPTIONS) as client:
    for report in client.verify():
        if report.problem:
            print(report.problem)
    things = client.get_collection("things", embedding_function=None)
    vector = things.get("7", include=["embeddings"])["embeddings"]
    print(*things.query(query_embeddings=vector, n_results=1)["ids"][0])
"""

BUILD = """
import numpy as np
import retrieval_store
from tests.helpers.tuned import tuned, use_index

use_index()
tuned(index_worth=1)
vectors = np.random.default_rng(0).standard_normal((2_000, 24)).astype(np.float32)
vectors[100:400] = vectors[100]
vectors[500:600] = 0
with retrieval_store.Client("store") as client:
    things = client.create_collection(
        "things", {"index": {"name": "usearch"}, "hnsw": {"space": "cosine"}}, embedding_function=None
    )
    things.add(ids=[str(i) for i in range(len(vectors))], embeddings=vectors)
    things.optimize()
"""


@pytest.fixture(scope="module")
def with_usearch(tmp_path_factory):
    pytest.importorskip("usearch.index")
    return installed("index_plugin", tmp_path_factory.mktemp("installed"))


def output_lines(program, environment, folder):
    done = run(program, environment, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.others
def test_an_index_of_a_package_is_compared_by_what_it_finds(with_usearch, tmp_path):
    def verified(environment, **options):
        return output_lines(VERIFY.replace("OPTIONS", repr(options)), environment, tmp_path)

    output_lines(BUILD, with_usearch, tmp_path)
    right = verified(with_usearch)
    assert len(right) == 1
    file = derived_file(tmp_path / "store", "index")
    with file.open("rb") as stream:
        vectors = np.load(stream)
    with file.open("wb") as stream:
        np.save(stream, np.ascontiguousarray(vectors[::-1]))
    replaced(file, file.read_bytes())
    problem, _ = verified(with_usearch)
    assert "a search says that vector" in problem
    assert verified(dict(os.environ)) == right  # without its class it isn't used
    assert verified(with_usearch, read_only=True, rebuild=True)[1:] == right
    assert verified(with_usearch, rebuild=True) == right


def test_a_file_removed_before_its_size_is_read_is_no_problem(indexed, monkeypatch):
    """For example a file that another process has just replaced."""

    def removing(compare, path, made, comparison):
        compare(path, made, comparison)
        path.unlink()

    with retrieval_store.Client(indexed) as client:
        steps.around(monkeypatch, "compare_derived", removing)
        monkeypatch.setattr(os.path, "exists", lambda path: True)  # a moment ago
        monkeypatch.setattr(pathlib.Path, "exists", lambda path: True)
        assert problem_reports(client) == []


def test_after_an_interrupt_nothing_is_compared_by_other_threads(tmp_path, monkeypatch):
    eager_codes(monkeypatch)
    with retrieval_store.Client(tmp_path / "store") as client:
        things = populated(client)
        things.add(["a text"], embeddings=cloud(1, 1), documents=["with words"])
        things.query(query_texts="words", mode="text")
        things.optimize()
        begun, main = [], threading.get_ident()

        def interrupt(compare, path, *more):
            if threading.get_ident() == main:
                raise KeyboardInterrupt
            begun.append(path)
            return compare(path, *more)

        with monkeypatch.context() as patch:
            steps.around(patch, "compare_derived", interrupt)
            with pytest.raises(KeyboardInterrupt):
                client.verify()
        after = len(begun)
        assert not [one for one in threading.enumerate() if "ThreadPool" in one.name]
        assert problem_reports(client) == [] and len(begun) == after
        assert len([one for one in client.verify() if one.file.name.startswith("codes")]) > 3
