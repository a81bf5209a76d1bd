"""Models in the ONNX format from directories, caches and a hub: read as sentence-transformers reads
them, or refused.
"""

import json
import logging
import os
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import retrieval_store
from retrieval_store import MiniLMEmbedding, OnnxEmbedding
from retrieval_store.embeddings import max_tokens_of
from retrieval_store.embeddings.onnx.runtime import batches, pool_tokens
from retrieval_store.errors import (
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidTypeError,
)
from tests.helpers import models
from tests.helpers.hub import running_hub
from tests.helpers.minilm import (
    LONG,
    PARAGRAPHS,
    directory,
    weights_folder,
    write_model,
)

pytestmark = pytest.mark.models

TEXTS = ["", "A cat sleeps.", *PARAGRAPHS[5:9], LONG[0]]

PROMPTS = {"prompts": {"query": "query: ", "passage": "passage: "}}


def sentence_transformer(folder):
    pytest.importorskip("torch", reason="torch isn't installed")
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def graph_file(path, *, output="last_hidden_state", rank=3, opset=20, table=None):
    """A file with a small graph: the token ids as vectors of one number, or one vector of all ids,
    or the tokens' rows of a table."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, width = [], [], 1
    if table is not None:
        constants, width = [numpy_helper.from_array(table[0], "table")], table[0].shape[1]
        nodes.append(helper.make_node("Gather", ["table", "input_ids"], [output], axis=table[1]))
    elif rank == 3:
        constants.append(numpy_helper.from_array(np.array([2]), "last"))
        nodes.append(helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Unsqueeze", ["numbers", "last"], [output]))
    else:
        nodes.append(helper.make_node("Cast", ["input_ids"], [output], to=TensorProto.FLOAT))
    shape = ["n", "tokens", width][:rank]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "tokens"])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        constants,
    )
    sets = [helper.make_opsetid("", opset)]
    path.write_bytes(helper.make_model(graph, opset_imports=sets, ir_version=7).SerializeToString())
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A graph that gives each token its own vector, for tests of directories, caches and
    settings."""
    rows = np.random.default_rng(1).standard_normal((30_522, 8)).astype(np.float32)
    return graph_file(tmp_path_factory.mktemp("small") / "model.onnx", table=(rows, 0))


# As sentence-transformers


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """MiniLM in sentence-transformers, with mean pooling and without normalization."""
    return sentence_transformer(write_model(tmp_path_factory.mktemp("theirs") / "model", then=()))


OLDER = {
    "cls": "pooling_mode_cls_token",
    "lasttoken": "pooling_mode_lasttoken",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
}


@pytest.mark.others
@pytest.mark.parametrize("way", OLDER)
def test_tokens_are_pooled_as_the_model_defines_in_older_and_newer_files(
    theirs, tmp_path, monkeypatch, way
):
    from sentence_transformers.sentence_transformer.modules import Pooling

    monkeypatch.setitem(theirs._modules, "1", Pooling(384, way))
    want = theirs.encode(TEXTS)
    for name, message in (
        ("older", {"pooling_mode_mean_tokens": False, OLDER[way]: True}),
        ("newer", {"pooling_mode": way}),
    ):
        folder = write_model(tmp_path / name, pooling=message, then=())
        assert np.allclose(OnnxEmbedding(str(folder))(TEXTS), want, atol=2e-5)


@pytest.mark.others
@pytest.mark.parametrize("counted", [True, False])
def test_prompts_precede_queries_and_documents_as_the_model_defines(tmp_path, counted):
    pooling = {"pooling_mode_mean_tokens": True, "include_prompt": counted}
    prompts = {"prompts": {"query": "query: ", "document": "passage: "}}
    folder = write_model(tmp_path / "model", pooling=pooling, prompts=prompts)
    theirs, ours = sentence_transformer(folder), OnnxEmbedding(str(folder))
    assert np.allclose(ours.embed_query(TEXTS), theirs.encode_query(TEXTS), atol=1e-5)
    assert np.allclose(ours(TEXTS), theirs.encode_document(TEXTS), atol=1e-5)
    assert not np.allclose(ours(TEXTS), ours.embed_query(TEXTS), atol=1e-3)


