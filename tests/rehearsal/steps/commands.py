"""Every command of retrieval-store, as a separate process."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

import retrieval_store
from tests.helpers import PATIENCE, ROOT
from tests.rehearsal.asked import DOCUMENTS, wheres
from tests.rehearsal.scenario import EVERYTHING, Scenario, compare
from tests.rehearsal.shapes import Records
from tests.rehearsal.steps import step
from tests.rehearsal.truth import Truth, check_hits, own_word

PROGRAM = [sys.executable, "-m", "retrieval_store"]
DISK = frozenset({"disk"})
STORES = DISK | {"served"}  # what a command can name


def named(scenario: Scenario) -> str:
    """STORE, as a user writes it."""
    return str(scenario.place.path or scenario.place.url)


def run(*words: Any, stdin: str = "", code: int = 0) -> str:
    """The output of a command. Fails if it ends with another exit code."""
    done = subprocess.run(
        [*PROGRAM, *map(str, words)],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == code, f"{words[:4]}: {done.returncode}, {done.stderr[-2000:]}"
    return done.stderr if code == 1 else done.stdout


def json_output(*words: Any) -> Any:
    return json.loads(run(*words, "--json"))


def lines(*words: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(*words, "--json").splitlines()]


def as_got(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Records from JSON lines, in the form of `get`."""
    return {
        "ids": [row["id"] for row in rows],
        "metadatas": [row.get("metadata") for row in rows],
        "documents": [row.get("document") for row in rows],
        "embeddings": [row["embedding"] for row in rows],
    }


def rows_of(records: Records) -> list[dict[str, Any]]:
    """Records as JSON lines."""
    n = len(records)
    metadatas, documents = records.metadatas or [None] * n, records.documents or [None] * n
    columns = zip(records.ids, records.vectors.tolist(), metadatas, documents, strict=True)
    return [
        {"id": one, "embedding": vector, "metadata": metadata, "document": document}
        for one, vector, metadata, document in columns
    ]


def vector_of(scenario: Scenario, count: int = 1) -> tuple[np.ndarray, str]:
    query = scenario.queries(count)[0]
    return query, json.dumps(query.tolist())


@contextmanager
def opened(path: Any, name: str = "scenario") -> Iterator[Any]:
    """A collection that commands have created."""
    with retrieval_store.Client(path) as client:
        yield client.get_collection(name, embedding_function=None)


@step(places=STORES)
def says_what_is_there(scenario: Scenario) -> None:
    store = named(scenario)
    own = next(one for one in json_output("list", store) if one["collection"] == "scenario")
    assert (own["points"], own["distance"]) == (len(scenario.truth), scenario.shape.metric)
    assert own["problem"] is None
    info = json_output("info", store, "scenario")
    vectors = info["vectors"][""]
    assert info["points"] == vectors["vectors"] == len(scenario.truth)
    assert vectors["dimension"] == scenario.shape.dimension
    assert "no collection" in run("count", store, "nowhere", code=1)
    if scenario.length == "suite":
        return
    assert json_output("info", store)["points"] >= len(scenario.truth)
    assert str(len(scenario.truth)) in run("info", store, "scenario").replace(",", "")
    assert json_output("count", store, "scenario") == {"count": len(scenario.truth)}


@step("keys", places=STORES)
def counts_and_gets(scenario: Scenario) -> None:
    store = named(scenario)
    for where in list(wheres(scenario.shape).values())[:: scenario.times(25, 3, 1)]:
        right = scenario.truth.matching(where)
        query = ("scenario", "--where", json.dumps(where))
        assert json_output("count", store, *query) == {"count": len(right)}, where
        got = lines("get", store, *query, "--limit", 500)
        compare([row["id"] for row in got], right[:500], f"{where}")
    scenario.check_records(as_got(lines("peek", store, "scenario", "-n", 7, "--embeddings")))
    ids = scenario.some(100)
    got = as_got(lines("get", store, "scenario", *ids, "--embeddings"))
    compare(got["ids"], ids, "ids that were asked for")
    scenario.check_records(got)
    right = scenario.truth.list_in_order(scenario.truth.matching({"topic": "birds"}), "price", True)
    page = ("--order-by", "price", "--descending", "--offset", 20, "-n", 40)
    got = lines("get", store, "scenario", "--where", '{"topic": "birds"}', *page)
    assert [row["id"] for row in got] == right[20:60]


