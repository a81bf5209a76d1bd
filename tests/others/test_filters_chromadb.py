"""Filters compared with chromadb itself, where both mean the same.

Left out are filters that chromadb refuses or interprets differently: several keys or operators at
once (an error there), numbers across int and float, integers beyond signed 64 bits, null, nested
and mixed lists, empty strings and keys, U+0000.
"""

import uuid

import chromadb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import retrieval_store

texts = st.text(st.sampled_from("xXyé %_"), min_size=1, max_size=3)
ints = st.integers(-3, 3)
floats = st.sampled_from([-1.5, 0.25, 0.5, 2.75])
booleans = st.booleans()
KEYS = {"t": texts, "i": ints, "f": floats, "b": booleans}
metadatas = st.fixed_dictionaries(
    {"always": st.just("here")},
    optional={
        **KEYS,
        "lt": st.lists(texts, min_size=1, max_size=3),
        "li": st.lists(ints, min_size=1, max_size=3),
    },
)


@st.composite
def leaves(draw):
    key = draw(st.sampled_from(["t", "i", "f", "b", "lt", "li"]))
    if key in ("lt", "li"):
        operator = draw(st.sampled_from(["$contains", "$not_contains"]))
        return {key: {operator: draw(texts if key == "lt" else ints)}}
    values = KEYS[key]
    operators = ["$eq", "$ne", "$in", "$nin", None]
    if key in ("i", "f"):
        operators += ["$gt", "$gte", "$lt", "$lte"]
    operator = draw(st.sampled_from(operators))
    if operator in ("$in", "$nin"):
        return {key: {operator: draw(st.lists(values, min_size=1, max_size=3))}}
    value = draw(values)
    return {key: value} if operator is None else {key: {operator: value}}


def junctions(terms):
    several = st.lists(terms, min_size=2, max_size=3)
    return st.one_of(several.map(lambda t: {"$and": t}), several.map(lambda t: {"$or": t}))


wheres = st.recursive(leaves(), junctions, max_leaves=5)
document_leaves = st.tuples(
    st.sampled_from(["$contains", "$not_contains", "$regex", "$not_regex"]),
    st.text(st.sampled_from("xXyé "), min_size=1, max_size=2),
).map(lambda pair: {pair[0]: pair[1]})
where_documents = st.recursive(document_leaves, junctions, max_leaves=3)


@pytest.fixture(scope="module")
def peers():
    theirs = chromadb.EphemeralClient(chromadb.Settings(anonymized_telemetry=False))
    with retrieval_store.Client() as ours:
        yield theirs, ours


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(metadatas, texts), min_size=1, max_size=8),
    st.lists(wheres, min_size=1, max_size=4),
    where_documents,
)
def test_the_same_filters_find_the_same_records(peers, records, filters, where_document):
    # A new name each time: chromadb's filters see traces of records that were deleted.
    name, found = f"records-{uuid.uuid4()}", []
    for client in peers:
        collection = client.create_collection(name, embedding_function=None)
        collection.add(
            ids=[str(i) for i in range(len(records))],
            embeddings=[[float(i), 1.0] for i in range(len(records))],
            metadatas=[metadata for metadata, _ in records],
            documents=[document for _, document in records],
        )
        gets = [sorted(collection.get(where=where)["ids"]) for where in filters]
        gets.append(sorted(collection.get(where_document=where_document)["ids"]))
        both = {"where": filters[0], "where_document": where_document}
        gets.append(sorted(collection.get(**both)["ids"]))
        gets.append(collection.query(query_embeddings=[[0.0, 1.0]], n_results=9, **both)["ids"])
        found.append(gets)
    assert found[0] == found[1]
