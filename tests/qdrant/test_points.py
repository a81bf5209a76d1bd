"""Points as users write and read them: every method, in memory and on disk."""

import uuid
from contextlib import closing
from datetime import UTC, datetime

import numpy as np
import pytest

from retrieval_store.qdrant import QdrantClient, Refused, models
from tests.qdrant.edge import Edge

A, B = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"
LARGEST = 2**64 - 1
EVERYTHING = {"limit": 1000, "with_vectors": True}


@pytest.fixture
def qdrant(embedded):
    embedded.create_collection(
        "things",
        {
            "a": models.VectorParams(size=2, distance=models.Distance.DOT),
            "m": models.VectorParams(
                size=2,
                distance=models.Distance.DOT,
                multivector_config=models.MultiVectorConfig(comparator="max_sim"),
            ),
        },
        sparse_vectors_config={"s": models.SparseVectorParams()},
    )
    return embedded


def point(point_id, payload=None, **vectors):
    return models.PointStruct(id=point_id, vector=vectors, payload=payload)


def matching(key, value):
    return models.Filter(
        must=[models.FieldCondition(key=key, match=models.MatchValue(value=value))]
    )


def having(name):
    return models.Filter(must=[models.HasVectorCondition(has_vector=name)])


def payloads(qdrant):
    return {one.id: one.payload for one in qdrant.scroll("things", limit=1000)[0]}


def vectors(qdrant):
    return {one.id: one.vector for one in qdrant.scroll("things", **EVERYTHING)[0]}


def ids(qdrant, **arguments):
    return [one.id for one in qdrant.scroll("things", limit=1000, **arguments)[0]]


def everything(qdrant):
    return qdrant.scroll("things", **EVERYTHING)[0]


# Ids


def test_ids_are_integers_up_to_2_to_the_64th_and_uuids_in_any_form(qdrant):
    given = [0, 2**63, LARGEST, uuid.UUID(A), "{" + B.upper() + "}"]
    qdrant.upsert("things", [point(one, {"given": str(one)}) for one in given[:4]])
    qdrant.upsert("things", [models.PointStruct(id=given[4], vector={}, payload={})])
    assert ids(qdrant) == [0, 2**63, LARGEST, A, B]
    forms = [A.replace("-", ""), f"urn:uuid:{A}", A.upper(), uuid.UUID(A), A]
    for form in forms:
        assert [one.id for one in qdrant.retrieve("things", [form])] == [A]
    qdrant.upsert("things", [point(B.replace("-", ""), {"again": True})])
    assert payloads(qdrant)[B] == {"again": True}
    qdrant.delete("things", [forms[0], LARGEST])
    assert ids(qdrant) == [0, 2**63, B]


@pytest.mark.parametrize("wrong", [-1, 2**64, "seven", "", "1", True])
def test_other_ids_are_refused_and_nothing_is_written(qdrant, wrong):
    with pytest.raises(Refused, match="point id"):
        qdrant.upsert(
            "things",
            [
                point(1),
                models.PointStruct.model_construct(id=wrong, vector={}, payload={}),
            ],
        )
    assert ids(qdrant) == []


def test_numbers_of_numpy_are_numbers(qdrant):
    points = [
        models.PointStruct.model_construct(
            id=np.int64(7), vector={"a": np.array([1, 2], np.float64)}, payload={"n": np.int32(3)}
        )
    ]
    qdrant.upsert("things", points)
    (one,) = qdrant.retrieve("things", [np.uint64(7)], with_vectors=True)
    assert (one.id, one.payload, one.vector) == (7, {"n": 3}, {"a": [1.0, 2.0]})
    assert type(one.id) is int


# Upserts


def test_a_batch_has_the_same_effect_as_a_list_of_points(qdrant):
    qdrant.upsert(
        "things",
        models.Batch(
            ids=[1, A],
            vectors={"a": [[1.0, 2.0], [3.0, 4.0]], "m": [[[1.0, 1.0]], [[2.0, 2.0], [3.0, 3.0]]]},
            payloads=[{"n": 1}, {}],
        ),
    )
    batched = everything(qdrant)
    qdrant.upsert(
        "things",
        [
            point(1, {"n": 1}, a=[1, 2], m=[[1, 1]]),
            point(A, None, a=[3, 4], m=[[2, 2], [3, 3]]),
        ],
    )
    assert everything(qdrant) == batched
    assert batched[1].payload == {}


