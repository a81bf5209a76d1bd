"""Payloads: as they are written, as they are shown, and as edits change them.

Documents and uris, which `Collection` keeps beside the payload, show as two keys of it, in reading
and in writing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from qdrant_client import models

from retrieval_store.base.dataclasses import replace
from retrieval_store.base.validation import MAX_DEPTH, Payload, shown
from retrieval_store.filters.paths import DOCUMENT, EACH, URI, Step
from retrieval_store.qdrant.filters.paths import parse_path
from retrieval_store.qdrant.refusals import malformed, wrong
from retrieval_store.query.types import Content

Path: TypeAlias = Sequence[Step]
Shown: TypeAlias = Callable[[Payload], Any]


def content_of(payload: Payload) -> Content:
    """What a payload says: a document and a uri stand beside the rest."""
    if DOCUMENT not in payload and URI not in payload:
        return Content(payload, None, None)
    rest = dict(payload)
    document, uri = _text(rest, DOCUMENT), _text(rest, URI)
    return Content(rest, document, uri)


def _text(payload: Payload, name: str) -> str | None:
    value = payload.pop(name, None)
    if value is None or isinstance(value, str):
        return value
    raise wrong(f"payload[{name!r}] is {value!r}: expected a string; the name is reserved")


def with_reserved_keys(
    payloads: Sequence[Payload | None],
    documents: Sequence[str | None] | None,
    uris: Sequence[str | None] | None,
) -> list[Payload]:
    """Payloads of some points with document and uri in them; mostly no point has any."""
    found = [payload or {} for payload in payloads]
    for name, texts in ((DOCUMENT, documents), (URI, uris)):
        if texts is not None and texts.count(None) < len(texts):
            found = [
                payload if text is None else {**payload, name: text}
                for payload, text in zip(found, texts, strict=True)
            ]
    return found


def edited(change: Callable[[Payload | None], Payload | None]) -> Callable[[Content], Content]:
    """An edit of a payload as it shows; None where there is none, as after it was cleared, or will
    be none."""

    def edit(content: Content) -> Content:
        (shown,) = with_reserved_keys([content.payload], [content.document], [content.uri])
        after = change(shown if shown or content.payload is not None else None)
        return content if after is None else content_of(after)

    return edit


def setting(new: Payload, key: str | None) -> Callable[[Payload | None], Payload]:
    """Keys of `new` in place of those of the payload, or of what lies at a path in it; a null takes
    its key away. Where there is no payload, `new` becomes it as it is, as in a server."""
    if key is None:
        return lambda old: new if old is None else _merged(old, new)
    path = parse_path(key).steps
    if len(path) + _levels(new) > MAX_DEPTH:
        raise wrong(f"the payload would be nested deeper than {MAX_DEPTH} levels at {shown(key)}")
    return lambda old: _set(old, path, new)


def _levels(value: Any) -> int:
    """How many lists and objects lie in each other."""
    if not isinstance(value, list | dict):
        return 0
    within = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_levels, within), default=0)


def _merged(old: Any, new: Payload) -> Payload:
    merged = {**old, **new} if isinstance(old, dict) else dict(new)
    return {name: value for name, value in merged.items() if value is not None or name not in new}


def _set(value: Any, path: Path, new: Payload) -> Any:
    """`value` with `new` merged into what lies at the path, which is made where it has none."""
    if not path:
        return _merged(value, new)
    step, rest = path[0], path[1:]
    if isinstance(step, str):
        held = value if isinstance(value, dict) else {}
        return {**held, step: _set(held.get(step), rest, new)}
    items = value if isinstance(value, list) else []
    wanted = range(len(items)) if step is EACH else [step]
    return [_set(one, rest, new) if i in wanted else one for i, one in enumerate(items)]


def deleting(keys: Sequence[str]) -> Callable[[Payload | None], Payload | None]:
    """The payload without what lies at these paths."""
    if isinstance(keys, str):
        raise malformed(f"keys is {keys!r}, expected a sequence of keys")
    paths = [parse_path(key).steps for key in keys]

    def delete(old: Payload | None) -> Payload | None:
        for path in paths:
            old = _without(old, path)
        return old

    return delete


def _without(value: Any, path: Path) -> Any:
    step, rest = path[0], path[1:]
    if isinstance(step, str):
        if not isinstance(value, dict) or step not in value:
            return value
        if not rest:
            return {key: one for key, one in value.items() if key != step}
        return {**value, step: _without(value[step], rest)}
    if not isinstance(value, list):
        return value
    if not rest:  # a server empties lists, and takes no single element out of them
        return [] if step is EACH else value
    wanted = range(len(value)) if step is EACH else [step]
    return [_without(one, rest) if i in wanted else one for i, one in enumerate(value)]


def selecting(with_payload: Any) -> Shown | None:
    """What is shown of a payload; None when nothing of it is."""
    if isinstance(with_payload, bool) or with_payload is None:
        return every_key if with_payload else None
    if isinstance(with_payload, models.PayloadSelectorInclude):
        return _included(with_payload.include)
    if isinstance(with_payload, models.PayloadSelectorExclude):
        return deleting(with_payload.exclude)
    if isinstance(with_payload, Iterable) and not isinstance(with_payload, str | Mapping):
        return _included(list(with_payload))
    raise wrong(f"with_payload is {with_payload!r}: expected a bool, keys, or a PayloadSelector")


def every_key(payload: Payload) -> Payload:
    """All that is in a payload."""
    return payload


def _included(keys: Sequence[str]) -> Shown:
    paths = [parse_path(key).steps for key in keys]
    if all(len(path) == 1 and isinstance(path[0], str) for path in paths):
        names = {path[0] for path in paths}
        return lambda payload: {key: one for key, one in payload.items() if key in names}
    return lambda payload: _parts(payload, paths) or {}


def _parts(value: Any, paths: Sequence[Path]) -> Any:
    """Those parts of a value to which a path leads; None where none does."""
    if not all(paths):
        return value
    if isinstance(value, dict):
        found = {}
        for key, one in value.items():
            rest = [path[1:] for path in paths if path[0] == key]
            part = _parts(one, rest) if rest else None
            if part is not None or (one is None and any(not path for path in rest)):
                found[key] = part
        return found
    if isinstance(value, list):
        rest = [path[1:] for path in paths if not isinstance(path[0], str)]
        parts = [_parts(one, rest) for one in value] if rest else []
        return [part for part in parts if part is not None]
    return None


def cleared(content: Content) -> Content:
    """Nothing but what isn't payload."""
    return replace(content, payload=None, document=None, uri=None)
