"""`ONNXMiniLM_L6_V2`, the function that Chroma takes by default."""

from collections.abc import Sequence

from retrieval_store.base.validation import quote
from retrieval_store.embeddings.onnx import functions
from retrieval_store.errors import InvalidArgumentError

PROVIDER = "CPUExecutionProvider"


def ONNXMiniLM_L6_V2(preferred_providers: Sequence[str] | None = None) -> functions.MiniLMEmbedding:
    """A `retrieval_store.MiniLMEmbedding` in float32, whose vectors are Chroma's; it runs on
    processors."""
    if preferred_providers is not None and PROVIDER not in preferred_providers:
        raise InvalidArgumentError(
            f"preferred_providers is {quote(preferred_providers)}, expected {PROVIDER!r} among "
            "them: the model runs on processors alone"
        )
    return functions.MiniLMEmbedding("float32")
