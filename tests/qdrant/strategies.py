"""Random payloads, indexes and filters that often match."""

from hypothesis import strategies as st
from qdrant_client import models

Field = models.FieldCondition
UUIDS = (
    "00000000-0000-0000-0000-000000000007",
    "0000000000000000000000000000000D",
    "00000000-0000-0000-0000-00000000000d",
)
TIMES = (
    "2024-05-01",
    "2024-05-01T10:00:00Z",
    "2024-05-01T12:00:00+02:00",
    "2024-05-01 10:00",
    "1969-12-31T23:59:59.5Z",
    "2024-13-01",
)
TEXTS = ("", "a", "A", "b", "ä", "a b", "b a c", "The Fox-trot", "1", *UUIDS, *TIMES)
INTEGERS = (0, 1, -1, 2, 3, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1)
FLOATS = (0.0, 1.0, -0.0, 1.5, -2.5, 1e18, 1e300, 3.0)
LOCATIONS = (
    {"lon": 0, "lat": 0},
    {"lon": 13.4, "lat": 52.5},
    {"lon": 100, "lat": 10},
    {"lon": 181, "lat": 0},
    {"lon": "0", "lat": 0},
    {"lon": -179.5, "lat": -10.25},
)
scalars = st.sampled_from([None, True, False, *TEXTS, *INTEGERS, *FLOATS])
values = st.recursive(
    scalars | st.sampled_from(LOCATIONS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2)
    ),
    max_leaves=6,
)
payloads = st.dictionaries(st.sampled_from("vw"), values, max_size=2)
points = st.lists(payloads, max_size=12).map(lambda each: dict(enumerate(each)))

keys = st.sampled_from(
    ["v", "v", "v", "w", "v[]", "v.x", "v[].x", "v[0]", "v.x[]", "v.y.x", "v[][]", '"v"."x"']
)
kinds = st.sampled_from([None, *models.PayloadSchemaType])
text_indexes = st.builds(
    models.TextIndexParams,
    type=st.just("text"),
    tokenizer=st.sampled_from(["word", "whitespace", "prefix", "code"]),
    lowercase=st.none() | st.booleans(),
    min_token_len=st.none() | st.integers(1, 2),
    max_token_len=st.none() | st.integers(2, 4),
    phrase_matching=st.none() | st.booleans(),
)
integer_indexes = st.builds(
    models.IntegerIndexParams,
    type=st.just("integer"),
    lookup=st.booleans(),
    range=st.booleans(),
)
schemas = kinds | text_indexes | integer_indexes
indexes = st.dictionaries(st.sampled_from(["v", "w", "v[]", "v[].x", "v.x"]), schemas).map(
    lambda by_key: {key: schema for key, schema in by_key.items() if schema is not None}
)

signed = st.sampled_from([one for one in INTEGERS if one < 2**63])
texts = st.sampled_from(TEXTS)
bounds = st.none() | st.sampled_from([-2.5, -1.0, 0.0, 0.5, 1.0, 1.5, 3.0, 2.0**53, 1e18, 1e19])


def _side(outside, inside):
    """At most one bound per side. With two, the engine ignores one in an index lookup, but uses
    both otherwise."""
    return st.one_of(
        st.just({}), bounds.map(lambda one: {outside: one}), bounds.map(lambda one: {inside: one})
    )


times = st.none() | st.sampled_from(["2024-05-01T10:00:00Z", "2024-05-01", "1970-01-01T00:00:00Z"])
lengths = st.none() | st.integers(0, 3)
places = st.sampled_from([(0.0, 0.0), (13.0, 52.0), (-10.0, 60.0), (20.0, -10.0), (90.0, 60.0)])
geo_points = places.map(lambda place: models.GeoPoint(lon=place[0], lat=place[1]))
SQUARE = models.GeoPolygon.model_validate(
    {
        "exterior": {
            "points": [
                {"lon": x, "lat": y} for x, y in ((-5, -5), (20, -5), (20, 60), (-5, 60), (-5, -5))
            ]
        }
    }
)

matches = st.one_of(
    st.builds(models.MatchValue, value=texts | signed | st.booleans()),
    st.builds(models.MatchAny, any=st.lists(texts, max_size=3) | st.lists(signed, max_size=3)),
    st.lists(texts, max_size=3).map(lambda some: models.MatchExcept(**{"except": some})),
    st.lists(signed, max_size=3).map(lambda some: models.MatchExcept(**{"except": some})),
    st.builds(models.MatchPrefix, prefix=texts),
    st.builds(models.MatchSubstring, substring=texts),
)
# Today's engine cuts texts into words where no index of texts does it, and servers of 1.19 don't.
of_texts = st.builds(
    Field,
    key=keys,
    match=st.one_of(
        st.builds(models.MatchText, text=texts),
        st.builds(models.MatchTextAny, text_any=texts),
        st.builds(models.MatchPhrase, phrase=texts),
    ),
)
conditions = st.one_of(
    st.builds(Field, key=keys, match=matches),
    st.builds(
        Field,
        key=keys,
        range=st.builds(
            lambda low, high: models.Range(**low, **high), _side("gt", "gte"), _side("lt", "lte")
        ),
    ),
    st.builds(Field, key=keys, range=st.builds(models.DatetimeRange, gte=times, lt=times)),
    st.builds(
        Field,
        key=keys,
        values_count=st.builds(models.ValuesCount, gt=lengths, gte=lengths, lt=lengths),
    ),
    st.builds(
        Field,
        key=keys,
        geo_radius=st.builds(
            models.GeoRadius, center=geo_points, radius=st.sampled_from([1.0, 1e5, 1e6])
        ),
    ),
    st.builds(
        Field,
        key=keys,
        geo_bounding_box=st.builds(
            models.GeoBoundingBox, top_left=geo_points, bottom_right=geo_points
        ),
    ),
    st.builds(Field, key=keys, geo_polygon=st.just(SQUARE)),
    st.builds(Field, key=keys, is_null=st.booleans()),
    st.builds(Field, key=keys, is_empty=st.booleans()),
    keys.map(lambda key: models.IsNullCondition(is_null=models.PayloadField(key=key))),
    keys.map(lambda key: models.IsEmptyCondition(is_empty=models.PayloadField(key=key))),
    st.builds(models.HasIdCondition, has_id=st.lists(st.integers(0, 12), max_size=4)),
)


def _combined(inner):
    some = st.none() | st.lists(inner, max_size=3)
    least = st.none() | st.builds(
        models.MinShould,
        conditions=st.lists(inner, min_size=1, max_size=3),
        min_count=st.integers(1, 3),
    )
    combined = st.builds(models.Filter, must=some, should=some, must_not=some, min_should=least)
    nested = st.builds(models.Nested, key=st.sampled_from(["v", "v[]", "v.x"]), filter=combined)
    return combined | st.builds(models.NestedCondition, nested=nested)


def _filters(leaves):
    return _combined(st.recursive(leaves, _combined, max_leaves=8)).map(
        lambda given: given if isinstance(given, models.Filter) else models.Filter(must=[given])
    )


filters = _filters(conditions)
filters_of_texts = _filters(conditions | of_texts)