@pytest.mark.parametrize(
    "batch",
    [
        {"ids": [1, 2], "vectors": {"a": [[1.0, 2.0]]}},
        {"ids": [1], "vectors": {"a": [[1.0, 2.0]]}, "payloads": [{}, {}]},
        {"ids": [1], "vectors": {"z": [[1.0, 2.0]]}},
        {"ids": [1], "vectors": {"a": [[1.0]]}},
        {"ids": [1], "vectors": {"a": [[1.0, float("nan")]]}},
    ],
)
def test_a_batch_that_does_not_fit_is_refused(qdrant, batch):
    with pytest.raises(Refused):
        qdrant.upsert("things", models.Batch(**batch))
    assert ids(qdrant) == []


def test_an_upsert_replaces_all_of_a_point(qdrant):
    qdrant.upsert("things", [point(1, {"n": 1, "m": 2}, a=[1, 2], m=[[1, 1]])])
    qdrant.upsert("things", [point(1, {"n": 3}, m=[[5, 5]])])
    assert vectors(qdrant) == {1: {"m": [[5.0, 5.0]]}}
    assert payloads(qdrant) == {1: {"n": 3}}
    qdrant.upsert("things", [models.PointStruct(id=1, vector={})])
    assert vectors(qdrant) == {1: {}} and payloads(qdrant) == {1: {}}


def test_modes_decide_about_new_points_and_known_ones(qdrant):
    qdrant.upsert("things", [point(1, {"n": 1})])
    both = [point(1, {"n": 10}), point(2, {"n": 20})]
    qdrant.upsert("things", both, update_mode=models.UpdateMode.INSERT_ONLY)
    assert payloads(qdrant) == {1: {"n": 1}, 2: {"n": 20}}
    both = [point(2, {"n": 200}), point(3, {"n": 300})]
    qdrant.upsert("things", both, update_mode=models.UpdateMode.UPDATE_ONLY)
    assert payloads(qdrant) == {1: {"n": 1}, 2: {"n": 200}}


def test_an_update_filter_chooses_among_known_points_and_new_ones_come_in(qdrant):
    qdrant.upsert("things", [point(1, {"n": 1}), point(2, {"n": 2})])
    given = [point(i, {"n": 2, "new": True}) for i in (1, 2, 3)]
    qdrant.upsert("things", given, update_filter=matching("n", 2))
    assert payloads(qdrant) == {1: {"n": 1}, 2: {"n": 2, "new": True}, 3: {"n": 2, "new": True}}
    qdrant.upsert(
        "things",
        [point(1, {"n": 9}), point(2, {"n": 9}), point(4, {"n": 9})],
        update_filter=matching("n", 2),
        update_mode=models.UpdateMode.UPDATE_ONLY,
    )
    assert {one: payload["n"] for one, payload in payloads(qdrant).items()} == {1: 1, 2: 9, 3: 2}


def test_the_last_of_equal_ids_in_a_batch_wins_in_any_mode(qdrant):
    twice = [
        point(1, {"n": 1}, a=[1, 1]),
        point(2, {"n": 2}, m=[[2, 2]]),
        point(1, {"n": 3}, m=[[3, 3]]),
    ]
    qdrant.upsert("things", twice)
    assert payloads(qdrant) == {1: {"n": 3}, 2: {"n": 2}}
    assert vectors(qdrant) == {1: {"m": [[3.0, 3.0]]}, 2: {"m": [[2.0, 2.0]]}}
    qdrant.delete("things", [1, 2])
    qdrant.upsert("things", twice, update_mode=models.UpdateMode.INSERT_ONLY)
    assert payloads(qdrant) == {1: {"n": 3}, 2: {"n": 2}}
    assert vectors(qdrant) == {1: {"m": [[3.0, 3.0]]}, 2: {"m": [[2.0, 2.0]]}}


