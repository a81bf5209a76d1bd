"""The parsed form of filters of Qdrant's client, and refused filters."""

import uuid
from contextlib import closing
from itertools import chain

import numpy as np
import pytest
from qdrant_client import models

from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.columns import PlacesAt, ValuesAt
from retrieval_store.filters.geo import InCircle
from retrieval_store.filters.leaves import MAX_NODES, InSlice
from retrieval_store.filters.nodes import And, Not
from retrieval_store.filters.values import Between, Equals
from retrieval_store.qdrant.filter_parser import MAX_LEVELS, parse_filter
from retrieval_store.qdrant.payload_indexes import by_path, parse_facet, parse_order, parse_path
from retrieval_store.qdrant.refusals import Refused
from retrieval_store.query.types import NewSpace, PointBatch, Vectors
from tests.helpers import inside
from tests.qdrant.store import REPLACE, Payloads

Field, Value = models.FieldCondition, models.MatchValue


@pytest.fixture
def points():
    with closing(Payloads()) as points:
        yield points


def must(*conditions):
    return models.Filter(must=[*conditions])


def at(lon, lat):
    return models.GeoPoint(lon=lon, lat=lat)


def ring(*places):
    return models.GeoLineString(points=[at(*place) for place in places])


@pytest.mark.parametrize(
    ("key", "steps"),
    [
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        ("a[].b", ("a", None, "b")),
        ("a[0][12]", ("a", 0, 12)),
        ('"a.b".c', ("a.b", "c")),
        ('a."x y"[]', ("a", "x y", None)),
        ("ä-1_", ("ä-1_",)),
        ('""', ("",)),
    ],
)
def test_a_path_is_a_key_or_an_element_a_step(key, steps):
    assert parse_path(key).steps == steps


@pytest.mark.parametrize(
    "key",
    [
        *("", ".a", "a.", "a..b", "a[", "a[x]", "a[-1]", "a[]b", 'a["b"]', "a b", '"a', "a[*]"),
        *("a[99999999999999999999]", "a/b"),
    ],
)
def test_invalid_paths_are_refused(key):
    with pytest.raises(InvalidFilterError, match="no path"):
        parse_path(key)


@pytest.mark.parametrize(
    "given",
    [
        must(Field(key="v")),
        must(Field(key="v.", is_null=True)),
        must(models.HasIdCondition(has_id=[-1])),
        must(models.SliceCondition(slice=models.Slice(total=2, index=2))),
        must(Field(key="v", range=models.Range(gt=float("inf")))),
        must(Field(key="v", geo_radius=models.GeoRadius(center=at(0, 91), radius=1))),
        must(Field(key="v", geo_radius=models.GeoRadius(center=at(0, 0), radius=float("inf")))),
        must(Field(key="v", geo_radius=models.GeoRadius(center=at(0, 0), radius=float("nan")))),
        must(Field(key="v", geo_polygon=models.GeoPolygon(exterior=ring((0, 0), (1, 1), (0, 0))))),
        must(
            Field(
                key="v",
                geo_polygon=models.GeoPolygon(exterior=ring((0, 0), (1, 0), (1, 1), (0, 1))),
            )
        ),
        models.Filter(min_should=models.MinShould(conditions=[], min_count=0)),
    ],
)
def test_refusals_of_a_server_are_raised(given):
    with pytest.raises((InvalidFilterError, Refused)):
        parse_filter(given, {})


def test_the_deepest_filters_are_evaluated(points):
    deep = nested = Field(key="v", is_null=True)
    for _ in range(MAX_LEVELS - 1):
        deep = models.Filter.model_construct(must_not=[deep])
        inner = models.Filter.model_construct(must=[nested])
        nested = models.NestedCondition.model_construct(
            nested=models.Nested.model_construct(key="v", filter=inner)
        )
    points.put({1: {"v": None}, 2: {"v": 1}})
    assert points.found(must(deep)) == [2]
    assert points.found(must(nested)) == []


