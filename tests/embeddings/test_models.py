"""Embedding functions around real models: MiniLM, OpenCLIP's architecture, a SPLADE model made here,
and both frameworks' embeddings."""

import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import retrieval_store
from retrieval_store import (
    MiniLMEmbedding,
    OpenCLIPEmbeddingFunction,
    SentenceTransformerEmbeddingFunction,
    WordLlamaEmbedding,
)
from retrieval_store.embeddings.frameworks import FromLangChain, FromLlamaIndex
from retrieval_store.embeddings.open_clip import usual_device
from retrieval_store.embeddings.sentence_transformers import SpladeEmbedding
from retrieval_store.errors import InvalidTypeError, MissingDependencyError
from tests.helpers import models
from tests.helpers.circumstances import as_a_new_process
from tests.helpers.minilm import weights_folder

ANIMALS = ["a kitten sleeps on the sofa", "stock markets fell sharply", "puppies bark at strangers"]


pytestmark = pytest.mark.models

# sentence-transformers


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("torch", reason="torch isn't installed")
    return str(weights_folder())


def test_a_real_sentence_transformer_embeds_and_is_remembered(tmp_path, minilm):
    embed = SentenceTransformerEmbeddingFunction(minilm, batch_size=2)
    vectors = embed(ANIMALS)
    assert (vectors.shape, vectors.dtype) == ((3, 384), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert SentenceTransformerEmbeddingFunction(minilm).max_tokens == 256
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


@pytest.mark.others
@pytest.mark.parametrize(("gib", "batch"), [(1, 32), (8, 128), (16, 256), (80, 256)])
def test_on_a_gpu_as_many_texts_are_read_at_a_time_as_its_memory_is_for(monkeypatch, gib, batch):
    torch = pytest.importorskip("torch", reason="torch isn't installed")
    query, reported = [], SimpleNamespace(total_memory=gib * 2**30)

    class Model:
        device, max_seq_length, tokenizer = torch.device("cuda", 0), None, None

        def encode(self, texts, batch_size, **_):
            query.append(batch_size)
            return np.ones((len(texts), 2), np.float32)

    embed = SentenceTransformerEmbeddingFunction("x")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: reported)
    monkeypatch.setattr(embed, "_load", Model)
    embed(ANIMALS)
    assert query == [batch] and embed.inputs_per_call == 16 * batch
    Model.device = torch.device("cpu")
    embed(ANIMALS)
    assert query[1:] == [32] and embed.inputs_per_call == 512


@pytest.mark.parametrize("prompt", [None, "passage: "])
def test_only_texts_that_may_be_too_long_are_tokenized_twice(minilm, monkeypatch, caplog, prompt):
    as_a_new_process(monkeypatch)
    embed = SentenceTransformerEmbeddingFunction(minilm, document_prompt=prompt)
    texts = ["a short one " * 30, "word " * 300, "word " * (252 if prompt else 254)] * 12
    counted = models.note_counted(monkeypatch, embed)
    vectors = embed(texts)
    assert "12 of 36 texts are longer than the 256 tokens" in caplog.text
    assert np.allclose(vectors[:3], embed(texts[:3]), atol=1e-5)
    assert len(counted) == 24 + 2 and not any("short" in one for one in counted)


def test_all_tokens_are_counted_if_a_model_does_not_report_its_limit(minilm, monkeypatch, caplog):
    as_a_new_process(monkeypatch)
    embed = SentenceTransformerEmbeddingFunction(minilm)
    models.forget_what_is_read(monkeypatch, embed)
    embed(["a short one", "word " * 300] * 40)
    assert "40 of 80 texts are longer" in caplog.text


def test_a_released_model_is_loaded_again(minilm):
    embed = SentenceTransformerEmbeddingFunction(minilm)
    before = embed(ANIMALS)
    embed.close()
    embed.close()
    assert models.model_in(embed) is None
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


