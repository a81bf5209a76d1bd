"""Embeds the records and queries of a collection. The embedding function isn't loaded before there
is something to embed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from retrieval_store.api.arguments import DEFAULT, Default
from retrieval_store.base.arrays import Matrix
from retrieval_store.query.types import CollectionRecord

if TYPE_CHECKING:
    from retrieval_store.api.embedding_functions import Spec
    from retrieval_store.embeddings import Embeds


class Embedder:
    """Calls a collection's embedding function, which is created when it is first needed.

    function: the function that the caller passed; spec: the stored specification of the
    collection's function; trust: whether a function may be created from that specification even if
    it accesses hosts or files; check: whether to raise ConflictError if the passed function differs
    from the stored one; collection: the collection's id and name, for the log.
    """

    def __init__(
        self,
        function: "Embeds | Default | None",
        spec: "Spec | None",
        trust: bool = False,
        check: bool = True,
        collection: tuple[str, str] | None = None,
    ) -> None:
        self._function: Embeds | None = None
        self._spec = spec if isinstance(function, Default) else None
        self._trust, self._collection = trust, collection
        if not (function is None or isinstance(function, Default)):
            from retrieval_store.api.embedding_functions import check_spec

            check_spec(function, spec, check)
            self._function = function

    @property
    def spec(self) -> "Spec | None":
        """The stored specification of the collection's function. None if nothing is stored, or if
        another function was passed."""
        return self._spec

    @property
    def may_create(self) -> bool:
        """Whether this client is allowed to create the stored function. Raises PluginError if no
        function with its name is installed."""
        from retrieval_store import plugins
        from retrieval_store.api.embedding_functions import may_create

        if self._spec is None or "name" not in self._spec:
            return False
        kind = plugins.load(plugins.EMBEDDING_FUNCTIONS, str(self._spec["name"]))
        return may_create(kind, self._spec, self._trust)

    @property
    def is_there(self) -> bool:
        """Whether there is a function, passed or stored. A stored function may not have been
        created yet."""
        return self._function is not None or self._spec is not None

    @property
    def function(self) -> "Embeds | None":
        """The function, or None if there is none. A stored function is created at the first
        call."""
        return self._load_function() if self.is_there else None

    def embed(self, inputs: Sequence[Any], show_progress: bool = False) -> Matrix:
        """(n, dim) float32: the vectors of n documents or images."""
        from retrieval_store.api.embedding_functions import embed_with
        from retrieval_store.embeddings._common import embedding_for

        with embedding_for(self._collection):
            return embed_with(self._load_function(), inputs, show_progress)

    def embed_query(self, inputs: Sequence[Any]) -> Matrix:
        """(n, dim) float32: the vectors of n queries."""
        from retrieval_store.api.embedding_functions import embed_queries
        from retrieval_store.embeddings._common import embedding_for

        with embedding_for(self._collection):
            return embed_queries(self._load_function(), inputs)

    def _load_function(self) -> "Embeds":
        """The function. If two threads make the first call at the same time, each may create its
        own function."""
        if self._function is None:
            from retrieval_store.api.embedding_functions import restore_function

            self._function = restore_function(self._spec, self._trust)
        return self._function


def embedder_of(record: CollectionRecord, trust: bool) -> Embedder:
    """The embedder of a collection, with its stored function. A collection that only QdrantClient
    can use has no function. Raises DamagedError for settings that no version of this package
    writes.

    Args:
        record: the record of the collection.
        trust: whether a stored function may be created that accesses hosts and files.
    """
    from retrieval_store.api.configuration import stored_settings
    from retrieval_store.api.embedding_functions import current_spec

    spec: Any = None if record.is_qdrant_only else stored_settings(record)["embedding_function"]
    return Embedder(DEFAULT, None if spec is None else current_spec(spec), trust)