def test_filters_that_are_too_deep_are_refused():
    deep = models.Filter(must=[Field(key="v", is_null=True)])
    for _ in range(MAX_LEVELS):
        deep = models.Filter.model_construct(must=[deep])
    with pytest.raises(InvalidFilterError, match="deeper"):
        parse_filter(deep, {})
    nested = Field(key="v", is_null=True)
    for _ in range(MAX_LEVELS):
        inner = models.Filter.model_construct(must=[nested])
        nested = models.NestedCondition.model_construct(
            nested=models.Nested.model_construct(key="v", filter=inner)
        )
    with pytest.raises(InvalidFilterError, match="deeper"):
        parse_filter(must(nested), {})


def test_an_id_is_the_same_however_a_uuid_is_written(points):
    one = uuid.uuid5(uuid.NAMESPACE_DNS, "one")
    points.put({str(one): {}, 5: {}})
    for written in (str(one), one.hex.upper(), f"urn:uuid:{one}", one):
        assert points.found(must(models.HasIdCondition(has_id=[written]))) == [str(one)]


def test_a_filter_without_conditions_lets_everything_through(points):
    points.put({1: {}, 2: {"v": None}})
    assert points.found(None) == points.found(models.Filter()) == [1, 2]
    assert points.found(models.Filter(should=[], must_not=[])) == [1, 2]


def test_nothing_null_and_an_empty_list_are_three_things(points):
    points.put({1: {}, 2: {"v": None}, 3: {"v": []}, 4: {"v": [None]}, 5: {"v": 0}})
    assert points.found(must(Field(key="v", is_null=True))) == [2, 4]
    assert points.found(must(Field(key="v", is_empty=True))) == [1, 2, 3]
    assert points.found(must(Field(key="v", values_count=models.ValuesCount(gte=1)))) == [4, 5]


def test_keys_with_odd_characters_distinguish_null_from_missing(points):
    points.put({1: {"a\0b": None}, 2: {"a": None}, 3: {"a\0b": 1}, 4: {"\0": 1}})
    assert points.found(must(Field(key='"a\0b"', is_null=True))) == [1]
    assert points.found(must(Field(key="a", is_null=True))) == [2]


def test_has_vector_matches_points_with_a_vector_in_a_space():
    spaces = {"image": NewSpace("cosine", {}), "words": NewSpace("ip", {}, "sparse")}
    with closing(Payloads(spaces=spaces)) as points:
        vectors = Vectors(np.ones((2, 3), np.float32), np.array([0, 2]))
        points.points.put(PointBatch([7, 8, 9], {"image": vectors}), REPLACE)
        condition = models.HasVectorCondition(has_vector="image")
        assert points.found(must(condition)) == [7, 9]
        assert points.found(models.Filter(must_not=[condition])) == [8]
        for none in ("words", "unknown"):
            assert points.found(must(models.HasVectorCondition(has_vector=none))) == []


def test_slices_part_the_points_and_larger_ones_hold_smaller_ones(points):
    ids = [*range(50), *(str(uuid.uuid5(uuid.NAMESPACE_DNS, str(i))) for i in range(50))]
    points.put({one: {} for one in ids})
    parts = [
        points.found(must(models.SliceCondition(slice=models.Slice(total=4, index=i))))
        for i in range(4)
    ]
    assert sorted(map(str, chain(*parts))) == sorted(map(str, ids))
    half = points.found(must(models.SliceCondition(slice=models.Slice(total=2, index=0))))
    assert {*parts[0], *parts[2]} == {*half}


def test_the_slice_of_an_id_is_that_of_a_server():
    # What Qdrant's engine gives for these ids.
    assert [
        InSlice(3, i).of([0, 1, 2, 3, 4, 2**64 - 1]).nonzero()[0].tolist() for i in range(3)
    ] == [
        [],
        [3, 5],
        [0, 1, 2, 4],
    ]


def test_at_least_so_many_conditions_must_hold(points):
    points.put({1: {"a": 1}, 2: {"a": 1, "b": 1}, 3: {"a": 1, "b": 1, "c": 1}, 4: {}})
    conditions = [Field(key=key, match=Value(value=1)) for key in "abc"]
    for least, expected in ((1, [1, 2, 3]), (2, [2, 3]), (3, [3]), (4, [])):
        condition = models.MinShould(conditions=conditions, min_count=least)
        assert points.found(models.Filter(min_should=condition)) == expected


