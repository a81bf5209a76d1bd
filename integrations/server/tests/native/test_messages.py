"""Messages are read with the values that were written; bytes that aren't a message are refused."""

import math
import struct
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_store import SparseVector
from retrieval_store.errors import InvalidArgumentError, InvalidFilterError, RetrievalStoreError
from retrieval_store.extension import (
    UNSET,
    Analyzer,
    BestOfEach,
    Bm25,
    Fields,
    FuseRankings,
    GroupSearch,
    Hits,
    JsonPath,
    NearestDense,
    NearestSparse,
    NonDenseVectors,
    PointBatch,
    Points,
    Query,
    QueryStep,
    ShownIds,
    Vectors,
    WriteRules,
    class_named,
    filter_of,
)
from retrieval_store.filters.expression import (
    And,
    AtLeast,
    Expression,
    HasId,
    InSlice,
    Not,
    OneOf,
    Or,
    Range,
    walk,
)
from retrieval_store_server.native import codec
from retrieval_store_server.native.codec import (
    MalformedError,
    decode,
    encode,
    pack_message,
    unpack_message,
)
from retrieval_store_server.native.methods import POINTS, STORE, decode_error, encode_error
from retrieval_store_server.native.validate import check_arguments
from tests.helpers import inside
from tests.helpers.filter_strategies import metadatas, texts, wheres

OF_QDRANT = [
    "Apply",
    "Combine",
    "Constant",
    "FormulaScore",
    "Mmr",
    "NumberAt",
    "Recommend",
    "ScoreOf",
    "Whether",
]
(Apply, Combine, Constant, FormulaScore, Mmr, NumberAt, Recommend, ScoreOf, Whether) = map(
    class_named, OF_QDRANT
)


def through(value, hint):
    """A value after writing and reading it."""
    arrays = []
    data = encode(value, arrays)
    data, arrays = unpack_message(b"".join(pack_message(data, arrays)))
    return decode(data, hint, arrays)


def plain(value):
    """A comparable form of a value, with its types."""
    if isinstance(value, np.ndarray):
        return ("array", str(value.dtype), value.shape, value.tobytes())
    if is_dataclass(value):
        return (type(value), *(plain(getattr(value, one.name)) for one in fields(value)))
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [plain(one) for one in value]
    return repr(sorted(value) if isinstance(value, frozenset) else value)


def same(value, hint):
    assert plain(through(value, hint)) == plain(value)


def sparse(size):
    return SparseVector(np.arange(size, dtype=np.uint32) * 3, np.ones(size, np.float32))


@given(wheres)
def test_filters_are_encoded_and_decoded_unchanged(where):
    same(filter_of(where), Expression)


A = OneOf(("a",), (1, "x", True, 0.5))
QUESTIONS = [
    NearestDense("", np.ones((2, 3), np.float32), exact=True, ef=7),
    NearestDense("m", (np.ones((2, 3), np.float32), np.zeros((1, 3), np.float32)), "server"),
    NearestSparse("sparse", (sparse(3), sparse(0)), A),
    Bm25(("río", "a\0b"), Analyzer("english", frozenset(["the", "a"])), True),
    FuseRankings("adaptive", (0.3, 0.7), has_fixed_limits=True),
    Recommend("", (np.ones(3, np.float32),), (sparse(2),), best=True, corpus=A),
    Mmr(NearestDense("", np.ones((1, 3), np.float32)), 0.5, 100),
    FormulaScore(
        Combine(
            "sum",
            (
                Constant(1.5),
                ScoreOf(0, math.inf),
                Apply("ln", NumberAt(JsonPath(("a", inside.EACH, 0)), None)),
                Whether(Not(A)),
            ),
        )
    ),
]


@pytest.mark.parametrize("scoring", QUESTIONS, ids=lambda one: type(one).__name__)
def test_questions_are_encoded_and_decoded_unchanged(scoring):
    inner = QueryStep(NearestDense("", np.ones((1, 3), np.float32)), 5, threshold=0.25)
    step = QueryStep(scoring, 10, Or((A, HasId(("x", 7), are_shown=False))), (inner,), offset=3)
    fields = Fields(payload=True, vectors=("", "sparse"))
    groups = BestOfEach(("book",), 2)
    same(Query((step,), fields, groups, QUESTIONS[0]), Query)


def test_other_filters_are_encoded_and_decoded_unchanged():
    for expression in (
        And(()),
        AtLeast((A, Not(A), Range(("n",), gt=10**400, lte=-(10**300))), 2),
        inside.any_element(JsonPath(("a", inside.EACH)), And((A, Or((A,))))),
        InSlice(7, 3),
        OneOf(("\ud800",), ("a\udfff", "b")),  # lone surrogates
    ):
        same(expression, Expression)


def test_a_filter_may_be_as_deep_as_where_allows():
    expression = A
    for _ in range(400):
        expression = Not(expression)
    assert sum(1 for _ in walk(through(expression, Expression))) == 401
    for _ in range(400):
        expression = Not(expression)
    with pytest.raises(InvalidFilterError, match="600 levels"):
        through(expression, Expression)


