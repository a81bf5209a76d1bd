"""A collection of any size whose content follows from the number of its last write. So any copy
that is made during writes can be compared record by record.

Write n changes each record whose number equals n modulo EVERY, and the record "last", whose
metadata has n. Like `tests.helpers.processes`, it is also a program.
"""

import sys
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

import numpy as np

import retrieval_store

EVERY = 40
NAME, LAST = "passages", "last"
DIMENSION = 16
DOCUMENT = 2_400  # characters
TEXT = " ".join(f"w{i:04}" for i in range(2_000))
RECORD_BYTES = 2_500  # in the database, roughly


def filled(client: retrieval_store.Client, records: int) -> retrieval_store.Collection:
    """This many records and "last", in their state before the first write."""
    collection = client.create_collection(NAME, embedding_function=None)
    for first in range(0, records, 2_000):
        _put(collection, range(first, min(records, first + 2_000)), 0)
    return collection


def write_on(path: str, records: str) -> None:
    """Write repeatedly, without end; prints a line for each write."""
    client = retrieval_store.Client(path)
    collection = client.get_collection(NAME, embedding_function=None)
    for number in count(1):
        write(collection, int(records), number)
        print(number, flush=True)


def write(collection: retrieval_store.Collection, records: int, number: int) -> None:
    """The write with this number, in one batch."""
    _put(collection, range(number % EVERY, records, EVERY), number)


def _put(collection: retrieval_store.Collection, numbers: Iterable[int], write: int) -> None:
    every = [_record(number, write) for number in numbers]
    every.append({"id": LAST, "metadata": {"write": write}, "embedding": np.zeros(DIMENSION, "f")})
    collection.upsert(
        ids=[one["id"] for one in every],
        documents=[one.get("document") for one in every],
        metadatas=[one["metadata"] for one in every],
        embeddings=np.stack([one["embedding"] for one in every]),
    )


def _record(number: int, write: int) -> dict[str, Any]:
    start = (number * 7 + write) % (len(TEXT) - DOCUMENT)
    return {
        "id": f"passage {number}",
        "document": f"{number} {write} {TEXT[start : start + DOCUMENT]}",
        "metadata": {"number": number, "write": write},
        "embedding": np.arange(DIMENSION, dtype="f") + number + write / 1024,
    }


def refuse_others(found: Iterable[Mapping[str, Any]], records: int) -> int:
    """Assert that these records, with all fields as from `Collection.iterate`, are of one moment.
    Returns the number of its write."""
    by_id = {one["id"]: one for one in found}
    last = int(by_id.pop(LAST)["metadata"]["write"])
    assert len(by_id) == records
    for number in range(records):
        write = max(0, last - (last - number) % EVERY)
        true, one = _record(number, write), by_id[f"passage {number}"]
        assert {field: one[field] for field in ("document", "metadata")} == {
            field: true[field] for field in ("document", "metadata")
        }, f"record {number} after write {last}"
        assert np.array_equal(one["embedding"], true["embedding"])
    return last


if __name__ == "__main__":
    globals()[sys.argv[2]](*sys.argv[3:])
