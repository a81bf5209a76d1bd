"""Random JSON from a JSON schema: mostly valid, and with existing names; sometimes neither."""

import copy
import random
from typing import Any

NUMBERS = (
    *(0, -1, 1, 2, 255, 256, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64),
    *(-(2**63), 10**30, -0.0, 0.5, 1e-320, 1e39, -1e39, 1e308, 1.5e9),
)
TEXTS = (
    *("", " ", "\0", "a" * 100_000, "ü", "😀", "1", "-1", "1.0", "null", "*", "[]", "a[]", "a.b"),
    *("a[0].b[]", '"', '"a.b"', "[", "..", "2024-13-45", "9999-12-31T23:59:59Z", "0001-01-01"),
    *("5c56c793-69f3-4fbf-87e6-c4bf54c28c26", "5C56C79369F34FBF87E6C4BF54C28C26", "dense"),
    *("Cosine", "keyword", "qdrant/bm25", "random", "rrf", "\ud800"),
)
OTHERS = (None, True, False, [], {}, [[]], [None], {"": None}, [{}], [0.0], {"a": 1})
DEEPEST = 6
VECTORS, KEYS = ("d", "m", "s", "", "x"), ("n", "t", "l[].x", "l", "at", "missing", "")
NAMED = {  # texts at paths whose names describe them
    "using": VECTORS,
    "key": KEYS,
    "group_by": KEYS,
    "field_name": KEYS,
    "collection": ("c", "none"),
    "collection_name": ("c", "new", "none"),
    "alias_name": ("c", "alias", "other"),
    "model": ("qdrant/bm25", "wordllama", "none"),
    "location": ("none.snapshot", "file:///etc/passwd", "http://127.0.0.1:1/a", "/etc"),
}
SMALL = (0, 1, 1, 2, 2, 3, 5, 10)
WILD = 0.02  # share of values that are of no form


def drawn(schema: Any, definitions: Any, draw: random.Random, at: str = "", depth: int = 0) -> Any:
    """A value. at: the name of its field."""
    if draw.random() < WILD:
        return copy.deepcopy(draw.choice((*NUMBERS, *TEXTS, *OTHERS)))
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return drawn(_member(schema["anyOf"], draw, depth), definitions, draw, at, depth)
    if "enum" in schema or "const" in schema:
        return draw.choice(schema.get("enum") or [schema["const"]])
    match schema.get("type"):
        case "object":
            return _object(schema, definitions, draw, depth)
        case "array":
            length = draw.choice((0, 1, 2, 2, 2, 3))
            return [drawn(schema["items"], definitions, draw, at, depth + 1) for _ in range(length)]
        case "string":
            return draw.choice(NAMED.get(at) or (*KEYS, *TEXTS))
        case "integer":
            return draw.choice(SMALL) if draw.random() < 0.8 else draw.choice(NUMBERS)
        case "number":
            return draw.choice((0.0, 0.5, 1.0, -1.0, 2.5, draw.choice(NUMBERS)))
        case "boolean":
            return draw.random() < 0.5
        case "null":
            return None
    return copy.deepcopy(draw.choice((1, "a", None, [1, {"x": 2}], {"n": 3}, *OTHERS)))


def _member(members: Any, draw: random.Random, depth: int) -> Any:
    """A member of a union: at great depth one that isn't nested, if there is one."""
    flat = [one for one in members if "$ref" not in one and one.get("type") != "array"]
    return draw.choice(flat if flat and depth > DEEPEST else members)


def _object(schema: Any, definitions: Any, draw: random.Random, depth: int) -> Any:
    required = schema.get("required", ())
    properties = schema.get("properties", {})
    share = 0.4 if depth < 2 else 0.2
    found = {
        name: drawn(one, definitions, draw, name, depth + 1)
        for name, one in properties.items()
        if draw.random() < (0.98 if name in required else share)
    }
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        names = draw.sample((*VECTORS, *KEYS), draw.choice((0, 1, 2)))
        found |= {name: drawn(others, definitions, draw, name, depth + 1) for name in names}
    return found
