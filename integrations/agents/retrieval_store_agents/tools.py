"""The tools through which a model uses a store: what their calls do.

A model chooses a tool by its description, fills its arguments according to their JSON schema, and
reads the text of the result; programs read the data of the result. The error for an invalid
argument says what would be right, since a model can use that to correct its call.
"""

import hashlib
import json
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from retrieval_store import Collection
from retrieval_store.errors import (
    IDAlreadyExistsError,
    InvalidArgumentError,
    InvalidFilterError,
    NotFoundError,
    RetrievalStoreError,
    StorageError,
)
from retrieval_store.loaders.passages import show_metadata
from retrieval_store_agents.answers import (
    LONG,
    LONGEST_EXAMPLE,
    Answer,
    as_arguments,
    contents_of,
    explain_marks,
    lines_of_collection,
    mark_lines,
    records_answer,
    round_score,
)
from retrieval_store_agents.arguments import (
    WRITTEN,
    are_forgotten,
    check_arguments,
    check_counts,
    check_forgets,
    now_iso,
    with_time_to_forget,
)
from retrieval_store_agents.definitions import FORGOTTEN, TOOLS, Tool
from retrieval_store_agents.sources import ToolSource
from retrieval_store_agents.wording import count_in_words, cut_text, list_ids

_log = logging.getLogger("retrieval_store.agents")
_as_json = json.JSONEncoder(ensure_ascii=False, default=str).encode
NEW = "notes"  # the collection that is created in an empty store if none is named
SAMPLE = 1_000  # records that are searched for keys; with more they are spread over all
EXAMPLES, KEYS = 4, 40  # values per key, and keys with values, that are shown
MAX_OTHER_KEYS = 200
READ_ONLY = "a user can allow it: `retrieval-store mcp --write`, or `write=True` of `as_tools`"