def test_wait_ordering_and_timeout_are_accepted(qdrant):
    accepted = {"wait": False, "ordering": models.WriteOrdering.STRONG, "timeout": 5}
    done = qdrant.upsert("things", [point(1, {"n": 1}, a=[1, 2])], **accepted)
    assert done.status == models.UpdateStatus.COMPLETED
    assert qdrant.set_payload("things", {"m": 1}, [1], **accepted).operation_id > done.operation_id
    qdrant.update_vectors("things", [models.PointVectors(id=1, vector={"a": [2, 2]})], **accepted)
    qdrant.delete_vectors("things", ["a"], [1], **accepted)
    qdrant.delete_payload("things", ["m"], [1], **accepted)
    qdrant.overwrite_payload("things", {}, [1], **accepted)
    qdrant.clear_payload("things", [1], **accepted)
    qdrant.delete("things", [1], **accepted)
    read = {"consistency": models.ReadConsistencyType.ALL, "timeout": 5}
    assert qdrant.scroll("things", **read)[0] == qdrant.retrieve("things", [1], **read) == []
    assert qdrant.count("things", timeout=5).count == 0


# Payloads


def test_payloads_are_written_as_json_has_them(qdrant):
    at = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    given = {
        "tuple": (1, (2.5, "x")),
        "at": at,
        "uuid": uuid.UUID(A),
        "nan": float("nan"),
        "infinite": [float("inf"), -float("inf")],
        "deep": {"null": None, "list": [{"at": at}], "empty": {}, "none": []},
        "large": 2**63,
        "text": "ß\u0000 \U0001f600",
    }
    qdrant.upsert("things", [point(1, given)])
    assert payloads(qdrant)[1] == {
        "tuple": [1, [2.5, "x"]],
        "at": "2024-05-06T07:08:09Z",
        "uuid": A,
        "nan": None,
        "infinite": [None, None],
        "deep": {
            "null": None,
            "list": [{"at": "2024-05-06T07:08:09Z"}],
            "empty": {},
            "none": [],
        },
        "large": 2**63,
        "text": "ß\u0000 \U0001f600",
    }
    qdrant.set_payload("things", {"at": at, "set": {3}}, [1], key="deep")
    assert payloads(qdrant)[1]["deep"]["at"] == "2024-05-06T07:08:09Z"
    assert payloads(qdrant)[1]["deep"]["set"] == [3]


def test_invalid_json_is_refused_and_nothing_is_written(qdrant):
    with pytest.raises(Refused, match="payload"):
        qdrant.upsert("things", [point(1), point(2, {"x": object()})])
    assert ids(qdrant) == []
    qdrant.upsert("things", [point(1, {"n": 1})])
    for write in (qdrant.set_payload, qdrant.overwrite_payload):
        with pytest.raises(Refused, match="payload"):
            write("things", {"x": object()}, [1])
    assert payloads(qdrant) == {1: {"n": 1}}


def test_set_payload_merges_and_null_takes_away(qdrant):
    qdrant.upsert("things", [point(1, {"a": {"b": 1}, "n": 1}), point(2, {"n": 2})])
    qdrant.set_payload("things", {"a": {"c": 2}, "n": None}, [1])
    assert payloads(qdrant) == {1: {"a": {"c": 2}}, 2: {"n": 2}}
    qdrant.set_payload("things", {"all": True}, matching("n", 2))
    qdrant.set_payload("things", {"some": 1}, models.FilterSelector(filter=having("a")))
    assert payloads(qdrant) == {1: {"a": {"c": 2}}, 2: {"n": 2, "all": True}}
    qdrant.set_payload("things", {"x": 1}, models.Filter())
    assert [one["x"] for one in payloads(qdrant).values()] == [1, 1]


