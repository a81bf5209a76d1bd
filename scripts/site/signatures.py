"""Extends the reference: adds the methods of `AsyncCollection`, which only exist at run time, and
marks the names of parameters in docstrings ("ef: how many candidates").
"""

import re
from typing import Any

import griffe

AWAITED = re.compile(r"(\w+)\((Client|Collection)\.(\w+)(?:, ['\"]\w+['\"])?\)")
RETURNED = {
    "collection": "AsyncCollection",
    "collections": "list[AsyncCollection]",
    "async_iterator": "AsyncGenerator[dict[str, Any], None]",
}


class MarkedParameters(griffe.Extension):
    """Names of parameters stand out in docstrings."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Mark names in docstrings of methods."""
        for member in cls.members.values():
            if isinstance(member, griffe.Function):
                _mark(member, member)
        initialiser = cls.members.get("__init__")
        if isinstance(initialiser, griffe.Function):
            _mark(cls, initialiser)

    def on_function_instance(self, *, func: griffe.Function, **_: Any) -> None:
        """Mark names in the docstrings of functions, too."""
        if func.parent and func.parent.is_module:
            _mark(func, func)


class AwaitedMethods(griffe.Extension):
    """`count = async_method(Collection.count)` is that method, to be awaited."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Replace such attributes by methods."""
        if pkg.name != "retrieval_store":
            return
        module = pkg["api.aio"]
        for cls in (module["AsyncClient"], module["AsyncCollection"]):
            for name, member in [*cls.members.items()]:
                found = AWAITED.fullmatch(str(getattr(member, "value", "")))
                if found:
                    cls.set_member(name, _awaited(member, pkg, *found.groups()))


def _awaited(
    member: griffe.Object, pkg: griffe.Module, maker: str, kind: str, name: str
) -> griffe.Function:
    """The method that an attribute stands for. maker: the function that makes it."""
    theirs = pkg[f"api.{kind.lower()}.{kind}.{name}"]
    made = griffe.Function(
        name,
        parameters=theirs.parameters,
        returns=RETURNED.get(maker, theirs.returns),
        docstring=theirs.docstring,
        lineno=member.lineno,
        endlineno=member.endlineno,
    )
    made.labels.add("async")
    return made


def _mark(described: griffe.Object, function: griffe.Function) -> None:
    if not described.docstring or "\nArgs:\n" in described.docstring.value:
        return  # a section, which the site shows as a table
    text = described.docstring.value
    for parameter in function.parameters:
        name = re.escape(parameter.name)
        text = re.sub(rf"(?<![\w`\"'.\[]){name}(?=(, [\w`]+)*:\s)", f"**{parameter.name}**", text)
    described.docstring.value = text
