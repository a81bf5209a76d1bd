"""Random metadata, documents and filters for hypothesis, made to meet each other often."""

import os

from hypothesis import settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("FILTER_EXAMPLES", "300"))
thorough = settings(max_examples=EXAMPLES)

KEYS = ("a", "b", "ключ", "a.b", "x y")
TEXTS = ("", "x", "X", "1", "true", "é", "e\u0301", "🎈", "a\0b", "longer text")
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

comparisons = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$contains", "$not_contains"]), scalars),
    st.tuples(
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
        st.one_of(numbers, st.just(10**400), st.just(-(10**400)), st.just(2**64)),
    ),
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
        st.tuples(terms, several).map(lambda t: {**t[0], "$or": t[1]}),
    )


wheres = st.recursive(
    st.dictionaries(st.sampled_from(KEYS), conditions, min_size=1, max_size=2),
    _junctions,
    max_leaves=6,
)

LETTERS = "ab%_é\0"
documents = st.one_of(st.none(), st.text(st.sampled_from(LETTERS), max_size=6))
PATTERNS = ("a", "^a", "b$", "a.b", "[ab]{2}", "é|%", "^$", "(?i)A", "_+", "a*b")
document_leaves = st.one_of(
    st.tuples(
        st.sampled_from(["$contains", "$not_contains"]),
        st.text(st.sampled_from(LETTERS), min_size=1, max_size=2),
    ),
    st.tuples(st.sampled_from(["$regex", "$not_regex"]), st.sampled_from(PATTERNS)),
).map(lambda pair: {pair[0]: pair[1]})
where_documents = st.recursive(document_leaves, _junctions, max_leaves=4)
records = st.lists(st.tuples(metadatas, documents), min_size=1, max_size=12)
