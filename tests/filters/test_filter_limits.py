"""Filters that would cost too much: patterns, depth, width."""

import datetime
import json
import subprocess
import sys

import numpy as np
import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from retrieval_store.base.budget import Budget, RequestMemory
from retrieval_store.errors import InvalidFilterError, RequestTimeoutError, RequestTooLargeError
from retrieval_store.filters import leaves
from retrieval_store.filters.columns import PlacesAt
from retrieval_store.filters.expression import (
    MAX_DEPTH,
    And,
    AtLeast,
    DocumentMatches,
    Exists,
    Expression,
    HasId,
    HasLength,
    HasVector,
    InSlice,
    ListHas,
    Not,
    OneOf,
    Or,
    Range,
    TextIn,
)
from retrieval_store.filters.geo import InBox, InPolygon
from retrieval_store.filters.leaves import Candidate, fulfils
from retrieval_store.filters.paths import JsonPath
from retrieval_store.filters.where import parse_where
from tests.helpers import PATIENCE

TERMS = 10_000
FOUND = OneOf(("k",), (1,))


def nested(depth, kind=Not, leaf=FOUND):
    """A leaf with `depth` levels of terms around it."""
    expression = leaf
    for _ in range(depth):
        expression = Not(expression) if kind is Not else kind((expression,))
    return expression


def entries(collection):
    """Every method that takes an expression, as a call."""
    return [
        lambda e: collection.get(where=e),
        lambda e: collection.delete(where=e),
        lambda e: collection.query(query_embeddings=[1, 0], where=e),
        lambda e: collection.query(query_texts="x", mode="text", where=e),
        lambda e: collection.explain(query_embeddings=[1, 0], where=e),
    ]


# depth and width of expressions


@pytest.mark.parametrize("kind", [Not, And, Or])
def test_an_expression_nested_too_deep_is_refused_wherever_it_enters(populated, kind):
    for depth in (MAX_DEPTH, 10_000):
        for use in entries(populated):
            with pytest.raises(InvalidFilterError, match="nested deeper than 200 levels"):
                use(nested(depth, kind))
    assert populated.count() == 5


@pytest.mark.parametrize("kind", [Not, And, Or])
def test_the_deepest_expression_that_is_allowed_has_the_right_answer(populated, kind):
    deepest = nested(MAX_DEPTH - 1, kind, OneOf(("n",), (2,)))
    expected = ["p2"] if kind is not Not else ["p0", "p1", "p3", "p4"]
    assert populated.get(where=deepest)["ids"] == expected
    assert populated.query(query_embeddings=[0, 0], where=deepest)["ids"] == [expected]


@pytest.mark.parametrize("inner", ["#document", "n"])
def test_levels_are_counted_through_documents_and_operators(populated, inner):
    """Each part alone is allowed, but both together are too deep."""
    half = leaves.MAX_DEPTH // 2 + 5
    condition = {"$contains": "document 2"} if inner == "#document" else {"$eq": 2}
    for _ in range(half):
        condition = {"$not": condition}
    where = {inner: condition}
    populated.get(where=where)
    for _ in range(half):
        where = {"$not": where}
    with pytest.raises(InvalidFilterError, match="nested deeper than 200 levels"):
        populated.get(where=where)


def test_the_deepest_where_has_the_right_answer_even_where_each_level_means_two(populated):
    condition = {"n": 2}
    for _ in range(leaves.MAX_DEPTH - 1):
        condition = {"n": 2, "$or": [condition]}
    assert populated.get(where=condition)["ids"] == ["p2"]
    with pytest.raises(InvalidFilterError, match="nested deeper than 200 levels"):
        populated.get(where={"n": 2, "$or": [condition]})


def test_the_deepest_where_needs_one_call_for_each_level_of_terms():
    """So that programs with a deep call stack can use it."""
    condition = {"k": 1}
    for _ in range(leaves.MAX_DEPTH - 1):
        condition = {"k": 1, "$or": [condition]}
    expression = parse_where(condition)
    limit, used = sys.getrecursionlimit(), len(list(frames()))
    sys.setrecursionlimit(used + 2 * leaves.MAX_DEPTH + 20)
    try:
        assert fulfils(Candidate("a", {"k": 1}, None), expression)
    finally:
        sys.setrecursionlimit(limit)


