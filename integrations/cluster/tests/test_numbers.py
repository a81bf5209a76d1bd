"""Numbers that Qdrant would change are returned unchanged, and filters compare them exactly."""

import math
import uuid
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import grpc
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

import retrieval_store
from retrieval_store import errors
from retrieval_store_cluster import payload
from retrieval_store_cluster.payload import (
    StoredPoint,
    decode_point,
    encode_point,
    encode_value,
    survives_rounding,
)
from tests.helpers import oracle, real_qdrant
from tests.helpers.qdrant_server import Server


@st.composite
def neighbours(draw):
    """A float near one with few digits, or any other."""
    if draw(st.booleans()):
        return draw(st.floats(allow_nan=False, allow_infinity=False))
    power = draw(st.integers(-8, 17))
    found = draw(st.integers(-9_999, 9_999)) * 10.0**power / draw(st.sampled_from([1, 3, 7, 10]))
    for _ in range(draw(st.integers(0, 3))):
        found = math.nextafter(found, draw(st.sampled_from([-math.inf, math.inf])))
    return found


numbers = neighbours() | st.integers(-(2**63), 2**64 - 1) | st.integers(2**53 - 9, 2**53 + 9)


@settings(max_examples=25)
@given(neighbours(), neighbours())
def test_a_rounded_number_stays_on_its_side_of_unrounded_limits(number, limit):
    if survives_rounding(limit):
        assert (number > limit, number == limit) == (
            encode_value(number) > limit,
            encode_value(number) == limit,
        )
    assert encode_value(encode_value(number)) == encode_value(number)
    assert math.isclose(encode_value(number), number, rel_tol=2e-15)


@pytest.fixture(scope="module")
def shared():
    with real_qdrant.qdrant() as qdrant:
        yield retrieval_store.Client(qdrant_client=qdrant, allow_reset=True)


@settings(max_examples=10)
@given(st.lists(numbers, min_size=1, max_size=12), st.lists(numbers, max_size=3))
def test_numbers_come_back_and_are_compared_exactly(shared, values, others):
    shared.reset()
    things = shared.create_collection("things", embedding_function=None)
    ids = [f"{i}" for i in range(len(values))]
    metadatas = [{"n": v, "deep": {"l": [v, "x"]}, "l": [v]} for v in values]
    things.add(ids=ids, embeddings=np.zeros((len(ids), 1)), metadatas=metadatas)
    found = things.get()["metadatas"]
    assert found == metadatas
    assert [type(one["n"]) for one in found] == [type(v) for v in values]
    for limit in [*values, *others]:
        for where in (
            {"n": limit},
            {"n": {"$ne": limit}},
            {"n": {"$gt": limit}},
            {"n": {"$gte": limit}},
            {"n": {"$lt": limit}},
            {"n": {"$nin": [limit, 0.3]}},
            {"l": {"$contains": limit}},
            {"$or": [{"n": {"$lte": limit}}, {"l": {"$not_contains": limit}}]},
        ):
            expected = [
                one for one, m in zip(ids, metadatas, strict=True) if oracle.matches(m, where)
            ]
            assert things.get(where=where)["ids"] == expected, where


def test_payload_changes_of_other_programs_stay():
    server = Server()
    with closing(server), closing(server.client()) as qdrant:
        things = retrieval_store.Client(qdrant_client=qdrant).create_collection(
            "things", embedding_function=None
        )
        at = 1_700_062_158.8896883
        things.add(ids=["a", "b"], embeddings=[[1], [2]], metadatas=[{"at": at, "k": 1}] * 2)
        point = qdrant.scroll("things", limit=1)[0][0]
        qdrant.set_payload("things", {"at": 5.5}, points=[point.id], wait=True)
        changed = point.payload["_id"]
        assert things.get(changed)["metadatas"] == [{"at": 5.5, "k": 1}]
        assert things.get(where={"at": at})["ids"] == [{"a": "b", "b": "a"}[changed]]
        assert things.get(where={"at": {"$lt": 6}})["ids"] == [changed]


@given(st.lists(numbers | st.integers(2**63 - 2, 2**63 + 2), max_size=4))
def test_numbers_come_back_from_another_node_which_speaks_grpc(values):
    metadata = {"list": values, "by key": {"k": [{"l": values}]}, **{str(v): v for v in values}}
    sent = grpc.PointStruct(payload=RestToGrpc.convert_payload(encode_point(held_of(metadata))))
    received = grpc.PointStruct.FromString(sent.SerializeToString())
    found = decode_point(GrpcToRest.convert_payload(received.payload)).payload
    assert found == metadata
    assert {key: type(value) for key, value in found.items()} == {
        key: type(value) for key, value in metadata.items()
    }


def held_of(metadata, own="a"):
    return StoredPoint(id=own, payload=metadata, document=None, uri=None, order=1)


def test_the_metadata_of_a_collection_keeps_its_numbers():
    numbers = [1e23, 123456789.123456789, 0.1 + 0.2, 2.5e-300, 2**64 - 1, 7.5]
    metadata = {"list": numbers, "by key": {str(one): one for one in numbers}}
    with closing(Server()) as server, closing(server.client()) as qdrant:
        store = retrieval_store.Client(qdrant_client=qdrant)
        store.create_collection("things", metadata=metadata, embedding_function=None)
        there = retrieval_store.Client(qdrant_client=qdrant).get_collection("things")
        assert there.metadata == metadata
        there.modify(name="renamed")
        assert there.metadata == metadata
        there.modify(metadata={"n": 1.5})
        assert there.metadata == {"n": 1.5}


@pytest.mark.parametrize("text", ["{", "7", "[]"])
def test_unreadable_exact_numbers_are_damage(text):
    with closing(Server()) as server, closing(server.client()) as qdrant:
        things = retrieval_store.Client(qdrant_client=qdrant).create_collection(
            "things", embedding_function=None
        )
        things.add(ids=["a"], embeddings=[[1]], metadatas=[{"n": 1 / 3}])
        point = qdrant.scroll("things", limit=1)[0][0]
        held = {**point.payload["_retrieval_store"], "exact": text}
        qdrant.set_payload("things", {"_retrieval_store": held}, points=[point.id], wait=True)
        with pytest.raises(errors.DamagedError, match="exact numbers"):
            things.get()


@given(st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 2**64 - 1)))
def test_ids_of_points_are_uuids_of_version_5(own):
    expected = uuid.uuid5(payload._IDS, f"{type(own).__name__}:{own}")
    assert payload.point_id(own) == str(expected)


@pytest.mark.parametrize("own", [7, 2**63 - 1, 2**63, 2**64 - 1, "7", "18446744073709551615"])
def test_ids_are_returned_from_another_node_too(own):
    payload = encode_point(held_of({"k": 1}, own))
    sent = grpc.PointStruct(payload=RestToGrpc.convert_payload(payload))
    received = grpc.PointStruct.FromString(sent.SerializeToString())
    for found in (payload, GrpcToRest.convert_payload(received.payload)):
        assert decode_point(found) == held_of({"k": 1}, own)
