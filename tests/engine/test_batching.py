"""Queries of several threads that are answered together: each result is as if alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import ClientClosedError, InvalidArgumentError
from tests.helpers import inside
from tests.helpers.indexed import until
from tests.helpers.oracle import brute_force
from tests.helpers.tuned import tuned

COUNT, DIMENSION = 300, 8
VECTORS = np.random.default_rng(0).normal(size=(COUNT, DIMENSION)).astype(np.float32)


@pytest.fixture
def on_disk(tmp_path):
    """A client of a store where several threads read at once; a store in memory has one
    connection."""
    with retrieval_store.Client(tmp_path) as opened:
        yield opened


@pytest.fixture
def things(monkeypatch, on_disk):
    """A collection whose queries one thread answers at a time, while others wait long."""
    tuned(monkeypatch, query_seats=1, longest_wait=30.0)
    collection = on_disk.create_collection("things", embedding_function=None)
    collection.add(
        ids=[f"p{i}" for i in range(COUNT)],
        embeddings=VECTORS,
        documents=[f"document {i}" for i in range(COUNT)],
        metadatas=[{"n": i} for i in range(COUNT)],
    )
    collection.query(query_embeddings=VECTORS[0])
    return collection


class Held:
    """Delays the first query until this many others wait; records the sizes of batches."""

    def __init__(self, patch, things):
        self.sizes, self.wanted, self._things = [], 0, things
        self.reached = threading.Event()
        inside.around_answers(patch, things, self._answer)

    def _answer(self, step, view, question, *trace):
        self.sizes.append(len(question.steps))
        if len(self.sizes) == 1:
            self.reached.set()
            until(lambda: inside.waiting(self._things) >= self.wanted, "nobody waits")
        return step(view, question, *trace)

    def ask(self, *questions):
        """The results of these queries, in their order. The first one runs while all others
        arrive."""
        self.wanted, self.sizes[:] = len(questions) - 1, []
        self.reached.clear()
        with ThreadPoolExecutor(len(questions)) as pool:
            answers = []
            for place, question in enumerate(questions):
                answers.append(pool.submit(lambda q=question: self._things.query(**q)))
                if place == 0:
                    assert self.reached.wait(60)
                elif place < self.wanted:  # with the last of them the first is answered
                    until(lambda n=place: inside.waiting(self._things) >= n, "it doesn't wait")
        return answers


def near(number, **more):
    return {"query_embeddings": VECTORS[number] + np.float32(0.01), **more}


VARIED = [
    near(3),
    near(4, n_results=3),
    near(5, n_results=3),
    near(6, where={"n": {"$lt": 100}}),
    near(7, where={"n": {"$lt": 100}}, offset=2),
    near(8, max_distance=4.0),
    near(9, exact=True),
    near(10, where={"n": -1}),
]


def test_each_query_gets_the_result_it_gets_alone(things, monkeypatch):
    alone = [things.query(**question) for question in VARIED]
    held = Held(monkeypatch, things)
    answers = [answer.result() for answer in held.ask(near(0), *VARIED)]
    assert held.sizes == [1, len(VARIED)]
    assert answers[1:] == alone
    truth = brute_force(VARIED[0]["query_embeddings"], VECTORS, "l2")
    assert answers[1]["ids"] == [[f"p{i}" for i in np.argsort(truth, kind="stable")[:10]]]


def test_not_more_than_sixteen_are_answered_at_once_and_those_with_other_fields_after_them(
    things, monkeypatch
):
    held = Held(monkeypatch, things)
    questions = [near(i) for i in range(1, 19)]
    answers = held.ask(near(0), *questions)
    assert held.sizes == [1, 16, 2]
    assert [one.result()["ids"][0][0] for one in answers[1:]] == [f"p{i}" for i in range(1, 19)]
    documents = [near(1), near(2, include=["documents"]), near(3, include=["documents"])]
    answers = held.ask(near(0), *documents)
    assert held.sizes == [1, 1, 2]
    assert answers[1].result()["distances"] and answers[2].result()["distances"] is None


def test_queries_that_cannot_be_batched_do_not_wait(things, monkeypatch):
    held = Held(monkeypatch, things)
    held.wanted = 1_000
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: things.query(**near(0)))
        assert held.reached.wait(60)
        began = time.monotonic()
        things.query(query_embeddings=VECTORS[:2])
        things.query(query_texts="document", mode="text")
        things.query(**near(1), group_by="n")
        things.explain(**near(1))
        assert time.monotonic() - began < 30
        held.wanted = 0
        first.result()


def test_a_query_that_fails_fails_alone(things, monkeypatch):
    held = Held(monkeypatch, things)
    wrong = {"query_embeddings": np.zeros(DIMENSION + 1, np.float32)}
    good, bad, last = held.ask(near(0), near(1), wrong, near(2))[1:]
    assert good.result()["ids"][0][0] == "p1" and last.result()["ids"][0][0] == "p2"
    with pytest.raises(InvalidArgumentError, match="9 numbers"):
        bad.result()
    assert held.sizes[:2] == [1, 3] and sorted(held.sizes[2:]) == [1, 1, 1]


def test_each_query_sees_all_writes_before_it(things):
    wrong = []

    def write_and_ask(seed):
        random = np.random.default_rng(seed)
        for number in range(30):
            vector = 5 + random.normal(size=DIMENSION).astype(np.float32)
            things.upsert(ids=[f"own-{seed}"], embeddings=vector, metadatas=[{"n": number}])
            found = things.query(query_embeddings=vector, n_results=1)
            if found["ids"] != [[f"own-{seed}"]] or found["metadatas"] != [[{"n": number}]]:
                wrong.append((seed, number, found))

    threads = [threading.Thread(target=write_and_ask, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nobody_waits_longer_than_the_timeout(monkeypatch, on_disk):
    tuned(monkeypatch, query_seats=1, longest_wait=0.05)
    collection = on_disk.create_collection("things", embedding_function=None)
    collection.add(ids=["a"], embeddings=[[1.0] * DIMENSION])
    collection.query(query_embeddings=VECTORS[0])
    held = Held(monkeypatch, collection)
    held.wanted = 1_000
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: collection.query(query_embeddings=VECTORS[0]))
        assert held.reached.wait(60)
        began = time.monotonic()
        for _ in range(3):  # only the first of them waits: who was in line has come by itself
            assert collection.query(query_embeddings=VECTORS[1])["ids"] == [["a"]]
        assert time.monotonic() - began > 0.05
        held.wanted = 0
        first.result()


def test_all_waiting_calls_learn_that_the_client_was_closed(on_disk, things):
    errors = []

    def ask():
        try:
            while True:
                things.query(query_embeddings=VECTORS[0])
        except ClientClosedError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    on_disk.close()
    for thread in threads:
        thread.join(60)
    assert len(errors) == 6
