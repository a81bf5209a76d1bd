"""The errors that users get when a cluster refuses or fails, and the retries. Over REST responses
are made up; over gRPC a client raises grpc's errors."""

import copy
import logging
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.grpc import HealthCheckReply

import retrieval_store
from retrieval_store import errors
from retrieval_store_cluster import client as remote_cluster
from retrieval_store_cluster.client import Cluster, IndexMissing, Nodes, VectorMissing
from tests.helpers import steps
from tests.helpers.clocks import noted_pauses

URL = "http://qdrant.example"
COUNTED = {"time": 0.0, "status": "ok", "result": {"count": 7}}
TONIC = (
    "Service internal error: 1 of 1 read operations failed:\n  Service internal error: Tonic status "
    'error: status: Unavailable, message: "error trying to connect: tcp connect error", details: []'
)
RAW = ("Unexpected Response", "Raw response", "b'", "Tonic", "MetadataMap", "StatusCode", "\n")
NOTHING = "nothing was written by this request"
PARTLY = "a part of it may have been done all the same"
UNCERTAIN = "it may have been applied, wholly or in part: repeat the call to complete it"


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The pauses between attempts, which aren't made."""
    return noted_pauses(monkeypatch, "retries on a cluster")


class Answers:
    """A server that returns its version, and then one response after another, repeating the last. A
    response may be an exception of the connection."""

    def __init__(self, *answers, root=None):
        self.answers, self.requests, self.versions = list(answers), 0, 0
        self.root = root or httpx.Response(200, json={"title": "qdrant", "version": "1.20.0"})

    def __call__(self, request):
        if request.url.path == "/":
            self.versions += 1
            return self._given(self.root)
        self.requests += 1
        return self._given(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])

    @staticmethod
    def _given(answer):
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cluster(self, **options):
        return Cluster.at(URL, {"transport": httpx.MockTransport(self), **options})


def said(status, error, **headers):
    """A refusal in Qdrant's form."""
    return httpx.Response(status, json={"status": {"error": error}, "time": 0.0}, headers=headers)


def count(cluster):
    return cluster.call("count", "things", exact=True).count


def write(cluster):
    point = models.PointStruct(id=1, vector={}, payload={})
    upsert = models.UpsertOperation(upsert=models.PointsList(points=[point]))
    return cluster.call("batch_update_points", "things", update_operations=[upsert], wait=True)


def create(cluster):
    return cluster.call("create_collection", "things", vectors_config={})


def failing(call, cluster, kind=errors.ClusterError):
    """The message of the error, which has exactly this class and contains nothing raw."""
    with pytest.raises(kind) as raised:
        call(cluster)
    assert type(raised.value) is kind
    assert raised.value.__cause__ is not None
    message = str(raised.value)
    assert [raw for raw in RAW if raw in message] == []
    return message


# the classes


# refused


def test_an_error_about_a_missing_key_says_how_to_pass_one():
    wanting = Answers(
        httpx.Response(401, text="Must provide an API key or an Authorization bearer")
    )
    message = failing(count, wanting.cluster(), errors.AccessDeniedError)
    assert message == f"the cluster at {URL} wants a key: give it as api_key= of Client"
    assert wanting.requests == 1
    given = QdrantClient(url=URL, transport=httpx.MockTransport(wanting), check_compatibility=False)
    cluster = Cluster(Nodes([given], ["behind qdrant_client"]))
    message = failing(count, cluster, errors.AccessDeniedError)
    assert message.endswith("give it as api_key of the QdrantClient that is qdrant_client")


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_wrong_key_is_reported_and_never_shown():
    refusing = Answers(httpx.Response(401, text="Invalid API key or JWT"))
    message = failing(write, refusing.cluster(api_key="hush"), errors.AccessDeniedError)
    assert "doesn't know the key that is given as api_key= of Client" in message
    assert message.endswith(NOTHING)
    assert "hush" not in message
    illegal = Answers(httpx.LocalProtocolError("Illegal header value b'hush\\n'"))
    message = failing(count, illegal.cluster(api_key="hush\n"), errors.AccessDeniedError)
    assert message.startswith("api_key= of Client can't be sent")
    assert "hush" not in message


