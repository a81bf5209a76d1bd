"""A real server's recorded responses: read, replayed on another client, and compared."""

import gzip
import json
import math
from collections.abc import Iterator
from typing import Any

from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.helpers import ROOT

RECORDED = ROOT / "tests" / "data" / "qdrant_answers"
RECORDINGS = ("a", "b", "c", "d", "e", "f")
LIKE = 1e-3  # of numbers that aren't integers, relatively
# Of the calls of a recording, and of each of its parts. In `e`, vectors are deleted and written
# again: then a server's sparse index finds points by what they had, and four answers are of that.
AGREEING = {**dict.fromkeys(RECORDINGS, 0.995), "e": 0.993}
AGREEING_IN_EACH = 0.98
NOT_COMPARED = {
    "operation_id",
    "optimizer_status",
    "segments_count",
    "status",
    "time",
    "version",
    "warnings",
}


def revived(value: Any) -> Any:
    """The arguments of a call."""
    match value:
        case {"~": name, "v": fields}:
            return getattr(models, name).model_validate(fields)
        case {"~e": member}:
            kind, _, name = member.partition(".")
            return getattr(models, kind)[name]
        case dict():
            return {key: revived(one) for key, one in value.items()}
        case list():
            return [revived(one) for one in value]
    return value


def plain(answer: Any) -> Any:
    """A response as JSON."""
    if hasattr(answer, "model_dump"):
        return answer.model_dump(mode="json", exclude_none=True, by_alias=True)
    if isinstance(answer, list | tuple):
        return [plain(one) for one in answer]
    return answer


def agree(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        names = {*one, *other} - NOT_COMPARED
        return all(n in one and n in other and agree(one[n], other[n]) for n in names)
    if isinstance(one, list) and isinstance(other, list):
        if len(one) == len(other) and all(is_hit(hit) for hit in one + other):
            return same_hits(one, other)
        if len(one) == len(other) and all(is_group(group) for group in one + other):
            return same_groups(one, other)
        return len(one) == len(other) and all(map(agree, one, other))
    if isinstance(one, float) or (isinstance(other, float) and isinstance(one, int)):
        return isinstance(other, int | float) and math.isclose(one, other, rel_tol=LIKE)
    return type(one) is type(other) and one == other


def is_hit(value: Any) -> bool:
    return isinstance(value, dict) and "id" in value and bool({"score", "order_value"} & {*value})


def rank(hit: Any) -> Any:
    return hit.get("order_value", hit.get("score"))


def same_hits(some: list[Any], others: list[Any]) -> bool:
    """Compares rank by rank, in any order among equal scores. Hits with the first or the last score
    may differ, since not all of them were requested."""
    if not all(agree(rank(one), rank(other)) for one, other in zip(some, others, strict=True)):
        return False
    return all(
        any(agree(one, hit) for one in some if one["id"] == hit["id"])
        or any(agree(rank(hit), rank(end)) for end in (others[0], others[-1]))
        for hit in others
    )


def is_group(value: Any) -> bool:
    return isinstance(value, dict) and {"id", "hits"} <= {*value} and bool(value["hits"])


def same_groups(some: list[Any], others: list[Any]) -> bool:
    """Compares rank by rank, in any order among groups with equal best hits. A point is the best of
    each of its groups, and a server changes their order at each start."""

    def best(group: Any) -> Any:
        return rank(group["hits"][0])

    if not all(agree(best(one), best(other)) for one, other in zip(some, others, strict=True)):
        return False
    return all(
        any(agree(one, group) for one in some if one["id"] == group["id"])
        or agree(best(group), best(others[-1]))
        for group in others
    )


def answered(client: Any, call: Any) -> dict[str, Any]:
    try:
        return {"answer": plain(getattr(client, call["call"])(**revived(call["args"])))}
    except UnexpectedResponse as error:
        return {"error": {"status": error.status_code}}


def calls_of(recording: str) -> Iterator[tuple[int, Any]]:
    """All supported calls of a recording, with their line."""
    with gzip.open(RECORDED / f"{recording}.jsonl.gz", "rt") as lines:
        calls = [(i, json.loads(line)) for i, line in enumerate(lines, 1)]
    return ((i, call) for i, call in calls if "client" not in call.get("error", ()))


def agrees(got: Any, call: Any) -> bool:
    """Whether a response equals the recorded one."""
    expected = {key: call[key] for key in ("answer", "error") if key in call}
    return bool(got == expected if "error" in got else agree(got, expected))


def assert_agreeing(recording: str, calls: list[tuple[int, Any, bool]]) -> None:
    """Assert that enough calls of a recording agree, in total and for each part. calls: each with
    its line, and whether its response agreed."""
    for part in {call["part"] for _, call, _ in calls}:
        different = [i for i, call, same in calls if call["part"] == part and not same]
        count = sum(call["part"] == part for _, call, _ in calls)
        assert count - len(different) >= AGREEING_IN_EACH * count, f"{part}: lines {different}"
    different = [i for i, _, same in calls if not same]
    least = AGREEING[recording] * len(calls)
    assert len(calls) - len(different) >= least, f"lines {different}"
