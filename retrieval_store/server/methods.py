"""What answers each route about collections and points: Qdrant's methods, called with what a
request names and holds.

Each takes the request that was read and returns a result, which `answers` writes; or raises what
the method raises.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from qdrant_client import models

from retrieval_store.qdrant.errors import NoVectorError, Refused, not_found, wrong
from retrieval_store.qdrant.read import make_model
from retrieval_store.qdrant.vectors import uuid_of
from retrieval_store.query.types import PointId
from retrieval_store.server import rates
from retrieval_store.server.bodies import as_grouped_query, as_query
from retrieval_store.server.request import RequestContext, is_unsigned, refuse_dots

# What fields of bodies are called as arguments of the methods.
RENAMED = {"shard_key": "shard_key_selector", "with_vector": "with_vectors"}
STANDALONE = "Qdrant is running in standalone mode"


def arguments(body: Any, renamed: Mapping[str, str]) -> dict[str, Any]:
    """The fields that are set in a body, under the names of a method's arguments."""
    names = {**RENAMED, **renamed}
    return {names.get(key, key): one for key, one in vars(body).items() if one is not None}


# Collections


def create_collection(asked: RequestContext) -> bool:
    """Create a collection."""
    refuse_dots(asked.collection)
    renamed = {"vectors": "vectors_config", "sparse_vectors": "sparse_vectors_config"}
    return asked.embedded.create_collection(asked.collection, **arguments(asked.body, renamed))


def update_collection(asked: RequestContext) -> bool:
    """Change the settings of a collection."""
    renamed = {
        "vectors": "vectors_config",
        "sparse_vectors": "sparse_vectors_config",
        "params": "collection_params",
    }
    return asked.embedded.update_collection(asked.collection, **arguments(asked.body, renamed))


def delete_collection(asked: RequestContext) -> bool:
    """Delete a collection; false where there is none."""
    refuse_dots(asked.collection)
    return asked.embedded.delete_collection(asked.collection)


def collection_exists(asked: RequestContext) -> Any:
    """Whether a collection exists."""
    return {"exists": asked.embedded.collection_exists(asked.collection)}


def aliases_of(asked: RequestContext) -> Any:
    """The aliases of a collection; none for a collection that doesn't exist."""
    try:
        return asked.embedded.get_collection_aliases(asked.collection)
    except Refused as error:
        if error.status_code != HTTPStatus.NOT_FOUND:
            raise
        return {"aliases": []}


def change_aliases(asked: RequestContext) -> bool:
    """Create, rename and delete aliases: all, or none."""
    return asked.embedded.update_collection_aliases(asked.body.actions)


def create_index(asked: RequestContext) -> Any:
    """Create a payload index."""
    if asked.body.field_schema is None:
        raise wrong("Bad request: field_schema isn't given, and kinds of values aren't guessed")
    found = asked.embedded.create_payload_index(
        asked.collection, asked.body.field_name, asked.body.field_schema
    )
    return mark_acknowledged(asked, found)


def delete_index(asked: RequestContext) -> Any:
    """Delete a payload index."""
    try:
        found = asked.embedded.delete_payload_index(asked.collection, asked.names["field_name"])
    except Refused as error:
        if error.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:  # the path in the URL is none
            raise wrong(error.message) from error
        raise
    return mark_acknowledged(asked, found)


def create_vector(asked: RequestContext) -> Any:
    """Add a vector space."""
    name = asked.names["vector_name"]
    return mark_acknowledged(
        asked, asked.embedded.create_vector_name(asked.collection, name, asked.body)
    )


def delete_vector(asked: RequestContext) -> Any:
    """Delete a vector space."""
    name = asked.names["vector_name"]
    return mark_acknowledged(asked, asked.embedded.delete_vector_name(asked.collection, name))


def mark_acknowledged(asked: RequestContext, found: Any) -> Any:
    """The results of writes, with the status "acknowledged" where the client doesn't wait. The
    writes are done either way."""
    if not asked.waits:
        for one in found if isinstance(found, list) else [found]:
            one.status = models.UpdateStatus.ACKNOWLEDGED
    return found


# Writing points


def write_route(operation: type[Any]) -> Callable[[RequestContext], Any]:
    """The route of one write operation, whose body is that of the operation."""
    (name,) = operation.model_fields

    def change(asked: RequestContext) -> Any:
        (found,) = _write(asked, [make_model(operation, {name: asked.body})])
        return mark_acknowledged(asked, found)

    return change


def change_several(asked: RequestContext) -> Any:
    """Carry out several write operations, all or none."""
    return mark_acknowledged(asked, _write(asked, asked.body.operations))


def _write(asked: RequestContext, operations: list[Any]) -> list[models.UpdateResult]:
    _prepare(asked, is_query=False)
    rates.spend_write(asked.served.opened(asked.collection), operations)
    return asked.embedded.batch_update_points(asked.collection, operations, timeout=asked.timeout)


