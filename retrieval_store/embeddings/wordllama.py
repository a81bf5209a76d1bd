"""WordLlama: small static text embeddings. Their weights are in the package wordllama, so nothing
is downloaded.

The model embeds tens of thousands of short texts a second on one core. Only two files of the
package are read: the vectors of tokens, and the tokenizer. These files are the same in all versions
of the package. The package's code isn't run, because it is compiled, and missing for some versions
of Python and some processors.
"""

import importlib.util
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Floats, Ints, Matrix, distinct
from retrieval_store.base.locks import Lock
from retrieval_store.base.platform import at_fork
from retrieval_store.base.system import needing, require_installed
from retrieval_store.base.validation import quote
from retrieval_store.embeddings import ComparedByCosine
from retrieval_store.embeddings._common import require_strings, warn_of_truncation
from retrieval_store.errors import InvalidArgumentError, MissingDependencyError

DIMENSIONS = (64, 128, 256)
# What the model was trained with: max_length in config/train/l2_supercat.toml of the package.
MAX_TOKENS = 256
LONGEST_TOKEN = 16  # characters, in its vocabulary
MAX_CHARACTERS = (MAX_TOKENS + 8) * LONGEST_TOKEN  # with some more, as the last token may be cut
TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
WEIGHTS, TENSOR = "weights/l2_supercat_256.safetensors", "embedding.weight"
SHAPE = (32_000, max(DIMENSIONS))  # of the tensor: tokens, and the numbers of each
LONGEST_HEADER = 1 << 16  # bytes, of a file of one tensor
TEXTS_AT_ONCE = 64  # 64 texts of 256 tokens of 256 numbers are 16 MB


class _Model(NamedTuple):
    """The files of the model. tokenizer: pads the texts of a call to the length of the longest;
    embedding: the vectors of tokens, with the shape SHAPE, float16. The vectors are memory-mapped,
    so that all processes share one copy in memory."""

    tokenizer: Any
    embedding: npt.NDArray[np.float16]

    def tokenize(self, texts: list[str]) -> Any:
        """The tokens of each text."""
        return self.tokenizer.encode_batch(texts, add_special_tokens=False)


_models: list[_Model] = []  # one, once it is loaded
_loading = Lock()
# A child must not wait for a thread of its parent's.
at_fork(after_in_child=lambda: globals().update(_loading=Lock()))


class WordLlamaEmbedding(ComparedByCosine):
    """Embeds texts with the WordLlama model "l2_supercat"."""

    self_contained = True

    def __init__(self, dimensions: int = 256) -> None:
        """Choose the length of vectors. They are float32 of length 1, or all zeros for a text in
        which the model finds no token. Only the first 256 tokens of a text are read, about 200
        words, because the model was trained with this length. A warning is logged for longer texts
        (`embeddings._common`).

        Args:
            dimensions: 64, 128 or 256.

        Raises:
            MissingDependencyError: at the first use, if wordllama isn't installed.
        """
        if not isinstance(dimensions, int | np.integer) or dimensions not in DIMENSIONS:
            raise InvalidArgumentError(
                f"dimensions is {quote(dimensions)}, expected one of {DIMENSIONS}"
            )
        self._dimensions = int(dimensions)

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"dimensions": self._dimensions}

    def check(self) -> None:
        """Raise MissingDependencyError if wordllama isn't installed."""
        require_installed("the embedding function wordllama", "standard", "wordllama", "tokenizers")

    @property
    def max_tokens(self) -> int:
        """How many tokens of a text are read: 256."""
        return MAX_TOKENS

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """The number of tokens of each text."""
        model = _load_model()
        return [len(model.tokenize([text])[0]) for text in texts]

    def __call__(self, input: Sequence[str]) -> Matrix:
        """(n, dimensions) float32 for n texts."""
        require_strings(input, "WordLlama")
        model = _load_model()
        vectors = np.empty((len(input), self._dimensions), np.float32)
        seen = np.empty(len(input), np.int64)
        for start in range(0, len(input), TEXTS_AT_ONCE):
            batch = [text[:MAX_CHARACTERS] for text in input[start : start + TEXTS_AT_ONCE]]
            rows = slice(start, start + len(batch))
            vectors[rows], seen[rows] = _embed(model, batch, self._dimensions)
        warn_of_truncation("wordllama", MAX_TOKENS, input, seen, MAX_CHARACTERS)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, lengths, out=vectors, where=lengths > 0)
        return vectors


