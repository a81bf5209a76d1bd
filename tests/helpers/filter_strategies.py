"""Random metadata, documents and filters for hypothesis, and collections of them."""

import os

import numpy as np
import re2
from hypothesis import settings
from hypothesis import strategies as st

from retrieval_store.filters.expression import (
    And,
    DocumentContains,
    Exists,
    HasId,
    HasLength,
    ListHas,
    Not,
    OneOf,
    Or,
    Range,
    TextBegins,
    TextIn,
    TextMatches,
    TextRange,
)

EXAMPLES = int(os.environ.get("FILTER_EXAMPLES", 10))
thorough = settings(max_examples=EXAMPLES)

KEYS = ("a", "b", "ключ", "a.b", "x y")
TIMES = ("2024-05-01", "2024-05-01T12:00:00Z", "2024-05-01T13:30:00+02:00", "2024-05-01 12:00")
TEXTS = ("", "x", "X", "1", "true", "é", "e\u0301", "🎈", "a\0b", "longer text", *TIMES)
INTS = (0, 1, -1, 2, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63))
FLOATS = (0.0, -0.0, 1.0, 0.5, -1.5, 2.0**53, 2.0**53 + 2, 2.0**63, 2.0**64, 1e300, -1e300, 5e-324)

numbers = st.one_of(
    st.sampled_from(INTS),
    st.sampled_from(FLOATS),
    st.integers(-3, 3),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
texts = st.one_of(
    st.sampled_from(TEXTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
)
scalars = st.one_of(st.booleans(), numbers, texts)
values = st.one_of(
    scalars,
    st.none(),
    st.lists(st.one_of(scalars, st.none(), st.lists(scalars, max_size=1)), max_size=3),
    st.dictionaries(st.sampled_from(KEYS), scalars, max_size=2),
)
metadatas = st.one_of(st.none(), st.dictionaries(st.sampled_from(KEYS), values, max_size=4))

PATTERNS = ("a", "^a", "b$", "a.b", "[ab]{2}", "é|%", "^$", "(?i)A", "_+", "a*b")
comparisons = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$contains", "$not_contains"]), scalars),
    st.tuples(
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
        st.one_of(numbers, texts, st.just(10**400), st.just(-(10**400)), st.just(2**64)),
    ),
    st.tuples(st.just("$prefix"), texts.filter(bool)),
    st.tuples(st.sampled_from(["$regex", "$not_regex"]), st.sampled_from(PATTERNS)),
    st.tuples(st.just("$exists"), st.booleans()),
    st.tuples(st.just("$size"), st.integers(0, 3)),
    st.tuples(st.just("$not"), scalars.map(lambda value: {"$eq": value})),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(scalars, min_size=1, max_size=4)),
)
conditions = st.one_of(
    scalars,
    st.lists(comparisons, min_size=1, max_size=2).map(dict),
)


def _junctions(terms):
    several = st.lists(terms, min_size=1, max_size=3)
    return st.one_of(
        several.map(lambda t: {"$and": t}),
        several.map(lambda t: {"$or": t}),
        several.map(lambda t: {"$nor": t}),
        terms.map(lambda t: {"$not": t}),
        st.tuples(terms, several).map(lambda t: {**t[0], "$or": t[1]}),
    )


wheres = st.recursive(
    st.dictionaries(st.sampled_from(KEYS), conditions, min_size=1, max_size=2),
    _junctions,
    max_leaves=6,
)

LETTERS = "ab%_é\0"
documents = st.one_of(st.none(), st.text(st.sampled_from(LETTERS), max_size=6))
document_leaves = st.one_of(
    st.tuples(
        st.sampled_from(["$contains", "$not_contains"]),
        st.text(st.sampled_from(LETTERS), min_size=1, max_size=2),
    ),
    st.tuples(st.sampled_from(["$regex", "$not_regex"]), st.sampled_from(PATTERNS)),
).map(lambda pair: {pair[0]: pair[1]})
where_documents = st.recursive(document_leaves, _junctions, max_leaves=4)
records = st.lists(st.tuples(metadatas, documents), min_size=1, max_size=12)


def held_by(client, found):
    """A new collection of these records, and its content by id."""
    collection = client.create_collection("records", embedding_function=None)
    ids = [f"r{i}" for i in range(len(found))]
    collection.add(
        ids=ids,
        embeddings=np.arange(len(ids), dtype=float)[:, np.newaxis],
        metadatas=[metadata for metadata, _ in found],
        documents=[document for _, document in found],
    )
    return collection, dict(zip(ids, found, strict=True))


# Filters made of what is in the records: of two that are drawn apart, hardly one says anything
# about the other.


def _placed(found):
    """Keys and values of the records' metadata."""
    return [pair for metadata, _ in found for pair in (metadata or {}).items()]