def test_a_read_only_key_is_distinguished_from_a_wrong_one():
    reading = Answers(said(403, "Forbidden: Global write access is required"))
    message = failing(write, reading.cluster(), errors.AccessDeniedError)
    assert "has no right to this, writing points to 'things'" in message
    assert "Global write access is required; " + NOTHING in message
    hosted = Answers(httpx.Response(403, json={"error": "forbidden"}))
    message = failing(count, hosted.cluster(), errors.AccessDeniedError)
    assert "api_key= of Client is wrong, or has no right to this" in message


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            said(400, "Wrong input: Vector dimension error: expected dim: 4, got 3"),
            "expected dim: 4",
        ),
        (said(422, "Validation error in JSON body: [limit: value 0 invalid]"), "limit: value 0"),
        (said(418, "first line\n  second line"), ": first line second line"),
        (said(400, "x" * 5_000), "x" * 200 + "…"),
        (httpx.Response(418), ", without saying why (418)"),
        (httpx.Response(413, html="<html>Too large</html>"), ", without saying why (413)"),
    ],
)
def test_refused_changes_are_named_with_the_reason_and_not_retried(answer, reason):
    refusing = Answers(answer)
    message = failing(count, refusing.cluster())
    assert message.startswith(f"the cluster at {URL} refuses counting points of 'things'")
    assert message.endswith(reason) or reason in message
    assert len(message) < 400
    assert refusing.requests == 1


def test_missing_and_existing_collections_are_recognized_by_the_servers_message():
    missing = Answers(said(404, "Not found: Collection `things` doesn't exist!"))
    with pytest.raises(errors.NotFoundError, match="no collection 'things'"):
        count(missing.cluster())
    taken = Answers(said(409, "Wrong input: Collection `things` already exists!"))
    with pytest.raises(errors.AlreadyExistsError, match="'things' already"):
        create(taken.cluster())
    point = Answers(said(404, "Not found: No point with id 9 found"))
    assert "No point with id 9 found" in failing(count, point.cluster())


def test_a_route_that_an_older_server_lacks_is_no_missing_collection():
    older = Answers(httpx.Response(404))
    config = models.DenseVectorNameConfig(
        dense=models.DenseVectorConfig(size=2, distance=models.Distance.DOT)
    )

    def make_room(cluster):
        cluster.call(
            "create_vector_name", "things", vector_name="embedding", vector_name_config=config
        )

    message = failing(make_room, older.cluster())
    assert "doesn't know making room for vectors in 'things'" in message
    assert message.endswith(NOTHING)


# no Qdrant, or none that can be reached


NO_QDRANT = [
    httpx.Response(404, text="nothing here"),
    httpx.Response(405),
    httpx.Response(302, headers={"location": "https://login.example"}),
    httpx.Response(200, html="<html>Welcome</html>"),
    httpx.Response(200, json={"name": "another", "version": {"number": "8.1"}}),
    httpx.Response(200, json=[1]),
    httpx.Response(200, content=b"\xff\xfe"),
    httpx.Response(200),
    httpx.Response(400, html="The plain HTTP request was sent to HTTPS port"),
    httpx.Response(200, json={"title": "x", "version": "latest"}),
]


def test_a_server_that_is_not_qdrant_is_refused_at_once():
    for root in NO_QDRANT:
        other = Answers(httpx.Response(500), root=root)
        with pytest.raises(errors.ClusterError) as raised:
            count(other.cluster())
        assert str(raised.value) == f"there is no Qdrant at {URL}"
        assert (other.versions, other.requests) == (1, 0)


def test_an_invalid_list_of_collections_is_not_from_qdrant():
    for answer in (httpx.Response(200, json={}), httpx.Response(307)):
        message = failing(Cluster.collections, Answers(answer).cluster())
        assert message == f"there is no Qdrant at {URL}"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx.Response(302), f"there is no Qdrant at {URL}"),
        (httpx.Response(200, html="<html>"), "when counting points of 'things' can't be parsed"),
        (httpx.Response(200, json={}), "when counting points of 'things' can't be parsed"),
        (said(500, TONIC.replace("error trying to connect", "No space left")), "disk of a node"),
    ],
)
def test_odd_responses_to_later_calls_are_reported(answer, expected):
    odd = Answers(answer)
    assert expected in failing(count, odd.cluster())
    assert odd.requests == 1


