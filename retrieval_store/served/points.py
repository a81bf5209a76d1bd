"""The points of one collection of a served store."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from retrieval_store.base.json_values import Payload
from retrieval_store.base.tracing import returned, traced
from retrieval_store.filters.nodes import Expression
from retrieval_store.filters.paths import PayloadPath
from retrieval_store.interface.points import (
    Changed,
    Fields,
    Hits,
    PointBatch,
    PointId,
    Points,
    Position,
    PutResult,
    WriteRules,
)
from retrieval_store.interface.projections import Projection
from retrieval_store.interface.questions import Question
from retrieval_store.interface.reasons import Findings, Inquiry
from retrieval_store.interface.spaces import NewSpace, SpaceRecord
from retrieval_store.interface.stores import IndexKind
from retrieval_store.wire.api import POINTS, Method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from retrieval_store.base.words import Analyzer

DOING = {
    "append": "writing points",
    "ask": "searching",
    "changed_since": "looking for changes",
    "configure_index": "changing settings",
    "count": "counting points",
    "counted": "counting points",
    "delete": "deleting points",
    "explain": "searching",
    "get": "reading points",
    "in_order": "reading points",
    "number": "counting points",
    "projected": "reading points",
    "put": "writing points",
    "warm": "loading",
    "why": "searching",
}


class Caller(Protocol):
    """What sends requests."""

    def call(self, method: Method, path: str, given: "Mapping[str, Any]", doing: str) -> Any:
        """The result of a method."""


class ServedPoints:
    """`EnginePoints` of a served store: each call is one request, which the server answers in one
    state, or carries out in one transaction. copy: the name of a private copy, whose points are
    meant; name: of the collection, for spans."""

    def __init__(
        self, caller: Caller, collection_id: str, name: str, copy: str | None = None
    ) -> None:
        self._caller = caller
        self._id = collection_id
        self._query = "" if copy is None else f"?copy={copy}"
        self.name = name

    @property
    def embedded(self) -> None:
        """They aren't in this process."""
        return None

    @property
    def engine(self) -> "ServedPoints":
        """The object itself: they are in our engine."""
        return self

    def _call(self, method: str, **given: Any) -> Any:
        path = f"/points/{self._id}/{method}{self._query}"
        return self._caller.call(POINTS[method], path, given, DOING.get(method, method))

    @traced("put")
    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points in one durable transaction."""
        return cast(PutResult, self._call("put", batch=batch, rules=rules))

    def put_each(self, batches: Iterable[PointBatch], rules: WriteRules) -> Iterator[PutResult]:
        """The same, one batch after the other, each in a transaction of its own."""
        for batch in batches:
            yield self.put(batch, rules)

    @traced("append")
    def append(self, batch: PointBatch) -> None:
        """Make these the last points; those that exist are deleted first, in one transaction."""
        self._call("append", batch=batch)

    @traced("delete")
    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points with these ids that match; returns how many."""
        return cast(int, self._call("delete", ids=ids, expression=expression, limit=limit))

    @traced("get", returned)
    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        """The points with these ids that match: in the order of `ids`, or of first insertion."""
        found = self._call(
            "get", ids=ids, expression=expression, limit=limit, offset=offset, fields=fields
        )
        return cast(Points, found)

    @traced("query", lambda found: returned(*(hits.points for hits in found)))
    def ask(self, question: Question) -> list[Hits]:
        """The hits of each query of each step, or of each group, best first."""
        return cast(list[Hits], self._call("ask", question=question))

    @traced("explain")
    def explain(self, question: Question) -> Payload:
        """How the server finds what it finds."""
        return cast(Payload, self._call("explain", question=question))

    @traced("why")
    def why(self, inquiry: Inquiry) -> Findings:
        """Where records stand in the rankings of a question."""
        return cast(Findings, self._call("why", inquiry=inquiry))

    def stats(self) -> Payload:
        """Sizes by part, of the server's process and its files."""
        return cast(Payload, self._call("stats"))

    @traced("warm")
    def warm(self, paths: Sequence[PayloadPath], analyzer: "Analyzer | None") -> Payload:
        """Have the server load what the first queries would load."""
        return cast(Payload, self._call("warm", paths=paths, analyzer=analyzer))

    def configure_index(self, space: str, index: Payload) -> None:
        """Replace the index settings of a vector space; only settings for searching may differ."""
        self._call("configure_index", space=space, index=index)

    def create_index(self, path: PayloadPath, kind: IndexKind | None) -> None:
        """Does nothing: the first filter on a key builds its column."""

    @traced("number")
    def number(self, expression: Expression | None) -> int:
        """How many points match."""
        return cast(int, self._call("number", expression=expression))

    @traced("number")
    def counted(self, expression: Expression, seconds: float) -> tuple[int, bool]:
        """How many points match, or as many as are found in so many seconds."""
        found = self._call("counted", expression=expression, seconds=seconds)
        return cast(tuple[int, bool], found)

    @traced("get")
    def projected(
        self,
        space: str,
        expression: Expression | None,
        sample: int,
        seed: int,
        path: PayloadPath | None,
    ) -> Projection:
        """Points in the plane in which their vectors differ most."""
        found = self._call(
            "projected", space=space, expression=expression, sample=sample, seed=seed, path=path
        )
        return cast(Projection, found)

    @traced("get", returned)
    def in_order(
        self,
        path: PayloadPath,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        descending: bool,
        fields: Fields,
    ) -> Points:
        """The points that match and have a number or a date at the path, in the order of these."""
        found = self._call(
            "in_order",
            path=path,
            expression=expression,
            limit=limit,
            offset=offset,
            descending=descending,
            fields=fields,
        )
        return cast(Points, found)

    def count(self) -> int:
        """How many points there are."""
        return cast(int, self._call("count"))

    def position(self) -> Position:
        """The present position of the change log."""
        return cast(Position, self._call("position"))

    def changed_since(self, position: Position) -> Changed:
        """The points inserted or changed since this position of the change log."""
        return cast(Changed, self._call("changed_since", position=position))

    def spaces(self) -> list[SpaceRecord]:
        """The vector spaces, in the order in which they were added."""
        return cast(list[SpaceRecord], self._call("spaces"))

    def add_space(self, name: str, space: NewSpace) -> None:
        """A new vector space, in which no point has a vector; raises AlreadyExistsError."""
        self._call("add_space", name=name, space=space)

    def drop_space(self, name: str) -> None:
        """Delete a vector space with all vectors in it; raises NotFoundError."""
        self._call("drop_space", name=name)
