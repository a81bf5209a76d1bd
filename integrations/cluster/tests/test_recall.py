"""The number of candidates for a recall is measured on the cluster."""

from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from qdrant_client import models

import retrieval_store
from retrieval_store_cluster import recall
from retrieval_store_cluster.schema import RECALL, IndexRecall
from tests.helpers.clocks import set_clock
from tests.helpers.qdrant_server import Server

COUNT, DIMENSION = 300, 8
MISSED = {64: 3, 128: 2, 256: 1}  # of the nearest, by candidates; none by more
READY = {"status": models.CollectionStatus.GREEN, "indexed_vectors_count": COUNT}


class Approximate:
    """A client of a server whose index misses the nearest; more candidates miss fewer."""

    def __init__(self, client, missed=None):
        self._client, self.missed = client, MISSED if missed is None else missed
        self.worst, self.number = None, 0  # the only kind with missed hits, during measurement
        self.reported_state, self.params = dict(READY), []

    def __getattr__(self, name):
        return getattr(self._client, name)

    def get_collection(self, *args, **kwargs):
        return self._client.get_collection(*args, **kwargs).model_copy(update=self.reported_state)

    def query_batch_points(self, collection_name, requests, **kwargs):
        answers = self._client.query_batch_points(collection_name, requests, **kwargs)
        for request, answer in zip(requests, answers, strict=True):
            self.params.append(request.params)
            if not request.params.exact:
                kind = self.number % recall.QUESTIONS // recall.OF_A_KIND
                lost = self.missed.get(request.params.hnsw_ef, 0)
                lost = lost if self.worst in (None, kind) else 0
                self.number += 1
                answer.points = answer.points[lost:]
        return answers

    @property
    def exact(self):
        return sum(bool(params.exact) for params in self.params)


