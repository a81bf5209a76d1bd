"""`rest` sends the same as qdrant-client, except for the digits of float32."""

from contextlib import closing

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from qdrant_client import QdrantClient, models

from retrieval_store_cluster.rest import RestClient, rest_client_of

URL = "http://qdrant"
DONE = {"result": [{"operation_id": 1, "status": "completed"}], "status": "ok", "time": 0.0}


def client(bodies, **options):
    """A client that records its requests."""

    def answer(request):
        bodies.append((request.method, request.url.path, request.url.query, request.content))
        return httpx.Response(200, json=DONE)

    transport = httpx.MockTransport(answer)
    return QdrantClient(url=URL, transport=transport, check_compatibility=False, **options)


def operations(vector):
    payload = {"n": None, "text": "ü\u2028", "list": [1.5, {"a": None}]}
    sparse = models.SparseVector(indices=[4, 7], values=[0.5, 1.25])
    point = models.PointStruct(id=1, vector={"dense": vector, "words": sparse}, payload=payload)
    changed = models.PointVectors(id="00000000-0000-0000-0000-000000000001", vector={"w": sparse})
    return [
        models.UpsertOperation(upsert=models.PointsList(points=[point])),
        models.OverwritePayloadOperation(
            overwrite_payload=models.SetPayload(payload=payload, points=[1])
        ),
        models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=[changed])),
        models.DeleteVectorsOperation(
            delete_vectors=models.DeleteVectors(points=[1], vector=["words"])
        ),
    ]


@pytest.mark.parametrize("wait", [False, True])
def test_the_request_is_that_of_the_client(wait):
    bodies = []
    with closing(client(bodies)) as qdrant:
        arguments = {"update_operations": operations([0.5, -2.0]), "wait": wait}
        expected = qdrant.batch_update_points("a/b", **arguments)
        assert RestClient(qdrant).batch_update_points("a/b", **arguments) == expected
    (*wanted, body), (*request, ours) = bodies
    assert request == wanted
    assert orjson.loads(ours) == orjson.loads(body)


@given(arrays.arrays(np.float32, 8, elements=st.floats(width=32, allow_nan=False)))
def test_an_array_of_float32_arrives_as_it_is(vector):
    vector = np.nan_to_num(vector)
    bodies = []
    with closing(client(bodies)) as qdrant:
        point = models.PointStruct.model_construct(id=1, vector={"dense": vector}, payload={})
        points = models.PointsList.model_construct(points=[point])
        upsert = models.UpsertOperation.model_construct(upsert=points)
        RestClient(qdrant).batch_update_points("things", [upsert], wait=True)
    (point,) = orjson.loads(bodies[0][-1])["operations"][0]["upsert"]["points"]
    assert np.array_equal(np.array(point["vector"]["dense"], np.float64).astype("f4"), vector)


def test_objects_that_are_no_operation_are_not_sent():
    bodies = []
    with closing(client(bodies)) as qdrant, pytest.raises(TypeError, match="object"):
        RestClient(qdrant).batch_update_points("things", [object()], wait=True)
    assert bodies == []


def test_clients_that_write_otherwise_are_left_to_do_so():
    class Own(QdrantClient):
        def batch_update_points(self, *args, **kwargs):
            return []

    with closing(client([])) as qdrant, closing(QdrantClient(":memory:")) as local:
        assert isinstance(rest_client_of(qdrant), RestClient)
        assert rest_client_of(local) is local
        qdrant.batch_update_points = list
        assert rest_client_of(qdrant) is qdrant
    for others in (Own(URL, check_compatibility=False), client([], prefer_grpc=True)):
        with closing(others):
            assert rest_client_of(others) is others
