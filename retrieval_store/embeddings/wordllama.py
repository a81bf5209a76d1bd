"""WordLlama: small static text embeddings with their weights in the package, so nothing is
downloaded.

They embed tens of thousands of short texts a second on one core.
"""

import importlib.util
import json
import logging
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Floats, Ints, Matrix
from retrieval_store.base.locks import Lock
from retrieval_store.base.platform import at_fork
from retrieval_store.base.validation import quote
from retrieval_store.embeddings import ComparedByCosine
from retrieval_store.embeddings._common import require_strings, tell_of_lengths
from retrieval_store.errors import InvalidArgumentError, MissingDependencyError

DIMENSIONS = (64, 128, 256)
# What the model was trained with: max_length in config/train/l2_supercat.toml of the package.
MAX_TOKENS = 256
LONGEST_TOKEN = 16  # characters, in its vocabulary
MAX_CHARACTERS = (MAX_TOKENS + 8) * LONGEST_TOKEN  # with some more, as the last token may be cut
_models: dict[int, Any] = {}
_loading = Lock()
# A child must not wait for a thread of its parent's.
at_fork(after_in_child=lambda: globals().update(_loading=Lock()))
WEIGHTS, TENSOR = "weights/l2_supercat_256.safetensors", "embedding.weight"
LONGEST_HEADER = 1 << 16  # bytes, of a file of one tensor
TEXTS_AT_ONCE = 64  # 64 texts of 256 tokens of 256 numbers are 16 MB


class WordLlamaEmbedding(ComparedByCosine):
    """Embeds texts with the WordLlama model "l2_supercat".

    dimensions: 64, 128 or 256. Vectors are float32 of length 1, or all zeros for a text in which
    the model finds no token. Of a text the first 256 tokens count, some 200 words, which is what
    the model was trained with; longer texts are reported (`embeddings._common`). Raises
    MissingDependencyError at the first use when the package wordllama isn't installed.
    """

    self_contained = True
    tells_of_cuts = True

    def __init__(self, dimensions: int = 256) -> None:
        if not isinstance(dimensions, int | np.integer) or dimensions not in DIMENSIONS:
            raise InvalidArgumentError(
                f"dimensions is {quote(dimensions)}, expected one of {DIMENSIONS}"
            )
        self._dimensions = int(dimensions)

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"dimensions": self._dimensions}

    @property
    def max_tokens(self) -> int:
        """How many tokens of a text count: 256."""
        return MAX_TOKENS

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """How many tokens each of the texts has."""
        model = _load_model(self._dimensions)  # which pads texts that it is given together
        return [len(model.tokenize([text])[0]) for text in texts]

    def __call__(self, input: Sequence[str]) -> Matrix:
        """(n, dimensions) float32 for n texts."""
        require_strings(input, "WordLlama")
        model = _load_model(self._dimensions)
        vectors = np.empty((len(input), self._dimensions), np.float32)
        seen = np.empty(len(input), np.int64)
        for start in range(0, len(input), TEXTS_AT_ONCE):
            some = [text[:MAX_CHARACTERS] for text in input[start : start + TEXTS_AT_ONCE]]
            rows = slice(start, start + len(some))
            vectors[rows], seen[rows] = _embed(model, some)
        tell_of_lengths("wordllama", MAX_TOKENS, input, seen, MAX_CHARACTERS)
        # Normalised here, since the model's own way makes NaN of a text without tokens.
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, lengths, out=vectors, where=lengths > 0)
        return vectors


def _embed(model: Any, texts: list[str]) -> tuple[Matrix, Ints]:
    """The mean of the first tokens of each text: `embed` of the model, which has no limit; and how
    many tokens each has."""
    found = model.tokenize(texts)
    ids = np.array([one.ids[:MAX_TOKENS] for one in found], np.int32)
    masks = [one.attention_mask for one in found]  # all are padded to the longest
    counted = np.array([mask[:MAX_TOKENS] for mask in masks], np.float32)
    np.clip(ids, 0, len(model.embedding) - 1, out=ids)
    pooled: Matrix = model.avg_pool(model.embedding[ids].astype(np.float32, copy=False), counted)
    return pooled, np.fromiter(map(sum, masks), np.int64, len(masks))


def tokens_of(texts: Sequence[str], longest: int) -> list[Ints]:
    """The numbers of the tokens of each text's first characters, each once. Like an embedding
    function it raises MissingDependencyError without the package."""
    model = _load_model(max(DIMENSIONS))
    found = (model.tokenize([text[:longest]])[0].ids for text in texts)  # together it pads them
    return [np.unique(np.array(ids, np.int64).clip(0, len(model.embedding) - 1)) for ids in found]


def vectors_of(tokens: Ints) -> tuple[Matrix, Floats]:
    """The vectors of tokens, of length 1, and the lengths that they had."""
    vectors = _load_model(max(DIMENSIONS)).embedding[tokens].astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    np.divide(vectors, lengths[:, None], out=vectors, where=lengths[:, None] > 0)
    return vectors, lengths.astype(np.float64)


def _load_model(dimensions: int) -> Any:
    """The model, read once a process: that takes longer than to make a client and a collection."""
    with _loading:
        if dimensions not in _models:
            _models[dimensions] = _load(dimensions)
    return _models[dimensions]


def _load(dimensions: int) -> Any:
    spec = importlib.util.find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "the default embedding function needs the package wordllama: "
            'pip install "retrieval-store[standard]", or pass embedding_function= of your own'
        )
    # The package configures the root logger when it is imported; that is the application's to do.
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        from wordllama import WordLlama
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    folder = Path(spec.origin).parent
    model = WordLlama.load(cache_dir=folder, trunc_dim=dimensions, disable_download=True)
    model.embedding = _mapped(folder / WEIGHTS, model.embedding)
    return model


def _mapped(path: Path, loaded: Any) -> Any:
    """The vectors of the words as they are in their file, mapped: half as large as what was loaded,
    and in memory once for all processes. Means of them are the same, since float32 has every number
    of float16. What was loaded, where the file is another one than is known here."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, LONGEST_HEADER)))
        about = header[TENSOR]
        start, shape = 8 + length + about["data_offsets"][0], tuple(about["shape"])
        mapped = np.memmap(path, "<f2", "r", start, shape) if about["dtype"] == "F16" else None
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return loaded
    if mapped is None or mapped.shape != (len(loaded), mapped.shape[-1]):
        return loaded
    rows = np.asarray(mapped)[:, : loaded.shape[1]]
    same = rows.shape == loaded.shape and np.array_equal(rows[::997], loaded[::997])
    return rows if same else loaded