def _embed(model: _Model, texts: list[str], dimensions: int) -> tuple[Matrix, Ints]:
    """For each text the mean of the vectors of its first tokens, and the number of its tokens."""
    encodings = model.tokenize(texts)
    ids = np.array([encoding.ids[:MAX_TOKENS] for encoding in encodings], np.int32)
    masks = [encoding.attention_mask for encoding in encodings]  # all are padded to the longest
    counted = np.array([mask[:MAX_TOKENS] for mask in masks], np.float32)[..., np.newaxis]
    np.clip(ids, 0, len(model.embedding) - 1, out=ids)
    vectors = model.embedding[:, :dimensions][ids].astype(np.float32)
    of_each = np.maximum(counted.sum(axis=1), 1.0)
    pooled: Matrix = np.sum(vectors * counted, axis=1, dtype=np.float32) / of_each
    return pooled, np.fromiter(map(sum, masks), np.int64, len(masks))


def tokens_of(texts: Sequence[str], longest: int) -> list[Ints]:
    """The distinct token numbers of each text, from its first `longest` characters. Raises
    MissingDependencyError without the package wordllama."""
    model = _load_model()
    ids_of_texts = (
        model.tokenize([text[:longest]])[0].ids for text in texts
    )  # together it pads them
    return [
        distinct(np.array(ids, np.int64).clip(0, len(model.embedding) - 1)) for ids in ids_of_texts
    ]


def vectors_of(tokens: Ints) -> tuple[Matrix, Floats]:
    """The vectors of tokens, scaled to length 1, and their original lengths."""
    vectors = _load_model().embedding[tokens].astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    np.divide(vectors, lengths[:, None], out=vectors, where=lengths[:, None] > 0)
    return vectors, lengths.astype(np.float64)


def _load_model() -> _Model:
    """The model. A process reads it only once, since reading takes longer than creating a client
    and a collection."""
    with _loading:
        if not _models:
            _models.append(_load())
    return _models[0]


def _load() -> _Model:
    spec = importlib.util.find_spec("wordllama")  # without importing it
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "the default embedding function needs the package wordllama: "
            'pip install "retrieval-store[standard]", or pass embedding_function= of your own'
        )
    with needing("the default embedding function", "tokenizers", "[standard]"):
        from tokenizers import Tokenizer
    folder = Path(spec.origin).parent
    try:
        embedding = _map_tensor(folder / WEIGHTS)
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # a tokenizer's errors have no class of their own
        raise MissingDependencyError(
            f"the package wordllama in {folder} has other files than those of its versions .2 to "
            f".4, which the default embedding function reads: {error}"
        ) from error
    tokenizer.enable_padding()
    tokenizer.no_truncation()
    return _Model(tokenizer, embedding)


def _map_tensor(path: Path) -> npt.NDArray[np.float16]:
    """The tensor in a safetensors file, memory-mapped. Raises ValueError unless it has the expected
    name, type and shape."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        header = json.loads(file.read(min(length, LONGEST_HEADER)))
    about = header[TENSOR]
    if about["dtype"] != "F16" or tuple(about["shape"]) != SHAPE:
        raise ValueError(f"{path} holds {about['dtype']}, {about['shape']}")
    start = 8 + length + about["data_offsets"][0]
    return np.memmap(path, "<f2", "r", start, SHAPE)
