"""The interface of a store: protocols, records of collections, points, and a client's session."""

import numpy as np

from retrieval_store.api.configuration import spaces_in
from retrieval_store.api.results import Copied
from retrieval_store.backends import (
    IN_STORE,
    Session,
    embedded_store,
    private_folder,
    session_of,
    set_memory_budget,
    translate_errors,
)
from retrieval_store.base.arrays import Floats, Ints, Matrix, Metric
from retrieval_store.base.budget import (
    Budget,
    LargeRequestError,
    RequestMemory,
    ShortBudget,
    WriteBudget,
)
from retrieval_store.base.locks import Lock
from retrieval_store.base.pca import places_of, project
from retrieval_store.base.platform import at_fork, hold_lock, replace_file
from retrieval_store.base.system import cut_text, give_back_memory, memory_bytes, usable_cores
from retrieval_store.base.tracing import counts_of_results, log_of, note, traced
from retrieval_store.base.validation import (
    JSONValue,
    Payload,
    check_new_file,
    check_object,
    existing_ids,
    find_repeated,
    host_in_url,
    is_unicode,
    list_ids,
    shows_an_integer,
)
from retrieval_store.base.workers import WorkerPool, calling_loop
from retrieval_store.filters.columns import uuid_in
from retrieval_store.filters.paths import PayloadPath, first_keys, value_at
from retrieval_store.query.protocols import (
    CollectionStore,
    EmbeddedStore,
    EnginePoints,
    EngineStore,
    IndexKind,
    PointsBackend,
)
from retrieval_store.query.types import (
    UNSET,
    WHOLE,
    ChangedPoints,
    CollectionRecord,
    Fields,
    FileReport,
    Gauges,
    Hits,
    NewSpace,
    NonDenseVector,
    NonDenseVectors,
    PointBatch,
    PointId,
    Points,
    Position,
    Progress,
    Projection,
    PutResult,
    ShownIds,
    SpaceRecord,
    Unset,
    Vectors,
    VectorsRead,
    WriteRules,
    merge_payload,
    most_frequent,
    nothing_in,
    scalar,
    uses_codes,
)

__all__ = [
    "IN_STORE",
    "UNSET",
    "WHOLE",
    "Budget",
    "ChangedPoints",
    "CollectionRecord",
    "CollectionStore",
    "Copied",
    "EmbeddedStore",
    "EnginePoints",
    "EngineStore",
    "Fields",
    "FileReport",
    "Floats",
    "Gauges",
    "Hits",
    "IndexKind",
    "Ints",
    "JSONValue",
    "LargeRequestError",
    "Lock",
    "Matrix",
    "Metric",
    "NewSpace",
    "NonDenseVector",
    "NonDenseVectors",
    "Payload",
    "PointBatch",
    "PointId",
    "Points",
    "PointsBackend",
    "Position",
    "Progress",
    "Projection",
    "PutResult",
    "RequestMemory",
    "Session",
    "ShortBudget",
    "ShownIds",
    "SpaceRecord",
    "Unset",
    "Vectors",
    "VectorsRead",
    "WorkerPool",
    "WriteBudget",
    "WriteRules",
    "at_fork",
    "calling_loop",
    "check_new_file",
    "check_object",
    "counts_of_results",
    "cut_text",
    "embedded_store",
    "existing_ids",
    "find_repeated",
    "first_keys",
    "give_back_memory",
    "hold_lock",
    "host_in_url",
    "is_unicode",
    "list_ids",
    "log_of",
    "memory_bytes",
    "merge_payload",
    "most_frequent",
    "note",
    "places_of",
    "private_folder",
    "projection_of",
    "replace_file",
    "session_of",
    "set_memory_budget",
    "shows_an_integer",
    "spaces_in",
    "traced",
    "translate_errors",
    "usable_cores",
    "uses_codes",
    "uuid_in",
]


def projection_of(
    points: Points, space: str, metric: Metric, seed: int, path: PayloadPath | None
) -> Projection:
    """The points that have a vector in a dense space, projected to the plane in which the vectors
    vary most, and their values at the path. points: in the order of insertion, with the vectors of
    the space, and with payloads if there is a path. seed: if there are very many vectors, the seed
    of the sample from which the plane is computed. `total` of the result is the number of projected
    points."""
    vectors = (points.vectors or {}).get(space)
    if not isinstance(vectors, np.ndarray) or not vectors.shape[1]:
        return nothing_in(path)
    points = points.at(np.flatnonzero(~np.isnan(vectors[:, 0])))
    shown = vectors[~np.isnan(vectors[:, 0])]
    places, plane = project(lambda rows: shown[rows], len(shown), seed, metric == "cosine")
    values = None
    if path is not None and points.payloads is not None:
        values = [scalar(value_at(payload, path)) for payload in points.payloads]
    return Projection(points.ids, places, plane.axes, plane.explained, len(shown), values)