@pytest.fixture(autouse=True)
def measures_small_ones(monkeypatch):
    monkeypatch.setattr(recall, "LEAST", COUNT // 2)


@pytest.fixture
def server():
    with closing(Server()) as server, closing(server.client()) as client:
        yield Approximate(client)


def filled(server, **settings):
    client = retrieval_store.Client(qdrant_client=server)
    things = client.create_collection("things", settings or None, embedding_function=None)
    things.add([f"p{i}" for i in range(COUNT)], vectors(3))
    return things


def vectors(seed):
    return np.random.default_rng(seed).standard_normal((COUNT, DIMENSION)).astype(np.float32)


def parameters_of_query(server, things, k=10, **how):
    """The parameters of a query, after those that measure."""
    things.query([[1.0] * DIMENSION], n_results=k, **how)
    return server.params[-1]


def test_the_candidates_requested_are_those_the_recall_needs(server):
    things = filled(server)
    assert not parameters_of_query(server, things).exact
    assert (
        parameters_of_query(server, things, ef=99).hnsw_ef == 99 and server.exact == 0
    )  # nothing is measured
    for wanted, expected in ((0.5, 64), (0.75, 128), (0.9, 256), (0.95, 512)):
        params = parameters_of_query(server, things, recall=wanted)
        assert params.hnsw_ef == expected and not params.exact
    assert server.exact == recall.QUESTIONS
    # Of more hits the three that are missed are fewer: they have a measure of their own.
    assert parameters_of_query(server, things, k=50, recall=0.97).hnsw_ef == 64
    assert parameters_of_query(server, things, k=50, recall=0.985).hnsw_ef == 256


def test_the_worst_kind_of_question_counts(server):
    server.worst = 1
    assert parameters_of_query(server, filled(server), recall=0.85).hnsw_ef == 256


def test_where_no_number_of_candidates_is_enough_the_search_is_exact(server):
    server.missed = dict.fromkeys(recall.CANDIDATES, 2)
    assert parameters_of_query(server, filled(server), recall=0.9).exact
    assert parameters_of_query(server, filled_again(server), recall=0.7).hnsw_ef == 64


def filled_again(server):
    client = retrieval_store.Client(qdrant_client=server)
    return client.get_collection("things", embedding_function=None)


def test_the_recall_of_the_collection_is_the_default(server):
    things = filled(server, recall=0.9)
    assert parameters_of_query(server, things).hnsw_ef == 256
    assert parameters_of_query(server, things, recall=0.5).hnsw_ef == 64
    assert parameters_of_query(server, things, exact=True).exact


def test_measurements_are_shared_until_the_collection_has_doubled(server):
    things = filled(server)
    parameters_of_query(server, things, recall=0.9)
    assert parameters_of_query(server, filled_again(server), recall=0.9).hnsw_ef == 256
    assert server.exact == recall.QUESTIONS
    things.add([f"q{i}" for i in range(COUNT)], vectors(4))
    server.reported_state["indexed_vectors_count"] = 2 * COUNT
    parameters_of_query(server, things, recall=0.9)
    assert server.exact == recall.QUESTIONS  # it isn't looked yet
    parameters_of_query(server, filled_again(server), recall=0.9)
    assert server.exact == 2 * recall.QUESTIONS
    things.modify(configuration={"recall": 0.75})
    assert parameters_of_query(server, filled_again(server)).hnsw_ef == 128
    assert server.exact == 2 * recall.QUESTIONS


def test_an_index_is_not_measured_while_it_is_built(server):
    filled(server)
    for reported in (
        {"status": models.CollectionStatus.YELLOW},
        {"indexed_vectors_count": COUNT // 2 + 1},
        {"indexed_vectors_count": 0},
    ):
        server.reported_state = {**READY, **reported}
        assert (
            parameters_of_query(server, filled_again(server), recall=0.9).hnsw_ef
            and server.exact == 0
        )


def test_collections_replaced_by_others_are_skipped(server):
    stored = {"points": 9, "found": {"10": 3}}
    for other in (stored, {}, {"points": 1}, {"points": "x", "found": {}}, 7, None):
        assert IndexRecall.of({RECALL: other}) is None
    things = filled(server)
    server.update_collection("things", metadata={RECALL: stored})
    assert parameters_of_query(server, things, recall=0.9).hnsw_ef == 256


def test_a_limit_of_the_server_is_respected(server):
    things = filled(server)
    server.update_collection(
        "things",
        strict_mode_config=models.StrictModeConfig(
            enabled=True, search_max_hnsw_ef=128, max_query_limit=20, search_max_batchsize=3
        ),
    )
    assert parameters_of_query(server, things, recall=0.75).hnsw_ef == 128
    assert max(params.hnsw_ef or 0 for params in server.params) == 128
    assert parameters_of_query(server, things, recall=0.95).exact


def test_an_exact_search_that_was_forbidden_later_is_not_requested(server):
    server.missed = dict.fromkeys(recall.CANDIDATES, 2)
    things = filled(server)
    assert parameters_of_query(server, things, recall=0.9).exact
    forbidden = models.StrictModeConfig(enabled=True, search_allow_exact=False)
    server.update_collection("things", strict_mode_config=forbidden)
    assert not parameters_of_query(server, filled_again(server), recall=0.9).exact


def test_one_that_may_not_write_measures_for_itself(server, monkeypatch):
    things = filled(server)

    def refuse(*_, **__):
        raise ValueError("no")

    monkeypatch.setattr(server, "update_collection", refuse, raising=False)
    assert parameters_of_query(server, things, recall=0.9).hnsw_ef == 256
    assert parameters_of_query(server, things, recall=0.9).hnsw_ef == 256
    assert server.exact == recall.QUESTIONS


def test_a_failed_measurement_is_not_repeated_each_minute(server, monkeypatch):
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    set_clock(monkeypatch, "recall on a cluster", clock)
    things, tried = filled(server), []

    def late(collection_name, requests, **kwargs):
        tried.append(any(request.params.exact for request in requests))
        if tried[-1]:
            raise ValueError("too late")
        return Approximate.query_batch_points(server, collection_name, requests, **kwargs)

    monkeypatch.setattr(server, "query_batch_points", late, raising=False)
    for seconds, times in ((0, 1), (2 * recall.AGE, 1), (recall.FAILED_FOR, 2)):
        clock.now += seconds
        assert things.query([[1.0] * DIMENSION], n_results=1, recall=0.9)["ids"]
        assert sum(tried) == times


def test_the_measurement_and_the_sent_parameters_are_shown(server):
    things = filled(server)
    assert things.stats()["recall"] is None
    how = things.explain([[1.0] * DIMENSION], recall=0.9)
    assert how["search"]["hnsw_ef"] == 256
    measured = things.stats()["recall"]
    assert measured["points"] == COUNT
    assert measured["found"]["10"] == {"64": 0.7, "128": 0.8, "256": 0.9, "512": 1.0}


def test_with_a_recall_searches_by_a_filter_go_beyond_neighbours_as_was_measured(server):
    things = filled(server, qdrant={"indexes": {"named": "keyword"}})
    params = parameters_of_query(server, things, where={"named": "x"}, recall=0.75)
    assert params.acorn.enable and params.hnsw_ef == 128
    measured = [params for params in server.params[:-1] if not params.exact]
    assert measured and all(params.acorn.enable for params in measured)
