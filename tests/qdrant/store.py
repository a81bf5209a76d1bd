"""Points with only payloads in an engine's store, queried by Qdrant's filters without a client."""

from retrieval_store.qdrant.filter_parser import parse_filter, parse_id
from retrieval_store.qdrant.payload_indexes import by_path, parse_facet, parse_order
from retrieval_store.query.types import Fields, PointBatch, WriteRules
from tests.helpers import inside

PAYLOADS = Fields(payload=True, document=False, uri=False)
IDS = Fields(payload=False, document=False, uri=False)
REPLACE = WriteRules(on_existing="update", on_missing="insert", merge_payloads=False)


class Payloads:
    """A collection of payloads, and its indexes by key."""

    def __init__(self, directory=None, spaces=None):
        self._store = inside.opened(directory)
        record = self._store.create("payloads", {}, spaces or {})
        self.points = self._store.points(record.id)
        self.indexes = {}

    def close(self):
        self._store.close()

    def put(self, payloads):
        """Write payloads by id."""
        ids = [parse_id(one) for one in payloads]
        self.points.put(PointBatch(ids, payloads=[*payloads.values()]), REPLACE)

    def delete(self, ids):
        self.points.delete(ids, None, None)

    def index(self, key, schema):
        """Create an index; with None, delete it."""
        self.indexes.pop(key, None)
        if schema is not None:
            self.indexes[key] = schema

    def found(self, given):
        """The ids of the points that match a filter, in order."""
        points = self.points.get(None, parse_filter(given, by_path(self.indexes)), None, 0, IDS)
        return sorted(points.ids, key=lambda one: (isinstance(one, str), one))

    def facet(self, key, given=None):
        """Values with their number of points."""
        at = parse_facet(key, by_path(self.indexes))
        return self.points.facet_of((at,), parse_filter(given, by_path(self.indexes)), None)

    def list_in_order(self, by, limit=10, given=None):
        """Points, and the value by which each is ordered."""
        order = parse_order(by, by_path(self.indexes))
        expression = parse_filter(given, by_path(self.indexes))
        return self.points.list_in_order(
            order.at, expression, limit, order.descending, order.start, PAYLOADS
        )
