"""Dataclasses as the standard library's, but made in a fifth of the time.

`dataclasses.dataclass` writes the source of each method and compiles it: 0.4 ms for a frozen class,
and a process needs a hundred classes before its first query. Here `__init__` alone is compiled, and
what else a class has goes by the names of its fields. Frozen objects are made in two thirds of the
time too. A class that wants more than what is made here is left to the standard library; one
without a docstring gets none.

Classes are dataclasses for all who ask: `fields`, `replace`, `match`, orjson; and to type checkers
the decorator is the standard library's.
"""

from dataclasses import asdict, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING

__all__ = ["asdict", "dataclass", "field", "fields", "is_dataclass", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses
    from operator import attrgetter
    from reprlib import recursive_repr
    from types import SimpleNamespace
    from typing import ClassVar, get_origin

    _MISSING, _TO_BE_MADE = dataclasses.MISSING, dataclasses._HAS_DEFAULT_FACTORY
    _OF_SUBCLASSES = ("__dict__", "__weakref__")  # what each class gets for itself
    # Methods that are made here. A class that has one of its own is left to the standard library,
    # which says what that means.
    _MADE = ("__init__", "__eq__", "__setattr__", "__delattr__", "__getstate__", "__setstate__")

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True, repr=True):
        """As `dataclasses.dataclass`, of whose parameters there are those that are used here."""
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, slots=slots, eq=eq, repr=repr)
        plain = slots and not any(name in cls.__dict__ for name in _MADE)
        own = _own_fields(cls) if plain else None
        if own is None:
            return dataclasses.dataclass(frozen=frozen, slots=slots, eq=eq, repr=repr)(cls)
        return _made(cls, own, frozen, eq, repr)

    def _own_fields(cls):
        """The fields that the class itself has, by name; None if one is of a kind that isn't made
        here."""
        found = {}
        for name, kind in cls.__annotations__.items():
            if kind is ClassVar or get_origin(kind) is ClassVar:
                continue
            given = cls.__dict__.get(name, _MISSING)
            one = given if isinstance(given, dataclasses.Field) else field(default=given)
            if not (one.init and one.repr and one.compare and one.hash is None):
                return None
            told = isinstance(kind, str) and ("ClassVar" in kind or "InitVar" in kind)
            if told or isinstance(kind, dataclasses.InitVar):
                return None
            if type(one.default).__hash__ is None:  # a list, say, which no two may share
                return None
            one.name, one.type, one._field_type = name, kind, dataclasses._FIELD
            one.kw_only = one.kw_only is True
            found[name] = one
        return found

    def _made(cls, own, frozen, eq, repr):
        """The class once more, with slots for its fields and the methods of a dataclass."""
        every, slots = {}, set()
        for base in reversed(cls.__mro__[1:]):
            every.update(base.__dict__.get("__dataclass_fields__", {}))
            slots.update(base.__dict__.get("__slots__", ()))
        every.update(own)
        parts = {
            name: one
            for name, one in cls.__dict__.items()
            if name not in own and name not in _OF_SUBCLASSES
        }
        parts["__slots__"] = tuple(name for name in every if name not in slots)
        parts["__dataclass_fields__"] = every
        parts["__dataclass_params__"] = SimpleNamespace(frozen=frozen)
        parts["__match_args__"] = tuple(name for name, one in every.items() if not one.kw_only)
        if repr:
            parts.setdefault("__repr__", _repr)
        if eq:
            values = _values_of(tuple(every))
            parts["__eq__"] = _equality(values)
            parts.setdefault("__hash__", _hash(values) if frozen else None)
        if frozen:
            parts["__setattr__"], parts["__delattr__"] = _refuse_to_set, _refuse_to_delete
            parts["__getstate__"], parts["__setstate__"] = _state, _set_state
        made = type(cls)(cls.__name__, cls.__bases__, parts)
        made.__qualname__ = cls.__qualname__
        made.__init__ = _init(made, every, frozen)
        return made

    def _init(cls, every, frozen):
        """`__init__`, compiled as if it had been written for the class. In a frozen one each slot
        is filled by its own descriptor, which asks nobody."""
        scope, parameters, lines = {"_to_be_made": _TO_BE_MADE}, [], []
        by_name = [name for name, one in every.items() if one.kw_only]
        for name in [*(name for name in every if name not in by_name), *by_name]:
            one, value, parameter = every[name], name, name
            if one.default_factory is not _MISSING:
                scope[f"_make_{name}"] = one.default_factory
                parameter = f"{name}=_to_be_made"
                value = f"_make_{name}() if {name} is _to_be_made else {name}"
            elif one.default is not _MISSING:
                scope[f"_default_{name}"] = one.default
                parameter = f"{name}=_default_{name}"
            if frozen:
                scope[f"_set_{name}"] = getattr(cls, name).__set__
            parameters += ["*", parameter] if name in by_name[:1] else [parameter]
            lines.append(f"_set_{name}(self, {value})" if frozen else f"self.{name} = {value}")
        if hasattr(cls, "__post_init__"):
            lines.append("self.__post_init__()")
        body = "; ".join(lines) or "pass"
        exec(f"def __init__({', '.join(['self', *parameters])}): {body}", scope)
        made = scope["__init__"]
        made.__qualname__, made.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
        made.__annotations__ = {name: one.type for name, one in every.items()} | {"return": None}
        return made

    def _values_of(names):
        """A function that returns the values of an object as a tuple."""
        if len(names) > 1:
            return attrgetter(*names)
        return lambda one: tuple(getattr(one, name) for name in names)

    def _equality(values):
        def equals(self, other):
            if other.__class__ is self.__class__:
                return values(self) == values(other)
            return NotImplemented

        return equals

    def _hash(values):
        def hashed(self):
            return hash(values(self))

        return hashed

    @recursive_repr()
    def _repr(self):
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
        return f"{self.__class__.__qualname__}({told})"

    def _refuse_to_set(self, name, value):
        if _is_fixed(self, name):
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def _refuse_to_delete(self, name):
        if _is_fixed(self, name):
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        object.__delattr__(self, name)

    def _is_fixed(one, name):
        """Whether an attribute can't be changed: all but what a subclass adds that isn't a
        dataclass itself."""
        return "__dataclass_fields__" in type(one).__dict__ or name in one.__dataclass_fields__

    def _state(self):
        return [getattr(self, name) for name in self.__dataclass_fields__]

    def _set_state(self, state):
        for name, value in zip(self.__dataclass_fields__, state, strict=True):
            object.__setattr__(self, name, value)
