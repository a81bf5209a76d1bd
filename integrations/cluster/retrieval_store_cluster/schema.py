"""Creates the Qdrant collection of a Collection from settings. The settings are stored in the
metadata of the Qdrant collection.

The Qdrant collection is created without a dense vector space: the dimension is known only at the
first write, which adds the space (`make_room`).

`PayloadIndexes` has the payload indexes, and decides which conditions can be sent to the server. A
key has one index, of one kind. A server in strict mode refuses a condition on a key if no index on
the key supports the condition. Even an index that supports a condition may miss points: an integer
index misses 2021.5. Conditions on such an index are left out of the filter, and the client checks
them. As long as all values of a key are integers, the key has an integer index, whose values a
server can count. The client checks every few seconds whether all values are still integers. Before
a client writes a value that isn't an integer, it converts the index to an index of floats.
"""

import logging
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import TypeAdapter, ValidationError
from qdrant_client import models

from retrieval_store.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    FormatError,
    InvalidArgumentError,
    RetrievalStoreError,
    StorageError,
)
from retrieval_store.extension import (
    CollectionRecord,
    IndexKind,
    JSONValue,
    Metric,
    Payload,
    is_unicode,
    time_in,
)
from retrieval_store.filters.expression import PayloadPath, split_dotted
from retrieval_store.frameworks import quote
from retrieval_store_cluster.client import Cluster
from retrieval_store_cluster.payload import (
    LARGEST_INTEGER,
    LISTS,
    MICROSECONDS,
    ORDER,
    decode_payload,
    encode_value,
    exact_text,
)