def frames():
    frame = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def test_an_expression_that_contains_itself_repeatedly_is_refused_at_once(populated):
    expression = OneOf(("n",), (1,))
    for _ in range(60):  # 2^60 terms for who walks through all of them
        expression = Or((expression, expression))
    with pytest.raises(InvalidFilterError, match="more than 1000000 conditions"):
        populated.get(where=expression)


@pytest.mark.embedded  # a cluster's local mode needs a quarter of a minute
@pytest.mark.parametrize("kind", [And, Or])
def test_very_many_terms_are_answered(populated, kind):
    terms = tuple(OneOf(("n",), (i,)) for i in range(TERMS))
    negated = tuple(Not(term) for term in terms)
    assert populated.get(where=kind(terms))["ids"] == (
        [] if kind is And else populated.get()["ids"]
    )
    assert populated.get(where=kind(negated[3:]))["ids"] == (
        ["p0", "p1", "p2"] if kind is And else populated.get()["ids"]
    )
    assert len(populated.get(where={"$or": [{"n": i} for i in range(TERMS)]})["ids"]) == 5


def test_other_values_in_an_expression_are_named(populated):
    class Own(Expression):
        """A condition of an unknown class."""

    for wrong in (Own(), And((FOUND, Own())), Not({"n": 1}), Or((FOUND, None))):
        with pytest.raises(
            InvalidFilterError, match="a term of type (Own|dict|NoneType), expected"
        ):
            populated.get(where=wrong)


def test_a_path_that_is_no_tuple_of_keys_is_refused_and_nothing_is_deleted(populated):
    for wrong in (OneOf("n", (1,)), Exists("n"), Range(["n"], gt=1), HasLength("n", 1)):
        with pytest.raises(InvalidFilterError, match="expected a tuple of keys"):
            populated.get(where=And((FOUND, wrong)))
        with pytest.raises(InvalidFilterError, match="expected a tuple of keys"):
            populated.delete(where=Not(wrong))
    assert populated.count() == 5
    with pytest.raises(InvalidFilterError, match="expected an integer"):
        populated.get(where=HasLength(("n",), True))
    with pytest.raises(InvalidFilterError, match="should be 2.5 .*expected an integer"):
        populated.get(where=HasLength(("n",), 2.5))


def test_patterns_in_expressions_are_checked_as_those_in_dicts_are(populated):
    for pattern, message in (
        ("(", "not a regular expression of RE2: missing"),
        ("(" * 10_000 + "a" + ")" * 10_000, "expected at most 10000"),
        ("\ud800", "lone surrogate"),
    ):
        with pytest.raises(InvalidFilterError, match=message):
            populated.get(where=And((FOUND, DocumentMatches(pattern))))


def test_values_that_python_refuses_to_write_are_refused_or_answered(populated):
    """Integers of more than 4,300 digits; keys and values too long for a message."""
    huge = 10**5_000
    assert populated.get(where={"n": {"$lt": huge}})["ids"] == populated.get()["ids"]
    assert populated.get(where={"n": huge})["ids"] == []
    for wrong in (
        {"where": {"n": [huge]}},
        {"where": {"$or": huge}},
        {"where": {huge: 1}},
        {"where": {"n": {huge: 1}}},
        {"where": {"$" + "x" * 1_000_000: 1}},
        {"where": {"x" * 1_000_000: {"$eq": None}}},
        {"where_document": {"$contains": huge}},
        {"where_document": {"y" * 1_000_000: "z"}},
    ):
        with pytest.raises(InvalidFilterError) as reported:
            populated.get(**wrong)
        assert len(str(reported.value)) < 1_000


# patterns