@pytest.mark.others
@pytest.mark.parametrize(
    ("function", "package", "extra"),
    [
        ("minilm", "onnxruntime", "onnx"),
        ("minilm", "huggingface_hub", "onnx"),
        ("wordllama", "wordllama", "standard"),
        ("wordllama", "tokenizers", "standard"),
        (
            SentenceTransformerEmbeddingFunction("x"),
            "sentence_transformers",
            "sentence-transformers",
        ),
        (OpenCLIPEmbeddingFunction(checkpoint=None), "open_clip", "open-clip"),
        (retrieval_store.OnnxEmbedding("x"), "onnxruntime", "onnx"),
        (retrieval_store.FastEmbedEmbeddingFunction(), "fastembed", "fastembed"),
    ],
)
def test_without_its_package_a_function_is_refused_before_a_collection_is_created(
    client, monkeypatch, function, package, extra
):
    monkeypatch.setitem(sys.modules, package, None)
    message = rf'needs {package}: pip install "retrieval-store\[{extra}\]"'
    for make in (client.create_collection, client.get_or_create_collection):
        with pytest.raises(MissingDependencyError, match=message):
            make("notes", embedding_function=function)
    assert client.count_collections() == 0


@pytest.fixture(scope="module")
def splade(tmp_path_factory):
    """A tiny masked language model with random weights, saved in SPLADE's format."""
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
    assert embed.max_tokens == models.model_in(embed).max_seq_length


def test_no_tokenizer_reads_more_of_a_text_than_its_model_can_embed(minilm, monkeypatch):
    embed = SentenceTransformerEmbeddingFunction(minilm)
    embed(["load"])
    seen = []
    tokenize = models.model_in(embed).tokenizer.__class__.__call__

    def noting(self, text, *args, **kwargs):
        seen.extend(text if isinstance(text, list) else [text])
        return tokenize(self, text, *args, **kwargs)

    monkeypatch.setattr(models.model_in(embed).tokenizer.__class__, "__call__", noting)
    long = "the quick brown fox jumps over the lazy dog " * 100_000
    vectors = embed([long, long[:40_000]])
    assert seen
    assert max(map(len, seen)) <= 256 * 64
    assert np.array_equal(vectors[0], vectors[1])


def test_texts_that_a_model_does_not_read_to_the_end_are_warned_of(
    minilm, splade, checkpoint, monkeypatch, caplog
):
    words = "the quick brown fox jumps over the lazy dog "
    texts = ["the cat", words * 5, words * 30, words * 2_000]
    for embed, limit, longer in (
        (SentenceTransformerEmbeddingFunction(minilm), 256, 2),
        (SpladeEmbedding(splade), None, 1),
        (OpenCLIPEmbeddingFunction(CLIP, checkpoint), 77, 2),
        (MiniLMEmbedding(), 256, 2),
    ):
        as_a_new_process(monkeypatch)
        caplog.clear()
        embed(texts[:2])
        assert not caplog.records
        embed(texts)
        tokens = limit or embed.max_tokens
        assert f"{longer} of 4 texts are longer than the {tokens} tokens" in caplog.text


# OpenCLIP

CLIP = "ViT-S-32-alt"  # one of the smallest that it knows


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of OpenCLIP's architecture with random weights."""
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
    assert embed.max_tokens == 77
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
def test_a_model_runs_on_a_gpu_if_the_machine_has_one(cuda, mps, device):
    torch = SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: cuda),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
    )
    assert usual_device(torch) == device


def test_a_released_clip_model_is_loaded_again(checkpoint):
    embed = OpenCLIPEmbeddingFunction(CLIP, checkpoint)
    before = embed(["a cat"])
    embed.close()
    assert models.model_in(embed) is None
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


# wrappers


@pytest.mark.others
def test_embeddings_of_both_frameworks_work_here_and_ours_in_both_frameworks():
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
    for by_name in (
        AsLangChain("wordllama").embed_query,
        AsLlamaIndex("wordllama").get_query_embedding,
    ):
        assert np.allclose(by_name("a cat"), embed(["a cat"])[0])
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


