"""The table of gRPC procedures: the type of each request message, how it is read, and how the
response is written. The table in `http.routes` says which keys permit a call, and which method
answers it.

This module also converts some requests to the bodies of the same requests over HTTP: those that
create or change collections, and older searches, recommendations and discoveries.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from qdrant_client import grpc as messages
from qdrant_client import models

from retrieval_store_server.grpc import write
from retrieval_store_server.grpc.read import Noticed, Reading, noticing, optional_field
from retrieval_store_server.grpc.write import Message, payload_of
from retrieval_store_server.http import legacy_search
from retrieval_store_server.http.refusals import invalid, wrong
from retrieval_store_server.http.request import RequestContext, Served

Read: TypeAlias = Callable[[Message], Any]
Write: TypeAlias = Callable[[Any, float], Message]
# Optional fields that are copied unchanged.
_OWN = ("shard_number", "on_disk_payload", "replication_factor", "write_consistency_factor")


def create_request(model: Message) -> models.CreateCollection:
    """A request to create a collection."""
    read = Reading
    converters = {
        "hnsw_config": read.convert_hnsw_config_diff,
        "wal_config": read.convert_wal_config_diff,
        "optimizers_config": read.convert_optimizers_config_diff,
        "quantization_config": read.convert_quantization_config,
        "sharding_method": read.convert_sharding_method,
        "strict_mode_config": read.convert_strict_mode_config,
        "payload": read.convert_payload_storage_params,
        "id_tracker": read.convert_id_tracker_params,
    }
    fields: dict[str, Any] = {
        name: convert(getattr(model, name))
        for name, convert in converters.items()
        if model.HasField(name)
    }
    fields |= _optional_fields(model, *_OWN)
    if model.HasField("vectors_config"):
        config = model.vectors_config  # it may be unset
        has_vectors = config.WhichOneof("config") is not None
        fields["vectors"] = read.convert_vectors_config(config) if has_vectors else {}
    if model.HasField("sparse_vectors_config"):
        fields["sparse_vectors"] = read.convert_sparse_vector_config(model.sparse_vectors_config)
    if model.metadata:
        fields["metadata"] = payload_of(model.metadata)
    return models.CreateCollection(**fields)


def update_request(model: Message) -> models.UpdateCollection:
    """A request to change settings."""
    update: models.UpdateCollection = Reading.convert_update_collection(model)
    if model.metadata:
        update.metadata = payload_of(model.metadata)
    return update


def aliases(model: Message) -> models.ChangeAliasesOperation:
    """Aliases to create, rename and delete."""
    actions = [Reading.convert_alias_operations(action) for action in model.actions]
    return models.ChangeAliasesOperation(actions=actions)


def vector_name(model: Message) -> Any:
    """A vector space to add."""
    match model.WhichOneof("vector_config"):
        case "dense_config":
            config = model.dense_config
            several = optional_field(
                config, "multivector_config", Reading.convert_multivector_config
            )
            dense = models.DenseVectorConfig(
                size=config.size,
                distance=Reading.convert_distance(config.distance),
                multivector_config=several,
                datatype=optional_field(config, "datatype", Reading.convert_datatype),
            )
            return models.DenseVectorNameConfig(dense=dense)
        case "sparse_config":
            config = model.sparse_config
            sparse = models.SparseVectorConfig(
                modifier=optional_field(config, "modifier", Reading.convert_modifier),
                datatype=optional_field(config, "datatype", Reading.convert_datatype),
            )
            return models.SparseVectorNameConfig(sparse=sparse)
    raise ValueError("vector_config isn't given")


def search(model: Message) -> legacy_search.SearchBody:
    """A search for points near a vector."""
    return legacy_search.SearchBody.model_construct(**_nearest_request(model), **_window(model))


def search_groups(model: Message) -> legacy_search.SearchGroups:
    """A search for points near a vector, in groups."""
    return legacy_search.SearchGroups.model_construct(
        **_nearest_request(model), **Reading.read_groups(model)
    )


def recommend(model: Message) -> legacy_search.RecommendBody:
    """A recommendation of points that are like some examples and unlike others."""
    return legacy_search.RecommendBody.model_construct(**_like(model), **_window(model))


def recommend_groups(model: Message) -> legacy_search.RecommendGroups:
    """A recommendation of points, in groups."""
    return legacy_search.RecommendGroups.model_construct(
        **_like(model), **Reading.read_groups(model)
    )


def discover(model: Message) -> legacy_search.DiscoverBody:
    """A discovery. It finds points near a target, on the positive side of pairs of examples."""
    target = optional_field(model, "target", lambda message: _example(message.single))
    pairs = [
        models.ContextPair.model_construct(
            positive=_example(pair.positive), negative=_example(pair.negative)
        )
        for pair in model.context
    ]
    return legacy_search.DiscoverBody.model_construct(
        target=target,
        context=pairs,
        **_vector_names(model),
        **_search_options(model),
        **_window(model),
    )


def _batch(kind: Any, field: str, read: Read) -> Read:
    """A function that reads the batch of requests in this field of a message. It returns an
    instance of `kind`. `read` reads one request. As in Qdrant, a request without the name of a
    collection is refused, although the name is not used."""

    def read_each(model: Message) -> Any:
        requests = getattr(model, field)
        for i, request in enumerate(requests):
            if not request.collection_name:
                raise invalid(
                    f'[{field}[{i}].collection_name: value "" invalid, must be 1 to 255 long]'
                )
        return kind.model_construct(searches=[read(request) for request in requests])

    return read_each


def _nearest_request(model: Message) -> dict[str, Any]:
    vector: Any = model.vector[:]
    if model.HasField("sparse_indices"):
        indices = model.sparse_indices.data[:]
        if len(indices) != len(vector):
            raise wrong(
                "Sparse indices does not match sparse vector conditions: values: Validation "
                "error: must be the same length as indices [{}]"
            )
        vector = models.SparseVector(indices=indices, values=vector)
    if model.HasField("vector_name") and model.vector_name:
        vector = legacy_search.VectorWithName.model_construct(name=model.vector_name, vector=vector)
    return {"vector": vector, **_search_options(model)}


def _like(model: Message) -> dict[str, Any]:
    return {
        "positive": _examples(model.positive, model.positive_vectors),
        "negative": _examples(model.negative, model.negative_vectors),
        "strategy": optional_field(model, "strategy", Reading.convert_recommend_strategy),
        **_vector_names(model),
        **_search_options(model),
    }


def _vector_names(model: Message) -> dict[str, Any]:
    """The name of the vector space to search, and the collection that contains the examples."""
    return {"using": optional_field(model, "using") or None, "lookup_from": Reading.lookup(model)}


def _search_options(model: Message) -> dict[str, Any]:
    """The options that all searches share: the shard keys, and the options of
    `Reading.read_search`."""
    return {"shard_key": Reading.shard_key(model), **Reading.read_search(model)}


def _window(model: Message) -> dict[str, Any]:
    return {"limit": model.limit, "offset": optional_field(model, "offset")}


def _examples(ids: Any, vectors: Any) -> list[Any]:
    return [
        *(Reading.convert_point_id(point_id) for point_id in ids),
        *(_as_lists(Reading.convert_vector(vector)) for vector in vectors),
    ]


def _example(model: Message) -> Any:
    match model.WhichOneof("example"):
        case "id":
            return Reading.convert_point_id(model.id)
        case "vector":
            return _as_lists(Reading.convert_vector(model.vector))
    raise ValueError("an example is neither an id nor a vector")


def _as_lists(vector: Any) -> Any:
    """A vector as a list, because pydantic cannot validate an array."""
    return vector.tolist() if hasattr(vector, "tolist") else vector


LONGEST_NAME = 255  # characters of a collection's name
PATH_NAMES = ("collection_name", "field_name", "vector_name", "snapshot_name")


def _nothing(_: Message) -> None:
    """None, for a request without a body."""


def _check_names(names: Mapping[str, str]) -> None:
    """Refuse names that would be invalid in the path of a URL."""
    name = names.get("collection_name", "a name")
    if not 0 < len(name) <= LONGEST_NAME or "\0" in name:
        raise wrong(
            f"Validation error in body: collection_name: expected 1 to {LONGEST_NAME} characters, "
            "none of them NUL"
        )
    if names.get("field_name") == "":
        raise wrong("Validation error in body: field_name is empty")


def _check_guarantees(message: Message) -> None:
    """Refuse unknown read consistencies and write orderings. Known values are accepted, but have no
    effect on a single node."""
    fields = message.DESCRIPTOR.fields_by_name
    if "ordering" in fields and message.ordering.type not in messages.WriteOrderingType.values():
        raise wrong(f"ordering is {message.ordering.type}, expected Weak, Medium or Strong")
    if "read_consistency" not in fields or not message.HasField("read_consistency"):
        return
    consistency = message.read_consistency
    kind = consistency.WhichOneof("value")
    if kind is None:
        raise wrong("read_consistency is empty, expected a type or a factor")
    if kind == "factor" and consistency.factor == 0:
        raise wrong("read_consistency has the factor 0, expected 1 or more")
    if kind == "type" and consistency.type not in messages.ReadConsistencyType.values():
        raise wrong(f"read_consistency is {consistency.type}, expected All, Majority or Quorum")


@dataclass(frozen=True, slots=True)
class Procedure:
    """A gRPC procedure. message: the type of its request message; body: a function that makes the
    body for the route's method from the message; write: a function that makes the response message
    from the method's result."""

    message: type[Message]
    write: Write
    body: Read = _nothing

    def parse(self, sent: bytes) -> Message:
        """The received bytes as a message; raises Refused (400) if they are invalid."""
        try:
            return self.message.FromString(sent)
        except Exception as error:  # google.protobuf's; it has a single class
            raise wrong("failed to decode Protobuf message") from error

    def request_of(self, message: Message, served: Served, reads: bool) -> RequestContext:
        """The request that a message contains. Raises Refused (400) if the message cannot be read.
        reads: whether the procedure only reads; in this case a timeout of 0 is refused."""
        fields = message.DESCRIPTOR.fields_by_name
        names = {name: getattr(message, name) for name in PATH_NAMES if name in fields}
        _check_names(names)
        _check_guarantees(message)
        query = {}
        if "wait" in fields and message.wait:
            query["wait"] = "true"
        if "timeout" in fields and message.HasField("timeout"):
            if reads and not message.timeout:
                raise wrong("Validation error in body: timeout is 0, expected 1 or more")
            query["timeout"] = str(message.timeout)
        call = RequestContext(served, names, query, is_message=True)
        noticed = Noticed()
        with noticing(noticed):
            call.body = self.body(message)
        call.strings, call.infers = noticed.strings, noticed.infers
        return call


