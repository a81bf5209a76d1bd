"""Points on a cluster are listed once each, in the order of first insertion, whatever the clocks
were."""

import gc
import threading
from contextlib import closing, contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_store
from tests.helpers import PATIENCE
from tests.helpers.clocks import Standing, set_clock
from tests.helpers.qdrant_server import Server
from tests.helpers.tuned import tuned

NOW = 1_790_000_000_000_000  # in microseconds


@contextmanager
def clock_at(microseconds):
    with pytest.MonkeyPatch.context() as patch:
        set_clock(patch, "versions on a cluster", Standing(microseconds * 1_000))
        yield


def written(server, writers):
    """A collection with the points of several writers. Each is a client with its own clock, stopped
    at a number of microseconds. Also returns the ids by the numbers that they must have."""
    numbered = []
    for number, (clock, count) in enumerate(writers):
        ids = [f"{number}-{i}" for i in range(count)]
        with closing(server.client()) as qdrant, clock_at(NOW + clock):
            client = retrieval_store.Client(qdrant_client=qdrant)
            things = client.get_or_create_collection("things", embedding_function=None)
            things.add(
                ids=ids,
                embeddings=np.full((count, 1), number),
                metadatas=[{"even": i % 2 == 0, "writer": number} for i in range(count)],
            )
        numbered += [(clock + i, one) for i, one in enumerate(ids)]
    return numbered


def in_order(ids, numbered):
    """Whether the ids come in the order of their numbers, those of one number in any order."""
    number = {one: at for at, one in numbered}
    numbers = [number[one] for one in ids]
    return numbers == sorted(numbers)


def paged(things, size, **wanted):
    ids, offset = [], 0
    while page := things.get(limit=size, offset=offset, include=[], **wanted)["ids"]:
        ids += page
        offset += size
    return ids


writers = st.lists(st.tuples(st.integers(0, 1_200), st.integers(1, 350)), min_size=1, max_size=6)


@settings(max_examples=4)
@given(writers, st.sampled_from([7, 100, 1_000]), st.integers(1, 3), st.integers(0, 99))
def test_get_returns_each_point_once_for_any_clocks(writers, page, shards, seed):
    server = Server(shards=shards, seed=seed)
    numbered = written(server, writers)
    with closing(server.client()) as qdrant, pytest.MonkeyPatch.context() as patch:
        tuned(patch, cluster_page=page)
        things = retrieval_store.Client(qdrant_client=qdrant).get_collection("things")
        everything = things.get(include=[])["ids"]
        assert sorted(everything) == sorted(one for _, one in numbered)
        assert in_order(everything, numbered)
        assert paged(things, 173) == everything
        assert paged(things, 173, where={"even": True}) == [
            one for one in everything if int(one.split("-")[1]) % 2 == 0
        ]
        last = len(writers) - 1
        deleted = things.delete(where={"writer": last})["deleted"]
        assert deleted == writers[last][1]
        assert things.get(include=[])["ids"] == [
            one for one in everything if not one.startswith(f"{last}-")
        ]
    server.close()


def test_a_page_far_behind_is_not_reached_through_all_before_it():
    server = Server()
    numbered = written(server, [(clock, 400) for clock in (0, 50_000, 50_400, 900_000, 900_400)])
    with closing(server.client()) as qdrant:
        things = retrieval_store.Client(qdrant_client=qdrant).get_collection("things")
        ids = [one for _, one in numbered]
        server.requests.clear()
        assert things.get(limit=20, offset=1_700, include=[])["ids"] == ids[1_700:1_720]
        assert len(server.requests) < 40
        for offset in (1_720, 1_740, 1_760):
            server.requests.clear()
            found = things.get(limit=20, offset=offset, include=[])["ids"]
            assert found == ids[offset : offset + 20]
            assert len(server.requests) <= 2  # a count and a page
        assert things.get(limit=20, offset=1_990, include=[])["ids"] == ids[1_990:]
        assert things.get(limit=20, offset=2_000, include=[])["ids"] == []
        things.delete(ids=ids[:100])
        assert things.get(limit=5, offset=1_600, include=[])["ids"] == ids[1_700:1_705]
    server.close()


def test_an_iterator_may_be_collected_in_the_thread_that_reads_ahead_for_it():
    dropped, collected = threading.Event(), threading.Event()

    def collect(number, method, path):
        if threading.current_thread().name.startswith("retrieval-store-reading"):
            dropped.wait(PATIENCE)
            gc.collect()
            collected.set()

    with closing(Server()) as server, closing(server.client()) as qdrant:
        client = retrieval_store.Client(qdrant_client=qdrant)
        things = client.create_collection("things", embedding_function=None)
        ids = [f"p{i}" for i in range(5_000)]
        things.add(ids=ids, embeddings=np.ones((5_000, 1)))
        circle = [things.iterate(batch=100)]
        circle.append(circle)
        server.faults = collect
        assert next(circle[0])["id"] == "p0"
        del circle
        dropped.set()
        assert collected.wait(PATIENCE)


@pytest.mark.parametrize(
    ("shift", "place"),  # of the numbers of one writer against the next
    [(0, 6), (0, 58), (5, 7), (5, 23), (20, 0), (20, 41)],
)
def test_iteration_continues_after_a_record_despite_deletions_before_it(shift, place):
    server = Server(seed=3)
    written(server, [(shift * number, 20) for number in range(3)])
    with closing(server.client()) as qdrant:
        things = retrieval_store.Client(qdrant_client=qdrant).get_collection("things")
        whole = [record["id"] for record in things.iterate(batch=7)]
        assert len(whole) == 60
        rest = things.iterate(batch=7, after=whole[place])
        if gone := whole[:place:3]:
            things.delete(gone)
        assert [record["id"] for record in rest] == whole[place + 1 :]
    server.close()


def test_more_points_of_one_number_than_a_page_has_are_all_listed():
    server = Server(shards=3, seed=1)
    numbered = written(server, [(0, 1)] * 40)
    with closing(server.client()) as qdrant, pytest.MonkeyPatch.context() as patch:
        tuned(patch, cluster_page=7)
        things = retrieval_store.Client(qdrant_client=qdrant).get_collection("things")
        found = things.get(include=[])["ids"]
        assert sorted(found) == sorted(one for _, one in numbered)
        assert things.get(include=[])["ids"] == found  # in one order, though equal
        assert paged(things, 3) == found
    server.close()
