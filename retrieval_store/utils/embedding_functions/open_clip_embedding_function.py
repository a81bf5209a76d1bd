"""`OpenCLIPEmbeddingFunction` with Chroma's arguments."""

from retrieval_store.embeddings import open_clip


def OpenCLIPEmbeddingFunction(
    model_name: str = "ViT-B-32",
    checkpoint: str = "laion2b_s34b_b79k",
    device: str | None = "cpu",
) -> open_clip.OpenCLIPEmbeddingFunction:
    """A `retrieval_store.OpenCLIPEmbeddingFunction`."""
    return open_clip.OpenCLIPEmbeddingFunction(model_name, checkpoint, device=device)