DENSE, WORDS, SPARSE = "embedding", "words", "sparse"  # the names of the vectors in Qdrant
SETTINGS = "retrieval_store"  # in the metadata of a Qdrant collection
RECALL = "retrieval_store_recall"  # the measurements, in the same place
COPY = "retrieval_store_copy"  # and, for a copy from another cluster, its progress
UNFINISHED = "retrieval_store_fork"  # present before the settings are
UNWRITTEN = (
    "expected one without quotation marks, backslashes and lone surrogates, which indexes on a "
    "cluster can't be named by"
)
GRAPHS = ("hnsw", "codes", "clusters")  # index types that Qdrant's graph replaces
MIN_EF_CONSTRUCT = 4  # Qdrant's minimum
NO_GRAPH = 0  # links of a vector for which Qdrant makes no index
OURS = (
    "id",
    "name",
    "qdrant_name",
    "apart",
    "order",
    "exact",
    "times",
    "beside",
)  # beside the settings of the record
SHARDS = ("shard_number", "replication_factor", "write_consistency_factor")
SHORT: dict[str, Any] = {
    "scalar": {"scalar": {"type": "int8"}},
    "binary": {"binary": {}},
    "product": {"product": {"compression": "x16"}},
}
DISTANCES: dict[Metric, models.Distance] = {
    "l2": models.Distance.EUCLID,
    "ip": models.Distance.DOT,
    "cosine": models.Distance.COSINE,
}


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """The settings of a collection, which are stored in the metadata of its Qdrant collection. Only
    the name and the search settings can change. name: the name of the Qdrant collection;
    notes_times, notes_beside: whether points with the content that `payload.ODD_TIMES` and
    `payload.BESIDE` describe are marked with these names."""

    record: CollectionRecord
    name: str
    notes_times: bool = True
    notes_beside: bool = True

    @property
    def metric(self) -> Metric:
        """The distance of the vectors."""
        metric: Metric = self._part("hnsw")["space"]
        return metric

    @property
    def ef(self) -> int:
        """The number of candidates (`hnsw_ef`) of a query, from the collection's settings."""
        ef: int = self._part("hnsw")["ef_search"]
        return ef

    @property
    def recall(self) -> float | None:
        """The default recall of queries."""
        recall: float | None = self.record.settings.get("recall")  # type: ignore[assignment]
        return recall

    @property
    def text(self) -> dict[str, Any]:
        """The settings of word search."""
        return self._part("text")

    @property
    def storage(self) -> dict[str, Any]:
        """Settings for Qdrant's shards and files."""
        return self._part("qdrant")

    @property
    def sparse(self) -> dict[str, Any] | None:
        """The settings of sparse vectors; None if the collection has no sparse vectors."""
        return self._part("sparse") or None

    def graph(self) -> models.HnswConfigDiff:
        """The settings of Qdrant's graph. Raises InvalidArgumentError if the collection has an
        index of another kind."""
        name = self._part("index").get("name", GRAPHS[0])
        if name == "exact":
            return models.HnswConfigDiff(m=NO_GRAPH)
        if name not in GRAPHS:
            raise InvalidArgumentError(
                f"index {name!r} can't be used on a cluster, which has its own"
            )
        hnsw = self._part("hnsw")
        return models.HnswConfigDiff(
            m=hnsw["max_neighbors"],
            ef_construct=max(MIN_EF_CONSTRUCT, hnsw["ef_construction"]),
        )

    def as_payload(self) -> Payload:
        """The settings in the form in which they are stored. Floats are stored in the same form as
        in payloads, because Qdrant would round them."""
        settings = self.record.settings
        exact = exact_text(settings)
        return {
            SETTINGS: {
                "id": self.record.id,
                "name": self.record.name,
                "qdrant_name": self.name,
                "order": MICROSECONDS,
                "times": self.notes_times,
                "beside": self.notes_beside,
                **({} if exact is None else {"exact": exact}),
                **{name: encode_value(value) for name, value in settings.items()},
            }
        }

    def _part(self, part: str) -> dict[str, Any]:
        settings: Any = self.record.settings.get(part, {})
        return settings  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class IndexRecall:
    """The measured recall of searches. points: the number of points at the measurement; found: the
    share of the nearest points that a search found. `found` has a share for each number of
    requested hits, and for each number of candidates."""

    points: int
    found: Mapping[int, Mapping[int, float]]

    def candidates(self, recall: float, k: int) -> int | None:
        """The least number of candidates with which a search for k hits reaches this recall; None
        if no number does."""
        depth = next((depth for depth in sorted(self.found) if k <= depth), max(self.found))
        shares = sorted(self.found[depth].items())
        return next((candidates for candidates, share in shares if share >= recall), None)

    def as_payload(self) -> Payload:
        """The measurement in the form in which it is stored and shown."""
        found: dict[str, JSONValue] = {
            str(k): {str(candidates): share for candidates, share in shares.items()}
            for k, shares in self.found.items()
        }
        return {"points": self.points, "found": found}

    @classmethod
    def of(cls, metadata: Mapping[str, Any] | None) -> "IndexRecall | None":
        """The measurement in the metadata; None if there is none, or if it is invalid."""
        stored: Any = (metadata or {}).get(RECALL)
        try:
            found = {
                # Rounded, since a server may read a number a unit in the last place lower.
                int(k): {int(candidates): round(float(s), 6) for candidates, s in shares.items()}
                for k, shares in stored["found"].items()
            }
            points = int(stored["points"])
        except (TypeError, ValueError, LookupError, AttributeError):
            return None
        return cls(points, found) if found and all(found.values()) else None


@dataclass(slots=True)
class KeyLinks:
    """Whether the graph has links for the values of a key. searches: how many searches had a filter
    on the key; until: when the result expires, by time.monotonic."""

    are_there: bool = False
    searches: int = 0
    until: float = 0.0


