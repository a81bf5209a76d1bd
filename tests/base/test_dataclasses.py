"""Our dataclasses against the standard library's: in all that can be seen of them they are alike."""

import copy
import dataclasses
import inspect
import pickle
import timeit
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import orjson
import pytest

from retrieval_store.base.dataclasses import dataclass as ours

T = TypeVar("T")
Maker = Callable[..., Any]
MAKERS = [dataclasses.dataclass, ours]


class Sized(Protocol):
    def size(self) -> int: ...


class Described:
    __slots__ = ("note",)
    kind: ClassVar[str] = "described"

    def told(self) -> str:
        return f"{type(self).__name__} is {self.kind}"


def _plain(maker: Maker, **how: Any) -> Any:
    @maker(slots=True, **how)
    class Plain:
        """One that is plain."""

        first: int
        second: "str"
        third: float = 1.5
        fourth: list[int] = dataclasses.field(default_factory=list)

        @property
        def both(self) -> str:
            return f"{self.first}{self.second}"

    return Plain


def _by_name(maker: Maker, **how: Any) -> Any:
    @maker(slots=True, **how)
    class ByName(Described):
        limit: ClassVar[int] = 4
        place: tuple[int, ...]
        unit: str = dataclasses.field(default="m", kw_only=True)
        seen: dict[str, int] = dataclasses.field(default_factory=dict, kw_only=True)

    return ByName


def _derived(maker: Maker, **how: Any) -> Any:
    @maker(slots=True, **how)
    class Base(Generic[T]):
        first: T
        unit: str = dataclasses.field(default="m", kw_only=True)

    @maker(slots=True, **how)
    class Derived(Base[int], Sized):
        second: int = 3

        def size(self) -> int:
            return self.first

        def __post_init__(self) -> None:
            assert self.second < 100

    return Derived


def _empty(maker: Maker, **how: Any) -> Any:
    @maker(slots=True, **how)
    class Empty(Described):
        """Without anything."""

    return Empty


def _own_hash(maker: Maker, **how: Any) -> Any:
    @maker(slots=True, **how)
    class OwnHash:
        first: int

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "its own"

    return OwnHash


def _unusual(maker: Maker, **how: Any) -> Any:
    """One with what ours leaves to the standard library."""

    @maker(slots=True, **how)
    class Unusual:
        first: int
        hidden: int = dataclasses.field(default=2, repr=False, compare=False)
        counted: int = dataclasses.field(default=0, init=False)

    return Unusual


SHAPES: list[tuple[Callable[..., Any], list[tuple[tuple[Any, ...], dict[str, Any]]]]] = [
    (_plain, [((1, "b"), {}), ((1,), {"second": "b", "fourth": [2]}), ((2, "b", 1.5, [2]), {})]),
    (_by_name, [(((1, 2),), {}), (((1, 2),), {"unit": "km"}), (((3,),), {"seen": {"a": 1}})]),
    (_derived, [((1,), {}), ((1, 4), {"unit": "km"}), ((), {"first": 1, "second": 4})]),
    (_empty, [((), {}), ((), {})]),
    (_own_hash, [((1,), {}), ((2,), {})]),
    (_unusual, [((1,), {}), ((1, 5), {}), ((2,), {})]),
]
WAYS: list[dict[str, bool]] = [
    {"frozen": True},
    {},
    {"frozen": True, "eq": False},
    {"eq": False, "repr": False},
]


