"""Every exception that retrieval-store raises on purpose.

RetrievalStoreError
├── InvalidArgumentError (ValueError)      an argument is invalid; nothing was written
│   ├── InvalidTypeError (TypeError)       an argument has a wrong type
│   ├── InvalidFilterError                 an invalid filter; names the place in it
│   ├── InvalidMetadataError               a metadata value that isn't JSON; names its path
│   ├── DimensionMismatchError             a vector of another length than the collection's
│   ├── DuplicateIDError                   an id twice in one call
│   ├── IDAlreadyExistsError               `add` of an existing id
│   ├── InvalidUUIDError                   an invalid id of a collection
│   └── RequestTooLargeError               a request exceeds a server's limit of memory
├── NotFoundError (ValueError, KeyError)   no such collection, or it has been deleted
├── AlreadyExistsError (ValueError)        the name of a collection is taken
├── ConflictError (ValueError)             settings differ from those the collection was made with
├── EmbeddingFunctionError (ValueError)    it is missing, or returned unusable vectors
├── PluginError (ValueError)               a registered plugin is missing or can't be loaded
├── MissingDependencyError (ImportError)   an optional package isn't installed
├── NameNotHereError (ImportError)         a name of chromadb's that doesn't exist here
├── ClientClosedError (RuntimeError)       the client was closed
├── RequestTimeoutError (TimeoutError)     a server stopped a request that took too long
├── RequestStoppedError                    a server stopped a request whose client had gone
└── StorageError (OSError)                 files, a server or a cluster failed
    ├── DamagedError                       a checksum or a structure is wrong; names the file
    ├── FormatError                        not a store, or of a version that can't be read
    ├── LockTimeoutError (TimeoutError)    another writer held the lock for too long
    ├── StorageFullError                   no space is left
    ├── ReadOnlyError                      the store was opened with read_only=True
    └── ClusterError                       a server or cluster refused or failed
        ├── AccessDeniedError (PermissionError)  no key, a wrong one, or no permission
        └── UnavailableError (ConnectionError)   it can't be reached, or a shard of it can't
            └── ClusterTimeoutError (TimeoutError)  it took too long
"""


class RetrievalStoreError(Exception):
    """The base class of all errors of this package."""


class InvalidArgumentError(RetrievalStoreError, ValueError):
    """An argument is invalid. The message names the argument, its value and the expected values."""


class InvalidTypeError(InvalidArgumentError, TypeError):
    """An argument has an invalid type."""


class InvalidFilterError(InvalidArgumentError):
    """`where` or `where_document` is malformed. The message names the position in the filter."""


class InvalidMetadataError(InvalidArgumentError):
    """A metadata value cannot be stored as JSON. The message names the path of the value."""


class DimensionMismatchError(InvalidArgumentError):
    """A vector's dimension differs from that of the collection."""


class DuplicateIDError(InvalidArgumentError):
    """An id occurs twice in one call."""


class IDAlreadyExistsError(InvalidArgumentError):
    """`add` got ids that exist. Nothing of the batch was written."""


class NotFoundError(RetrievalStoreError, ValueError, KeyError):
    """A collection or a store does not exist, or was deleted."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes
    was_there = False  # when it was opened, and has been deleted since
    missing: tuple[int | str, ...] = ()  # ids of points that aren't there

    @classmethod
    def of_deleted(cls, what: str) -> "NotFoundError":
        """The error for a collection that was deleted."""
        error = cls(f"{what} does not exist any more: it has been deleted")
        error.was_there = True
        return error


class AlreadyExistsError(RetrievalStoreError, ValueError):
    """A collection with this name exists."""


class ConflictError(RetrievalStoreError, ValueError):
    """Arguments contradict the stored settings of a collection."""


class EmbeddingFunctionError(RetrievalStoreError, ValueError):
    """There is no embedding function, or it failed, or its result is invalid."""


class RerankerError(RetrievalStoreError, ValueError):
    """A re-ranker failed, or its result is invalid."""


class DataLoaderError(RetrievalStoreError, ValueError):
    """The data at a uri cannot be loaded. The message names the uri."""


class PluginError(RetrievalStoreError, ValueError):
    """A plugin is not registered, or cannot be loaded."""


class MissingDependencyError(RetrievalStoreError, ImportError):
    """An optional package is not installed. The message names the package."""


class NameNotHereError(RetrievalStoreError, ImportError):
    """A name of chromadb does not exist in this package. The message names a replacement."""


class ClientClosedError(RetrievalStoreError, RuntimeError):
    """The client, or its store, was closed."""


class RequestTooLargeError(InvalidArgumentError):
    """A request needs more memory or time than a server allows. The message names the limit."""


class RequestTimeoutError(RetrievalStoreError, TimeoutError):
    """A request took longer than allowed. If it was a write, it was executed as a whole or not at
    all."""


class RequestStoppedError(RetrievalStoreError):
    """A request was cancelled because its client has disconnected."""


class StorageError(RetrievalStoreError, OSError):
    """The disk failed, or a file on it can't be used."""


class DamagedError(StorageError):
    """A file is damaged. The message names the file."""


class FormatError(StorageError):
    """A file does not belong to a store, or has a format that this version cannot read."""


class LockTimeoutError(StorageError, TimeoutError):
    """Another writer held the write lock for too long."""


class ReadOnlyError(StorageError):
    """A write was attempted in a store that was opened read-only."""


class StorageFullError(StorageError):
    """The disk is full. The write had no effect."""


class ClusterError(StorageError):
    """A server or a Qdrant cluster refused a call, or the call failed. The message says whether a
    write may have been executed."""


class AccessDeniedError(ClusterError, PermissionError):
    """The server or cluster needs an API key, another key, or a key with more rights."""


class UnavailableError(ClusterError, ConnectionError):
    """The server or cluster cannot be reached or is too busy, or a shard has no living replica."""


class ClusterTimeoutError(UnavailableError, TimeoutError):
    """The server or cluster did not respond in time."""


class InvalidUUIDError(InvalidArgumentError):
    """The id of a collection is not a UUID."""


class BatchSizeExceededError(InvalidArgumentError):
    """Never raised, since a batch can have any size. It exists for programs that catch it."""


# The names that users of Chroma catch them by.
ChromaError = RetrievalStoreError
InvalidDimensionException = DimensionMismatchError
UniqueConstraintError = AlreadyExistsError
VersionMismatchError = FormatError
InternalError = StorageError
AuthorizationError = ChromaAuthError = AccessDeniedError
RateLimitError = QuotaError = InvalidHTTPVersion = UnavailableError
