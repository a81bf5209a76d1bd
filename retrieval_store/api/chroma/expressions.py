"""The arguments of `Collection.search`, as Chroma's code writes them: `Search`, `K`, `Knn`, `Rrf`.

Each object is equivalent to the dict that its `to_dict` returns, which has Chroma's form. The
module `search` reads these dicts, and documents what they mean and what is permitted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np

from retrieval_store.api.arguments import sparse_of
from retrieval_store.base.arrays import plain_scalar
from retrieval_store.base.validation import quote, whole_number
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError

Form: TypeAlias = Mapping[str, Any]
F = TypeVar("F", bound="Where | Rank | Aggregate")
EMBEDDING, DOCUMENT, METADATA, SCORE, ID = "#embedding", "#document", "#metadata", "#score", "#id"
RRF_K = 60
KNN_LIMIT = 16  # hits of a `Knn` that says no other


@dataclass(frozen=True, slots=True, eq=False)
class Where:
    """A condition on records. `&` and `|` combine several conditions."""

    form: Form

    def to_dict(self) -> dict[str, Any]:
        """The condition as a dict, in the form of `get(where=…)`. Unlike in `get`, conditions on
        ids are possible too."""
        return dict(self.form)

    @classmethod
    def from_dict(cls, data: Form) -> "Where":
        """The condition described by a dict that `to_dict` returned."""
        return _build_from_form(cls, data)

    def __and__(self, other: "Where") -> "Where":
        return _both("$and", self, other)

    def __or__(self, other: "Where") -> "Where":
        return _both("$or", self, other)


def _both(operator: str, left: Where, right: Any) -> Where:
    if not hasattr(right, "to_dict"):
        raise InvalidTypeError(
            f"a condition is combined with {quote(right)}, expected another, as in "
            "(K('year') > 2000) & (K('lang') == 'en')"
        )
    terms: list[Form] = []
    for form in (left.form, right.to_dict()):
        terms += _flat(operator, form)
    return Where({operator: terms})


def _flat(operator: str, form: Form) -> list[Form]:
    """The operands of a form that has this operator; for any other form, a list with only the form.
    So nested operators of one kind become one operator."""
    terms = form[operator] if [*form] == [operator] else None
    return [*terms] if isinstance(terms, list) else [form]


class Key:
    """A metadata key, or one of `K.ID`, `K.DOCUMENT`, `K.EMBEDDING`, `K.METADATA` and `K.SCORE`.
    Comparing a key with a value makes a condition."""

    ID: ClassVar["Key"]
    DOCUMENT: ClassVar["Key"]
    EMBEDDING: ClassVar["Key"]
    METADATA: ClassVar["Key"]
    SCORE: ClassVar["Key"]
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        """name: the name of the key. Raises InvalidTypeError if it is empty or isn't a string."""
        if not isinstance(name, str) or not name:
            raise InvalidTypeError(f"name is {quote(name)}, expected a metadata key")
        self.name = name

    def __repr__(self) -> str:
        return f"K({self.name!r})"

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, value: Any) -> Where:  # type: ignore[override]
        return self._compare("$eq", value)

    def __ne__(self, value: Any) -> Where:  # type: ignore[override]
        return self._compare("$ne", value)

    def __gt__(self, value: Any) -> Where:
        return self._compare("$gt", value)

    def __ge__(self, value: Any) -> Where:
        return self._compare("$gte", value)

    def __lt__(self, value: Any) -> Where:
        return self._compare("$lt", value)

    def __le__(self, value: Any) -> Where:
        return self._compare("$lte", value)

    def is_in(self, values: Iterable[Any]) -> Where:
        """The condition that the value is one of these."""
        return self._compare("$in", values if isinstance(values, str) else list(values))

    def not_in(self, values: Iterable[Any]) -> Where:
        """The condition that the value is none of these."""
        return self._compare("$nin", values if isinstance(values, str) else list(values))

    def contains(self, value: Any) -> Where:
        """For `K.DOCUMENT`, the condition that the document contains this text. For a metadata key,
        the condition that it has a list with this item, or a string that contains this text."""
        return self._compare("$contains", value)

    def not_contains(self, value: Any) -> Where:
        """The opposite of `contains`."""
        return self._compare("$not_contains", value)

    def regex(self, pattern: str) -> Where:
        """The condition that a document, or a string in the metadata, contains a match of the
        pattern."""
        return self._compare("$regex", pattern)

    def not_regex(self, pattern: str) -> Where:
        """The opposite of `regex`."""
        return self._compare("$not_regex", pattern)

    def _compare(self, operator: str, value: Any) -> Where:
        return Where({self.name: {operator: value}})