@pytest.mark.parametrize(
    ("met", "why", "attempts"),
    [
        ("[Errno 111] Connection refused", "nothing answers there", 4),
        ("[Errno -2] Name or service not known", "no host of this name is known here", 4),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed", "certificate isn't trusted here", 1),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "is it http:// instead", 1),
    ],
)
def test_unreachable_servers_are_named_with_the_reason(met, why, attempts):
    absent = Answers(root=httpx.ConnectError(met))
    message = failing(write, absent.cluster(), errors.UnavailableError)
    assert message.startswith(f"the cluster at {URL} can't be reached")
    assert why in message
    assert "Errno" not in message
    assert absent.versions == attempts


# timeouts


def test_a_timeout_error_has_its_length_and_its_setting():
    slow = Answers(httpx.ReadTimeout("timed out"))
    message = failing(count, slow.cluster(), errors.ClusterTimeoutError)
    assert "didn't finish counting points of 'things' within 30 s (timeout= of Client" in message
    message = failing(count, slow.cluster(timeout=7), errors.ClusterTimeoutError)
    assert "within 7 s" in message
    given = QdrantClient(url=URL, transport=httpx.MockTransport(slow), check_compatibility=False)
    message = failing(
        count, Cluster(Nodes([given], ["behind qdrant_client"])), errors.ClusterTimeoutError
    )
    assert "in time (timeout of the QdrantClient that is qdrant_client" in message


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ReadTimeout("timed out"),
        httpx.ConnectTimeout("timed out"),
        said(408, "Timeout error: Operation 'Count' timed out after 60 seconds"),
        said(500, "Service internal error: Waiting for consensus operation commit failed. Timeout"),
        said(500, "Service internal error: Failed to propose operation: leader is not established"),
    ],
)
def test_slow_requests_are_retried_once(answer):
    slow = Answers(answer)
    failing(count, slow.cluster(), errors.ClusterTimeoutError)
    assert slow.requests == 2
    slow = Answers(answer, httpx.Response(200, json=COUNTED))
    assert count(slow.cluster()) == 7


# temporary failures


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset by peer"),
        httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
        httpx.Response(200, content=b'{"time": 0.0, "result": {"cou'),
        httpx.Response(502, html="<html>Bad gateway</html>"),
        said(503, "Service unavailable"),
        httpx.Response(504),
        httpx.Response(429),
        said(429, "Rate limiting exceeded", **{"retry-after": "soon"}),
        said(500, TONIC),
        said(500, "The replica set for shard 0 on peer 1 has no active replica"),
        said(500, "Failed to apply operation to at least one `Active` replica"),
    ],
)
def test_passing_failures_are_retried_three_times(answer, pauses, caplog):
    shaky = Answers(answer, answer, answer, httpx.Response(200, json=COUNTED))
    with caplog.at_level(logging.WARNING, "retrieval_store"):
        assert count(shaky.cluster()) == 7
    assert pauses == list(remote_cluster.PAUSES)
    messages = [record.getMessage() for record in caplog.records]
    assert all(URL in message and message.endswith("; trying again") for message in messages)
    assert [raw for raw in RAW for message in messages if raw in message] == []
    lasting = Answers(answer)
    failing(count, lasting.cluster(), errors.UnavailableError)
    assert lasting.requests == 4


def test_a_shard_without_a_living_replica_is_explained():
    for sentence in (TONIC, "The replica set for shard 0 on peer 1 has no active replica"):
        message = failing(count, Answers(said(500, sentence)).cluster(), errors.UnavailableError)
        assert "a node with a shard of 'things' is down or failing" in message
        assert "replication_factor of 2 or more" in message


def test_a_client_waits_for_a_short_pause_requested_by_the_server(pauses):
    busy = said(429, "Rate limiting exceeded: Read rate limit exceeded", **{"retry-after": "3"})
    assert count(Answers(busy, httpx.Response(200, json=COUNTED)).cluster()) == 7
    assert pauses == [3]
    for_long = Answers(said(429, "Rate limiting exceeded", **{"retry-after": "600"}))
    message = failing(count, for_long.cluster(), errors.UnavailableError)
    assert "accepts no more requests at the moment: Rate limiting exceeded" in message
    assert for_long.requests == 1