def test_prompts_may_have_other_names_and_are_the_users_choice_in_the_end(small, tmp_path):
    folder = str(write_model(tmp_path / "model", graph=small, prompts=PROMPTS))
    plain = OnnxEmbedding(folder, query_prompt="", document_prompt="")
    ours = OnnxEmbedding(folder)
    assert np.allclose(ours(["a cat"]), plain(["passage: a cat"]), atol=1e-6)
    assert np.allclose(ours.embed_query(["a cat"]), plain(["query: a cat"]), atol=1e-6)
    usual = {"prompts": {"all": "text: "}, "default_prompt_name": "all"}
    other = OnnxEmbedding(str(write_model(tmp_path / "other", graph=small, prompts=usual)))
    assert np.allclose(other(["a cat"]), plain(["text: a cat"]), atol=1e-6)
    assert np.allclose(other.embed_query(["a cat"]), plain(["text: a cat"]), atol=1e-6)


def test_lengths_of_vectors_are_those_of_the_model_or_1_on_request(theirs, tmp_path):
    folder = write_model(tmp_path / "model", then=())
    plain = OnnxEmbedding(str(folder))(TEXTS)
    assert np.allclose(plain, theirs.encode(TEXTS), atol=2e-5)
    lengths = np.linalg.norm(plain, axis=1, keepdims=True)
    assert not np.allclose(lengths, 1, atol=0.1)
    unit = OnnxEmbedding(str(folder), normalize=True)(TEXTS)
    assert np.allclose(unit, plain / lengths, atol=1e-6)


def test_the_number_of_tokens_is_limited_by_the_model(theirs, tmp_path, monkeypatch):
    folder = write_model(tmp_path / "model", texts={"max_seq_length": 16}, then=())
    ours = OnnxEmbedding(str(folder))
    assert max_tokens_of(ours) == 16
    monkeypatch.setattr(theirs, "max_seq_length", 16)
    assert np.allclose(ours(LONG[:2]), theirs.encode(LONG[:2]), atol=2e-5)
    untold = write_model(tmp_path / "untold", texts={"max_seq_length": None})
    assert max_tokens_of(OnnxEmbedding(str(untold))) == 512


def test_texts_are_lowercased_if_the_model_requires_it(small, tmp_path):
    tokenizer = json.loads((weights_folder() / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    for name, lowers in (("as it is", False), ("lower", True)):
        folder = write_model(tmp_path / name, graph=small, texts={"do_lower_case": lowers})
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        upper, lower = OnnxEmbedding(str(folder))(["A CAT", "a cat"])
        assert np.allclose(upper, lower, atol=1e-6) == lowers


def test_pooling_of_texts_without_counted_tokens_gives_zeros_and_no_error():
    tokens, there = np.ones((1, 3, 2), np.float32), np.zeros((1, 3), np.bool_)
    for way in ("mean", "mean_sqrt_len_tokens", "weightedmean"):
        assert pool_tokens(tokens, there, way).tolist() == [[0, 0]]
    assert np.isfinite(pool_tokens(tokens, there, "max")).all()


def test_batches_take_every_text_once_and_bound_what_is_padded():
    lengths = np.random.default_rng(3).integers(0, 512, 500)
    parts = list(batches(lengths, 2_048))
    assert sorted(np.concatenate(parts).tolist()) == list(range(500))
    for rows in parts:
        assert len(rows) == 1 or len(rows) * lengths[rows].max() <= 2_048
    assert all(lengths[one].min() >= lengths[other].max() for one, other in pairwise(parts))


# int8


def test_a_graph_in_int8_is_used_on_request(tmp_path):
    small = directory() / "onnx" / "model_quint8_avx2.onnx"
    folder = write_model(tmp_path / "model", graph=small, file="onnx/model_quint8_avx2.onnx")
    found = OnnxEmbedding(str(folder), precision="int8")(TEXTS)
    assert np.array_equal(found, MiniLMEmbedding()(TEXTS))
    with pytest.raises(EmbeddingFunctionError, match=r"none of .*it has onnx/model_quint8_avx2"):
        OnnxEmbedding(str(folder))(TEXTS)
    named = OnnxEmbedding(str(folder), file="model_quint8_avx2.onnx")
    assert (named(TEXTS) * found).sum(axis=1).min() > 0.9  # texts of a batch have one scale
    assert named.settings()["file"] == "model_quint8_avx2.onnx"


def test_a_model_without_a_graph_in_int8_names_its_graphs(tmp_path):
    folder = str(write_model(tmp_path / "model"))
    with pytest.raises(EmbeddingFunctionError, match="model_int8.onnx.*it has onnx/model.onnx"):
        OnnxEmbedding(folder, precision="int8")(["a"])


# What is wrong with a directory


def without(name):
    return lambda folder: (folder / name).unlink()


def saying(name, content):
    def change(folder):
        (folder / name).unlink()
        (folder / name).write_bytes(content)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("tokenizer.json"), "has no tokenizer.json"),
        (
            without("onnx/model.onnx"),
            "none of the files onnx/model.onnx, model.onnx; it has no file",
        ),
        (saying("tokenizer.json", b"{}"), "can't be loaded"),
        (saying("onnx/model.onnx", b"this is no graph"), "can't be loaded"),
        (saying("onnx/model.onnx", b""), "can't be loaded"),
        (saying("modules.json", b"{"), "modules.json isn't JSON"),
        (saying("modules.json", b"{}"), "modules.json is .*expected a list"),
        (saying("modules.json", b"[1, 2]"), "modules.json has 2"),
        (saying("1_Pooling/config.json", b'{"pooling_mode": "sum"}'), "pools by .*sum"),
        (saying("1_Pooling/config.json", b'{"pooling_mode": 3}'), "pools by"),
        (
            saying(
                "1_Pooling/config.json",
                b'{"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true}',
            ),
            "pools by .*cls.*max",
        ),
    ],
)
def test_an_incomplete_model_directory_is_refused_with_the_reason(tmp_path, change, message):
    folder = write_model(tmp_path / "model")
    change(folder)
    with pytest.raises(EmbeddingFunctionError, match=message):
        OnnxEmbedding(str(folder))(["a"])
    assert max_tokens_of(OnnxEmbedding(str(folder))) is None


