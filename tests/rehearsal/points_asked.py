"""Conditions of every kind in QdrantClient's filters, each with its meaning in Python."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from qdrant_client import models

from tests.rehearsal.points_truth import Id, Points, uid

Holds = Callable[[Id, dict[str, Any]], bool]
Asked = dict[str, tuple[models.Filter, Holds]]


def when(key: str, **named: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, **named)


def equals(key: str, value: Any) -> models.FieldCondition:
    return when(key, match=models.MatchValue(value=value))


def within(key: str, **bounds: Any) -> models.FieldCondition:
    return when(key, range=models.Range(**bounds))


def text(key: str, words: str) -> models.FieldCondition:
    return when(key, match=models.MatchText(text=words))


def must(*conditions: Any) -> models.Filter:
    return models.Filter(must=list(conditions))


def must_not(*conditions: Any) -> models.Filter:
    return models.Filter(must_not=list(conditions))


def should(*conditions: Any) -> models.Filter:
    return models.Filter(should=list(conditions))


def third(size: int, which: int) -> tuple[models.Filter, Holds]:
    """One of three thirds of the points, by number."""
    low, high = which * size // 3, (which + 1) * size // 3
    return must(within("n", gte=low, lt=high)), lambda one, own: low <= own.get("n", -1) < high


def moment(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


MAY, JUNE = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 6, 1, 12, 30, tzinfo=UTC)
SEVENTH = uid(7)
CENTRE, RADIUS = {"lon": 3.0, "lat": 4.0}, 700_000.0


def metres(one: dict[str, float], two: dict[str, float]) -> float:
    """The distance in metres by the haversine formula."""
    lat, lat2 = math.radians(one["lat"]), math.radians(two["lat"])
    lon = math.radians(two["lon"] - one["lon"])
    inner = math.sin((lat2 - lat) / 2) ** 2
    inner += math.cos(lat) * math.cos(lat2) * math.sin(lon / 2) ** 2
    return 2 * 6_371_008.8 * math.asin(math.sqrt(inner))


def inside(point: dict[str, float]) -> bool:
    """Whether a point is inside the box, without its edges."""
    return -5 < point["lon"] < 10 and -8 < point["lat"] < 6


BOX = models.GeoBoundingBox(
    top_left=models.GeoPoint(lon=-5, lat=6), bottom_right=models.GeoPoint(lon=10, lat=-8)
)
GERMAN = models.Filter(must=[equals("lang", "de"), within("page", lt=100)])
THREE = [equals("flag", True), within("weight", gt=60), within("bucket", lt=20)]


def fulfilled(own: dict[str, Any]) -> int:
    return own["flag"] + (own["weight"] > 60) + (own["bucket"] < 20)


# For all shapes.
CONDITIONS: Asked = {
    "all": (models.Filter(), lambda one, own: True),
    "an integer": (must(equals("bucket", 7)), lambda one, own: own["bucket"] == 7),
    "a bool": (must(equals("flag", True)), lambda one, own: own["flag"]),
    "a uuid": (
        must(equals("uid", SEVENTH)),
        lambda one, own: own["uid"] == SEVENTH,
    ),
    "any integer": (
        must(when("bucket", match=models.MatchAny(any=[1, 2, 49, 77]))),
        lambda one, own: own["bucket"] in (1, 2, 49),
    ),
    "a range": (
        must(within("weight", gte=10, lt=11.5)),
        lambda one, own: 10 <= own["weight"] < 11.5,
    ),
    "moments": (
        must(when("when", range=models.DatetimeRange(gte=MAY, lt=JUNE))),
        lambda one, own: MAY <= moment(own["when"]) < JUNE,
    ),
    "empty": (
        must(models.IsEmptyCondition(is_empty=models.PayloadField(key="maybe"))),
        lambda one, own: own.get("maybe") in (None, []),
    ),
    "null": (
        must(models.IsNullCondition(is_null=models.PayloadField(key="maybe"))),
        lambda one, own: own.get("maybe", 0) is None,
    ),
    "counts": (
        must(when("parts", values_count=models.ValuesCount(gte=2))),
        lambda one, own: len(own["parts"]) >= 2,
    ),
    "each of a list": (
        must(within("parts[].page", lt=20)),
        lambda one, own: any(part["page"] < 20 for part in own["parts"]),
    ),
    "nested": (
        must(models.NestedCondition(nested=models.Nested(key="parts", filter=GERMAN))),
        lambda one, own: any(p["lang"] == "de" and p["page"] < 100 for p in own["parts"]),
    ),
    "box": (must(when("at", geo_bounding_box=BOX)), lambda one, own: inside(own["at"])),
    "circle": (
        must(
            when("at", geo_radius=models.GeoRadius(center=models.GeoPoint(**CENTRE), radius=RADIUS))
        ),
        lambda one, own: metres(own["at"], CENTRE) <= RADIUS,
    ),
    "two of three": (
        models.Filter(min_should=models.MinShould(conditions=THREE, min_count=2)),
        lambda one, own: fulfilled(own) >= 2,
    ),
    "none of three": (must_not(*THREE), lambda one, own: fulfilled(own) == 0),
    "any of three": (should(*THREE), lambda one, own: fulfilled(own) > 0),
    "of all kinds": (
        models.Filter(must=THREE[:1], should=THREE[1:], must_not=[within("n", lt=500)]),
        lambda one, own: (
            own["flag"] and (own["weight"] > 60 or own["bucket"] < 20) and own["n"] >= 500
        ),
    ),
    "a filter in a filter": (
        must_not(must(THREE[0], should(*THREE[1:]))),
        lambda one, own: not (own["flag"] and (own["weight"] > 60 or own["bucket"] < 20)),
    ),
    "a vector": (must(models.HasVectorCondition(has_vector="words")), lambda one, own: True),
    "no such key": (must(equals("nowhere", 1)), lambda one, own: False),
}
# For shapes with keys.
KEYED: Asked = {
    "a string": (must(equals("topic", "rivers")), lambda one, own: own["topic"] == "rivers"),
    "any string": (
        must(when("topic", match=models.MatchAny(any=["tea", "glass", "none"]))),
        lambda one, own: own["topic"] in ("tea", "glass"),
    ),
    "no string of": (
        must(when("topic", match=models.MatchExcept(**{"except": ["rivers", "engines"]}))),
        lambda one, own: own["topic"] not in ("rivers", "engines"),
    ),
    "in a list": (must(equals("tags", "secret")), lambda one, own: "secret" in own["tags"]),
    "not in a list": (must_not(equals("tags", "old")), lambda one, own: "old" not in own["tags"]),
    "of a list not one": (
        must(when("tags", match=models.MatchExcept(**{"except": ["old", "new"]}))),
        lambda one, own: any(tag not in ("old", "new") for tag in own["tags"]),
    ),
    "an empty list": (
        must(models.IsEmptyCondition(is_empty=models.PayloadField(key="tags"))),
        lambda one, own: not own["tags"],
    ),
    "a length": (
        must(when("tags", values_count=models.ValuesCount(gt=1, lte=2))),
        lambda one, own: len(own["tags"]) == 2,
    ),
    "years": (must(within("year", gt=2010)), lambda one, own: own["year"] > 2010),
    "days": (
        must(when("day", range=models.DatetimeRange(gte=datetime(2023, 1, 1, tzinfo=UTC)))),
        lambda one, own: own["day"] >= "2023-01-01",
    ),
}
# Texts are compared as strings where no index splits them.
UNSPLIT: Asked = {
    "a text": (must(text("label", "old new")), lambda one, own: "old new" in own["label"]),
    "part of a word": (must(text("label", "inal")), lambda one, own: "final" in own["label"]),
}
SPLIT: Asked = {
    "words": (
        must(text("label", "old new")),
        lambda one, own: {"old", "new"} <= set(own["label"].split()),
    ),
    "any word": (
        must(when("label", match=models.MatchTextAny(text_any="draft secret"))),
        lambda one, own: not {"draft", "secret"}.isdisjoint(own["label"].split()),
    ),
    "a phrase": (
        must(when("label", match=models.MatchPhrase(phrase="old new"))),
        lambda one, own: "old new" in own["label"],
    ),
}
LONG: Asked = {
    "words of long texts": (
        must(text("text", "socket timeout")),
        lambda one, own: {"socket", "timeout"} <= split(own["text"]),
    ),
    "a rare word": (
        must(text("text", "reference000123")),
        lambda one, own: "reference000123" in split(own["text"]),
    ),
}


def split(words: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", words.lower()))


def asked_of(kinds: frozenset[str], truth: Points) -> Asked:
    """All conditions that don't depend on a text index."""
    some = truth.ids[:: max(1, len(truth) // 100)]
    among, inside = models.HasIdCondition(has_id=[*some, 2**40]), set(some)
    given: Asked = {
        "ids": (must(among), lambda one, own: one in inside),
        "other ids": (must_not(among), lambda one, own: one not in inside),
        "a third": third(len(truth), 1),
    }
    return {**CONDITIONS, **(KEYED if "keys" in kinds else {}), **given}