@pytest.mark.parametrize(
    "key, expected",
    [
        ("a", {"a": {"b": [{"n": 1}, {"n": 2}], "new": 1}}),
        ("a.b[]", {"a": {"b": [{"n": 1, "new": 1}, {"n": 2, "new": 1}]}}),
        ("a.b[1]", {"a": {"b": [{"n": 1}, {"n": 2, "new": 1}]}}),
        ("a.b[7]", {"a": {"b": [{"n": 1}, {"n": 2}]}}),
        ("x.y", {"a": {"b": [{"n": 1}, {"n": 2}]}, "x": {"y": {"new": 1}}}),
        ('"x.y"', {"a": {"b": [{"n": 1}, {"n": 2}]}, "x.y": {"new": 1}}),
        ("a.b[0].n", {"a": {"b": [{"n": {"new": 1}}, {"n": 2}]}}),
    ],
)
def test_set_payload_at_a_path(qdrant, key, expected):
    qdrant.upsert("things", [point(1, {"a": {"b": [{"n": 1}, {"n": 2}]}})])
    qdrant.set_payload("things", {"new": 1}, [1], key=key)
    assert payloads(qdrant) == {1: expected}


@pytest.mark.parametrize(
    "keys, expected",
    [
        (["a"], {"n": 1, "x.y": 2}),
        (["a.b[].n", "n"], {"a": {"b": [{}, {"m": 3}]}, "x.y": 2}),
        (["a.b[1].m"], {"a": {"b": [{"n": 1}, {"n": 2}]}, "n": 1, "x.y": 2}),
        (["x.y"], {"a": {"b": [{"n": 1}, {"n": 2, "m": 3}]}, "n": 1, "x.y": 2}),
        (['"x.y"', "nothing.here"], {"a": {"b": [{"n": 1}, {"n": 2, "m": 3}]}, "n": 1}),
        (["a.b[]", "n[]"], {"a": {"b": []}, "n": 1, "x.y": 2}),
        (["a.b[0]"], {"a": {"b": [{"n": 1}, {"n": 2, "m": 3}]}, "n": 1, "x.y": 2}),
    ],
)
def test_delete_payload_takes_away_what_lies_at_paths(qdrant, keys, expected):
    qdrant.upsert(
        "things", [point(1, {"a": {"b": [{"n": 1}, {"n": 2, "m": 3}]}, "n": 1, "x.y": 2})]
    )
    with pytest.raises(Refused) as refused:
        qdrant.delete_payload("things", keys, [1, 77])
    assert refused.value.status_code == 404
    qdrant.delete_payload("things", keys, [1])
    assert payloads(qdrant) == {1: expected}


def test_overwriting_and_clearing_leave_vectors_alone(qdrant):
    qdrant.upsert("things", [point(i, {"n": i}, a=[i, i]) for i in (1, 2, 3)])
    qdrant.overwrite_payload("things", {"m": 1}, [1])
    qdrant.clear_payload("things", matching("n", 2))
    qdrant.clear_payload("things", models.PointIdsList(points=[77]))
    assert payloads(qdrant) == {1: {"m": 1}, 2: {}, 3: {"n": 3}}
    assert [*vectors(qdrant).values()] == [{"a": [i, i]} for i in (1.0, 2.0, 3.0)]


def test_payload_changes_of_missing_points_are_refused(qdrant):
    qdrant.upsert("things", [point(1, {"n": 1})])
    for write in (qdrant.set_payload, qdrant.overwrite_payload):
        with pytest.raises(Refused) as caught:
            write("things", {"n": 2}, [1, 77])
        assert caught.value.status_code == 404 and "77" in str(caught.value)
    assert payloads(qdrant) == {1: {"n": 1}}


def test_documents_of_the_other_front_are_keys_of_the_payload(qdrant):
    qdrant.upsert("things", [point(1, {"_document": "a text", "n": 1})])
    assert payloads(qdrant) == {1: {"_document": "a text", "n": 1}}
    qdrant.set_payload("things", {"_document": "another", "_uri": "u"}, [1])
    qdrant.delete_payload("things", ["n"], [1])
    assert payloads(qdrant) == {1: {"_document": "another", "_uri": "u"}}
    qdrant.overwrite_payload("things", {"n": 2}, [1])
    assert payloads(qdrant) == {1: {"n": 2}}
    with pytest.raises(Refused, match="_document"):
        qdrant.set_payload("things", {"_document": 7}, [1])


# Vectors


