"""Converts gRPC requests to instances of qdrant-client's model classes, as which HTTP bodies are
parsed, too.

qdrant-client's own converter makes most of these instances. This module overrides a method of the
converter if the method doesn't know a message, differs from a Qdrant server, or is too slow for
frequent requests.
"""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from qdrant_client import models
from qdrant_client.conversions.conversion import (
    GrpcToRest,
    grpc_field_type_to_payload_schema,
)

from retrieval_store.extension import make_model, uuid_in
from retrieval_store.qdrant import Refused
from retrieval_store_server.grpc.write import (
    Message,
    matrix_of,
    new_id_of,
    numbers,
    payload_of,
    value_of,
)
from retrieval_store_server.http.bodies import unreadable
from retrieval_store_server.http.refusals import invalid, wrong

# The errors of invalid messages: an unknown value of an enum, an impossible time, or no value where
# one of several is needed.
MISREAD = (ArithmeticError, RecursionError, ValueError)

LARGEST = sys.float_info.max


@dataclass(slots=True)
class Noticed:
    """Facts about a message that are recorded while it is read. strings: the ids in the message
    that are neither integers nor UUIDs; infers: whether the message contains objects to embed."""

    strings: list[str] = field(default_factory=list)
    infers: bool = False


_noticed: ContextVar[Noticed] = ContextVar("noticed")


@contextmanager
def noticing(noticed: Noticed) -> Iterator[None]:
    """A context manager. While a message is read in its `with` block, facts about the message are
    recorded in `noticed`. Raises Refused (400) if the message cannot be read."""
    token = _noticed.set(noticed)
    try:
        yield
    except Refused:
        raise
    except ValidationError as error:
        raise unreadable(error) from error
    except MISREAD as error:
        raise wrong(f"Wrong input: {str(error)[:300]}") from error
    finally:
        _noticed.reset(token)


