"""all-MiniLM-L6-v2 from a package: its vectors equal those of other implementations. Whatever the
texts, caches, forks and signals, it embeds or raises a clear error.
"""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import retrieval_store
from retrieval_store import MiniLMEmbedding, OnnxEmbedding
from retrieval_store.embeddings import max_tokens_of
from retrieval_store.errors import (
    ConflictError,
    InvalidArgumentError,
    InvalidTypeError,
)
from tests.helpers import models
from tests.helpers.circumstances import as_a_new_process
from tests.helpers.minilm import LONG, PARAGRAPHS, TEXTS, weights_folder, whole_graph
from tests.helpers.tuned import tuned

pytestmark = pytest.mark.models

SOME = TEXTS[::2]  # an empty one, short ones, and one that is too long


@pytest.fixture(scope="module")
def whole():
    return MiniLMEmbedding("float32")


INSTALLED = "from tests.helpers import minilm; minilm.install()\n"


def run(code, **environment):
    """The output of a program."""
    done = subprocess.run(
        [sys.executable, "-c", INSTALLED + code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def cosines(one, other):
    return (one * other).sum(axis=1)


# Vectors


@pytest.mark.others
def test_vectors_in_float32_are_those_of_sentence_transformers(whole):
    pytest.importorskip("torch", reason="torch isn't installed")
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(weights_folder()), device="cpu")
    assert np.allclose(whole(TEXTS), theirs.encode(TEXTS), atol=1e-5)
    assert np.allclose(whole.embed_query(TEXTS[:5]), theirs.encode_query(TEXTS[:5]), atol=1e-5)


@pytest.mark.others
def test_vectors_in_float32_are_those_of_chroma(whole, tmp_path, monkeypatch):
    from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2

    folder = tmp_path / "onnx"
    folder.mkdir()
    (folder / "model.onnx").symlink_to(whole_graph())
    (folder / "tokenizer.json").symlink_to(weights_folder() / "tokenizer.json")
    for name in ("config", "special_tokens_map", "tokenizer_config"):
        (folder / f"{name}.json").write_text("{}")
    (folder / "vocab.txt").touch()
    monkeypatch.setattr(ONNXMiniLM_L6_V2, "DOWNLOAD_PATH", tmp_path)
    assert np.allclose(whole(TEXTS[::2]), ONNXMiniLM_L6_V2()(TEXTS[::2]), atol=1e-5)


def test_vectors_in_int8_are_nearly_the_same_and_find_the_same(whole):
    ours = MiniLMEmbedding()(SOME)
    assert (ours.shape, ours.dtype) == ((len(SOME), 384), np.float32)
    assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    assert cosines(ours, whole(SOME))[1:].min() > 0.97
    animals = MiniLMEmbedding()(["A kitten sleeps.", "Stocks fell.", "Puppies bark."])
    assert int(np.argmax(animals @ MiniLMEmbedding().embed_query(["a cat naps"])[0])) == 0


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_a_vector_does_not_depend_on_the_rest_of_its_batch(precision):
    embed = MiniLMEmbedding(precision)
    together = embed(SOME)
    alone = np.concatenate([embed([text]) for text in SOME])
    assert np.allclose(together, alone, atol=1e-6)
    backwards = embed([*SOME[::-1], *PARAGRAPHS[-5:]])[: len(SOME)][::-1]
    assert np.allclose(together, backwards, atol=1e-6)


def test_more_texts_than_are_tokenized_at_once_keep_their_order(monkeypatch):
    tuned(monkeypatch, texts_tokenized_at_once=32)
    embed = MiniLMEmbedding()
    words = [f"{i} {'word ' * (i % 7)}" for i in range(70)]
    vectors = embed(words)
    for i in (0, 5, 31, 32, 63, 64, 69):
        assert np.allclose(vectors[i], embed([words[i]])[0], atol=1e-6)


# Texts


def test_no_texts_give_no_vectors_and_empty_ones_a_vector_each():
    embed = MiniLMEmbedding()
    assert (len(embed([])), embed([]).dtype, len(embed.embed_query([]))) == (0, np.float32, 0)
    vectors = embed(["", " ", "\x00", "\U00013000\ue000"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_of_a_long_text_256_tokens_count_and_that_is_logged(caplog, monkeypatch):
    as_a_new_process(monkeypatch)
    embed = MiniLMEmbedding()
    assert max_tokens_of(embed) == 256
    seen = models.note_tokenized(monkeypatch, embed)
    long, shorter = embed(["word " * 2_000_000, "word " * 300])
    assert max(map(len, seen)) <= 256 * models.CHARACTERS_A_TOKEN
    assert np.allclose(long, shorter, atol=1e-6)
    assert not np.allclose(long, embed(["word " * 200])[0], atol=1e-3)
    assert [one.getMessage().count("256 tokens") for one in caplog.records] == [1]


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (["a", "b\ud800"], InvalidArgumentError, r"input\[1\] has a lone surrogate"),
        (["a", 3], InvalidTypeError, r"input\[1\] is of type int; all-MiniLM-L6-v2 embeds only"),
        ([None], InvalidTypeError, r"input\[0\] is of type NoneType"),
    ],
)
def test_invalid_texts_are_refused_by_their_place(texts, error, message):
    with pytest.raises(error, match=message):
        MiniLMEmbedding()(texts)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "int4"}, "precision is 'int4'.*float32"),
        ({"precision": ["int8"]}, "precision is"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": "2"}, "threads is '2'"),
        ({"threads": True}, "threads is True"),
    ],
)
def test_settings_that_a_constructor_rejects_are_refused(settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        MiniLMEmbedding(**settings)


def test_a_million_requested_threads_are_limited_to_the_processors():
    assert MiniLMEmbedding(threads=10**6)(["a"]).shape == (1, 384)
    assert models.threads_of(MiniLMEmbedding(threads=10**6)) <= (os.cpu_count() or 1)


# Collections


def test_a_collection_remembers_it_and_makes_it_again_without_trust(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        notes = client.create_collection("notes", embedding_function="minilm")
        assert notes.configuration["hnsw"]["space"] == "cosine"
        notes.add(ids=["cat", "money"], documents=["A kitten sleeps.", "Stocks fell."])
    with retrieval_store.Client(tmp_path) as client:
        notes = client.get_collection("notes")
        assert notes.query(query_texts="cats", n_results=1)["ids"] == [["cat"]]
        assert notes.configuration["embedding_function"] == {
            "name": "minilm",
            "settings": {"precision": "int8"},
        }
        # Vectors of either precision can be compared.
        with_another = client.get_collection("notes", MiniLMEmbedding("float32"))
        assert with_another.query(query_texts="cats", n_results=1)["ids"] == [["cat"]]
        assert client.get_or_create_collection("notes", embedding_function="minilm").count() == 2
        with pytest.raises(ConflictError, match="minilm"):
            client.get_collection("notes", "wordllama")


def test_it_is_closed_and_loaded_again(whole):
    embed = MiniLMEmbedding("float32")
    before = embed(["a"])
    embed.close()
    embed.close()
    assert np.array_equal(embed(["a"]), before)


# Processes, threads and signals

FORKING = """
import os, sys
import numpy as np
from retrieval_store import MiniLMEmbedding

embed = MiniLMEmbedding()
want = embed(["a cat"])
children = []
for uses in (True, False):
    child = os.fork()
    if not child:
        if uses:
            assert np.allclose(embed(["a cat"]), want, atol=1e-6)
            assert np.allclose(MiniLMEmbedding()(["a cat"]), want, atol=1e-6)
        sys.exit(7)
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
print(np.allclose(embed(["a cat"]), want, atol=1e-6))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_children_embed_and_come_to_an_end():
    assert run(FORKING, TOKENIZERS_PARALLELISM="false") == "[7, 7]\nTrue"


def test_threads_embed_at_once():
    texts, found = PARAGRAPHS[:8], []
    embed, want = MiniLMEmbedding(), MiniLMEmbedding()(texts)

    def work():
        found.append(embed(texts))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 3
    assert all(np.allclose(one, want, atol=1e-6) for one in found)


INTERRUPTED = """
import os, signal, threading
import pytest, retrieval_store
from pydoc_data.topics import topics
from tests.helpers import steps

signal.signal(signal.SIGINT, signal.default_int_handler)  # of a process in the background it is none
documents = [one for one in topics.values() if len(one) > 2000]
notes = retrieval_store.Client().create_collection("notes", embedding_function="minilm")
runs = []

def interrupted():
    runs.append(1)
    if len(runs) == 2:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()

steps.before(pytest.MonkeyPatch(), "run_model", interrupted)
try:
    notes.add(ids=[str(i) for i in range(len(documents))], documents=documents)
except KeyboardInterrupt:
    print(notes.count(), len(runs) <= 3)
notes.add(ids=["a", "b"], documents=["a cat", "a tax"])
print(notes.query(query_texts="kitten", n_results=1)["ids"])
"""


def test_an_interrupt_of_a_long_add_writes_nothing_and_breaks_nothing():
    assert run(INTERRUPTED) == "0 True\n[['a']]"


REPORTING = """
import os, sys
import retrieval_store
assert "onnxruntime" not in sys.modules and "tokenizers" not in sys.modules
retrieval_store.MiniLMEmbedding()(["a"])
print("ORT_DISABLE_TELEMETRY" in os.environ)
"""


def test_onnxruntime_sends_no_telemetry(tmp_path):
    """It would store an id of the machine in the user's home."""
    silent = {name: "" for name in ("CI", "ORT_DISABLE_TELEMETRY") if name in os.environ}
    home = tmp_path / "home"
    home.mkdir()
    done = run(REPORTING, **silent, HOME=str(home), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done == str("ORT_DISABLE_TELEMETRY" in silent)
    assert list(home.iterdir()) == []


def test_its_graph_is_one_that_a_directory_may_have(whole, tmp_path):
    from tests.helpers.minilm import write_model

    embed = OnnxEmbedding(str(write_model(tmp_path / "model")))
    assert np.allclose(embed(LONG[:1]), whole(LONG[:1]), atol=1e-6)
