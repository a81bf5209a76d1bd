"""Searches, recommendations and discoveries as older clients ask for them, as the same requests
over HTTP are."""

from typing import Any

from qdrant_client import models

from retrieval_store.server import older
from retrieval_store.server.rpc.reading import Reading
from retrieval_store.server.rpc.values import Message


def search(model: Message) -> older.Search:
    """Points near a vector."""
    return older.Search.model_construct(**_near(model), **_window(model))


def search_groups(model: Message) -> older.SearchGroups:
    """The same in groups."""
    return older.SearchGroups.model_construct(**_near(model), **Reading.grouped(model))


def search_batch(model: Message) -> older.SearchBatch:
    """Several searches."""
    return older.SearchBatch.model_construct(searches=[search(one) for one in model.search_points])


def recommend(model: Message) -> older.Recommend:
    """Points like some and unlike others."""
    return older.Recommend.model_construct(**_like(model), **_window(model))


def recommend_groups(model: Message) -> older.RecommendGroups:
    """The same in groups."""
    return older.RecommendGroups.model_construct(**_like(model), **Reading.grouped(model))


def recommend_batch(model: Message) -> older.RecommendBatch:
    """Several recommendations."""
    found = [recommend(one) for one in model.recommend_points]
    return older.RecommendBatch.model_construct(searches=found)


def discover(model: Message) -> older.Discover:
    """Points on one side of pairs, near a target."""
    target = _example(model.target.single) if model.HasField("target") else None
    pairs = [
        models.ContextPair.model_construct(
            positive=_example(one.positive), negative=_example(one.negative)
        )
        for one in model.context
    ]
    return older.Discover.model_construct(
        target=target, context=pairs, **_compared(model), **_asked(model), **_window(model)
    )


def discover_batch(model: Message) -> older.DiscoverBatch:
    """Several discoveries."""
    found = [discover(one) for one in model.discover_points]
    return older.DiscoverBatch.model_construct(searches=found)


def _near(model: Message) -> dict[str, Any]:
    vector: Any = model.vector[:]
    if model.HasField("sparse_indices"):
        vector = models.SparseVector(indices=model.sparse_indices.data[:], values=vector)
    if model.HasField("vector_name") and model.vector_name:
        vector = older.Named.model_construct(name=model.vector_name, vector=vector)
    return {"vector": vector, **_asked(model)}


def _like(model: Message) -> dict[str, Any]:
    strategy = model.HasField("strategy") and model.strategy
    return {
        "positive": _examples(model.positive, model.positive_vectors),
        "negative": _examples(model.negative, model.negative_vectors),
        "strategy": Reading.convert_recommend_strategy(strategy)
        if model.HasField("strategy")
        else None,
        **_compared(model),
        **_asked(model),
    }


def _compared(model: Message) -> dict[str, Any]:
    """Which vectors are compared."""
    using = model.using if model.HasField("using") else None
    return {"using": using or None, "lookup_from": Reading.lookup(model)}


def _asked(model: Message) -> dict[str, Any]:
    """What all of them have; but discoveries have no threshold."""
    return {"shard_key": Reading.shard_key(model), **Reading.searched(model)}


def _window(model: Message) -> dict[str, Any]:
    return {"limit": model.limit, "offset": model.offset if model.HasField("offset") else None}


def _examples(ids: Any, vectors: Any) -> list[Any]:
    return [
        *(Reading.convert_point_id(one) for one in ids),
        *(_listed(Reading.convert_vector(one)) for one in vectors),
    ]


def _example(model: Message) -> Any:
    match model.WhichOneof("example"):
        case "id":
            return Reading.convert_point_id(model.id)
        case "vector":
            return _listed(Reading.convert_vector(model.vector))
    raise ValueError("an example is neither an id nor a vector")


def _listed(vector: Any) -> Any:
    """A vector as models take it that are validated."""
    return vector.tolist() if hasattr(vector, "tolist") else vector
