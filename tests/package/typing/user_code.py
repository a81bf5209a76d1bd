"""Users' code for type checkers: exactly the lines that end with `# wrong` must be refused. It is
never run.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

import retrieval_store
from retrieval_store import Client, Collection, EmbeddingFunction, GetResult, QueryResult
from retrieval_store.filters.expression import And, Exists, Not, Or, Range, TextIn, ValueLeaf
from retrieval_store_files import export_jsonl


class Lengths(EmbeddingFunction[list[str]]):
    def __call__(self, input: list[str]) -> Any:
        return [[float(len(text))] for text in input]


def letters(input: list[str]) -> list[list[float]]:
    return [[1.0, 2.0] for _ in input]


client = Client("./store", durability="relaxed")
notes: Collection = client.get_or_create_collection(
    "notes", configuration={"hnsw": {"space": "cosine", "ef_search": 50}, "index": "exact"}
)
client.create_collection("own", embedding_function=Lengths())
client.create_collection("plain", embedding_function=letters, metadata={"topic": "x"})
client.create_collection("none", embedding_function=None)

notes.add(ids=["a"], documents=["text"], metadatas=[{"year": 2020, "tags": ["x"]}])
notes.upsert(ids="b", embeddings=[1.0, 2.0], documents="one")
notes.update(ids=["a"], embeddings=np.zeros((1, 3), np.float32))

result: QueryResult = notes.query(
    query_texts="x", n_results=3, where={"year": {"$gte": 2000}}, include=["documents", "distances"]
)
first: str = result["documents"][0][0]
near: float = result["distances"][0][0]
year: int = result["metadatas"][0][0]["year"]
best: float = max(result["scores"][0])
shape: tuple[int, ...] = notes.query(query_texts="x", include=["embeddings"])["embeddings"][0].shape

got: GetResult = notes.get(ids=["a"], include=["metadatas", "embeddings", "uris"])
for document, metadata in zip(got["documents"], got["metadatas"], strict=True):
    print(document.upper(), metadata["year"] + 1)
dimension: int = got["embeddings"].shape[1]
deleted: int = notes.delete(where={"year": 2020})["deleted"]


@dataclass(frozen=True)
class Leap(ValueLeaf):
    path: tuple[str, ...]

    def holds(self, value: Any) -> bool:
        return isinstance(value, int) and value % 4 == 0


where = And((Exists(("year",)), Not(TextIn(("lang",), "fr")), Or((Leap(("year",)),))))
notes.query(query_texts="x", where=where)
notes.get(where=Leap(("year",)))
gone: int = notes.delete(where=Not(where))["deleted"]
counted: int = notes.count(Range(("year",), gte=2000)) + notes.count({"year": 1})
records = [one["id"] for one in notes.iterate(where=where)]
values = notes.facet("year", where=where)
reasons = notes.why(query_texts="x", records=["a"], where=where)
measured = retrieval_store.evaluate(notes, [{"query": "x", "ids": ["a"]}], where=where)
export_jsonl(notes, "notes.jsonl", where=where)

plans = notes.explain(query_texts="x", mode=retrieval_store.Hybrid("weighted", 0.3))["plans"]
method: str = plans[0]["method"]
megabytes: float = sum(notes.stats()["memory"].values()) / 1e6
space: str = notes.configuration["hnsw"]["space"]
length: int = len(notes) if "a" in notes else 0


async def awaited() -> None:
    async with retrieval_store.AsyncClient("./store", threads=4, read_only=True) as client:
        things: retrieval_store.AsyncCollection = await client.get_collection("things", None)
        every: list[retrieval_store.AsyncCollection] = await client.list_collections(limit=3)
        found: QueryResult = await things.query(query_texts="x", n_results=3, where={"n": 1})
        nearest: str = found["ids"][0][0]
        count: int = (
            await things.count({"n": 1})
            + await things.count(Exists(("n",)))
            + await things.add_from([], batch=3, upsert=True)
        )
        settings: str = (await things.configuration())["hnsw"]["space"]
        places = [one.rank for one in await things.why(query_texts="x", records=["a"])]
        async for record in things.iterate(batch=3, include=["documents"]):
            print(record["id"], nearest, count, settings, places)
        async with retrieval_store.AsyncClient(qdrant_client=None) as other:
            print([one.points for one in await client.copy_to(other, fail_if_exists=True)])
        await client.copy_to(Client(), "things")
        forked: retrieval_store.AsyncCollection = await every[0].fork("forked")
        await forked.query(query_texts="x", mode="words")  # wrong
        await forked.get(include=["distances"])  # wrong
        await forked.serach("x")  # wrong
        number: int = await forked.peek()  # wrong
        (await forked.query(query_texts="x"))["document"]  # wrong
        forked.count() + 1  # wrong
        await client.create_collection(7)  # wrong
        await client.copy_to(forked)  # wrong
        retrieval_store.AsyncClient("./store", durability="none")  # wrong
        print(number)


try:
    client.get_collection("nothing", check_model=False)
except retrieval_store.errors.NotFoundError as error:
    print(error)

notes.query(query_texts="x", mode="words")  # wrong
notes.query(query_texts="x", include=["distance"])  # wrong
notes.get(include=["distances"])  # wrong
notes.query(query_texts="x", n_results="3")  # wrong
notes.query(query_texts="x", where="year")  # wrong
notes.query(query_texts="x", where=And(Exists(("year",))))  # wrong
notes.query(query_texts="x", mode=retrieval_store.Hybrid("rff"))  # wrong
client.create_collection("far", configuration={"hnsw": {"space": "near"}})  # wrong
client.create_collection("odd", configuration={"hnws": {"space": "l2"}})  # wrong
client.create_collection(7)  # wrong
Client("./store", durability="none")  # wrong
notes.explain(query_texts="x")["plan"]  # wrong
number: int = result["documents"][0][0]  # wrong
result["document"]  # wrong
notes.serach("x")  # wrong
