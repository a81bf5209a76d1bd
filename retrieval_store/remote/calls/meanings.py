"""What a failure of a call means: which error it is, in which words, whether another attempt may
help, and how much may have been done all the same."""

import re
from collections.abc import Container, Mapping
from enum import Enum
from typing import Any

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ClientClosedError,
    ClusterError,
    ClusterTimeoutError,
    NotFoundError,
    RetrievalStoreError,
    UnavailableError,
)
from retrieval_store.remote.calls.failures import (
    BROKEN,
    FOREIGN,
    LOCAL,
    TIMED_OUT,
    UNCONNECTED,
    UNREACHABLE,
    Failure,
    Status,
)

ALWAYS = 9  # more attempts than are made


class IndexMissing(ClusterError):  # noqa: N818 - a signal between modules of this room
    """A filter needs an index of metadata. key: Qdrant's path; kinds: of which one would do."""

    def __init__(self, message: str, key: str = "", kinds: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.kinds = tuple(kinds.replace(",", " ").split())


class VectorMissing(ClusterError):  # noqa: N818 - the same
    """The Qdrant collection has no vectors of this name (yet)."""


class Done(Enum):
    """How much may have been done of a call that failed."""

    NOTHING = "nothing"
    PART = "part"  # of points, which go to several shards; of anything else nothing
    PERHAPS = "perhaps"


@dataclass(frozen=True, slots=True)
class Meaning:
    """message: what is in braces are words of the caller's, {said} by the server, and named groups
    of the rule's pattern; again: how many further attempts may help."""

    error: type[RetrievalStoreError]
    message: str
    again: int = 0
    done: Done = Done.NOTHING


@dataclass(frozen=True, slots=True)
class Understood:
    """A failure of one attempt. found: what the error gets beside its message; pause: the seconds
    that the server asks to wait."""

    meaning: Meaning
    message: str
    found: Mapping[str, str]
    pause: float | None

    def error(self, outcome: str) -> RetrievalStoreError:
        """The error. outcome: what came of the call, which is of interest when a cluster fails."""
        made: Any = self.meaning.error
        about = outcome if issubclass(made, ClusterError) else ""
        error: RetrievalStoreError = made(self.message + about, **self.found)
        return error


def understood(failure: Failure, method: str, words: Mapping[str, str]) -> Understood:
    """What a failure of a method means, by the first rule that fits."""
    fitting = (
        (meaning, match.groupdict())
        for statuses, pattern, meaning in (*OF_METHOD.get(method, ()), *RULES)
        if failure.status in statuses and (match := re.search(pattern, failure.said))
    )
    meaning, found = next(fitting, (OTHERWISE, {}))
    message = meaning.message.format(**words, **found, said=_said(failure))
    return Understood(meaning, message, found, failure.pause)


def _said(failure: Failure) -> str:
    return (
        f": {failure.sentence}" if failure.sentence else f", without saying why ({failure.status})"
    )


NO_ANSWER = "the cluster {place} can't be reached: nothing answers there"
SILENT = "the cluster {place} can't be reached {limit}"
UNKNOWN = "the cluster {place} can't be reached: no host of this name is known here"
UNTRUSTED = "the cluster {place} can't be reached: its certificate isn't trusted here"
PLAIN = "the cluster {place} can't be reached by TLS: is it http:// instead of https://?"
LATE = "the cluster {place} didn't finish {doing} {limit}"
LOST = "the connection to the cluster {place} was lost while {doing}"
CLOSED = "the client of the cluster {place} was closed"
NO_KEY = "the cluster {place} wants a key: give it as {credential}"
WRONG_KEY = "the cluster {place} doesn't know the key that is given as {credential}"
UNSENDABLE = "{credential} can't be sent: it holds the end of a line, or another control character"
NO_RIGHT = "the key that is given as {credential} has no right to this, {doing} {place}{said}"
DENIED = "the cluster {place} denies {doing}: {credential} is wrong, or has no right to this"
ABSENT = "there is no collection {collection!r} on the cluster (any more)"
TAKEN = "there is a Qdrant collection {collection!r} already"
NO_INDEX = (
    "the cluster {place} filters {collection!r} by {key!r} only with an index, of one of the kinds "
    "{kinds}"
)
NO_VECTOR = "the collection {collection!r} has no such vectors{said}"
NO_METHOD = "the cluster {place} is of a version that doesn't know {doing}"
GAVE_UP = "the cluster {place} gave up {doing}, by its own limit of time{said}"
BUSY = "the cluster {place} takes no more requests just now{said}"
NOT_READY = "the cluster {place} isn't ready for {doing} just now"
FULL = "the cluster {place} fails at {doing}: the disk of a node is full"
DISAGREED = (
    "the nodes of the cluster {place} didn't agree in time on {doing}: too many are down, or busy"
)
NO_REPLICA = (
    "the cluster {place} fails at {doing}: a node with a shard of {collection!r} is down or "
    "failing, and no other has a replica of it; a replication_factor of 2 or more prevents that"
)
GARBLED = "what the cluster {place} answers when {doing} can't be understood"
REFUSED = "the cluster {place} refuses {doing}{said}"
FAILED = "the cluster {place} fails at {doing}{said}"

# Sentences are those of Qdrant 1.18 to 1.20, of its local mode, of OpenSSL and of gRPC.
NAMELESS = "(?i)name or service|nodename nor|getaddrinfo|name resolution|DNS|no address|resolving"
ENCRYPTED = "WRONG_VERSION_NUMBER|(?i:record.layer.failure)"
WAS_CLOSED = "[Cc]lient (was|has been) closed|instance is closed|closed channel"
NO_COLLECTION = "Collection .*(does(n't| not) exist|not found)"
COLLECTION_THERE = "(Collection|Alias) .*already exists"
INDEX_REQUIRED = (
    r'(?s)Index required but not found for "(?P<key>.*)" of one of the following types: '
    r"\[(?P<kinds>[^\]]*)\]"
)
VECTOR_UNKNOWN = r"Not existing vector name|ector \S+ is not found in the collection"
DISAGREEMENT = "consensus operation|leader is not established|propose operation"
REPLICAS_DOWN = (
    "(?i)read operations failed|active replica|not active on peer|failed to apply operation|"
    "failed to connect|error trying to connect|transport error|dns error|status: Unavailable"
)
SENT_ON = range(300, 400)
REFUSALS = range(400, 500)
ON_ITS_WAY = frozenset({401, 403, 408, 429})  # these Qdrant says too
Rules = tuple[tuple[Container[Status], str, Meaning], ...]

NO_QDRANT = Meaning(ClusterError, "there is no Qdrant {place}")
AT_THE_DOOR: Rules = (  # of what every Qdrant answers
    ({*SENT_ON, *REFUSALS, 501, FOREIGN} - ON_ITS_WAY, "", NO_QDRANT),
    ({UNREACHABLE}, "http1|HTTP/2", NO_QDRANT),
)
UNHEARD_OF: Rules = (  # by a node, for a moment after the first write has made the vector
    ({400, LOCAL}, VECTOR_UNKNOWN, Meaning(VectorMissing, NO_VECTOR, ALWAYS, Done.PART)),
)
OF_METHOD: Mapping[str, Rules] = {
    **dict.fromkeys(("info", "get_collections", "get_aliases"), AT_THE_DOOR),
    "batch_update_points": UNHEARD_OF,
}
RULES: Rules = (
    ({UNREACHABLE}, "CERTIFICATE", Meaning(UnavailableError, UNTRUSTED)),
    ({UNREACHABLE}, ENCRYPTED, Meaning(UnavailableError, PLAIN)),
    ({UNREACHABLE}, NAMELESS, Meaning(UnavailableError, UNKNOWN, ALWAYS)),
    ({UNREACHABLE}, "", Meaning(UnavailableError, NO_ANSWER, ALWAYS)),
    ({UNCONNECTED}, "", Meaning(ClusterTimeoutError, SILENT, 1)),
    ({TIMED_OUT}, "", Meaning(ClusterTimeoutError, LATE, 1, Done.PERHAPS)),
    ({BROKEN}, "", Meaning(UnavailableError, LOST, ALWAYS, Done.PERHAPS)),
    ({500}, "RST_STREAM|GOAWAY", Meaning(UnavailableError, LOST, ALWAYS, Done.PERHAPS)),
    (SENT_ON, "", NO_QDRANT),
    ({FOREIGN}, "", Meaning(ClusterError, GARBLED, 0, Done.PERHAPS)),
    ({LOCAL}, WAS_CLOSED, Meaning(ClientClosedError, CLOSED)),
    ({LOCAL}, "header value", Meaning(AccessDeniedError, UNSENDABLE)),
    ({401}, "Must provide", Meaning(AccessDeniedError, NO_KEY)),
    ({401}, "", Meaning(AccessDeniedError, WRONG_KEY)),
    ({403}, "is required", Meaning(AccessDeniedError, NO_RIGHT)),
    ({403}, "", Meaning(AccessDeniedError, DENIED)),
    ({404, LOCAL}, NO_COLLECTION, Meaning(NotFoundError, ABSENT)),
    ({400, 409, LOCAL}, COLLECTION_THERE, Meaning(AlreadyExistsError, TAKEN)),
    ({404, 405}, "^$", Meaning(ClusterError, NO_METHOD)),
    ({501}, "", Meaning(ClusterError, NO_METHOD)),
    ({400}, INDEX_REQUIRED, Meaning(IndexMissing, NO_INDEX)),
    ({400, LOCAL}, VECTOR_UNKNOWN, Meaning(VectorMissing, NO_VECTOR, 0, Done.PART)),
    ({408}, "", Meaning(ClusterTimeoutError, GAVE_UP, 1, Done.PERHAPS)),
    ({413, 422}, "", Meaning(ClusterError, REFUSED)),
    ({429}, "", Meaning(UnavailableError, BUSY, ALWAYS, Done.PART)),
    ({LOCAL, *REFUSALS}, "", Meaning(ClusterError, REFUSED, 0, Done.PART)),
    ({502, 503, 504}, "", Meaning(UnavailableError, NOT_READY, ALWAYS, Done.PERHAPS)),
    ({500}, "No space left", Meaning(ClusterError, FULL, 0, Done.PERHAPS)),
    ({500}, DISAGREEMENT, Meaning(ClusterTimeoutError, DISAGREED, 1, Done.PERHAPS)),
    ({500}, REPLICAS_DOWN, Meaning(UnavailableError, NO_REPLICA, ALWAYS, Done.PERHAPS)),
)
OTHERWISE = Meaning(ClusterError, FAILED, 0, Done.PERHAPS)
