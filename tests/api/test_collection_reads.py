"""count, get, peek, query: results, their order and their shape."""

import ast
import inspect
import logging
import textwrap
import typing
from dataclasses import FrozenInstanceError, fields
from enum import Enum

import numpy as np
import pytest

import retrieval_store
from retrieval_store import Collection, K, QueryResult, Search
from retrieval_store.api.query_arguments import QueryRequest
from retrieval_store.errors import (
    DataLoaderError,
    InvalidArgumentError,
    InvalidFilterError,
)
from retrieval_store.filters.expression import OneOf

GET_KEYS = {"ids", "embeddings", "documents", "uris", "data", "metadatas", "included"}


# get


def test_get_by_id_keeps_the_order_of_the_ids_and_leaves_unknown_ones_out(populated):
    got = populated.get(ids=["p3", "nobody", "p0"])
    assert got["ids"] == ["p3", "p0"]
    assert got["documents"] == ["document 3", "document 0"]
    assert populated.get(ids="p2")["ids"] == ["p2"]
    assert populated.get(ids=["p3", "p0", "p2"], where={"even": True})["ids"] == ["p0", "p2"]
    assert populated.get(ids=["p3", "p0", "p2"], limit=1, offset=1)["ids"] == ["p0"]


def test_get_without_ids_returns_all_in_order_of_insertion_and_updates_keep_their_place(populated):
    populated.update(ids="p0", metadatas={"n": 100}, embeddings=[9, 9])
    assert populated.get()["ids"] == ["p0", "p1", "p2", "p3", "p4"]
    assert populated.get(ids=None)["ids"] == ["p0", "p1", "p2", "p3", "p4"]


def test_include_is_returned_as_plain_strings_for_any_argument(populated):
    class Kind(str, Enum):  # noqa: UP042 (not what StrEnum is)
        URIS = "uris"

    for include in ([Kind.URIS, "documents"], ["uris", "documents"]):
        included = populated.get(include=include)["included"]
        assert included == ["documents", "uris"]
        assert set(map(type, included)) == {str}


def test_pages_cover_everything_once(populated):
    pages = [populated.get(limit=2, offset=start)["ids"] for start in (0, 2, 4, 6)]
    assert pages == [["p0", "p1"], ["p2", "p3"], ["p4"], []]
    assert populated.get(limit=0)["ids"] == []
    assert populated.get(where={"even": True}, limit=1, offset=1)["ids"] == ["p2"]


# facet


def test_facets_count_values_and_elements_of_lists(collection):
    assert collection.facet("k") == []
    values = [1, 1.0, True, "1", ["a", "b", "a"], ["a", None, ["c"]], [1, 1.0, 1], None, {"k": 1}]
    collection.add(
        ids=[str(i) for i in range(10)],
        embeddings=np.ones((10, 1)),
        metadatas=[*({"k": value, "o": {"k": value}} for value in values), None],
        documents=["even", "odd"] * 5,
    )
    every = [(1, 3), ("a", 2), (True, 1), ("1", 1), ("b", 1)]
    for key in ("k", "o.k"):
        found = collection.facet(key)
        assert found == every
        assert [type(value) for value, _ in found] == [int, str, bool, str, str]
    assert collection.facet("k", limit=2) == every[:2]
    assert collection.facet("k", limit=None) == every
    assert collection.facet("k", {"k": {"$contains": "a"}}) == [("a", 2), ("b", 1)]
    odd = collection.facet("k", where_document={"$contains": "odd"})
    assert odd == [(1, 1), ("1", 1), ("a", 1)]
    assert collection.facet("nothing") == []
    assert collection.facet("\ud800") == []


KINDS = "exactly one of query_embeddings"