def test_a_filter_that_doubles_at_each_level_is_refused_before_it_is_walked():
    expression = A
    for _ in range(100):
        expression = And((expression, expression))
    arrays = []
    encoded = encode(expression, arrays)
    assert len(orjson.dumps(encoded)) < 20_000
    with pytest.raises(InvalidFilterError, match="1000000 conditions"):
        decode(encoded, Expression, arrays)


columns = st.lists(st.one_of(st.none(), st.just(UNSET), texts), min_size=3, max_size=3)
payloads = st.lists(st.one_of(st.just(UNSET), metadatas), min_size=3, max_size=3)
VECTORS = [
    {},
    {"": Vectors(np.arange(6, dtype=np.float32).reshape(3, 2))},
    {"": Vectors(np.ones((1, 2), np.float32), np.array([1]))},
    {"s": NonDenseVectors([sparse(2), sparse(0)], np.array([0, 2]))},
    {"m": NonDenseVectors([np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)] * 2, None)},
]


@given(payloads, columns, columns, st.sampled_from(VECTORS))
def test_batches_are_encoded_and_decoded_unchanged(payloads, documents, uris, vectors):
    for ids in (ShownIds(("7", "b", "ключ")), [7, "7", 2**64 - 1]):
        same(PointBatch(ids, vectors, payloads, documents, uris), PointBatch)


def test_points_and_hits_are_encoded_and_decoded_unchanged():
    vectors = {
        "": np.array([[1, 2], [np.nan, np.nan]], np.float32),
        "s": [sparse(2), None],
        "m": [None, np.ones((3, 2), np.float32)],
        "none": [None, None],
    }
    points = Points([1, "a"], [{"~": 1, "=": {"at": 0}}, None], None, ["u", None], vectors)
    same(points, Points)
    hits = Hits(points, None, np.array([0.5, -math.inf]), [1, 2.5], "group")
    same([hits, Hits(points, np.array([0.0, 1.0]), np.array([1.0, 0.0]))], list[Hits])


def test_unsendable_values_are_refused():
    @dataclass(frozen=True, slots=True)
    class Own(Expression):
        path: tuple[str, ...]

    groups = GroupSearch(JsonPath(("a",)), 3, 2, lambda values: A, lambda values: A)
    near = NearestDense("", np.ones((1, 3), np.float32))
    with pytest.raises(InvalidArgumentError, match="can't be sent"):
        through(Query((QueryStep(near, 1),), Fields(), groups), Query)
    with pytest.raises(InvalidArgumentError, match="Own .*can't be sent"):
        through(And((A, Own(("a",)))), Expression)


def test_numbers_of_numpy_are_sent_as_numbers():
    numbers = np.int32(7), np.float32(0.5), np.float64(0.5), np.bool_(True)
    assert plain(through(OneOf(("a",), numbers), Expression)) == plain(
        OneOf(("a",), (7, 0.5, 0.5, True))
    )
    for other in (np.timedelta64(1), np.longdouble(1)):
        with pytest.raises(InvalidArgumentError, match="can't be sent"):
            through(OneOf(("a",), (other,)), Expression)


NO_FILTERS = [
    {"~": "Popen", "args": ["true"]},
    {"~": "Expression"},
    {"~": "Query", "steps": []},
    {"~": "OneOf", "path": ["a"], "values": [1], "more": 2},
    {"~": "OneOf", "path": "a", "values": [1]},
    {"~": "OneOf", "path": ["a"], "values": [[1]]},
    {"~": "OneOf", "path": ["a"]},
    {"~": "HasId", "ids": [1], "are_shown": 1},
    {"~": "tree", "nodes": []},
    {"~": "tree", "nodes": [{"~": "And", "terms": [0]}]},
    {"~": "tree", "nodes": [{"~": "Not", "terms": []}]},
    {"~": "Range", "path": ["a"], "gt": {"~": "int", "is": "0x7"}},
    {"~": ["OneOf"]},
    [],
    None,
]


def test_invalid_filters_are_refused():
    for message in NO_FILTERS:
        with pytest.raises(MalformedError):
            decode(message, Expression, [])


def near_of(array):
    return Query((QueryStep(NearestDense("", array), 3),), Fields())


def rows(array, at=None):
    return {"": Vectors(np.ones(array, np.float32), None if at is None else np.array(at))}


NO_ARGUMENTS = [
    {"question": near_of(np.ones(3, np.float32))},
    {"question": near_of(np.full((1, 3), np.nan, np.float32))},
    {"question": Query((), Fields())},
    {"question": Query((QueryStep(QUESTIONS[0], -1),), Fields())},
    {"question": Query((QueryStep(QUESTIONS[0], 1, threshold=math.nan),), Fields())},
    {"limit": -1},
    {"ids": [-1]},
    {"ids": ShownIds(("",))},
    {"expression": InSlice(3, 7)},
    {"batch": PointBatch(["a", "a"])},
    {"batch": PointBatch(["a"], documents=["x", "y"])},
    {"batch": PointBatch(["a"], rows((2, 2)))},
    {"batch": PointBatch(["a"], rows((1, 2), [3]))},
    {"batch": PointBatch(["a"], rows((1, 2), [[0]]))},
]