class StoreTools:
    """The tools of a store. writes: whether tools that write are included; refusal: the reason if
    they are not included. Threads can call tools at the same time."""

    def __init__(self, source: ToolSource, writes: bool = False, refusal: str = READ_ONLY) -> None:
        self._source, self._refusal = source, refusal
        self.tools = tuple(tool for tool in TOOLS if writes or not tool.writes)
        self._by_name = {tool.name: tool for tool in self.tools}
        self._calls: Mapping[str, Callable[..., Answer]] = {
            "collections": self._collections,
            "search": self._search,
            "get": self._get,
            "why": self._why,
            "add": self._add,
            "update": self._update,
            "delete": self._delete,
        }

    def tool(self, name: str) -> Tool:
        """The tool of this name. Raises InvalidArgumentError if it does not exist or is not
        allowed."""
        tool = self._by_name.get(name)
        if tool is None:
            if any(other.name == name for other in TOOLS):
                raise InvalidArgumentError(f"{name} isn't allowed here: {self._refusal}")
            raise InvalidArgumentError(f"no tool {name!r}: there are {list_ids([*self._by_name])}")
        return tool

    def writes(self, name: str) -> bool:
        """Whether a tool changes the store."""
        return name in self._by_name and self._by_name[name].writes

    def call(self, name: str, arguments: Mapping[str, Any] | None) -> Answer:
        """The result of a call of a tool. Errors are returned as results, too."""
        try:
            tool = self.tool(name)
            return self._calls[name](**check_arguments(tool, arguments or {}))
        except RetrievalStoreError as error:
            _log.info("%s failed: %s", name, error)
            return Answer(f"error: {error}", {"error": str(error)}, is_error=True)
        except Exception as error:  # embedding functions may raise anything
            _log.warning("%s failed", name, exc_info=error)
            message = f"{type(error).__name__}: {error}"
            return Answer(f"error: {message}", {"error": message}, is_error=True)

    def _open_collection(self, name: str | None) -> Collection:
        """The collection of this name; without a name, the store's only collection."""
        names = sorted(self._source.names())
        if not names:
            raise NotFoundError(self._why_no_collection())
        if name is None and len(names) > 1:
            raise InvalidArgumentError(f"collection is missing: name one of {list_ids(names)}")
        if name is not None and name not in names:
            raise NotFoundError(f"no collection {name!r}: there are {list_ids(names)}")
        return self._source.open(name or names[0])

    def _why_no_collection(self) -> str:
        allowed = self._source.allowed_names()
        if allowed:
            return f"the tools may use {list_ids(allowed)} alone, which the store doesn't have"
        return "the store is empty: it has no collection"

    # What reads

    def _collections(self) -> Answer:
        described = [self._describe_named(name) for name in self._source.names()]
        descriptions = [description for description in described if description is not None]
        if not descriptions:
            return Answer(self._why_no_collection(), {"collections": []})
        lines = [line for description in descriptions for line in lines_of_collection(description)]
        mark = secrets.token_hex(3)
        heading = f"{count_in_words(len(descriptions), 'collection')}. {explain_marks(mark)}"
        return Answer(f"{heading}\n{mark_lines(lines, mark)}", {"collections": descriptions})

    def _describe_named(self, name: str) -> dict[str, Any] | None:
        """The description of a collection, or the reason why it cannot be read. None if the
        collection was deleted meanwhile."""
        try:
            return _describe(self._source.open(name))
        except NotFoundError:
            return None
        except StorageError as error:
            _log.warning("%s can't be described", name, exc_info=error)
            return {"name": name, "error": str(error)}

    def _search(
        self,
        text: str,
        collection: str | None = None,
        mode: str | None = None,
        where: Mapping[str, Any] | None = None,
        limit: int = 5,
        offset: int = 0,
        max_chars: int = 6_000,
    ) -> Answer:
        opened = self._open_collection(collection)
        way: Any = mode or _mode_by_embedding(opened)
        result = opened.query(
            query_texts=text,
            n_results=limit + 1,  # one more, to see whether there are others
            offset=offset,
            where=where or None,
            mode=way,
        )
        if not result["ids"][0] and not offset:
            _refuse_unmatched(opened, where)
        none: Any = [None] * len(result["ids"][0])
        distances = (result["distances"] or [none])[0] or none
        hits = [
            {
                "id": record_id,
                "score": round(score, 4),
                "distance": round_score(distance),
                **content,
            }
            for record_id, score, distance, content in zip(
                result["ids"][0],
                result["scores"][0],
                distances,
                contents_of(result["documents"][0], result["metadatas"][0]),
                strict=True,
            )
        ]
        more = len(hits) > limit
        about = {"collection": opened.name, "mode": way, "more": more}
        summary = f"{count_in_words(min(len(hits), limit), 'hit')} in {opened.name} ({way})"
        if more:
            summary += f"; there are more: offset={offset + limit}"
        elif not hits:
            summary += f": {self._without_hits(opened, where, way, offset)}"
        return records_answer(summary, hits[:limit], max_chars, about)

    def _without_hits(
        self, opened: Collection, where: Mapping[str, Any] | None, way: str, offset: int
    ) -> str:
        """The reason why a search has no hits, and an alternative. way: the mode of the search."""
        matching = opened.count(where or None)
        if not matching and where:
            return "no record fulfils the filter; `collections` has example values"
        if not matching:
            return "the collection is empty"
        if offset:
            return f"offset {offset} is past the last of {count_in_words(matching, 'record')}"
        word = "a word of the text"
        lack = {"text": word, "hybrid": f"an embedding or {word}"}.get(way, "an embedding")
        return f"{count_in_words(matching, 'record')} could be found, and none has {lack}"

    def _get(
        self,
        collection: str | None = None,
        ids: list[str] | None = None,
        where: Mapping[str, Any] | None = None,
        limit: int = 5,
        offset: int = 0,
        max_chars: int = 6_000,
    ) -> Answer:
        opened = self._open_collection(collection)
        result = opened.get(ids=ids, where=where or None, limit=limit, offset=offset)
        known = _ids_of(opened, ids, None) if ids else []
        existing = _ids_of(opened, ids, where) if ids else []
        total = len(existing) if ids else opened.count(where or None)
        if not total and not ids:
            _refuse_unmatched(opened, where)
        contents = contents_of(result["documents"] or [], result["metadatas"] or [])
        records = [
            {"id": record_id, **content}
            for record_id, content in zip(result["ids"], contents, strict=True)
        ]
        summary = f"{len(records)} of {count_in_words(total, 'record')} in {opened.name}"
        if records and offset + len(records) < total:
            summary += f"; the next: offset={offset + len(records)}"
        missing, excluded = _without(ids or (), known), _without(known, existing)
        if missing:
            summary += f"; not there: {list_ids(missing)}"
        if excluded:
            summary += f"; excluded by the filter: {list_ids(excluded)}"
        about = {"collection": opened.name, "total": total, "missing": missing}
        return records_answer(summary, records, max_chars, about)

    def _why(
        self,
        text: str,
        ids: list[str],
        collection: str | None = None,
        where: Mapping[str, Any] | None = None,
        mode: str | None = None,
        limit: int = 5,
    ) -> Answer:
        opened = self._open_collection(collection)
        way: Any = mode or _mode_by_embedding(opened)
        known = _ids_of(opened, ids, None)
        missing = _without(ids, known)
        if not known:
            raise NotFoundError(
                f"{opened.name} has no records {list_ids(missing)}: find the right ids by "
                "`search`, or by `get` with a filter"
            )
        reasons = opened.why(
            query_texts=text,
            n_results=limit,
            where=where or None,
            mode=way,
            records=known,
        )
        data = [
            {
                "id": reason.id,
                "exists": reason.exists,
                "found": reason.found,
                "rank": reason.rank,
                "excluded_by": [
                    {"condition": each.condition, "met": each.met} for each in reason.excluded_by
                ],
                "missing_words": reason.missing_words,
                "advice": [as_arguments(each) for each in reason.advice],
            }
            for reason in reasons
        ]
        mark = secrets.token_hex(3)
        lines = [f"Why in {opened.name} ({way}). {explain_marks(mark)}"]
        lines.append(mark_lines(as_arguments(str(reasons)).splitlines(), mark))
        if missing:
            lines.append(
                f"Not there: {list_ids(missing)}. `get` with a filter finds the right ids."
            )
        data += [{"id": record_id, "exists": False, "found": False} for record_id in missing]
        return Answer("\n".join(lines), {"collection": opened.name, "reasons": data})

    # What writes

    def _add(
        self,
        documents: list[str],
        collection: str | None = None,
        ids: list[str] | None = None,
        metadatas: list[Any] | None = None,
        forget_after: str | None = None,
    ) -> Answer:
        check_counts(len(documents), documents=documents, ids=ids, metadatas=metadatas)
        about: dict[str, Any] = {WRITTEN: now_iso()}
        if forget_after is not None:
            about[FORGOTTEN] = forget_after
        record_ids = ids or [_id_of(document) for document in documents]
        records: dict[str, tuple[str, Any]] = {}  # the first of equal texts
        rows = zip(record_ids, documents, metadatas or [None] * len(documents), strict=True)
        for record_id, document, metadata in rows:
            written = with_time_to_forget({**(metadata or {}), **about})
            records.setdefault(record_id, (document, written))
        if ids and len(records) < len(ids):
            twice = [record_id for record_id, times in Counter(ids).items() if times > 1]
            raise InvalidArgumentError(f"ids has {list_ids(twice)} more than once")
        forgets = are_forgotten(metadata for _, metadata in records.values())
        opened = self._writable(collection, forgets)
        if forgets:
            check_forgets(opened)
        new = _add_new(opened, records)
        known = _without(record_ids, new)
        summary = f"{len(new)} added to {opened.name}"
        if new:
            summary += f": {list_ids([*new])}"
        if len(records) < len(record_ids):
            summary += (
                f"; {count_in_words(len(record_ids) - len(records), 'text')} given more than once"
            )
        if known:
            summary += (
                f"; already there, and left as they are (`update` changes them): {list_ids(known)}"
            )
        if any(len(document) > LONG for document in documents):
            summary += (
                f". Of a text of more than {LONG:,} characters the meaning of its beginning alone "
                "is searched for, though all of its words are found: add its passages instead"
            )
        return Answer(
            summary, {"collection": opened.name, "added": list(new), "already_there": known}
        )

    def _writable(self, name: str | None, forgets: bool) -> Collection:
        """The collection to which records are added; it is created if it does not exist."""
        if name is not None:
            return self._source.create(name, forgets)
        allowed = self._source.allowed_names()
        if len(allowed) == 1 or not (allowed or self._source.names()):
            return self._source.create(allowed[0] if allowed else NEW, forgets)
        return self._open_collection(None)

    def _update(
        self,
        ids: list[str],
        collection: str | None = None,
        documents: list[str] | None = None,
        metadatas: list[Any] | None = None,
    ) -> Answer:
        if documents is None and metadatas is None:
            raise InvalidArgumentError("nothing to update: give documents, metadatas or both")
        check_counts(len(ids), ids=ids, documents=documents, metadatas=metadatas)
        changed = (
            None
            if metadatas is None
            else [with_time_to_forget(metadata or {}) for metadata in metadatas]
        )
        opened = self._open_collection(collection)
        if changed is not None and are_forgotten(changed):
            check_forgets(opened)
        left_out = opened.update(ids, documents=documents, metadatas=changed)["left_out"]
        done = _without(ids, left_out)
        if left_out and not done:
            raise NotFoundError(f"{opened.name} has no records {list_ids(left_out)}: `add` them")
        summary = f"{len(done)} updated in {opened.name}"
        if left_out:
            summary += f"; not there: {list_ids(left_out)}"
        return Answer(summary, {"collection": opened.name, "updated": done, "missing": left_out})

    def _delete(
        self,
        collection: str | None = None,
        ids: list[str] | None = None,
        where: Mapping[str, Any] | None = None,
        expected: int | None = None,
    ) -> Answer:
        if (ids is None) == (not where):
            raise InvalidArgumentError("give either ids, or where with expected")
        opened = self._open_collection(collection)
        if ids is None:
            count = opened.count(where or None)
            if not count:
                _refuse_unmatched(opened, where)
            if expected != count:
                raise InvalidArgumentError(
                    f"the filter selects {count_in_words(count, 'record')} of {opened.name}, and "
                    f"expected is {expected}: look at what it selects by `get`, then give "
                    f"expected={count}"
                )
        most = expected if ids is None else None  # others may add some meanwhile
        deleted = opened.delete(ids=ids, where=where or None, limit=most)["deleted"]
        summary = f"{deleted} deleted from {opened.name}"
        return Answer(summary, {"collection": opened.name, "deleted": deleted})


