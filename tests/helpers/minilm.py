"""all-MiniLM-L6-v2 as tests want it: texts to embed, and directories with its model in them."""

import atexit
import json
import tempfile
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from retrieval_store.embeddings.onnx.files import read_weights
from retrieval_store.embeddings.onnx.functions import EPSILON, HEADS, WEIGHTS, model_folder
from retrieval_store.embeddings.onnx.graph import graph_of

PARAGRAPHS = [one for topic in topics.values() for one in topic.split("\n\n") if one.strip()]
LONG = [topic for topic in topics.values() if len(topic) > 4_000]  # far over 256 tokens
TEXTS = ["", "x", "A cat.", *PARAGRAPHS[:300:20], *LONG[:2], "naïve Über Ægir 東京 🧿"]


@cache
def whole_graph() -> Path:
    """The file of its graph in float32, made once for all tests of a process."""
    folder = tempfile.TemporaryDirectory(prefix="minilm-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "model.onnx"
    path.write_bytes(_graph().SerializeToString())
    return path


def _graph() -> Any:
    """With an input of kinds of tokens, as all have that people save, though it decides nothing."""
    model = graph_of(read_weights(model_folder() / WEIGHTS), HEADS, EPSILON)
    kinds = model.graph.input.add()
    kinds.CopyFrom(model.graph.input[0])
    kinds.name = "token_type_ids"
    return model


def write_model(
    folder: Path,
    *,
    pooling: dict[str, Any] | None = None,
    then: tuple[str, ...] = ("Normalize",),
    graph: Path | None = None,
    file: str = "onnx/model.onnx",
    texts: dict[str, Any] | None = None,
    prompts: dict[str, Any] | None = None,
) -> Path:
    """A directory as sentence-transformers saves one, which it can load as well.

    pooling: its settings; then: the modules after it; graph, file: the graph, and where it lies;
    texts: sentence_bert_config.json; prompts: config_sentence_transformers.json.
    """
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).symlink_to(whole_graph() if graph is None else graph)
    for one in ("tokenizer.json", "tokenizer_config.json", "config.json", WEIGHTS):
        (folder / one).symlink_to(model_folder() / one)
    kinds = ["Transformer", "Pooling", *then]
    paths = ["", *(f"{i}_{kind}" for i, kind in enumerate(kinds) if i)]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    chosen = {"word_embedding_dimension": 384, **(pooling or {"pooling_mode_mean_tokens": True})}
    for name, said in (
        ("modules.json", modules),
        ("1_Pooling/config.json", chosen),
        (
            "sentence_bert_config.json",
            {"max_seq_length": 256, "do_lower_case": False, **(texts or {})},
        ),
        ("config_sentence_transformers.json", prompts or {}),
    ):
        (folder / name).write_text(json.dumps(said))
    return folder