def refuse_unusable(settings: Payload) -> None:
    """Raise InvalidArgumentError for settings that Qdrant does not support: points that expire,
    indexes on keys that Qdrant cannot name, and datatypes that Qdrant treats differently. (With
    float16, for example, Qdrant also rounds queries.)"""
    if settings.get("expires") is not None:
        raise InvalidArgumentError(
            f"configuration['expires'] is {quote(settings['expires'])}, but on a cluster nothing "
            "expires: leave it out, and delete by a filter what is too old"
        )
    storage: Any = settings.get("qdrant", {})
    for key in storage.get("indexes", ()):
        if not is_expressible((key,)):
            raise InvalidArgumentError(
                f"configuration['qdrant']['indexes'] has the key {quote(key)}, {UNWRITTEN}"
            )
    match settings.get("vectors"):
        case {"datatype": str(datatype)} if datatype != "float32":
            raise InvalidArgumentError(
                f"configuration['vectors']['datatype'] is {datatype!r}, expected 'float32' on a "
                "cluster; configuration['qdrant']['quantization'] makes vectors smaller there"
            )


def settings_in(metadata: Mapping[str, Any] | None) -> CollectionSettings | None:
    """The stored settings; None if another program created the Qdrant collection. Raises
    FormatError for a collection whose points only older releases can read."""
    stored: Any = (metadata or {}).get(SETTINGS)
    match stored:
        case {"id": str(own), "name": str(called), "qdrant_name": str(name)}:
            others: dict[str, Any] = stored
            if others.get("apart") is not None or others.get("order") != MICROSECONDS:
                raise FormatError(
                    f"collection {called!r} was made by a release before 0.2, whose format "
                    "can't be read: delete it there, and add its records again"
                )
            record = {key: value for key, value in others.items() if key not in OURS}
            if "exact" in others:
                record = decode_payload(record, others["exact"])
            notes = (others.get(note) is True for note in ("times", "beside"))
            return CollectionSettings(CollectionRecord(own, called, record), name, *notes)
    return None


def make(cluster: Cluster, settings: CollectionSettings) -> None:
    """Create the Qdrant collection, without vectors. Raises AlreadyExistsError if it exists. If the
    indexes can't be created, the collection is deleted, unless another program has written to
    it."""
    _make(cluster, settings, settings.as_payload())
    try:
        keep_indexes(cluster, settings)
    except StorageError:
        with suppress(RetrievalStoreError):
            points, _ = cluster.call("scroll", settings.name, limit=1, with_payload=False)
            if not points:
                cluster.call("delete_collection", settings.name)
        raise


def make_unfinished(cluster: Cluster, settings: CollectionSettings) -> None:
    """Create the Qdrant collection of a fork, without indexes. Until its settings are written, it
    does not count as a collection of this package. Raises AlreadyExistsError if it exists."""
    _make(cluster, settings, {UNFINISHED: settings.record.id})


def is_unfinished(metadata: Mapping[str, Any] | None) -> bool:
    """Whether these are the metadata of an incomplete fork."""
    return UNFINISHED in (metadata or {}) and settings_in(metadata) is None


def _id_in(metadata: Mapping[str, Any] | None) -> str | None:
    """The id in the metadata of a collection of this package, or of an incomplete fork; None for
    other metadata."""
    settings = settings_in(metadata)
    unfinished: str | None = (metadata or {}).get(UNFINISHED)
    return unfinished if settings is None else settings.record.id


def _make(cluster: Cluster, settings: CollectionSettings, metadata: Payload) -> None:
    sparse = {WORDS: _sparse_vectors(settings, by_idf=True)}
    if settings.sparse is not None:
        sparse[SPARSE] = _sparse_vectors(settings, settings.sparse["idf"])
    try:
        cluster.call(
            "create_collection",
            settings.name,
            vectors_config={},
            sparse_vectors_config=sparse,
            hnsw_config=settings.graph(),
            metadata=metadata,
            quantization_config=quantization(settings.storage.get("quantization")),
            **{key: settings.storage[key] for key in SHARDS if key in settings.storage},
        )
    except AlreadyExistsError:
        info = cluster.call("get_collection", settings.name)
        if _id_in(info.config.metadata) != settings.record.id:
            raise  # otherwise it was ours, and the response was lost


