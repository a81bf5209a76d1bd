"""Embedding functions that call servers: one with OpenAI's interface, and Ollama's."""

import json
import math
import pickle
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click
import numpy as np
import pytest

import retrieval_store
from retrieval_store import OllamaEmbeddingFunction, OpenAIEmbeddingFunction
from retrieval_store.cli import shared
from retrieval_store.embeddings import max_tokens_of
from retrieval_store.errors import (
    ConflictError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidTypeError,
)
from tests.helpers.circumstances import as_a_new_process, forget_given
from tests.helpers.tuned import tuned


@contextmanager
def serving(handler):
    """The URL of a server with this handler."""
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, args=[0.02])
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def answer(handler, status, headers, text):
    handler.send_response(status)
    for header, value in headers.items():
        handler.send_header(header, value)
    handler.end_headers()
    handler.wfile.write(text.encode())


@pytest.fixture(autouse=True)
def in_a_new_process_that_waits_little(monkeypatch):
    as_a_new_process(monkeypatch)
    tuned(monkeypatch, embedding_pause=0.01)


# a server with OpenAI's interface


@pytest.fixture
def server(monkeypatch):
    """Responds with the lengths of texts, after the failures that the test sets; records
    requests."""
    query, failures = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            query.append((self.path, self.headers.get("Authorization"), body))
            if failures:
                answer(self, *failures.pop(0))
                return
            size = body.get("dimensions", 2)
            data = [
                {"index": i, "embedding": [len(text)] * size}
                for i, text in enumerate(body["input"])
            ]
            answer(self, 200, {}, json.dumps({"data": data[::-1]}))

        def log_message(self, *_):
            pass

    monkeypatch.setenv("TEST_KEY", "s3cret")
    with serving(Handler) as url:
        yield f"{url}/v1/", query, failures