def test_vectors_of_each_kind_are_replaced_one_by_one(qdrant):
    sparse = models.SparseVector(indices=[7, 3], values=[0.5, 1.5])
    qdrant.upsert("things", [point(1, {"n": 1}, a=[1, 2], m=[[1, 1]], s=sparse)])
    qdrant.update_vectors("things", [models.PointVectors(id=1, vector={"a": [8, 9]})])
    qdrant.update_vectors("things", [models.PointVectors(id=1, vector={"m": [[4, 4], [5, 5]]})])
    found = vectors(qdrant)[1]
    assert found["a"] == [8.0, 9.0] and found["m"] == [[4.0, 4.0], [5.0, 5.0]]
    assert (found["s"].indices, found["s"].values) == ([3, 7], [1.5, 0.5])
    assert payloads(qdrant) == {1: {"n": 1}}
    twice = [
        models.PointVectors(id=1, vector={"a": [1, 1], "m": [[1, 1]]}),
        models.PointVectors(id=1, vector={"a": [2, 2]}),
    ]
    qdrant.update_vectors("things", twice)
    assert vectors(qdrant)[1]["a"] == [2.0, 2.0] and vectors(qdrant)[1]["m"] == [[1.0, 1.0]]


def test_vectors_of_missing_points_are_refused_as_a_whole(qdrant):
    qdrant.upsert("things", [point(1, None, a=[1, 1])])
    with pytest.raises(Refused, match="77") as caught:
        qdrant.update_vectors(
            "things", [models.PointVectors(id=i, vector={"a": [9, 9]}) for i in (1, 77)]
        )
    assert caught.value.status_code == 404
    assert vectors(qdrant) == {1: {"a": [1.0, 1.0]}}


def test_an_update_filter_chooses_whose_vectors_are_replaced(qdrant):
    qdrant.upsert("things", [point(i, {"n": i}, a=[i, i]) for i in (1, 2)])
    new = [models.PointVectors(id=i, vector={"a": [9, 9]}) for i in (1, 2)]
    qdrant.update_vectors("things", new, update_filter=matching("n", 2))
    assert vectors(qdrant) == {1: {"a": [1.0, 1.0]}, 2: {"a": [9.0, 9.0]}}


def test_vectors_that_are_deleted_are_neither_shown_nor_found(qdrant):
    sparse = models.SparseVector(indices=[1], values=[1.0])
    qdrant.upsert("things", [point(i, {"n": i}, a=[i, 1], s=sparse) for i in (1, 2, 3)])
    with pytest.raises(Refused) as refused:
        qdrant.delete_vectors("things", ["a"], [2, 77])
    assert refused.value.status_code == 404
    assert ids(qdrant, scroll_filter=having("a")) == [1, 2, 3]
    qdrant.delete_vectors("things", ["a"], [2])
    qdrant.delete_vectors("things", ["s", "m"], matching("n", 3))
    assert ids(qdrant, scroll_filter=having("a")) == [1, 3]
    assert ids(qdrant, scroll_filter=having("s")) == [1, 2]
    assert ids(qdrant, scroll_filter=having("m")) == []
    assert {one: [*found] for one, found in vectors(qdrant).items()} == {
        1: ["a", "s"],
        2: ["s"],
        3: ["a"],
    }
    assert [p.id for p in qdrant.query_points("things", [1.0, 0.0], using="a").points] == [3, 1]
    assert [p.id for p in qdrant.query_points("things", sparse, using="s").points] == [1, 2]
    qdrant.update_vectors("things", [models.PointVectors(id=2, vector={"a": [7, 7]})])
    assert ids(qdrant, scroll_filter=having("a")) == [1, 2, 3]
    with pytest.raises(Refused, match="Not existing vector name"):
        qdrant.delete_vectors("things", ["z"], [1])


# Several operations