def test_permanent_failures_are_not_retried():
    for answer in (
        said(500, "Service internal error: task 12 panicked"),
        said(500, "Service internal error: No space left on device: WAL buffer size exceeds"),
        httpx.Response(200, json={"result": {"count": "seven"}}),
    ):
        broken = Answers(answer)
        failing(count, broken.cluster())
        assert broken.requests == 1


# whether it was done


@pytest.mark.parametrize(
    ("answers", "call", "outcome"),
    [
        ([httpx.ConnectError("refused")], write, NOTHING),
        ([said(422, "Validation error")], write, NOTHING),
        ([said(400, "Wrong input: no")], create, NOTHING),
        ([said(429, "Rate limiting exceeded")], create, NOTHING),
        # The first of several operations or shards may be done when another is refused.
        ([said(400, "Wrong input: 1 out of 2 shards failed to apply operation")], write, PARTLY),
        ([said(400, "Wrong input: Not existing vector name error: embedding")], write, PARTLY),
        ([said(429, "Write rate limit exceeded")], write, UNCERTAIN),
        ([httpx.ReadTimeout("timed out")], write, UNCERTAIN),
        ([httpx.ReadError("reset by peer")], create, UNCERTAIN),
        ([httpx.Response(503)], write, UNCERTAIN),
        ([httpx.Response(200, json={})], write, UNCERTAIN),
        ([said(408, "Timeout error")], write, UNCERTAIN),
        ([said(500, TONIC)], write, UNCERTAIN),
        ([said(500, "No space left on device")], write, UNCERTAIN),
        ([said(500, "Waiting for consensus operation commit failed")], create, UNCERTAIN),
        ([said(500, "Service internal error: x")], write, UNCERTAIN),
        # The last attempt says nothing about earlier ones.
        ([httpx.ReadError("reset by peer"), httpx.ConnectError("refused")], write, UNCERTAIN),
        ([httpx.ReadError("reset by peer"), said(422, "Validation error")], create, UNCERTAIN),
    ],
)
def test_a_failed_write_reports_whether_it_may_have_been_done(answers, call, outcome):
    with pytest.raises(errors.ClusterError) as raised:
        call(Answers(*answers).cluster())
    assert [one for one in (NOTHING, PARTLY, UNCERTAIN) if one in str(raised.value)] == [outcome]


def test_the_arguments_that_complete_a_call_are_named_in_its_refusal():
    lost = Answers(httpx.ReadError("reset by peer"))
    assert "upsert, where it was add" in failing(write, lost.cluster(), errors.UnavailableError)
    message = failing(create, lost.cluster(), errors.UnavailableError)
    assert "get_or_create_collection" in message


# the same over gRPC


class Rpc(grpc.RpcError):
    """In the form that grpc raises."""

    def __init__(self, code, details):
        self._said = code, details

    def code(self):
        return self._said[0]

    def details(self):
        return self._said[1]


class Raising:
    """A client of a current Qdrant; all other calls raise the same error."""

    def __init__(self, error):
        self.error, self.calls = error, 0

    def info(self):
        return models.VersionInfo(title="qdrant", version="1.20.0")

    def __getattr__(self, name):
        def call(**arguments):
            self.calls += 1
            raise self.error

        return call


def outcome_of(call, cluster):
    with pytest.raises(errors.RetrievalStoreError) as raised:
        call(cluster)
    return type(raised.value), str(raised.value)


