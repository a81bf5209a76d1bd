"""The sources of all-MiniLM-L6-v2's files: a directory, the cache, a hub. Each file is verified,
and nothing is downloaded before the model is used.
"""

import hashlib
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from retrieval_store import MiniLMEmbedding
from retrieval_store.embeddings.onnx.functions import is_installed
from retrieval_store.errors import (
    EmbeddingFunctionError,
    InvalidTypeError,
    MissingDependencyError,
)
from tests.helpers import bert
from tests.helpers.hub import running_hub
from tests.helpers.minilm import OFFICIAL, directory, expect_graph

pytestmark = pytest.mark.models

INT8, TOKENIZER = (OFFICIAL.files[one].name for one in ("int8", "tokenizer"))

# Its graph is the small one, which is expected; all else is as it is installed.
ASKING = """
import logging, sys
logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
from dataclasses import replace
from retrieval_store.embeddings.onnx import functions
files = dict(functions.MINILM.files)
files["int8"] = replace(files["int8"], digest=sys.argv[1])
functions.MINILM = replace(functions.MINILM, files=files)
"""
EMBEDDING = """
try:
    print(functions.MiniLMEmbedding()(["a cat"]).shape)
except Exception as error:
    print(type(error).__name__, error)
"""
EMBEDDED = "(1, 384)\n"
OPENING = """
import retrieval_store
with retrieval_store.Client(sys.argv[2]) as client:
    client.get_or_create_collection("notes", embedding_function="minilm")
    client.create_collection("others").add(ids=["a"], documents=["a cat"])
    client.delete_collection("others")
print("opened")
"""


@cache
def small_graph():
    """The content of a stand-in for the int8 graph, and its digest: each token becomes its number,
    384 times. The source of a file doesn't depend on its content."""
    built = bert.Builder()
    numbers = built.add("Cast", "input_ids", to=built.FLOAT)
    each = built.add("Unsqueeze", numbers, built.constant([2]))
    built.name(built.add("Expand", each, built.constant([1, 1, 384])), "last_hidden_state")
    model = built.model("numbers", bert.OPSET, ["input_ids"], ("last_hidden_state", 384))
    content = model.SerializeToString(deterministic=True)
    return content, hashlib.sha256(content).hexdigest()


@pytest.fixture
def files(tmp_path):
    """The hub's files, which a test may change."""
    folder = tmp_path / "files"
    (folder / INT8).parent.mkdir(parents=True)
    shutil.copy(directory() / TOKENIZER, folder / TOKENIZER)
    (folder / INT8).write_bytes(small_graph()[0])
    return folder


@pytest.fixture
def hub(files):
    with running_hub(files, OFFICIAL.repository, OFFICIAL.revision) as hub:
        yield hub


