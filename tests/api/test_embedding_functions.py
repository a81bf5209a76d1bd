"""Embedding functions: the default, custom ones, stored ones, and data loaders."""

import importlib.util
import subprocess
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pandas as pd
import pytest

import retrieval_store
from retrieval_store import Knn, Search, plugins
from retrieval_store.embeddings.wordllama import WordLlamaEmbedding
from retrieval_store.errors import (
    ConflictError,
    DimensionMismatchError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidTypeError,
    MissingDependencyError,
    PluginError,
)
from tests.helpers import inside, models, steps
from tests.helpers.circumstances import install_plugins


class Lengths:
    """Embeds a text as its length and an image as its mean; records its calls."""

    def __init__(self, factor=1):
        self.factor = factor
        self.calls = []

    def __call__(self, input):
        self.calls.append(list(input))
        return [
            [self.factor * (len(x) if isinstance(x, str) else float(np.mean(x)))] for x in input
        ]

    def settings(self):
        return {"factor": self.factor}


class Asymmetric(Lengths):
    """Embeds queries and documents differently."""

    def embed_query(self, input):
        return [[-1.0] for _ in input]


@pytest.fixture
def registered(monkeypatch):
    """`Lengths`, registered as "lengths" by a package, and broken plugins."""
    group = plugins.EMBEDDING_FUNCTIONS
    lengths = EntryPoint("lengths", f"{Lengths.__module__}:Lengths", group)
    broken = EntryPoint("broken", "no_such_module_at_all:Thing", group)
    install_plugins(monkeypatch, lengths=lengths, broken=broken)


def test_texts_are_embedded_by_default_without_any_download(client):
    animals = client.create_collection("animals", configuration={"hnsw": {"space": "cosine"}})
    texts = ["a kitten purrs on the sofa", "shares fell on the stock market"]
    animals.add(ids=["cat", "money"], documents=texts)
    found = animals.query(query_texts=["the cat is sleeping", "investors lose money"], n_results=1)
    assert found["ids"] == [["cat"], ["money"]]
    vectors = animals.get(include=["embeddings"])["embeddings"]
    assert vectors.shape == (2, 256)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-5)
    remembered = animals.configuration["embedding_function"]
    assert remembered == {"name": "wordllama", "settings": {"dimensions": 256}}


class Text(str):
    """A subclass of str, as readers of files return."""


@pytest.mark.parametrize(
    "passed",
    [
        tuple,
        np.array,
        pd.Series,
        lambda texts: map(Text, texts),
        lambda texts: dict.fromkeys(texts).keys(),
    ],
    ids=["tuple", "array", "column", "iterator", "keys"],
)
def test_an_embedding_function_always_gets_a_list_of_plain_strings(client, passed):
    seen = []

    def embed(input):
        seen.append(input)
        return [[1.0, 2.0] for _ in input]

    notes = client.create_collection("notes", embedding_function=embed)
    notes.add(ids=["a", "b"], documents=passed(["one", "two"]))
    notes.query(query_texts=np.array(["one", "two"]))
    notes.query(query_texts=Text("one"))
    notes.search(Search().rank(Knn(Text("one"))))
    assert {type(each) for each in seen} == {list}
    assert {type(text) for each in seen for text in each} == {str}
    assert ["one", "two"] in seen
    assert {type(text) for text in notes.get()["documents"]} == {str}


def test_the_default_may_be_smaller_and_refuses_what_is_no_text():
    assert WordLlamaEmbedding(64)(["hello"]).shape == (1, 64)
    with pytest.raises(ValueError, match=r"dimensions is 100 \(int\), expected one of"):
        WordLlamaEmbedding(100)
    with pytest.raises(TypeError, match=r"input\[0\] is of type int"):
        WordLlamaEmbedding()([5])


def test_without_the_default_installed_the_error_says_what_to_install(client, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "wordllama" else find_spec(name)
    )
    models.forget_wordllama(monkeypatch)  # it was read by another test
    things = client.create_collection("things")  # fails only when something must be embedded
    things.add(ids="a", embeddings=[1])
    with pytest.raises(MissingDependencyError, match=r'pip install "retrieval-store\[standard\]"'):
        things.add(ids="b", documents="text")
    assert things.count() == 1


