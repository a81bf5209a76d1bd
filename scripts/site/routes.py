"""Writes the tables of docs/reference/routes.md: the server's routes, and how it reads bodies.

    python scripts/site/routes.py

Between `<!-- generated: NAME -->` and `<!-- /generated -->`, the page contains the result of the
function NAME below, which reads the server's own tables. A test compares the page with them.
"""

import re
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from annotated_types import Ge

from retrieval_store_server.http.bodies import CLOSED, DIFFERENCES, OLDER, Difference, PayloadPath
from retrieval_store_server.http.routes import MESSAGE, OBJECT, ROUTES, UPLOAD, Route

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "routes.md"
BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
KEYS = {"open": "none", "read": "any", "write": "not read-only", "manage": "not read-only"}
GROUPS = {  # by what their paths begin with, the first that fits
    "own": r"/retrieval-store/",
    "view": r"/view\b",
    "snapshots": r".*/(snapshots|snapshot)\b",
    "clusters": r"/cluster|.*/(cluster|shards)\b",
    "older": r".*/points/(search(?!/matrix)|recommend|discover)",
    "points": r".*/(points|facet)\b",
    "collections": r"/collections|/aliases",
    "server": r"/",
}


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def group_of(route: Route) -> str:
    """The table in which a route stands."""
    return next(name for name, begins in GROUPS.items() if re.match(begins, route.path))


def table_of(group: str) -> str:
    """The routes of a group, in the order of the server's table."""
    return markdown(
        ["method", "path", "key", "body", "gRPC"],
        (
            (
                route.method,
                f"`{route.path}`",
                KEYS[route.access],
                body_of(route),
                f"`{route.rpc}`" if route.rpc else "",
            )
            for route in ROUTES
            if group_of(route) == group
        ),
    )


def body_of(route: Route) -> str:
    """What a route's body is."""
    if route.body is None:
        return ""
    if route.body == MESSAGE:
        return "a message"
    if route.body == OBJECT:
        return "an object"
    if route.body == UPLOAD:
        return "`multipart/form-data` with the file `snapshot`"
    kinds = typing.get_args(route.body) or (route.body,)
    if route.body.__module__ == OLDER:
        return ", ".join(f"`{name}`" for name in sorted(route.body.model_fields))
    return " or ".join(f"`{kind.__name__}`" for kind in kinds)


def differences() -> str:
    """How bodies are read otherwise than qdrant-client's models say."""
    rows = [
        (f"`{model}`", f"`{field}`", "; ".join(said_of(one)))
        for (model, field), one in sorted(DIFFERENCES.items())
    ]
    rows += [(f"`{model}`", "all others", "refused") for model in sorted(CLOSED)]
    return markdown(["model", "field", "read here"], rows)


def said_of(difference: Difference) -> list[str]:
    """What a difference is, in words."""
    said = [f"may be called `{name}`, too" for name in difference.names]
    if difference.default is not ...:
        said.append("may be left out")
    if difference.kind is not None:
        said.append(said_of_kind(difference.kind))
    return said


def said_of_kind(kind: Any) -> str:
    bounds = [
        bound.ge
        for one in getattr(kind, "__metadata__", ())
        for bound in getattr(one, "metadata", ())
        if isinstance(bound, Ge)
    ]
    if bounds:
        return f"{bounds[0]} or more"
    if holds_paths(kind):
        return "paths into payloads are read with the body"
    return "may be null" if type(None) in typing.get_args(kind) else "may not be null"


def holds_paths(kind: Any) -> bool:
    """Whether a type is that of paths, or made of it."""
    return kind == PayloadPath or any(map(holds_paths, typing.get_args(kind)))


TABLES: dict[str, Callable[[], str]] = {
    **{name: (lambda name=name: table_of(name)) for name in GROUPS},
    "differences": differences,
}


def filled(text: str) -> str:
    """The page with the tables in its blocks."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
