"""The filters of LangChain and LlamaIndex: which values each operator accepts, and their
translation.
"""

import pytest
from langchain_core.structured_query import Comparator, Comparison, Operation, Operator
from langchain_retrieval_store import RetrievalStoreTranslator
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from llama_index.vector_stores.retrieval_store.filters import to_expression

import retrieval_store
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.expression import (
    And,
    Exists,
    ListHas,
    Not,
    OneOf,
    Or,
    Range,
    TextIn,
    TextRange,
)

PATH = ("n",)
DATE = {"date": "2024-05-01", "type": "date"}
VALUES = {
    "text": "%Ab%",
    "empty text": "",
    "integer": 2,
    "large integer": 2**64,
    "float": 0.5,
    "bool": True,
    "nothing": None,
    "texts": ["a", "b"],
    "integers": [1, 2],
    "floats": [0.5],
    "mixed": [1, None],
    "no values": [],
    "tuple": (1, "a"),
    "date": DATE,
    "dates": [DATE],
    "object": {"a": 1},
    "bytes": b"a",
}
TEXTS = ("text", "empty text")
NUMBERS = ("integer", "large integer", "float")
# What an operator takes, and what it makes of a value; all else it refuses, saying what it expected.
Takes = tuple[tuple[str, ...], object, str]


def one_of(value):
    return OneOf(PATH, tuple(value) if isinstance(value, list | tuple) else (value,))


def has(value):
    found = ListHas(PATH, (value,))
    return Or((found, TextIn(PATH, value))) if isinstance(value, str) else found


def equal_to(value):
    """For a date, the strings that mean the same time."""
    first = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
    if first == DATE:
        return TextRange(PATH, gte="2024-05-01", lte="2024-05-01", times=True)
    return one_of(value)


def ordered(side, value):
    if value == DATE:
        return TextRange(PATH, **{side: "2024-05-01"}, times=True)
    return Range(PATH, **{side: value})


SCALARS = (*TEXTS, *NUMBERS, "bool", "date")
LISTS = ("texts", "integers", "floats", "no values", "tuple", "dates")
SCALAR = "a string, a number or a bool"
LANGCHAIN: dict[Comparator, Takes] = {
    Comparator.EQ: (SCALARS, equal_to, SCALAR),
    Comparator.NE: (SCALARS, lambda v: Not(equal_to(v)), SCALAR),
    Comparator.IN: ((*SCALARS, *LISTS), equal_to, SCALAR),
    Comparator.NIN: ((*SCALARS, *LISTS), lambda v: Not(equal_to(v)), SCALAR),
    Comparator.CONTAIN: (
        SCALARS,
        lambda v: ListHas(PATH, ("2024-05-01",)) if v == DATE else has(v),
        SCALAR,
    ),
    Comparator.LIKE: (TEXTS, lambda v: TextIn(PATH, v.strip("%"), ignore_case=True), "a string"),
    Comparator.GT: ((*NUMBERS, "date"), lambda v: ordered("gt", v), "a number or a date"),
    Comparator.GTE: ((*NUMBERS, "date"), lambda v: ordered("gte", v), "a number or a date"),
    Comparator.LT: ((*NUMBERS, "date"), lambda v: ordered("lt", v), "a number or a date"),
    Comparator.LTE: ((*NUMBERS, "date"), lambda v: ordered("lte", v), "a number or a date"),
}


def each(value):
    return tuple(has(one) for one in (value if isinstance(value, list) else [value]))


# What a MetadataFilter itself lets through; the rest is refused by its own validation.
HELD = (
    *TEXTS,
    *NUMBERS,
    "nothing",
    "texts",
    "integers",
    "floats",
    "no values",
)
ONE, MANY = (*TEXTS, *NUMBERS), tuple(name for name in HELD if name != "nothing")
EMPTY = Or((Not(Exists(PATH)), OneOf(PATH, ("",))))
SINGLE, ORDERED = "one string or number", "a number or a string, which may be a time"


def beyond(side, value):
    return (
        TextRange(PATH, **{side: value}) if isinstance(value, str) else Range(PATH, **{side: value})
    )


LLAMA_INDEX: dict[FilterOperator, Takes] = {
    FilterOperator.EQ: (
        (*ONE, "nothing"),
        lambda v: Not(Exists(PATH)) if v is None else one_of(v),
        SINGLE,
    ),
    FilterOperator.NE: (
        (*ONE, "nothing"),
        lambda v: Not(Not(Exists(PATH)) if v is None else one_of(v)),
        SINGLE,
    ),
    FilterOperator.GT: (ONE, lambda v: beyond("gt", v), ORDERED),
    FilterOperator.GTE: (ONE, lambda v: beyond("gte", v), ORDERED),
    FilterOperator.LT: (ONE, lambda v: beyond("lt", v), ORDERED),
    FilterOperator.LTE: (ONE, lambda v: beyond("lte", v), ORDERED),
    FilterOperator.IN: (MANY, one_of, "a list"),
    FilterOperator.NIN: (MANY, lambda v: Not(one_of(v)), "a list"),
    FilterOperator.ANY: (MANY, lambda v: Or(each(v)), "a list"),
    FilterOperator.ALL: (MANY, lambda v: And(each(v)), "a list"),
    FilterOperator.CONTAINS: (ONE, has, SINGLE),
    FilterOperator.TEXT_MATCH: (TEXTS, lambda v: TextIn(PATH, v), "a string"),
    FilterOperator.TEXT_MATCH_INSENSITIVE: (
        TEXTS,
        lambda v: TextIn(PATH, v, ignore_case=True),
        "a string",
    ),
    FilterOperator.IS_EMPTY: (HELD, lambda v: EMPTY, "nothing"),
}


