"""Embeds the records and queries of a collection; it loads nothing of the embedding function before
there is something to embed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from retrieval_store.api.arguments import DEFAULT, Default
from retrieval_store.base.arrays import Matrix
from retrieval_store.query.types import CollectionRecord

if TYPE_CHECKING:
    from retrieval_store.api.embedding_functions import Spec
    from retrieval_store.embeddings import Embeds


class Embedder:
    """Calls a collection's embedding function, which is made when it is first needed.

    function: what the caller passed; spec: what the collection remembers; trust: whether a function
    may be made of that, whatever it reaches; check: whether another function than that raises
    ConflictError; collection: its id and its name, for the log.
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
        """What the collection remembers of its function; None where it remembers none, and where
        another was passed."""
        return self._spec

    @property
    def may_be_made(self) -> bool:
        """Whether the function that is remembered may be made here; PluginError where there is none
        of its name."""
        from retrieval_store import plugins
        from retrieval_store.api.embedding_functions import may_be_made

        if self._spec is None or "name" not in self._spec:
            return False
        kind = plugins.load(plugins.EMBEDDING_FUNCTIONS, str(self._spec["name"]))
        return may_be_made(kind, self._spec, self._trust)

    @property
    def is_there(self) -> bool:
        """Whether there is a function, given or remembered; it may still have to be made."""
        return self._function is not None or self._spec is not None

    @property
    def function(self) -> "Embeds | None":
        """The function, made if it has to be; None without one."""
        return self._load_function() if self.is_there else None

    def embed(self, inputs: Sequence[Any], show_progress: bool = False) -> Matrix:
        """(n, dim) float32 for n documents or images."""
        from retrieval_store.api.embedding_functions import embed_with
        from retrieval_store.embeddings._common import embedding_for

        with embedding_for(self._collection):
            return embed_with(self._load_function(), inputs, show_progress)

    def embed_query(self, inputs: Sequence[Any]) -> Matrix:
        """(n, dim) float32 for n queries."""
        from retrieval_store.api.embedding_functions import embed_queries
        from retrieval_store.embeddings._common import embedding_for

        with embedding_for(self._collection):
            return embed_queries(self._load_function(), inputs)

    def _load_function(self) -> "Embeds":
        """The function. Two threads that ask for the first time at once may make two of it."""
        if self._function is None:
            from retrieval_store.api.embedding_functions import restore_function

            self._function = restore_function(self._spec, self._trust)
        return self._function


def embedder_of(record: CollectionRecord, trust: bool) -> Embedder:
    """What embeds for a collection by the function that it remembers; nothing does for one that is
    only for QdrantClient. DamagedError for settings that no version writes.

    Args:
        record: of the collection.
        trust: whether a function may be made that reaches hosts and files.
    """
    from retrieval_store.api.configuration import stored_settings
    from retrieval_store.api.embedding_functions import current_spec

    spec: Any = None if record.is_qdrant_only else stored_settings(record)["embedding_function"]
    return Embedder(DEFAULT, None if spec is None else current_spec(spec), trust)
