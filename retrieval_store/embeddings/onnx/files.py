"""The files of a model: where its directory is, what they say of the model, and its weights.

`folder_of` finds the directory: where the caller says, or in the caches of Hugging Face and of
Chroma; it downloads only on request. `layout_of` reads how a model is used, from the files of
sentence-transformers. `read_weights` reads arrays from files of the safetensors format: a length, a
table as JSON, and the numbers.

`cached_file` holds files that can be made again, in the user's cache directory. Beside each lies
its SHA-256: one that has changed since, or wasn't finished, is made again. Where nothing can be
written, or there is no such directory, the new content is handed on as it is.
"""

import glob
import hashlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.system import digest_of
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import list_ids, quote
from retrieval_store.errors import EmbeddingFunctionError, MissingDependencyError

POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}  # as older files have them, and as newer ones call them
OF_QUERIES, OF_DOCUMENTS = ("query",), ("document", "passage", "corpus")  # names of prompts
LONGEST = 512  # tokens, where nothing says how many a model takes in


@dataclass(frozen=True, slots=True)
class ModelLayout:
    """How a model is used.

    graph: the file in the ONNX format, or what would stand in it; tokenizer: the file of the
    tokenizer; max_tokens: how many of a text count; pooling: how one vector is made of those of the
    tokens; counts_prompt: whether the tokens of a prompt are among these; normalize: whether
    vectors get the length 1; lowercase: whether texts are made so; prompts: what is put before
    queries and documents.
    """

    graph: Path | bytes
    tokenizer: Path
    max_tokens: int
    pooling: str = "mean"
    counts_prompt: bool = True
    normalize: bool = True
    lowercase: bool = False
    query_prompt: str = ""
    document_prompt: str = ""


def layout_of(folder: Path, graph: Path | bytes) -> ModelLayout:
    """The layout of the model in a directory. EmbeddingFunctionError where a file is missing, isn't
    JSON, or asks for something unsupported."""
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise EmbeddingFunctionError(f"the model in {folder} has no tokenizer.json")
    texts = _json(folder / "sentence_bert_config.json")
    prompts = _json(folder / "config_sentence_transformers.json")
    pooling, normalize = _modules(folder)
    return ModelLayout(
        graph,
        tokenizer,
        _max_tokens(folder, texts),
        _way_of(pooling, folder),
        counts_prompt=pooling.get("include_prompt") is not False,
        normalize=normalize,
        lowercase=texts.get("do_lower_case") is True,
        query_prompt=_prompt(prompts, OF_QUERIES),
        document_prompt=_prompt(prompts, OF_DOCUMENTS),
    )


def _modules(folder: Path) -> tuple[Mapping[str, Any], bool]:
    """Pooling and normalisation according to modules.json; without it the mean, not normalised."""
    modules = _json(folder / "modules.json", list)
    pooling, normalize = {}, False
    for module in modules[1:]:
        if not isinstance(module, dict):
            raise EmbeddingFunctionError(
                f"{folder / 'modules.json'} has {quote(module)}, expected a dict"
            )
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            pooling = _json(folder / str(module.get("path", "")) / "config.json")
        elif kind == "Normalize":
            normalize = True
        else:
            raise EmbeddingFunctionError(
                f"the model in {folder} has a module {quote(kind)}; only Pooling and Normalize can "
                "come after the transformer"
            )
    return pooling, normalize


def _way_of(pooling: Mapping[str, Any], folder: Path) -> str:
    """The way of pooling; the mean by default."""
    named = pooling.get("pooling_mode")
    if named is None:
        named = [way for key, way in POOLINGS.items() if pooling.get(key)]
    ways = named if isinstance(named, list) else [named]
    if len(ways) > 1 or any(way not in POOLINGS.values() for way in ways):
        raise EmbeddingFunctionError(
            f"the model in {folder} pools by {', '.join(map(quote, ways))}; known is one of "
            f"{list_ids(sorted(POOLINGS.values()))}"
        )
    return ways[0] if ways else "mean"


def _max_tokens(folder: Path, texts: Mapping[str, Any]) -> int:
    """max_seq_length; otherwise what the tokenizer and the positions of the model allow."""
    limits = [
        texts.get("max_seq_length"),
        _json(folder / "tokenizer_config.json").get("model_max_length"),
        _json(folder / "config.json").get("max_position_embeddings"),
    ]
    numbers = [one for one in limits if isinstance(one, int) and 0 < one < 1_000_000]
    if limits[0] in numbers:
        return int(numbers[0])
    return min(numbers, default=LONGEST)


