"""Filters against a plain Python predicate, on random records and random nested filters."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_store
from tests.helpers import oracle
from tests.helpers.filter_strategies import (
    EXAMPLES,
    metadatas,
    records,
    thorough,
    where_documents,
    wheres,
)


def filled(found):
    """A collection of these records, changed after its columns were built, and what it holds."""
    client = retrieval_store.Client()
    collection = client.create_collection("records", embedding_function=None)
    ids = [f"r{i}" for i in range(len(found))]
    collection.add(
        ids=ids,
        embeddings=np.arange(len(ids), dtype=float)[:, np.newaxis],
        metadatas=[metadata for metadata, _ in found],
        documents=[document for _, document in found],
    )
    return collection, dict(zip(ids, found, strict=True))


@thorough
@given(records, st.lists(wheres, min_size=1, max_size=3))
def test_where_means_what_the_predicate_says(found, filters):
    collection, held = filled(found)
    for where in filters:
        expected = [i for i, (metadata, _) in held.items() if oracle.matches(metadata, where)]
        assert collection.get(where=where)["ids"] == expected
        result = collection.query(query_embeddings=[0.0], n_results=99, where=where)
        assert result["ids"] == [expected]


@thorough
@given(records, where_documents, wheres)
def test_where_document_means_what_the_predicate_says(found, where_document, where):
    collection, held = filled(found)
    matching = [
        i for i, (_, document) in held.items() if oracle.document_matches(document, where_document)
    ]
    assert collection.get(where_document=where_document)["ids"] == matching
    both = [i for i in matching if oracle.matches(held[i][0], where)]
    assert collection.get(where=where, where_document=where_document)["ids"] == both


@settings(thorough, max_examples=EXAMPLES // 3)
@given(records, wheres, st.data())
def test_filters_stay_right_while_records_change(found, where, data):
    collection, held = filled(found)
    for step in range(data.draw(st.integers(1, 6))):
        collection.get(where=where)  # builds the columns, which then have to follow
        kind = data.draw(st.sampled_from(["add", "replace", "delete"]))
        if kind == "add":
            new = data.draw(metadatas)
            collection.add(ids=f"s{step}", embeddings=[0], metadatas=[new], documents=["x"])
            held[f"s{step}"] = (new, "x")
        elif held:
            chosen = data.draw(st.sampled_from(sorted(held)))
            if kind == "delete":
                collection.delete(ids=chosen)
                del held[chosen]
            else:
                new = data.draw(metadatas.filter(lambda m: m is not None))
                collection.upsert(ids=chosen, metadatas=[new], replace_metadata=True)
                held[chosen] = (new, held[chosen][1])
        expected = [i for i, (metadata, _) in held.items() if oracle.matches(metadata, where)]
        assert collection.get(where=where)["ids"] == expected
