"""Unusual arguments: single-use iterators, unordered ones, other types, secrets."""

import asyncio

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import InvalidArgumentError, InvalidFilterError, InvalidTypeError
from retrieval_store.qdrant import QdrantClient, models

VECTORS = [[1.0, 0.0], [0.0, 1.0]]


@pytest.fixture
def things():
    with retrieval_store.Client() as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(["a", "b"], VECTORS, [{"k": 1}, {"k": 2}], ["one", "two"])
        yield things


def test_sets_are_no_lists_where_something_belongs_to_each_item(things):
    for wrong in ({"ids": {"c", "d"}}, {"ids": ["c", "d"], "documents": frozenset("xy")}):
        with pytest.raises(InvalidTypeError, match=r"set"):
            things.add(**{"embeddings": VECTORS, **wrong})
    assert things.get({"b", "a"}, include={"documents"})["documents"] is not None
    assert things.delete({"a", "b"}) == {"deleted": 2}


def test_a_search_that_excludes_ids_does(things):
    assert things.search({"filter": {"$not": {"#id": "a"}}})["ids"] == [["b"]]
    both = {"$not": {"$or": [{"#id": "a"}, {"k": 2}]}}
    assert things.search({"filter": both})["ids"] == [[]]
    with pytest.raises(InvalidFilterError, match="#score"):
        things.search({"filter": {"$not": {"#score": 1}}})


def test_numbers_that_no_float_holds_are_refused(things):
    with pytest.raises(InvalidTypeError, match="expected a number"):
        things.search({"rank": {"$val": 10**400}})


def test_why_takes_what_can_be_read_once(things):
    whole = things.why(query_texts=["one"], mode="text", records="b", ids=["a", "b"])
    texts, ids = (text for text in ["one"]), iter(["a", "b"])
    assert str(things.why(query_texts=texts, mode="text", records="b", ids=ids)) == str(whole)


def test_exact_is_true_or_false(things):
    assert things.query([1.0, 0.0], exact=np.True_)["ids"] == [["a", "b"]]
    with pytest.raises(InvalidTypeError, match="exact is 'no'"):
        things.query([1.0, 0.0], exact="no")


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("https://me:hidden@here:6333", {}),
        ("https://me:hidden@here:99999", {}),
        ("ftp://me:hidden@here", {}),
        ("https://me:hidden@here", {"grpc_port": 6334}),
        (["https://me:hidden@here", "https://there"], {}),
    ],
)
def test_no_message_shows_the_password_of_a_url(url, options):
    with pytest.raises(InvalidArgumentError, match="a name or a password") as caught:
        retrieval_store.Client(url=url, **options).list_collections()
    assert "hidden" not in str(caught.value)


def test_records_with_integers_as_ids_are_iterated_from_one_on(tmp_path):
    with QdrantClient(path=tmp_path) as qdrant:
        plane = models.VectorParams(size=2, distance=models.Distance.COSINE)
        qdrant.create_collection("numbers", plane)
        points = [models.PointStruct(id=i, vector=[1.0, i]) for i in range(1, 20)]
        qdrant.upsert("numbers", points)
    with retrieval_store.Client(tmp_path) as client:
        numbers = client.get_collection("numbers")
        assert [record["id"] for record in numbers.iterate(after="16")] == ["17", "18", "19"]


def test_an_iterator_of_a_closed_client_is_released_outside_of_the_loop(tmp_path, monkeypatch):
    threads = []

    async def run():
        async with retrieval_store.AsyncClient(tmp_path) as client:
            things = await client.create_collection("things", embedding_function=None)
            await things.add(["a", "b"], VECTORS)
            records = things.iterate()
            await anext(records)
        original = asyncio.to_thread
        monkeypatch.setattr(
            asyncio, "to_thread", lambda *work: threads.append(work) or original(*work)
        )
        await records.aclose()

    asyncio.run(run())
    assert len(threads) == 1
