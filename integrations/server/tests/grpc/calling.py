"""Calls over gRPC, to servers in this process and in others, and with the stubs of qdrant-client."""

from contextlib import contextmanager
from typing import Any

from qdrant_client import grpc as q

import grpc
from retrieval_store_server import Application
from retrieval_store_server.http.settings import ServerLimits, ServerSettings
from retrieval_store_server.run import Listening, serve_in_thread
from tests.helpers import PATIENCE

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
STUBS = {
    "Points": q.PointsStub,
    "Collections": q.CollectionsStub,
    "Snapshots": q.SnapshotsStub,
    "Qdrant": q.QdrantStub,
}


class Calls:
    """Calls of one channel."""

    def __init__(self, channel: grpc.Channel, **metadata: str) -> None:
        self.channel = channel
        self.metadata = [(name.replace("_", "-"), one) for name, one in metadata.items()]
        for name, stub in STUBS.items():
            setattr(self, name.lower(), stub(channel))

    def __call__(self, rpc: str, sent: Any = b"", timeout: float = PATIENCE) -> bytes:
        """The response to a procedure of Qdrant's, sent unchanged."""
        raw = sent if isinstance(sent, bytes) else sent.SerializeToString()
        call = self.channel.unary_unary(f"/qdrant.{rpc}")
        return call(raw, timeout=timeout, metadata=self.metadata)


@contextmanager
def channel_to(port: int, **options: Any):
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED, **options) as channel:
        yield channel


@contextmanager
def calls(store: Any = ":memory:", limits: ServerLimits | None = None, **settings: Any):
    """Calls to a server, which is `application`."""
    made = Application(store, ServerSettings(limits=limits or ServerLimits(), **settings))
    with (
        serve_in_thread(made, Listening(port=0, grpc_port=0)) as url,
        channel_to(url.grpc_port) as channel,
    ):
        found = Calls(channel)
        found.application, found.url = made, url
        yield found


def refusal(call: Any, *arguments: Any, **named: Any) -> tuple[str, str]:
    """The code and the message of a refused call."""
    try:
        call(*arguments, **named)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def code(call: Any, *arguments: Any, **named: Any) -> str:
    """The status code of a call."""
    return refusal(call, *arguments, **named)[0]


def dense(numbers: Any) -> q.Vectors:
    return q.Vectors(vector=q.Vector(dense=q.DenseVector(data=numbers)))


def point(i: int = 1, vector: Any = (1, 2), **payload: str) -> q.PointStruct:
    values = {name: q.Value(string_value=one) for name, one in payload.items()}
    return q.PointStruct(id=q.PointId(num=i), vectors=dense(vector), payload=values)


def upsert(*points: q.PointStruct, **more: Any) -> q.UpsertPoints:
    return q.UpsertPoints(collection_name="c", wait=True, points=points, **more)


def make_collection(calling: Calls, name: str = "c", size: int = 2) -> None:
    params = q.VectorParams(size=size, distance=q.Distance.Dot)
    config = q.VectorsConfig(params=params)
    calling.collections.Create(q.CreateCollection(collection_name=name, vectors_config=config))


def count(calling: Calls) -> int:
    return calling.points.Count(q.CountPoints(collection_name="c")).result.count


def varint(number: int) -> bytes:
    """A number in its encoded form."""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def within(number: int, sent: bytes) -> bytes:
    """Bytes as a field of a message."""
    return varint(number << 3 | 2) + varint(len(sent)) + sent