def test_a_collection_can_be_created_only_with_a_key(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    with retrieval_store.Client(tmp_path) as client:
        for make in (client.create_collection, client.get_or_create_collection):
            with pytest.raises(EmbeddingFunctionError, match="OPENAI_API_KEY has no key"):
                make("notes", embedding_function="openai")
        assert client.count_collections() == 0
        monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
        client.create_collection("notes", embedding_function="openai")
        monkeypatch.setenv("OPENAI_API_KEY", "")
        for get in (client.get_collection, client.get_or_create_collection):
            assert get("notes", embedding_function="openai").count() == 0  # to open it needs none


def test_a_server_embeds_in_batches_and_the_key_is_never_stored(server, tmp_path):
    url, requests, _ = server
    embed = OpenAIEmbeddingFunction("small", url, "TEST_KEY", dimensions=3, batch_size=2)
    assert embed(["a", "bb", "ccc"]).tolist() == [[1] * 3, [2] * 3, [3] * 3]
    assert [len(body["input"]) for _, _, body in requests] == [2, 1]
    assert requests[0][0] == "/v1/embeddings"
    assert requests[0][1] == "Bearer s3cret"
    assert requests[0][2]["model"] == "small"
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=embed)
        things.add(ids=["x"], documents=["four"])
    assert not any(b"s3cret" in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        assert things.query(query_texts="four")["distances"] == [[0]]


def test_a_meaningless_pause_is_ignored(server):
    url, query, failures = server
    embed = OpenAIEmbeddingFunction("small", url, "TEST_KEY", retries=2)
    for message in ["nan", "-5", "1e999", "soon", "Thu, 01 Jan 1970 00:00:00 GMT"]:
        query.clear()
        failures += [(429, {"Retry-After": message}, "slow down")]
        assert embed(["abc"]).tolist() == [[3, 3]]
        assert len(query) == 2


def test_passing_failures_are_retried_and_others_are_raised(server, monkeypatch):
    url, query, failures = server
    embed = OpenAIEmbeddingFunction("small", url, "TEST_KEY", retries=2)
    failures += [(429, {"Retry-After": "0.01"}, "slow down"), (503, {}, "busy")]
    assert embed(["abc"]).tolist() == [[3, 3]]
    assert len(query) == 3
    failures += [(500, {}, "broken")] * 3
    with pytest.raises(EmbeddingFunctionError, match="answered 500: broken"):
        embed(["abc"])
    failures[:] = [(401, {}, "wrong key")]
    query.clear()
    with pytest.raises(EmbeddingFunctionError, match="answered 401: wrong key"):
        embed(["abc"])
    assert len(query) == 1
    failures[:] = [(200, {}, "<html>")]
    with pytest.raises(EmbeddingFunctionError, match="didn't answer JSON"):
        embed(["abc"])
    failures[:] = [(200, {}, '{"error": 1}')]
    with pytest.raises(EmbeddingFunctionError, match="something else than embeddings"):
        embed(["abc"])
    failures[:] = [(302, {"Location": "http://127.0.0.1:1/steal"}, "")]
    with pytest.raises(EmbeddingFunctionError, match="302"):
        embed(["abc"])
    with pytest.raises(EmbeddingFunctionError, match="can't be reached"):
        OpenAIEmbeddingFunction("small", "http://127.0.0.1:1", None, retries=0)(["a"])
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(EmbeddingFunctionError, match="TEST_KEY has no key"):
        embed(["a"])


@contextmanager
def falling_silent(text):
    """The URL of a server that announces more than it sends, and then waits."""
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            answer(self, 500, {"Content-Length": "100"}, text)
            done.wait(10)

        def log_message(self, *_):
            pass

    with serving(Handler) as url:
        try:
            yield url
        finally:
            done.set()


def test_a_server_that_stops_within_an_error_has_sent_its_status():
    with falling_silent("so") as url, pytest.raises(EmbeddingFunctionError, match="answered 500"):
        OllamaEmbeddingFunction(base_url=url, timeout=0.1, retries=0)(["a"])


def test_an_invalid_url_is_reported_like_an_unreachable_one():
    for url in ["http://127.0.0.1:9/ü", f"http://{'a' * 64}.invalid"]:
        with pytest.raises(EmbeddingFunctionError, match="can't be reached"):
            OllamaEmbeddingFunction(base_url=url)(["a"])


def test_this_machine_is_not_reached_through_a_proxy(server, monkeypatch):
    url, query, _ = server
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    hosts = ("127.0.0.1", "localhost", "127.1", "0.0.0.0", "[::ffff:127.0.0.1]")
    for here in [url.replace("127.0.0.1", host) for host in hosts]:
        assert OpenAIEmbeddingFunction("m", here, None)(["abc"]).tolist() == [[3, 3]]
    elsewhere = OpenAIEmbeddingFunction("m", "http://models.example", None, retries=0)
    with pytest.raises(EmbeddingFunctionError, match="refused"):  # by what is no proxy
        elsewhere(["abc"])
    assert len(query) == len(hosts)


def test_vectors_of_another_length_than_requested_are_refused(server):
    url, _, failures = server
    embed = OpenAIEmbeddingFunction("m", url, None, dimensions=3)
    assert embed(["abc"]).shape == (1, 3)
    failures.append((200, {}, json.dumps({"data": [{"index": 0, "embedding": [1, 2]}]})))
    with pytest.raises(EmbeddingFunctionError, match=r"dimensions is 3, .* vectors of 2 numbers"):
        embed(["abc"])


def test_endless_brackets_are_invalid_json(server):
    url, _, failures = server
    failures.append((200, {}, "[" * 200_000))
    with pytest.raises(EmbeddingFunctionError, match="didn't answer JSON"):
        OpenAIEmbeddingFunction("m", url, "TEST_KEY")(["a"])


def test_keys_never_show_and_answers_must_fit(server, monkeypatch, tmp_path):
    url, _, failures = server
    embed = OpenAIEmbeddingFunction("small", url, "TEST_KEY", retries=0)
    failures += [(401, {}, '{"error": "Incorrect API key: s3cret"}')]
    with pytest.raises(EmbeddingFunctionError, match=r"Incorrect API key: \*\*\*"):
        embed(["a"])
    for key in ("s3cret\u2019", "s3\ncret"):
        monkeypatch.setenv("TEST_KEY", key)
        with pytest.raises(EmbeddingFunctionError, match="TEST_KEY has no key that can be sent"):
            embed(["a"])
    monkeypatch.setenv("TEST_KEY", " s3cret\n")
    assert embed(["abc"]).tolist() == [[3, 3]]
    assert embed([]).shape == (0, 0)
    for count in (1, 3):
        data = [{"index": i, "embedding": [1, 2]} for i in range(count)]
        failures += [(200, {}, json.dumps({"data": data}))]
        with pytest.raises(EmbeddingFunctionError, match="something else than embeddings"):
            embed(["a", "b"])
    odd = ("https://host/v1?key=s3cret", "https://host/v1#part", "http://host/v1?")
    for base in ("https://user:pw@host/v1", "ftp://host/v1", "host", *odd):
        with pytest.raises(ValueError, match="base_url must be"):
            OpenAIEmbeddingFunction("small", base)


def test_settings_of_requests_are_validated():
    for wrong in ({"batch_size": 0}, {"batch_size": 1.5}, {"timeout": 0}, {"timeout": "1"}):
        (name,) = wrong
        for kind in (OpenAIEmbeddingFunction, OllamaEmbeddingFunction):
            with pytest.raises(InvalidArgumentError, match=f"^{name} is"):
                kind("m", **wrong)
    with pytest.raises(InvalidArgumentError, match=r"retries is -1 \(int\), expected an int of 0"):
        OpenAIEmbeddingFunction(retries=-1)


def test_numbers_that_no_vector_can_have_are_no_embeddings(server):
    url, _, failures = server
    embed = OpenAIEmbeddingFunction("small", url, None, retries=0)
    for wrong in ([math.nan, 1], [None, 1], [], [[1]], "12", [1e300, 1], [10**400, 1]):
        failures += [(200, {}, json.dumps({"data": [{"index": 0, "embedding": wrong}]}))]
        with pytest.raises(EmbeddingFunctionError, match="something else than embeddings"):
            embed(["a"])
    for width in (2, 3):
        text = json.dumps({"data": [{"index": 0, "embedding": [1] * width}]})
        failures += [(200, {}, text)]
    embed = OpenAIEmbeddingFunction("small", url, None, batch_size=1)
    with pytest.raises(EmbeddingFunctionError, match="vectors of 2 and of 3 numbers"):
        embed(["a", "b"])


def test_tokens_are_known_of_openais_own_models_at_openai():
    assert OpenAIEmbeddingFunction().max_tokens == 8191
    assert OpenAIEmbeddingFunction("text-embedding-ada-002").max_tokens == 8191
    assert OpenAIEmbeddingFunction("bge-m3").max_tokens is None
    assert OpenAIEmbeddingFunction(base_url="http://localhost:8080/v1").max_tokens is None


# Ollama

CONTEXT = 6  # tokens, which are words here
WIDTH = 4


def vector_of(text):
    """(WIDTH,) of length 1, from the words within the model's limit."""
    words = text.split()[:CONTEXT]
    numbers = [len(words) + 1, *(sum(map(ord, word)) % 97 for word in words[: WIDTH - 1])]
    numbers += [0] * (WIDTH - len(numbers))
    return [number / math.hypot(*numbers) for number in numbers]


class Ollama:
    """What Ollama's own server does with a request, according to its documentation and code."""

    def __init__(self):
        self.models = {"nomic-embed-text:latest", "tiny:latest", "tiny:v2"}
        self.show = {
            "parameters": 'num_ctx                        8192\nstop  "x"',
            "model_info": {"general.architecture": "bert", "bert.context_length": CONTEXT},
        }
        self.asked, self.failures = [], []

    def said(self, path, body):
        """(status, response body)."""
        try:
            body = json.loads(body)
        except ValueError as error:
            return 400, {"error": str(error)}
        kinds = {"model": str, "truncate": bool, "dimensions": int}
        for name, kind in kinds.items():
            if name in body and type(body[name]) is not kind:
                return 400, {"error": f"cannot unmarshal into field {name}"}
        name = body.get("model", "")
        if (name if ":" in name else f"{name}:latest") not in self.models:
            return 404, {"error": f'model "{name}" not found, try pulling it first'}
        return self.embedded(body) if path == "/api/embed" else (200, self.show)

    def embedded(self, body):
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            return 400, {"error": "invalid input type"}
        if not body.get("truncate", True) and any(len(t.split()) > CONTEXT for t in texts):
            return 400, {"error": "the input length exceeds the context length"}
        vectors = [vector_of(text)[: body.get("dimensions", WIDTH)] for text in texts]
        return 200, {"model": body["model"], "embeddings": vectors, "total_duration": 1}


@pytest.fixture
def ollama():
    """A server with Ollama's interface: its URL, its models, the requests, and the failures it
    returns first."""
    state = Ollama()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path not in ("/api/embed", "/api/show"):
                answer(self, 404, {}, "404 page not found")
                return
            state.asked.append((self.path, json.loads(body)))
            if state.failures:
                answer(self, *state.failures.pop(0))
                return
            status, message = state.said(self.path, body)
            answer(self, status, {"Content-Type": "application/json"}, json.dumps(message))

        def log_message(self, *_):
            pass

    with serving(Handler) as url:
        state.url = url
        yield state


def test_ollama_embeds_in_batches_and_in_order(ollama):
    embed = OllamaEmbeddingFunction("tiny", ollama.url + "/", batch_size=2)
    texts = ["a cat", "the stock market", "", "a dog", "Zürich \U0001f600"]
    vectors = embed(texts)
    assert (vectors.shape, vectors.dtype) == ((5, WIDTH), np.float32)
    assert np.allclose(vectors, [vector_of(text) for text in texts])
    assert [path for path, _ in ollama.asked] == ["/api/embed"] * 3
    assert [body["input"] for _, body in ollama.asked] == [texts[:2], texts[2:4], texts[4:]]
    assert ollama.asked[0][1] == {"model": "tiny", "input": texts[:2], "truncate": True}
    assert np.array_equal(embed.embed_query(texts), vectors)
    assert embed([]).shape == (0, 0)
    assert np.array_equal(pickle.loads(pickle.dumps(embed))(texts), vectors)


def test_requests_to_ollama_are_bounded_by_their_characters_too(ollama):
    texts = ["a" * 300_000, "b" * 150_000, "c", "d" * 900_000, "e"]
    assert len(OllamaEmbeddingFunction("tiny", ollama.url)(texts)) == 5
    sent = [["".join(sorted({*text})) for text in body["input"]] for _, body in ollama.asked]
    assert sent == [["a"], ["b", "c"], ["d"], ["e"]]


def test_a_text_that_is_longer_than_the_model_takes_in_counts_by_its_beginning(ollama):
    embed = OllamaEmbeddingFunction("tiny", ollama.url)
    words = " ".join(f"w{i}" for i in range(50))
    assert np.array_equal(embed([words]), embed([" ".join(words.split()[:CONTEXT])]))
    assert embed.max_tokens == CONTEXT


def test_queries_and_documents_get_the_prefixes_that_the_model_was_trained_with(ollama):
    embed = OllamaEmbeddingFunction("nomic-embed-text", ollama.url)
    embed(["a cat"])
    embed.embed_query(["cats?"])
    assert [body["input"] for _, body in ollama.asked] == [
        ["search_document: a cat"],
        ["search_query: cats?"],
    ]
    own = OllamaEmbeddingFunction(
        "nomic-embed-text", ollama.url, query_prefix="", document_prefix="clustering: "
    )
    assert own.settings()["query_prefix"] == ""
    assert np.allclose(own(["a cat"]), [vector_of("clustering: a cat")])
    assert np.allclose(own.embed_query(["a cat"]), [vector_of("a cat")])


def test_prefixes_go_by_the_family_of_a_model():
    for model, query, document in [
        ("nomic-embed-text:v1.5", "search_query: ", "search_document: "),
        ("nomic-ai/nomic-embed-text-v1.5-Q", "search_query: ", "search_document: "),
        ("hf.co/me/Multilingual-E5-Large", "query: ", "passage: "),
        ("snowflake-arctic-embed2:568m", "query: ", ""),
        ("all-minilm", "", ""),
    ]:
        settings = OllamaEmbeddingFunction(model).settings()
        assert (settings["query_prefix"], settings["document_prefix"]) == (query, document)


def test_a_model_with_variable_dimension_returns_the_requested_one(ollama):
    embed = OllamaEmbeddingFunction("tiny", ollama.url, dimensions=3)
    assert embed(["a b"]).shape == (1, 3)
    assert ollama.asked[0][1]["dimensions"] == 3
    many = OllamaEmbeddingFunction("tiny", ollama.url, dimensions=9)
    with pytest.raises(EmbeddingFunctionError, match="dimensions is 9, but the model 'tiny' answ"):
        many(["a"])


def test_without_ollama_or_its_model_the_error_says_what_to_do(ollama):
    with pytest.raises(
        EmbeddingFunctionError, match=r"at http://127.0.0.1:1 .*`ollama serve`.*base_url="
    ):
        OllamaEmbeddingFunction("tiny", "http://127.0.0.1:1", retries=1)(["a"])
    with pytest.raises(
        EmbeddingFunctionError, match='model "no-such" not found.*`ollama pull no-such` fetches'
    ):
        OllamaEmbeddingFunction("no-such", ollama.url)(["a"])
    assert len(ollama.asked) == 1
    with pytest.raises(EmbeddingFunctionError, match="404 page not found.*without /api or /v1"):
        OllamaEmbeddingFunction("tiny", ollama.url + "/v1")(["a"])


def test_passing_failures_of_ollama_are_retried_and_others_are_raised(ollama):
    embed = OllamaEmbeddingFunction("tiny", ollama.url, retries=2)
    busy = json.dumps({"error": "server busy, please try again"})
    ollama.failures += [(503, {"Retry-After": "0.01"}, busy), (500, {}, "")]
    assert embed(["a cat"]).shape == (1, WIDTH)
    assert len(ollama.asked) == 3
    ollama.asked.clear()
    ollama.failures += [(400, {}, json.dumps({"error": '"tiny" does not support embeddings'}))]
    with pytest.raises(EmbeddingFunctionError, match='answered 400: "tiny" does not support'):
        embed(["a cat"])
    assert len(ollama.asked) == 1


def test_responses_without_a_vector_for_each_text_are_refused(ollama):
    for message in [
        {},
        {"embeddings": None},
        {"embeddings": [[1, 2]]},
        {"embeddings": [[1, 2]] * 3},
        {"embeddings": [[1, 2], [1]]},
        {"embeddings": [[1, 2], [1, None]]},
        {"embeddings": [1, 2]},
        {"embedding": [[1, 2], [1, 2]]},
    ]:
        ollama.failures += [(200, {}, json.dumps(message))]
        with pytest.raises(EmbeddingFunctionError, match="something else than embeddings"):
            OllamaEmbeddingFunction("tiny", ollama.url, retries=0)(["a", "b"])
        ollama.failures += [(200, {}, "<html>")]
        with pytest.raises(EmbeddingFunctionError, match="didn't answer JSON"):
            OllamaEmbeddingFunction("tiny", ollama.url, retries=0)(["a", "b"])


def test_a_collection_remembers_its_model_and_calls_no_stored_host(ollama, tmp_path):
    def embed(**more):
        return OllamaEmbeddingFunction("nomic-embed-text", ollama.url, batch_size=3, **more)

    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=embed())
        things.add(ids=["cat", "dog"], documents=["a cat sleeps", "dogs bark"])
        assert things.configuration["embedding_function"] == {
            "name": "ollama",
            "settings": {
                "model": "nomic-embed-text",
                "base_url": ollama.url,
                "query_prefix": "search_query: ",
                "document_prefix": "search_document: ",
                "dimensions": None,
                "batch_size": 3,
            },
        }
    forget_given()  # as in another process
    ollama.asked.clear()
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        with pytest.raises(
            EmbeddingFunctionError, match="'ollama'.*pass it as embedding_function="
        ):
            things.query(query_texts="cats?")
        assert ollama.asked == []
        with pytest.raises(ConflictError, match="'ollama'"):
            client.get_collection("things", embedding_function=embed(query_prefix=""))
    with retrieval_store.Client(tmp_path, trust=True) as client:
        assert client.get_collection("things").query(query_texts="cats?")["ids"]
    with retrieval_store.Client(tmp_path) as client:
        given = client.get_collection("things", embedding_function=embed())
        assert given.query(query_texts="cats?")["ids"]
    with retrieval_store.Client(tmp_path) as client:  # given once, in this process
        assert client.get_collection("things").query(query_texts="cats?")["ids"]
    assert ollama.asked[-1][1]["input"] == ["search_query: cats?"]