# What the kernel knows of the peak since the program began; getrusage knows it since the fork.
PEAK = """
import pathlib, re

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s*(\\d+)", status)[1]) / 1024
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
MEASURED = (
    PEAK
    + """
import json, sys
import retrieval_store
patterns, texts = json.load(sys.stdin)

with retrieval_store.Client() as client:
    things = client.create_collection("things", embedding_function=None)
    ids = [str(i) for i in range(len(texts))]
    things.add(ids=ids, embeddings=[[1.0]] * len(texts), documents=texts)
    things.get(where_document={"$regex": "warm up"})
    found, before = [], peak()
    for pattern in patterns:
        try:
            said = things.get(where_document={"$regex": pattern})["ids"]
        except retrieval_store.errors.InvalidFilterError as error:
            said = str(error)
        found.append([said, peak() - before])
    print(json.dumps(found))
"""
)


def measured(patterns, texts=("ab" * 3_000 + "c",)):
    """The results of searches run one after another in a new process, and the MiB by which its
    memory has grown."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED],
        input=json.dumps([patterns, list(texts)]),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout)


def wrapped(count, opening="(", inside="a", closing=")"):
    return opening * count + inside + closing * count


NAMED = "".join(f"(?P<g{i}>" for i in range(600)) + "a" + ")" * 600
REFUSED = {
    "nested groups": (wrapped(10_000), "20001 characters, expected at most 10000"),
    "groups nested in few characters": (wrapped(4_000), "nested deeper than 200 levels"),
    "groups without capturing": (wrapped(2_000, "(?:"), "nested deeper than 200 levels"),
    "groups among what is quoted": (wrapped(201, r"(\."), "nested deeper than 200 levels"),
    "nested names": (NAMED, "nested deeper than 200 levels"),
    "names in a row": ("".join(f"(?P<g{i}>a)" for i in range(500)), "500 groups with names"),
    "repetitions of repetitions": ("((a{1000}){1000})", "invalid repetition size"),
    "a class again and again": (r"[\pL\pN\pS]" * 900, "more memory than the 2 MiB"),
    "a class repeated": (r"\pL{1000}", "more memory than the 2 MiB"),
    "classes without end": ("[" * 9_000, "missing ]"),
    "a long literal": ("a" * 1_000_000, "1000000 characters"),
}


@linux
def test_patterns_that_would_use_much_memory_are_refused_without_using_it():
    reported = measured([pattern for pattern, _ in REFUSED.values()])
    for kind, (message, grown) in zip(REFUSED, reported, strict=True):
        assert REFUSED[kind][1] in message, kind
        assert message.startswith("where_document['$regex'] is '"), kind
        assert len(message) < 500, kind
        assert grown < 64, kind


ANSWERED = {
    "groups as deep as may be": wrapped(200),
    "as many groups as fit": "(a)?" * 2_500,
    "names as many as may be": "".join(f"(?P<g{i}>" for i in range(20)) + "c" + ")" * 20,
    "words": "|".join(f"word{i}" for i in range(1_000)) + "|c",
    "a large automaton": "(?s)[ab]*a[abc]{1000}",
    "stars of stars": wrapped(200, closing=")*"),
    "optional parts": "(?:a?b?){500}" * 10 + "c",
    "any character, often": "(?s).{1000}" * 2,
}


@linux
def test_the_largest_patterns_that_are_allowed_are_answered_in_little_memory():
    for kind, (message, grown) in zip(ANSWERED, measured([*ANSWERED.values()]), strict=True):
        assert message == ["0"], kind
        assert grown < 64, kind


MANY = (
    PEAK
    + """
import retrieval_store

with retrieval_store.Client() as client:
    things = client.create_collection("things", embedding_function=None)
    things.add(ids="a", embeddings=[[1.0]], documents="ab" * 20)
    things.get(where_document={"$regex": "warm up"})
    before = peak()
    for i in range(48):
        pattern = "(?:[ab]?\\\\pL?){50}" + str(i)
        things.get(where_document={"$regex": pattern})
    print(peak() - before)
"""
)


