"""Embedding functions that run ONNX models in this process; `OnnxFunction` is their base.

`OnnxEmbedding` runs any model that was saved in the ONNX format. `MiniLMEmbedding` runs
all-MiniLM-L6-v2, Chroma's default: the model of Wang and others, "MiniLM" (2020), trained by
sentence-transformers. Its files are from one revision of the model's repository; the SHA-256 of
each file is in the code.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from retrieval_store.base.arrays import Matrix
from retrieval_store.base.system import require_installed, usable_cores
from retrieval_store.base.validation import is_unicode, quote
from retrieval_store.embeddings import ComparedByCosine
from retrieval_store.embeddings._common import require_strings
from retrieval_store.embeddings.onnx.model_files import (
    ModelLayout,
    PinnedFile,
    PinnedModel,
    folder_of,
    in_chroma_cache,
    layout_of,
)
from retrieval_store.embeddings.onnx.runtime import RunningModel, loading, shared_model
from retrieval_store.errors import EmbeddingFunctionError, InvalidArgumentError, InvalidTypeError

PRECISIONS = ("float32", "int8")
PACKAGES = ("huggingface_hub", "onnxruntime", "tokenizers")
USUAL_THREADS = 8  # more make each text hardly faster, and take processors from others


class OnnxFunction(ComparedByCosine):
    """A base class of functions that embed texts with a model in the ONNX format. The first use
    locates and loads the model. name: the model's name, for messages; threads: the maximum number
    of threads, None for `USUAL_THREADS`; never more than one per processor."""

    comparable = ("precision",)  # settings: vectors of one precision and of another are alike

    def __init__(self, name: str, threads: int | None) -> None:
        self._name, self._threads = name, _check_threads(threads)
        self._used: tuple[int, RunningModel, ModelLayout] | None = None

    def _layout(self) -> ModelLayout:
        raise NotImplementedError

    def check(self) -> None:
        """Raise MissingDependencyError if a required package isn't installed."""
        require_installed(type(self).__name__, "onnx", *PACKAGES)

    @property
    def max_tokens(self) -> int:
        """How many tokens of a text the model reads."""
        return self._ready()[1].max_tokens

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """The number of tokens of each text, as a document, with the prompt and the model's special
        tokens."""
        model, layout = self._ready()
        return model.count_tokens(texts, layout.document_prompt)

    def __call__(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n documents."""
        return self._vectors(input, is_query=False)

    def embed_query(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n queries."""
        return self._vectors(input, is_query=True)

    def close(self) -> None:
        """Release the model. Its memory is freed if no other function uses the model. The next use
        loads the model again."""
        self._used = None

    def _vectors(self, input: Sequence[str], is_query: bool) -> Matrix:
        require_strings(input, self._name)
        for i, text in enumerate(input):
            if not is_unicode(text):
                raise InvalidArgumentError(f"input[{i}] has a lone surrogate: {quote(text)}")
        model, layout = self._ready()
        prompt = layout.query_prompt if is_query else layout.document_prompt
        return model.vectors(input, prompt, layout.normalize)

    def _ready(self) -> tuple[RunningModel, ModelLayout]:
        used = self._used
        if used is None or used[0] != os.getpid():
            self.check()
            try:
                with loading():
                    layout = self._layout()
                    used = os.getpid(), shared_model(layout, self._name, self._threads), layout
            except OSError as error:
                raise EmbeddingFunctionError(
                    f"the model {self._name} can't be read: {error}"
                ) from error
            self._used = used
        return used[1:]


def _check_threads(threads: Any) -> int:
    if threads is None:
        return min(usable_cores(), USUAL_THREADS)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InvalidArgumentError(f"threads is {quote(threads)}, expected an int of at least 1")
    return min(threads, usable_cores())  # a store may say a million


def check_precision(precision: Any) -> str:
    """The precision, if it is "float32" or "int8"; otherwise raises InvalidArgumentError."""
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise InvalidArgumentError(f"precision is {quote(precision)}, expected one of {PRECISIONS}")
    return precision


WHOLE = ("onnx/model.onnx", "model.onnx")  # float32, as sentence-transformers and Chroma save it
# Names that optimum, transformers.js and sentence-transformers give. The last is for processors
# that add four products at once; on others its sums are cut off, so it comes last.
IN_INT8 = tuple(
    f"{folder}model_{name}.onnx"
    for name in ("int8", "quantized", "uint8", "quint8_avx2", "qint8_arm64")
    for folder in ("onnx/", "")
)
# Of its own model, without the files that would say so.
AS_CHROMA_USES_IT: dict[str, Any] = {"max_tokens": 256, "normalize": True}


class OnnxEmbedding(OnnxFunction):
    """Embeds texts with a model in the ONNX format, by onnxruntime: without torch."""

    def __init__(
        self,
        model: str,
        *,
        precision: str = "float32",
        file: str | None = None,
        normalize: bool | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        download: bool = False,
        threads: int | None = None,
    ) -> None:
        """Choose a model, which is loaded at the first use. `close` frees it. Tokens beyond the
        model's limit are ignored.

        Args:
            model: a directory in the layout of sentence-transformers (tokenizer.json, settings,
                onnx/model.onnx), or the name of a model in the cache of Hugging Face or Chroma.
            precision: "float32"; or "int8" for a graph of a quarter of the size, if the model has
                one. With int8 each text is run alone, so that its vector doesn't depend on the
                other texts of a call.
            file: another graph in the directory, used unchanged.
            normalize: whether vectors are scaled to length 1; None leaves it to the model.
            query_prompt: a text put before queries; None leaves it to the model.
            document_prompt: a text put before documents; None leaves it to the model.
            download: whether a model that is in no cache is downloaded from Hugging Face.
            threads: the maximum number of threads; None for one per processor, up to eight.

        Raises:
            EmbeddingFunctionError: at the first use, for missing or unreadable files.
            MissingDependencyError: at the first use, without the packages of the extra `onnx`.
        """
        super().__init__(_text(model, "model"), threads)
        if not self._name:
            raise InvalidArgumentError("model is '', expected a directory or a name")
        if not isinstance(download, bool):
            raise InvalidTypeError(f"download is {quote(download)}, expected True or False")
        if normalize is not None and not isinstance(normalize, bool):
            raise InvalidTypeError(f"normalize is {quote(normalize)}, expected True, False or None")
        self._download = download
        self._settings: dict[str, Any] = {
            "model": self._name,
            "precision": check_precision(precision),
            "file": None if file is None else _inside(_text(file, "file")),
            "normalize": normalize,
            "query_prompt": None if query_prompt is None else _text(query_prompt, "query_prompt"),
            "document_prompt": (
                None if document_prompt is None else _text(document_prompt, "document_prompt")
            ),
        }

    def settings(self) -> dict[str, Any]:
        """The settings that decide the embeddings."""
        return self._settings

    def _layout(self) -> ModelLayout:
        graphs = self._graphs()
        folder = folder_of(self._name, self._download, graphs)
        name = next((graph for graph in graphs if (folder / graph).is_file()), None)
        if name is None:
            present = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx"))
            raise EmbeddingFunctionError(
                f"the model in {folder} has none of the files {', '.join(graphs)}; it has "
                f"{', '.join(present) or 'no file in the ONNX format'}"
            )
        is_int8 = self._settings["precision"] == "int8"
        layout = replace(layout_of(folder, folder / name), one_by_one=is_int8)
        if in_chroma_cache(folder):
            layout = replace(layout, **AS_CHROMA_USES_IT)
        chosen = {
            name: self._settings[name]
            for name in ("normalize", "query_prompt", "document_prompt")
            if self._settings[name] is not None
        }
        return replace(layout, **chosen)

    def _graphs(self) -> tuple[str, ...]:
        """The paths in the directory at which the graph may be, the best first."""
        file = self._settings["file"]
        if file is not None:
            return file, f"onnx/{file}"
        return IN_INT8 if self._settings["precision"] == "int8" else WHOLE


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str | Path):
        raise InvalidTypeError(f"{name} is {quote(value)}, expected a str")
    return str(value)