def test_ollama_gets_one_request_for_a_models_token_limit(ollama):
    embed = OllamaEmbeddingFunction("tiny", ollama.url)
    assert (embed.max_tokens, max_tokens_of(embed)) == (CONTEXT, CONTEXT)
    assert ollama.asked == [("/api/show", {"model": "tiny"})]
    for show, tokens in (
        ({**ollama.show, "parameters": "num_ctx 4"}, 4),
        ({"model_info": {"general.architecture": "bert"}}, None),
        ({"model_info": None, "parameters": "num_ctx 2048"}, 2048),
        ({}, None),
        ([], None),
    ):
        ollama.show = show
        assert OllamaEmbeddingFunction("tiny", ollama.url).max_tokens == tokens
    assert OllamaEmbeddingFunction("no-such", ollama.url).max_tokens is None
    assert max_tokens_of(OllamaEmbeddingFunction("tiny", "http://127.0.0.1:1")) is None


def test_one_that_was_not_running_is_called_again(ollama):
    embed = OllamaEmbeddingFunction("tiny", ollama.url)
    ollama.failures += [(503, {}, "busy")]
    assert embed.max_tokens is None
    assert embed.max_tokens == CONTEXT


def test_on_the_command_line_it_is_named_without_settings():
    made = shared.make_function("ollama")
    assert made.settings()["model"] == "nomic-embed-text"
    with pytest.raises(click.UsageError, match="the model ollama embeds no images"):
        shared.refuse_images({"name": "ollama", "settings": made.settings()})