Key.ID, Key.DOCUMENT, Key.EMBEDDING = Key(ID), Key(DOCUMENT), Key(EMBEDDING)
Key.METADATA, Key.SCORE = Key(METADATA), Key(SCORE)
K = Key


class Rank:
    """A score for each record, where the lowest is best. It is a `Knn`, or arithmetic with several
    scores."""

    __slots__ = ("form",)

    def __init__(self, form: Form) -> None:
        self.form = form

    def to_dict(self) -> dict[str, Any]:
        """The expression as a dict whose only key is its operator."""
        return dict(self.form)

    @classmethod
    def from_dict(cls, data: Form) -> "Rank":
        """The expression described by a dict that `to_dict` returned."""
        return _build_from_form(Rank, data)

    def __repr__(self) -> str:
        return f"Rank({dict(self.form)!r})"

    def __add__(self, other: Any) -> "Rank":
        return _operation("$sum", self, other)

    def __radd__(self, other: Any) -> "Rank":
        return _operation("$sum", other, self)

    def __mul__(self, other: Any) -> "Rank":
        return _operation("$mul", self, other)

    def __rmul__(self, other: Any) -> "Rank":
        return _operation("$mul", other, self)

    def __sub__(self, other: Any) -> "Rank":
        return _pair("$sub", self, other)

    def __rsub__(self, other: Any) -> "Rank":
        return _pair("$sub", other, self)

    def __truediv__(self, other: Any) -> "Rank":
        return _pair("$div", self, other)

    def __rtruediv__(self, other: Any) -> "Rank":
        return _pair("$div", other, self)

    def __neg__(self) -> "Rank":
        return _operation("$mul", -1, self)

    def __abs__(self) -> "Rank":
        return Rank({"$abs": self.form})

    def abs(self) -> "Rank":
        """The absolute value of the score."""
        return abs(self)

    def exp(self) -> "Rank":
        """The exponential function of the score."""
        return Rank({"$exp": self.form})

    def log(self) -> "Rank":
        """The natural logarithm of the score."""
        return Rank({"$log": self.form})

    def max(self, other: Any) -> "Rank":
        """The greater of two scores: this one and `other`, which can also be a number."""
        return _operation("$max", self, other)

    def min(self, other: Any) -> "Rank":
        """The lesser of two scores: this one and `other`, which can also be a number."""
        return _operation("$min", self, other)


def _form_of(term: Any) -> Form:
    if hasattr(term, "to_dict"):
        form: Form = term.to_dict()
        return form
    number = plain_scalar(term)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise InvalidTypeError(
            f"a rank is combined with {quote(term)}, expected another rank or a number"
        )
    return {"$val": number}


def _operation(operator: str, left: Any, right: Any) -> Rank:
    terms: list[Form] = []
    for form in (_form_of(left), _form_of(right)):
        terms += _flat(operator, form)
    return Rank({operator: terms})


def _pair(operator: str, left: Any, right: Any) -> Rank:
    return Rank({operator: {"left": _form_of(left), "right": _form_of(right)}})


class Val(Rank):
    """A constant number, the same for each record."""

    __slots__ = ()

    def __init__(self, value: float) -> None:
        """value: the number."""
        super().__init__(_form_of(value))