@linux
def test_many_large_patterns_leave_little_behind():
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 45


def test_parentheses_that_open_no_group_are_not_counted(populated):
    for pattern in (
        "[(]" * 300 + "|document 3",
        r"\(" * 300 + "|document 3",
        r"\Q" + "(" * 300 + r"\E|document 3",
        "[^a(((((]" * 50 + "|document 3",
        "(a)" * 300 + "|document 3",
        "[](]" * 300 + "|document 3",
        "[[:alpha:](]" * 300 + "|document 3",
    ):
        assert populated.get(where_document={"$regex": pattern})["ids"] == ["p3"], pattern


@given(st.integers(1, 300), st.integers(0, 400), st.randoms(use_true_random=False))
def test_an_answer_is_right_even_where_the_memory_ends(after, length, chance):
    """An `a` this many letters before the end: the fast automaton has 2^after states, far too many
    for 8 KiB. Python's slices give the expected result."""
    options = leaves._options()
    options.max_mem = 1 << 13
    text = "".join(chance.choice("ab") for _ in range(length))
    found = re2.compile(f"a[ab]{{{after}}}$", options=options).search(text)
    assert (found is not None) == (length > after and text[-after - 1] == "a")


def test_only_a_few_compiled_patterns_are_cached():
    leaves.compile_pattern.cache_clear()
    first = leaves.compile_pattern("a+")
    assert leaves.compile_pattern("a+") is first
    for i in range(100):
        leaves.compile_pattern(f"a{i}")
    assert leaves.compile_pattern.cache_info().currsize == leaves.PATTERNS_KEPT


def test_conditions_of_points_from_elsewhere_mean_the_same():
    point = Candidate("a", {"k": 1}, "some text")
    yes, no = FOUND, OneOf(("k",), (2,))
    for terms in ((), (yes,), (no,), (yes, no), (yes, yes), (no, no)):
        assert fulfils(point, And(terms)) is all(term is yes for term in terms)
        assert fulfils(point, Or(terms)) is any(term is yes for term in terms)
    assert fulfils(point, DocumentMatches("t.xt$"))
    assert not fulfils(Candidate("a", None, None), DocumentMatches("t"))


ONE = Exists(("a",))


@pytest.mark.parametrize(
    "wrong",
    [
        And(ONE for _ in range(2)), Or(ONE for _ in range(2)), AtLeast((one for one in [ONE]), 1),
        And(ONE), AtLeast((ONE,), "1"), AtLeast((ONE,), True), OneOf(("a",), "jazz"),
        OneOf(("a",), 5), OneOf(("a",), (["b"],)), ListHas(("a",), "jazz"), TextIn(("a",), 5),
        HasId("abc"), HasId(5), Not(HasId("abc")), OneOf(("a",), (np.int64(3),)),
        ListHas(("a",), (np.bool_(True),)), OneOf((), ("x",)), OneOf((["a"],), ("x",)),
        OneOf(("a", 0), ("x",)), Range(("a",), gte=True),
    ],
)  # fmt: skip
def test_patterns_that_match_everything_or_letters_are_refused(client, wrong):
    things = client.create_collection("things", embedding_function=None)
    things.add(["a", "b"], [[1.0], [2.0]], [{"a": "jazz"}, {"a": "j"}])
    for call in (things.get, things.count, things.delete):
        with pytest.raises(InvalidFilterError):
            call(where=wrong)
    assert things.count() == 2


@pytest.mark.parametrize("wrong", [HasVector(""), Not(InSlice(2, 0))])
def test_conditions_of_the_other_client_alone_are_refused_as_such(client, wrong):
    things = client.create_collection("things", embedding_function=None)
    with pytest.raises(InvalidFilterError, match="a condition of QdrantClient's alone"):
        things.get(where=wrong)


class Nowhen(datetime.date):
    """Like pandas' NaT: a date without a time."""

    def isoformat(self):
        return "NaT"