def make_room(cluster: Cluster, settings: CollectionSettings, dimension: int) -> int:
    """Create the vector space, if there is none. Returns the space's dimension, which differs from
    `dimension` if another process has created the space first."""
    dense = models.DenseVectorConfig(size=dimension, distance=DISTANCES[settings.metric])
    made = models.DenseVectorNameConfig(dense=dense)
    arguments: dict[str, Any] = {"vector_name": DENSE, "vector_name_config": made}
    try:
        cluster.call("create_vector_name", settings.name, **arguments)
    except RetrievalStoreError:  # there is one, perhaps ours whose response was lost
        vectors = cluster.call("get_collection", settings.name).config.params.vectors or {}
        if DENSE not in vectors:
            raise
        dimension = vectors[DENSE].size
    on_disk = settings.storage.get("on_disk")
    if on_disk is not None:
        changed = {DENSE: models.VectorParamsDiff(on_disk=on_disk)}
        cluster.call("update_collection", settings.name, vectors_config=changed)
    return dimension


def quantization(value: Any) -> Any:
    """The quantization as an instance of qdrant-client's model class; None for None. Raises
    InvalidArgumentError for an invalid quantization."""
    if value is None:
        return None
    try:
        return TypeAdapter(models.QuantizationConfig).validate_python(SHORT.get(str(value), value))
    except ValidationError as error:
        raise InvalidArgumentError(
            f"configuration['qdrant']['quantization'] is {quote(value)}, expected one of "
            f"{', '.join(map(repr, SHORT))}, or what Qdrant takes as a quantization_config"
        ) from error


def complete(cluster: Cluster, settings: CollectionSettings, info: Any) -> None:
    """Create the indexes that a Qdrant collection lacks because its creation was interrupted."""
    if ORDER not in (info.payload_schema or {}):
        keep_indexes(cluster, settings)


def keep_indexes(cluster: Cluster, settings: CollectionSettings) -> None:
    """Create the first indexes of a collection: those in its settings, then the index on the mark
    of lists, and last the index by which points are listed."""
    named: Mapping[str, str] = settings.storage.get("indexes", {})
    kinds: dict[PayloadPath, str] = {(key,): kind for key, kind in named.items()}
    if named:
        kinds[LISTS] = "keyword"
    kinds[parse_key(ORDER)] = "integer"
    with warnings.catch_warnings():
        # qdrant-client's local mode has no payload indexes, and needs none.
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        for path, kind in kinds.items():
            arguments = index_arguments(path, kind)
            cluster.call("create_payload_index", settings.name, **arguments, wait=True)


def index_arguments(path: PayloadPath, kind: str) -> dict[str, Any]:
    """The arguments with which an index is created. For indexes on this package's own keys, the
    graph gets no additional links. No search needs such links, and with them the graph took four
    times as long to build."""
    name = quote_path(path)
    schema: Any = kind
    if path == LISTS:
        schema = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, enable_hnsw=False)
    elif path == parse_key(ORDER):
        name = ORDER
        schema = models.IntegerIndexParams(
            type=models.IntegerIndexType.INTEGER, lookup=False, range=True, enable_hnsw=False
        )
    return {"field_name": name, "field_schema": schema}


def _sparse_vectors(settings: CollectionSettings, by_idf: bool) -> models.SparseVectorParams:
    on_disk = settings.storage.get("on_disk")
    return models.SparseVectorParams(
        modifier=models.Modifier.IDF if by_idf else None,
        index=None if on_disk is None else models.SparseIndexParams(on_disk=on_disk),
    )


Version: TypeAlias = tuple[int, int]
UNTRIED_FOR = 60.0  # seconds until a key without values is checked again
AGE = 10.0  # seconds after which another client may have created an index
KNOWS_SUBSTRINGS = (1, 20)
COUNTING = ("keyword", "integer", "bool")  # indexes whose values a server counts
NUMERIC = ("integer", "float")  # indexes in which times can't be looked up
LEAVING_OUT = ("integer", "datetime")  # indexes that have only some numbers of ranges
_STEP = re.compile(r'"([^"]*)"|([^."\[\]]+)|(\[\d*\])')
_log = logging.getLogger("retrieval_store.cluster")


