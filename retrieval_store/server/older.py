"""Searches, recommendations and discoveries as older clients ask for them, translated to queries.

No OpenAPI lists these any more, but a server answers them, and clients for other languages send
them.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StrictFloat, StrictStr
from qdrant_client.http.models import models

from retrieval_store.qdrant.errors import malformed, wrong
from retrieval_store.server.bodies import Count, PointId, served, several

AVERAGE = models.RecommendStrategy.AVERAGE_VECTOR
_CONFIG = ConfigDict(extra="ignore")
_Filter: Any = served(models.Filter)
_Params: Any = served(models.SearchParams)
_Sparse: Any = served(models.SparseVector)
_Lookup: Any = served(models.LookupLocation)
_WithLookup: Any = served(models.WithLookup)
_Include: Any = served(models.PayloadSelectorInclude)
_Exclude: Any = served(models.PayloadSelectorExclude)
_Numbers: Any = several(StrictFloat)
_Vector: Any = _Numbers | several(_Numbers) | _Sparse
_Example: Any = _Vector | PointId
_Examples: Any = several(_Example)
_Limit = Annotated[Count, Field(validation_alias=AliasChoices("limit", "top"))]


class Named(BaseModel):
    """A vector with the name of those that it is compared with."""

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


_Pairs: Any = several(_Pair)


class _Asked(BaseModel):
    """What all of them have."""

    model_config = _CONFIG
    filter: _Filter | None = None
    params: _Params | None = None
    offset: Count | None = None
    with_payload: bool | list[StrictStr] | _Include | _Exclude | None = None
    with_vector: Annotated[
        bool | list[StrictStr] | None,
        Field(validation_alias=AliasChoices("with_vector", "with_vectors")),
    ] = None
    score_threshold: StrictFloat | None = None
    shard_key: Any = None

    def query(self) -> Any:
        """What is ranked by."""
        raise NotImplementedError

    def leave_out(self, point_id: Any) -> bool:
        """Do without a point as an example; whether anything is left to be ranked by."""
        raise NotImplementedError

    def names(self) -> Mapping[str, Any]:
        """Which vectors are compared, and where those of points come from."""
        return {}


class _Limited(BaseModel):
    limit: _Limit


class _Grouped(BaseModel):
    group_by: StrictStr
    group_size: Count
    limit: Count
    with_lookup: StrictStr | _WithLookup | None = None


class _Search(_Asked):
    vector: _Vector | Named

    def query(self) -> Any:
        vector = self.vector
        return models.NearestQuery(nearest=vector.vector if isinstance(vector, Named) else vector)

    def names(self) -> Mapping[str, Any]:
        return {"using": self.vector.name} if isinstance(self.vector, Named) else {}


class _ByExamples(_Asked):
    using: StrictStr | _Name | None = None
    lookup_from: _Lookup | None = None

    def names(self) -> Mapping[str, Any]:
        using = self.using.name if isinstance(self.using, _Name) else self.using
        return {"using": using, "lookup_from": self.lookup_from}


class _Recommend(_ByExamples):
    positive: _Examples = Field(default_factory=list)
    negative: _Examples = Field(default_factory=list)
    strategy: models.RecommendStrategy | None = None

    def leave_out(self, point_id: Any) -> bool:
        """Refused where too little is left."""
        self.positive = [one for one in self.positive if not _is_same(one, point_id)]
        self.negative = [one for one in self.negative if not _is_same(one, point_id)]
        if not self.positive and not (self.negative and self.strategy not in (None, AVERAGE)):
            raise wrong("Wrong input: no example that is liked has a vector of the name")
        return True

    def query(self) -> Any:
        asked = models.RecommendInput.model_construct(
            positive=self.positive, negative=self.negative, strategy=self.strategy
        )
        return models.RecommendQuery.model_construct(recommend=asked)


class _Discover(_ByExamples):
    target: _Example | None = None
    context: _Pairs | None = None

    def leave_out(self, point_id: Any) -> bool:
        """A pair goes with either of its points."""
        if _is_same(self.target, point_id):
            self.target = None
        self.context = [
            one
            for one in self.context or ()
            if not (_is_same(one.positive, point_id) or _is_same(one.negative, point_id))
        ]
        return self.target is not None or bool(self.context)

    def query(self) -> Any:
        pairs = [
            models.ContextPair.model_construct(positive=one.positive, negative=one.negative)
            for one in self.context or ()
        ]
        if self.target is None:
            if not pairs:
                raise malformed("Validation error in JSON body: neither target nor context")
            return models.ContextQuery.model_construct(context=pairs)
        asked = models.DiscoverInput.model_construct(target=self.target, context=pairs)
        return models.DiscoverQuery.model_construct(discover=asked)


def _is_same(example: Any, point_id: Any) -> bool:
    return type(example) is type(point_id) and bool(example == point_id)


class Search(_Search, _Limited):
    """Points near a vector."""


class SearchGroups(_Search, _Grouped):
    """The same in groups."""


class Recommend(_Recommend, _Limited):
    """Points like some and unlike others."""


class RecommendGroups(_Recommend, _Grouped):
    """The same in groups."""


class Discover(_Discover, _Limited):
    """Points on one side of pairs, near a target."""


_Searches: Any = several(Search)
_Recommendations: Any = several(Recommend)
_Discoveries: Any = several(Discover)


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


_SHARED = ("filter", "params", "with_payload", "with_vector", "score_threshold", "shard_key")


def as_query(asked: Any) -> models.QueryRequest:
    """One of these as a query."""
    fields = {name: getattr(asked, name) for name in (*_SHARED, "limit", "offset")}
    return models.QueryRequest.model_construct(query=asked.query(), **fields, **asked.names())


def as_grouped_query(asked: Any) -> models.QueryGroupsRequest:
    """One that is grouped as a query."""
    fields = {name: getattr(asked, name) for name in (*_SHARED, *_Grouped.model_fields)}
    return models.QueryGroupsRequest.model_construct(query=asked.query(), **fields, **asked.names())
