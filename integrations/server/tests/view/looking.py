"""Views of stores, called as the page calls them."""

import base64
import io
from typing import Any

import numpy as np
import orjson
from PIL import Image

import retrieval_store
from retrieval_store_server.view.calls import CALLS
from retrieval_store_server.view.live import Views

DIMENSION = 4
WORDS = ("river", "running", "wolf", "stone", "éclair", "night")
KINDS = ("poem", "letter", "map")


def asked(views: Views, name: str, **body: Any) -> Any:
    """The response to a call of the page: JSON as it arrives in a request and leaves in a
    response."""
    result = CALLS[name](views, orjson.loads(orjson.dumps(body)))
    return orjson.loads(orjson.dumps(result)) if isinstance(result, dict) else result


def vectors(count: int, seed: int = 0) -> Any:
    """Vectors with the greatest variance in the first direction, then in the second."""
    spread = np.array([9, 4, 1, 0.5], np.float32)
    return np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32) * spread


def filled(
    client: retrieval_store.Client, name: str = "things", count: int = 60, **settings: Any
) -> tuple[retrieval_store.Collection, Any]:
    """A collection of points with documents and metadata, and its vectors."""
    matrix = vectors(count)
    collection = client.create_collection(name, embedding_function=None, **settings)
    collection.add(
        ids=[f"p{i}" for i in range(count)],
        embeddings=matrix,
        documents=[f"{WORDS[i % len(WORDS)]} number {i}" for i in range(count)],
        metadatas=[
            {"n": i, "kind": KINDS[i % 3], "author": {"name": "ann" if i % 2 else "bob"}}
            for i in range(count)
        ],
    )
    return collection, matrix


def picture(size: tuple[int, int] = (300, 200), kind: str = "PNG") -> bytes:
    """A picture, as a file."""
    written = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(written, kind)
    return written.getvalue()


def data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