def test_impossible_queries_are_refused_by_name(populated):
    for name, arguments, message in [
        ("facet", {"key": ""}, "key is ''.*expected a metadata key"),
        ("facet", {"key": 5}, "key is 5"),
        ("facet", {"key": "n", "limit": 0}, "limit is 0"),
        ("facet", {"key": "n", "where": {"n": {"$like": 1}}}, "unknown operator"),
        *(("get", {"limit": bad}, "limit") for bad in (-1, 1.5)),
        *(("get", {"offset": bad}, "offset") for bad in (-1, True)),
        *(("get", {"include": bad}, r"include\[0\]") for bad in (["distances"], [7], "vectors")),
        *(("get", {"include": bad}, r"include\[0\]") for bad in (["metadata"], [["documents"]])),
        ("get", {"include": ["data"]}, "data loader"),
        ("query", {"query_embeddings": [0, 0], "include": ["data"]}, "data loader"),
        *(
            ("query", {"query_embeddings": [0, 0], "n_results": bad}, "n_results is")
            for bad in (0, -1, 1.5, "3", True, None)
        ),
        ("query", {"query_embeddings": [1, 2, 3]}, "3 numbers, but the collection holds .* 2"),
        ("query", {}, KINDS),
        ("query", {"query_embeddings": [0, 0], "query_texts": "a"}, KINDS),
        ("query", {"query_texts": "a", "query_uris": "b"}, KINDS),
        ("query", {"query_images": [np.zeros((2, 2, 3))], "query_texts": ["a"]}, KINDS),
        *(("query", {"query_embeddings": bad}, "query_texts") for bad in ("find me", ["find me"])),
        *(("query", {"query_embeddings": bad}, "query_embeddings") for bad in ([], [[]])),
        ("query", {"query_texts": []}, "query_texts"),
    ]:
        with pytest.raises(InvalidArgumentError, match=message):
            getattr(populated, name)(**arguments)


def test_no_ids_means_no_points(populated):
    assert populated.get(ids=[])["ids"] == []
    assert populated.get(ids=[], include=["embeddings"])["embeddings"].shape == (0, 2)
    assert populated.query(query_embeddings=[0, 0], ids=[])["ids"] == [[]]


def test_get_includes_the_requested_fields_and_has_every_key(populated):
    default = populated.get(ids="p1")
    assert set(default) == GET_KEYS
    assert default["metadatas"] == [{"n": 1, "even": False}]
    assert default["documents"] == ["document 1"]
    assert default["embeddings"] is default["uris"] is default["data"] is None
    nothing = populated.get(ids="p1", include=[])
    assert nothing["ids"] == ["p1"]
    assert [nothing[key] for key in GET_KEYS - {"ids", "included"}] == [None] * 5
    vectors = populated.get(include=["embeddings", "uris"])
    assert vectors["embeddings"].dtype == np.float32
    assert vectors["embeddings"].shape == (5, 2)
    assert vectors["uris"] == [None] * 5


@pytest.mark.embedded
def test_a_sample_is_spread_over_all_that_match_and_the_same_each_time(client):
    things = client.create_collection("things", embedding_function=None)
    count = 300
    numbers = [{"n": i, "even": i % 2 == 0} for i in range(count)]
    things.add([f"p{i}" for i in range(count)], [[1.0, i] for i in range(count)], numbers)
    drawn = things.sample(10)
    places = [int(name.removeprefix("p")) for name in drawn["ids"]]
    assert len(places) == 10 and places == sorted(set(places))
    assert [metadata["n"] for metadata in drawn["metadatas"]] == places
    assert things.sample(10)["ids"] == drawn["ids"] and drawn["embeddings"] is None
    steps = np.diff([-1, *places, count])
    assert steps.max() <= 2 * count / 10  # no part is left out
    for size in (140, 160, 200, 240, 260, 299):  # each once, also of nearly all
        assert len(set(things.sample(size)["ids"])) == size


def test_a_sample_is_of_what_matches(client):
    things = client.create_collection("things", embedding_function=None)
    numbers = [{"n": i, "even": i % 2 == 0} for i in range(60)]
    things.add([f"p{i}" for i in range(60)], [[1.0, i] for i in range(60)], numbers)
    even = things.sample(10, where={"even": True}, include=["embeddings"])
    assert len(even["ids"]) == 10 and (even["embeddings"][:, 1] % 2 == 0).all()
    assert things.sample(2**62, where={"n": {"$lt": 3}})["ids"] == ["p0", "p1", "p2"]
    assert things.sample()["ids"] == things.get()["ids"]
    for bad in (0, -1, 1.5, "3", None):
        with pytest.raises(InvalidArgumentError, match="size is"):
            things.sample(bad)


