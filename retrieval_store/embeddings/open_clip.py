"""Embeds texts and images in the same vector space, with a CLIP model of open_clip."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Matrix
from retrieval_store.base.system import needing, require_installed
from retrieval_store.embeddings import ComparedByCosine
from retrieval_store.embeddings._common import (
    Count,
    LoadsModel,
    at_least,
    counter_of,
    cut_to_tokens,
    known_tokens,
    numbers_of_tokens,
    warn_of_truncation,
)
from retrieval_store.errors import InvalidTypeError

MARKS = 2  # where a text begins and ends


class OpenCLIPEmbeddingFunction(LoadsModel, ComparedByCosine):
    """Embeds texts and images with a CLIP model. A list can contain both, in any order. Vectors
    have length 1."""

    embeds_images = True

    def __init__(
        self,
        model_name: str = "ViT-B-32",
        checkpoint: str | None = "laion2b_s34b_b79k",
        *,
        device: str | None = None,
        batch_size: int = 32,
    ) -> None:
        """Choose a model, which is loaded at the first use. `close` frees it, and the next use
        loads it again. Images are (h, w) or (h, w, 3) uint8 arrays.

        Args:
            model_name: the model's name in open_clip.
            checkpoint: the name of the weights in open_clip, or a path; None: random weights, for
                tests.
            device: the device on which the model runs; None for a GPU ("cuda", "mps"), if any,
                otherwise "cpu"; not stored in collections.
            batch_size: inputs per batch; not stored.

        Raises:
            MissingDependencyError: at the first use, if open_clip isn't installed.
        """
        self._model_name = model_name
        self._checkpoint = None if checkpoint is None else str(checkpoint)
        self._device, self._batch_size = device, at_least(1, "batch_size", batch_size)
        super().__init__()

    def settings(self) -> dict[str, Any]:
        """The settings that decide the embeddings."""
        return {"model_name": self._model_name, "checkpoint": self._checkpoint}

    def check(self) -> None:
        """Raise MissingDependencyError if open_clip isn't installed."""
        require_installed("OpenCLIPEmbeddingFunction", "open-clip", "open_clip", "torch")

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text the model reads, including special tokens; most models read 77.
        To find that out, the model is loaded; None if it has no limit."""
        return known_tokens(getattr(self._load_once()[3], "context_length", None))

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """The number of tokens of each text, including special tokens."""
        return counter_of(self._count_by(self._load_once()[3]))(list(texts))

    def __call__(self, input: Sequence[Any]) -> Matrix:
        """(n, dim) float32 for n texts and images."""
        kinds = [isinstance(item, str) for item in input]
        parts: list[Any] = [None] * len(kinds)
        for is_text in (True, False):
            places = [i for i, kind in enumerate(kinds) if kind is is_text]
            for start in range(0, len(places), self._batch_size):
                indices = places[start : start + self._batch_size]
                vectors = self._embed_items([input[i] for i in indices], is_text)
                for i, vector in zip(indices, vectors, strict=True):
                    parts[i] = vector
        return np.stack(parts) if parts else np.empty((0, 0), np.float32)

    def _embed_items(self, items: list[Any], are_texts: bool) -> Matrix:
        torch, model, preprocess, tokenize, device = self._load_once()
        with torch.no_grad():
            if are_texts:
                length = known_tokens(getattr(tokenize, "context_length", None))
                texts = cut_to_tokens(items, length)
                vectors = model.encode_text(tokenize(texts).to(device))
                if length is not None:
                    seen = numbers_of_tokens(texts, length, self._count_by(tokenize))
                    warn_of_truncation(self._model_name, length, items, seen)
            else:
                images = torch.stack([preprocess(_as_image(item)) for item in items])
                vectors = model.encode_image(images.to(device))
            vectors = vectors / vectors.norm(dim=-1, keepdim=True)
        return vectors.cpu().numpy().astype(np.float32)  # type: ignore[no-any-return]

    def _count_by(self, tokenize: Any) -> Count | None:
        """A function that counts tokens with this tokenizer, which is a tokenizer of open_clip or
        of transformers."""
        encode = getattr(tokenize, "encode", None)
        if encode is None:
            return self._counter.of(getattr(tokenize, "tokenizer", None))
        return lambda texts: [len(encode(text)) + MARKS for text in texts]

    def _load(self) -> tuple[Any, Any, Any, Any, str]:
        with needing("OpenCLIPEmbeddingFunction", "open-clip-torch", "[open-clip]"):
            import open_clip
            import torch
        device = self._device or usual_device(torch)
        model, _, preprocess = open_clip.create_model_and_transforms(
            self._model_name, pretrained=self._checkpoint, device=device
        )
        model.eval()
        return torch, model, preprocess, open_clip.get_tokenizer(self._model_name), device


def usual_device(torch: Any) -> str:
    """The default device for a model: a GPU, if there is one."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _as_image(item: Any) -> Any:
    from PIL import Image

    array = np.asarray(item)
    if array.dtype != np.uint8 or not (array.ndim == 2 or array.shape[2:] == (3,)):
        raise InvalidTypeError(
            f"an image is an array of {array.dtype} with shape {array.shape}, expected uint8 (h, w)"
            " or (h, w, 3)"
        )
    return Image.fromarray(array).convert("RGB")
