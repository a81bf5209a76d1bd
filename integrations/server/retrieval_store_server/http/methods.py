"""The functions that answer the routes for collections and points.

Each function takes the parsed request, and calls a method of `QdrantService` with the request's
parameters and body. It returns the method's result, which `answers` writes as a response. Errors of
the method are raised.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

from qdrant_client import models

from retrieval_store.extension import PointId, make_model, uuid_in
from retrieval_store.qdrant import Refused
from retrieval_store_server.http.answers import hits_as_json, points_as_json
from retrieval_store_server.http.bodies import refuse_invalid_vectors
from retrieval_store_server.http.legacy_search import RecommendBody, as_grouped_query, as_query
from retrieval_store_server.http.rates import spend_read, spend_write
from retrieval_store_server.http.refusals import not_found, wrong
from retrieval_store_server.http.request import RequestContext, is_unsigned, refuse_dots

# Fields of bodies whose names differ from the methods' arguments.
RENAMED = {"shard_key": "shard_key_selector", "with_vector": "with_vectors"}
SKIPPING = 10  # factor of the limit from which a server reads payloads and vectors afterwards
Answering: TypeAlias = Callable[[Any], Any]  # makes a query's response from its hits by columns
STANDALONE = "Qdrant is running in standalone mode"


def arguments(body: Any, renamed: Mapping[str, str]) -> dict[str, Any]:
    """The fields that are set in a body, as keyword arguments of a method. renamed: the names of
    arguments by the names of fields, where the two names differ; used in addition to `RENAMED`."""
    names = {**RENAMED, **renamed}
    return {names.get(key, key): value for key, value in vars(body).items() if value is not None}


# Collections


def _check_timeout(call: RequestContext) -> None:
    """Refuse a timeout of 0, which Qdrant accepts only for writes of points."""
    if call.timeout == 0:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "Validation error in query parameters: [timeout: value 0 invalid, must be 1 or larger]",
        )


def create_collection(call: RequestContext) -> bool:
    """Create a collection."""
    _check_timeout(call)
    refuse_dots(call.collection)
    renamed = {"vectors": "vectors_config", "sparse_vectors": "sparse_vectors_config"}
    return call.embedded.create_collection(call.collection, **arguments(call.body, renamed))


def update_collection(call: RequestContext) -> bool:
    """Change the settings of a collection."""
    _check_timeout(call)
    renamed = {
        "vectors": "vectors_config",
        "sparse_vectors": "sparse_vectors_config",
        "params": "collection_params",
    }
    return call.embedded.update_collection(call.collection, **arguments(call.body, renamed))


def delete_collection(call: RequestContext) -> bool:
    """Delete a collection; returns whether it existed."""
    _check_timeout(call)
    refuse_dots(call.collection)
    return call.embedded.delete_collection(call.collection)


def collection_exists(call: RequestContext) -> Any:
    """Whether a collection exists."""
    return {"exists": call.embedded.collection_exists(call.collection)}


def aliases_of(call: RequestContext) -> Any:
    """The aliases of a collection; none if the collection does not exist."""
    try:
        return call.embedded.get_collection_aliases(call.collection)
    except Refused as error:
        if error.status_code != HTTPStatus.NOT_FOUND:
            raise
        return {"aliases": []}


def change_aliases(call: RequestContext) -> bool:
    """Create, rename and delete aliases, all or none."""
    return call.embedded.update_collection_aliases(call.body.actions)


def create_index(call: RequestContext) -> Any:
    """Create a payload index."""
    if call.body.field_schema is None:
        raise wrong("Bad request: field_schema isn't given, and kinds of values aren't guessed")
    result = call.embedded.create_payload_index(
        call.collection, call.body.field_name, call.body.field_schema
    )
    return mark_acknowledged(call, result)


def delete_index(call: RequestContext) -> Any:
    """Delete a payload index."""
    try:
        result = call.embedded.delete_payload_index(call.collection, call.names["field_name"])
    except Refused as error:
        if error.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:  # the path in the URL is invalid
            raise wrong(error.message) from error
        raise
    return mark_acknowledged(call, result)


def create_vector(call: RequestContext) -> Any:
    """Add a vector space."""
    name = call.names["vector_name"]
    return mark_acknowledged(
        call, call.embedded.create_vector_name(call.collection, name, call.body)
    )


def delete_vector(call: RequestContext) -> Any:
    """Delete a vector space."""
    name = call.names["vector_name"]
    return mark_acknowledged(call, call.embedded.delete_vector_name(call.collection, name))


def mark_acknowledged(call: RequestContext, results: Any) -> Any:
    """The results of writes. If the client does not wait, the results have the status
    "acknowledged"; the writes are completed in either case."""
    if not call.waits:
        for result in results if isinstance(results, list) else [results]:
            result.status = models.UpdateStatus.ACKNOWLEDGED
    return results


# Writing points


def write_route(operation: type[Any]) -> Callable[[RequestContext], Any]:
    """The function that answers the route for one kind of write. operation: the model of this write
    operation, whose only field is the body of the request."""
    (name,) = operation.model_fields

    def change(call: RequestContext) -> Any:
        (result,) = _write(call, [make_model(operation, {name: call.body})])
        return mark_acknowledged(call, result)

    return change


def change_several(call: RequestContext) -> Any:
    """Execute several write operations, all or none."""
    return mark_acknowledged(call, _write(call, call.body.operations))


def _write(call: RequestContext, operations: list[Any]) -> list[models.UpdateResult]:
    for operation in operations:
        (body,) = vars(operation).values()
        refuse_invalid_vectors(body)
    _prepare(call, is_query=False)

    def admit(opened: Any) -> None:
        spend_write(opened, operations)

    return call.embedded.batch_update_points(
        call.collection,
        operations,
        is_message=call.is_message,
        timeout=call.timeout,
        admit=admit,
    )


# Reading points


def read_route(method: str, **renamed: str) -> Callable[[RequestContext], Any]:
    """The function that answers a route by a method that reads. The body of a request has the
    method's arguments. renamed: the names of arguments by the names of fields, where the two names
    differ."""

    def read(call: RequestContext) -> Any:
        _prepare(call, is_query=True)
        return _call_reader(call, method, call.body, renamed)

    return read


def _call_reader(call: RequestContext, method: str, body: Any, renamed: Mapping[str, str]) -> Any:
    admit, options = _counting(call, [body]), arguments(body, renamed)
    read = getattr(call.embedded, method)
    return read(call.collection, timeout=call.timeout, admit=admit, **options)


def _counting(call: RequestContext, bodies: list[Any]) -> Callable[[Any], None]:
    """A function that takes a request's tokens from the collection's rate limit. If the function is
    called again for the same request, it takes no more tokens."""

    def admit(opened: Any) -> None:
        if not call.is_counted:
            spend_read(opened, bodies)
            call.is_counted = True

    return admit


_QUERY = {"filter": "query_filter", "params": "search_params"}


def retrieve(call: RequestContext) -> Any:
    """The points with these ids. Payloads are returned only if they are requested."""
    _hide_payloads(call.body)
    return read_route("retrieve")(call)


def _hide_payloads(body: Any) -> None:
    """Set a request's `with_payload` to False if the request does not set it."""
    if body.with_payload is None:
        body.with_payload = False