def test_arguments_that_no_front_would_pass_are_refused():
    for arguments in NO_ARGUMENTS:
        with pytest.raises(InvalidArgumentError):
            check_arguments(arguments)


MESSAGES = [
    (
        POINTS["ask"],
        {"question": Query((QueryStep(QUESTIONS[0], 3, And((A, Not(A)))),), Fields(payload=True))},
    ),
    (
        POINTS["put"],
        {
            "batch": PointBatch(["a", 7], VECTORS[3], [{"a": 1}, UNSET]),
            "rules": WriteRules("update", "insert"),
        },
    ),
    (STORE["page"], {"limit": 3, "offset": 0}),
]


@given(st.sampled_from(MESSAGES), st.data())
def test_a_damaged_message_is_refused_or_means_something(message, data):
    method, arguments = message
    sent = bytearray(b"".join(method.encode_arguments(arguments)))
    for _ in range(data.draw(st.integers(1, 4))):
        sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    sent = sent[: data.draw(st.integers(0, len(sent)))] if data.draw(st.booleans()) else sent
    with suppress(MalformedError, RetrievalStoreError):
        check_arguments(method.decode_arguments(bytes(sent)))


def test_a_message_with_very_many_lists_is_refused_before_they_are_created(monkeypatch):
    monkeypatch.setattr(codec, "MAX_CONTAINERS", 1_000)
    text = "[" * 2_000  # is one text
    assert codec.unpack_message(b"".join(codec.pack_message([text])))[0] == [text]
    many = b"".join(codec.pack_message([[]] * 2_000))
    assert len(codec.unpack_message(many, trusted=True)[0]) == 2_000
    with pytest.raises(codec.MalformedError, match="more than 1,000 lists and objects"):
        codec.unpack_message(b"".join(codec.pack_message([[] for _ in range(1_000)])))


def test_vectors_of_a_message_are_created_once():
    """Otherwise a few bytes could mean a million of them."""
    batch = PointBatch(["a", "b", "c"], {"m": VECTORS[4]["m"]})
    arrays = []
    encoded = encode(batch, arrays)
    vectors = encoded["vectors"]
    vectors["again"] = vectors["m"]
    with pytest.raises(MalformedError):
        decode(encoded, PointBatch, arrays)


def test_a_message_of_another_release_is_refused_with_the_reason():
    with pytest.raises(MalformedError, match="of another release"):
        unpack_message(b"rsw1" + b"".join(pack_message(1))[4:])


def test_impossible_arrays_are_refused():
    for described in (
        [["<f4", [2**63]]],
        [["<f4", [2**40, 2**40]]],
        [["<f4", [2**40]]],
        [["<f4", [-1]]],
        [["|O8", [1]]],
        [[3, [1]]],
        [["<f4", 1]],
    ):
        text = orjson.dumps({"data": 1, "arrays": described})
        with pytest.raises(MalformedError):
            unpack_message(struct.pack("<4sI", b"rsw2", len(text)) + text)


def test_names_invented_by_clients_are_not_cached():
    """A server would keep them for ever."""
    known = inside.class_cache().currsize
    for i in range(50):
        assert class_named(f"Made{i}") is None
    assert inside.class_cache().currsize == known
    assert class_named("InSlice") is InSlice


def test_errors_are_encoded_and_decoded_unchanged():
    for error in (InvalidFilterError("where"), KeyError("x")):
        if isinstance(error, RetrievalStoreError):
            found = decode_error(encode_error(error))
            assert (type(found), str(found)) == (type(error), str(error))
    assert decode_error({"error": "SystemExit", "message": "x"}) is None
    assert decode_error({"error": ["x"]}) is None
    assert decode_error(None) is None


CONTRADICTORY = [
    {"ids": ["a", "b"], "payloads": [None]},
    {"ids": ["a"], "payloads": 5},
    {"ids": ["a"], "documents": [{}]},
    {"ids": [{}]},
    {"ids": ["a"], "versions": 0},
    {"ids": ["a"], "vectors": {"": {"matrix": 1}}},
    {"ids": ["a"] * 4, "vectors": {"": {"lengths": 2, "rows": 1}}},
]


def test_points_that_contradict_themselves_are_refused():
    arrays = [np.arange(2), np.ones((3, 2), np.float32), np.full(4, 2**62)]
    for message in CONTRADICTORY:
        with pytest.raises(MalformedError):
            decode(message, Points, arrays)
    with pytest.raises(MalformedError):
        decode({"points": {"ids": ["a", "b"]}, "scores": 0}, Hits, [np.ones(1)])