class Knn(Rank):
    """The distance of records to a query, as in `Collection.query`: squared L2, 1 - dot or 1 -
    cosine; 1 - dot for a sparse vector. Only the `limit` nearest records have a distance."""

    __slots__ = ()

    def __init__(
        self,
        query: Any,
        key: Key | str = K.EMBEDDING,
        limit: int = KNN_LIMIT,
        default: float | None = None,
        return_rank: bool = False,
    ) -> None:
        """query: a vector, a sparse vector, or a text, which the collection's function embeds. key:
        `K.EMBEDDING` for the embeddings; any other name stands for the collection's sparse vectors.
        limit: the number of nearest records to find. default: the score of all other records; with
        None they are left out. return_rank: whether the score is the rank, counted from 0, instead
        of the distance."""
        form = {"query": _query_of(query), "key": _name_of(key), "limit": limit}
        if default is not None:
            form["default"] = default
        if return_rank:
            form["return_rank"] = return_rank
        super().__init__({"$knn": form})


def _query_of(query: Any) -> Any:
    """The query of a `Knn` as JSON."""
    if hasattr(query, "indices"):
        (vector,) = sparse_of(query, "query")
        assert vector is not None
        numbers = {"indices": vector.indices.tolist(), "values": vector.values.tolist()}
        return {"#type": "sparse_vector", **numbers}
    return query.tolist() if isinstance(query, np.ndarray) else query


class Rrf(Rank):
    """Reciprocal rank fusion of several `Knn`, each with `return_rank=True`. A record's score is -
    Σ weight / (k + rank), over the rankings."""

    __slots__ = ()

    def __init__(
        self,
        ranks: Iterable[Rank],
        k: float = RRF_K,
        weights: Iterable[float] | None = None,
        normalize: bool = False,
    ) -> None:
        """ranks: the rankings to fuse; k: the constant in the sum, above 0. weights: a weight for
        each ranking, 1 by default; normalize: whether the weights are scaled so that their sum is
        1. Raises InvalidArgumentError if there are no rankings, or if the number of weights differs
        from the number of rankings."""
        forms = [_form_of(rank) for rank in ranks]
        if not forms:
            raise InvalidArgumentError("ranks is empty, expected at least one")
        if not _is_number(k) or not k > 0:
            raise InvalidArgumentError(f"k is {quote(k)}, expected a number above 0")
        rank_weights = _weights(weights, len(forms), normalize)
        terms = [
            Val(w) / (Val(k) + Rank(form)) for w, form in zip(rank_weights, forms, strict=True)
        ]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        super().__init__((-total).form)


def _weights(weights: Iterable[float] | None, count: int, normalize: bool) -> list[float]:
    numbers = [1.0] * count if weights is None else [plain_scalar(weight) for weight in weights]
    if len(numbers) != count:
        raise InvalidArgumentError(
            f"weights has {len(numbers)} numbers, expected {count}, as ranks"
        )
    for i, weight in enumerate(numbers):
        if not _is_number(weight) or not weight >= 0:
            raise InvalidArgumentError(f"weights[{i}] is {quote(weight)}, expected 0 or more")
    if not normalize:
        return numbers
    if not sum(numbers) > 0:
        raise InvalidArgumentError("weights are all 0, which can't be scaled to a sum of 1")
    return [weight / sum(numbers) for weight in numbers]


def _is_number(value: Any) -> bool:
    number = plain_scalar(value)
    return isinstance(number, int | float) and not isinstance(number, bool)