def of_langchain(operator, value):
    comparison = Comparison(comparator=operator, attribute="n", value=value)
    return RetrievalStoreTranslator().visit_comparison(comparison)


def of_llama_index(operator, value):
    item = MetadataFilter(key="n", operator=operator, value=value)
    (expression,) = to_expression(MetadataFilters(filters=[item])).terms
    return expression


def check(translate, operator, value, taken, made, refusal):
    """Compares by repr, in which 1, 1.0 and True differ."""
    if taken:
        assert repr(translate(operator, value)) == repr(made(value))
        return
    with pytest.raises(InvalidFilterError) as refused:
        translate(operator, value)
    assert str(refused.value).startswith(refusal[0])
    assert str(refused.value).endswith(f", expected {refusal[1]}")


def test_the_tables_have_every_operator():
    assert (set(LANGCHAIN), set(LLAMA_INDEX)) == (set(Comparator), set(FilterOperator))


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("comparator", list(Comparator))
def test_a_comparison_of_langchain_becomes_an_expression_or_is_refused(comparator, kind):
    kinds, made, expected = LANGCHAIN[comparator]
    named = f"'n' is compared by {comparator.value!r} with "
    check(of_langchain, comparator, VALUES[kind], kind in kinds, made, (named, expected))


@pytest.mark.parametrize("kind", HELD)
@pytest.mark.parametrize("operator", list(FilterOperator))
def test_a_filter_of_llama_index_becomes_an_expression_or_is_refused(operator, kind):
    kinds, made, expected = LLAMA_INDEX[operator]
    named = f"the filter 'n' {operator.value} has the value "
    check(of_llama_index, operator, VALUES[kind], kind in kinds, made, (named, expected))


def test_a_negated_group_is_not_all_of_them_in_langchain_and_none_of_them_in_llama_index():
    first, second = OneOf(PATH, (1,)), OneOf(PATH, (2,))
    comparisons = [
        Comparison(comparator=Comparator.EQ, attribute="n", value=value) for value in (1, 2)
    ]
    items = [MetadataFilter(key="n", value=value) for value in (1, 2)]
    negated = Operation(operator=Operator.NOT, arguments=comparisons)
    assert RetrievalStoreTranslator().visit_operation(negated) == Not(And((first, second)))
    none_of = MetadataFilters(filters=items, condition=FilterCondition.NOT)
    assert to_expression(none_of) == Not(Or((first, second)))


@pytest.mark.parametrize("levels", [199, 200, 201])
def test_filters_may_be_nested_200_deep(levels):
    operation = Comparison(comparator=Comparator.EQ, attribute="n", value=1)
    filters = MetadataFilter(key="n", value=1)
    for _ in range(levels):
        operation = Operation(operator=Operator.AND, arguments=[operation])
        filters = MetadataFilters(filters=[filters])
    for translate, named in (
        (lambda: RetrievalStoreTranslator().visit_operation(operation), "the filter is"),
        (lambda: to_expression(filters), "the filters are"),
    ):
        if levels <= 200:
            assert isinstance(translate(), And)
        else:
            with pytest.raises(
                InvalidFilterError, match=f"^{named} nested deeper than 200 levels$"
            ):
                translate()


@pytest.mark.parametrize(
    ("comparator", "value", "expected"),
    [
        (Comparator.GT, {"type": "date", "date": "2024-01-31"}, "bc"),
        (Comparator.GTE, {"type": "date", "date": "2024-01-31"}, "abc"),
        (Comparator.LT, {"type": "date", "date": "2024-02-01"}, "ab"),
        (Comparator.LTE, {"type": "datetime", "datetime": "2024-02-01T00:00:00+02:00"}, "a"),
        (Comparator.GT, {"type": "datetime", "datetime": "2024-01-31T22:59:00-01:00"}, "c"),
        (Comparator.EQ, {"type": "datetime", "datetime": "2024-01-31T23:30:00Z"}, "b"),
    ],
)
def test_self_queries_find_what_lies_before_and_after_a_date(comparator, value, expected):
    days = {"a": "2024-01-31", "b": "2024-01-31T23:30:00Z", "c": "2024-03-05", "d": "soon"}
    with retrieval_store.Client() as client:
        collection = client.create_collection("days", embedding_function=None)
        collection.add(
            [*days, "e"], [[1.0]] * 5, [*({"n": day} for day in days.values()), {"n": 20250101}]
        )
        found = collection.get(where=of_langchain(comparator, value))
    assert "".join(found["ids"]) == expected


def test_a_date_that_is_none_is_refused():
    for value in ({"type": "date", "date": 5}, {"type": "date", "day": "2024-01-31"}):
        with pytest.raises(InvalidFilterError, match="expected a number or a date"):
            of_langchain(Comparator.GT, value)