def test_unfulfillable_filters_are_reported_for_any_setting_of_the_client(tmp_path, warnings):
    with retrieval_store.Client(tmp_path / "store") as client:
        things = client.create_collection("things", embedding_function=None)
        assert things.unknown_keys({"yaer": 1}) == []  # nothing is there yet
        things.add(["a"], [[1.0]], [{"year": 2020, "tags": ["x"]}], documents=["tea"])
        year, tags = things.unknown_keys({"$and": [{"yaer": 2020}, {"tags": 3}]})
        assert year == "no record has a value under 'yaer'" and "'tags'" in tags
        assert things.unknown_keys(OneOf(("year",), ("2020",))) != []
        assert things.unknown_keys({"year": 1999}, {"$contains": "coffee"}) == []
        assert things.unknown_keys() == []
        with pytest.raises(InvalidFilterError):
            things.unknown_keys({"year": {"$near": 1}})
    assert warnings() == []


def test_peek_returns_the_first_points(populated):
    assert populated.peek(2)["ids"] == ["p0", "p1"]
    assert populated.peek()["embeddings"].shape == (5, 2)


# query


def test_query_returns_lists_a_query_nearest_first(populated):
    result = populated.query(query_embeddings=[[0.9, 0], [4, 0]], n_results=2)
    assert set(result) == GET_KEYS | {"distances", "scores"}
    assert result["ids"] == [["p1", "p0"], ["p4", "p3"]]
    assert result["distances"] == [pytest.approx([0.01, 0.81]), [0, 1]]
    assert result["documents"][1] == ["document 4", "document 3"]
    assert result["metadatas"][0][0] == {"n": 1, "even": False}
    assert result["embeddings"] is result["uris"] is result["data"] is None
    assert all(type(distance) is float for distance in result["distances"][0])


def test_arguments_by_names_that_they_have_elsewhere_are_refused_with_the_right_one(populated):
    right = {
        "top_k": "n_results",
        "filter": "where",
        "text": "query_texts",
        "vector": "query_embeddings",
    }
    for name, here in right.items():
        for method in (populated.query, populated.explain, populated.why):
            with pytest.raises(TypeError, match=rf"keyword argument {name!r}: here it is {here}$"):
                method([0.0, 1.0], **{name: 1})
    with pytest.raises(TypeError, match="multiple values"):
        populated.query([0.0, 1.0], query_embeddings=1)


def test_query_by_one_vector_is_query_by_a_list_of_one(populated):
    for query in ([1.1, 0], [[1.1, 0]], np.array([1.1, 0]), np.array([[1.1, 0]])):
        assert populated.query(query_embeddings=query, n_results=1)["ids"] == [["p1"]]


def test_query_includes_embeddings_as_arrays(populated):
    vectors = populated.query(query_embeddings=[1, 0], n_results=2, include=["embeddings"])
    assert vectors["embeddings"][0][0].tolist() == [1, 0]
    assert vectors["distances"] is None


def test_fewer_come_back_only_when_fewer_match(populated):
    assert len(populated.query(query_embeddings=[0, 0], n_results=99)["ids"][0]) == 5
    odd = populated.query(query_embeddings=[0, 0], n_results=4, where={"even": False})
    assert odd["ids"] == [["p1", "p3"]]
    none = populated.query(query_embeddings=[0, 0], where={"n": 77})
    assert none["ids"] == none["distances"] == none["documents"] == [[]]


def test_results_of_queries_are_separate_objects_even_for_the_same_points(populated):
    fields = ["metadatas", "documents", "embeddings"]
    found = populated.query(query_embeddings=[[0, 0]] * 2, n_results=2, include=fields)
    found["metadatas"][0][0]["n"] = found["embeddings"][0][0][0] = 99
    found["documents"][0].clear()
    assert found["metadatas"][1] == [{"n": 0, "even": True}, {"n": 1, "even": False}]
    assert [vector.tolist() for vector in found["embeddings"][1]] == [[0, 0], [1, 0]]
    assert found["documents"][1] == ["document 0", "document 1"]


