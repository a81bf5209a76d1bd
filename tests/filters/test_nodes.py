"""Nodes of the filter language: each defines its meaning for every evaluator, or is evaluated point
by point.
"""

import math
from dataclasses import dataclass

import pytest

from retrieval_store.engine.filtering.cache import key_of
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters import expression
from retrieval_store.filters.expression import (
    And,
    Candidate,
    DocumentContains,
    DocumentLeaf,
    Exists,
    HasId,
    Not,
    Or,
    Range,
    TextBegins,
    TextMatches,
    ValueLeaf,
    fulfils,
)
from retrieval_store.filters.leaves import check_expression

EVALUATORS = {
    ValueLeaf: {"one point": "holds", "the engine": "find_rows", "a cluster": "bound"},
    DocumentLeaf: {"one point": "holds", "a cluster": "bound"},
}
# What an evaluator can't say, and so asks of each point.
ASKED = {
    ("DocumentMatches", "a cluster"),  # Qdrant has no regular expressions
    ("TextMatches", "a cluster"),
}


def leaves(kind):
    """The language's classes of a kind."""
    found = [getattr(expression, name) for name in expression.__all__]
    return [one for one in found if isinstance(one, type) and issubclass(one, kind) and one != kind]


def lacking():
    """Pairs of a node and an evaluator for which the node has no special method."""
    for kind, evaluators in EVALUATORS.items():
        for leaf in leaves(kind):
            for evaluator, method in evaluators.items():
                if getattr(leaf, method) is getattr(kind, method):
                    yield leaf.__name__, evaluator


def test_every_evaluator_has_a_way_for_every_node():
    assert len(leaves(ValueLeaf)) >= 5
    assert len(leaves(DocumentLeaf)) >= 2
    assert set(lacking()) == ASKED


def test_checking_ids_does_not_change_the_key_of_a_filter():
    query, other = HasId(("a", 7)), HasId(("a", 7))
    assert fulfils(Candidate("a", None, None), query)
    assert "a" in query.members
    assert key_of(query) is not None
    assert key_of(query) == key_of(other)


@dataclass(frozen=True, slots=True)
class Odd(ValueLeaf):
    """Points with an odd integer at `path`: a node that defines only its meaning."""

    path: tuple[str, ...]

    def holds(self, value):
        return type(value) is int and value % 2 == 1


@dataclass(frozen=True, slots=True)
class OddElement(ValueLeaf):
    """Points with an odd integer in a list at `path`, with another reading."""

    path: tuple[str, ...]
    reading = "element"

    def holds(self, value):
        return type(value) is int and value % 2 == 1


@dataclass(frozen=True, slots=True)
class EndsWith(DocumentLeaf):
    """Points whose document ends with a suffix."""

    end: str

    def holds(self, document):
        return document.endswith(self.end)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Odd(("n",)), ["p1", "p3"]),
        (Not(Odd(("n",))), ["p0", "p2", "p4"]),
        (And((Exists(("n",)), Not(EndsWith("2")))), ["p0", "p1", "p3", "p4"]),
        (Or((Odd(("n",)), EndsWith("4"))), ["p1", "p3", "p4"]),
        (And((Odd(("n",)), Odd(("nothing",)))), []),
    ],
)
@pytest.mark.local  # what a user's own class means can't be sent
def test_the_definition_of_a_node_is_enough_for_right_results_everywhere(populated, node, expected):
    assert populated.get(where=node)["ids"] == expected
    assert sorted(populated.query(query_embeddings=[0, 0], where=node)["ids"][0]) == expected
    candidates = [Candidate(f"p{i}", {"n": i}, f"document {i}") for i in range(5)]
    assert [one.id for one in candidates if fulfils(one, node)] == expected
    populated.update(ids="p2", metadatas={"n": 7})
    assert ("p2" in populated.get(where=node)["ids"]) == fulfils(
        Candidate("p2", {"n": 7}, "document 2"), node
    )


@pytest.mark.local  # what a user's own class means can't be sent
def test_a_node_is_called_with_the_values_of_its_reading(populated):
    metadatas = [{"n": n} for n in (1, [2, 3], [2, 4, None], [], [[1]])]
    populated.update(ids=[f"p{i}" for i in range(5)], metadatas=metadatas)
    candidates = [Candidate(f"p{i}", one, None) for i, one in enumerate(metadatas)]
    for node in (OddElement(("n",)), And((Exists(("n",)), OddElement(("n",))))):
        assert populated.get(where=node)["ids"] == ["p1"]
        assert [one.id for one in candidates if fulfils(one, node)] == ["p1"]
    assert populated.get(where=Not(OddElement(("n",))))["ids"] == ["p0", "p2", "p3", "p4"]


@dataclass(frozen=True, slots=True)
class Divides(ValueLeaf):
    """Points with a multiple of its private number at `path`. It returns numbers as truth
    values."""

    path: tuple[str, ...]
    _by: int

    def holds(self, value):
        return 0 if value is None or value % self._by else 1

    def find_rows(self, values):
        return None  # it depends


@pytest.mark.parametrize("by", [2, 3])
@pytest.mark.local  # what a user's own class means can't be sent
def test_nodes_of_a_users_own_are_evaluated_each_time(populated, by):
    multiples = [f"p{i}" for i in range(5) if i % by == 0]
    for _ in range(3):
        for node in (Divides(("n",), by), And((Divides(("n",), by), Exists(("n",))))):
            assert populated.get(where=node)["ids"] == multiples
            found = populated.query(query_embeddings=[0, 0], where=node)["ids"][0]
            assert found == multiples
            populated.query(query_embeddings=[0, 0], where=Divides(("n",), 4))


@dataclass(frozen=True, slots=True)
class Failing(ValueLeaf):
    """A node with a programming error."""

    path: tuple[str, ...]

    def holds(self, value):
        return value > "1"


@pytest.mark.embedded
@pytest.mark.local  # what a user's own class means can't be sent
def test_errors_inside_a_users_node_are_no_damage(populated):
    with pytest.raises(InvalidFilterError, match=r"Failing in the filter: TypeError\(.*'str'"):
        populated.get(where=Failing(("n",)))
    assert populated.count() == 5


def test_an_argument_that_is_no_node_is_refused_with_its_type():
    with pytest.raises(InvalidFilterError, match="a term of type dict, expected an expression"):
        check_expression(And(({"n": 1},)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Range(("n",), gt=math.inf), "gt=inf .float., expected a finite number"),
        (Range(("n",), lt=-math.inf), "lt=-inf .float., expected a finite number"),
        (Range(("n",), gte=math.nan), "gte=nan .float., expected a finite number"),
        (Range(("n",), lte="2"), "lte='2' .str., expected a finite number"),
        (HasId(("\ud800",)), "an integer from 0 to"),
        (HasId((2**64,)), "the id 18446744073709551616"),
        (HasId((-1,)), "the id -1"),
        (HasId((1.5,)), "the id 1.5"),
        (DocumentContains("\ud800"), "without lone surrogates"),
        (
            TextBegins(("n",), 5),
            r"strings at \('n',\) should begin with 5 \(int\), expected a string",
        ),
        (TextMatches(("n",), None), "should match the pattern None"),
        (TextMatches(("n",), "("), "not a regular expression of RE2: missing"),
    ],
)
def test_impossible_conditions_are_refused_and_no_damage(populated, node, message):
    populated.get(where=Range(("n",)))  # whose answer is kept
    with pytest.raises(InvalidFilterError, match=message):
        populated.get(where=Not(node))
