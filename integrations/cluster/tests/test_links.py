"""A measurement on the cluster decides whether a filtered search goes beyond neighbours."""

from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from qdrant_client import models

import retrieval_store
from retrieval_store_cluster import links
from tests.helpers.clocks import set_clock
from tests.helpers.qdrant_server import Server

COUNT, DIMENSION = 300, 8
KEYS = {
    "word": lambda i: f"x{i % 5}",
    "words": lambda i: [f"x{i % 5}", f"y{i % 7}"],
    "number": lambda i: i % 40,
    "share": lambda i: i / 7,
    "is_old": lambda i: i % 3 == 0,
    "day": lambda i: f"2026-01-{1 + i % 28:02}",
}


class Graph:
    """A client of a server with a graph. Searches by links alone find the nearest only under
    filters for which the graph has links. asked: the kind of each search."""

    def __init__(self, client):
        self._client, self.indexed, self.misses, self.asked = client, COUNT, 5, []
        self.filters, self.has_links = [], lambda condition: False

    def __getattr__(self, name):
        return getattr(self._client, name)

    def get_collection(self, *args, **kwargs):
        collection = self._client.get_collection(*args, **kwargs)
        return collection.model_copy(update={"indexed_vectors_count": self.indexed})

    def query_batch_points(self, collection_name, requests, **kwargs):
        answers = self._client.query_batch_points(collection_name, requests, **kwargs)
        for request, answer in zip(requests, answers, strict=True):
            self.asked.append(request.params.acorn is not None)
            self.filters.append(request.filter)
            if request.filter is not None and not self.asked[-1]:
                misses = 0 if self.has_links(request.filter) else self.misses
                answer.points = answer.points[misses:]
        return answers

    @property
    def measured(self):
        """How often it was measured."""
        return sum(not way for way in self.asked) // links.QUESTIONS


