"""Every message is answered, in time, and never with an internal error; a refused message has
written nothing."""

import random
import time
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import grpc as q

import grpc
from integrations.server.tests.grpc.calling import calls, varint, within
from retrieval_store_server.grpc.table import PROCEDURES
from retrieval_store_server.http.routes import ROUTES
from tests.helpers import PATIENCE

SLOWEST = 5.0  # seconds of the processor, for any message here
ACCESS = {route.rpc: route.access for route in ROUTES if route.rpc}
RPCS = sorted(PROCEDURES)
BAD = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}
NUMBERS = (0, 1, 2, 3, 10, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1)
FLOATS = (0.0, -0.0, 0.5, -1.5, 1e-320, 1e39, 1e308, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    *(
        "",
        "c",
        "c",
        "c",
        "d",
        "m",
        "s",
        "n",
        "t",
        "at",
        "a[].b",
        "[",
        "\0",
        "ü😀",
        "1",
        "..",
        "new",
    ),
    *("Cosine", "2024-01-01", "2024-13-45", "x" * 10_000, "qdrant/bm25", "wordllama"),
    *("5c56c793-69f3-4fbf-87e6-c4bf54c28c26", "5C56C79369F34FBF87E6C4BF54C28C26", "cat"),
)
EVERYTHING = {"limit": 10_000, "with_payload": True, "with_vectors": True}


class Hostile:
    """Calls, and checks the invariants of every response."""

    def __init__(self, calling: Any) -> None:
        self.calling = calling

    def __call__(self, rpc: str, sent: bytes) -> bool:
        """Whether it was accepted."""
        before, began = self.state(), time.process_time()
        try:
            self.calling(rpc, sent)
        except grpc.RpcError as error:
            assert error.code() not in BAD, (rpc, error.details())
            assert "Traceback" not in error.details()
            assert self.state() == before, (rpc, error.details())
            return False
        finally:
            assert time.process_time() - began < SLOWEST
        return True

    def state(self) -> Any:
        """The content of the store."""
        embedded = self.calling.application.served.embedded
        names = [one.name for one in embedded.get_collections().collections]
        return (
            embedded.get_aliases(),
            [(name, embedded.get_collection(name).config) for name in sorted(names)],
            [repr(embedded.scroll(name, **EVERYTHING)) for name in sorted(names)],
        )


@pytest.fixture(scope="module")
def hostile():
    with calls() as calling:
        filled(calling)
        yield Hostile(calling)


def filled(calling: Any) -> None:
    """With the collection in its initial state."""
    embedded = calling.application.served.embedded
    for one in embedded.get_collections().collections:
        embedded.delete_collection(one.name)
    vectors = {name: q.VectorParams(size=2, distance=q.Distance.Cosine) for name in "dm"}
    vectors["m"].multivector_config.comparator = q.MultiVectorComparator.MaxSim
    sparse = q.SparseVectorConfig(map={"s": q.SparseVectorParams()})
    calling.collections.Create(
        q.CreateCollection(
            collection_name="c",
            vectors_config=q.VectorsConfig(params_map=q.VectorParamsMap(map=vectors)),
            sparse_vectors_config=sparse,
        )
    )
    calling.points.Upsert(q.UpsertPoints(collection_name="c", wait=True, points=POINTS))


def _point(i: int) -> q.PointStruct:
    named = {
        "d": q.Vector(dense=q.DenseVector(data=[i, 1])),
        "m": q.Vector(multi_dense=q.MultiDenseVector(vectors=[q.DenseVector(data=[1, i])])),
        "s": q.Vector(sparse=q.SparseVector(indices=[i, 99], values=[1, 2])),
    }
    payload = {"n": q.Value(integer_value=i), "t": q.Value(string_value=f"word{i} b")}
    return q.PointStruct(
        id=q.PointId(num=i),
        vectors=q.Vectors(vectors=q.NamedVectors(vectors=named)),
        payload=payload,
    )


POINTS = [_point(i) for i in range(1, 6)]


def drawn(kind: Any, draw: random.Random, depth: int = 0) -> Any:
    """A message of a type, with random fields."""
    message = GetMessageClass(kind)()
    for field in kind.fields:
        wanted = 0.95 if field.name == "collection_name" else 0.45 if depth < 6 else 0.1
        if draw.random() < wanted and depth < 12:
            _fill(message, field, draw, depth)
    return message


def _fill(message: Any, field: Any, draw: random.Random, depth: int) -> None:
    kind, name = field.message_type, field.name
    if kind is not None and kind.GetOptions().map_entry:
        entries = getattr(message, name)
        key, value = draw.choice(TEXTS), kind.fields_by_name["value"]
        if value.message_type is not None:
            entries[key].CopyFrom(drawn(value.message_type, draw, depth + 1))
        else:
            entries[key] = _scalar(value, draw)
    elif field.is_repeated:
        for _ in range(draw.choice((1, 1, 2, 3))):
            if kind is None:
                getattr(message, name).append(_scalar(field, draw))
            else:
                getattr(message, name).append(drawn(kind, draw, depth + 1))
    elif kind is not None:
        getattr(message, name).CopyFrom(drawn(kind, draw, depth + 1))
    else:
        setattr(message, name, _scalar(field, draw))


