"""What the directory of a model says of itself, in the files of sentence-transformers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import listed, shown
from retrieval_store.errors import EmbeddingFunctionError

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
class Layout:
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


def layout_of(folder: Path, graph: Path | bytes) -> Layout:
    """The layout of the model in a directory. EmbeddingFunctionError where a file is missing, isn't
    JSON, or asks for what can't be done here."""
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise EmbeddingFunctionError(f"the model in {folder} has no tokenizer.json")
    texts = _json(folder / "sentence_bert_config.json")
    prompts = _json(folder / "config_sentence_transformers.json")
    pooling, normalize = _modules(folder)
    return Layout(
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
    """The settings of pooling, and whether vectors are normalised: those of modules.json; without
    it, as for any plain model, a mean that isn't normalised."""
    modules = _json(folder / "modules.json", list)
    pooling, normalize = {}, False
    for module in modules[1:]:
        if not isinstance(module, dict):
            raise EmbeddingFunctionError(
                f"{folder / 'modules.json'} has {shown(module)}, expected a dict"
            )
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            pooling = _json(folder / str(module.get("path", "")) / "config.json")
        elif kind == "Normalize":
            normalize = True
        else:
            raise EmbeddingFunctionError(
                f"the model in {folder} has a module {shown(kind)}; only Pooling and Normalize can "
                "come after the transformer"
            )
    return pooling, normalize


def _way_of(pooling: Mapping[str, Any], folder: Path) -> str:
    """How vectors of tokens are made one; the mean where nothing says it."""
    told = pooling.get("pooling_mode")
    if told is None:
        told = [way for key, way in POOLINGS.items() if pooling.get(key)]
    ways = told if isinstance(told, list) else [told]
    if len(ways) > 1 or any(way not in POOLINGS.values() for way in ways):
        raise EmbeddingFunctionError(
            f"the model in {folder} pools by {', '.join(map(shown, ways))}; known is one of "
            f"{listed(sorted(POOLINGS.values()))}"
        )
    return ways[0] if ways else "mean"


def _max_tokens(folder: Path, texts: Mapping[str, Any]) -> int:
    """max_seq_length; else what the tokenizer and the positions of the model allow."""
    told = [
        texts.get("max_seq_length"),
        _json(folder / "tokenizer_config.json").get("model_max_length"),
        _json(folder / "config.json").get("max_position_embeddings"),
    ]
    numbers = [one for one in told if isinstance(one, int) and 0 < one < 1_000_000]
    if told[0] in numbers:
        return int(numbers[0])
    return min(numbers, default=LONGEST)


def _prompt(said: Mapping[str, Any], names: tuple[str, ...]) -> str:
    prompts = said.get("prompts")
    prompts = prompts if isinstance(prompts, dict) else {}
    usual = said.get("default_prompt_name")
    for name in (*names, usual):
        if isinstance(prompts.get(name), str):
            return str(prompts[name])
    return ""


def _json(path: Path, kind: type = dict) -> Any:
    """What a file says; nothing where there is none."""
    if not path.is_file():
        return kind()
    try:
        said = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise EmbeddingFunctionError(f"{path} isn't JSON: {error}") from error
    if not isinstance(said, kind):
        raise EmbeddingFunctionError(f"{path} is {shown(said)}, expected a {kind.__name__}")
    return said
