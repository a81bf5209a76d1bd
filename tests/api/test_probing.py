"""Functions that no name tells apart are told apart by what they make of one text."""

import logging
from collections import Counter

import numpy as np
import pytest

import retrieval_store
from retrieval_store.api.embedder import PROBE
from retrieval_store.errors import ConflictError, LockTimeoutError, ReadOnlyError
from tests.helpers import inside, steps

DIMENSION = 64


class Hashed:
    """A bag of hashed words; another seed is another model of as many numbers."""

    def __init__(self, seed=0, noise=0.0):
        self.seed, self.noise, self.calls = seed, noise, []

    def __call__(self, input):
        self.calls.append(list(input))
        return [self.of(text) for text in input]

    def of(self, text):
        vector = np.zeros(DIMENSION)
        for word, count in Counter(text.lower().split()).items():
            numbers = np.random.default_rng([self.seed, *word.encode()])
            vector += count * numbers.standard_normal(DIMENSION)
        other = np.random.default_rng(99).standard_normal(DIMENSION)
        return vector + self.noise * np.linalg.norm(vector) / np.linalg.norm(other) * other

    def probes(self):
        return self.calls.count([PROBE])


def filled(client, function, **given):
    things = client.create_collection("things", embedding_function=function, **given)
    things.add(["a", "b"], documents=["a boat on the sea", "bread and butter"])
    return things


def test_another_function_of_as_many_numbers_is_refused_when_it_embeds(client):
    filled(client, Hashed())
    other = Hashed(1)
    things = client.get_collection("things", embedding_function=other)
    assert other.calls == []  # opening embeds nothing
    for use in (
        lambda: things.query(query_texts="a ship"),
        lambda: things.add("c", documents="a ship"),
        lambda: things.upsert("a", documents="a ship"),
        lambda: things.update("a", documents="a ship"),
    ):
        with pytest.raises(ConflictError, match=r"isn't the one .* cosine -?0\.\d\d.*check_model"):
            use()
    assert things.get()["documents"] == ["a boat on the sea", "bread and butter"]
    assert things.query(query_embeddings=[other.of("x")])["ids"]  # of no function


def test_check_model_lets_it_through(client):
    filled(client, Hashed())
    other = Hashed(1)
    things = client.get_collection("things", embedding_function=other, check_model=False)
    things.add("c", documents="a ship")
    assert things.query(query_texts="a ship", n_results=1)["ids"] == [["c"]]
    assert other.probes() == 0


def test_the_same_function_is_asked_once_and_only_when_something_is_embedded(client):
    first = Hashed()
    things = filled(client, first)
    things.add("c", documents="one more")
    things.query(query_texts="a boat")
    assert first.probes() == 1
    again = Hashed(noise=0.1)  # a cosine above .99
    things = client.get_collection("things", embedding_function=again)
    things.get()
    things.add("d", embeddings=[first.of("x")])
    assert again.calls == []
    for _ in range(3):
        assert things.query(query_texts="a boat", n_results=1)["ids"] == [["a"]]
    assert again.probes() == 1