def test_query_can_be_restricted_to_ids_and_filters(populated):
    restricted = populated.query(query_embeddings=[0, 0], ids=["p4", "p2", "nobody"])
    assert restricted["ids"] == [["p2", "p4"]]
    both = populated.query(query_embeddings=[0, 0], ids=["p4", "p3"], where={"even": True})
    assert both["ids"] == [["p4"]]
    text = populated.query(query_embeddings=[0, 0], where_document={"$regex": "[34]$"})
    assert text["ids"] == [["p3", "p4"]]


def test_ties_are_in_the_order_of_insertion(collection):
    collection.add(ids=list("abcdef"), embeddings=[[1, 0]] * 6)
    collection.update(ids="a", embeddings=[1, 0])
    assert collection.query(query_embeddings=[0, 0], n_results=3)["ids"] == [["a", "b", "c"]]
    collection.delete(ids="b")
    assert collection.query(query_embeddings=[0, 0], n_results=3)["ids"] == [["a", "c", "d"]]


def test_an_empty_collection_answers_queries_of_any_dimension(collection):
    result = collection.query(query_embeddings=[[1, 2, 3], [4, 5, 6]])
    assert result["ids"] == result["distances"] == result["metadatas"] == [[], []]
    assert collection.get()["ids"] == []
    assert collection.peek()["embeddings"].shape[0] == 0


def test_n_results_may_be_an_int_of_numpy(populated):
    assert len(populated.query(query_embeddings=[0, 0], n_results=np.int64(2))["ids"][0]) == 2


@pytest.mark.embedded  # a cluster's distances are as exact as float32
@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("l2", {"same": 0, "other": 1, "zero": 13}),
        ("ip", {"same": 1 - 13, "other": 1 - 11, "zero": 1}),
        ("cosine", {"same": 0, "other": 1 - 11 / np.sqrt(130), "zero": 1}),
    ],
)
def test_distances_are_squared_l2_or_one_minus_product_or_cosine(client, space, expected):
    configuration = {"hnsw": {"space": space}}
    collection = client.create_collection("points", configuration, embedding_function=None)
    collection.add(ids=["other", "zero", "same"], embeddings=[[1, 3], [0, 0], [2, 3]])
    result = collection.query(query_embeddings=[2, 3])
    assert result["ids"] == [["same", "other", "zero"]]
    assert dict(zip(result["ids"][0], result["distances"][0], strict=True)) == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.embedded
def test_a_small_collection_answers_more_queries_than_it_has_room_for_rows(populated):
    found = populated.query(query_embeddings=np.zeros((9_000, 2)), n_results=5)
    assert len(found["ids"]) == 9_000
    assert {tuple(ids) for ids in found["ids"]} == {("p0", "p1", "p2", "p3", "p4")}


def test_query_and_explain_show_their_parameters_in_their_signatures(populated):
    shown = inspect.signature(populated.query).parameters
    assert list(shown)[:2] == ["query_embeddings", "query_texts"]
    assert shown == inspect.signature(populated.explain).parameters
    for method in (populated.query, populated.explain):
        with pytest.raises(
            TypeError, match=rf"{method.__name__}\(\) got an unexpected .* 'querry'"
        ):
            method(querry="x")
    hints = typing.get_type_hints(populated.query)
    assert {*hints} == {*shown, "return"}
    assert hints["return"] is QueryResult


@pytest.mark.parametrize("name", ["query", "explain", "why"])
def test_methods_pass_on_each_parameter_by_its_name(name):
    method = inspect.unwrap(getattr(Collection, name))
    (source,) = ast.parse(textwrap.dedent(inspect.getsource(method))).body
    calls = [one for one in ast.walk(source) if isinstance(one, ast.Call)]
    (passed,) = [one.keywords for one in calls if getattr(one.func, "id", "") == "QueryRequest"]
    assert all(one.arg == one.value.id for one in passed)
    shown = inspect.signature(method).parameters
    others = {"self", "records", "containing", "same"} if name == "why" else {"self"}
    usual = {name: one.default for name, one in shown.items() if name not in others}
    assert {one.arg for one in passed} == usual.keys()
    assert {one.name: one.default for one in fields(QueryRequest)} == usual