class PayloadIndexes:
    """The payload indexes of a collection. apply: runs an operation on the server
    (`QdrantCollection.apply`); look: reads the information about the collection, and passes it to
    `note`. kind_at: a function that returns the kind of index that suits most values at a path,
    None without values; has_integers: a function that checks on the server whether all values at a
    path with an integer index are integers. creates: whether indexes are created: those that strict
    mode requires, and those that make a filter faster."""

    def __init__(
        self,
        apply: Callable[..., None],
        look: Callable[[], None],
        kind_at: Callable[[PayloadPath], str | None],
        has_integers: Callable[[PayloadPath], bool],
        version: Callable[[], Version],
        creates: bool,
    ) -> None:
        self._apply = apply
        self._look = look
        self._kind_at = kind_at
        self._has_integers = has_integers
        self._integers_until: dict[PayloadPath, float] = {}  # by time.monotonic
        self._version = version
        self._creates = creates
        self.notes_times = False
        self._keeps_any = False  # unlike qdrant-client's local mode
        self._not_made: dict[PayloadPath, float] = {}  # by the time of the next attempt
        self._strict = False
        self._most: int | None = None
        self._has_warned = False  # about the limit
        self._kinds: dict[PayloadPath, str] = {}
        self.read_at = -AGE  # by time.monotonic

    def note_demand(self) -> bool:
        """Record that the server requires indexes for filters. Returns whether another attempt can
        succeed."""
        is_new = not self._strict
        self._look()
        self._strict = True
        return is_new or self._creates

    def serves(self, path: PayloadPath, kind: IndexKind) -> bool:
        """Whether a condition of this kind can be sent for a key. An index on the key is created if
        necessary; in strict mode, it is one that supports the condition. If no index may be
        created, the result is True, and the server will refuse the condition."""
        existing = self._known_kinds().get(path)
        if existing is None and self._strict:
            if self._is_full(path):
                return False
            existing = self._create_if_allowed(path, kind)
        elif existing is None:
            existing = self._suggest(path)
        if existing is None or existing == kind:
            return True
        if kind == "float" and existing == "integer" and self._serves_numbers(path):
            return True
        return not self._strict and not (kind == "float" and existing in LEAVING_OUT)

    def has_or_makes(self, path: PayloadPath) -> bool:
        """Whether there is an index on a key, or one would be created automatically."""
        return path in self._known_kinds() or self._may_suggest(path)

    def serves_lists(self) -> bool:
        """Whether the server can tell which values are lists, which makes filters cheaper."""
        try:
            return self.serves(LISTS, "keyword") and (not self._strict or LISTS in self._kinds)
        except AccessDeniedError:
            return False

    def serves_times(self, path: PayloadPath) -> bool:
        """Whether the server can tell which strings are timestamps within bounds."""
        if not self.notes_times or not self.serves_lists():
            return False
        existing = self._known_kinds().get(path) or (None if self._strict else self._suggest(path))
        return existing == "datetime" or not (self._strict or existing in NUMERIC)

    def finds_times(self, path: PayloadPath) -> bool:
        """Whether the index on a key contains only those strings that are timestamps."""
        return self._known_kinds().get(path) == "datetime"

    def counts(self, path: PayloadPath) -> bool:
        """Whether the server can count the values under a key. An index on the key is created if
        needed."""
        return (self._known_kinds().get(path) or self._suggest(path)) in COUNTING

    def orders(self, path: PayloadPath) -> bool:
        """Whether the server can sort points by all numbers under a key. An index on the key is
        created if needed."""
        kind = self._known_kinds().get(path) or self._suggest(path)
        return kind == "float" or (kind == "integer" and self._serves_numbers(path))

    def rounds(self, path: PayloadPath) -> bool:
        """Whether the index on a key contains only integers. The server rounds the bounds of a
        range for such an index."""
        return self._kinds.get(path) == "integer"

    def _serves_numbers(self, path: PayloadPath) -> bool:
        """Whether an index contains all numbers under a key. An integer index is checked every few
        seconds. If it doesn't contain all numbers, it is converted to an index of floats."""
        if time.monotonic() < self._integers_until.get(path, 0.0):
            return True
        if self._has_integers(path):
            self._integers_until[path] = time.monotonic() + AGE
            return True
        return self._make_float(path)

    def make_room(self, payloads: Iterable[Payload | None]) -> None:
        """Prepare the indexes for payloads that are about to be written: convert an integer index
        to floats if a payload has another value for its key."""
        paths = [path for path, kind in self._kinds.items() if kind == "integer"]
        keys = {path[0] for path in paths if is_plain(path)}
        if not keys:
            return
        for payload in payloads:
            for key in [key for key in keys if not _is_integer((payload or {}).get(key))]:
                keys.remove(key)
                self._integers_until.pop((key,), None)
                self._make_float((key,))

    def _make_float(self, path: PayloadPath) -> bool:
        """Convert an integer index to floats. Returns whether the key has an index of floats
        now."""
        if not self._creates:
            return False
        try:
            self.create(path, "float")
        except StorageError as error:
            _log.warning("%s; filters by it look at each point, and take longer", error)
            return False
        return True

    def serves_notes(self) -> bool:
        """Whether the server can find, without an index, the points for which exact values are
        stored in addition to the metadata."""
        return not self._strict and self.serves_lists()

    def serves_presence(self, path: PayloadPath) -> bool:
        """Whether the server can tell if a point has the key; an index of any kind on the key
        suffices."""
        return not self._strict or path in self._known_kinds()

    def substring(self, path: PayloadPath, text: str) -> Any:
        """The match for strings that contain the text; None if the server cannot evaluate such a
        match. In strict mode, no index supports the match. On older servers, a text index on the
        key contains only whole words."""
        if self._strict:
            return None
        if self._version() >= KNOWS_SUBSTRINGS:
            return models.MatchSubstring(substring=text)
        self._look()  # each time: another client's new index would leave points out
        return None if self._kinds.get(path) == "text" else models.MatchText(text=text)

    def _suggest(self, path: PayloadPath) -> str | None:
        """The kind of index that suits the points' values at a path. The index is created if
        needed. None if there are no values, or if the index cannot be created; then the server
        scans all points."""
        if not self._may_suggest(path):
            return None
        self._look()  # another client may have created one
        if path not in self._kinds:
            now = time.monotonic()
            tried = {key: until for key, until in self._not_made.items() if until > now}
            self._not_made = {**tried, path: now + UNTRIED_FOR}
            kind = "keyword" if path == LISTS else self._kind_at(path)
            if kind is not None:
                try:
                    self.create(path, kind)
                except StorageError as error:
                    _log.warning("%s; filters by it look at each point, and take longer", error)
        return self._kinds.get(path)

    def _may_suggest(self, path: PayloadPath) -> bool:
        is_ours = path[:1] == LISTS[:1] and path != LISTS
        is_full = self._most is not None and len(self._kinds) >= self._most
        if not self._creates or self._strict or not self._keeps_any or is_ours or is_full:
            return False
        return time.monotonic() >= self._not_made.get(path, 0.0)

    def _create_if_allowed(self, path: PayloadPath, kind: IndexKind) -> str | None:
        """The kind of the key's index, which is created if it is missing and creating is allowed.
        None if there is no index."""
        if self._creates:
            try:
                self.create(path, kind)
            except AccessDeniedError:
                self._look()  # another client may have created it meanwhile
                if path not in self._kinds:
                    raise
        elif path not in self._kinds:
            self._look()
        return self._kinds.get(path)

    def create(self, path: PayloadPath, kind: str, queued_for: float | None = None) -> None:
        """Create an index, unless there is one of this kind. queued_for: the seconds for which to
        wait for a queued operation; None to wait for the request itself."""
        key = quote_path(path)
        _log.info("making a payload index of kind %s for %s", kind, key)
        try:
            self._apply("create_payload_index", queued_for, **index_arguments(path, kind))
        except StorageError as error:
            why = f"no payload index of kind {kind} can be made for {key}: {error}"
            raise type(error)(why) from error
        self._kinds = {**self._kinds, path: kind}  # others may be reading them

    def _is_full(self, path: PayloadPath) -> bool:
        """Whether a key has no index, and the server allows no further index. In that case the
        client evaluates conditions on this key, and reads more points."""
        if not self._creates or self._most is None or len(self._kinds) < self._most:
            return False
        if not self._has_warned and path != LISTS:
            text = "the server allows %d payload indexes: filters by other keys, as %s, read more"
            _log.warning(text, self._most, quote_path(path))
            self._has_warned = True
        return True

    @property
    def kinds_last_read(self) -> Mapping[PayloadPath, str]:
        """The kinds of the indexes that the server last reported."""
        return self._kinds

    def note(self, schema: Mapping[str, Any] | None, strict: bool, most: int | None = None) -> None:
        """Store what the server reports: the indexes of the collection, the number of indexes that
        the server allows, and whether it requires indexes for filters."""
        self._most = most
        kinds = {
            parse_key(key): str(index.data_type.value) for key, index in (schema or {}).items()
        }
        self._kinds, self.read_at = kinds, time.monotonic()
        self._keeps_any = parse_key(ORDER) in kinds
        self._strict = strict

    def _known_kinds(self) -> Mapping[PayloadPath, str]:
        if time.monotonic() - self.read_at >= AGE:
            self._look()
        return self._kinds


