"""Runs a model: tokenizes texts, divides them into batches, and pools the vectors."""

import ctypes
import os
from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from retrieval_store.base.arrays import Ints, Matrix
from retrieval_store.base.locks import ReentrantLock
from retrieval_store.base.platform import at_fork
from retrieval_store.base.system import telemetry_off
from retrieval_store.embeddings._common import TokenCounter, cut_to_tokens, warn_of_truncation
from retrieval_store.embeddings.onnx.model_files import ModelLayout
from retrieval_store.errors import EmbeddingFunctionError, MissingDependencyError

# Tokens per run, padding included. More isn't faster, since the activations no longer fit the
# caches: a MiniLM takes a tenth longer with 8,192.
TOKENS_AT_ONCE = 2_048
TEXTS_AT_ONCE = 1_024  # tokenized: the data of each of their tokens takes some 200 bytes
LEAST = np.float32(-1e9)  # the value of missing tokens, where the greatest is computed
Key = tuple[object, ...]


class RunningModel:
    """The tokenizer and the session of a model. Any number of threads can use it at the same
    time."""

    def __init__(self, layout: ModelLayout, name: str, threads: int) -> None:
        tokenizers, onnxruntime = _packages()
        self._layout, self._name = layout, name
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(layout.tokenizer))
            self._session = onnxruntime.InferenceSession(
                str(layout.graph),
                _options(onnxruntime, threads),
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # of either package, which have no common base
            raise EmbeddingFunctionError(f"the model {name} can't be loaded: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(layout.max_tokens)
        self._at_once = 1 if layout.one_by_one else TOKENS_AT_ONCE
        self._counter = TokenCounter()
        self._marks = int(self._tokenizer.num_special_tokens_to_add(False))
        self._inputs = {node.name for node in self._session.get_inputs()}
        self._output = _output_of(self._session, name)

    def vectors(self, texts: Sequence[str], prompt: str, normalize: bool) -> Matrix:
        """(n, dim) float32 for n texts; the prompt is put before each text."""
        parts = [
            self._embed_batch(texts[start : start + TEXTS_AT_ONCE], prompt)
            for start in range(0, len(texts), TEXTS_AT_ONCE)
        ]
        if not parts:
            return np.empty((0, 0), np.float32)
        vectors = np.concatenate(parts)
        return _unit(vectors) if normalize else vectors

    def count_tokens(self, texts: Sequence[str], prompt: str) -> Sequence[int]:
        """The number of tokens of each text, with the prompt before it, without truncation."""
        count = self._counter.of(self._tokenizer)
        assert count is not None
        return count(self._add_prompt(texts, prompt))

    def _add_prompt(self, texts: Sequence[str], prompt: str) -> list[str]:
        prompted = [prompt + text for text in texts]
        return [text.lower() for text in prompted] if self._layout.lowercase else prompted

    def _embed_batch(self, texts: Sequence[str], prompt: str) -> Matrix:
        encodings = self._encode(texts, prompt)
        skipped = 0 if self._layout.counts_prompt else self._length_of(prompt)
        lengths = np.array([len(encoding.ids) for encoding in encodings])
        order, parts = [], []
        for rows in batches(lengths, self._at_once):
            order.append(rows)
            parts.append(self._run([encodings[i] for i in rows], lengths[rows], skipped))
        stacked = np.concatenate(parts)
        vectors: Matrix = np.empty_like(stacked)
        vectors[np.concatenate(order)] = stacked
        return vectors

    def _encode(self, texts: Sequence[str], prompt: str) -> list[Any]:
        limit = self._layout.max_tokens
        prompted = self._add_prompt(cut_to_tokens(texts, limit), prompt)
        encodings: list[Any] = self._tokenizer.encode_batch(prompted)
        seen = np.array([self._length_with(encoding) for encoding in encodings], np.int64)
        warn_of_truncation(self._name, limit, texts, seen)
        return encodings

    def _length_with(self, encoding: Any) -> int:
        """The number of tokens of a text, including those that were truncated. The tokenizer adds
        special tokens to each truncated piece; these are counted only once."""
        pieces = encoding.overflowing
        return len(encoding) + sum(len(piece) - self._marks for piece in pieces)

    def _length_of(self, prompt: str) -> int:
        """The number of tokens of the prompt at the beginning of a text, including the special
        tokens before the prompt."""
        if not prompt:
            return 0
        encoding = self._tokenizer.encode(prompt)
        return len(encoding.ids) - int(encoding.special_tokens_mask[-1])

    def _run(self, encodings: list[Any], lengths: Ints, skipped: int) -> Matrix:
        # One place at least: of an empty text some tokenizers make no token.
        mask = np.arange(max(1, lengths.max())) < lengths[:, None]
        inputs = {
            "input_ids": _pad(mask, [encoding.ids for encoding in encodings]),
            "attention_mask": mask.astype(np.int64),
            "token_type_ids": _pad(mask, [encoding.type_ids for encoding in encodings]),
            "position_ids": np.broadcast_to(np.arange(mask.shape[1]), mask.shape),
        }
        feeds = {name: inputs[name] for name in self._inputs & inputs.keys()}
        try:
            (output,) = self._session.run([self._output], feeds)
        except Exception as error:  # of onnxruntime, which has a class for each kind
            raise EmbeddingFunctionError(f"the model {self._name} can't be run: {error}") from error
        expected = mask.shape[: output.ndim - 1]
        if output.ndim not in (2, 3) or output.shape[:-1] != expected:
            raise EmbeddingFunctionError(
                f"the model {self._name} gives {self._output} as {output.shape} for {mask.shape} "
                "tokens, and no vectors of them"
            )
        if output.ndim == 2:
            return np.asarray(output, np.float32)
        mask[:, :skipped] = False
        return pool_tokens(np.asarray(output, np.float32), mask, self._layout.pooling)


def batches(lengths: Ints, at_once: int) -> Iterator[Ints]:
    """The positions of texts with these lengths in batches, the longest texts first. Each batch has
    at most `at_once` tokens, or a single text. Texts of similar length are in the same batch, so
    that little padding is needed."""
    order, start = np.argsort(-lengths, kind="stable"), 0
    while start < len(order):
        count = max(1, at_once // int(lengths[order[start]] or 1))
        yield order[start : start + count]
        start += count


def pool_tokens(tokens: Matrix, mask: NDArray[np.bool_], way: str) -> Matrix:
    """(n, dim) from (n, tokens, dim): the vectors of the tokens of each text combined into one
    vector, as the pooling of sentence-transformers does."""
    if way in ("cls", "lasttoken"):
        last = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
        places = mask.argmax(axis=1) if way == "cls" else last
        chosen: Matrix = tokens[np.arange(len(tokens)), places]
        return chosen
    if way == "max":
        greatest: Matrix = np.where(mask[..., None], tokens, LEAST).max(axis=1)
        return greatest
    weights = mask.astype(np.float32)
    if way == "weightedmean":
        weights *= np.arange(1, mask.shape[1] + 1, dtype=np.float32)
    sums = (weights[:, None] @ tokens)[:, 0]
    counts = np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    means: Matrix = sums / (np.sqrt(counts) if way == "mean_sqrt_len_tokens" else counts)
    return means


def _pad(mask: NDArray[np.bool_], numbers: list[list[int]]) -> Ints:
    padded = np.zeros(mask.shape, np.int64)
    padded[mask] = np.concatenate([np.asarray(row, np.int64) for row in numbers])
    return padded


def _unit(vectors: Matrix) -> Matrix:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, lengths, out=vectors, where=lengths > 0)
    return vectors


def _output_of(session: Any, name: str) -> str:
    """The name of the output of a model that has a vector for each text. If there is no such
    output, the name of the output that has a vector for each token."""
    ranks: dict[str, int] = {node.name: len(node.shape) for node in session.get_outputs()}
    for preferred in ("sentence_embedding", "last_hidden_state", "token_embeddings"):
        if preferred in ranks:
            return preferred
    tokens_output = next((output for output, rank in ranks.items() if rank == 3), None)
    if tokens_output is None:
        raise EmbeddingFunctionError(
            f"the model {name} gives {', '.join(ranks)}, and no vectors of tokens"
        )
    return tokens_output


def _options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors alone, which are raised too
    # Threads that wait by spinning take the processor from others, as a program has.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _packages() -> tuple[Any, Any]:
    try:
        with telemetry_off():
            import onnxruntime
        import tokenizers
    except ImportError as error:
        raise MissingDependencyError(
            "models in the ONNX format need onnxruntime and tokenizers: "
            'pip install "retrieval-store[onnx]"'
        ) from error
    return tokenizers, onnxruntime


# The models of this process, as long as some embedding function uses them.
_models: WeakValueDictionary[Key, RunningModel] = WeakValueDictionary()
_loading = ReentrantLock()


def loading() -> ReentrantLock:
    """The lock, as a context manager, that a thread holds while it locates, creates or loads a
    model."""
    return _loading


def shared_model(layout: ModelLayout, name: str, threads: int) -> RunningModel:
    """The loaded model. A process loads it once for each number of threads."""
    info = layout.graph.stat()
    file = (layout.graph.resolve(), info.st_mtime_ns, info.st_size)
    key = (os.getpid(), file, layout, threads)
    with loading():
        model = _models.get(key)
        if model is None:
            _models[key] = model = RunningModel(layout, name, threads)
        return model


def _abandon_sessions() -> None:
    """Abandon the sessions in a forked child. The sessions have lost their threads, so they can be
    neither used nor destroyed: destroying a session waits for its threads forever. So each session
    gets a reference that is never released."""
    globals().update(_loading=ReentrantLock())
    for model in _models.values():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(model))


at_fork(after_in_child=_abandon_sessions)
