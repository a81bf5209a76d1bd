"""Where the directory of a model is: where the caller says, or in the caches of Hugging Face and of
Chroma; downloaded only where that is asked for."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from retrieval_store.base.tracing import log_of
from retrieval_store.errors import EmbeddingFunctionError, MissingDependencyError

_log = log_of()
FILES = [
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "*/config.json",
]  # that are read besides the graph; what else a repository has stays there


def folder_of(model: str, download: bool, graphs: Sequence[str]) -> Path:
    """The directory of a model by its path or its name. graphs: which files of graphs are wanted,
    the first that there is; download: whether what no cache has is fetched."""
    path = Path(os.path.expanduser(model))
    if path.is_dir():
        return path
    if _is_path(model):
        raise EmbeddingFunctionError(f"there is no directory {model!r} with a model")
    names = [model] if "/" in model else [f"sentence-transformers/{model}", model]
    for name in names:
        found = _in_cache(name, graphs)
        if found is not None:
            return found
    chroma = chroma_cache() / model.rpartition("/")[2] / "onnx"
    if any((chroma / graph).is_file() for graph in graphs):
        return chroma
    if not download:
        raise EmbeddingFunctionError(
            f"the model {model!r} is no directory, and neither Hugging Face's cache nor Chroma's "
            "has it in the ONNX format; download=True fetches it"
        )
    return _downloaded(names[0], graphs)


def _is_path(model: str) -> bool:
    separators = {os.sep, os.altsep or os.sep}
    return (
        model.startswith((".", "~")) or os.path.isabs(model) or bool(separators - {"/"} & {*model})
    )


def chroma_cache() -> Path:
    """Where Chroma keeps the models that it downloads."""
    return Path(os.path.expanduser("~/.cache/chroma/onnx_models"))


def is_of_chroma(folder: Path) -> bool:
    """Whether a directory is one of those."""
    return folder.is_relative_to(chroma_cache())


def _in_cache(name: str, graphs: Sequence[str]) -> Path | None:
    """The newest snapshot of a repository in Hugging Face's cache, if it has one of the graphs and
    all that belongs to it."""
    hub = _hub()
    for graph in graphs:
        with suppress(Exception):  # that there is none, or not all, is said by several classes
            wanted = _wanted(graph)
            found = Path(hub.snapshot_download(name, allow_patterns=wanted, local_files_only=True))
            if (found / graph).is_file():
                return found
    return None


def _wanted(graph: str) -> list[str]:
    return [*FILES, graph, f"{graph}_data", f"{graph}.data"]


def _downloaded(name: str, graphs: Sequence[str]) -> Path:
    hub = _hub()
    from huggingface_hub.constants import ENDPOINT

    try:
        there = set(hub.HfApi().list_repo_files(name))
        graph = next((one for one in graphs if one in there), None)
        if graph is None:
            raise EmbeddingFunctionError(
                f"the model {name!r} at {ENDPOINT} has none of the files {', '.join(graphs)}"
            )
        _log.warning("downloading the model %s from %s", name, ENDPOINT)
        return Path(hub.snapshot_download(name, allow_patterns=_wanted(graph)))
    except EmbeddingFunctionError:
        raise
    except Exception as error:  # of the network, of the server, of the disk
        raise EmbeddingFunctionError(
            f"the model {name!r} can't be downloaded from {ENDPOINT}: {error}"
        ) from error


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingDependencyError(
            "models are found by huggingface_hub, which comes with tokenizers: "
            'pip install "retrieval-store[onnx]"'
        ) from error
    return huggingface_hub