@pytest.fixture(autouse=True)
def measures_small_ones(monkeypatch):
    monkeypatch.setattr(links, "LEAST", COUNT // 2)
    monkeypatch.setattr(links, "SCANNED", 0)


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    set_clock(monkeypatch, "links on a cluster", clock)
    return clock


@pytest.fixture
def graph():
    with closing(Server()) as server, closing(server.client()) as client:
        yield Graph(client)


def filled(graph, **settings):
    client = retrieval_store.Client(qdrant_client=graph)
    things = client.create_collection("things", settings or None, embedding_function=None)
    vectors = np.random.default_rng(3).standard_normal((COUNT, DIMENSION)).astype(np.float32)
    payloads = [{key: value(i) for key, value in KEYS.items()} for i in range(COUNT)]
    things.add([f"p{i}" for i in range(COUNT)], vectors, payloads)
    return things


def goes_beyond(graph, things, where, times=1, **how):
    """Whether the last of these queries went beyond neighbours."""
    for _ in range(times):
        things.query([[1.0] * DIMENSION], where=where, **how)
    return graph.asked[-1]


WHERES = {
    "word": {"word": "x3"},
    "words": {"words": "y3"},
    "number": {"number": {"$gte": 3, "$lt": 9}},
    "share": {"share": {"$gte": 3}},
    "is_old": {"is_old": True},
    "day": {"day": {"$gte": "2026-01-03", "$lt": "2026-01-05"}},
}


@pytest.mark.parametrize(("key", "has_links"), [(key, i % 2 == 0) for i, key in enumerate(WHERES)])
def test_a_key_that_is_searched_by_often_is_measured(graph, key, has_links):
    graph.misses = 0 if has_links else 5
    things = filled(graph)
    assert goes_beyond(graph, things, WHERES[key], links.OFTEN)  # the first makes its index
    assert graph.measured == 0
    assert goes_beyond(graph, things, WHERES[key]) is not has_links
    assert graph.measured == 1


def test_measured_filters_cover_parts_of_the_key(graph):
    things = filled(graph)
    for key, where in WHERES.items():
        graph.filters.clear()
        goes_beyond(graph, things, where, 1 + links.OFTEN)
        conditions = [query.must[0] for query in graph.filters[links.OFTEN : -1]]
        assert {condition.key for condition in conditions} == {f'"{key}"'}
        if key == "number":
            widths = [condition.range.lte - condition.range.gte for condition in conditions]
            assert 0 <= max(widths) <= 6
        if key == "word":
            assert {condition.match.value for condition in conditions} == {
                f"x{i}" for i in range(5)
            }


OTHERS = [
    ({"$and": [{"word": "x3"}, {"number": 3}]}, {}),
    ({"word": "x3"}, {"where_document": {"$contains": "a"}}),
    ({"word": {"$in": ["x3", "x4"]}}, {}),
    ({"word": {"$ne": "x3"}}, {}),
    ({"number": 3}, {}),
    ({"$or": [{"share": {"$gte": 3}}, {"share": {"$lt": 1}}]}, {}),
]


def test_other_searches_by_a_filter_always_go_beyond_neighbours(graph):
    graph.misses, things = 0, filled(graph)
    for where, how in OTHERS:
        assert goes_beyond(graph, things, where, 2 * links.OFTEN, **how)
        assert graph.measured == 0
    assert not goes_beyond(graph, things, None)
    assert not goes_beyond(graph, things, {"word": "x3"}, exact=True)


def test_a_small_collection_is_not_measured(graph):
    graph.indexed = links.LEAST - 1
    assert goes_beyond(graph, filled(graph), {"word": "x3"}, 2 * links.OFTEN)
    assert graph.measured == 0


def test_each_value_must_have_links(graph):
    graph.has_links = lambda condition: condition.must[0].match.value != "x4"
    assert goes_beyond(graph, filled(graph), {"word": "x3"}, 2 * links.OFTEN)
    assert graph.measured == 1


def test_values_of_few_points_that_a_server_knows_reveal_nothing(graph, monkeypatch):
    monkeypatch.setattr(links, "SCANNED", 4 * DIMENSION * COUNT)
    graph.misses = 0
    assert goes_beyond(graph, filled(graph), {"word": "x3"}, 2 * links.OFTEN)
    assert graph.measured == 0


def test_strings_that_are_no_times_break_nothing(graph):
    graph.misses = 0
    things = filled(graph)
    things.update([f"p{i}" for i in range(9)], metadatas=[{"day": "unknown"}] * 9)
    things.update([f"p{i}" for i in range(9, 20)], metadatas=[{"day": "2026-1-5"}] * 11)
    things.create_index("day", "datetime")
    assert not goes_beyond(graph, things, WHERES["day"], 2 * links.OFTEN)


def test_the_limit_of_candidates_is_respected(graph):
    filled(graph)
    limit = models.StrictModeConfig(enabled=True, search_max_hnsw_ef=7)
    graph.update_collection("things", strict_mode_config=limit)
    client = retrieval_store.Client(qdrant_client=graph)
    things = client.get_collection("things", embedding_function=None)
    goes_beyond(graph, things, WHERES["word"], 2 * links.OFTEN)
    assert graph.measured == 1


def test_it_is_measured_again_after_some_minutes(graph, clock):
    things, where = filled(graph), {"word": "x3"}
    assert goes_beyond(graph, things, where, 2 * links.OFTEN)
    graph.misses = 0  # the server has made its graph anew
    assert goes_beyond(graph, things, where)
    clock.now += links.AGE
    assert not goes_beyond(graph, things, where)
    graph.misses = 5
    clock.now += links.AGE
    assert goes_beyond(graph, things, where)


def test_a_failed_measurement_keeps_the_earlier_one(graph, clock, monkeypatch):
    things, where = filled(graph), {"word": "x3"}
    graph.misses = 0
    assert not goes_beyond(graph, things, where, 1 + links.OFTEN)

    def late(collection_name, requests, **kwargs):
        if len(requests) > 1:
            raise ValueError("too late")
        return Graph.query_batch_points(graph, collection_name, requests, **kwargs)

    monkeypatch.setattr(graph, "query_batch_points", late, raising=False)
    clock.now += links.AGE
    assert not goes_beyond(graph, things, where)
