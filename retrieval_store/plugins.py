"""Plugins: classes that packages register under a name, loaded only when asked for.

A package registers a class as an entry point of one of the groups below, name → "module:Class". A
store remembers the name and JSON settings, so what is imported is decided by what is installed and
never by stored data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrieval_store.errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

EMBEDDING_FUNCTIONS = "retrieval_store.embedding_functions"


def load(group: str, name: str) -> Any:
    """The class registered under `name`; raises PluginError when there is none or it won't load."""
    found = _entry_points(group)
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise PluginError(f"no plugin {name!r} is registered in {group!r}; known are: {known}")
    entry = found[name]
    try:
        return entry.load()
    except Exception as error:
        package = entry.dist.name if entry.dist else "an unknown package"
        raise PluginError(
            f"plugin {name!r} of {package} can't be loaded from {entry.value!r}: {error}"
        ) from error


def name_of(group: str, kind: type) -> str | None:
    """The name under which the class is registered; None when it isn't."""
    target = f"{kind.__module__}:{kind.__qualname__}"
    return next((e.name for e in _entry_points(group).values() if e.value == target), None)


def _entry_points(group: str) -> dict[str, EntryPoint]:
    # Imported here: it takes longer than all the rest of `import retrieval_store`.
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=group)}
