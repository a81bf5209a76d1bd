"""Today's Qdrant engine in this process: the results of filters on payloads."""

import tempfile

import qdrant_edge as edge

from tests.helpers.qdrant_server.edge_models import filter_of, index_of

NO_VECTORS = edge.EdgeConfig(
    {}, {"none": edge.EdgeSparseVectorParams()}, max_search_threads=1, wal_enabled=False
)
EVERYTHING = 1_000_000


class Edge:
    """Payloads by id, in their own shard."""

    def __init__(self, payloads, indexes):
        self._folder = tempfile.TemporaryDirectory()
        self._shard = edge.EdgeShard.create(self._folder.name, NO_VECTORS)
        for key, schema in indexes.items():
            made = edge.UpdateOperation.create_field_index(key, index_of(schema))
            self._shard.update(made)
        points = [edge.Point(one, {}, payload) for one, payload in payloads.items()]
        self._shard.update(edge.UpdateOperation.upsert_points(points))

    def close(self):
        self._shard.close()
        self._folder.cleanup()

    def clear(self, ids):
        self._shard.update(edge.UpdateOperation.clear_payload(ids))

    def set(self, ids, payload, key=None):
        self._shard.update(edge.UpdateOperation.set_payload(ids, payload, key=key))

    def delete(self, ids, keys):
        self._shard.update(edge.UpdateOperation.delete_payload(ids, keys))

    def payload(self, id):
        (point,) = self._shard.retrieve([id], True, False)
        return point.payload

    def found(self, given):
        """The ids of the points that match a filter, in order."""
        request = edge.ScrollRequest(
            filter=filter_of(given), limit=EVERYTHING, with_payload=False, with_vector=False
        )
        return sorted(point.id for point in self._shard.scroll(request)[0])

    def facet(self, key):
        hits = self._shard.facet(edge.FacetRequest(key, EVERYTHING, True, None)).hits
        return [(hit.value, hit.count) for hit in hits]

    def values_in_order(self, key, descending):
        direction = edge.Direction.Desc if descending else edge.Direction.Asc
        request = edge.ScrollRequest(limit=EVERYTHING, order_by=edge.OrderBy(key, direction))
        return [point.order_value for point in self._shard.scroll(request)[0]]