def _retrieve_request(model: Message) -> Any:
    ids = [Reading.convert_point_id(point_id) for point_id in model.ids]
    return _make_body(models.PointRequest, model, ids=ids, **Reading.read_shown(model))


def _make_body(kind: Any, model: Message, **fields: Any) -> Any:
    """A request body: an instance of the class `kind` with these fields, and with the shard key
    that the message contains."""
    return kind.model_construct(shard_key=Reading.shard_key(model), **fields)


def _optional_fields(model: Message, *names: str) -> dict[str, Any]:
    """The values of those optional fields, among the fields with these names, that are set in a
    message."""
    return {name: getattr(model, name) for name in names if model.HasField(name)}


def _scroll_request(model: Message) -> Any:
    return _make_body(
        models.ScrollRequest,
        model,
        offset=optional_field(model, "offset", Reading.convert_point_id),
        order_by=optional_field(model, "order_by", Reading.convert_order_by),
        filter=Reading.filter(model),
        **_optional_fields(model, "limit"),
        **Reading.read_shown(model),
    )


def _count_request(model: Message) -> Any:
    return _make_body(
        models.CountRequest, model, filter=Reading.filter(model), **_optional_fields(model, "exact")
    )


def _facet(model: Message) -> Any:
    return _make_body(
        models.FacetRequest,
        model,
        key=model.key,
        filter=Reading.filter(model),
        **_optional_fields(model, "limit", "exact"),
    )