@step("keys", places=STORES)
def counts_values(scenario: Scenario) -> None:
    store, where = named(scenario), {"year": {"$gte": 2010}}
    for key in ("tags", "year", "topic")[: scenario.times(1, 3, 3)]:
        right = scenario.truth.facet(key, scenario.truth.ids)
        got = lines("facet", store, "scenario", key, "-n", 100)
        assert [(row["value"], row["points"]) for row in got] == right[:100], key
    right = scenario.truth.facet("topic", scenario.truth.matching(where))
    got = lines("facet", store, "scenario", "topic", "--where", json.dumps(where))
    assert [(row["value"], row["points"]) for row in got] == right[:10]


@step("keys", places=STORES)
def queries(scenario: Scenario) -> None:
    """Queries by vectors, with filters, with an offset, within a distance, and exactly."""
    store, shares = named(scenario), []
    chosen = list(wheres(scenario.shape).values())[11 :: scenario.times(20, 4, 1)]
    for where in [None, *chosen]:
        query, vector = vector_of(scenario)
        more = () if where is None else ("--where", json.dumps(where))
        rows = lines("query", store, "scenario", "--vector", vector, "-k", 20, *more)
        allowed = None if where is None else scenario.truth.matching(where)
        hits = ([row["id"] for row in rows], [row["distance"] for row in rows])
        shares.append(check_hits(scenario.truth, query, *hits, 20, allowed))
    assert np.mean(shares) >= (1.0 if scenario.exact else 0.98)
    query, vector = vector_of(scenario)
    wanted_query = ("query", store, "scenario", "--vector", vector, "--exact", "-k")
    first, rest = lines(*wanted_query, 30), lines(*wanted_query, 20, "--offset", 10)
    assert [row["id"] for row in first][10:] == [row["id"] for row in rest]
    if scenario.length == "suite":
        return
    bound = first[14]["distance"]
    assert len(lines(*wanted_query, 50, "--max-distance", bound + 1e-7)) >= 15
    assert json_output(*wanted_query, 5, "--explain")["points"] == len(scenario.truth)


@step("texts", places=STORES)
def queries_by_words(scenario: Scenario) -> None:
    store, (one,) = named(scenario), scenario.some(1)
    scenario.collection.query(
        query_texts="socket", mode="text"
    )  # after which words are kept on disk
    word = own_word(scenario.truth.records[one].document)
    (hit,) = lines("query", store, "scenario", word, "--mode", "text")
    assert (hit["id"], hit["document"]) == (one, scenario.truth.records[one].document)
    assert hit["metadata"] == scenario.truth.records[one].metadata
    query = ("query", store, "scenario", "socket timeout", "-k", 10)
    where = json.dumps(DOCUMENTS["contains"])
    rows = lines(*query, "--mode", "text", "--where-document", where)
    assert len(rows) == 10 and all("interpreter" in row["document"] for row in rows)
    assert sorted((row["score"] for row in rows), reverse=True) == [r["score"] for r in rows]
    if scenario.length == "suite":
        return
    assert f"1. {one}  score" in run("query", store, "scenario", word, "--mode", "text", "-k", 1)
    both = lines(*query, "--mode", "hybrid", "--model", "wordllama", "--alpha", 0.5)
    assert len({row["id"] for row in both}) == 10


@step("texts", places=DISK, least="first")
def queries_by_the_model(scenario: Scenario) -> None:
    """A text is found by the vector that the model computes."""
    text = "how does a thread wait for a lock"
    vector = np.asarray(retrieval_store.WordLlamaEmbedding()([text]))[0]
    query = ("scenario", text, "--model", "wordllama", "-k", 10)
    rows = lines("query", named(scenario), *query)
    hits = ([row["id"] for row in rows], [row["distance"] for row in rows])
    assert check_hits(scenario.truth, vector, *hits, 10) == 1