def test_arguments_that_ollama_could_not_use_are_refused():
    for base in ("https://user:pw@host", "localhost:11434", "http://", "http://[", None):
        with pytest.raises(InvalidArgumentError, match="base_url must be"):
            OllamaEmbeddingFunction("tiny", base)
    for model in ("", None, 3):
        with pytest.raises(InvalidArgumentError, match="model is"):
            OllamaEmbeddingFunction(model)
    with pytest.raises(InvalidArgumentError, match="dimensions is 0"):
        OllamaEmbeddingFunction("tiny", dimensions=0)
    with pytest.raises(InvalidTypeError, match="document_prefix is 3"):
        OllamaEmbeddingFunction("tiny", document_prefix=3)
    with pytest.raises(InvalidTypeError, match=r"input\[1\] is of type ndarray"):
        OllamaEmbeddingFunction("tiny")(["a", np.zeros((2, 2, 3), np.uint8)])
    assert OllamaEmbeddingFunction("tiny:latest").settings()["model"] == "tiny"


def test_a_collection_remembers_how_many_texts_its_server_takes_at_once(server, tmp_path):
    url, requests, _ = server
    few = OpenAIEmbeddingFunction("small", url, None, batch_size=2)
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("notes", embedding_function=few)
    with retrieval_store.Client(tmp_path, trust=True) as client:
        client.get_collection("notes").add(list("abcde"), documents=list("abcde"))
        assert [len(body["input"]) for _, _, body in requests] == [2, 2, 1]
        usual, other = (OpenAIEmbeddingFunction(model, url, None) for model in ("small", "other"))
        client.get_collection("notes", embedding_function=usual)
        with pytest.raises(ConflictError):
            client.get_collection("notes", embedding_function=other)
