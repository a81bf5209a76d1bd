"""Points with payloads alone in an engine's store, asked by Qdrant's filters: without a client."""

from retrieval_store.engine.store import Store
from retrieval_store.interface.points import Fields, PointBatch, WriteRules
from retrieval_store.qdrant.filters import parse_facet, parse_filter, parse_id, parse_order

PAYLOADS = Fields(payload=True, document=False, uri=False)
REPLACE = WriteRules(known="update", new="insert", merge_payloads=False)


class Payloads:
    """A collection of payloads, and its indexes by key."""

    def __init__(self, directory=None):
        self.store = Store(directory, "full")
        record = self.store.create("payloads", {}, {})
        self.points = self.store.points(record.id)
        self.indexes = {}

    def close(self):
        self.store.close()

    def put(self, payloads):
        """Payloads by id."""
        ids = [parse_id(one) for one in payloads]
        self.points.put(PointBatch(ids, payloads=[*payloads.values()]), REPLACE)

    def index(self, key, schema):
        """Make an index; None deletes it."""
        self.indexes.pop(key, None)
        if schema is not None:
            self.indexes[key] = schema

    def found(self, given):
        """The ids of the points that a filter lets through, in their order."""
        expression = parse_filter(given, self.indexes)
        points = self.points.get(None, expression, None, 0, Fields(False, False, False))
        return sorted(points.ids, key=lambda one: (isinstance(one, str), one))

    def facet(self, key, given=None):
        values = self.points.counted(
            parse_facet(key, self.indexes), parse_filter(given, self.indexes)
        )
        return values

    def ordered(self, by, limit=10, given=None):
        order = parse_order(by, self.indexes)
        points, values = self.points.ordered(
            order.at,
            parse_filter(given, self.indexes),
            limit,
            order.descending,
            order.start,
            PAYLOADS,
        )
        return points, values