def test_a_request_prints_its_arguments_and_is_frozen():
    request = QueryRequest(query_texts="wolf", n_results=3, mode="text")
    assert repr(request) == "QueryRequest(query_texts='wolf', n_results=3, mode='text')"
    assert len(repr(QueryRequest(query_embeddings=np.zeros((100, 300))))) < 300
    with pytest.raises(FrozenInstanceError):
        request.n_results = 4
    with pytest.raises(TypeError):
        QueryRequest("wolf")


# filters that nothing can match


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, "retrieval_store")

    def taken():
        messages = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return messages

    return taken


@pytest.fixture
def odd(collection):
    collection.add(
        ids=["a", "b", "c"],
        embeddings=np.eye(3),
        metadatas=[
            {"n": 1, "s": "x", "tags": ["red"], "o": {"k": True}, "mixed": 1, "none": None},
            {"n": 2.5, "s": "y", "tags": ["blue", 3], "o": {"k": False}, "mixed": "1"},
            {"empty": [], "o": {}},
        ],
        documents=["one", "two", "three"],
    )
    return collection


NOBODY = "no record has a value under "
IMPOSSIBLE = {
    "m": ({"m": 1}, NOBODY + "'m'"),
    "none": ({"none": {"$gt": 1}}, NOBODY + "'none'"),
    "o.j": ({"$or": [{"o.j": 1}, {"n": 9}]}, NOBODY + "'o.j'"),
    "n": (
        {"n": "1", "$not": {"m": 1}},
        "under 'n' the filter asks for strings, but records have numbers there",
    ),
    "prefix": ({"n": {"$prefix": "1"}}, "asks for strings, but records have numbers there"),
    "s": ({"s": {"$gte": 1}}, "asks for numbers, but records have strings there"),
    "o.k": ({"o.k": {"$in": ["True", 1]}}, "asks for numbers or strings, but records have bools"),
    "tags": (
        {"tags": "red"},
        "records have strings in lists and numbers in lists there, into which $contains looks",
    ),
    "elements": ({"s": {"$contains": 5}}, "asks for numbers in lists, but records have strings"),
    "of no values": (OneOf(("n",), ()), "under 'n' the filter asks for one of no values"),
    "empty": ({"empty": 1}, "asks for numbers, but records have objects or empty lists there"),
    "o": ({"o": 1}, "records have objects or empty lists there"),
}


@pytest.mark.embedded  # on a cluster nothing is looked for
@pytest.mark.parametrize("key", IMPOSSIBLE)
def test_unmatchable_filters_are_reported_once(odd, warnings, key):
    where, text = IMPOSSIBLE[key]
    for ask in (odd.get, odd.count, lambda where: odd.query([0, 0, 1], where=where), odd.delete):
        ask(where=where)
        odd.get(where=where, where_document={"$contains": "e"})
    (message,) = warnings()
    assert message.startswith("collection 'points': nothing matches: ") and text in message
    assert text in odd.explain([0, 0, 1], where=where)["remarks"][-1]
    assert odd.count() == 3


@pytest.mark.embedded
@pytest.mark.parametrize(
    "where",
    [
        {"n": 7},
        {"n": {"$gt": 7}, "s": "z"},
        {"mixed": 3},
        {"mixed": "3"},
        {"tags": {"$contains": "green"}},
        {"tags": {"$contains": 4}},
        {"tags": {"$size": 5}},
        {"empty": {"$contains": 1}},
        {"m": {"$exists": True}},
        {"n": {"$ne": 1}, "s": "x"},
        {"m": {"$ne": 1}, "n": 5},
        {"$nor": [{"m": 1}, {"n": {"$ne": 5}}]},
    ],
)
def test_possible_matches_are_not_reported(odd, warnings, where):
    assert odd.get(where=where)["ids"] == []
    assert odd.facet("n", where) == []
    assert odd.update(where=where, metadatas={"n": 1})["updated"] == 0
    assert list(odd.iterate(where=where)) == []
    assert warnings() == []
    assert not any("record" in one for one in odd.explain([0, 0, 1], where=where)["remarks"])