def test_an_index_decides_what_equals_an_integer(points):
    points.put({1: {"v": 1}, 2: {"v": 1.0}, 3: {"v": True}, 4: {"v": "1"}})
    query = must(Field(key="v", match=Value(value=1)))
    assert points.found(query) == [1]
    points.index("v", models.PayloadSchemaType.INTEGER)
    assert points.found(query) == [1, 2]
    points.index("v", models.IntegerIndexParams(type="integer", lookup=False, range=True))
    assert points.found(query) == [1]
    points.index("v", None)
    assert points.found(query) == [1]


def test_cached_filters_distinguish_nested_conditions(points):
    points.put({1: {"v": [{"x": "a"}]}, 2: {"v": [{"x": "b"}]}})

    def nested(match):
        inner = models.Filter(must=[Field(key="x", match=match)])
        return must(models.NestedCondition(nested=models.Nested(key="v", filter=inner)))

    assert points.found(nested(models.MatchPrefix(prefix="a"))) == [1]
    assert points.found(nested(models.MatchSubstring(substring="a"))) == [1]
    assert points.found(nested(models.MatchAny(any=["a"]))) == [1]
    assert points.found(nested(models.MatchExcept(**{"except": ["a"]}))) == [2]


def test_no_alternatives_are_fulfilled_by_points_and_by_no_element(points):
    points.put({1: {"v": [{"x": "a"}]}})
    none = models.Filter(should=[])
    assert points.found(none) == [1]
    inside = models.NestedCondition(nested=models.Nested(key="v", filter=none))
    assert points.found(must(inside)) == []


@pytest.mark.parametrize("schema", ["float", "geo", "datetime", "text", None])
def test_facets_need_an_index_of_values_that_are_matched(schema):
    indexes = {"v": models.PayloadSchemaType(schema)} if schema else {}
    with pytest.raises(InvalidFilterError, match="facet"):
        parse_facet("v", by_path(indexes))


@pytest.mark.parametrize("schema", ["keyword", "bool", "geo", "uuid", "text", None])
def test_orders_need_an_index_of_numbers(schema):
    indexes = {"v": models.PayloadSchemaType(schema)} if schema else {}
    with pytest.raises(InvalidFilterError, match="order"):
        parse_order("v", by_path(indexes))


def test_facets_count_the_matching_points(points):
    points.index("v", models.PayloadSchemaType.KEYWORD)
    points.put({i: {"v": ["a", "a", "b"][: i % 4], "n": i} for i in range(8)})
    assert points.facet("v") == [("a", 6), ("b", 2)]
    small = must(Field(key="n", range=models.Range(lt=4)))
    assert points.facet("v", small) == [("a", 3), ("b", 1)]
    points.delete([3, 7])
    assert points.facet("v") == [("a", 4)]


def test_an_order_begins_at_its_start_value(points):
    points.index("v", models.PayloadSchemaType.DATETIME)
    points.put({day: {"v": f"2024-05-{day:02}"} for day in range(1, 10)})
    since = models.OrderBy(key="v", start_from="2024-05-04T12:00:00Z")
    assert points.list_in_order(since, 3)[0].ids == [5, 6, 7]
    before = models.OrderBy(key="v", start_from="2024-05-04", direction="desc")
    assert points.list_in_order(before, 3)[0].ids == [4, 3, 2]
    points.delete([3])
    assert points.list_in_order(before, 3)[0].ids == [4, 2, 1]


def test_words_of_a_text_without_an_index_count_as_conditions():
    def any_of(text):
        return must(Field(key="v", match=models.MatchTextAny(text_any=text)))

    assert parse_filter(any_of("a " * 1_000), {})
    with pytest.raises(InvalidFilterError, match="more than 1000000 conditions"):
        parse_filter(any_of("a " * (MAX_NODES + 1)), {})


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_a_filter_with_a_number_that_json_lacks_has_no_key(number):
    def circle(radius):
        return InCircle(PlacesAt(parse_path("v"), "geo"), 0.0, 0.0, radius)

    for wrap in (lambda leaf: leaf, lambda leaf: And((leaf, Not(leaf)))):
        assert inside.filter_key(wrap(circle(number))) is None
        assert inside.filter_key(wrap(circle(1.0))) is not None
    at_path = ValuesAt(parse_path("v"), "float")
    assert inside.filter_key(Equals(at_path, (1.0, number))) is None
    assert inside.filter_key(And((Equals(at_path, (1.0, 2)), Between(at_path, gte=1)))) is not None
