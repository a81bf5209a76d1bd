"""Dataclasses as the standard library's, but made in a fraction of the time.

`dataclasses.dataclass` writes the source of each method and compiles it: 0.4 ms for a frozen class,
and a process needs a hundred classes before its first query. Here they are compiled once for each
number of fields, whose names are then put in. Frozen objects are made in two thirds of the time
too. A class that wants more than what is made here is left to the standard library; one without a
docstring gets none.

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
    from functools import cache
    from reprlib import recursive_repr
    from types import FunctionType, SimpleNamespace
    from typing import ClassVar, get_origin

    _MISSING, _TO_BE_MADE = dataclasses.MISSING, dataclasses._HAS_DEFAULT_FACTORY
    _OF_SUBCLASSES = ("__dict__", "__weakref__")  # what each class gets for itself
    # Methods that are made here. A class that has one of its own is left to the standard library,
    # which says what that means.
    _MADE = ("__init__", "__eq__", "__setattr__", "__delattr__", "__getstate__", "__setstate__")

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True, repr=True):
        """`dataclasses.dataclass` with the parameters that are used here."""
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, slots=slots, eq=eq, repr=repr)
        plain = slots and not any(name in cls.__dict__ for name in _MADE)
        own_fields = _own_fields(cls) if plain else None
        if own_fields is None:
            new_class = dataclasses.dataclass(frozen=frozen, slots=slots, eq=eq, repr=repr)(cls)
        else:
            new_class = _build_class(cls, own_fields, frozen, eq, repr)
        if (
            new_class.__init__.__doc__ is None
        ):  # its arguments are the fields, which the class tells of
            new_class.__init__.__doc__ = cls.__doc__
        return new_class

    def _own_fields(cls):
        """The fields of the class itself, by name; None if one is of a kind that isn't supported
        here."""
        members = {}
        for name, kind in cls.__annotations__.items():
            if kind is ClassVar or get_origin(kind) is ClassVar:
                continue
            default = cls.__dict__.get(name, _MISSING)
            member = default if isinstance(default, dataclasses.Field) else field(default=default)
            if not (member.init and member.repr and member.compare and member.hash is None):
                return None
            is_special = isinstance(kind, str) and ("ClassVar" in kind or "InitVar" in kind)
            if is_special or isinstance(kind, dataclasses.InitVar):
                return None
            if type(member.default).__hash__ is None:  # a list, say, which no two may share
                return None
            member.name, member.type, member._field_type = name, kind, dataclasses._FIELD
            member.kw_only = member.kw_only is True
            members[name] = member
        return members

    def _build_class(cls, own_fields, frozen, eq, repr):
        """A new class with slots for its fields and the methods of a dataclass."""
        all_fields, slots = {}, set()
        for base in reversed(cls.__mro__[1:]):
            all_fields.update(base.__dict__.get("__dataclass_fields__", {}))
            slots.update(base.__dict__.get("__slots__", ()))
        all_fields.update(own_fields)
        parts = {
            name: attribute
            for name, attribute in cls.__dict__.items()
            if name not in own_fields and name not in _OF_SUBCLASSES
        }
        parts["__slots__"] = tuple(name for name in all_fields if name not in slots)
        parts["__dataclass_fields__"] = all_fields
        parts["__dataclass_params__"] = SimpleNamespace(frozen=frozen)
        parts["__match_args__"] = tuple(
            name for name, member in all_fields.items() if not member.kw_only
        )
        if repr:
            parts.setdefault("__repr__", _repr)
        if eq:
            parts["__eq__"] = _method(cls, _equality(len(all_fields)), all_fields, {})
            if "__hash__" not in parts:
                parts["__hash__"] = (
                    _method(cls, _hash(len(all_fields)), all_fields, {}) if frozen else None
                )
        if frozen:
            parts["__setattr__"], parts["__delattr__"] = _refuse_to_set, _refuse_to_delete
            parts["__getstate__"], parts["__setstate__"] = _state, _set_state
        new_class = type(cls)(cls.__name__, cls.__bases__, parts)
        new_class.__qualname__ = cls.__qualname__
        new_class.__init__ = _init(new_class, all_fields, frozen)
        return new_class

    def _init(cls, all_fields, frozen):
        """`__init__`. In a frozen class each slot is set by its own descriptor, without a check."""
        by_name = [name for name, member in all_fields.items() if member.kw_only]
        names = [*(name for name in all_fields if name not in by_name), *by_name]
        defaults = {name: _default(all_fields[name]) for name in names}
        parameters, lines, scope = ["self"], [], {"_to_be_made": _TO_BE_MADE}
        for i, name in enumerate(names):
            value = f"_{i}"
            if defaults[name] is _TO_BE_MADE:
                scope[f"_make_{i}"] = all_fields[name].default_factory
                value = f"_make_{i}() if _{i} is _to_be_made else _{i}"
            if frozen:
                scope[f"_set_{i}"] = getattr(cls, name).__set__
            lines.append(f"_set_{i}(self, {value})" if frozen else f"self._{i} = {value}")
            parameters += ["*", f"_{i}"] if name in by_name[:1] else [f"_{i}"]
        if hasattr(cls, "__post_init__"):
            lines.append("self.__post_init__()")
        source = f"def __init__({', '.join(parameters)}): {'; '.join(lines) or 'pass'}"
        init = _method(cls, source, names, scope)
        present = {name: default for name, default in defaults.items() if default is not _MISSING}
        init.__defaults__ = tuple(
            default for name, default in present.items() if name not in by_name
        )
        init.__kwdefaults__ = {
            name: default for name, default in present.items() if name in by_name
        }
        init.__annotations__ = {name: member.type for name, member in all_fields.items()} | {
            "return": None
        }
        return init

    def _default(member):
        """The default of a field."""
        return member.default if member.default_factory is _MISSING else _TO_BE_MADE

    def _equality(count):
        mine, others = _values("self", count), _values("other", count)
        same = "other.__class__ is self.__class__"
        return f"def __eq__(self, other): return {mine} == {others} if {same} else NotImplemented"

    def _hash(count):
        return f"def __hash__(self): return hash({_values('self', count)})"

    def _values(owner, count):
        """A tuple of an object's values, as source."""
        return f"({''.join(f'{owner}._{i}, ' for i in range(count))})"

    def _method(cls, source, names, scope):
        """A method that looks as if it was written for the class: its source names the fields _0,
        _1 and so on, which are replaced by their names."""
        renamed = {f"_{i}": name for i, name in enumerate(names)}
        code = _compile_method(source)
        code = code.replace(
            co_varnames=tuple(renamed.get(name, name) for name in code.co_varnames),
            co_names=tuple(renamed.get(name, name) for name in code.co_names),
        )
        method = FunctionType(code, scope, code.co_name)
        method.__qualname__ = f"{cls.__qualname__}.{code.co_name}"
        method.__module__ = cls.__module__
        return method

    @cache
    def _compile_method(source):
        """The code of a method, shared by all classes with as many fields."""
        scope = {}
        exec(source, scope)
        (method,) = (value for value in scope.values() if isinstance(value, FunctionType))
        return method.__code__

    @recursive_repr()
    def _repr(self):
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
        return f"{self.__class__.__qualname__}({fields})"

    def _refuse_to_set(self, name, value):
        if _is_fixed(self, name):
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def _refuse_to_delete(self, name):
        if _is_fixed(self, name):
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        object.__delattr__(self, name)

    def _is_fixed(instance, name):
        """Whether an attribute is frozen: all are, except what a subclass adds that isn't a
        dataclass itself."""
        return (
            "__dataclass_fields__" in type(instance).__dict__
            or name in instance.__dataclass_fields__
        )

    def _state(self):
        return [getattr(self, name) for name in self.__dataclass_fields__]

    def _set_state(self, state):
        for name, value in zip(self.__dataclass_fields__, state, strict=True):
            object.__setattr__(self, name, value)