def kind_for(path: PayloadPath, values: Iterable[Any]) -> str | None:
    """The kind of index that suits most of the values at a path; None if no kind suits any value.
    Strings get an index of timestamps if all of them are timestamps. Numbers get an index of
    integers if all of them are integers."""
    kind = _kind_of_most(values)
    return "float" if kind == "integer" and not is_plain(path) else kind


def _kind_of_most(values: Iterable[Any]) -> str | None:
    kinds = Counter(kind for value in values for kind in _kinds_of(value))
    if set(kinds) != {"integer"}:  # an index of integers alone would leave some out
        kinds["float"] += kinds.pop("integer", 0)
    if kinds["keyword"]:
        kinds["keyword"] += kinds.pop("datetime", 0)
    return kinds.most_common(1)[0][0] if kinds.total() else None


def _is_integer(value: Any) -> bool:
    """Whether an integer index stores the value exactly."""
    if type(value) is int:
        return -LARGEST_INTEGER <= value <= LARGEST_INTEGER
    return value is None


def _kinds_of(value: Any, in_list: bool = False) -> list[str]:
    """The kinds of index that can find a value. For a list, these are the kinds that can find each
    of its elements."""
    match value:
        case list():
            return [
                kind
                for element in value
                if not isinstance(element, list)
                for kind in _kinds_of(element, in_list=True)
            ]
        case bool():
            return ["bool"]
        case int() if not in_list and _is_integer(value):
            return ["integer"]
        case int() | float():
            return ["float"]
        case str():
            return ["keyword" if time_in(value) is None else "datetime"]
    return []


def quote_path(path: PayloadPath) -> str:
    """A path in Qdrant's notation."""
    return ".".join(f'"{step}"' for step in path)


def is_expressible(path: PayloadPath) -> bool:
    """Whether Qdrant's notation can express a path."""
    return path != () and all(map(_is_step, path))


def is_plain(path: PayloadPath) -> bool:
    """Whether a path is a single key without a special meaning, and Qdrant's notation can express
    it."""
    return len(path) == 1 and split_dotted(path) is None and is_expressible(path)


def _is_step(step: str) -> bool:
    return step != "" and '"' not in step and "\\" not in step and is_unicode(step)


def parse_key(key: str) -> PayloadPath:
    """The path that a key in Qdrant's notation means, with `[]` for the elements of lists."""
    return tuple(next(filter(None, steps), "") for steps in _STEP.findall(key))
