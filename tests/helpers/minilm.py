"""all-MiniLM-L6-v2 for tests: texts to embed, and directories with the model.

Its weights come from a package that only the tests use. The graphs of its repository, which the
product downloads, aren't available to tests. `install` puts graphs built here from the same weights
in their place, under their names, with their own digests. The product finds, downloads and verifies
them in the same way.
"""

import importlib.util
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
from numpy.typing import NDArray

from retrieval_store.base.system import digest_of
from retrieval_store.embeddings.onnx import functions
from retrieval_store.embeddings.onnx.model_files import PinnedFile, PinnedModel

PARAGRAPHS = [one for topic in topics.values() for one in topic.split("\n\n") if one.strip()]
LONG = [topic for topic in topics.values() if len(topic) > 4_000]  # far over 256 tokens
TEXTS = ["", "x", "A cat.", *PARAGRAPHS[:300:60], LONG[0], "naïve Über Ægir 東京 🧿"]
OFFICIAL = functions.MINILM
WEIGHTS = "model.safetensors"
WEIGHTS_DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PACKAGE, ARCHIVE = "all_minilm_l6_v2", "model.zip"
DIGESTS = "digests.json"  # of the graphs that were made here


@cache
def weights_folder() -> Path:
    """The directory with the weights, in the layout of sentence-transformers; unpacked once per
    environment."""
    folder = Path(sys.prefix) / "share" / PACKAGE
    if not folder.exists():
        _unpack_weights(folder)
    assert digest_of(folder / WEIGHTS) == WEIGHTS_DIGEST
    assert digest_of(folder / "tokenizer.json") == OFFICIAL.files["tokenizer"].digest
    return folder


def _unpack_weights(folder: Path) -> None:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.submodule_search_locations, f"{PACKAGE} isn't installed"
    archive = Path(next(iter(spec.submodule_search_locations))) / ARCHIVE
    with _renamed_to(folder) as unpacked:
        shutil.unpack_archive(archive, unpacked)


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file in the safetensors format by name."""
    from safetensors.numpy import load_file

    return dict(load_file(path))


@cache
def directory() -> Path:
    """The files of the model's repository, built once per environment: a snapshot in a cache of
    Hugging Face."""
    maker = Path(__file__).with_name("bert.py")
    made = digest_of(maker)[:8]  # by another version of that module, other graphs
    cached = Path(sys.prefix) / "share" / f"{PACKAGE}-{made}"
    repository = f"models--{OFFICIAL.repository.replace('/', '--')}"
    if not cached.exists():
        with _renamed_to(cached) as folder:
            snapshot = folder / repository / "snapshots" / OFFICIAL.revision
            (snapshot / "onnx").mkdir(parents=True)
            (snapshot / "tokenizer.json").symlink_to(weights_folder() / "tokenizer.json")
            _write_graphs(snapshot)
            digests = {one.name: digest_of(snapshot / one.name) for one in OFFICIAL.files.values()}
            (snapshot / DIGESTS).write_text(json.dumps(digests))
    return cached / repository / "snapshots" / OFFICIAL.revision


def _write_graphs(folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from tests.helpers import bert  # which imports what takes long

    whole, small = (folder / OFFICIAL.files[one].name for one in ("float32", "int8"))
    model = bert.graph_of(read_weights(weights_folder() / WEIGHTS), heads=12, epsilon=1e-12)
    kinds = model.graph.input.add()  # as all have that people save, though it decides nothing
    kinds.CopyFrom(model.graph.input[0])
    kinds.name = "token_type_ids"
    whole.write_bytes(model.SerializeToString())
    logging.disable(logging.WARNING)  # which advises another program first
    quantize_dynamic(
        whole, small, per_channel=True, reduce_range=True, weight_type=QuantType.QUInt8
    )
    logging.disable(logging.NOTSET)


@contextmanager
def _renamed_to(folder: Path) -> Iterator[Path]:
    """A directory to fill. It gets its final name afterwards, unless another process was first."""
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as filled:
        yield Path(filled)
        with suppress(OSError):
            Path(filled).rename(folder)
        Path(filled).mkdir(exist_ok=True)  # for who removes it


@cache
def pinned() -> PinnedModel:
    """The model's definition in the product, with the digests of the graphs that were built
    here."""
    digests = json.loads((directory() / DIGESTS).read_text())

    def as_made(file: PinnedFile) -> PinnedFile:
        size = (directory() / file.name).stat().st_size
        return replace(file, size=size, digest=digests[file.name])

    return replace(OFFICIAL, files={one: as_made(file) for one, file in OFFICIAL.files.items()})


def install() -> None:
    """Let this process find and accept the model built here."""
    from huggingface_hub import constants

    hub = str(directory().parents[2])
    os.environ["HF_HUB_CACHE"] = constants.HF_HUB_CACHE = hub
    functions.MINILM = pinned()


def expect_graph(patch: pytest.MonkeyPatch, digest: str) -> None:
    """Make the product expect another file for the int8 graph."""
    small = replace(OFFICIAL.files["int8"], digest=digest)
    known = replace(OFFICIAL, files={**OFFICIAL.files, "int8": small})
    patch.setattr(functions, "MINILM", known)


def whole_graph() -> Path:
    """The file of its float32 graph."""
    return directory() / OFFICIAL.files["float32"].name


def write_model(
    folder: Path,
    *,
    pooling: dict[str, Any] | None = None,
    then: tuple[str, ...] = ("Normalize",),
    graph: Path | None = None,
    file: str = "onnx/model.onnx",
    texts: dict[str, Any] | None = None,
    prompts: dict[str, Any] | None = None,
) -> Path:
    """A directory as sentence-transformers saves one, which it can load as well.

    pooling: its settings; then: the modules after it; graph, file: the graph, and where it lies;
    texts: sentence_bert_config.json; prompts: config_sentence_transformers.json.
    """
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).symlink_to(whole_graph() if graph is None else graph)
    for one in ("tokenizer.json", "tokenizer_config.json", "config.json", WEIGHTS):
        (folder / one).symlink_to(weights_folder() / one)
    kinds = ["Transformer", "Pooling", *then]
    paths = ["", *(f"{i}_{kind}" for i, kind in enumerate(kinds) if i)]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    chosen = {"word_embedding_dimension": 384, **(pooling or {"pooling_mode_mean_tokens": True})}
    for name, message in (
        ("modules.json", modules),
        ("1_Pooling/config.json", chosen),
        (
            "sentence_bert_config.json",
            {"max_seq_length": 256, "do_lower_case": False, **(texts or {})},
        ),
        ("config_sentence_transformers.json", prompts or {}),
    ):
        (folder / name).write_text(json.dumps(message))
    return folder