def test_operations_of_a_batch_see_what_those_before_have_written(qdrant):
    qdrant.upsert("things", [point(1, {"n": 1}, a=[1, 1]), point(2, {"n": 2})])
    results = qdrant.batch_update_points(
        "things",
        [
            models.UpsertOperation(
                upsert=models.PointsList(points=[point(3, {"n": 1}), point(4, {"n": 4})])
            ),
            models.SetPayloadOperation(
                set_payload=models.SetPayload(payload={"seen": True}, filter=matching("n", 1))
            ),
            models.DeleteOperation(delete=models.FilterSelector(filter=matching("n", 2))),
            models.DeleteVectorsOperation(
                delete_vectors=models.DeleteVectors(vector=["a"], filter=matching("seen", True))
            ),
            models.UpdateVectorsOperation(
                update_vectors=models.UpdateVectors(
                    points=[models.PointVectors(id=3, vector={"a": [3, 3]})]
                )
            ),
            models.OverwritePayloadOperation(
                overwrite_payload=models.SetPayload(payload={"with": "a"}, filter=having("a"))
            ),
            models.DeletePayloadOperation(
                delete_payload=models.DeletePayload(keys=["n"], filter=matching("seen", True))
            ),
            models.ClearPayloadOperation(clear_payload=models.PointIdsList(points=[4])),
        ],
    )
    assert payloads(qdrant) == {1: {"seen": True}, 3: {"with": "a"}, 4: {}}
    assert vectors(qdrant) == {1: {}, 3: {"a": [3.0, 3.0]}, 4: {}}
    numbers = [result.operation_id for result in results]
    assert numbers == sorted(set(numbers)) and len(numbers) == 8


@pytest.mark.parametrize(
    "last",
    [
        models.SetPayloadOperation(set_payload=models.SetPayload(payload={"x": 1}, points=[77])),
        models.DeleteVectorsOperation(
            delete_vectors=models.DeleteVectors(vector=["z"], points=[1])
        ),
        models.UpsertOperation(upsert=models.PointsList(points=[point(9, None, a=[1, 2, 3])])),
        models.UpdateVectorsOperation(
            update_vectors=models.UpdateVectors(
                points=[models.PointVectors(id=77, vector={"a": [1, 2]})]
            )
        ),
        models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=["n"])),
        "clear",
    ],
)
def test_a_batch_that_is_refused_has_written_nothing(qdrant, last):
    qdrant.upsert("things", [point(1, {"n": 1}, a=[1, 1])])
    before = everything(qdrant)
    with pytest.raises(Refused):
        qdrant.batch_update_points(
            "things",
            [
                models.UpsertOperation(upsert=models.PointsList(points=[point(2, {"n": 2})])),
                models.DeleteOperation(delete=models.PointIdsList(points=[1])),
                last,
            ],
        )
    assert everything(qdrant) == before
    qdrant.upsert("things", [point(3, {"n": 3})])
    assert ids(qdrant) == [1, 3]


def test_points_are_deleted_by_ids_and_by_filters(qdrant):
    qdrant.upsert("things", [point(i, {"n": i % 3}) for i in range(10)])
    qdrant.delete("things", models.PointIdsList(points=[0, 77]))
    qdrant.delete("things", models.FilterSelector(filter=matching("n", 1)))
    assert ids(qdrant) == [2, 3, 5, 6, 8, 9]
    qdrant.delete("things", matching("n", 2))
    assert ids(qdrant) == [3, 6, 9]
    for nothing in ([], models.PointIdsList(points=[])):
        with pytest.raises(Refused):
            qdrant.delete("things", nothing)
    qdrant.delete("things", models.Filter())
    assert ids(qdrant) == [] and qdrant.count("things").count == 0


# Reading


def test_parts_of_payloads_and_of_vectors_are_shown_on_request(qdrant):
    qdrant.upsert(
        "things",
        [point(1, {"n": 1, "deep": {"x": 1, "list": [{"y": 2, "z": 3}]}}, a=[1, 2], m=[[1, 1]])],
    )

    def read(**arguments):
        (one,) = qdrant.retrieve("things", [1], **arguments)
        assert qdrant.scroll("things", **arguments)[0] == [one]
        return one

    assert read(with_payload=False).payload is None
    assert read(with_payload=["n", "none"]).payload == {"n": 1}
    include = models.PayloadSelectorInclude(include=["deep.list[].y", "deep.x"])
    assert read(with_payload=include).payload == {"deep": {"x": 1, "list": [{"y": 2}]}}
    exclude = models.PayloadSelectorExclude(exclude=["deep.list[].y", "n"])
    assert read(with_payload=exclude).payload == {"deep": {"x": 1, "list": [{"z": 3}]}}
    assert read(with_vectors=False).vector is None
    assert read(with_vectors=["m"]).vector == {"m": [[1.0, 1.0]]}
    assert read(with_vectors=["s"]).vector == {}
    assert read(with_vectors=True).vector == {"a": [1.0, 2.0], "m": [[1.0, 1.0]]}
    with pytest.raises(Refused, match="vector name"):
        read(with_vectors=["z"])