CODE = grpc.StatusCode
INDEX = (
    'Bad request: Index required but not found for "k" of one of the following types: '
    "[float, integer]. Help: Create an index for this key or use a different filter."
)
VECTOR = "Wrong input: Not existing vector name error: embedding"
NO_RIGHT, MISSING = (
    "Global write access is required",
    "Not found: Collection `things` doesn't exist!",
)
TAKEN = "Wrong input: Collection `things` already exists!"
UNKNOWN_NAME = "[Errno -2] Name or service not known"
UNCONNECTED = "failed to connect to all addresses; last error: UNKNOWN: Connection refused"
UNRESOLVED = "errors resolving qdrant.example:6334: [field:hostname lookup error:lookup failed]"
ALIKE = [
    (said(400, "Wrong input: no"), CODE.INVALID_ARGUMENT, "Wrong input: no"),
    (said(401, "Invalid API key or JWT"), CODE.UNAUTHENTICATED, "Invalid API key or JWT"),
    (said(401, "Must provide an API key"), CODE.UNAUTHENTICATED, "Must provide an API key"),
    (said(403, f"Forbidden: {NO_RIGHT}"), CODE.PERMISSION_DENIED, NO_RIGHT),
    (said(404, MISSING), CODE.NOT_FOUND, MISSING),
    (said(409, TAKEN), CODE.ALREADY_EXISTS, TAKEN),
    (said(429, "Write rate limit"), CODE.RESOURCE_EXHAUSTED, "Write rate limit"),
    (said(500, TONIC), CODE.INTERNAL, TONIC),
    (said(500, "Service internal error: x"), CODE.INTERNAL, "Service internal error: x"),
    (httpx.Response(503), CODE.UNAVAILABLE, "recvmsg:Connection reset by peer"),
    (httpx.ReadTimeout("late"), CODE.DEADLINE_EXCEEDED, "Deadline Exceeded"),
    (httpx.ReadError("reset"), CODE.INTERNAL, "Received RST_STREAM with error code 2"),
    (httpx.ConnectError("refused"), CODE.UNAVAILABLE, UNCONNECTED),
    (httpx.ConnectError(UNKNOWN_NAME), CODE.UNAVAILABLE, UNRESOLVED),
    (httpx.Response(404), CODE.UNIMPLEMENTED, ""),
    (said(400, INDEX), CODE.INVALID_ARGUMENT, INDEX),
    (said(400, VECTOR), CODE.INVALID_ARGUMENT, VECTOR),
]


@pytest.mark.parametrize("call", [count, write])
@pytest.mark.parametrize(("answer", "code", "details"), ALIKE)
def test_grpc_and_rest_report_the_same(answer, code, details, call):
    rest, raising = Answers(answer), Raising(Rpc(code, details))
    client = QdrantClient(url=URL, transport=httpx.MockTransport(rest), check_compatibility=False)
    outcome = outcome_of(call, Cluster(Nodes([client], ["there"])))
    assert outcome_of(call, Cluster(Nodes([raising], ["there"]))) == outcome
    assert raising.calls == rest.requests
    assert [raw for raw in (*RAW, "RST_STREAM", "recvmsg") if raw in outcome[1]] == []


@pytest.fixture
def grpc_port():
    """The port of a server that returns its version, and refuses everything else like a server with
    a node down."""

    class Answering(grpc.GenericRpcHandler):
        def service(self, details):
            if details.method.endswith("HealthCheck"):
                said = HealthCheckReply(title="qdrant", version="1.20.0").SerializeToString()
                return grpc.unary_unary_rpc_method_handler(lambda request, context: said)
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: context.abort(CODE.INTERNAL, TONIC)
            )

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Answering()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


def over_grpc(port):
    return Cluster.at("http://127.0.0.1", {"prefer_grpc": True, "grpc_port": port})


def test_errors_over_grpc_equal_those_over_rest(grpc_port):
    cluster = over_grpc(grpc_port)
    message = failing(count, cluster, errors.UnavailableError)
    assert "a node with a shard of 'things' is down or failing" in message
    assert cluster.version == (1, 20)
    cluster.close()
    with pytest.raises(errors.ClientClosedError):
        count(cluster)


# attributes that callers use


def test_a_missing_index_names_the_key_and_the_kinds():
    for key in ("k", 'a."b c"[].d', 'for "x" of one of'):
        refusing = Answers(said(400, INDEX.replace('"k"', f'"{key}"')))
        with pytest.raises(IndexMissing) as raised:
            count(refusing.cluster())
        assert raised.value.key == copy.copy(raised.value).key == key
        assert raised.value.kinds == ("float", "integer")
        said_of_it = f"by {key!r} only with an index, of one of the kinds float, integer"
        assert said_of_it in str(raised.value)
        assert isinstance(raised.value, errors.ClusterError)