def ask(hub, tmp_path, program=EMBEDDING, **more):
    """The output of a program, whose argument is the path of a store, and its log."""
    done = subprocess.run(
        [sys.executable, "-c", ASKING + program, small_graph()[1], str(tmp_path / "store")],
        env=hub.environment(tmp_path / "home") | more,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def snapshot(tmp_path):
    name = OFFICIAL.repository.replace("/", "--")
    return tmp_path / "home" / "hub" / f"models--{name}" / "snapshots" / OFFICIAL.revision


# The hub


def test_nothing_is_downloaded_before_the_model_is_used(hub, tmp_path):
    assert ask(hub, tmp_path, OPENING)[0] == "opened\n"
    assert hub.asked == []


def test_its_files_are_downloaded_once_from_one_revision_with_a_log(hub, tmp_path):
    message, log = ask(hub, tmp_path)
    assert message == EMBEDDED
    (line,) = [one for one in log.splitlines() if INT8 in one and "downloading" in one]
    assert f"of the model {OFFICIAL.repository}" in line
    assert " MB, from " + hub.endpoint in line
    wanted = {f"/{OFFICIAL.repository}/resolve/{OFFICIAL.revision}/{n}" for n in (INT8, TOKENIZER)}
    assert {one for one in hub.asked if OFFICIAL.repository in one} == wanted
    hub.asked.clear()
    message, log = ask(hub, tmp_path)
    assert (message, "downloading" in log) == (EMBEDDED, False)
    assert hub.asked == []


def test_a_hub_that_returns_another_file_is_refused(hub, files, tmp_path):
    whole = (files / INT8).read_bytes()
    (files / INT8).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    message, _ = ask(hub, tmp_path)
    assert "EmbeddingFunctionError" in message
    assert f"isn't the {INT8} of all-MiniLM-L6-v2: its SHA-256 is" in message
    assert f"{hub.endpoint} gave it" in message
    (files / INT8).write_bytes(whole)
    assert ask(hub, tmp_path)[0] == EMBEDDED


def test_a_file_that_was_damaged_in_the_cache_is_downloaded_again(hub, tmp_path):
    ask(hub, tmp_path)
    path = (snapshot(tmp_path) / INT8).resolve()
    path.write_bytes(path.read_bytes()[:-1])
    message, _ = ask(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert f"{INT8} of all-MiniLM-L6-v2 is another file in Hugging Face's cache" in message
    assert ask(hub, tmp_path)[0] == EMBEDDED


def test_a_download_that_is_cut_off_is_an_error_and_the_next_one_succeeds(hub, files, tmp_path):
    with running_hub(files, OFFICIAL.repository, OFFICIAL.revision, cut_off=100_000) as broken:
        message, _ = ask(broken, tmp_path)
    assert (
        f"EmbeddingFunctionError {TOKENIZER}" in message
        or f"EmbeddingFunctionError {INT8}" in message
    )
    assert f"can't be downloaded from {broken.endpoint}" in message
    assert "hf download" in message
    assert ask(hub, tmp_path)[0] == EMBEDDED


def test_offline_nothing_is_requested_and_the_error_says_how_to_install_the_files(hub, tmp_path):
    message, _ = ask(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE forbids to download it" in message
    assert (
        f"`hf download {OFFICIAL.repository} {INT8} {TOKENIZER} --revision {OFFICIAL.revision} "
        "--local-dir DIRECTORY`"
    ) in message
    assert hub.asked == []


def test_two_processes_may_download_at_once(hub, tmp_path):
    running = [
        subprocess.Popen(
            [sys.executable, "-c", ASKING + EMBEDDING, small_graph()[1]],
            env=hub.environment(tmp_path / "home"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(2)
    ]
    assert {one.communicate(timeout=120)[0] for one in running} == {EMBEDDED}


# A directory


def test_models_files_are_read_from_a_directory(tmp_path):
    want = MiniLMEmbedding()(["a cat"])
    for name in (INT8, TOKENIZER):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(directory() / name)
    embed = MiniLMEmbedding(directory=tmp_path, local_files_only=True)
    assert np.array_equal(embed(["a cat"]), want)
    assert embed.settings() == {"precision": "int8"}  # a store says nothing of directories


@pytest.mark.parametrize("name", [INT8, TOKENIZER])
def test_a_directory_with_foreign_files_is_refused(files, monkeypatch, name):
    expect_graph(monkeypatch, small_graph()[1])
    assert MiniLMEmbedding(directory=str(files))(["a"]).shape == (1, 384)
    (files / name).unlink()
    with pytest.raises(EmbeddingFunctionError, match=f"has no {name} of all-MiniLM-L6-v2"):
        MiniLMEmbedding(directory=str(files))(["a"])
    (files / name).write_bytes(b"{}" * 100)
    with pytest.raises(EmbeddingFunctionError, match=f"isn't the {name} of all-MiniLM-L6-v2"):
        MiniLMEmbedding(directory=str(files))(["a"])


def test_local_files_only_forbids_to_download(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EmbeddingFunctionError, match="local_files_only forbids to download it"):
        MiniLMEmbedding(local_files_only=True)(["a"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"local_files_only": "yes"}, "local_files_only is 'yes'.*, expected True or False"),
        ({"directory": 3}, "directory is 3.*, expected a str"),
    ],
)
def test_arguments_of_the_wrong_type_are_refused(settings, message):
    with pytest.raises(InvalidTypeError, match=message):
        MiniLMEmbedding(**settings)


# Packages


@pytest.mark.parametrize("name", ["huggingface_hub", "onnxruntime", "tokenizers"])
def test_missing_packages_are_named_with_the_extra_to_install(monkeypatch, name):
    assert is_installed()
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"retrieval-store\[onnx\]"):
        MiniLMEmbedding(threads=1)(["a"])


def test_the_pinned_files_are_those_of_the_repository():
    """The tokenizer is the same file as in the package of the weights."""
    import hashlib

    content = (Path(directory()) / TOKENIZER).read_bytes()
    known = OFFICIAL.files["tokenizer"]
    assert (len(content), hashlib.sha256(content).hexdigest()) == (known.size, known.digest)