def _prompt(config: Mapping[str, Any], names: tuple[str, ...]) -> str:
    prompts = config.get("prompts")
    prompts = prompts if isinstance(prompts, dict) else {}
    usual = config.get("default_prompt_name")
    for name in (*names, usual):
        if isinstance(prompts.get(name), str):
            return str(prompts[name])
    return ""


def _json(path: Path, kind: type = dict) -> Any:
    """The JSON in a file; empty without the file."""
    if not path.is_file():
        return kind()
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise EmbeddingFunctionError(f"{path} isn't JSON: {error}") from error
    if not isinstance(content, kind):
        raise EmbeddingFunctionError(f"{path} is {quote(content)}, expected a {kind.__name__}")
    return content


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
    return _download(names[0], graphs)


def _is_path(model: str) -> bool:
    separators = {os.sep, os.altsep or os.sep}
    return (
        model.startswith((".", "~")) or os.path.isabs(model) or bool(separators - {"/"} & {*model})
    )


def chroma_cache() -> Path:
    """The directory in which Chroma keeps models."""
    return Path(os.path.expanduser("~/.cache/chroma/onnx_models"))


def is_of_chroma(folder: Path) -> bool:
    """Whether a directory is one of Chroma's models."""
    return folder.is_relative_to(chroma_cache())


def _in_cache(name: str, graphs: Sequence[str]) -> Path | None:
    """The newest snapshot of a repository in Hugging Face's cache that has one of the graphs and
    everything that belongs to it."""
    hub = _hub()
    for graph in graphs:
        with suppress(Exception):  # several classes mean that there is none, or not all
            wanted = _files_of_graph(graph)
            found = Path(hub.snapshot_download(name, allow_patterns=wanted, local_files_only=True))
            if (found / graph).is_file():
                return found
    return None


def _files_of_graph(graph: str) -> list[str]:
    return [*FILES, graph, f"{graph}_data", f"{graph}.data"]


def _download(name: str, graphs: Sequence[str]) -> Path:
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
        return Path(hub.snapshot_download(name, allow_patterns=_files_of_graph(graph)))
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


_KINDS = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}


def read_weights(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of a file by name, mapped into memory."""
    raw = np.memmap(path, np.uint8, "r")
    size = int(raw[:8].view("<u8")[0])
    table = json.loads(bytes(raw[8 : 8 + size]))
    found: dict[str, NDArray[np.generic]] = {}
    for name, entry in table.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _KINDS:
            raise EmbeddingFunctionError(f"{path} has {name!r} as {entry['dtype']}")
        start, end = (8 + size + place for place in entry["data_offsets"])
        found[name] = raw[start:end].view(_KINDS[entry["dtype"]]).reshape(entry["shape"])
    return found


def digest_of_graph(path: Path) -> str:
    """The SHA-256 of a graph: of its file, or of those of its files and those beside it that are
    called after it, in which large models have their weights."""
    files = sorted({path, *path.parent.glob(f"{glob.escape(path.name)}[_.]data")})
    digests = [digest_of(one) for one in files]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


READABLE = 0o644


def cache_directory() -> Path:
    """The user's cache directory: XDG_CACHE_HOME or ~/.cache, or that of macOS or Windows."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        given = Path(os.environ.get("XDG_CACHE_HOME", ""))
        base = given if given.is_absolute() else Path.home() / ".cache"
    return base / "retrieval-store" / "models"


def cached_file(name: str, make: Callable[[], bytes]) -> Path | bytes:
    """The cached file of this name, made if it is missing or damaged; its bytes where it can't be
    stored."""
    try:
        path = cache_directory() / name
    except RuntimeError as error:  # of a user who has no home
        return _not_cached(name, make(), error)
    digest = path.with_suffix(".sha256")
    with suppress(OSError):
        trusted = _is_ours(digest) and _is_ours(path)
        if trusted and digest.read_bytes() == digest_of(path).encode():
            return path
    made = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _written(path, made)
        _written(digest, hashlib.sha256(made).hexdigest().encode())
    except OSError as error:
        return _not_cached(name, made, error)
    return path


def _is_ours(path: Path) -> bool:
    """Whether it is a regular file of this user or of root that no one else can write to."""
    info = path.stat()
    own = not hasattr(os, "getuid") or info.st_uid in (0, os.getuid())
    others = sys.platform != "win32" and info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(info.st_mode) and own and not others


def _not_cached(name: str, made: bytes, error: Exception) -> bytes:
    _log.info("%s can't be kept, so it is made again by each process: %s", name, error)
    return made


def _written(path: Path, content: bytes) -> None:
    """Write a temporary file and rename it: two processes that do so at once leave one whole
    file."""
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
        if sys.platform != "win32":
            Path(name).chmod(READABLE)  # by others too, as of a model that root put into an image
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