def scroll(call: RequestContext) -> Any:
    """A page of points, and the offset of the next page."""
    points, following = read_route("scroll", filter="scroll_filter")(call)
    return {"points": points, "next_page_offset": following}


def facet(call: RequestContext) -> Any:
    """The values of a key with their counts. Empty if the limit in a gRPC message is 0."""
    if call.is_message and call.body.limit == 0:
        call.embedded.check_path(call.body.key)
        call.embedded.open(call.collection).check_filter(call.body.filter)
        return models.FacetResponse(hits=[])
    return read_route("facet", filter="facet_filter")(call)


def get_point(call: RequestContext) -> Any:
    """One point by its id."""
    point_id = _id_in_path(call)
    admit = _counting(call, [None])
    points = call.embedded.retrieve(
        call.collection, [point_id], with_vectors=True, timeout=call.timeout, admit=admit
    )
    if not points:
        raise not_found(f"Not found: Point with id {point_id} does not exists!")
    return points[0]


def _id_in_path(call: RequestContext) -> PointId:
    text = call.names["id"]
    if is_unsigned(text):
        return int(text)
    known = uuid_in(text)
    if known is not None:
        return known
    call.strings.append(text)
    try:
        _refuse_unknown(call)
    except Refused:
        raise wrong(f"Wrong input: Can not recognize {text!r} as point id") from None
    return text


def query_points(call: RequestContext) -> Any:
    """The points that a query finds."""
    return _query(call, call.body, points_as_json)


def _query(call: RequestContext, request: models.QueryRequest, answering: Answering) -> Any:
    _prepare(call, is_query=True)
    _hide_payloads(request)
    admit = _counting(call, [request])
    return call.embedded.query_request(
        call.collection, request, timeout=call.timeout, admit=admit, **_by(call, answering)
    )


def _by(call: RequestContext, answering: Answering) -> dict[str, Any]:
    """The keyword argument by which a method gets `answering`, the function that makes the response
    to a query. The result is empty for gRPC, where the response is made from models."""
    return {} if call.is_message else {"answering": answering}