def _matrix(model: Message) -> Any:
    return _make_body(
        models.SearchMatrixRequest,
        model,
        filter=Reading.filter(model),
        **_optional_fields(model, "sample", "limit", "using"),
    )


def _queries(model: Message) -> Any:
    searches = [Reading.convert_query_points(query) for query in model.query_points]
    return models.QueryRequestBatch.model_construct(searches=searches)


def _operations(model: Message) -> Any:
    every = [Reading.convert_points_update_operation(operation) for operation in model.operations]
    if not every:
        raise ValueError("there are no operations")
    return models.UpdateOperations.model_construct(operations=every)


def _index(model: Message) -> Any:
    return models.CreateFieldIndex.model_construct(
        field_name=model.field_name, field_schema=Reading.field_schema(model)
    )


def _delete_request(model: Message) -> Any:
    if not model.HasField("points"):
        raise ValueError("neither points nor a filter are given")
    return Reading.read_selector(model.points, model)


_m = messages
_collection_answer = write.done(messages.CollectionOperationResponse)
PROCEDURES: Mapping[str, Procedure] = {
    "Qdrant/HealthCheck": Procedure(_m.HealthCheckRequest, write.health),
    # Collections
    "Collections/List": Procedure(_m.ListCollectionsRequest, write.collections),
    "Collections/Get": Procedure(_m.GetCollectionInfoRequest, write.collection),
    "Collections/Create": Procedure(_m.CreateCollection, _collection_answer, create_request),
    "Collections/Update": Procedure(_m.UpdateCollection, _collection_answer, update_request),
    "Collections/Delete": Procedure(_m.DeleteCollection, _collection_answer),
    "Collections/CollectionExists": Procedure(_m.CollectionExistsRequest, write.exists),
    "Collections/UpdateAliases": Procedure(_m.ChangeAliases, _collection_answer, aliases),
    "Collections/ListCollectionAliases": Procedure(_m.ListCollectionAliasesRequest, write.aliases),
    "Collections/ListAliases": Procedure(_m.ListAliasesRequest, write.aliases),
    "Collections/CollectionClusterInfo": Procedure(_m.CollectionClusterInfoRequest, write.cluster),
    "Collections/UpdateCollectionClusterSetup": Procedure(
        _m.UpdateCollectionClusterSetupRequest,
        write.done(_m.UpdateCollectionClusterSetupResponse),
    ),
    "Collections/CreateShardKey": Procedure(
        _m.CreateShardKeyRequest, write.done(_m.CreateShardKeyResponse)
    ),
    "Collections/DeleteShardKey": Procedure(
        _m.DeleteShardKeyRequest, write.done(_m.DeleteShardKeyResponse)
    ),
    "Collections/ListShardKeys": Procedure(_m.ListShardKeysRequest, write.shard_keys),
    # Writing points
    "Points/Upsert": Procedure(_m.UpsertPoints, write.update_answer, Reading.read_upsert),
    "Points/Delete": Procedure(_m.DeletePoints, write.update_answer, _delete_request),
    "Points/UpdateVectors": Procedure(
        _m.UpdatePointVectors, write.update_answer, Reading.read_update_vectors
    ),
    "Points/DeleteVectors": Procedure(
        _m.DeletePointVectors, write.update_answer, Reading.read_delete_vectors
    ),
    "Points/SetPayload": Procedure(
        _m.SetPayloadPoints, write.update_answer, Reading.read_set_payload
    ),
    "Points/OverwritePayload": Procedure(
        _m.SetPayloadPoints, write.update_answer, Reading.read_set_payload
    ),
    "Points/DeletePayload": Procedure(
        _m.DeletePayloadPoints, write.update_answer, Reading.read_delete_payload
    ),
    "Points/ClearPayload": Procedure(_m.ClearPayloadPoints, write.update_answer, _delete_request),
    "Points/UpdateBatch": Procedure(_m.UpdateBatchPoints, write.updated_each, _operations),
    "Points/CreateFieldIndex": Procedure(
        _m.CreateFieldIndexCollection, write.update_answer, _index
    ),
    "Points/DeleteFieldIndex": Procedure(_m.DeleteFieldIndexCollection, write.update_answer),
    "Points/CreateVectorName": Procedure(
        _m.CreateVectorNameRequest, write.update_answer, vector_name
    ),
    "Points/DeleteVectorName": Procedure(_m.DeleteVectorNameRequest, write.update_answer),
    # Reading points
    "Points/Get": Procedure(_m.GetPoints, write.records, _retrieve_request),
    "Points/Scroll": Procedure(_m.ScrollPoints, write.page, _scroll_request),
    "Points/Count": Procedure(_m.CountPoints, write.count, _count_request),
    "Points/Facet": Procedure(_m.FacetCounts, write.facet, _facet),
    "Points/Query": Procedure(
        _m.QueryPoints, write.hits_answer(_m.QueryResponse), Reading.convert_query_points
    ),
    "Points/QueryBatch": Procedure(
        _m.QueryBatchPoints, write.scored_each(_m.QueryBatchResponse), _queries
    ),
    "Points/QueryGroups": Procedure(
        _m.QueryPointGroups, write.groups_answer(_m.QueryGroupsResponse), Reading.query_groups
    ),
    "Points/SearchMatrixPairs": Procedure(_m.SearchMatrixPoints, write.pairs, _matrix),
    "Points/SearchMatrixOffsets": Procedure(_m.SearchMatrixPoints, write.offsets, _matrix),
    # Older requests
    "Points/Search": Procedure(_m.SearchPoints, write.hits_answer(_m.SearchResponse), search),
    "Points/SearchBatch": Procedure(
        _m.SearchBatchPoints,
        write.scored_each(_m.SearchBatchResponse),
        _batch(legacy_search.SearchBatch, "search_points", search),
    ),
    "Points/SearchGroups": Procedure(
        _m.SearchPointGroups, write.groups_answer(_m.SearchGroupsResponse), search_groups
    ),
    "Points/Recommend": Procedure(
        _m.RecommendPoints, write.hits_answer(_m.RecommendResponse), recommend
    ),
    "Points/RecommendBatch": Procedure(
        _m.RecommendBatchPoints,
        write.scored_each(_m.RecommendBatchResponse),
        _batch(legacy_search.RecommendBatch, "recommend_points", recommend),
    ),
    "Points/RecommendGroups": Procedure(
        _m.RecommendPointGroups, write.groups_answer(_m.RecommendGroupsResponse), recommend_groups
    ),
    "Points/Discover": Procedure(
        _m.DiscoverPoints, write.hits_answer(_m.DiscoverResponse), discover
    ),
    "Points/DiscoverBatch": Procedure(
        _m.DiscoverBatchPoints,
        write.scored_each(_m.DiscoverBatchResponse),
        _batch(legacy_search.DiscoverBatch, "discover_points", discover),
    ),
    # Snapshots
    "Snapshots/Create": Procedure(_m.CreateSnapshotRequest, write.snapshot),
    "Snapshots/List": Procedure(_m.ListSnapshotsRequest, write.snapshots),
    "Snapshots/Delete": Procedure(_m.DeleteSnapshotRequest, write.snapshot_deleted),
    "Snapshots/CreateFull": Procedure(_m.CreateFullSnapshotRequest, write.snapshot),
    "Snapshots/ListFull": Procedure(_m.ListFullSnapshotsRequest, write.snapshots),
    "Snapshots/DeleteFull": Procedure(_m.DeleteFullSnapshotRequest, write.snapshot_deleted),
}