@pytest.mark.embedded
def test_found_records_and_empty_collections_are_not_reported(collection, warnings):
    assert collection.get(where={"m": 1})["ids"] == []
    collection.add("a", [1], {"n": 1})
    assert collection.get(where={"$or": [{"m": 1}, {"n": 1}]})["ids"] == ["a"]
    assert collection.get(ids=["x"])["ids"] == []
    assert warnings() == []
    assert collection.get(where={"m": 1})["ids"] == []
    assert len(warnings()) == 1
    collection.delete(ids="a")
    collection.add("b", [1], {"m": 1})
    assert collection.get(where={"m": 1})["ids"] == ["b"]


@pytest.mark.embedded
def test_deleted_values_are_not_values(populated, warnings):
    populated.update("p0", metadatas={"rare": "x"})
    assert populated.get(where={"rare": "x"})["ids"] == ["p0"]
    populated.update("p0", metadatas={"rare": None})
    assert populated.get(where={"rare": "x"})["ids"] == []
    assert warnings() == [
        "collection 'points': nothing matches: no record has a value under 'rare'"
    ]


KEYS = {
    "m": NOBODY + "{}='m'",
    "none": NOBODY + "{}='none'",
}


@pytest.mark.embedded
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("argument", ["order_by", "group_by", "key", "same", "keys"])
def test_a_key_that_no_record_has_is_reported_wherever_it_is_used(odd, warnings, key, argument):
    ask = {
        "order_by": lambda: odd.get(order_by=key)["ids"],
        "group_by": lambda: odd.query([0, 0, 1], group_by=key)["ids"][0],
        "key": lambda: odd.facet(key),
        "same": lambda: odd.why([0, 0, 1], records="a", same=key)[0].same,
        "keys": lambda: odd.warm(keys=key) and [],
    }[argument]
    assert ask() == []
    assert warnings() == ["collection 'points': nothing matches: " + KEYS[key].format(argument)]
    assert ask() == []
    assert warnings() == []  # once


@pytest.mark.embedded
def test_an_order_by_a_missing_key_is_reported(odd, warnings):
    odd.update("a", metadatas={"day": "2026-01-05"})
    assert odd.get(order_by="s")["ids"] == []
    assert warnings() == [
        "collection 'points': nothing matches: order_by goes by numbers and dates, but under 's' "
        "records have strings"
    ]
    assert odd.get(order_by="n")["ids"] == ["a", "b"]
    assert odd.get(order_by="day")["ids"] == ["a"]
    assert odd.get(order_by="n", where={"s": "y"}, offset=1)["ids"] == []
    assert odd.get(order_by="day", ids=["b"])["ids"] == []
    assert odd.query([0, 0, 1], group_by="s", where={"n": 5})["ids"] == [[]]
    assert warnings() == []


@pytest.mark.embedded
def test_a_search_without_hits_reports_its_filter(odd, warnings):
    assert odd.search(Search().where(K("m") == 1))["ids"] == [[]]
    assert warnings() == ["collection 'points': nothing matches: " + NOBODY + "'m'"]


def test_unknown_keys_are_an_error_or_ignored_by_the_clients_setting(tmp_path, warnings):
    store = tmp_path / "store"
    with retrieval_store.Client(store, unknown_keys="error") as client:
        points = client.create_collection("points", embedding_function=None)
        assert points.get(where={"m": 1})["ids"] == []  # as long as it is empty
        points.add(["a", "b"], [[1], [2]], [{"n": 1}, {"n": 2}])
        for _ in range(2):
            for ask in (points.get, points.count, points.delete):
                with pytest.raises(InvalidFilterError, match="nothing matches: no record has a"):
                    ask(where={"m": 1})
            with pytest.raises(InvalidFilterError, match="asks for strings, but records have"):
                points.update(where={"n": "1"}, metadatas={"n": 3})
        assert points.get(where={"n": 3})["ids"] == []
        assert points.get(where={"n": 2})["ids"] == ["b"]
    with retrieval_store.Client(store, unknown_keys="ignore") as client:
        assert client.get_collection("points").get(where={"m": 1})["ids"] == []
    assert warnings() == []
    with pytest.raises(InvalidArgumentError, match="unknown_keys is 'no' .*'warn', 'error'"):
        retrieval_store.Client(unknown_keys="no")