def test_what_is_remembered_is_no_part_of_the_configuration_and_survives(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = filled(client, Hashed())
        assert set(things.configuration["embedding_function"]) == {"custom", "module"}
        things.modify(name="renamed", metadata={"a": 1})
    with (
        retrieval_store.Client(tmp_path) as client,
        pytest.raises(ConflictError, match="isn't the one"),
    ):
        client.get_collection("renamed", embedding_function=Hashed(1)).query(query_texts="x y")
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        things = client.get_collection("renamed", embedding_function=Hashed(1))
        with pytest.raises(ConflictError, match="isn't the one"):
            things.query(query_texts="a boat")
        same = client.get_collection("renamed", embedding_function=Hashed())
        assert same.query(query_texts="a boat", n_results=1)["ids"] == [["a"]]
        with pytest.raises(ReadOnlyError):
            same.add("c", documents="a ship")


def test_a_collection_that_is_empty_takes_any_function_and_remembers_the_last(client):
    things = filled(client, Hashed())
    things.delete(["a", "b"])
    other = client.get_collection("things", embedding_function=Hashed(1))
    other.add("c", documents="a ship")
    with pytest.raises(ConflictError):
        client.get_collection("things", embedding_function=Hashed()).query(query_texts="a ship")
    client.get_collection("things", embedding_function=Hashed(1)).query(query_texts="a ship")


def test_what_is_empty_answers_any_function_also_where_nothing_can_be_written(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        filled(client, Hashed()).delete(["a", "b"])
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        other = client.get_collection("things", embedding_function=Hashed(1))
        assert other.query(query_texts="a ship")["ids"] == [[]]
    with retrieval_store.Client(tmp_path) as client:
        client.get_collection("things", embedding_function=Hashed(1)).query(query_texts="a ship")
        things = client.get_collection("things", embedding_function=Hashed())
        things.add("c", documents="a ship")  # a query has changed nothing
        things.query(query_texts="a ship")


def test_a_write_that_is_done_is_no_error_when_its_function_cannot_be_remembered(
    client, monkeypatch, caplog
):
    things = client.create_collection("things", embedding_function=Hashed())

    with monkeypatch.context() as patched:
        steps.fail(patched, "change_record", LockTimeoutError("the catalog was locked"))
        things.add("a", documents="a boat")
    assert "couldn't be remembered: the catalog was locked" in caplog.text
    things.add("b", documents="a ship")
    with pytest.raises(ConflictError):
        client.get_collection("things", embedding_function=Hashed(1)).query(query_texts="a boat")


def test_queries_alone_are_no_reason_to_remember_a_function(client):
    things = client.create_collection("things", embedding_function=Hashed())
    things.add(["a"], embeddings=[Hashed().of("a boat")])
    client.get_collection("things", embedding_function=Hashed(1)).query(query_texts="a boat")
    things.add("b", documents="a ship")  # it isn't the other one's
    with pytest.raises(ConflictError):
        client.get_collection("things", embedding_function=Hashed(1)).query(query_texts="a boat")


@pytest.mark.parametrize("kind", ["random", "fails", "images", "zeros"])
def test_functions_of_which_a_probe_tells_nothing_are_taken(client, kind):
    numbers = np.random.default_rng(5)

    def function(input):
        if kind == "fails" and PROBE in input:
            raise ValueError("I don't like foxes")
        if kind == "images" and isinstance(input[0], str):
            raise TypeError("images, please")
        if kind == "random":
            return numbers.standard_normal((len(input), 8))
        return np.zeros((len(input), 8)) if kind == "zeros" else np.ones((len(input), 8))

    def use(things, identity):
        pictures = {"images": [np.zeros((2, 2, 3), np.uint8)]} if kind == "images" else None
        things.add(identity, **(pictures or {"documents": ["a text"]}))

    use(client.create_collection("things", embedding_function=function), "a")
    again = client.get_collection("things", embedding_function=function)
    use(again, "b")
    assert again.count() == 2


def test_another_name_or_module_alone_is_only_warned_of(client, caplog):
    filled(client, Hashed())

    class Renamed(Hashed):
        pass

    with caplog.at_level(logging.WARNING, "retrieval_store"):
        client.get_collection("things", embedding_function=Hashed())
        assert not caplog.records
        moved = type("Hashed", (Hashed,), {"__module__": "elsewhere", "__qualname__": "Hashed"})
        for function, said in ((Renamed(), "Renamed'"), (moved(), "'elsewhere'")):
            caplog.clear()
            things = client.get_collection("things", embedding_function=function)
            (record,) = caplog.records
            assert "created with the embedding function 'Hashed'" in record.getMessage()
            assert said in record.getMessage()
            assert things.query(query_texts="a boat", n_results=1)["ids"] == [["a"]]


@pytest.mark.parametrize("probe", ["no base64!", 5, "", "AAAAAA", "AHwAfA=="])
def test_what_is_no_vector_in_a_store_from_elsewhere_is_passed_over(tmp_path, probe):
    with retrieval_store.Client(tmp_path) as client:
        things = filled(client, Hashed())
        record = inside.backend(things).record()
        record.settings["embedding_function"]["probe"] = probe
        inside.backend(things).change(lambda _: record)
        again = client.get_collection("things", embedding_function=Hashed(1))
        assert again.query(query_texts="a boat")["ids"]
        again.add("c", documents="a ship")
