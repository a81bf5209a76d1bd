"""Finds the files of a model, and reads its settings.

`folder_of` finds the directory of a model: the caller's directory, or one in the caches of Hugging
Face and Chroma. It downloads a model only on request. `layout_of` reads how the model is used, from
the files of sentence-transformers. The files of a `PinnedModel` are known by their SHA-256, and are
downloaded when they are first needed.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

    graph: the file in the ONNX format; tokenizer: the file of the tokenizer; max_tokens: the limit
    of tokens per text; pooling: how the vectors of tokens are combined into one vector;
    counts_prompt: whether pooling includes the tokens of a prompt; normalize: whether vectors are
    scaled to length 1; lowercase: whether texts are lowercased; query_prompt, document_prompt:
    texts put before queries and documents; one_by_one: whether texts are run alone, since a graph
    in int8 would scale all texts of a batch together.
    """

    graph: Path
    tokenizer: Path
    max_tokens: int
    pooling: str = "mean"
    counts_prompt: bool = True
    normalize: bool = True
    lowercase: bool = False
    query_prompt: str = ""
    document_prompt: str = ""
    one_by_one: bool = False


def layout_of(folder: Path, graph: Path) -> ModelLayout:
    """The layout of the model in a directory. Raises EmbeddingFunctionError if a file is missing,
    isn't JSON, or needs something unsupported."""
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
    """The pooling, and whether vectors are scaled to length 1, both from modules.json. Without that
    file the pooling is the mean, without scaling."""
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
    """The kind of pooling that a pooling configuration names; the mean by default."""
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
    """The limit of tokens per text: max_seq_length, or else the lower of the limits of the
    tokenizer and of the model's position embeddings."""
    limits = [
        texts.get("max_seq_length"),
        _json(folder / "tokenizer_config.json").get("model_max_length"),
        _json(folder / "config.json").get("max_position_embeddings"),
    ]
    numbers = [limit for limit in limits if isinstance(limit, int) and 0 < limit < 1_000_000]
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
    """The content of a JSON file; empty if the file doesn't exist."""
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
    """The directory of a model, found by its path or its name. graphs: possible files of the graph,
    of which the first existing one is used; download: whether files that are not in a cache are
    downloaded."""
    path = Path(os.path.expanduser(model))
    if path.is_dir():
        return path
    if _is_path(model):
        raise EmbeddingFunctionError(f"there is no directory {model!r} with a model")
    names = [model] if "/" in model else [f"sentence-transformers/{model}", model]
    for name in names:
        folder = _in_cache(name, graphs)
        if folder is not None:
            return folder
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
    """The directory in which Chroma stores its models."""
    return Path(os.path.expanduser("~/.cache/chroma/onnx_models"))


def in_chroma_cache(folder: Path) -> bool:
    """Whether the directory belongs to a model that Chroma has downloaded."""
    return folder.is_relative_to(chroma_cache())


def _in_cache(name: str, graphs: Sequence[str]) -> Path | None:
    """The newest snapshot of a repository in Hugging Face's cache that has one of the graphs and
    all other files of the model; None if there is none."""
    hub = _hub()
    for graph in graphs:
        with suppress(Exception):  # several classes mean that there is none, or not all
            patterns = _files_of_graph(graph)
            folder = Path(
                hub.snapshot_download(name, allow_patterns=patterns, local_files_only=True)
            )
            if (folder / graph).is_file():
                return folder
    return None


def _files_of_graph(graph: str) -> list[str]:
    return [*FILES, graph, f"{graph}_data", f"{graph}.data"]


def _download(name: str, graphs: Sequence[str]) -> Path:
    hub = _hub()
    from huggingface_hub.constants import ENDPOINT

    try:
        files = set(hub.HfApi().list_repo_files(name))
        graph = next((candidate for candidate in graphs if candidate in files), None)
        if graph is None:
            raise EmbeddingFunctionError(
                f"the model {name!r} at {ENDPOINT} has none of the files {', '.join(graphs)}"
            )
        _log.warning("downloading the model %s from %s", name, ENDPOINT)
        with _without_its_log():
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


@contextmanager
def _without_its_log() -> Iterator[None]:
    """A context manager that suppresses the Hub's log messages about retries, since the final error
    reports them."""
    log = logging.getLogger("huggingface_hub")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A file of a repository: its name in the repository, its size in bytes, and its SHA-256."""

    name: str
    size: int
    digest: str

    def is_at(self, path: Path) -> bool:
        """Whether the file at the path has this content."""
        return path.is_file() and digest_of(path) == self.digest


@dataclass(frozen=True, slots=True)
class PinnedModel:
    """A model whose files are known in advance, from one revision of a repository at the Hugging
    Face Hub."""

    name: str
    repository: str
    revision: str
    files: Mapping[str, PinnedFile]

    def locate(
        self, names: Sequence[str], directory: Path | None, local_files_only: bool
    ) -> list[Path]:
        """The paths of the files: in the directory if there is one, otherwise in the Hub's cache,
        into which missing files are downloaded. Raises EmbeddingFunctionError for a file with other
        content, and for a missing file that cannot or must not be downloaded."""
        files = [self.files[name] for name in names]
        if directory is not None:
            return [self._in_directory(directory, file) for file in files]
        return [self._in_cache(file, files, local_files_only) for file in files]

    def _in_directory(self, directory: Path, file: PinnedFile) -> Path:
        path = directory / file.name
        if not path.is_file():
            raise EmbeddingFunctionError(f"{directory} has no {file.name} of {self.name}")
        return self._check_file(path, file, "Bring it again")

    def _in_cache(self, file: PinnedFile, files: list[PinnedFile], local_files_only: bool) -> Path:
        hub = _hub()
        cached = hub.try_to_load_from_cache(self.repository, file.name, revision=self.revision)
        if isinstance(cached, str) and file.is_at(Path(cached)):
            return Path(cached)
        from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

        if local_files_only or HF_HUB_OFFLINE:
            problem = "is another file in" if isinstance(cached, str) else "is not in"
            why = "HF_HUB_OFFLINE" if HF_HUB_OFFLINE else "local_files_only"
            raise EmbeddingFunctionError(
                f"{file.name} of {self.name} {problem} Hugging Face's cache, and {why} forbids to "
                f"download it. {self._how_to_bring(files)}"
            )
        _log.warning(
            "downloading %s of the model %s, %.1f MB, from %s",
            file.name,
            self.repository,
            file.size / 1e6,
            ENDPOINT,
        )
        try:
            with _without_its_log():
                got = hub.hf_hub_download(
                    self.repository,
                    file.name,
                    revision=self.revision,
                    force_download=isinstance(cached, str),
                )
        except Exception as error:  # of the network, of the server, of the disk
            raise EmbeddingFunctionError(
                f"{file.name} of {self.name} can't be downloaded from {ENDPOINT}: {error}. "
                f"{self._how_to_bring(files)}"
            ) from error
        return self._check_file(Path(got), file, f"{ENDPOINT} gave it")

    def _check_file(self, path: Path, file: PinnedFile, end: str) -> Path:
        if not file.is_at(path):
            raise EmbeddingFunctionError(
                f"{path} isn't the {file.name} of {self.name}: its SHA-256 is {digest_of(path)}, "
                f"expected {file.digest}. {end}"
            )
        return path

    def _how_to_bring(self, files: list[PinnedFile]) -> str:
        names = " ".join(file.name for file in files)
        return (
            f"Where there is a connection, `hf download {self.repository} {names} --revision "
            f"{self.revision} --local-dir DIRECTORY` brings the files; give that directory as "
            "directory=, or without --local-dir copy the cache"
        )
