"""The request bodies of the older routes for searches, recommendations and discoveries, which
existed before the route for queries. `as_query` converts these bodies to queries.

Qdrant's OpenAPI description doesn't list these routes any more. But a Qdrant server still answers
them, and clients for other languages use them.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictStr,
)
from qdrant_client.http.models import models

from retrieval_store.extension import make_model
from retrieval_store_server.http.bodies import (
    SELECTORS,
    Count,
    PayloadPath,
    PointId,
    list_type,
    server_type,
)
from retrieval_store_server.http.refusals import wrong

_CONFIG = ConfigDict(extra="ignore")
_Filter: Any = server_type(models.Filter)
_Params: Any = server_type(models.SearchParams)
_Sparse: Any = server_type(models.SparseVector)
_Lookup: Any = server_type(models.LookupLocation)
_WithLookup: Any = server_type(models.WithLookup)
_Selectors: Any = server_type(SELECTORS)
_Vector: Any = list_type(StrictFloat) | _Sparse  # these routes are older than multivectors
_Example: Any = _Vector | PointId
_Examples: Any = list_type(_Example)
_Limit = Annotated[Count, Field(validation_alias=AliasChoices("limit", "top"))]
AVERAGE = models.RecommendStrategy.AVERAGE_VECTOR


class VectorWithName(BaseModel):
    """A vector with the name of the vector space in which it is compared."""

    model_config = _CONFIG
    name: StrictStr
    vector: _Vector


class _Name(BaseModel):
    model_config = _CONFIG
    name: StrictStr


class _Pair(BaseModel):
    model_config = _CONFIG
    positive: _Example
    negative: _Example


_Pairs: Any = list_type(_Pair)


class _QueryBody(BaseModel):
    """The fields that all legacy search requests share."""

    model_config = _CONFIG
    filter: _Filter | None = None
    params: _Params | None = None
    offset: Count | None = None
    with_payload: _Selectors | None = None
    with_vector: Annotated[
        bool | list[StrictStr] | None,
        Field(validation_alias=AliasChoices("with_vector", "with_vectors")),
    ] = None
    shard_key: Any = None

    def query(self) -> Any:
        """The query that ranks the points."""
        raise NotImplementedError

    def leave_out(self, ids: Sequence[Any]) -> bool:
        """Remove these points from the examples. Returns whether any example is left."""
        raise NotImplementedError

    def names(self) -> Mapping[str, Any]:
        """The fields `using` and `lookup_from` of a query: the vector space to search, and the
        collection and vector space of the examples."""
        return {}


class _WithThreshold(BaseModel):
    score_threshold: StrictFloat | None = None


class _Limited(BaseModel):
    limit: _Limit


class _Grouped(BaseModel):
    group_by: PayloadPath
    group_size: Count
    limit: Count
    with_lookup: StrictStr | _WithLookup | None = None


class _SearchBody(_QueryBody, _WithThreshold):
    vector: _Vector | VectorWithName

    def query(self) -> Any:
        vector = self.vector
        nearest = vector.vector if isinstance(vector, VectorWithName) else vector
        return make_model(models.NearestQuery, {"nearest": nearest, "mmr": None})

    def names(self) -> Mapping[str, Any]:
        return {"using": self.vector.name} if isinstance(self.vector, VectorWithName) else {}


class _ByExamples(_QueryBody):
    using: StrictStr | _Name | None = None
    lookup_from: _Lookup | None = None

    def names(self) -> Mapping[str, Any]:
        using = self.using.name if isinstance(self.using, _Name) else self.using
        return {"using": using, "lookup_from": self.lookup_from}


class _Recommend(_ByExamples, _WithThreshold):
    positive: _Examples = Field(default_factory=list)
    negative: _Examples = Field(default_factory=list)
    strategy: models.RecommendStrategy | None = None

    def leave_out(self, ids: Sequence[Any]) -> bool:
        """Remove these points from the examples. Raises Refused if too few examples are left."""
        gone = {*ids}
        self.positive = [example for example in self.positive if not _is_among(example, gone)]
        self.negative = [example for example in self.negative if not _is_among(example, gone)]
        if self._lacks_examples():
            raise wrong("Wrong input: no example that is liked has a vector of the name")
        return True

    def _lacks_examples(self) -> bool:
        """Whether the strategy needs more examples than the request has."""
        return not self.positive and (self.strategy in (None, AVERAGE) or not self.negative)

    def query(self) -> Any:
        if self._lacks_examples():
            which = "positive" if self.strategy in (None, AVERAGE) else "positive or negative"
            raise wrong(f"Bad request: At least one {which} example is needed by this strategy")
        examples = models.RecommendInput.model_construct(
            positive=self.positive, negative=self.negative, strategy=self.strategy
        )
        return models.RecommendQuery.model_construct(recommend=examples)


class _Discover(_ByExamples):
    target: _Example | None = None
    context: _Pairs | None = None

    def leave_out(self, ids: Sequence[Any]) -> bool:
        """Remove these points from the examples. A pair is removed if either of its points is
        removed."""
        gone = {*ids}
        if _is_among(self.target, gone):
            self.target = None
        self.context = [
            pair
            for pair in self.context or ()
            if not (_is_among(pair.positive, gone) or _is_among(pair.negative, gone))
        ]
        return self.target is not None or bool(self.context)

    def query(self) -> Any:
        pairs = [
            models.ContextPair.model_construct(positive=pair.positive, negative=pair.negative)
            for pair in self.context or ()
        ]
        if self.target is None:
            if not pairs:
                raise wrong("Bad request: a target or pairs as context must be given")
            return models.ContextQuery.model_construct(context=pairs)
        examples = models.DiscoverInput.model_construct(target=self.target, context=pairs)
        return models.DiscoverQuery.model_construct(discover=examples)


def _is_among(example: Any, ids: set[Any]) -> bool:
    return isinstance(example, int | str) and example in ids


class SearchBody(_SearchBody, _Limited):
    """A search for points near a vector."""


_Searches: Any = list_type(SearchBody)


class SearchGroups(_SearchBody, _Grouped):
    """A search for points near a vector, in groups."""


class RecommendBody(_Recommend, _Limited):
    """A recommendation of points that are like some examples and unlike others."""


_Recommendations: Any = list_type(RecommendBody)


class RecommendGroups(_Recommend, _Grouped):
    """A recommendation of points, in groups."""


class DiscoverBody(_Discover, _Limited):
    """The body of a discovery. It finds points near a target, on the positive side of pairs of
    examples."""


_Discoveries: Any = list_type(DiscoverBody)


class SearchBatch(BaseModel):
    """Several searches."""

    model_config = _CONFIG
    searches: _Searches


class RecommendBatch(BaseModel):
    """Several recommendations."""

    model_config = _CONFIG
    searches: _Recommendations


class DiscoverBatch(BaseModel):
    """Several discoveries."""

    model_config = _CONFIG
    searches: _Discoveries


_NOTHING_ASKED = dict.fromkeys(models.QueryRequest.model_fields)
_SHARED = ("filter", "params", "with_payload", "with_vector", "shard_key")


def as_query(request: Any) -> models.QueryRequest:
    """A query that finds the same points as a legacy search request."""
    fields = {name: getattr(request, name) for name in (*_SHARED, "limit", "offset")}
    fields["score_threshold"] = getattr(request, "score_threshold", None)  # discovery has none
    query = {"query": request.query(), **fields, **request.names()}
    return make_model(models.QueryRequest, {**_NOTHING_ASKED, **query})


def as_grouped_query(request: Any) -> models.QueryGroupsRequest:
    """A query for groups that finds the same points as a legacy search request for groups."""
    names = (*_SHARED, "score_threshold", *_Grouped.model_fields)
    fields = {name: getattr(request, name) for name in names}
    return models.QueryGroupsRequest.model_construct(
        query=request.query(), **fields, **request.names()
    )
