"""Collections whose texts have inverted lists."""

import random

import numpy as np

import retrieval_store
from retrieval_store.engine.text.inverted import TRIGRAMS
from tests.helpers import inside
from tests.helpers.indexed import until

DOCUMENTS = [
    "The cat sat on the mat.",
    "Dogs and cats are pets; a dog barks.",
    "A bank raised its interest rates.",
    "The river bank was muddy, the river high.",
    "Éclairs are sold in the CAFÉ by the river.",
    "",
]


def kept_of(collection):
    return inside.access(collection).read(lambda view: view.caches)


def ready(collection):
    """Query for a substring until the trigrams have been built."""
    collection.get(where_document={"$contains": "never there"})
    until(lambda: TRIGRAMS in kept_of(collection).lists.nonempty_keys(), "no trigrams were built")


def filled(path, count=500):
    client = retrieval_store.Client(path)
    things = client.create_collection("things", embedding_function=None)
    moves = random.Random(1)
    words = ["".join(moves.choices("abcdefgh", k=moves.randint(2, 6))) for _ in range(200)]
    documents = [" ".join(moves.choices(words, k=8)) for _ in range(count)]
    ids = [str(i) for i in range(count)]
    things.add(ids=ids, documents=documents, embeddings=np.zeros((count, 2)))
    return client, things, documents


def texts_of(client, count=300):
    things = client.create_collection("texts", embedding_function=None)
    things.add(
        ids=[str(i) for i in range(count)],
        documents=[f"w{i % 7} w{i % 11} some words number {i}" for i in range(count)],
        embeddings=np.zeros((count, 2)),
    )
    return things
