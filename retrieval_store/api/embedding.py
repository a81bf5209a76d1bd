"""Embeds the records and queries of a collection; it loads nothing of the embedding function before
there is something to embed."""

from typing import TYPE_CHECKING

from retrieval_store.api.arguments import Default

if TYPE_CHECKING:
    from retrieval_store.api.embedder import ProbedEmbedder, Spec
    from retrieval_store.embeddings import Embeds
    from retrieval_store.query.protocols import Backend


class Embedding:
    """The embedder of a collection, made when it is first needed, or at once of a function that is
    given: then ConflictError tells of another one than the collection was created with.

    given: what the caller passed; spec: what the collection remembers; trust: whether a function
    may be made of that, whatever it reaches; check: whether another function is refused.
    """

    def __init__(
        self,
        backend: "Backend",
        given: "Embeds | Default | None",
        spec: "Spec | None",
        trust: bool = False,
        check: bool = True,
    ) -> None:
        self._backend, self._spec, self._trust, self._check = backend, spec, trust, check
        self._given = given
        self.made: ProbedEmbedder | None = None
        if not (given is None or isinstance(given, Default)):
            self.embedder()

    def embedder(self) -> "ProbedEmbedder":
        """The embedder. Two threads that ask for the first time at once may get two, which only
        compare the function with the collection's own twice."""
        if self.made is None:
            from retrieval_store.api.embedder import Embedder, ProbedEmbedder

            own = Embedder(self._given, self._spec, self._trust, self._check)
            self.made = ProbedEmbedder(self._backend, own, self._check)
        return self.made

    def of(self, backend: "Backend") -> "Embedding":
        """The same of another collection that was made of this one."""
        other = Embedding(backend, None, self._spec, self._trust, self._check)
        other.made = self.embedder().of(backend)
        return other