def test_points_are_retrieved_in_the_order_of_their_ids_and_each_once(qdrant):
    qdrant.upsert("things", [point(i) for i in (1, 2, A)])
    found = qdrant.retrieve("things", [A, 2, 77, 2, B, 1])
    assert [one.id for one in found] == [A, 2, 1]
    assert qdrant.retrieve("things", []) == []


@pytest.mark.parametrize("scroll_filter", [None, matching("even", True)])
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_scrolling_shows_each_point_once_integers_before_uuids(qdrant, scroll_filter, limit):
    numbers = [LARGEST, *range(30, 0, -3), 2**63, 2**31]
    random = [str(uuid.UUID(int=i * 7**40 % 2**128)) for i in range(20)]
    given = [*random, *numbers]
    qdrant.upsert("things", [point(one, {"even": i % 2 == 0}) for i, one in enumerate(given)])
    qdrant.delete("things", [given[4], given[30]])
    expected = [
        one
        for one in [*sorted(numbers), *sorted(random)]
        if one not in (given[4], given[30]) and (scroll_filter is None or given.index(one) % 2 == 0)
    ]
    found, offset = [], None
    while True:
        page, offset = qdrant.scroll(
            "things", scroll_filter=scroll_filter, limit=limit, offset=offset
        )
        found += [one.id for one in page]
        assert len(page) <= limit
        if offset is None:
            break
        assert len(page) == limit
    assert found == expected
    assert qdrant.count("things", scroll_filter).count == len(expected)


def test_scrolling_starts_at_an_id_that_need_not_be_there(qdrant):
    qdrant.upsert("things", [point(i) for i in (1, 5, 9, A, B)])
    assert ids(qdrant, offset=5) == [5, 9, A, B]
    assert ids(qdrant, offset=6) == [9, A, B]
    assert ids(qdrant, offset=B) == [B]
    assert ids(qdrant, offset=LARGEST) == [A, B]


def test_points_are_ordered_by_a_number_from_a_start_value(qdrant):
    qdrant.create_payload_index("things", "n", models.PayloadSchemaType.INTEGER)
    qdrant.upsert("things", [point(i, {"n": n}) for i, n in enumerate([5, 3, [1, 9], "x", 3, 7])])

    def ordered(**order):
        found, offset = qdrant.scroll("things", order_by=models.OrderBy(key="n", **order), limit=20)
        assert offset is None
        return [(one.id, one.order_value) for one in found]

    up = [(2, 1), (1, 3), (4, 3), (0, 5), (5, 7), (2, 9)]
    assert ordered() == up
    assert [value for _, value in ordered(direction="desc")] == [9, 7, 5, 3, 3, 1]
    assert ordered(start_from=4) == [(0, 5), (5, 7), (2, 9)]
    assert [value for _, value in ordered(direction="desc", start_from=4)] == [3, 3, 1]
    page, _ = qdrant.scroll("things", order_by="n", limit=2)
    assert [one.id for one in page] == [2, 1]
    with pytest.raises(Refused):
        qdrant.scroll("things", order_by="n", offset=1)
    with pytest.raises(Refused):
        qdrant.scroll("things", order_by="unindexed")