@step("texts", places=STORES)
def says_why(scenario: Scenario) -> None:
    """Ranks are those of brute force."""
    store, ids = named(scenario), scenario.truth.ids
    query, vector = vector_of(scenario)
    distances = scenario.truth.distances(query)
    order = np.argsort(distances, kind="stable")
    chosen = [ids[order[place]] for place in (0, 5, 50, len(ids) // 2)]
    records = [word for one in chosen for word in ("--record", one)]
    found = lines("why", store, "scenario", "--vector", vector, "-k", 10, *records)
    assert [one["id"] for one in found] == chosen
    assert [one["found"] for one in found] == [True, True, False, False]
    for one in found:
        leg, own = one["legs"]["dense"], distances[ids.index(one["id"])]
        assert abs(leg["distance"] - own) < 1e-5
        nearer, level = (distances < own - 1e-6).sum(), (distances < own + 1e-6).sum()
        assert nearer < leg["rank"] <= level, one["id"]
    if scenario.length == "suite":
        return
    word = own_word(scenario.truth.records[chosen[3]].document)
    (one,) = lines("why", store, "scenario", "socket", "--mode", "text", "--containing", word)
    has = "socket" in re.findall(r"\w+", scenario.truth.records[chosen[3]].document.lower())
    assert (one["id"], one["missing_words"] == ["socket"]) == (chosen[3], not has)


@step("texts", places=DISK, least="first")
def evaluates(scenario: Scenario) -> None:
    """Recall compared with brute force, and by words that only one record has."""
    ids = scenario.some(scenario.times(20, 100, 300))
    documents = [scenario.truth.records[one].document for one in ids]
    queries = [" ".join(d.split()[20:32]) + " " + own_word(d) for d in documents]
    file = scenario.new_path("questions.jsonl")
    rows = ({"query": text, "ids": [one]} for text, one in zip(queries, ids, strict=True))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    how = ("--model", "wordllama", "-k", 10, "--mode", "dense", "--mode", "text")
    settings = json_output("evaluate", named(scenario), "scenario", file, *how)["settings"]
    vectors = np.asarray(retrieval_store.WordLlamaEmbedding()(queries))
    places = {name: place for place, name in enumerate(scenario.truth.ids)}
    least, most = 0, 0
    for one, vector in zip(ids, vectors, strict=True):
        distances = scenario.truth.distances(vector)
        own = distances[places[one]]
        least += (distances < own + 1e-6).sum() <= 10
        most += (distances < own - 1e-6).sum() < 10
    assert least <= round(settings["dense"]["recall"]["mean"] * len(ids), 6) <= most
    assert settings["text"]["recall"]["mean"] == 1


@step("texts", places=STORES)
def adds_lines_and_tables(scenario: Scenario) -> None:
    """Files of four formats and standard input give the same records; with --resume and
    --upsert."""
    records = scenario.more(scenario.times(500, 2000, 10_000))
    truth, store = Truth(scenario.shape.metric, records), named(scenario)
    own = ("--distance", scenario.shape.metric, "--model", "none", "-q")
    text = "".join(json.dumps(row) + "\n" for row in rows_of(records))
    try:
        run("add", store, "of-stdin", "-", *own, stdin=text)
        check_filled(scenario, "of-stdin", truth)
        for kind in ("parquet", "csv", "jsonl")[: scenario.times(1, 3, 3)]:
            file = scenario.new_path(f"records.{kind}")
            run("export", store, "of-stdin", file, "-q")
            assert f"added {len(records):,}" in run("add", store, f"of-{kind}", file, *own)
            check_filled(scenario, f"of-{kind}", truth)
            assert "in the collection already" in run("add", store, f"of-{kind}", file, code=1)
            assert "added 0" in run("add", store, f"of-{kind}", file, "-q", "--resume")
        changed = [{**row, "metadata": {"year": 1}} for row in rows_of(records)[:100]]
        text = "".join(json.dumps(row) + "\n" for row in changed)
        run("add", store, "of-stdin", "-", "-q", "--upsert", stdin=text)
        truth.merge(records.ids[:100], lambda own: {"year": 1})
        check_filled(scenario, "of-stdin", truth)
    finally:
        for name in {one.name for one in scenario.client.list_collections()} - {"scenario"}:
            scenario.client.delete_collection(name)


def check_filled(scenario: Scenario, name: str, truth: Truth) -> None:
    collection = scenario.client.get_collection(name, embedding_function=None)
    assert collection.count() == len(truth)
    scenario.check_records(collection.get(include=EVERYTHING), truth)


@step("texts", places=STORES)
def copies_and_changes(scenario: Scenario) -> None:
    """A copy is complete; deletions, renames and drops there affect only the copy."""
    store, copied = named(scenario), scenario.new_path("copied")
    assert f"{len(scenario.truth):,} points" in run(
        "copy", store, copied, "-q", "--collection", "scenario"
    )
    assert "level already" in run("copy", store, copied, "-q", "--collection", "scenario")
    truth = scenario.truth.part(scenario.truth.ids)
    with opened(copied) as collection:
        scenario.check(collection, truth)
    ids, where = scenario.some(50), {"topic": "salt"}
    assert "deleted 50 points" in run("delete", copied, "scenario", *ids)
    truth.delete(ids)
    gone = truth.matching(where)
    run("delete", copied, "scenario", "--where", json.dumps(where), "--yes")
    truth.delete(gone)
    run("rename", copied, "scenario", "another")
    with opened(copied, "another") as collection:
        scenario.check(collection, truth)
    if scenario.length != "suite":
        run("copy", store, copied, "-q", "--collection", "scenario")
        with opened(copied) as collection:
            scenario.check(collection)
        assert "exists" in run(
            "copy", store, copied, "-q", "--collection", "scenario", "--fail-if-exists", code=1
        )
        run("drop", copied, "scenario", "--yes")
        assert [one["collection"] for one in json_output("list", copied)] == ["another"]
    run("drop", copied, "another", "--yes")
    assert json_output("list", copied) == []
    scenario.check()


@step(places=STORES)
def keeps(scenario: Scenario) -> None:
    """A restored snapshot is complete, also after half was deleted and compacted."""
    store, whole, restored = (
        named(scenario),
        scenario.new_path("whole.zip"),
        scenario.new_path("restored"),
    )
    run("snapshot", store, whole)
    assert "restored" in run("restore", whole, restored)
    truth = scenario.truth.part(scenario.truth.ids)
    with opened(restored) as collection:
        scenario.check(collection)
        drawn = scenario.some(len(scenario.truth) // 2)
        collection.delete(ids=drawn)
        truth.delete(drawn)
    before = json_output("info", restored, "scenario")
    run("optimize", restored, "-q")
    after = json_output("info", restored, "scenario")
    assert after["bytes"] < before["bytes"]
    assert after["vectors"][""]["dead_slots"] == 0
    assert json_output("verify", restored)["damaged"] == []
    with opened(restored) as collection:
        scenario.check(collection, truth)


@step(places=STORES, least="first")
def keeps_one_collection(scenario: Scenario) -> None:
    """A snapshot of one collection is restored beside another; derived files are rebuilt."""
    store, one, restored = (
        named(scenario),
        scenario.new_path("one.zip"),
        scenario.new_path("beside"),
    )
    run("snapshot", store, one, "--collection", "scenario")
    run("restore", one, restored)
    run("restore", one, restored, "--name", "again")
    assert "error" in run("restore", one, restored, code=1)
    run("optimize", restored, "again", "--rebuild", "-q")
    for name in ("scenario", "again"):
        with opened(restored, name) as collection:
            scenario.check(collection)
    assert json_output("verify", restored)["damaged"] == []


@step(places=DISK, least="first")
def says_what_is_damaged(scenario: Scenario) -> None:
    """One changed byte of the vectors is found, and its file named."""
    damaged = scenario.new_path("damaged")
    run("copy", scenario.place.path, damaged, "-q")
    file = max(damaged.rglob("*.vectors"), key=lambda one: one.stat().st_size)
    content = bytearray(file.read_bytes())
    content[scenario.size * scenario.shape.dimension] ^= 1
    file.write_bytes(content)
    done = run("verify", damaged, "--json", code=3)
    assert [Path(one["file"]) for one in json.loads(done)["damaged"]] == [file]


@step("texts", places=STORES)
def exports(scenario: Scenario) -> None:
    """Exports as printed lines, and of records that match."""
    store, where = named(scenario), {"year": {"$lt": scenario.times(1991, 1995, 2005)}}
    right = scenario.truth.matching(where)
    query = ("export", store, "scenario")
    printed = run(*query, "-", "--where", json.dumps(where))
    rows = [json.loads(line) for line in printed.splitlines()]
    compare([row["id"] for row in rows], right, "lines")
    scenario.check_records(as_got(rows))
    if scenario.length == "suite":
        return
    file = scenario.new_path("some.jsonl")
    run(*query, file, "--where", json.dumps(where), "--embeddings", "none", "-q")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    compare([row["id"] for row in rows], right, "lines of a file")
    assert not any("embedding" in row for row in rows)
    assert "is there already" in run(*query, file, code=1)


@contextmanager
def started(*words: Any) -> Iterator[subprocess.Popen]:
    """A command that runs until it is interrupted."""
    process = subprocess.Popen(
        [*PROGRAM, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A shell's jobs in the background, and what these start, ignore it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) in (0, 130)
    finally:
        process.kill()
        process.wait(PATIENCE)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def request(address: str, path: str, body: Any, token: str = "") -> Any:
    """The response of a server to a JSON body."""
    connection = HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content[:500]
        return json.loads(content)
    finally:
        connection.close()


@step("texts", places=STORES, least="first")
def shows_a_page(scenario: Scenario) -> None:
    with started("view", named(scenario), "--no-browser") as process:
        address = process.stdout.readline().split()[-1]
        url, _, token = address.partition("#token=")
        there = request(url, "/view/api/store", {}, token)["collections"]
        own = next(one for one in there if one["name"] == "scenario")
        assert own["points"] == len(scenario.truth)
        (one,) = scenario.some(1)
        word = own_word(scenario.truth.records[one].document)
        body = {"collection": own["collection"], "mode": "text", "text": word}
        hits = request(url, "/view/api/query", body, token)["hits"]
        assert [hit["id"] for hit in hits] == [one]


@step("texts", places=STORES)
def serves_agents(scenario: Scenario) -> None:
    """Tools find a word, count with a filter, and read a record."""
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "rehearsal", "version": "1"},
    }
    (one,), where = scenario.some(1), {"year": {"$lt": 2000}}
    word = own_word(scenario.truth.records[one].document)
    calls = [
        ("collections", {}),
        ("search", {"collection": "scenario", "text": word, "mode": "text"}),
        ("get", {"collection": "scenario", "where": where, "limit": 1}),
        ("get", {"collection": "scenario", "ids": [one]}),
    ]
    with started("mcp", named(scenario), "--collection", "scenario") as process:
        ask_agent(process, 0, "initialize", hello)
        process.stdin.write('{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
        answers = []
        for number, (name, arguments) in enumerate(calls, 1):
            query = {"name": name, "arguments": arguments}
            result = ask_agent(process, number, "tools/call", query)["result"]
            assert not result["isError"], result
            answers.append(result["structuredContent"])
    assert str(len(scenario.truth)) in json.dumps(answers[0])
    assert [row["id"] for row in answers[1]["records"]] == [one]
    assert answers[2]["total"] == len(scenario.truth.matching(where))
    assert answers[3]["records"][0]["document"] == scenario.truth.records[one].document


def ask_agent(process: Any, number: int, method: str, asked: Any) -> Any:
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": asked}
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()
    while True:
        answer = json.loads(process.stdout.readline())
        if answer.get("id") == number:
            return answer


@step("texts", places=DISK, least="first")
def serves_agents_over_http(scenario: Scenario) -> None:
    """Four clients at once."""
    from mcp import Client as McpClient
    from mcp.client.streamable_http import streamable_http_client

    words = {one: own_word(scenario.truth.records[one].document) for one in scenario.some(20)}

    async def ask(url: str) -> None:
        async with McpClient(streamable_http_client(url)) as client:
            for one, word in words.items():
                query = {"collection": "scenario", "text": word, "mode": "text"}
                found = await client.call_tool("search", query)
                records = found.structured_content["records"]
                assert [record["id"] for record in records] == [one]

    async def ask_all(url: str) -> None:
        await asyncio.gather(*(ask(url) for _ in range(4)))

    with started("mcp", named(scenario), "--http", "127.0.0.1:0") as process:
        asyncio.run(ask_all(process.stdout.readline().split()[-1]))


@step(places=DISK, least="first")
def serves(scenario: Scenario) -> None:
    """A copy is served to a Client and to other commands, until an interrupt."""
    copied = scenario.new_path("served")
    run("copy", scenario.place.path, copied, "-q")
    with started("serve", copied, "--port", 0, "--grpc-port", "none") as process:
        url = next(w for w in process.stdout.readline().split() if w.startswith("http"))
        assert json_output("count", url, "scenario") == {"count": len(scenario.truth)}
        with opened_at(url) as collection:
            scenario.check(collection)
        (one,) = scenario.some(1)
        run("delete", url, "scenario", one)
        assert json_output("count", url, "scenario") == {"count": len(scenario.truth) - 1}
    assert json_output("count", copied, "scenario") == {"count": len(scenario.truth) - 1}


@contextmanager
def opened_at(url: str) -> Iterator[Any]:
    with retrieval_store.Client(url=url) as client:
        yield client.get_collection("scenario", embedding_function=None)


@step(places=DISK, least="first")
def completes(scenario: Scenario) -> None:
    """Shells get completions for commands and collections."""
    for shell in ("bash", "zsh", "fish"):
        assert "retrieval-store" in run("completion", shell)
    words = f"retrieval-store count {scenario.place.path} sc"
    environment = {
        **os.environ,
        "_RETRIEVAL_STORE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": "3",
    }
    program = str(Path(sys.executable).with_name("retrieval-store"))
    done = subprocess.run(
        [program], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert "scenario" in done.stdout, done