@pytest.fixture(scope="module")
def cross_encoder(splade, tmp_path_factory):
    """A tiny cross-encoder with random weights, saved in sentence-transformers' format."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    folder = str(tmp_path_factory.mktemp("cross_encoder"))
    BertTokenizer.from_pretrained(splade).save_pretrained(folder)
    config = BertConfig.from_pretrained(splade, num_labels=1)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_a_cross_encoder_puts_hits_in_order(cross_encoder):
    from sentence_transformers import CrossEncoder

    documents = ["a cat", "the river", "the bank", "dog", "the dog a cat"]
    model = CrossEncoder(cross_encoder)
    scores = model.predict([("the cat", one) for one in documents])
    with retrieval_store.Client() as client:
        things = client.create_collection("things", embedding_function=None)
        things.add([str(i) for i in range(5)], np.eye(5), documents=documents)
        request = {"query_embeddings": np.eye(5)[:1], "n_results": 5}
        own = retrieval_store.CrossEncoderReranker(cross_encoder, max_length=32)
        for reranker in (own, model):
            rerank = retrieval_store.Rerank(reranker, query="the cat")
            found = things.query(**request, rerank=rerank)
            assert found["ids"][0] == [str(i) for i in np.argsort(-scores, kind="stable")]
            assert np.allclose(found["scores"][0], np.sort(scores)[::-1], atol=1e-6)
        own.close()
        assert things.query(**request, rerank=replace(rerank, reranker=own))["ids"] == found["ids"]


# wordllama


@pytest.mark.parametrize("dimensions", [64, 128, 256])
@pytest.mark.skipif(
    version("wordllama") < "0.4", reason="this version has another way to its own embeddings"
)
def test_wordllama_embeds_as_its_own_package_does(dimensions):
    from wordllama import WordLlama

    texts = [*ANIMALS, "", "many words " * 50, "x", "Zürich 東京 \U0001f600"] * 20
    folder = Path(sys.modules[WordLlama.__module__].__file__).parent
    loaded = WordLlama.load(cache_dir=folder, trunc_dim=dimensions, disable_download=True)
    means = loaded.embed(texts, norm=False, pool_embeddings=True)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    expected = np.divide(means, lengths, out=np.zeros_like(means), where=lengths > 0)
    assert np.array_equal(WordLlamaEmbedding(dimensions)(texts), expected)


def test_wordllama_maps_the_vectors_of_its_tokens_and_runs_no_code_of_the_package():
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_WORDLLAMA], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["memmap", "no"], done.stderr


PLAIN_WORDLLAMA = """
import sys
from retrieval_store import WordLlamaEmbedding
from tests.helpers.models import wordllama_model
WordLlamaEmbedding()(["a text"])
print(type(wordllama_model().embedding).__name__, "yes" if "wordllama" in sys.modules else "no")
"""
MAPPED = b'{"embedding.weight":{"dtype":"F16","shape":[32000,256],"data_offsets":[0,16384000]}}'


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"\xff" * 8,
        b"\x02" + bytes(7) + b"{}",
        b"\x02" + bytes(7) + b"xx",
        len(MAPPED).to_bytes(8, "little") + MAPPED,  # and then no vectors
        len(MAPPED).to_bytes(8, "little") + MAPPED.replace(b"F16", b"F32"),
        len(MAPPED).to_bytes(8, "little") + MAPPED.replace(b"256", b"512"),
    ],
)
def test_wordllama_with_another_file_is_refused(tmp_path, monkeypatch, written):
    folder = tmp_path / "wordllama"
    (folder / "weights").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "weights" / "l2_supercat_256.safetensors").write_bytes(written)
    models.forget_wordllama(monkeypatch)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "wordllama", raising=False)
    with pytest.raises(MissingDependencyError, match=r"wordllama in .* has other files than those"):
        WordLlamaEmbedding()(["a text"])