# Reading points


def read_route(method: str, **renamed: str) -> Callable[[RequestContext], Any]:
    """The route of a read method, whose body has the arguments of the method."""

    def read(asked: RequestContext) -> Any:
        _prepare(asked, is_query=True)
        return _call_reader(asked, method, asked.body, renamed)

    return read


def _call_reader(asked: RequestContext, method: str, body: Any, renamed: Mapping[str, str]) -> Any:
    given = arguments(body, renamed)
    rates.spend_read(asked.served.opened(asked.collection), [body])
    return getattr(asked.embedded, method)(asked.collection, timeout=asked.timeout, **given)


_QUERY = {"filter": "query_filter", "params": "search_params"}


def scroll(asked: RequestContext) -> Any:
    """A page of points, and the offset of the next one."""
    points, following = read_route("scroll", filter="scroll_filter")(asked)
    return {"points": points, "next_page_offset": following}


def get_point(asked: RequestContext) -> Any:
    """One point by its id."""
    point_id = _id_in_path(asked)
    rates.spend_read(asked.served.opened(asked.collection), [None])
    found = asked.embedded.retrieve(
        asked.collection, [point_id], with_vectors=True, timeout=asked.timeout
    )
    if not found:
        raise not_found(f"Not found: Point with id {point_id} does not exists!")
    return found[0]


def _id_in_path(asked: RequestContext) -> PointId:
    given = asked.names["id"]
    if is_unsigned(given):
        return int(given)
    known = uuid_of(given)
    if known is not None:
        return known
    asked.strings.append(given)
    try:
        _refuse_unknown(asked)
    except Refused:
        raise wrong(f"Wrong input: Can not recognize {given!r} as point id") from None
    return given


def query_points(asked: RequestContext) -> Any:
    """The points that a query finds."""
    return _query(asked, asked.body, "query_points")


def _query(asked: RequestContext, body: Any, method: str) -> Any:
    _prepare(asked, is_query=True)
    if body.with_payload is None:
        body.with_payload = False
    return _call_reader(asked, method, body, _QUERY)


def query_batch(asked: RequestContext) -> Any:
    """The results of several queries in one state of the collection."""
    return _queries(asked, asked.body.searches)


def _queries(asked: RequestContext, requests: list[Any]) -> Any:
    _prepare(asked, is_query=True)
    rates.spend_read(asked.served.opened(asked.collection), requests)
    return asked.embedded.query_batch_points(asked.collection, requests, timeout=asked.timeout)


def query_groups(asked: RequestContext) -> Any:
    """The points that a query finds, in groups."""
    return _query(asked, asked.body, "query_points_groups")


def search(asked: RequestContext) -> Any:
    """The result of an older request."""
    return _run_older_search(asked, asked.body)


def _run_older_search(asked: RequestContext, body: Any) -> Any:
    """The result of an older request. Unlike a query, it goes on without examples that have no
    vector."""
    try:
        return _query(asked, as_query(body), "query_points").points
    except NoVectorError as error:
        return _run_older_search(asked, body) if body.leave_out(error.given) else []


def search_batch(asked: RequestContext) -> Any:
    """The results of several older requests."""
    searches = asked.body.searches
    try:
        return [one.points for one in _queries(asked, [as_query(one) for one in searches])]
    except NoVectorError:
        return [_run_older_search(asked, one) for one in searches]


def search_groups(asked: RequestContext) -> Any:
    """The result of an older request for groups."""
    try:
        return _query(asked, as_grouped_query(asked.body), "query_points_groups")
    except NoVectorError as error:
        asked.body.leave_out(error.given)
        return search_groups(asked)


def _prepare(asked: RequestContext, is_query: bool) -> None:
    """Embed the inference objects, and refuse invalid ids."""
    asked.embed(is_query)
    _refuse_unknown(asked)


def _refuse_unknown(asked: RequestContext) -> None:
    """Refuse ids that are neither integers nor UUIDs, except those of points that a Collection has
    written."""
    if asked.strings:
        known = asked.embedded.retrieve(asked.collection, asked.strings, with_payload=False)
        unknown = set(asked.strings).difference(one.id for one in known)
        if unknown:
            raise wrong(
                f"Format error in JSON body: value {min(unknown)} is not a valid point ID, valid "
                "values are either an unsigned integer or a UUID"
            )


# One node, out of cluster mode


def get_collection_shards(asked: RequestContext) -> Any:
    """The shard keys of a collection, which has none."""
    return asked.embedded.list_shard_keys(asked.collection)


def refuse_cluster(asked: RequestContext) -> Any:
    """Refuse what only a cluster can do."""
    raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, STANDALONE)