# Ids and filters


def _id_of(document: str) -> str:
    """The id for a text that has none: a hash, so that equal texts have the same id."""
    return hashlib.sha256(document.strip().encode("utf-8", "replace")).hexdigest()[:24]


def _ids_of(collection: Collection, ids: list[str], where: Mapping[str, Any] | None) -> list[str]:
    """The ids whose records match a filter."""
    return collection.get(ids=ids, where=where or None, include=())["ids"]


def _without(ids: Sequence[str], others: Sequence[str]) -> list[str]:
    """The ids that are not among `others`, in order."""
    known = set(others)
    return [record_id for record_id in dict.fromkeys(ids) if record_id not in known]


def _add_new(collection: Collection, records: Mapping[str, tuple[str, Any]]) -> list[str]:
    """Add the records whose ids do not exist yet; returns the ids of added records. Other writers
    may add some of the records at the same time."""
    while True:
        existing = set(collection.get(ids=list(records), include=())["ids"])
        new = [record_id for record_id in records if record_id not in existing]
        if not new:
            return []
        documents, metadatas = zip(*(records[record_id] for record_id in new), strict=True)
        with suppress(IDAlreadyExistsError):
            collection.add(new, documents=list(documents), metadatas=list(metadatas))
            return new


def _refuse_unmatched(collection: Collection, where: Mapping[str, Any] | None) -> None:
    """Raise InvalidFilterError for the first condition of a filter that no record can match, even
    if the client is set to ignore such conditions."""
    for problem in collection.unknown_keys(where or None):
        raise InvalidFilterError(f"nothing matches: {problem}")