@pytest.mark.parametrize(
    "time",
    [Nowhen(2020, 1, 1),
     datetime.datetime(1900, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(seconds=1172)))],
    ids=["NaT", "seconds"],
)  # fmt: skip
@pytest.mark.parametrize("operator", ["$lt", "$gte", "$eq", "$ne", "$in"])
def test_an_invalid_time_is_refused(operator, time):
    operand = [time] if operator == "$in" else time
    with pytest.raises(InvalidFilterError, match="no moment in time"):
        parse_where({"due": {operator: operand}})


POLYGON = InPolygon(
    PlacesAt(JsonPath(("at",)), "geo"),
    ((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0), (0.0, 0.0)),
    (((1.0, 1.0), (3.0, 1.0), (3.0, 3.0), (1.0, 3.0), (1.0, 1.0)),),
)


def budget_of(seconds, steps):
    memory = 1 << 30
    return Budget(seconds, memory, RequestMemory(memory), steps=steps)


def test_places_around_a_polygon_are_counted_and_those_far_away_are_not():
    random = np.random.default_rng(0)
    lon, lat = random.uniform(0.5, 3.5, 1_000), random.uniform(0.5, 3.5, 1_000)
    with budget_of(PATIENCE, 500):
        assert not POLYGON.inside(lon + 50, lat).any()
        assert POLYGON.inside(lon[:100], lat[:100]).any()
        with pytest.raises(RequestTooLargeError, match="points of a polygon"):
            POLYGON.inside(lon, lat)
    with budget_of(0, 1_000_000), pytest.raises(RequestTimeoutError):
        InPolygon(POLYGON.at, POLYGON.exterior).inside(lon, lat)


def test_a_polygon_has_neither_its_border_nor_those_of_its_holes():
    lon, lat = np.meshgrid(np.arange(-1.0, 6.0, 0.5), np.arange(-1.0, 6.0, 0.5))
    lon, lat = lon.ravel(), lat.ravel()
    in_exterior = (lon > 0) & (lon < 4) & (lat > 0) & (lat < 4)
    in_hole = (lon >= 1) & (lon <= 3) & (lat >= 1) & (lat <= 3)
    assert POLYGON.inside(lon, lat).tolist() == (in_exterior & ~in_hole).tolist()


def test_a_box_has_no_border_and_may_lie_across_the_date_line():
    lon, lat = np.meshgrid(np.arange(-180.0, 180.0, 10), np.arange(-20.0, 30.0, 10))
    lon, lat = lon.ravel(), lat.ravel()
    for west, east, between in [
        (0.0, 40.0, (lon > 0) & (lon < 40)),
        (160.0, -170.0, (lon > 160) | (lon < -170)),
        (40.0, 40.0, np.zeros(len(lon), np.bool_)),
    ]:
        box = InBox(POLYGON.at, west=west, north=20.0, east=east, south=-10.0)
        assert box.inside(lon, lat).tolist() == (between & (lat > -10) & (lat < 20)).tolist()


def test_corners_of_a_polygon_are_crossed_once():
    lon, lat = np.meshgrid(np.arange(-1.0, 6.0, 0.5), np.arange(-1.0, 6.0, 0.5))
    lon, lat = lon.ravel(), lat.ravel()
    diamond = ((2.0, 0.0), (4.0, 2.0), (2.0, 4.0), (0.0, 2.0), (2.0, 0.0))
    for exterior in (diamond, diamond[::-1]):
        inside = InPolygon(POLYGON.at, exterior).inside(lon, lat)
        assert inside.tolist() == (abs(lon - 2) + abs(lat - 2) < 2).tolist()


def test_slices_of_many_ids_are_those_of_each_and_end_with_the_time():
    ids = [*range(70_000), *(f"id {i}" for i in range(100))]
    in_slice = InSlice(3, 1).of(ids)
    few = range(0, len(ids), 777)
    assert in_slice[few].tolist() == [InSlice(3, 1).of([ids[i]])[0] for i in few]
    with budget_of(0, 1), pytest.raises(RequestTimeoutError):
        InSlice(3, 1).of(ids)
