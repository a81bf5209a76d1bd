"""Filters of every kind, for the keys that all shapes with keys have, and for shapes with all
keys."""

from tests.rehearsal.shapes import Shape
from tests.rehearsal.truth import Where

WHERES: dict[str, Where] = {
    "one string": {"topic": "rivers"},
    "a rare string": {"topic": "tea"},
    "not a string": {"topic": {"$ne": "rivers"}},
    "one of": {"year": {"$in": [1999, 2005, 2020]}},
    "one of, as floats": {"year": {"$in": [1999, 2005.0, 2020.5]}},
    "none of": {"year": {"$nin": [1999, 2005]}},
    "a range": {"price": {"$gte": 10, "$lt": 11.5}},
    "half": {"price": {"$gt": 34.66}},
    "none": {"price": {"$lt": 0}},
    "all": {"price": {"$gte": 0}},
    "moments": {"day": {"$gte": "2023-01-01", "$lt": "2023-02-01T00:00:00Z"}},
    "a prefix": {"day": {"$prefix": "2022-1"}},
    "a pattern": {"topic": {"$regex": "^(b|g).*s$"}},
    "not a pattern": {"topic": {"$not_regex": "e"}},
    "in a list": {"tags": {"$contains": "secret"}},
    "not in a list": {"tags": {"$not_contains": "old"}},
    "length": {"tags": {"$size": 2}},
    "empty": {"tags": {"$exists": False}},
    "both": {"$and": [{"topic": "birds"}, {"year": {"$gt": 2010}}]},
    "either": {"$or": [{"topic": "law"}, {"tags": {"$contains": "draft"}}]},
    "neither": {"$nor": [{"topic": "law"}, {"price": {"$lt": 50}}]},
    "not": {"$not": {"year": {"$gte": 2000}}},
    "no such key": {"nowhere": 1},
}
ALL_KEYS: dict[str, Where] = {
    "one of many": {"owner": "user 7"},
    "some of many": {"owner": {"$in": [f"user {i}" for i in range(0, 400, 3)]}},
    "nested": {"source.page": {"$lte": 20}},
    "nested string": {"source.lang": "de"},
    "mixed kinds": {"note": {"$lt": 500}},
    "mixed strings": {"note": {"$prefix": "note 1"}},
    "a bool": {"note": True},
    "there": {"note": {"$exists": True}},
}


def wheres(shape: Shape) -> dict[str, Where]:
    return {**WHERES, **(ALL_KEYS if "all keys" in shape.kinds else {})}


# Of documents; the last are words that stand in few and in many of them.
DOCUMENTS: dict[str, Where] = {
    "contains": {"$contains": "interpreter"},
    "a phrase": {"$contains": "of the"},
    "one document": {"$contains": "reference000123"},
    "not": {"$not_contains": "function"},
    "a pattern": {"$regex": r"reference0001\d7"},
    "both": {"$and": [{"$contains": "module"}, {"$not_contains": "class"}]},
    "either": {"$or": [{"$contains": "socket"}, {"$contains": "decimal"}]},
}