def query_batch(call: RequestContext) -> Any:
    """The results of several queries, all from the same state of the collection."""
    return _queries(call, call.body.searches, points_as_json)


def _queries(call: RequestContext, requests: list[Any], answering: Answering) -> Any:
    _prepare(call, is_query=True)
    admit = _counting(call, requests)
    return call.embedded.query_batch_points(
        call.collection, requests, timeout=call.timeout, admit=admit, **_by(call, answering)
    )


def query_groups(call: RequestContext) -> Any:
    """The points that a query finds, in groups."""
    return _query_groups(call, call.body)


def _query_groups(call: RequestContext, body: Any) -> Any:
    _prepare(call, is_query=True)
    _hide_payloads(body)
    return _call_reader(call, "query_points_groups", body, _QUERY)


def search(call: RequestContext) -> Any:
    """The result of a legacy search request."""
    if _finds_nothing(call, call.body):
        return []
    hits = _run_older_search(call, call.body)
    _refuse_unknown_vectors(call, [call.body])
    return hits


def _finds_nothing(call: RequestContext, body: Any) -> bool:
    """Whether a request is a recommendation over gRPC with the limit 0, which finds nothing. Qdrant
    refuses all other legacy requests without a limit."""
    is_unlimited = call.is_message and isinstance(body, RecommendBody) and body.limit == 0
    if is_unlimited:
        call.embedded.open(call.collection).check_filter(body.filter)
    return is_unlimited


def _hits_alone(call: RequestContext, answer: Any) -> Any:
    """The response to a legacy search request: only the hits."""
    return answer.points if call.is_message else answer


def _run_older_search(call: RequestContext, body: Any) -> Any:
    """The result of a legacy search request. A query is refused if one of its examples has no
    vector. In this case the query is repeated without such examples."""
    while True:
        try:
            return _hits_alone(call, _query(call, as_query(body), hits_as_json))
        except Refused as error:
            if not error.ids:
                raise
            if not body.leave_out(error.ids):
                return []


def search_batch(call: RequestContext) -> Any:
    """The results of several legacy search requests."""
    bodies = call.body.searches
    searches = [body for body in bodies if not _finds_nothing(call, body)]
    try:
        requests = [as_query(body) for body in searches]
        answers = _queries(call, requests, hits_as_json)
        results = iter([_hits_alone(call, answer) for answer in answers])
    except Refused as error:
        if not error.ids:
            raise
        results = iter([_run_older_search(call, body) for body in searches])
    _refuse_unknown_vectors(call, searches)
    return [next(results) if body.limit else [] for body in bodies]


def _refuse_unknown_vectors(call: RequestContext, bodies: list[Any]) -> None:
    """Refuse names in `with_vector` that are no vectors of the collection. Qdrant checks these
    names even if no point was found. Nothing is refused if the offset is so large that Qdrant reads
    vectors only after the search."""
    if not any(isinstance(body.with_vector, list) for body in bodies):
        return
    known = call.embedded.open(call.collection).vector_names
    limits = sum(body.limit for body in bodies)
    offsets = sum(body.offset or 0 for body in bodies)
    if limits + offsets > SKIPPING * limits and all(body.with_vector for body in bodies):
        return
    for body in bodies:
        for name in body.with_vector if isinstance(body.with_vector, list) else ():
            if name not in known:
                raise wrong(f"Wrong input: Not existing vector name error: {name}")


def search_groups(call: RequestContext) -> Any:
    """The result of a legacy search request for groups."""
    while True:
        try:
            return _query_groups(call, as_grouped_query(call.body))
        except Refused as error:
            if not error.ids:
                raise
            call.body.leave_out(error.ids)


def _prepare(call: RequestContext, is_query: bool) -> None:
    """Embed the texts and images in a body, and refuse invalid ids."""
    call.embed(is_query)
    _refuse_unknown(call)


def _refuse_unknown(call: RequestContext) -> None:
    """Refuse ids that are neither integers nor UUIDs, unless they are ids of points that a
    Collection has written."""
    if call.strings:
        known = call.embedded.retrieve(call.collection, call.strings, with_payload=False)
        unknown = set(call.strings).difference(record.id for record in known)
        if unknown:
            raise wrong(
                f"Format error in JSON body: value {min(unknown)} is not a valid point ID, valid "
                "values are either an unsigned integer or a UUID"
            )


# One node, out of cluster mode


def get_collection_shards(call: RequestContext) -> Any:
    """The shard keys of a collection; there are none."""
    return call.embedded.list_shard_keys(call.collection)


def refuse_cluster(call: RequestContext) -> Any:
    """Refuse operations that only a cluster supports."""
    raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, STANDALONE)