def test_without_an_embedding_function_the_error_says_how_to_pass_one(client):
    things = client.create_collection("things", embedding_function=None)
    for use in (
        lambda: things.add(ids="a", documents="text"),
        lambda: things.query(query_texts="text"),
    ):
        with pytest.raises(EmbeddingFunctionError, match="embedding_function= when you create"):
            use()
    assert things.count() == 0
    assert things.configuration["embedding_function"] is None
    lengths = Lengths()
    client.get_collection("things", embedding_function=lengths).add(ids="a", documents="text")
    assert things.get(include=["embeddings"])["embeddings"].tolist() == [[4]]


@pytest.mark.parametrize("function", [3, b"wordllama", Lengths])
def test_uncallable_functions_are_refused_before_anything_is_created(client, function):
    for create in (client.create_collection, client.get_or_create_collection):
        with pytest.raises(TypeError, match="embedding_function is .*expected a callable|instance"):
            create("things", embedding_function=function)
        with pytest.raises(TypeError, match="data_loader is"):
            create("things", data_loader=function)
    assert client.count_collections() == 0
    client.create_collection("things", embedding_function=None)
    with pytest.raises(TypeError, match="embedding_function is"):
        client.get_collection("things", embedding_function=function)


@retrieval_store.register_embedding_function("needy")
class Needy(Lengths):
    def __init__(self, model, *, host):
        pass

    def settings(self):
        return {}


@retrieval_store.register_embedding_function("unwilling")
class Unwilling(Needy):
    def __init__(self, **_):
        raise RuntimeError("no licence")


def test_an_embedding_function_may_be_given_by_its_name(client):
    want = {"name": "wordllama", "settings": {"dimensions": 256}}
    for make in (client.create_collection, client.get_or_create_collection, client.get_collection):
        things = make("things", embedding_function="wordllama")
        assert things.configuration["embedding_function"] == want
    again = client.get_collection_by_id(things.id, embedding_function="wordllama")
    again.add(ids=["a", "b"], documents=["a kitten", "a tax"])
    assert again.query(query_texts="cat", n_results=1)["ids"] == [["a"]]
    none = client.create_collection("none", embedding_function=None)
    none.add(ids="a", embeddings=WordLlamaEmbedding()(["a kitten"]))
    given = client.get_collection("none", embedding_function="wordllama")
    assert given.query(query_texts="a kitten")["distances"][0][0] == pytest.approx(0, abs=1e-4)


def test_an_unusable_name_is_refused_before_anything_is_created(client):
    for name, message in [
        ("wordlama", "embedding_function is 'wordlama'; there are .* minilm, .* wordllama"),
        ("", "embedding_function is ''; there are"),
        ("onnx", "embedding_function is 'onnx', but OnnxEmbedding can't be made without model:"),
        ("needy", "Needy can't be made without model and host: make one, and pass it"),
        ("unwilling", "Unwilling can't be made: no licence"),
    ]:
        for create in (client.create_collection, client.get_or_create_collection):
            with pytest.raises(InvalidArgumentError, match=message):
                create("things", embedding_function=name)
        assert client.count_collections() == 0