def test_modules_that_nothing_here_computes_are_refused(tmp_path):
    folder = write_model(tmp_path / "model", then=("Dense", "Normalize"))
    with pytest.raises(EmbeddingFunctionError, match="module 'Dense'.*only Pooling and Normalize"):
        OnnxEmbedding(str(folder))(["a"])


def test_a_graph_without_vectors_of_tokens_is_refused(tmp_path):
    for name, graph, message in (
        ("other", graph_file(tmp_path / "a.onnx", output="logits", rank=2), "gives logits, and no"),
        ("wrong", graph_file(tmp_path / "b.onnx", output="token_embeddings", rank=2), None),
    ):
        embed = OnnxEmbedding(str(write_model(tmp_path / name, graph=graph)))
        if message is None:  # a vector of each text, as far as can be told
            assert embed(["a"]).shape[0] == 1
            continue
        with pytest.raises(EmbeddingFunctionError, match=message):
            embed(["a"])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"model": 3}, InvalidTypeError, "model is 3"),
        ({"model": ""}, InvalidArgumentError, "model is ''"),
        ({"precision": "int4"}, InvalidArgumentError, "precision is 'int4'"),
        ({"file": "../model.onnx"}, InvalidArgumentError, "file is .*in the model's directory"),
        ({"file": "/etc/passwd"}, InvalidArgumentError, "file is .*in the model's directory"),
        ({"normalize": 1}, InvalidTypeError, "normalize is 1"),
        ({"download": "yes"}, InvalidTypeError, "download is 'yes'"),
        ({"query_prompt": 3}, InvalidTypeError, "query_prompt is 3"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        OnnxEmbedding(**{"model": "x", **settings})


# Names


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of Hugging Face, and an empty home."""

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(os.path, "expanduser", partial(_at_home, tmp_path))
    return tmp_path / "hub"


def _at_home(home, path):
    return str(home / os.fspath(path)[2:]) if os.fspath(path).startswith("~/") else path


def test_a_name_is_found_in_the_cache_of_hugging_face(hub, small):
    repository = hub / "models--sentence-transformers--all-MiniLM-L6-v2"
    folder = write_model(repository / "snapshots" / "abc", graph=small)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    want = OnnxEmbedding(str(folder))(TEXTS)
    for name in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        assert np.allclose(OnnxEmbedding(name)(TEXTS), want, atol=1e-6)


def test_a_model_name_is_found_in_chromas_cache(hub, small, tmp_path):
    folder = tmp_path / ".cache/chroma/onnx_models/all-MiniLM-L6-v2/onnx"
    folder.mkdir(parents=True)
    (folder / "model.onnx").symlink_to(small)
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        (folder / name).symlink_to(weights_folder() / name)
    ours = OnnxEmbedding("all-MiniLM-L6-v2")
    want = OnnxEmbedding(str(write_model(tmp_path / "model", graph=small)))(TEXTS)
    assert np.allclose(ours(TEXTS), want, atol=1e-6)
    assert ours.max_tokens == 256


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-model", "neither Hugging Face's cache nor Chroma's .*download=True"),
        ("some/where", "download=True"),
        ("./some/where", "there is no directory"),
        ("/some/where", "there is no directory"),
        ("a b%c", "download=True"),
    ],
)
def test_an_unknown_name_causes_no_network_request(hub, monkeypatch, name, message):
    import socket

    def connect(*_):
        raise AssertionError("something was sent")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    with pytest.raises(EmbeddingFunctionError, match=message):
        OnnxEmbedding(name)(["a"])


ASKING = """
import logging, sys
logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
from retrieval_store import OnnxEmbedding
try:
    print(OnnxEmbedding(sys.argv[1], download="--download" in sys.argv)(["a cat"]).shape)
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_model_is_downloaded_on_request_and_then_cached(small, tmp_path):
    write_model(tmp_path / "files", graph=small, prompts=PROMPTS)
    (tmp_path / "files" / "pytorch_model.bin").write_bytes(b"not needed")
    home = str(tmp_path / "home")
    hub = running_hub(tmp_path / "files", "maker/model")
    environment = hub.environment(home)
    endpoint = hub.endpoint

    def ask(*arguments, model="maker/model"):
        command = [sys.executable, "-c", ASKING, model, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    with hub:
        refused = ask()
        assert refused.stdout.startswith("EmbeddingFunctionError the model 'maker/model'")
        assert hub.asked == []
        loaded = ask("--download")
        assert loaded.stdout == "(1, 8)\n", loaded
        lines = [one for one in loaded.stderr.splitlines() if one.startswith("WARNING")]
        reported = f"retrieval_store downloading the model maker/model from {endpoint}"
        assert lines == [f"WARNING {reported}"], loaded.stderr
        fetched = {one.name for one in Path(home).rglob("snapshots/*/*")}
        assert {"tokenizer.json", "modules.json", "onnx"} <= fetched
        assert not fetched & {"pytorch_model.bin", "model.safetensors"}
        assert any("model.onnx" in one for one in hub.asked)
        hub.asked.clear()
        assert [ask().stdout, ask("--download").stdout] == ["(1, 8)\n"] * 2
        assert hub.asked == []
        none = ask("--download", model="maker/none").stdout
        assert none.startswith("EmbeddingFunctionError the model 'maker/none' can't be downloaded")


# Collections


def test_a_collection_remembers_a_model_of_a_directory_and_opens_it_when_it_is_given(
    small, tmp_path
):
    folder = str(write_model(tmp_path / "model", graph=small))
    code = f"""
import retrieval_store
from retrieval_store import OnnxEmbedding
for trust, given in ((False, None), (True, None), (False, OnnxEmbedding({folder!r}))):
    with retrieval_store.Client({str(tmp_path / "store")!r}, trust=trust) as client:
        use = {{}} if given is None else {{"embedding_function": given}}
        notes = client.get_collection("notes", **use)
        try:
            print(notes.query(query_texts="A kitten sleeps.", n_results=1)["ids"])
        except Exception as error:
            print(type(error).__name__, "trust=True" in str(error))
"""
    with retrieval_store.Client(tmp_path / "store") as client:
        notes = client.create_collection("notes", embedding_function=OnnxEmbedding(folder))
        notes.add(ids=["cat", "money"], documents=["A kitten sleeps.", "Stocks fell."])
        spec = notes.configuration["embedding_function"]
    assert spec["name"] == "onnx"
    assert spec["settings"] == {
        "model": folder,
        "precision": "float32",
        "file": None,
        "normalize": None,
        "query_prompt": None,
        "document_prompt": None,
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["EmbeddingFunctionError True", "[['cat']]", "[['cat']]"]


def test_a_model_is_shared_by_functions_and_released_when_all_are_closed(small, tmp_path):
    folder = str(write_model(tmp_path / "model", graph=small, texts={"max_seq_length": 31}))
    one, other = OnnxEmbedding(folder), OnnxEmbedding(folder)
    before = models.number_of_onnx_models()
    vectors = one(TEXTS)
    other(TEXTS)
    assert models.number_of_onnx_models() == before + 1
    one.close()
    assert np.array_equal(other(TEXTS), vectors)
    other.close()
    assert models.number_of_onnx_models() == before
    assert np.array_equal(one(TEXTS), vectors)


def test_logs_contain_no_texts(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG, logger="retrieval_store"):
        OnnxEmbedding(str(write_model(tmp_path / "model")))(["a secret cat"])
    assert "secret" not in caplog.text
