"""Any model that was saved in the ONNX format."""

from functools import partial
from pathlib import Path
from typing import Any

from retrieval_store.base.dataclasses import replace
from retrieval_store.base.validation import shown
from retrieval_store.embeddings.onnx.building import onnx_package
from retrieval_store.embeddings.onnx.cache import cached_file
from retrieval_store.embeddings.onnx.functions import OnnxFunction, checked_precision
from retrieval_store.embeddings.onnx.layouts import Layout, layout_of
from retrieval_store.embeddings.onnx.places import folder_of, is_of_chroma
from retrieval_store.embeddings.onnx.quantizing import quantized
from retrieval_store.embeddings.onnx.weights import digest_of_graph
from retrieval_store.errors import EmbeddingFunctionError, InvalidArgumentError, InvalidTypeError

WHOLE = ("onnx/model.onnx", "model.onnx")  # float32, as sentence-transformers and Chroma save it
IN_INT8 = tuple(
    folder + name
    for folder in ("onnx/", "")
    for name in ("model_int8.onnx", "model_quantized.onnx", "model_uint8.onnx")
)
# Of its own model, without the files that would say so.
AS_CHROMA_USES_IT: dict[str, Any] = {"max_tokens": 256, "normalize": True}
RECIPE = 1  # to be counted up when int8 is made in another way


class OnnxEmbedding(OnnxFunction):
    """Embeds texts with a model in the ONNX format, by onnxruntime: without torch.

    model: the path of a directory as sentence-transformers lays it out (tokenizer.json, its
    settings, onnx/model.onnx), or a name, which is looked for in Hugging Face's cache and in
    Chroma's, and fetched from Hugging Face only with `download`. precision: "float32", or "int8",
    a quarter of the size and about twice as fast: it is made of the float32 graph, and kept in the
    user's cache directory; where a directory has int8 alone, that is used as it is. file: another
    graph in the directory, used as it is. normalize: whether vectors get the length 1;
    query_prompt, document_prompt: texts put before queries and documents. None leaves these three
    to the model. threads: how many compute, at most; all processors up to eight, if None. Of a text
    as many tokens count as the model says.

    What isn't there or can't be read is an EmbeddingFunctionError, at the first use, as is
    MissingDependencyError without the packages of the extra `onnx`. `close` lets go of the model.
    """

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
        super().__init__(_text(model, "model"), threads)
        if not self._name:
            raise InvalidArgumentError("model is '', expected a directory or a name")
        if not isinstance(download, bool):
            raise InvalidTypeError(f"download is {shown(download)}, expected True or False")
        if normalize is not None and not isinstance(normalize, bool):
            raise InvalidTypeError(f"normalize is {shown(normalize)}, expected True, False or None")
        self._download = download
        self._settings: dict[str, Any] = {
            "model": self._name,
            "precision": checked_precision(precision),
            "file": None if file is None else _inside(_text(file, "file")),
            "normalize": normalize,
            "query_prompt": None if query_prompt is None else _text(query_prompt, "query_prompt"),
            "document_prompt": (
                None if document_prompt is None else _text(document_prompt, "document_prompt")
            ),
        }

    def settings(self) -> dict[str, Any]:
        """What decides the embeddings."""
        return self._settings

    def _layout(self) -> Layout:
        graphs = self._graphs()
        folder = folder_of(self._name, self._download, graphs)
        name = next((one for one in graphs if (folder / one).is_file()), None)
        if name is None:
            there = sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*.onnx"))
            raise EmbeddingFunctionError(
                f"the model in {folder} has none of the files {', '.join(graphs)}; it has "
                f"{', '.join(there) or 'no file in the ONNX format'}"
            )
        is_made = self._settings["precision"] == "int8" and name in WHOLE
        is_made = is_made and self._settings["file"] is None
        layout = layout_of(folder, _in_int8(folder / name) if is_made else folder / name)
        if is_of_chroma(folder):
            layout = replace(layout, **AS_CHROMA_USES_IT)
        chosen = {
            name: self._settings[name]
            for name in ("normalize", "query_prompt", "document_prompt")
            if self._settings[name] is not None
        }
        return replace(layout, **chosen)

    def _graphs(self) -> tuple[str, ...]:
        """Where in the directory the graph may be, the best first."""
        file = self._settings["file"]
        if file is not None:
            return file, f"onnx/{file}"
        return (*WHOLE, *IN_INT8) if self._settings["precision"] == "int8" else WHOLE


def _in_int8(path: Path) -> Path | bytes:
    """The graph in int8, which is called after what it was made of."""
    return cached_file(
        f"{digest_of_graph(path)[:24]}-int8-{RECIPE}.onnx", partial(_quantized, path)
    )


def _quantized(path: Path) -> bytes:
    onnx = onnx_package()
    try:
        model = onnx.load(str(path))
    except Exception as error:  # of protobuf, mostly
        raise EmbeddingFunctionError(f"{path} isn't in the ONNX format: {error}") from error
    try:
        made: bytes = quantized(model).SerializeToString()
    except ValueError as error:
        if isinstance(error, EmbeddingFunctionError):
            raise
        raise EmbeddingFunctionError(f"{path} is too large to be made int8: {error}") from error
    return made


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str | Path):
        raise InvalidTypeError(f"{name} is {shown(value)}, expected a str")
    return str(value)


def _inside(file: str) -> str:
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise InvalidArgumentError(f"file is {shown(file)}, expected one in the model's directory")
    return file