def test_values_are_counted_the_most_frequent_first(qdrant):
    qdrant.create_payload_index("things", "w", models.PayloadSchemaType.KEYWORD)
    words = ["b", "a", ["a", "c", "a"], "b", 7, None, "a"]
    qdrant.upsert("things", [point(i, {"w": w, "n": i}) for i, w in enumerate(words)])

    def counted(**arguments):
        return [(hit.value, hit.count) for hit in qdrant.facet("things", "w", **arguments).hits]

    assert counted() == [("a", 3), ("b", 2), ("c", 1)]
    assert counted(limit=1) == [("a", 3)]
    below = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(lt=3))])
    assert counted(facet_filter=below, exact=True) == [("a", 2), ("b", 1), ("c", 1)]
    with pytest.raises(Refused):
        qdrant.facet("things", "unindexed")


def test_points_are_counted_exactly(qdrant):
    qdrant.upsert("things", [point(i, {"n": i % 3}) for i in range(100)])
    assert qdrant.count("things").count == 100
    assert qdrant.count("things", matching("n", 0), exact=False).count == 34
    assert qdrant.count("things", matching("n", 7)).count == 0


@pytest.mark.parametrize("limit", [0, -1, 1.5, "5"])
def test_limits_are_numbers_from_one_on(qdrant, limit):
    with pytest.raises(Refused, match="limit"):
        qdrant.scroll("things", limit=limit)


@pytest.mark.parametrize("key", [None, "k", "k.l"])
@pytest.mark.parametrize("before", [None, {}, {"a": 1}, {"k": {"a": 1}}])
@pytest.mark.parametrize("change", ["nothing", "clear", "delete", "clear and delete"])
def test_a_null_is_stored_where_qdrant_stores_it(key, before, change):
    new = {"d": None, "e": {"x": None}, "f": 1}
    with closing(Edge({1: before}, {})) as edge, closing(QdrantClient(":memory:")) as client:
        client.create_collection("c", vectors_config={})
        client.upsert("c", [models.PointStruct(id=1, vector={}, payload=before)])
        if "clear" in change:
            edge.clear([1])
            client.clear_payload("c", [1])
        if "delete" in change:
            edge.delete([1], ["a", "k"])
            client.delete_payload("c", ["a", "k"], [1])
        for _ in range(2):
            edge.set([1], new, key)
            client.set_payload("c", new, [1], key=key)
            assert client.retrieve("c", [1])[0].payload == edge.payload(1)


@pytest.mark.parametrize("size", [1e-3, 1e-8, 1e-12])
def test_scores_of_small_dot_products_keep_their_digits_in_every_query(tmp_path, size):
    random = np.random.default_rng(2)
    rows = (random.standard_normal((600, 8)) * size).astype(np.float32)
    query = (random.standard_normal(8) * size).astype(np.float32)
    dots = rows.astype(np.float64) @ query.astype(np.float64)
    best = np.argsort(-dots).tolist()
    dot = models.VectorParams(size=8, distance=models.Distance.DOT)
    with QdrantClient(path=tmp_path) as qdrant:
        qdrant.create_collection("small", dot)
        kinds = [i % 20 for i in range(600)]
        made = [models.PointStruct(id=i, vector=rows[i], payload={"k": kinds[i]}) for i in best]
        qdrant.upsert("small", made)
        request = {"collection_name": "small", "query": query, "limit": 9}

        def agrees(hits, wanted, scores=dots):
            assert [one.id for one in hits] == wanted
            assert np.allclose([one.score for one in hits], scores[wanted], 1e-12, 0)

        agrees(qdrant.query_points(**request).points, best[:9])
        least = float(dots[best[3:5]].mean())
        agrees(qdrant.query_points(**request, score_threshold=least).points, best[:4])
        only = models.FieldCondition(key="k", match=models.MatchValue(value=7))
        some = qdrant.query_points(**request, query_filter=models.Filter(must=[only])).points
        agrees(some, [i for i in best if kinds[i] == 7][:9])
        groups = qdrant.query_points_groups(**request, group_by="k", group_size=1).groups
        of_kind = [next(i for i in best if kinds[i] == k) for k in range(20)]
        agrees([one.hits[0] for one in groups], sorted(of_kind, key=best.index)[:9])
        near = models.Prefetch(query=query, limit=9)
        formula = models.FormulaQuery(formula=models.MultExpression(mult=["$score", 2.0]))
        again = qdrant.query_points("small", prefetch=near, query=formula, limit=9).points
        agrees(again, best[:9], 2 * dots)