def test_the_default_leaves_the_logging_of_the_application_alone():
    code = """
import logging, retrieval_store
things = retrieval_store.Client().create_collection("things")
things.add(ids="a", documents="text")
print(logging.getLogger().handlers, logging.getLogger().level)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] 30\n"


def test_updated_documents_are_embedded_again_and_embeddings_alone_keep_them(client):
    lengths = Lengths()
    things = client.create_collection("things", embedding_function=lengths)
    things.add(ids=["a", "b"], documents=["x", "xx"], metadatas=[{"k": 1}, {"k": 2}])
    things.update(ids=["a", "b"], documents=["xxx", None], metadatas=[None, {"k": 3}])
    things.upsert(ids=["b", "c"], documents=["xxxx", "y"])
    things.update(ids="c", embeddings=[9])
    assert lengths.calls == [["x", "xx"], ["xxx"], ["xxxx", "y"]]
    got = things.get(include=["embeddings", "documents", "metadatas"])
    assert got["documents"] == ["xxx", "xxxx", "y"]
    assert got["embeddings"].tolist() == [[3], [4], [9]]
    assert got["metadatas"] == [{"k": 1}, {"k": 3}, None]


def test_an_id_without_anything_to_embed_is_named(client):
    things = client.create_collection("things", embedding_function=Lengths())
    with pytest.raises(InvalidArgumentError, match="id 'b' has no embedding, document"):
        things.add(ids=["a", "b"], documents=["x", None])
    assert things.count() == 0


def test_queries_may_be_embedded_in_another_way(client):
    things = client.create_collection("things", embedding_function=Asymmetric())
    things.add(ids="a", documents="xxx")
    assert things.query(query_texts="xxx")["distances"] == [[16.0]]


def test_a_function_may_declare_its_batch_size(client):
    lengths = Lengths()
    lengths.inputs_per_call = 1_000
    things = client.create_collection("things", embedding_function=lengths)
    things.add(ids=[str(i) for i in range(1_300)], documents=["x"] * 1_300)
    assert [len(call) for call in lengths.calls] == [1_000, 300]
    for odd in (0, -1, True, "many", None):
        lengths.calls.clear()
        lengths.inputs_per_call = odd
        things.update(ids=[str(i) for i in range(600)], documents=["x"] * 600)
        assert [len(call) for call in lengths.calls] == [512, 88]


def test_queries_are_embedded_in_batches_of_the_functions_size(client):
    asymmetric, counts = Asymmetric(), []
    asymmetric.inputs_per_call = 3
    ask = asymmetric.embed_query
    asymmetric.embed_query = lambda texts: counts.append(len(texts)) or ask(texts)
    things = client.create_collection("things", embedding_function=asymmetric)
    things.add(ids="a", documents="xxx")
    things.query(query_texts=["xxx"] * 8)
    assert counts == [3, 3, 2]


def test_long_work_is_done_in_batches_with_a_bar(client, terminal, capfd):
    lengths = Lengths()
    things = client.create_collection("things", embedding_function=lengths)
    ids = [str(i) for i in range(1_300)]
    things.add(ids=ids, documents=["x" * (1 + i % 7) for i in range(1_300)], show_progress=True)
    assert [len(call) for call in lengths.calls] == [512, 512, 276]
    assert "1300/1300" in capfd.readouterr().err
    things.update(ids=ids[:3], documents=["a", "b", "c"])
    assert capfd.readouterr().err == ""
    assert things.query(query_texts="x" * 6, n_results=1)["documents"] == [["x" * 6]]


def fails_in_the_second_batch(input):
    if input[0] != "0":
        raise ConnectionError("the model went away")
    return [[1.0]] * len(input)


def test_a_failing_batch_writes_nothing_and_raises_its_own_error(client):
    things = client.create_collection("things", embedding_function=fails_in_the_second_batch)
    texts = [str(i) for i in range(600)]
    with pytest.raises(ConnectionError, match="went away"):
        things.add(ids=texts, documents=texts)
    assert things.count() == 0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda input: [[1.0]] * (len(input) + 1), "returned 601|returned 513"),
        (lambda input: [[float("nan")]] * len(input), "finite"),
        (lambda input: "vectors", "expected vectors of numbers"),
        (lambda input: None, "result"),
        (lambda input: [[1.0] * (len(input) % 500)] * len(input), "88 numbers after vectors of 12"),
    ],
)
def test_the_results_of_an_embedding_function_are_checked(client, function, message):
    things = client.create_collection("things", embedding_function=function)
    texts = [str(i) for i in range(600)]
    with pytest.raises(EmbeddingFunctionError, match=message):
        things.add(ids=texts, documents=texts)
    assert things.count() == 0


def test_a_function_may_use_one_buffer_again_and_again(client):
    buffer = np.empty((512, 1), np.float32)

    def reused(input):
        buffer[: len(input), 0] = [float(text) for text in input]
        return buffer[: len(input)]

    things = client.create_collection("things", embedding_function=reused)
    texts = [str(i) for i in range(1_000)]
    things.add(ids=texts, documents=texts)
    got = things.get(include=["embeddings"])["embeddings"]
    assert got[:, 0].tolist() == list(range(1_000))


# what a collection remembers


def test_a_registered_function_is_created_again_when_the_collection_is_opened(tmp_path, registered):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=Lengths(3))
        things.add(ids="a", documents="xx")
        assert things.configuration["embedding_function"] == {
            "name": "lengths",
            "settings": {"factor": 3},
        }
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        things.add(ids="b", documents="xxx")
        assert things.get(include=["embeddings"])["embeddings"].tolist() == [[6], [9]]
        (listed,) = client.list_collections()
        assert listed.query(query_texts="xxx", n_results=1)["ids"] == [["b"]]


def test_another_function_than_the_remembered_one_is_a_conflict_that_names_both(client, registered):
    client.create_collection("things", embedding_function=Lengths(3))
    client.get_collection("things", embedding_function=Lengths(3))
    client.get_collection("things", embedding_function=None)
    for other in (Lengths(4), WordLlamaEmbedding(), fails_in_the_second_batch):
        with pytest.raises(
            ConflictError, match="'lengths' with {'factor': 3}, but embedding_function is"
        ):
            client.get_collection("things", embedding_function=other)
        with pytest.raises(ConflictError):
            client.get_or_create_collection("things", embedding_function=other)


def test_a_function_that_is_not_registered_must_be_passed_again_when_it_is_needed(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("things", embedding_function=Lengths()).add("a", documents="x")
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        assert things.get()["documents"] == ["x"]
        assert things.query(query_embeddings=[1])["ids"] == [["a"]]
        with pytest.raises(EmbeddingFunctionError, match="'Lengths', which isn't registered"):
            things.query(query_texts="x")
        again = client.get_collection("things", embedding_function=Lengths())
        assert again.query(query_texts="x")["ids"] == [["a"]]
        with pytest.raises(ConflictError, match="'Lengths', but"):
            client.get_collection("things", embedding_function=WordLlamaEmbedding())


def test_stored_names_load_only_installed_plugins(tmp_path, registered, monkeypatch):
    for name, message in (
        ("gone", "no plugin 'gone' is registered"),
        ("broken", "can't be loaded"),
    ):
        with retrieval_store.Client(tmp_path / name) as client:
            spec = {"name": name, "settings": {}}
            steps.replace(monkeypatch, "remember_function", lambda _, spec=spec: spec)
            things = client.create_collection("things")
            things.add(ids="a", embeddings=[1])
            with pytest.raises(PluginError, match=message):
                things.query(query_texts="x")
            assert things.count() == 1


# images and uris


def load(uris):
    """The number at the end of each uri, as a picture; never called with None."""
    return [np.full((2, 2), float(uri.rpartition("/")[2])) for uri in uris]


@pytest.fixture
def pictures(client):
    return client.create_collection("pictures", embedding_function=Lengths(), data_loader=load)


def test_invalid_pictures_are_refused_and_uris_are_named(client):
    things = client.create_collection("things", embedding_function=Lengths())
    for images in [["pics/r.png"], [b"x"], [object()], [["a", "b"]]]:
        with pytest.raises(
            InvalidTypeError, match=r"images\[0\] is .*pass image locations as uris"
        ):
            things.add(ids="a", images=images)
        with pytest.raises(
            InvalidTypeError, match=r"query_images\[0\] is .*pass image locations as uris"
        ):
            things.query(query_images=images)
        assert things.count() == 0


def test_texts_images_and_uris_live_in_one_collection(pictures):
    pictures.add(ids="text", documents="xxx")
    pictures.add(ids=["image", "other"], images=[np.full((2, 2), 10.0), np.full((4, 4), 20.0)])
    pictures.add(ids="uri", uris="mem:/30")
    pictures.add(ids="own vector", uris="mem:/31", embeddings=[99])
    got = pictures.get(include=["embeddings", "uris", "documents", "data"])
    assert got["embeddings"].tolist() == [[3], [10], [20], [30], [99]]
    assert got["uris"] == [None, None, None, "mem:/30", "mem:/31"]
    assert got["documents"] == ["xxx", None, None, None, None]
    assert [None if d is None else d.mean() for d in got["data"]] == [None, None, None, 30, 31]
    assert pictures.query(query_images=np.full((2, 2), 19.0), n_results=1)["ids"] == [["other"]]
    by_uri = pictures.query(query_uris="mem:/29", n_results=1, include=["data", "uris"])
    assert (by_uri["ids"], by_uri["uris"]) == ([["uri"]], [["mem:/30"]])
    assert by_uri["data"][0][0].mean() == 30


def test_new_embeddings_replace_those_of_other_modalities(pictures):
    pictures.add(ids=["a", "b"], documents=["x", "y"])
    pictures.update(ids="a", uris="mem:/5")
    pictures.update(ids="b", images=[np.full((2, 2), 6.0)])
    got = pictures.get(include=["documents", "uris", "embeddings"])
    assert got["documents"] == [None, None]
    assert got["uris"] == ["mem:/5", None]
    assert got["embeddings"].tolist() == [[5], [6]]
    pictures.update(ids="a", documents="xx")
    assert pictures.get("a", include=["documents", "uris"])["uris"] == [None]


def test_two_modalities_for_one_id_without_embeddings_are_refused(pictures, client):
    with pytest.raises(InvalidArgumentError, match="id 'a' has more than one"):
        pictures.add(ids="a", documents="x", uris="mem:/1")
    without = client.create_collection("without", embedding_function=Lengths())
    with pytest.raises(InvalidArgumentError, match="data_loader="):
        without.add(ids="a", uris="mem:/1")
    with pytest.raises(InvalidArgumentError, match="data_loader="):
        without.query(query_uris="mem:/1")
    short = client.create_collection(
        "short", embedding_function=Lengths(), data_loader=lambda _: []
    )
    with pytest.raises(InvalidArgumentError, match="returned 0 items for 1 uris"):
        short.add(ids="a", uris="mem:/1")
    assert pictures.count() == without.count() == short.count() == 0


@pytest.mark.parametrize("vector", [[1.0, 2.0], np.ones(2)], ids=repr)
def test_one_flat_vector_of_chromas_base_class_is_that_of_one_text(client, vector):
    class Flat(retrieval_store.EmbeddingFunction[list[str]]):
        def __call__(self, input):
            return vector

    (made,) = Flat()(["text"])
    assert (made.dtype, made.shape) == (np.float32, (2,))
    things = client.create_collection("things", embedding_function=Flat())
    things.add(ids=["a"], documents=["text"])
    assert np.array_equal(things.get(include=["embeddings"])["embeddings"], [np.array(vector)])
    with pytest.raises(EmbeddingFunctionError, match="returned 1 vectors for 2 inputs"):
        things.add(ids=["b", "c"], documents=["text", "more"])


@pytest.mark.parametrize("vector", [(1, 2), np.ones(2)], ids=repr)
def test_one_vector_instead_of_a_list_of_them_is_refused_for_one_input_too(client, vector):
    things = client.create_collection("things", embedding_function=lambda input: vector)
    with pytest.raises(EmbeddingFunctionError, match="returned one vector for 1 inputs"):
        things.add(ids=["a"], documents=["text"])
    assert things.count() == 0


OURS = [
    retrieval_store.WordLlamaEmbedding,
    retrieval_store.SentenceTransformerEmbeddingFunction,
    retrieval_store.OnnxEmbedding,
    retrieval_store.MiniLMEmbedding,
    retrieval_store.OpenCLIPEmbeddingFunction,
    retrieval_store.OpenAIEmbeddingFunction,
    retrieval_store.OllamaEmbeddingFunction,
    retrieval_store.FastEmbedEmbeddingFunction,
]


def test_a_collection_has_the_default_distance_of_its_function(client):
    built_in = retrieval_store.plugins.BUILT_IN[retrieval_store.plugins.EMBEDDING_FUNCTIONS]
    assert {kind.__name__ for kind in OURS} == {one.rpartition(":")[2] for one in built_in.values()}
    assert all(kind.default_space(None) == "cosine" for kind in OURS)

    notes = client.create_collection("notes", embedding_function="wordllama")
    assert notes.configuration["hnsw"]["space"] == "cosine"
    texts = ["kittens sleep", "trains leave", "cats"]
    notes.add(["a", "b", "c"], documents=texts)
    vectors = retrieval_store.WordLlamaEmbedding()([*texts, "young cats"]).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = notes.query(query_texts="young cats", n_results=3)
    far = 1 - vectors[:3] @ vectors[3]
    assert found["ids"][0] == ["abc"[i] for i in np.argsort(far)]
    assert np.allclose(found["distances"][0], np.sort(far), atol=1e-6)

    # Whichever way a model is named, its distances are the same.
    same = client.create_collection("named", embedding_function=WordLlamaEmbedding())
    same.add(["a", "b", "c"], documents=texts)
    assert same.query(query_texts="young cats", n_results=3)["distances"] == found["distances"]


def test_the_default_distance_is_l2_as_in_chroma(client):
    for made in (client.create_collection("own"), client.get_or_create_collection("own2")):
        assert made.configuration["hnsw"]["space"] == "l2"
        made.add(["a", "b"], embeddings=[[3, 4], [1, 0]])
        found = made.query(query_embeddings=[[1, 0]])
        assert found["ids"] == [["b", "a"]]
        assert found["distances"][0] == pytest.approx([0, 20])
    texts = ["kittens sleep", "trains leave", "cats"]
    left_out = client.create_collection("left.out")
    left_out.add(["a", "b", "c"], documents=texts)
    named = client.create_collection("named", embedding_function="wordllama")
    named.add(["a", "b", "c"], documents=texts)
    one, other = (made.query(query_texts="young cats", n_results=3) for made in (left_out, named))
    assert one["ids"] == other["ids"]  # its vectors have length 1
    assert np.allclose(one["distances"], 2 * np.array(other["distances"]), atol=1e-6)

    # One that is there keeps its distance, and what the caller says counts.
    old = client.create_collection("old", {"hnsw": {"space": "l2"}}, embedding_function="wordllama")
    again = client.get_or_create_collection("old", embedding_function="wordllama")
    assert again == old and again.configuration["hnsw"]["space"] == "l2"
    with pytest.raises(ConflictError, match="space='l2'"):
        client.get_or_create_collection("old", {"hnsw": {"space": "cosine"}})
    assert client.get_or_create_collection("old").configuration["hnsw"]["space"] == "l2"
    for function in (None, Lengths()):
        bare = client.create_collection(f"bare-{function is None}", embedding_function=function)
        assert bare.configuration["hnsw"]["space"] == "l2"


def test_a_configuration_may_have_the_function_as_chromas_may(client):
    function = Lengths()
    configuration = {"embedding_function": function, "hnsw": {"space": "ip"}}
    notes = client.create_collection("notes", configuration=configuration)
    assert notes._embedding_function is function and "embedding_function" in configuration
    assert notes.configuration["hnsw"]["space"] == "ip"
    client.get_or_create_collection("notes", configuration, embedding_function=function)
    bare = client.create_collection("bare", {"embedding_function": None})
    assert bare.configuration["embedding_function"] is None
    with pytest.raises(ConflictError, match="embedding_function is given as an argument and"):
        client.create_collection("twice", configuration, embedding_function="wordllama")


def test_the_function_of_a_collection_is_the_given_or_the_remembered_one(client):
    function = Lengths()
    given = client.create_collection("given", embedding_function=function)
    assert given.embedding_function is function
    client.create_collection("named", embedding_function="wordllama")
    remembered = client.get_collection("named")
    assert remembered.embedding_function(["a text"]).shape == (1, 256)
    assert remembered.embedding_function is remembered.embedding_function
    assert client.get_collection("named", embedding_function=None).embedding_function is None
    with pytest.raises(EmbeddingFunctionError, match="Lengths"):
        client.get_collection("given").embedding_function  # noqa: B018


def test_an_asynchronous_function_is_refused_by_name(client):
    async def embed(texts):
        return [[1.0] for _ in texts]

    notes = client.create_collection("notes", embedding_function=embed)
    with pytest.raises(EmbeddingFunctionError, match="is asynchronous, expected a synchronous one"):
        notes.add("a", documents="a")


def test_nothing_is_embedded_but_what_a_caller_gives(client):
    first, again = Lengths(), Lengths()
    things = client.create_collection("things", embedding_function=first)
    things.add("a", documents="one")
    things.query(query_texts="seven")
    things = client.get_collection("things", embedding_function=again)
    things.query(query_texts="three")
    things.upsert("b", documents="two")
    things.update("b", documents="eleven")
    assert (first.calls, again.calls) == ([["one"], ["seven"]], [["three"], ["two"], ["eleven"]])


def test_a_function_that_embeds_in_other_dimensions_is_refused_where_it_embeds(client):
    client.create_collection("things", embedding_function=Lengths()).add("a", documents="one")
    things = client.get_collection("things", embedding_function=lambda texts: [[1, 2]] * len(texts))
    for use in (things.query, things.add):
        given = {"ids": "b", "documents": "x"} if use == things.add else {"query_texts": "x"}
        with pytest.raises(DimensionMismatchError):
            use(**given)


def test_a_function_of_another_name_or_module_is_reported_and_used(client, caplog):
    client.create_collection("things", embedding_function=Lengths()).add("a", documents="one")
    caplog.set_level("WARNING", "retrieval_store")
    client.get_collection("things", embedding_function=Lengths())
    assert not caplog.records
    renamed = type("Renamed", (Lengths,), {})
    moved = type("Lengths", (Lengths,), {"__module__": "elsewhere"})
    for kind, message in ((renamed, "'Renamed'"), (moved, "'elsewhere'")):
        caplog.clear()
        things = client.get_collection("things", embedding_function=kind())
        (record,) = caplog.records
        assert "created with the embedding function 'Lengths'" in record.getMessage()
        assert message in record.getMessage()
        assert things.query(query_texts="two")["ids"] == [["a"]]


def test_stored_functions_of_earlier_versions_are_ignored(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=Lengths())
        things.add("a", documents="one")
        record = inside.backend(things).record()
        record.settings["embedding_function"]["probe"] = "no base64!"
        inside.backend(things).change(lambda _: record)
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=Lengths())
        assert set(things.configuration["embedding_function"]) == {"custom", "module"}
        things.add("b", documents="three")
        assert things.query(query_texts="two")["ids"] == [["a", "b"]]


def test_a_text_with_nothing_to_embed_is_refused_unless_it_has_a_vector(client):
    things = client.create_collection("things", embedding_function="wordllama")
    things.add("a", documents="one")
    for text in ["", " \n\t\u00a0", "\u200b\u200d\ufeff\u00ad"]:
        for write in (things.add, things.upsert):
            with pytest.raises(
                InvalidArgumentError, match="document of id 'c' is .*nothing in it to"
            ):
                write(ids=["b", "c"], documents=["two", text])
        with pytest.raises(InvalidArgumentError, match="document of id 'a' is"):
            things.update(ids="a", documents=text)
        assert things.get(["a", "b", "c"])["documents"] == ["one"]
        things.upsert("d", documents=text, embeddings=np.ones((1, 256)))
        assert things.get("d")["documents"] == [text]


def test_vectors_of_zeros_are_reported(client, caplog):
    caplog.set_level("WARNING", "retrieval_store")
    things = client.create_collection("things", embedding_function=lambda texts: [[0, 0], [1, 0]])
    things.add(["a", "b"], documents=["?!", "words"])
    (message,) = [one.getMessage() for one in caplog.records]
    assert "vectors of zeros of 1 of 2 inputs, such as '?!'" in message
