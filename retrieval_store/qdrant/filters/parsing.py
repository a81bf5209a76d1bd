"""Qdrant's filters as expressions: combinations, and conditions on points and on their payloads."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from qdrant_client import models

from retrieval_store.base.dataclasses import dataclass, field, replace
from retrieval_store.base.validation import shown
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.columns import ValuesAt, uuid_in
from retrieval_store.filters.leaves import MAX_NODES, InSlice, any_element
from retrieval_store.filters.nodes import And, AtLeast, Expression, HasId, HasVector, Not, Or
from retrieval_store.filters.paths import Steps
from retrieval_store.filters.values import Between, Equals
from retrieval_store.qdrant.filters.conditions import (
    NONE,
    PARSERS,
    is_missed,
    one_of,
    other_than,
)
from retrieval_store.qdrant.filters.indexes import Indexes, Schema, kind_of
from retrieval_store.qdrant.filters.paths import parse_path
from retrieval_store.qdrant.refusals import malformed
from retrieval_store.query.query import Groups

MOST_LEVELS = 64  # of filters in filters: servers read JSON of 128 levels


def parse_filter(given: models.Filter | None, indexes: Indexes) -> Expression | None:
    """The filter as an expression, None for none; InvalidFilterError for one that a server refuses.

    indexes: of payloads, by path, as they are described."""
    return None if given is None else _Parser(indexes).filter(given, 1)


def merged(one: models.Filter | None, other: models.Filter | None) -> models.Filter | None:
    """Two filters as one, as servers make it: all that must be or mustn't, of both; but what should
    be stands together, so it is enough that something of either is so."""
    if one is None or other is None:
        return one or other
    least = one.min_should or other.min_should
    if one.min_should is not None and other.min_should is not None:
        least = models.MinShould(
            conditions=[*one.min_should.conditions, *other.min_should.conditions],
            min_count=max(one.min_should.min_count, other.min_should.min_count),
        )
    return models.Filter(
        must=_together(one.must, other.must),
        must_not=_together(one.must_not, other.must_not),
        should=_together(one.should, other.should),
        min_should=least,
    )


def _together(some: Any, others: Any) -> Any:
    if some is None or others is None:
        return others if some is None else some
    lists = [one if isinstance(one, list) else [one] for one in (some, others)]
    return lists[0] + lists[1]


@dataclass(slots=True)
class _Parser:
    """Parses one filter. inside: of which list the conditions are asked of elements, if of any;
    negated: whether what is asked must not be so; count: how many conditions there were."""

    indexes: Indexes
    inside: tuple[Steps, ...] = ()
    negated: bool = False
    count: list[int] = field(default_factory=lambda: [0])

    def filter(self, given: models.Filter, depth: int) -> Expression:
        if depth > MOST_LEVELS:
            raise InvalidFilterError(f"the filter is nested deeper than {MOST_LEVELS} levels")
        terms = self._all(given.must, depth)
        if given.must_not is not None:
            terms += [Not(term) for term in self._opposite()._all(given.must_not, depth)]
        should = self._all(given.should, depth)
        # To servers no alternatives are no condition on a point, but one that no element fulfils.
        if should or (self.inside and given.should is not None):
            terms.append(Or(tuple(should)))
        if given.min_should is not None:
            terms.append(self._least(given.min_should, depth))
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _opposite(self) -> "_Parser":
        return _Parser(self.indexes, self.inside, True, self.count)

    def _all(self, given: Any, depth: int) -> list[Expression]:
        conditions = given if isinstance(given, list) else [] if given is None else [given]
        return [self._condition(one, depth) for one in conditions]

    def _least(self, given: models.MinShould, depth: int) -> Expression:
        if given.min_count < 1:
            raise malformed(f"min_count is {given.min_count}, expected 1 or more")
        return AtLeast(tuple(self._all(given.conditions, depth)), given.min_count)

    def _condition(self, given: Any, depth: int) -> Expression:
        self.count[0] += 1
        if self.count[0] > MAX_NODES:
            raise InvalidFilterError(f"the filter has more than {MAX_NODES} conditions")
        match given:
            case models.Filter():
                return self.filter(given, depth + 1)
            case models.FieldCondition():
                return self._of_field(given)
            case models.IsEmptyCondition(is_empty=of):
                return Not(Between(ValuesAt(parse_path(of.key), "size"), gte=1))
            case models.IsNullCondition(is_null=of):
                return Equals(ValuesAt(parse_path(of.key), "null"), (True,))
            case models.NestedCondition(nested=nested):
                return self._nested(nested, depth + 1)
        if self.inside:  # elements of lists have neither ids nor vectors
            return NONE
        match given:
            case models.HasIdCondition(has_id=ids):
                return HasId(tuple(map(parse_id, ids)))
            case models.HasVectorCondition(has_vector=str(space)):
                return HasVector(space)
            case models.SliceCondition(slice=part):
                return _checked(InSlice(part.total, part.index))
        raise InvalidFilterError(f"{shown(given)} is no condition of a filter")

    def _nested(self, given: models.Nested, depth: int) -> Expression:
        path = parse_path(given.key).into_each()
        within = replace(self, inside=(*self.inside, path))
        return any_element(path, within.filter(given.filter, depth))

    def _of_field(self, given: models.FieldCondition) -> Expression:
        path = parse_path(given.key)
        sizes = self._sizes(path, given)
        if sizes is not None:
            return sizes
        index = self._index(path)
        if index is not None and not self.negated and is_missed(index, given.match):
            return NONE
        said = [
            parse(path, index, value)
            for name, parse in PARSERS.items()
            if (value := getattr(given, name)) is not None
        ]
        if not said:
            raise malformed(f"the condition on {given.key!r} says nothing")
        return said[0] if len(said) == 1 else Or(tuple(said))

    def _sizes(self, path: Steps, given: models.FieldCondition) -> Expression | None:
        """What is asked of how many values there are, which goes before all else. Where there are
        several, one that is empty or isn't null is enough, unless an index knows of all at once."""
        if given.is_empty is None and given.is_null is None:
            count = given.values_count
            return None if count is None else Between(ValuesAt(path, "size"), **count.model_dump())
        sizes, nulls = ValuesAt(path, "size"), ValuesAt(path, "null")
        indexed = not self.inside and path in self.indexes
        if given.is_empty is not None:
            some = Between(sizes, gte=1)
            return some if not given.is_empty else Not(some) if indexed else Between(sizes, lt=1)
        null = Equals(nulls, (True,))
        return null if given.is_null else Not(null) if indexed else Equals(nulls, (False,))

    def _index(self, path: Steps) -> Schema:
        """The index that counts: of elements of lists, which are looked at one by one, only that of
        texts does."""
        if not self.indexes:
            return None
        if not self.inside:
            return self.indexes.get(path)
        steps = tuple(step for outer in self.inside for step in outer.steps)
        index = self.indexes.get(Steps((*steps, *path.steps)))
        return index if kind_of(index) == "text" else None


def parse_id(given: Any) -> int | str:
    """A point's id in canonical form; one that `Collection` has written may be any string."""
    if isinstance(given, UUID):
        return str(given)
    if isinstance(given, str):
        return uuid_in(given) or given
    if isinstance(given, int) and 0 <= given < 2**64:
        return given
    raise InvalidFilterError(
        f"the filter has the id {shown(given)}, expected an integer from 0 to 2**64 - 1 or a string"
    )


def _checked(node: Expression) -> Expression:
    node.check()
    return node


def grouping_by(key: str, groups: int, size: int, indexes: Indexes) -> Groups:
    """Groups by a key, of which a server asks with conditions on its values."""
    path = parse_path(key)
    index = indexes.get(path)

    def by(condition: Callable[..., Expression]) -> Callable[[Sequence[str | int]], Expression]:
        def of(values: Sequence[str | int]) -> Expression:
            kinds = [[v for v in values if type(v) is kind] for kind in (int, str)]
            return And(tuple(condition(path, index, some) for some in kinds if some))

        return of

    return Groups(path, groups, size, by(one_of), by(other_than))