def _scalar(field: Any, draw: random.Random) -> Any:
    if field.name == "collection_name" and draw.random() < 0.9:
        return "c"
    if field.enum_type is not None:
        return draw.choice([*(one.number for one in field.enum_type.values), 99, -1])
    if field.type in (F.TYPE_FLOAT, F.TYPE_DOUBLE):
        return draw.choice(FLOATS)
    if field.type == F.TYPE_BOOL:
        return draw.random() < 0.5
    if field.type == F.TYPE_STRING:
        return draw.choice(TEXTS)
    if field.type == F.TYPE_BYTES:
        return b"\xff"
    bits = {F.TYPE_INT32: 31, F.TYPE_UINT32: 32, F.TYPE_INT64: 63, F.TYPE_UINT64: 64}[field.type]
    return draw.choice([one for one in (*NUMBERS, 5, 5) if one < 2**bits])


# Huge numbers of vectors or candidates make a correct request slow, so these numbers are reduced.
CUT = {"sample": 50, "candidates_limit": 50, "hnsw_ef": 100, "vectors_count": 4}


def cut(message: Any) -> None:
    """The same message with small numbers where large ones request much."""
    for field, value in message.ListFields():
        if field.name in CUT:
            setattr(message, field.name, min(value, CUT[field.name]))
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value if field.is_repeated else [value]:
                cut(one)


@pytest.mark.property
@settings(max_examples=100)
@given(rpc=st.sampled_from(RPCS), seed=st.integers(0, 2**32))
def test_messages_of_the_forms_of_the_services(rpc, seed, hostile):
    draw = random.Random(seed)
    message = drawn(PROCEDURES[rpc].message.DESCRIPTOR, draw)
    cut(message)
    if hostile(rpc, message.SerializeToString()) and ACCESS[rpc] != "read":
        filled(hostile.calling)


@pytest.mark.property
@settings(max_examples=100)
@given(rpc=st.sampled_from(RPCS), seed=st.integers(0, 2**32))
def test_corrupted_bytes(rpc, seed, hostile):
    draw = random.Random(seed)
    sent = bytearray(drawn(PROCEDURES[rpc].message.DESCRIPTOR, draw).SerializeToString())
    sent = sent[:4096]
    for _ in range(draw.choice((1, 1, 2, 5))):
        match draw.randrange(4):
            case 0:
                sent = sent[: draw.randrange(len(sent) + 1)]
            case 1 if sent:
                sent[draw.randrange(len(sent))] = draw.randrange(256)
            case 2:
                at = draw.randrange(len(sent) + 1)
                sent[at:at] = draw.randbytes(draw.randrange(8))
            case 3:
                sent += within(draw.randrange(1, 30), bytes(sent[:200]))
    if hostile(rpc, bytes(sent)) and ACCESS[rpc] != "read":
        filled(hostile.calling)


def test_noise_and_nothing(hostile):
    for rpc in RPCS:
        for sent in (b"", b"\xff" * 100, b"\x00", varint(2**64), within(1, b"\xff\xfe")):
            if hostile(rpc, sent) and ACCESS[rpc] != "read":
                filled(hostile.calling)


def test_impossible_lengths_are_refused_at_once(hostile):
    began = time.monotonic()
    for number in (1, 2, 3, 5):
        for size in (2**31 - 1, 2**32, 2**63):
            assert not hostile("Points/Upsert", varint(number << 3 | 2) + varint(size) + b"c")
    assert time.monotonic() - began < PATIENCE


def test_many_small_messages_in_one_are_read_or_refused_in_time(hostile):
    """32 MB may hold millions of messages of two bytes: empty conditions, which restrict nothing,
    and points without ids."""
    conditions = within(2, b"") * 500_000
    filter_ = within(1, b"c") + within(2, conditions)
    began = time.monotonic()
    assert hostile("Points/Count", filter_)
    points = within(1, b"c") + within(3, b"") * 500_000
    assert not hostile("Points/Upsert", points)
    assert time.monotonic() - began < PATIENCE


def test_fields_that_are_not_known_change_nothing(hostile):
    numbers = q.DenseVector(data=[3, 1]).SerializeToString() + within(77, b"more")
    vectors = within(2, within(1, within(1, b"d") + within(2, within(101, numbers))))
    sent = within(1, b"c") + within(3, within(1, b"\x08\x63") + within(4, vectors)) + b"\x10\x01"
    assert hostile("Points/Upsert", sent + within(99, b"more"))
    embedded = hostile.calling.application.served.embedded
    (found,) = embedded.retrieve("c", [99], with_vectors=["d"])
    assert [round(one, 4) for one in found.vector["d"]] == [0.9487, 0.3162]
    filled(hostile.calling)