@dataclass(frozen=True, slots=True)
class Limit:
    """The part of the result to return: `limit` records, after the first `offset` records are
    skipped."""

    offset: int = 0
    limit: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The limit as a dict."""
        limit = {} if self.limit is None else {"limit": self.limit}
        return {"offset": self.offset, **limit}

    @classmethod
    def from_dict(cls, data: Form) -> "Limit":
        """The limit described by a dict that `to_dict` returned."""
        _check_keys(data, "limit", {"offset", "limit"})
        limit = data.get("limit")
        offset = whole_number(data.get("offset", 0), "limit['offset']", 0)
        return cls(offset, None if limit is None else whole_number(limit, "limit['limit']", 1))


@dataclass(frozen=True, slots=True, eq=False)
class Select:
    """The fields of each record to return besides its id: `K.DOCUMENT`, `K.EMBEDDING`,
    `K.METADATA`, `K.SCORE`, and metadata keys."""

    keys: Iterable[Key | str] = ()

    def to_dict(self) -> dict[str, Any]:
        """The selection as a dict."""
        return {"keys": _names_of(self.keys)}

    @classmethod
    def from_dict(cls, data: Form) -> "Select":
        """The selection described by a dict that `to_dict` returned."""
        _check_keys(data, "select", {"keys"})
        return cls([Key(name) for name in _names_of(data.get("keys", ()))])


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """The choice of the records of each group that are returned. Its subclasses are `MinK` and
    `MaxK`."""

    form: Form

    def to_dict(self) -> dict[str, Any]:
        """The choice as a dict."""
        return dict(self.form)

    @classmethod
    def from_dict(cls, data: Form) -> "Aggregate":
        """The choice described by a dict that `to_dict` returned."""
        return _build_from_form(Aggregate, data)


class MinK(Aggregate):
    """The k records of a group with the lowest values. Records with equal values under the first
    key are compared by the second key, and so on."""

    __slots__ = ()

    def __init__(self, keys: Key | str | Iterable[Key | str], k: int) -> None:
        """keys: the keys whose values are compared; k: how many records are returned."""
        super().__init__({"$min_k": {"keys": _names_of(keys), "k": k}})


class MaxK(Aggregate):
    """The k records of a group with the highest values. Records with equal values under the first
    key are compared by the second key, and so on."""

    __slots__ = ()

    def __init__(self, keys: Key | str | Iterable[Key | str], k: int) -> None:
        """keys: the keys whose values are compared; k: how many records are returned."""
        super().__init__({"$max_k": {"keys": _names_of(keys), "k": k}})


@dataclass(frozen=True, slots=True, eq=False)
class GroupBy:
    """Groups records with the same values under some metadata keys. Only the records of each group
    that `aggregate` chooses are returned."""

    keys: Key | str | Iterable[Key | str] = ()
    aggregate: Aggregate | None = None

    def to_dict(self) -> dict[str, Any]:
        """The grouping as a dict; an empty dict if there are no keys or no `aggregate`."""
        names = _names_of(self.keys)
        if not names or self.aggregate is None:
            return {}
        aggregate = _convert_form(Aggregate, self.aggregate, "aggregate")
        return {"keys": names, "aggregate": aggregate.to_dict()}

    @classmethod
    def from_dict(cls, data: Form) -> "GroupBy":
        """The grouping described by a dict that `to_dict` returned."""
        _check_keys(data, "group_by", {"keys", "aggregate"})
        if not data:
            return cls()
        if "keys" not in data or "aggregate" not in data:
            raise InvalidArgumentError(f"group_by is {quote(data)}, expected keys and aggregate")
        keys = [Key(name) for name in _names_of(data["keys"])]
        return cls(keys, Aggregate.from_dict(data["aggregate"]))


class Search:
    """A search, with the fields to return. The constructor takes all parts at once. Each of the
    methods returns a copy with one more part. Every part can be a dict in the form that `to_dict`
    returns.

        Search().where(K("year") > 2000).rank(Knn("whales")).limit(10).select(K.SCORE, "title")
    """

    __slots__ = ("_group_by", "_limit", "_rank", "_select", "_where")

    def __init__(
        self,
        where: Where | Form | None = None,
        rank: Rank | Form | None = None,
        group_by: GroupBy | Form | None = None,
        limit: Limit | Form | int | None = None,
        select: Select | Form | Iterable[Key | str] | None = None,
    ) -> None:
        """where: a condition on the records. rank: the ranking; None for the order of insertion.
        group_by: groups of records; only some records of each group are returned. limit: the number
        of records, or a `Limit`. select: the fields to return besides the id."""
        self._where = None if where is None else _convert_form(Where, where, "where")
        self._rank = None if rank is None else _convert_form(Rank, rank, "rank")
        self._group_by = (
            GroupBy() if group_by is None else _convert_form(GroupBy, group_by, "group_by")
        )
        window = {"limit": limit} if isinstance(limit, int | np.integer) else limit
        self._limit = Limit() if window is None else _convert_form(Limit, window, "limit")
        chosen = select if isinstance(select, Mapping) or hasattr(select, "to_dict") else None
        keys = Select(_names_of(() if select is None else select)) if chosen is None else chosen
        self._select = _convert_form(Select, keys, "select")

    def to_dict(self) -> dict[str, Any]:
        """The whole search as a dict."""
        return {
            "filter": None if self._where is None else self._where.to_dict(),
            "rank": None if self._rank is None else self._rank.to_dict(),
            "group_by": self._group_by.to_dict(),
            "limit": self._limit.to_dict(),
            "select": self._select.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Form) -> "Search":
        """The search described by a dict that `to_dict` returned."""
        _check_keys(data, "search", {"filter", "rank", "group_by", "limit", "select"})
        others = {name: data.get(name) for name in ("rank", "group_by", "limit", "select")}
        return cls(data.get("filter"), **others)

    def __repr__(self) -> str:
        return f"Search.from_dict({self.to_dict()!r})"

    def where(self, where: Where | Form | None) -> "Search":
        """A copy of this search, limited to records that fulfil a condition."""
        return self._replace_parts(where=where)

    def rank(self, rank_expr: Rank | Form | None) -> "Search":
        """A copy of this search that sorts records by these scores; None keeps the order of
        insertion."""
        return self._replace_parts(rank=rank_expr)

    def group_by(self, group_by: GroupBy | Form | None) -> "Search":
        """A copy of this search that groups the records."""
        return self._replace_parts(group_by=group_by)

    def limit(self, limit: int, offset: int = 0) -> "Search":
        """A copy of this search that returns `limit` records, after the first `offset`."""
        return self._replace_parts(limit={"offset": offset, "limit": limit})

    def select(self, *keys: Key | str) -> "Search":
        """A copy of this search that returns these fields of each record."""
        return self._replace_parts(select=keys)

    def select_all(self) -> "Search":
        """A copy of this search that returns document, embedding, metadata and score."""
        return self.select(K.DOCUMENT, K.EMBEDDING, K.METADATA, K.SCORE)

    def _replace_parts(self, **changed: Any) -> "Search":
        parts = {name: getattr(self, f"_{name}") for name in ("where", "rank", "group_by", "limit")}
        return Search(**{**parts, "select": self._select, **changed})


def _convert_form(kind: Any, value: Any, name: str) -> Any:
    """The value as an object of the class `kind`. The value can be such an object, an object of a
    class of Chroma with the same name, or a dict."""
    if isinstance(value, kind):
        return value
    form = value.to_dict() if hasattr(value, "to_dict") else value
    if not isinstance(form, Mapping):
        raise InvalidTypeError(f"{name} is {quote(value)}, expected {kind.__name__} or a dict")
    return kind.from_dict(form)


def _build_from_form(kind: type[F], data: Any) -> F:
    if not isinstance(data, Mapping) or not data:
        raise InvalidTypeError(f"{kind.__name__} is made of {quote(data)}, expected a dict")
    return kind(data)


def _check_keys(data: Any, name: str, known: set[str]) -> None:
    if not isinstance(data, Mapping):
        raise InvalidTypeError(f"{name} is {quote(data)}, expected a dict")
    if unknown := [key for key in data if key not in known]:
        raise InvalidArgumentError(
            f"{name} has the key {quote(unknown[0])}, expected {', '.join(sorted(known))}"
        )


def _names_of(keys: Any) -> list[str]:
    """The names of one or several keys, without duplicates."""
    is_one = isinstance(keys, str) or hasattr(keys, "name")
    if not is_one and not isinstance(keys, Iterable):
        raise InvalidTypeError(f"keys is {quote(keys)}, expected keys")
    return [*dict.fromkeys(map(_name_of, [keys] if is_one else keys))]


def _name_of(key: Any) -> str:
    name = getattr(key, "name", key)
    if not isinstance(name, str) or not name:
        raise InvalidTypeError(f"a key is {quote(key)}, expected K.SCORE, say, or a metadata key")
    return name