def _inside(file: str) -> str:
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise InvalidArgumentError(f"file is {quote(file)}, expected one in the model's directory")
    return file


MINILM = PinnedModel(
    "all-MiniLM-L6-v2",
    "sentence-transformers/all-MiniLM-L6-v2",
    "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    {
        "tokenizer": PinnedFile(
            "tokenizer.json",
            466_247,
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
        "float32": PinnedFile(
            "onnx/model.onnx",
            90_405_214,
            "6fd5d72fe4589f189f8ebc006442dbb529bb7ce38f8082112682524616046452",
        ),
        # Its weights have seven bits: sums of products are exact on each processor.
        "int8": PinnedFile(
            "onnx/model_quint8_avx2.onnx",
            23_046_789,
            "b941bf19f1f1283680f449fa6a7336bb5600bdcd5f84d10ddc5cd72218a0fd21",
        ),
    },
)
DIMENSION, MAX_TOKENS = 384, 256


class MiniLMEmbedding(OnnxFunction):
    """Embeds texts with all-MiniLM-L6-v2. Its vectors have 384 numbers and length 1. The model
    reads at most 256 tokens of a text."""

    self_contained = True

    def __init__(
        self,
        precision: str = "int8",
        *,
        threads: int | None = None,
        directory: str | Path | None = None,
        local_files_only: bool = False,
    ) -> None:
        """Choose the files of the model, which are loaded at the first use. `close` frees the
        model. The SHA-256 of the files is checked at each start.

        Args:
            precision: "int8", a file of 23 MB; or "float32", 90 MB, whose vectors equal those from
                sentence-transformers and Chroma. Searches find as much with int8; the cosine
                between a text's two vectors is at least .97.
            threads: the maximum number of threads; None for one per processor, up to eight.
            directory: a directory with the model's files, named as in the model's repository. None
                for Hugging Face's cache, into which missing files are downloaded at the first use,
                from one revision of the repository at the Hugging Face Hub (or HF_ENDPOINT).
            local_files_only: whether downloads are forbidden. HF_HUB_OFFLINE in the environment
                forbids them, too.

        Raises:
            MissingDependencyError: at the first use, without the packages of the extra `minilm`.
            EmbeddingFunctionError: at the first use, for files that are missing or have other
                content.
        """
        super().__init__(MINILM.name, threads)
        self._precision = check_precision(precision)
        self._directory = None if directory is None else Path(_text(directory, "directory"))
        if not isinstance(local_files_only, bool):
            raise InvalidTypeError(
                f"local_files_only is {quote(local_files_only)}, expected True or False"
            )
        self._local_files_only = local_files_only

    def settings(self) -> dict[str, Any]:
        """The settings that decide the embeddings."""
        return {"precision": self._precision}

    def _layout(self) -> ModelLayout:
        graph, tokenizer = MINILM.locate(
            (self._precision, "tokenizer"), self._directory, self._local_files_only
        )
        return ModelLayout(graph, tokenizer, MAX_TOKENS, one_by_one=self._precision == "int8")


def is_installed() -> bool:
    """Whether all required packages are installed; nothing is imported."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)
