"""Response models that are built without validation equal validated ones."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from pydantic import BaseModel

from retrieval_store.qdrant import QdrantClient, models
from retrieval_store.qdrant.read import make_model

POINT = {
    "id": 7,
    "version": 3,
    "score": 0.5,
    "payload": {"a": [1, {"b": None}]},
    "vector": {"dense": [1.0, 2.0], "words": models.SparseVector(indices=[1], values=[2.0])},
    "shard_key": None,
    "order_value": None,
}
RECORD = {name: POINT[name] for name in ("id", "payload", "vector", "shard_key", "order_value")}
CASES = [
    (models.ScoredPoint, POINT),
    (models.Record, RECORD),
    (models.Record, {**RECORD, "id": "a", "payload": None, "vector": None, "order_value": 1.5}),
    (models.UpdateResult, {"operation_id": 5, "status": models.UpdateStatus.COMPLETED}),
    (models.CountResult, {"count": 3}),
]
FLAGS = ("by_alias", "exclude_unset", "exclude_defaults", "exclude_none")


def both(kind, values):
    """One instance built without validation, and one validated, each from its own values."""
    return make_model(kind, copy.deepcopy(values)), kind(**copy.deepcopy(values))


@pytest.fixture(params=CASES, ids=lambda case: case[0].__name__)
def pair(request):
    return both(*request.param)


def test_it_equals_a_validated_one_and_prints_so(pair):
    ours, validated = pair
    assert ours == validated
    assert validated == ours
    assert type(ours) is type(validated)
    assert repr(ours) == repr(validated)
    assert str(ours) == str(validated)
    assert list(ours) == list(validated)
    assert ours.model_fields_set == validated.model_fields_set
    assert ours.model_extra == validated.model_extra


def test_it_differs_from_one_with_other_values(pair):
    ours, _ = pair
    first = next(iter(type(ours).model_fields))
    assert ours != ours.model_copy(update={first: "another"})


@pytest.mark.parametrize("flags", list(itertools.product([False, True], repeat=len(FLAGS))))
def test_it_is_dumped_like_a_validated_one(pair, flags):
    ours, validated = pair
    options = dict(zip(FLAGS, flags, strict=True))
    for mode in ("python", "json"):
        dumped = ours.model_dump(mode=mode, **options)
        assert dumped == validated.model_dump(mode=mode, **options)
        assert [*dumped] == [*validated.model_dump(mode=mode, **options)]  # in the same order
    assert ours.model_dump_json(**options) == validated.model_dump_json(**options)
    assert ours.model_dump(include={"id"}) == validated.model_dump(include={"id"})


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda one: one.model_copy(),
        lambda one: one.model_copy(deep=True),
        *[
            lambda one, protocol=protocol: pickle.loads(pickle.dumps(one, protocol))
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
        ],
    ],
)
def test_it_is_copied_and_pickled_like_a_validated_one(pair, copied):
    ours, validated = pair
    again = copied(ours)
    assert again == ours == copied(validated)
    assert repr(again) == repr(copied(validated))
    assert again.model_fields_set == validated.model_fields_set
    assert again.model_fields_set is not ours.model_fields_set


def test_it_can_be_changed_like_a_validated_one():
    ours, validated = both(models.ScoredPoint, POINT)
    other = make_model(models.ScoredPoint, dict(POINT))
    for one in (ours, validated):
        one.score = 2.0
        with pytest.raises(ValueError, match="unheard"):
            one.unheard = 1
        with pytest.raises(AttributeError):
            _ = one.unheard
    assert ours == validated
    assert other.score == POINT["score"]


def walked(value):
    """All models in a response."""
    if isinstance(value, BaseModel):
        yield value
        for _, one in value:
            yield from walked(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from walked(one)


@pytest.fixture
def client():
    with QdrantClient(":memory:") as client:
        client.create_collection(
            "things",
            {"": models.VectorParams(size=2, distance="Cosine")},
            sparse_vectors_config={"words": models.SparseVectorParams()},
        )
        client.create_payload_index("things", "n", "integer")
        client.upsert(
            "things",
            [
                models.PointStruct(
                    id=i if i % 2 else f"00000000-0000-0000-0000-{i:012}",
                    vector={"": [1.0, i], "words": models.SparseVector(indices=[i], values=[1.0])},
                    payload={"n": i, "document": "a text"} if i % 3 else {},
                )
                for i in range(6)
            ],
        )
        yield client


ANSWERS = {
    "query_points": lambda c: c.query_points("things", [1.0, 0.0], with_vectors=True),
    "without anything": lambda c: c.query_points("things", [1.0, 0.0], with_payload=False),
    "array": lambda c: c.query_points("things", np.array([1.0, 0.0])),
    "ordered": lambda c: c.query_points(
        "things", models.OrderByQuery(order_by="n"), with_vectors=[""]
    ),
    "query_batch_points": lambda c: c.query_batch_points(
        "things", [models.QueryRequest(query=[1.0, 0.0], with_payload=["n"])]
    ),
    "query_points_groups": lambda c: c.query_points_groups("things", "n", [1.0, 0.0]),
    "retrieve": lambda c: c.retrieve("things", [1, 3], with_vectors=True),
    "scroll": lambda c: c.scroll("things"),
    "ordered scroll": lambda c: c.scroll("things", order_by="n"),
    "count": lambda c: c.count("things"),
    "upsert": lambda c: c.upsert("things", [models.PointStruct(id=1, vector={})]),
    "set_payload": lambda c: c.set_payload("things", {"a": 1}, points=[1]),
}


@pytest.mark.parametrize("ask", ANSWERS.values(), ids=ANSWERS)
def test_answers_are_what_validation_makes_of_them(client, ask):
    found = [*walked(ask(client))]
    assert found
    for one in found:
        validated = type(one).model_validate(one.model_dump())
        assert one == validated
        assert repr(one) == repr(validated)
        assert [*vars(one)] == [*type(one).model_fields]  # all fields, in their order
        assert one.model_fields_set == {*type(one).model_fields}
