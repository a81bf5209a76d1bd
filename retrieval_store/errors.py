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
    """Base of all errors of this package."""


class InvalidArgumentError(RetrievalStoreError, ValueError):
    """An argument can't be used; the message names it, its value and what would be right."""


class InvalidTypeError(InvalidArgumentError, TypeError):
    """An argument is of a type that can't be used."""


class InvalidFilterError(InvalidArgumentError):
    """`where` or `where_document` is malformed; the message names the place in the filter."""


class InvalidMetadataError(InvalidArgumentError):
    """A metadata value isn't JSON as we keep it; the message names its path."""


class DimensionMismatchError(InvalidArgumentError):
    """A vector has another number of dimensions than the collection."""


class DuplicateIDError(InvalidArgumentError):
    """An id stands twice in one call."""


class IDAlreadyExistsError(InvalidArgumentError):
    """`add` was given ids that exist; nothing of the batch was written."""


class NotFoundError(RetrievalStoreError, ValueError, KeyError):
    """A collection doesn't exist (any more), or a store that isn't to be made."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes
    was_there = False  # when it was opened, and has been deleted since
    missing: tuple[int | str, ...] = ()  # ids of points that aren't there

    @classmethod
    def of_deleted(cls, what: str) -> "NotFoundError":
        """The error for a collection that was there."""
        error = cls(f"{what} does not exist any more: it has been deleted")
        error.was_there = True
        return error


class AlreadyExistsError(RetrievalStoreError, ValueError):
    """A collection of this name exists."""


class ConflictError(RetrievalStoreError, ValueError):
    """Arguments contradict the settings that the collection was created with."""


class EmbeddingFunctionError(RetrievalStoreError, ValueError):
    """There is no embedding function to call, or it returned something unusable."""


class RerankerError(RetrievalStoreError, ValueError):
    """A re-ranker failed, or returned something unusable."""


class DataLoaderError(RetrievalStoreError, ValueError):
    """What a uri points at can't be loaded; the message names the uri."""


class PluginError(RetrievalStoreError, ValueError):
    """A plugin isn't registered, or fails to load."""


class MissingDependencyError(RetrievalStoreError, ImportError):
    """An optional package is needed; the message says what to install."""


class NameNotHereError(RetrievalStoreError, ImportError):
    """A name of chromadb's doesn't exist here; the message says what to use instead."""


class ClientClosedError(RetrievalStoreError, RuntimeError):
    """The client, or the store below it, was closed."""


class RequestTooLargeError(InvalidArgumentError):
    """A request needs more memory or time than a server gives one; the message says how much it may
    have."""


class RequestTimeoutError(RetrievalStoreError, TimeoutError):
    """A request took longer than it may; a write was done as a whole or not at all."""


class RequestStoppedError(RetrievalStoreError):
    """The client of a request has gone, so that it was given up."""


class StorageError(RetrievalStoreError, OSError):
    """The disk, or a file on it, failed."""


class DamagedError(StorageError):
    """A file is damaged; the message names it."""


class FormatError(StorageError):
    """A file isn't ours, or was written by a version that this one can't read."""


class LockTimeoutError(StorageError, TimeoutError):
    """Another writer held the write lock for too long."""


class ReadOnlyError(StorageError):
    """A write to a store that was opened read-only."""


class StorageFullError(StorageError):
    """The disk is full; the write had no effect."""


class ClusterError(StorageError):
    """A server, or a Qdrant cluster, refused a call, or failed at it; the message says whether a
    write may have been done all the same."""


class AccessDeniedError(ClusterError, PermissionError):
    """The server or cluster wants a key, another one, or one with more rights."""


class UnavailableError(ClusterError, ConnectionError):
    """It can't be reached, is too busy, or a shard of a cluster has no living replica."""


class ClusterTimeoutError(UnavailableError, TimeoutError):
    """The server or cluster took too long."""


class InvalidUUIDError(InvalidArgumentError):
    """An id of a collection is no UUID."""


class BatchSizeExceededError(InvalidArgumentError):
    """Never raised, for those who catch it: any batch is taken."""


# The names that users of Chroma catch them by.
ChromaError = RetrievalStoreError
InvalidDimensionException = DimensionMismatchError
UniqueConstraintError = AlreadyExistsError
VersionMismatchError = FormatError
InternalError = StorageError
AuthorizationError = ChromaAuthError = AccessDeniedError
RateLimitError = QuotaError = InvalidHTTPVersion = UnavailableError