def _about(key, value):
    """A condition on the key that the value influences."""
    if isinstance(value, list):
        elements = [v for v in value if isinstance(v, bool | int | float | str)] or [1]
        return st.builds(
            lambda operator, element: {key: {operator: element}},
            st.sampled_from(["$contains", "$not_contains", "$eq"]),
            st.sampled_from(elements),
        )
    if value is None or isinstance(value, dict):
        return st.just({key: {"$ne": 0}})
    messages = [
        st.just({key: value}),
        st.sampled_from(["$ne", "$contains"]).map(lambda operator: {key: {operator: value}}),
        st.builds(
            lambda operator, other: {key: {operator: [other, value]}},
            st.sampled_from(["$in", "$nin"]),
            scalars,
        ),
    ]
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        orders = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
        messages.append(orders.map(lambda operator: {key: {operator: value}}))
    if isinstance(value, str) and value:
        piece = st.integers(0, len(value) - 1).map(lambda i: value[i : i + 2])
        words = st.sampled_from(["$contains", "$not_contains", "$prefix"])
        messages.append(st.builds(lambda word, text: {key: {word: text}}, words, piece))
        messages.append(st.just({key: {"$prefix": value[:2]}}))
        matches = st.sampled_from(["$regex", "$not_regex"])
        messages.append(
            st.builds(lambda word, text: {key: {word: re2.escape(text)}}, matches, piece)
        )
    return st.one_of(messages)


def wheres_about(found):
    """Filters on metadata; some of these records meet most of their conditions."""
    placed = _placed(found)
    if not placed:
        return wheres
    leaves = st.sampled_from(placed).flatmap(lambda pair: _about(*pair))
    return st.recursive(leaves, _junctions, max_leaves=4)


records_and_wheres = records.flatmap(
    lambda found: st.tuples(
        st.just(found),
        st.lists(
            st.one_of(wheres_about(found), wheres_about(found), wheres), min_size=1, max_size=3
        ),
    )
)


def _leaves_about(key, value, document):
    """Nodes that the value at the key, or the document, influences."""
    path, text = (key,), st.sampled_from([str.upper, str.lower, str])
    nodes = [st.just(Exists(path)), st.just(HasId(("r0", "r2")))]
    if isinstance(value, dict) and value:
        inner = st.sampled_from(sorted(value))
        nodes.append(inner.map(lambda k: OneOf((key, k), (value[k],))))
    if isinstance(value, list):
        elements = [v for v in value if isinstance(v, bool | int | float | str)]
        nodes += [st.just(ListHas(path, (v,))) for v in elements]
        nodes += [st.just(OneOf(path, (v,))) for v in elements]
        nodes.append(st.just(HasLength(path, len(value))))
    if isinstance(value, bool | int | float | str):
        nodes += [st.just(OneOf(path, (value, 7))), st.just(ListHas(path, (value,)))]
    if isinstance(value, int | float) and not isinstance(value, bool):
        bounds = st.sampled_from(["gt", "gte", "lt", "lte"])
        nodes.append(bounds.map(lambda bound: Range(path, **{bound: value})))
    if isinstance(value, str):
        pieces = st.integers(0, len(value)).map(lambda i: value[i : i + 2])
        nodes.append(st.builds(lambda p, f, i: TextIn(path, f(p), i), pieces, text, st.booleans()))
        nodes.append(st.just(TextIn(path, value.swapcase(), ignore_case=True)))
        nodes.append(st.builds(lambda p, f: TextBegins(path, f(p)), pieces, text))
        nodes.append(st.builds(lambda p, f: TextMatches(path, f(re2.escape(p))), pieces, text))
        sides = st.sampled_from(["gt", "gte", "lt", "lte"])
        nodes.append(sides.map(lambda side: TextRange(path, **{side: value})))
    if document:
        nodes.append(st.sampled_from(document).map(DocumentContains))
    return st.one_of(nodes)


def expressions_about(found):
    """Expressions; some of these records fulfil most of their leaves."""
    places = [
        (key, value, document)
        for metadata, document in found
        for key, value in (metadata or {"a": 0}).items()
    ]
    leaves = st.sampled_from(places).flatmap(lambda place: _leaves_about(*place))
    return st.recursive(
        leaves,
        lambda terms: st.one_of(
            st.builds(Not, terms),
            st.builds(And, st.lists(terms, max_size=3).map(tuple)),
            st.builds(Or, st.lists(terms, max_size=3).map(tuple)),
        ),
        max_leaves=4,
    )


records_and_expressions = records.flatmap(
    lambda found: st.tuples(
        st.just(found), st.lists(expressions_about(found), min_size=1, max_size=3)
    )
)