# Descriptions


def _mode_by_embedding(collection: Collection) -> Any:
    """The default mode of a search: "hybrid" if the collection can embed a text, otherwise
    "text"."""
    # Unlike the default in Python and on the command line, where a query without a model is an
    # error. An agent sends only a text, and should get the best available result.
    return "hybrid" if _embeds(collection) else "text"


def _embeds(collection: Collection) -> bool:
    try:
        return collection.embedding_function is not None
    except (RetrievalStoreError, ImportError):  # the stored function can't be built here
        return False


def _describe(collection: Collection) -> dict[str, Any]:
    """A collection's description."""
    sample = collection.sample(SAMPLE, include=("metadatas",))
    keys = _keys_of(sample["metadatas"] or ())
    description = {
        "name": collection.name,
        "records": max(len(sample["ids"]), collection.count()),  # others may write meanwhile
        "sampled": len(sample["ids"]),
        "modes": ["hybrid", "text", "dense"] if _embeds(collection) else ["text"],
        "metadata": collection.metadata,
        "keys": dict([*keys.items()][:KEYS]),
        "other_keys": [*keys][KEYS:][:MAX_OTHER_KEYS],
    }
    return {key: value for key, value in description.items() if value is not None}


def _keys_of(metadatas: Iterable[Mapping[str, Any] | None]) -> dict[str, dict[str, Any]]:
    """The metadata keys of sampled records, the most common keys first. Each key has the types of
    its values, the number of its distinct values, and the most frequent values."""
    records: Counter[str] = Counter()
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for metadata in metadatas:
        for key, value in _flat(show_metadata(metadata) or {}):
            records[key] += 1
            kinds = counts.setdefault(key, {}).setdefault(_kind_of(value), {})
            for element in value if isinstance(value, list) else [value]:
                shown = _as_json(element)
                kinds[shown] = kinds.get(shown, 0) + 1
    return {
        key: {
            "type": " or ".join(sorted(kinds)),
            "values": sum(map(len, kinds.values())),
            "examples": [
                cut_text(shown, LONGEST_EXAMPLE)
                for values in kinds.values()
                for shown in sorted(values, key=values.__getitem__, reverse=True)[:EXAMPLES]
            ][:EXAMPLES],
        }
        for key, kinds in sorted(counts.items(), key=lambda item: -records[item[0]])
    }


def _flat(metadata: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values in metadata, with their paths. above: the path of the metadata itself."""
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _kind_of(value: Any) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "number"
        case list():
            return "list"
        case None:
            return "null"
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return "string"
    return "date"