@pytest.mark.embedded
def test_few_keys_of_a_large_filter_are_checked_and_few_are_cached(populated, warnings):
    populated.get(where={"$or": [{f"k{i}": 1} for i in range(200)]})
    assert len(warnings()) == 20
    for i in range(1_100):
        populated.count({f"j{i}": 1})
    assert len(warnings()) == 980


TIMES = {"day": "2024-01-05", "moment": "2024-02-01T10:00:00Z", "word": "january"}


@pytest.mark.embedded
@pytest.mark.parametrize("key", ["day", "moment"])
def test_times_compared_with_a_text_are_reported_before_anything_is_done(odd, warnings, key):
    odd.update(["a", "b"], metadatas=[TIMES, TIMES])
    odd.get(where={key: {"$gt": "2023-12-31"}})
    odd.get(where={"word": {"$gt": "01.01.2024"}})
    odd.get(where={key: {"$regex": "2024"}})
    odd.get(where={key: "2024"})
    warnings()
    for where in ({key: {"$gt": "01.01.2024"}}, {"$or": [{"n": 1}, {key: {"$lte": "01.01.2024"}}]}):
        odd.get(where=where)
        odd.query([0, 0, 1], where=where)
    (message,) = warnings()
    assert message.startswith(
        f"collection 'points': '01.01.2024' is no time, so the times under {key!r} are compared "
        "with it as texts; expected"
    )


def test_times_compared_with_a_text_are_refused_if_the_client_says_so(tmp_path):
    with retrieval_store.Client(tmp_path / "store", unknown_keys="error") as client:
        points = client.create_collection("points", embedding_function=None)
        points.add(["a"], [[1]], [TIMES])
        for ask in (points.get, points.count, points.delete):
            with pytest.raises(InvalidFilterError, match="is no time, so the times under 'day'"):
                ask(where={"day": {"$gt": "01.01.2024"}})
        with pytest.raises(InvalidFilterError, match="is no time"):
            points.update(where={"day": {"$gt": "01.01.2024"}}, metadatas={"n": 1})
        assert points.get()["metadatas"] == [TIMES]


@pytest.mark.embedded
def test_why_a_path_into_a_list_of_objects_finds_nothing_is_explained(odd, warnings):
    odd.update(
        "a", metadatas={"authors": [{"name": "Ann", "home": {"town": "Bath"}}], "tags": ["x"]}
    )
    for path, query in (
        ("authors.name", "authors[].name"),
        ("authors.home.town", "authors[].home.town"),
    ):
        assert odd.get(where={path: "Ann"})["ids"] == []
        (message,) = warnings()
        assert message.startswith(
            f"collection 'points': nothing matches: no record has a value under {path!r}; 'authors' "
            "is a list of objects, and paths don't enter lists: "
        )
        assert message.endswith(f"filter by QdrantClient with '{query}'")
    for path in ("authors.nobody", "tags.name"):
        odd.get(where={path: "Ann"})
        assert warnings() == [f"collection 'points': nothing matches: {NOBODY}{path!r}"]


def test_the_first_query_uri_that_a_loader_leaves_out_is_named():
    def load(uris):
        return [None if "missing" in str(uri) else uri for uri in uris]

    with retrieval_store.Client() as client:
        points = client.create_collection(
            "points", embedding_function=lambda texts: [[1.0]] * len(texts), data_loader=load
        )
        points.add(["a"], [[1]])
        with pytest.raises(
            DataLoaderError,
            match=r"^query_uris\[1\] is 'missing.png', which the data loader left out",
        ):
            points.query(query_uris=["a.png", "missing.png", "b.png"])
