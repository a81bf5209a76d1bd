"""JSON made wrong at random: what a body must never be, and what it may just be."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

Place = tuple[Any, Any]  # a list or an object, and an index or a key in it
DEEPEST = 2000
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
RAW = (  # texts for a number
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" * 5000, "0." + "1" * 5000, "01", "+1"),
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', "'x'", "1_000", "0x1", "tru", ""),
    *("[" * DEEPEST + "]" * DEEPEST, '{"a":' * DEEPEST + "1" + "}" * DEEPEST),
    *('{"must":' * DEEPEST + "[]" + "}" * DEEPEST, '{"a": 1, "a": 2}'),
)
MARK = "~ here ~"


def mutated(body: Any, draw: random.Random) -> bytes:
    """The text of a body in which one to three things are otherwise."""
    body = copy.deepcopy(body)
    holder = [body]
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        place = draw.choice(list(_places(holder)))
        draw.choice(CHANGES)(holder, place, draw)
    text = json.dumps(holder[0])
    return text.replace(f'"{MARK}"', draw.choice(RAW)).encode()


def _places(value: Any) -> Iterator[Place]:
    """Where anything stands in it, at most some of the numbers of a vector."""
    keys = list(value) if isinstance(value, dict) else range(min(len(value), 12))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _dropped(holder: Any, place: Place, draw: random.Random) -> None:
    within, key = place
    if within is not holder:
        del within[key]


def _other(holder: Any, place: Place, draw: random.Random) -> None:
    within, key = place
    within[key] = copy.deepcopy(draw.choice((*NUMBERS, *TEXTS, *OTHERS)))


def _raw(holder: Any, place: Place, draw: random.Random) -> None:
    within, key = place
    within[key] = MARK


def _moved(holder: Any, place: Place, draw: random.Random) -> None:
    """What stands elsewhere in the body."""
    within, key = place
    there, other = draw.choice(list(_places(holder)))
    within[key] = copy.deepcopy(there[other])


def _respelled(holder: Any, place: Place, draw: random.Random) -> None:
    within, key = place
    if isinstance(within, dict):
        within[draw.choice((key[:-1], key + "s", key.upper(), "", draw.choice(TEXTS)))] = (
            within.pop(key)
        )


def _wrapped(holder: Any, place: Place, draw: random.Random) -> None:
    within, key = place
    times = draw.choice((1, 1, 2, 60))
    for _ in range(times):
        within[key] = [within[key]]


def _within_itself(holder: Any, place: Place, draw: random.Random) -> None:
    """An object in an object of its kind, many times."""
    within, key = place
    if isinstance(within, dict):
        for _ in range(draw.choice((1, 10, 60))):
            within[key] = {key: within[key]}


def _repeated(holder: Any, place: Place, draw: random.Random) -> None:
    within, key = place
    if isinstance(within[key], list):
        within[key] = copy.deepcopy(within[key] * draw.choice((0, 2, 2, 50)))


def _nudged(holder: Any, place: Place, draw: random.Random) -> None:
    within, key = place
    if isinstance(within[key], int | float):
        within[key] = draw.choice(
            (-within[key], within[key] + 1, within[key] * 1.5, str(within[key]))
        )


CHANGES = (
    *(_dropped, _dropped, _other, _other, _other, _raw, _moved, _moved, _respelled, _wrapped),
    *(_within_itself, _repeated, _nudged),
)