class Reading(GrpcToRest):
    """Converts messages to instances of qdrant-client's model classes."""

    @classmethod
    def convert_point_id(cls, model: Message) -> Any:
        """The id of a point. An id that is neither an integer nor a UUID is also added to the
        strings that the request's `noticing` block collects."""
        if model.WhichOneof("point_id_options") == "num":
            return model.num
        text = model.uuid
        known = uuid_in(text)
        if known is None:
            if not text:
                raise ValueError("an id of a point is empty")
            _noticed.get().strings.append(text)
        return known or text

    @classmethod
    def convert_filter(cls, model: Message) -> models.Filter:
        """The filter that a message contains. Empty lists and empty conditions count as missing."""
        least = model.min_should
        return make_model(
            models.Filter,
            {
                "should": cls._conditions(model.should),
                "min_should": models.MinShould(
                    conditions=cls._conditions(least.conditions) or [],
                    min_count=least.min_count,
                )
                if model.HasField("min_should")
                else None,
                "must": cls._conditions(model.must),
                "must_not": cls._conditions(model.must_not),
            },
        )

    @classmethod
    def _conditions(cls, value: Any) -> list[Any] | None:
        if not value:
            return None
        return [
            cls.convert_condition(condition)
            for condition in value
            if condition.WhichOneof("condition_one_of") is not None
        ]

    @classmethod
    def convert_range(cls, model: Message) -> models.Range:
        """The range that a message contains, with finite bounds, as JSON requires. Infinite bounds
        become the largest floats. A range with a NaN bound becomes a range that no value
        matches."""
        bounds = vars(super().convert_range(model))
        if any(bound is not None and math.isnan(bound) for bound in bounds.values()):
            return make_model(models.Range, {**dict.fromkeys(bounds), "gt": LARGEST})
        finite = {
            name: bound if bound is None else min(max(bound, -LARGEST), LARGEST)
            for name, bound in bounds.items()
        }
        return make_model(models.Range, finite)

    @classmethod
    def convert_payload(cls, model: Any) -> dict[str, Any]:
        """The payload that a message contains, as a dict."""
        return payload_of(model)

    @classmethod
    def convert_query(cls, model: Message) -> Any:
        """The query that a message contains. A dense vector to search with becomes an array, which
        is not validated."""
        nearest = model.nearest
        if model.WhichOneof("variant") == "nearest" and nearest.WhichOneof("variant") == "dense":
            return make_model(models.NearestQuery, {"nearest": numbers(nearest.dense), "mmr": None})
        return super().convert_query(model)

    @classmethod
    def convert_document(cls, model: Message) -> Any:
        """A text to embed."""
        return cls._infer(models.Document, model, text=model.text)

    @classmethod
    def convert_image(cls, model: Message) -> Any:
        """An image to embed."""
        return cls._infer(models.Image, model, image=value_of(model.image))

    @classmethod
    def convert_inference_object(cls, model: Message) -> Any:
        """An object to embed that is neither a text nor an image."""
        return cls._infer(models.InferenceObject, model, object=value_of(model.object))

    @classmethod
    def _infer(cls, kind: Any, model: Message, **fields: Any) -> Any:
        _noticed.get().infers = True
        return kind(model=model.model, options=payload_of(model.options), **fields)

    @classmethod
    def convert_query_points(cls, model: Message) -> models.QueryRequest:
        """A query with all its options."""
        return make_model(
            models.QueryRequest,
            {
                "shard_key": cls.shard_key(model),
                **cls._query_fields(model),
                "limit": optional_field(model, "limit"),
                "offset": optional_field(model, "offset"),
            },
        )

    @classmethod
    def query_groups(cls, model: Message) -> models.QueryGroupsRequest:
        """A query whose hits are grouped, with all its options."""
        return make_model(
            models.QueryGroupsRequest,
            {
                "shard_key": cls.shard_key(model),
                **cls._query_fields(model),
                **cls.read_groups(model),
            },
        )

    @classmethod
    def _query_fields(cls, model: Message) -> dict[str, Any]:
        return {
            "prefetch": [cls.convert_prefetch_query(prefetch) for prefetch in model.prefetch]
            or None,
            "query": optional_field(model, "query", cls.convert_query),
            "using": optional_field(model, "using"),
            "lookup_from": cls.lookup(model),
            **cls.read_search(model),
        }

    @classmethod
    def read_search(cls, model: Message) -> dict[str, Any]:
        """The options that all searches share: filter, parameters, score threshold, and the parts
        of points to return."""
        return {
            "filter": cls.filter(model),
            "params": optional_field(model, "params", cls.convert_search_params),
            "score_threshold": optional_field(model, "score_threshold")
            if "score_threshold" in model.DESCRIPTOR.fields_by_name  # discoveries lack it
            else None,
            **cls.read_shown(model),
        }

    @classmethod
    def read_shown(cls, model: Message) -> dict[str, Any]:
        """The options that say whether to return vectors and payloads, and which of them."""
        return {
            "with_vector": optional_field(model, "with_vectors", cls.convert_with_vectors_selector),
            "with_payload": optional_field(
                model, "with_payload", cls.convert_with_payload_selector
            ),
        }

    @classmethod
    def convert_with_vectors_selector(cls, model: Message) -> Any:
        """The vectors to return; None if the message does not say."""
        if model.WhichOneof("selector_options") is None:
            return None
        return super().convert_with_vectors_selector(model)

    @classmethod
    def read_groups(cls, model: Message) -> dict[str, Any]:
        """The options of a request that groups its hits."""
        return {
            "group_by": model.group_by,
            "group_size": _number_of(model, "group_size"),
            "limit": _number_of(model, "limit"),
            "with_lookup": optional_field(model, "with_lookup", cls.convert_with_lookup),
        }

    @classmethod
    def filter(cls, model: Message) -> Any:
        """The filter of a request; None if the request has no filter."""
        return optional_field(model, "filter", cls.convert_filter)

    @classmethod
    def lookup(cls, model: Message) -> Any:
        """The collection from which the vectors of examples are taken; None for the searched
        collection."""
        return optional_field(model, "lookup_from", cls.convert_lookup_location)

    @classmethod
    def shard_key(cls, model: Message) -> Any:
        """The shard keys that a request names; None if the request names no shard keys."""
        return optional_field(model, "shard_key_selector", cls.convert_shard_key_selector)

    @classmethod
    def convert_vector(cls, model: Message) -> Any:
        """A vector to write: an array, several arrays, a sparse vector, or an object to embed."""
        match model.WhichOneof("vector"):
            case None:
                return cls._older_vector(model)
            case "dense":
                return numbers(model.dense)
            case "multi_dense":
                return matrix_of(model.multi_dense)
        return super().convert_vector(model)

    @classmethod
    def _older_vector(cls, model: Message) -> Any:
        """A vector to write, in the form that older clients send."""
        if model.HasField("indices"):
            return models.SparseVector(indices=model.indices.data[:], values=model.data[:])
        if not model.HasField("vectors_count"):
            return numbers(model)
        count = model.vectors_count
        if count == 0:
            raise invalid("[vectors_count: vectors count must be greater than 0]")
        # Without numbers the division below would make `count` empty vectors.
        if not model.data or len(model.data) % count:
            raise invalid(
                "[data: Validation error: invalid dense vector length for vectors count: "
                f"{len(model.data)} numbers, {count} vectors]"
            )
        step = len(model.data) // count
        return [model.data[i * step : (i + 1) * step] for i in range(count)]

    @classmethod
    def convert_named_vectors(cls, model: Message) -> dict[str, Any]:
        """The vectors of a point, by the names of their vector spaces."""
        return {name: cls.convert_vector(model.vectors[name]) for name in model.vectors}

    @classmethod
    def points(cls, value: Any) -> models.Batch:
        """Points to write, as three columns: ids, vectors and payloads."""
        return make_model(
            models.Batch,
            {
                "ids": [new_id_of(point.id) for point in value],
                "vectors": [cls._vectors(point) for point in value],
                "payloads": [payload_of(point.payload) for point in value],
            },
        )

    @classmethod
    def _vectors(cls, point: Message) -> Any:
        if point.vectors.WhichOneof("vectors_options") is None:
            raise wrong("Expected vectors: a point has none, not even an empty map of them")
        return cls.convert_vectors(point.vectors)

    @classmethod
    def read_upsert(cls, model: Message) -> models.PointsList:
        """The body of an upsert."""
        return make_model(
            models.PointsList,
            {
                "points": cls.points(model.points),
                "shard_key": cls.shard_key(model),
                "update_filter": optional_field(model, "update_filter", cls.convert_filter),
                "update_mode": optional_field(model, "update_mode", cls.convert_update_mode),
            },
        )

    @classmethod
    def read_update_vectors(cls, model: Message) -> models.UpdateVectors:
        """The body of a request that updates vectors."""
        return make_model(
            models.UpdateVectors,
            {
                "points": [cls._point_vectors(point) for point in model.points],
                "shard_key": cls.shard_key(model),
                "update_filter": optional_field(model, "update_filter", cls.convert_filter),
            },
        )

    @classmethod
    def _point_vectors(cls, model: Message) -> models.PointVectors:
        point_id = cls.convert_point_id(model.id)
        return make_model(models.PointVectors, {"id": point_id, "vector": cls._vectors(model)})

    @classmethod
    def read_selector(cls, selector: Message, model: Message | None) -> Any:
        """The points that a request selects, by their ids or by a filter. model: the message that
        may contain a shard key."""
        shard_key = None if model is None else cls.shard_key(model)
        match selector.WhichOneof("points_selector_one_of"):
            case "points":
                ids = [cls.convert_point_id(point_id) for point_id in selector.points.ids]
                return models.PointIdsList.model_construct(points=ids, shard_key=shard_key)
            case "filter":
                condition = cls.convert_filter(selector.filter)
                return models.FilterSelector(filter=condition, shard_key=shard_key)
        raise ValueError("neither points nor a filter are given")

    @classmethod
    def selection(cls, model: Message) -> dict[str, Any]:
        """The points that a request selects, by their ids or by a filter, as fields for a larger
        body."""
        if not model.HasField("points_selector"):
            raise ValueError("neither points nor a filter are given")
        selected = cls.read_selector(model.points_selector, model)
        return {
            "points": getattr(selected, "points", None),
            "filter": getattr(selected, "filter", None),
            "shard_key": selected.shard_key,
        }

    @classmethod
    def read_set_payload(cls, model: Message) -> models.SetPayload:
        """The body of a request that sets payloads."""
        return models.SetPayload.model_construct(
            payload=payload_of(model.payload),
            key=optional_field(model, "key"),
            **cls.selection(model),
        )

    @classmethod
    def read_delete_payload(cls, model: Message) -> models.DeletePayload:
        """The body of a request that deletes keys of payloads."""
        return models.DeletePayload.model_construct(keys=list(model.keys), **cls.selection(model))

    @classmethod
    def read_delete_vectors(cls, model: Message) -> models.DeleteVectors:
        """The body of a request that deletes vectors."""
        return models.DeleteVectors.model_construct(
            vector=list(model.vectors.names), **cls.selection(model)
        )

    @classmethod
    def convert_points_update_operation(cls, model: Message) -> Any:
        """One of the operations in a batch."""
        name = model.WhichOneof("operation")
        if name is None:
            raise ValueError("an operation isn't a known one")
        operation = getattr(model, name)
        match name:
            case "upsert":
                return make_model(models.UpsertOperation, {"upsert": cls.read_upsert(operation)})
            case "delete_points":
                selected = cls.read_selector(operation.points, operation)
                return make_model(models.DeleteOperation, {"delete": selected})
            case "delete_deprecated":
                selected = cls.read_selector(operation, None)
                return make_model(models.DeleteOperation, {"delete": selected})
            case "set_payload":
                return make_model(
                    models.SetPayloadOperation, {name: cls.read_set_payload(operation)}
                )
            case "overwrite_payload":
                return make_model(
                    models.OverwritePayloadOperation, {name: cls.read_set_payload(operation)}
                )
            case "delete_payload":
                return make_model(
                    models.DeletePayloadOperation, {name: cls.read_delete_payload(operation)}
                )
            case "clear_payload":
                selected = cls.read_selector(operation.points, operation)
                return make_model(models.ClearPayloadOperation, {name: selected})
            case "clear_payload_deprecated":
                selected = cls.read_selector(operation, None)
                return make_model(models.ClearPayloadOperation, {"clear_payload": selected})
            case "update_vectors":
                return make_model(
                    models.UpdateVectorsOperation, {name: cls.read_update_vectors(operation)}
                )
            case "delete_vectors":
                return make_model(
                    models.DeleteVectorsOperation, {name: cls.read_delete_vectors(operation)}
                )
        raise ValueError(f"the operation {name} isn't known")

    @classmethod
    def field_schema(cls, model: Message) -> Any:
        """The type of a payload index, with its parameters if the message has any; None if the
        message has no type."""
        if model.HasField("field_index_params"):
            return cls.convert_payload_schema_params(model.field_index_params)
        if not model.HasField("field_type"):
            return None
        return cls.convert_payload_schema_type(grpc_field_type_to_payload_schema(model.field_type))


def optional_field(
    model: Message, name: str, read: Callable[[Any], Any] = lambda value: value
) -> Any:
    """The value of an optional field, read by `read`; None if the field is missing."""
    return read(getattr(model, name)) if model.HasField(name) else None


def _number_of(model: Message, name: str) -> Any:
    """The number in a field that is optional in some messages and required in others."""
    has_presence = model.DESCRIPTOR.fields_by_name[name].has_presence
    return optional_field(model, name) if has_presence else getattr(model, name)
