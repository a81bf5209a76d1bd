"""One collection: its description and its reads."""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models

from tests.helpers.qdrant_server import config
from tests.helpers.qdrant_server.edge_models import (
    filter_of,
    id_order,
    index_of,
    parsed,
    point_id,
    record_said,
    sparse_params,
    vector_params,
    with_payload,
)
from tests.helpers.qdrant_server.queries import LIMIT, VECTORS, order_by, plain, request_of
from tests.helpers.qdrant_server.refusals import bad, invalid, refused
from tests.helpers.qdrant_server.shards import Shards
from tests.helpers.qdrant_server.writes import WRITES

Json = dict[str, Any]
Operations = edge.UpdateOperation
EVERYTHING = 1_000_000
MEASURED_EACH = 32
ASCENDING = ("Euclid", "Manhattan")  # the smaller, the nearer
APART = (  # each shard's answers can be merged by their scores
    *VECTORS,
    models.RecommendQuery,
    models.DiscoverQuery,
    models.ContextQuery,
    models.OrderByQuery,
    type(None),
)


class Collection:
    """Callers must ensure that only one call runs at a time.

    chance: the order of equal points and of payload keys; None for a fixed order. elsewhere: finds
    the points of another collection.
    """

    def __init__(
        self,
        folder: Path,
        made: models.CreateCollection,
        chance: random.Random | None,
        elsewhere: Callable[[str], "Collection"],
    ) -> None:
        self.config = config.config_of(made)
        self._chance, self._elsewhere = chance, elsewhere
        self._schema: dict[tuple[str, ...], Json | None] = {}  # of indexes, as they were asked for
        self._operations = 0
        self._compared, self._measured = 1, 0  # how often its size was, and what it was then
        self.shards = Shards(folder, made, self.config["params"]["shard_number"])

    def close(self) -> None:
        """Delete everything."""
        self.shards.close()

    # what it is

    def info(self) -> Json:
        """The description that a server returns."""
        return {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": 0,
            "points_count": self.shards.points(),
            "segments_count": 2 * len(self.shards.all),
            "config": config.shown(self.config),
            "payload_schema": self.indexes(),
            "update_queue": {"length": 0},
        }

    def indexes(self) -> Json:
        """The payload indexes: by key, their kind, parameters and number of points."""
        found: Json = {}
        for shard in self.shards.all:
            for key, one in shard.info().payload_schema.items():
                kind = str(one.data_type).rpartition(".")[2].lower()
                held = found.setdefault(key, {"data_type": kind, "points": 0})
                held["points"] += one.points
                if self._schema.get(parsed(key)):
                    held["params"] = self._schema[parsed(key)]
        return found

    def measured(self) -> int:
        """The number of points when a server last counted them for strict mode. It counts at every
        32nd write that is checked."""
        if self._compared % MEASURED_EACH == 0:
            self._measured = self.shards.points()
        self._compared += 1
        return self._measured

    def change(self, asked: models.UpdateCollection) -> bool:
        """Change the configuration."""
        self._refuse_unknown(asked.vectors or {})
        config.change(self.config, asked)
        return True

    def create_vector(self, name: str, asked: Any) -> Json:
        """Add a vector name for all points."""
        params = self.config["params"]
        if isinstance(asked, models.DenseVectorNameConfig):
            made = models.VectorParams(**asked.dense.model_dump())
            one = vector_params(made)
            self.shards.update(
                Operations.create_dense_vector(
                    name, one.size, one.distance, one.multivector_config, one.datatype
                )
            )
            params["vectors"][name] = config.said(made)
        else:
            sparse = sparse_params(models.SparseVectorParams(modifier=asked.sparse.modifier))
            self.shards.update(
                Operations.create_sparse_vector(name, sparse.modifier, sparse.datatype)
            )
            params.setdefault("sparse_vectors", {})[name] = config.said(asked.sparse)
        return self._done()

    def delete_vector(self, name: str) -> Json:
        """Remove a vector name."""
        self.shards.update(Operations.delete_vector_name(name))
        for vectors in ("vectors", "sparse_vectors"):
            self.config["params"].get(vectors, {}).pop(name, None)
        return self._done()

    def create_index(self, asked: models.CreateFieldIndex) -> Json:
        """Create a payload index; replaces one of another kind."""
        if asked.field_schema is None:
            raise bad("Field schema is required")
        made = index_of(asked.field_schema)
        self.shards.update(Operations.create_field_index(asked.field_name, made))
        plainly = isinstance(asked.field_schema, models.PayloadSchemaType)
        message = None if plainly else config.said(asked.field_schema)
        self._schema[parsed(asked.field_name)] = message
        return self._done()

    def delete_index(self, key: str) -> Json:
        """Delete a payload index."""
        self.shards.update(Operations.delete_field_index(key))
        self._schema.pop(parsed(key), None)
        return self._done()

    # writing

    def batch(self, asked: models.UpdateOperations) -> list[Json]:
        """Several operations, one after the other."""
        return [self.apply(*next(iter(one))) for one in asked.operations]

    def apply(self, kind: str, given: Any) -> Json:
        """One operation."""
        if kind == "delete_vectors":
            self._refuse_unknown(given.vector)
        WRITES[kind](self.shards, given)
        return self._done()

    # reading

    def retrieve(self, asked: models.PointRequest) -> list[Json]:
        """The points with these ids."""
        payload, vector = with_payload(asked.with_payload, True), asked.with_vector or False
        found = []
        for shard, ids in self.shards.by_id(asked.ids):
            found += shard.retrieve(ids, payload, vector)
        return [self._said(one) for one in found]

    def count(self, asked: models.CountRequest) -> Json:
        """How many points fulfil a filter."""
        request = edge.CountRequest(True, filter_of(asked.filter))
        return {"count": sum(shard.count(request) for shard in self.shards.all)}

    def scroll(self, asked: models.ScrollRequest) -> Json:
        """A page of points, in the order of ids or of a value in their payload."""
        limit = _limit(asked)
        if asked.order_by is not None:
            return {"points": self._ordered(asked, limit), "next_page_offset": None}
        found = self._page(asked, limit + 1, asked.offset)
        found.sort(key=lambda one: id_order(point_id(one.id)))
        after = point_id(found[limit].id) if len(found) > limit else None
        points = [self._said(one) for one in found[:limit]]
        return {"points": points, "next_page_offset": after}

    def query(self, asked: models.QueryRequest) -> Json:
        """The best points."""
        limit = _limit(asked)
        if asked.lookup_from is not None:
            self._elsewhere(asked.lookup_from.collection)
        first, apart = asked.offset or 0, not asked.prefetch and _apart(asked.query)
        if len(self.shards.all) > 1 and not apart:
            raise NotImplementedError("a query of several stages in several shards")
        wanted = self.shards.points() if self._chance and apart else first + limit
        request = request_of(asked, self._vector, wanted)
        found = [one for shard in self.shards.all for one in shard.query(request)]
        if len(self.shards.all) > 1 or (self._chance and apart):
            self._sort(found, *self._order(asked))
        points = [self._said(one) for one in found[first : first + limit]]
        if not asked.with_vector:  # for diversity the engine gives them all the same
            points = [{k: v for k, v in one.items() if k != "vector"} for one in points]
        return {"points": points}

    def queries(self, asked: models.QueryRequestBatch) -> list[Json]:
        """Several queries, one after the other."""
        return [self.query(one) for one in asked.searches]

    def facet(self, asked: models.FacetRequest) -> Json:
        """Values of a key, most frequent first."""
        request = edge.FacetRequest(asked.key, EVERYTHING, True, filter_of(asked.filter))
        counts: Counter[Any] = Counter()
        for shard in self.shards.all:
            for hit in shard.facet(request).hits:
                counts[hit.value] += hit.count
        best = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        limit = _limit(asked)
        return {"hits": [{"value": value, "count": count} for value, count in best[:limit]]}

    def _done(self) -> Json:
        self._operations += 1
        return {"operation_id": self._operations, "status": "completed"}

    def _refuse_unknown(self, vectors: Iterable[str]) -> None:
        params = self.config["params"]
        for name in vectors:
            if name not in {**params["vectors"], **params.get("sparse_vectors", {})}:
                raise bad(f"Not existing vector name error: {name}")

    def _page(self, asked: models.ScrollRequest, limit: int, offset: Any = None) -> list[Any]:
        request = edge.ScrollRequest(
            None if offset is None else point_id(offset),
            limit,
            filter_of(asked.filter),
            with_payload(asked.with_payload, True),
            asked.with_vector or False,
            order_by(asked.order_by),
        )
        return [one for shard in self.shards.all for one in shard.scroll(request)[0]]

    def _ordered(self, asked: models.ScrollRequest, limit: int) -> list[Json]:
        if asked.offset is not None:
            raise bad("Cannot use an `offset` when using `order_by`. The alternative for paging is")
        found = self._page(asked, EVERYTHING if self._chance else limit)
        self._sort(found, lambda one: one.order_value, _descends(asked.order_by))
        return [self._said(one) for one in found[:limit]]

    def _sort(self, found: list[Any], key: Callable[[Any], Any], descending: bool) -> None:
        """Sort in place; equal ones get a random order, if there is a source of chance."""
        if self._chance:
            self._chance.shuffle(found)
        found.sort(key=key, reverse=descending)

    def _order(self, asked: models.QueryRequest) -> tuple[Callable[[Any], Any], bool]:
        """The sort key of points, and whether the greatest come first."""
        query = plain(asked.query)
        if query is None:
            return (lambda one: id_order(point_id(one.id))), False
        if isinstance(query, models.OrderByQuery):
            return (lambda one: one.order_value), _descends(query.order_by)
        dense = self.config["params"]["vectors"].get(asked.using or "", {})
        near = isinstance(query, VECTORS) or _averages(query)
        return (lambda one: one.score), not (near and dense.get("distance") in ASCENDING)

    def _vector(self, one: int | str, name: str, lookup: models.LookupLocation | None) -> Any:
        """The vector of a point, of this collection or of another."""
        place = self if lookup is None else self._elsewhere(lookup.collection)
        wanted = name if lookup is None or lookup.vector is None else lookup.vector
        ((shard, ids),) = place.shards.by_id([one])
        found = shard.retrieve(ids, False, [wanted])
        if not found:
            raise refused(404, f"Not found: No point with id {one} found")
        vectors = found[0].vector
        vector = vectors.get(wanted) if isinstance(vectors, dict) else vectors
        if vector is None:
            raise bad(f"Not existing vector name error: {wanted}")
        return vector

    def _said(self, found: Any) -> Json:
        message = record_said(found)
        return message if self._chance is None else {**message, **_mixed(message, self._chance)}


def _limit(asked: Any) -> int:
    limit: int = LIMIT if asked.limit is None else asked.limit
    if limit < 1:
        raise invalid(f"limit: value {limit} invalid, must be 1 or larger")
    return limit


def _apart(query: Any) -> bool:
    return isinstance(plain(query), APART)


def _averages(query: Any) -> bool:
    """Whether a query asks for the nearest to an average."""
    average = (None, models.RecommendStrategy.AVERAGE_VECTOR)
    return isinstance(query, models.RecommendQuery) and query.recommend.strategy in average


def _descends(given: Any) -> bool:
    return getattr(given, "direction", None) == models.Direction.DESC


def _mixed(said: Json, chance: random.Random) -> Json:
    """The payload, with its keys in another order."""

    def mixed(value: Any) -> Any:
        if isinstance(value, list):
            return [mixed(one) for one in value]
        if not isinstance(value, dict):
            return value
        return {key: mixed(value[key]) for key in chance.sample(list(value), len(value))}

    return {"payload": mixed(said["payload"])} if "payload" in said else {}
