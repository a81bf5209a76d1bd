"""Whether a function is the one that a collection was filled with, where no name tells: by its
vector of a fixed text, the probe.

A collection remembers it from the first write that embedded texts. It is taken where something is
embedded anyway, and never when a collection is opened, since a call may cost money.
"""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Floats, Matrix
from retrieval_store.base.dataclasses import replace
from retrieval_store.base.tracing import log_of
from retrieval_store.direct.configuration import stored_settings
from retrieval_store.direct.embedder import Embedded, Embedder
from retrieval_store.embeddings import Embeds
from retrieval_store.errors import ConflictError, RetrievalStoreError
from retrieval_store.query.protocols import Backend
from retrieval_store.query.types import CollectionRecord

_log = log_of()
PROBE = "The quick brown fox jumps over the lazy dog."
LEAST_COSINE = 0.99  # of two vectors of one text by one function
LONGEST = 65_536  # numbers of a vector


class ProbedEmbedder:
    """The embedder of one collection, which compares its function with what the collection
    remembers: once, when it has embedded a text. check: whether another function is refused."""

    def __init__(self, backend: Backend, embedder: Embedder, check: bool) -> None:
        self._backend, self._embedder, self._check = backend, embedder, check
        self._done = self._unknown = self._to_remember = False
        self._instead_of: str | None = None

    def of(self, backend: Backend) -> "ProbedEmbedder":
        """The same of another collection that was made of this one."""
        return ProbedEmbedder(backend, self._embedder, self._check)

    @property
    def is_there(self) -> bool:
        """Whether there is a function."""
        return self._embedder.is_there

    @property
    def function(self) -> Embeds | None:
        """The function, made if it has to be; None without one."""
        return self._embedder.function

    def embed(self, inputs: Sequence[Any], show_progress: bool = False) -> Embedded:
        """The vectors of documents or images."""
        embedded = self._embedder.embed(inputs, show_progress)
        if not self._done and isinstance(inputs[0], str):
            self._compare()
            self._to_remember = not self._done
        return embedded

    def embed_query(self, inputs: Sequence[Any]) -> Matrix:
        """(n, dim) float32 for n queries."""
        matrix = self._embedder.embed_query(inputs)
        if not (self._done or self._unknown) and isinstance(inputs[0], str):
            self._compare()
        return matrix

    def written(self) -> None:
        """Let the collection remember the function of which vectors have been written, if it
        remembers none yet, or one of which nothing was left. The write is done, so what goes wrong
        here is logged alone; the next write sees to it."""
        if not self._to_remember or self._done:
            return
        own = self._embedder.vector_of(PROBE) if self._embedder.is_custom else None
        try:
            if own is not None:
                self._remember(own)
            self._done = True
        except RetrievalStoreError as error:
            _log.warning("which embedding function was used couldn't be remembered: %s", error)

    def _compare(self) -> None:
        spec = _spec_of(self._backend.record())
        stored = _unpacked(spec.get("probe"))
        if stored is None:
            self._unknown = True  # queries needn't ask again
            return
        own = self._embedder.vector_of(PROBE) if self._check else None
        if own is not None and not _are_alike(own, stored):
            again = self._embedder.vector_of(PROBE)
            if again is not None and _are_alike(own, again):  # else nothing tells it from others
                self._refuse(own, stored)
                self._instead_of = spec["probe"]
                return
        self._done = True

    def _refuse(self, own: Floats, stored: Floats) -> None:
        """Raise ConflictError, unless nothing is left of what the other function made."""
        if not self._backend.points.count():
            return
        raise ConflictError(
            "the embedding function isn't the one that the collection was filled with: their "
            f"vectors of one text have the cosine {_cosine(own, stored):.2f}, and those of one "
            f"function at least {LEAST_COSINE}. Get the collection with the function that made its "
            "vectors; or, if these are to be mixed, with check_model=False"
        )

    def _remember(self, own: Floats) -> None:
        def edit(record: CollectionRecord) -> CollectionRecord:
            spec = _spec_of(record)
            if "custom" not in spec or spec.get("probe") != self._instead_of:  # another was faster
                return record
            spec = {**spec, "probe": _packed(own)}
            return replace(record, settings={**record.settings, "embedding_function": spec})

        self._backend.change(edit)


def without_probe(spec: Any) -> Any:
    """What is remembered of a function, as users are shown it."""
    if not isinstance(spec, dict):
        return spec
    return {name: told for name, told in spec.items() if name != "probe"}


def _spec_of(record: CollectionRecord) -> dict[str, Any]:
    spec: Any = stored_settings(record)["embedding_function"]
    return spec if isinstance(spec, dict) else {}


def _packed(vector: Floats) -> str:
    """A vector as text: its direction alone counts, for which halves are precise enough."""
    scaled = vector / max(float(np.abs(vector).max()), 1e-300)
    return base64.b64encode(scaled.astype("<f2").tobytes()).decode()


def _unpacked(told: Any) -> Floats | None:
    """A vector of such text; None for what is none, in a store of who knows whom."""
    try:
        blob = base64.b64decode(told, validate=True)
    except (TypeError, ValueError):
        return None
    if not blob or len(blob) % 2 or len(blob) > 2 * LONGEST:
        return None
    vector = np.frombuffer(blob, "<f2").astype(np.float64)
    return vector if np.isfinite(vector).all() else None


def _are_alike(one: Floats, other: Floats) -> bool:
    return len(one) == len(other) and _cosine(one, other) >= LEAST_COSINE


def _cosine(one: Floats, other: Floats) -> float:
    """0 for vectors of different lengths; 1 for two of which one has no direction, which says
    nothing."""
    if len(one) != len(other):
        return 0.0
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return 1.0 if lengths == 0 else float(one @ other) / lengths
