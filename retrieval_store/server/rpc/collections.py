"""Requests that make and change collections, as the bodies over HTTP are."""

from typing import Any

from qdrant_client import models

from retrieval_store.server.rpc.reading import Reading
from retrieval_store.server.rpc.values import Message, payload_of

# How fields that may be left out are made, where it isn't by the method that is called as they are.
_OWN = ("shard_number", "on_disk_payload", "replication_factor", "write_consistency_factor")


def created(model: Message) -> models.CreateCollection:
    """A collection to be made."""
    read = Reading
    made = {
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
        name: make(getattr(model, name)) for name, make in made.items() if model.HasField(name)
    }
    fields |= {name: getattr(model, name) for name in _OWN if model.HasField(name)}
    if model.HasField("vectors_config"):
        fields["vectors"] = _vectors(model.vectors_config)
    if model.HasField("sparse_vectors_config"):
        fields["sparse_vectors"] = read.convert_sparse_vector_config(model.sparse_vectors_config)
    if model.metadata:
        fields["metadata"] = payload_of(model.metadata)
    return models.CreateCollection(**fields)


def _vectors(config: Message) -> Any:
    """The vectors of a collection, of which there may be none."""
    return {} if config.WhichOneof("config") is None else Reading.convert_vectors_config(config)


def updated(model: Message) -> models.UpdateCollection:
    """Settings that are changed."""
    found: models.UpdateCollection = Reading.convert_update_collection(model)
    if model.metadata:
        found.metadata = payload_of(model.metadata)
    return found


def aliases(model: Message) -> models.ChangeAliasesOperation:
    """Aliases that are made, renamed and deleted."""
    actions = [Reading.convert_alias_operations(one) for one in model.actions]
    return models.ChangeAliasesOperation(actions=actions)


def _datatype(given: Message) -> Any:
    """What the numbers of vectors are kept as, if that is said."""
    return Reading.convert_datatype(given.datatype) if given.HasField("datatype") else None


def vector_name(model: Message) -> Any:
    """Vectors of one name more."""
    match model.WhichOneof("vector_config"):
        case "dense_config":
            given = model.dense_config
            has = given.HasField
            dense = models.DenseVectorConfig(
                size=given.size,
                distance=Reading.convert_distance(given.distance),
                multivector_config=Reading.convert_multivector_config(given.multivector_config)
                if has("multivector_config")
                else None,
                datatype=_datatype(given),
            )
            return models.DenseVectorNameConfig(dense=dense)
        case "sparse_config":
            given = model.sparse_config
            has = given.HasField
            sparse = models.SparseVectorConfig(
                modifier=Reading.convert_modifier(given.modifier) if has("modifier") else None,
                datatype=_datatype(given),
            )
            return models.SparseVectorNameConfig(sparse=sparse)
    raise ValueError("vector_config isn't given")