def test_a_missing_vector_is_reported_by_a_server_and_in_local_mode():
    with pytest.raises(VectorMissing, match="'things' has no such vectors"):
        count(Answers(said(400, VECTOR)).cluster())
    local = QdrantClient(":memory:")
    local.create_collection("things", vectors_config={})
    request = models.QueryRequest(query=[1.0, 2.0], using="embedding")
    with pytest.raises(VectorMissing):
        Cluster(Nodes([local], ["here"])).call("query_batch_points", "things", requests=[request])
    point = models.PointStruct(id=1, vector={"embedding": [1.0, 2.0]})
    with pytest.raises(VectorMissing):
        Cluster(Nodes([local], ["here"])).call("upsert", "things", points=[point])
    local.close()


def test_a_closed_client_raises_at_once(pauses):
    for client in (
        QdrantClient(url=URL, transport=httpx.MockTransport(Answers()), check_compatibility=False),
        QdrantClient(":memory:"),
    ):
        client.close()
        with pytest.raises(errors.ClientClosedError, match="the cluster there was closed"):
            Cluster(Nodes([client], ["there"])).collections()
    with pytest.raises(errors.ClientClosedError):
        count(
            Cluster(Nodes([Raising(ValueError("Cannot invoke RPC on closed channel!"))], ["there"]))
        )
    assert pauses == []


# versions


def serving(version):
    return Answers(
        httpx.Response(200, json=COUNTED),
        root=httpx.Response(200, json={"title": "qdrant", "version": version}),
    )


def test_the_version_is_requested_once_at_the_first_call():
    for version, numbers in (("1.18.0", (1, 18)), ("1.20.0-dev", (1, 20)), ("v2.0.1", (2, 0))):
        server = serving(version)
        cluster = server.cluster()
        assert server.versions == 0
        assert [count(cluster), count(cluster)] == [7, 7]
        assert cluster.version == numbers
        assert server.versions == 1


def test_an_older_server_is_refused_before_the_first_request():
    for version in ("1.17.4", "0.11.1", "1.9.7-dev"):
        server = serving(version)
        cluster = server.cluster()
        for call in (count, write, Cluster.collections, Cluster.aliases):
            with pytest.raises(errors.ClusterError) as raised:
                call(cluster)
            assert str(raised.value) == (
                f"the cluster at {URL} is a Qdrant {version}; 1.18 or newer is needed"
            )
        assert server.requests == 0


def test_creating_a_client_sends_no_request_and_no_warning():
    server, before = serving("1.20.0"), set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client = retrieval_store.Client(url=URL, transport=httpx.MockTransport(server))
    assert set(threading.enumerate()) <= before  # nothing that asks later either
    assert server.versions == server.requests == 0
    client.close()


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({}, {"accept-encoding": "identity"}),
        ({"headers": {"x-mine": "1"}}, {"accept-encoding": "identity", "x-mine": "1"}),
        ({"headers": {"Accept-Encoding": "gzip"}}, {"Accept-Encoding": "gzip"}),
        ({"prefer_grpc": True}, None),
    ],
)
def test_a_cluster_is_asked_for_uncompressed_answers(monkeypatch, options, headers):
    given = {}
    steps.replace(monkeypatch, "connect_to_cluster", lambda **options: given.update(options))
    with pytest.raises(errors.InvalidTypeError):
        Cluster.at(URL, {"check_compatibility": True, "timeout": 5, **options})
    assert given.get("headers") == headers
    assert (given["check_compatibility"], given["timeout"]) == (True, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 70_000), ("port", 0), ("port", "6333"), ("prefix", "ä"), ("prefix", "a b"),
     ("prefix", "a\r\nx: y"), ("prefix", 5)],
)  # fmt: skip
def test_an_address_that_cannot_be_requested_is_refused(name, value):
    with pytest.raises(errors.InvalidArgumentError, match=f"{name} is "):
        retrieval_store.Client(url="http://localhost", **{name: value})


def test_a_timeout_that_is_no_time_is_refused():
    for timeout in (0, -1, "30", float("inf"), float("nan"), 1e12, 10**400):
        with pytest.raises(errors.InvalidArgumentError, match="timeout is .*more than 0"):
            retrieval_store.Client(url="http://localhost:6333", timeout=timeout)