def _seen(call: Callable[[], Any]) -> Any:
    """What a call returns, or how it fails."""
    try:
        return call()
    except (TypeError, AttributeError, AssertionError, dataclasses.FrozenInstanceError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize(("shape", "calls"), SHAPES, ids=lambda one: getattr(one, "__name__", ""))
def test_they_behave_alike(
    shape: Callable[..., Any], calls: list[Any], how: dict[str, bool]
) -> None:
    theirs, mine = (_behaviour(shape(maker, **how), calls) for maker in MAKERS)
    assert mine == theirs


def _behaviour(kind: Any, calls: list[Any]) -> dict[str, Any]:
    """All that can be seen of a class, and of the objects that calls make of it."""
    objects = [kind(*args, **named) for args, named in calls]
    names = [one.name for one in dataclasses.fields(kind)]
    has_repr = "__repr__" in kind.__dict__  # else there is an address in it
    return {
        "values": [[getattr(one, name) for name in names] for one in objects],
        "repr": list(map(repr, objects)) if has_repr else None,
        "equal": [one == other for one in objects for other in objects],
        "equal to another kind": [one == (1, "b", 1.5, []) for one in objects],
        "hash": [_seen(lambda one=one: hash(one) == hash(copy.copy(one))) for one in objects],
        "is hashed": kind.__hash__ is not None,
        "copies": [copy.copy(one) == one for one in objects],
        "deep copies": [dataclasses.asdict(copy.deepcopy(one)) for one in objects],
        "JSON": [_seen(lambda one=one: orjson.dumps(one)) for one in objects],
        "replaced": [dataclasses.replace(one) == one for one in objects],
        "wrong arguments": [
            _seen(lambda args=args, named=named: len(repr(kind(*args, **named))) > 0)
            for args, named in (((), {"other": 1}), ((1, 2, 3, 4, 5), {}), ((), {}))
        ],
        "set": [_seen(lambda name=name: setattr(objects[0], name, 5)) for name in names],
        "deleted": [_seen(lambda name=name: delattr(objects[0], name)) for name in names],
        "signature": inspect.signature(kind),
        "names": (kind.__module__, kind.__name__, kind.__match_args__, kind.__slots__),
        "of __init__": (kind.__init__.__name__, kind.__init__.__annotations__),
        "documented": (kind.__doc__ or "").startswith("One that is plain"),
        "bases": [one.__name__ for one in kind.__mro__],
        "fields": [(f.name, f.type, f.default, f.kw_only) for f in dataclasses.fields(kind)],
        "others": (hasattr(objects[0], "__dict__"), dataclasses.is_dataclass(kind)),
    }


@pytest.mark.parametrize("maker", MAKERS)
def test_one_is_replaced_with_another(maker: Maker) -> None:
    for how in WAYS:
        one = _by_name(maker, **how)((1, 2), unit="km")
        other = dataclasses.replace(one, place=(3,))
        assert (other.place, other.unit, other.seen, one.place) == ((3,), "km", {}, (1, 2))
        with pytest.raises(TypeError, match="other"):
            dataclasses.replace(one, other=1)


@ours(frozen=True, slots=True)
class Kept:
    name: str
    more: "Kept | None" = None


@ours(slots=True)
class Changing:
    name: str
    within: "list[Changing]" = dataclasses.field(default_factory=list)


def test_objects_are_pickled_matched_and_shown() -> None:
    one = Kept("a", Kept("b"))
    assert pickle.loads(pickle.dumps(one)) == one
    assert len({one, Kept("a", Kept("b")), Kept("b")}) == 2
    match one:
        case Kept(name, Kept(inner)):
            assert (name, inner) == ("a", "b")
    assert orjson.dumps(one) == b'{"name":"a","more":{"name":"b","more":null}}'
    changing = Changing("c")
    changing.within.append(changing)  # and not shared with another
    assert repr(changing) == "Changing(name='c', within=[...])"
    assert Changing("d").within == []


def test_frozen_objects_cant_be_changed() -> None:
    class Subclass(Kept):
        pass

    one = Kept("a")
    for change in (lambda: setattr(one, "name", "b"), lambda: delattr(one, "name")):
        with pytest.raises(dataclasses.FrozenInstanceError, match="'name'"):
            change()
    with pytest.raises(AttributeError):
        one.other = 1  # type: ignore[attr-defined]
    other = Subclass("a")
    other.own = 1  # type: ignore[attr-defined]
    with pytest.raises(dataclasses.FrozenInstanceError):
        other.name = "b"  # type: ignore[misc]
    assert (other.own, other.name) == (1, "a")  # type: ignore[attr-defined]


def test_what_is_shared_by_mistake_is_refused_as_by_the_standard_library() -> None:
    for maker in MAKERS:
        with pytest.raises(ValueError, match="mutable default"):

            @maker(slots=True)
            class Wrong:
                shared: list[int] = []  # noqa: RUF012


def test_the_same_array_is_equal_to_itself() -> None:
    """Values are compared as those of tuples, as by the standard library before Python 3.13."""

    @ours(slots=True)
    class Holds:
        array: Any

    array = np.arange(3)
    assert Holds(array) == Holds(array)
    with pytest.raises(ValueError, match="ambiguous"):
        _ = Holds(array) == Holds(array.copy())


def test_they_are_made_sooner() -> None:
    def seconds(maker: Maker) -> float:
        return min(timeit.repeat(lambda: _plain(maker, frozen=True), number=20))

    assert seconds(ours) * 3 < seconds(dataclasses.dataclass)
