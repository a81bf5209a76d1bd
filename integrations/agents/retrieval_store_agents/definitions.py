"""The tools as a model sees them: names, descriptions, and the schemas of their arguments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
MAX_LIMIT = 50
FORGOTTEN = "forget_after"  # metadata, and the argument that sets it


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, as it is described to a model. arguments: JSON schemas by name; required: the
    mandatory arguments; writes: whether the tool changes the store; destroys: whether it deletes
    data."""

    name: str
    description: str
    arguments: Mapping[str, Schema]
    required: tuple[str, ...] = ()
    writes: bool = False
    destroys: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of all arguments."""
        return {
            "type": "object",
            "properties": dict(self.arguments),
            "required": list(self.required),
            "additionalProperties": False,
        }


def _string(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _integer(description: str, least: int, most: int, **more: Any) -> Schema:
    bounds = {"minimum": least, "maximum": most}
    return {"type": "integer", "description": description, **bounds, **more}


def _list(kind: str, description: str) -> Schema:
    return {"type": "array", "items": {"type": kind}, "minItems": 1, "description": description}


COLLECTION = _string("A name that `collections` lists; may be left out if it is the only one.")
WHERE: Schema = {
    "type": "object",
    "description": "A filter of metadata; `search` has its grammar.",
    "examples": [{"year": {"$gte": 2020}}],
}
IDS = _list("string", "Ids of records.")
METADATAS = _list("object", "JSON metadata of each.")
LIMIT = _integer("Records to return.", 1, MAX_LIMIT, default=5)
OFFSET = _integer("Records to skip, for the next page.", 0, 10_000, default=0)
MAX_CHARS = _integer("Characters of all documents together.", 100, 1_000_000, default=6_000)
MODE = _string(
    "hybrid: by meaning and words (usual). text: by words, for names and codes. dense: by meaning.",
    enum=["hybrid", "text", "dense"],
)
TOOLS = (
    Tool(
        "collections",
        "What the store holds: its collections, how many records each has, how it can be searched, "
        "and metadata keys with types and example values. Call it first, to write filters.",
        {},
    ),
    Tool(
        "search",
        "Find the records of a collection that answer a question, best first. Filters are exact: "
        'every hit fulfils `where`, e.g. {"year": {"$gte": 2020}, "lang": "en"} (both hold). '
        "Operators: $eq $ne $gt $gte $lt $lte (numbers, ISO dates), $in $nin (a list), $contains "
        '(a part of a string, or an element of a list), $prefix, $regex ({"path": {"$regex": '
        '"pdf$"}}), $exists (true or false). A key may be a path, "author.name". Combine by '
        '{"$and": [..]}, {"$or": [..]}, {"$not": {..}}. If what you expect is missing, ask `why`.',
        {
            "collection": COLLECTION,
            "text": _string("What to look for: a question, or words.", minLength=1),
            "mode": MODE,
            "where": {**WHERE, "description": "Only records whose metadata fulfil this filter."},
            "limit": LIMIT,
            "offset": OFFSET,
            "max_chars": MAX_CHARS,
        },
        ("text",),
    ),
    Tool(
        "get",
        "Read records by their ids, or those that a filter selects, in the order in which they "
        "were added; without either the first ones. It says how many there are.",
        {
            "collection": COLLECTION,
            "ids": IDS,
            "where": WHERE,
            "limit": LIMIT,
            "offset": OFFSET,
            "max_chars": MAX_CHARS,
        },
    ),
    Tool(
        "why",
        "Why `search` finds a record or doesn't: its exact rank, the condition that excludes it, "
        "the words that it shares with the text or lacks, and what to change.",
        {
            "collection": COLLECTION,
            "text": _string("The text of the search.", minLength=1),
            "ids": {**IDS, "description": "Ids of the records that you expected."},
            "where": {**WHERE, "description": "The filter of the search."},
            "mode": MODE,
            "limit": LIMIT,
        },
        ("text", "ids"),
    ),
    Tool(
        "add",
        "Store texts, to be found by `search` later; also as a memory across conversations. A text "
        "that is there already isn't stored twice. When it was written is stored with it.",
        {
            "collection": {**COLLECTION, "description": "Where to; made if it doesn't exist."},
            "documents": _list("string", "The texts."),
            "ids": {**IDS, "description": "An id for each; without them they are made."},
            "metadatas": METADATAS,
            FORGOTTEN: _string("An ISO date or time after which they are neither found nor kept."),
        },
        ("documents",),
        writes=True,
    ),
    Tool(
        "update",
        "Replace documents, or change metadata, of records that exist. Keys that aren't given "
        "stay; a key with null goes.",
        {
            "collection": COLLECTION,
            "ids": IDS,
            "documents": _list("string", "The new text of each."),
            "metadatas": METADATAS,
        },
        ("ids",),
        writes=True,
        destroys=True,
    ),
    Tool(
        "delete",
        "Delete records, by ids or by a filter. By a filter only if `expected` is the number of "
        "records that `get` says it selects.",
        {
            "collection": COLLECTION,
            "ids": IDS,
            "where": WHERE,
            "expected": _integer("How many records the filter selects.", 0, 10**9),
        },
        writes=True,
        destroys=True,
    ),
)
