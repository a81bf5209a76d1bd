"""The seven interfaces of a store, each in its own process, called by the same names.

`Started` starts one on a directory. An interface writes `RECORDS` into a collection, reads,
filters, searches, changes, exports and explains. Results are ids, and texts with the keys `topic`
and `year`, whichever interface wrote them.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar

from tests.helpers import ROOT

MODEL = "wordllama"
RECORDS = {  # ids as all faces know them
    "00000000-0000-4000-8000-000000000001": (
        "Ships sail on the sea.",
        {"topic": "sea", "year": 1990},
    ),
    "00000000-0000-4000-8000-000000000002": (
        "Bread is baked in an oven.",
        {"topic": "food", "year": 2005},
    ),
    "00000000-0000-4000-8000-000000000003": (
        "A violin has four strings.",
        {"topic": "music", "year": 2015},
    ),
}
IDS = list(RECORDS)
SINCE = 2000  # what `filtered` asks for, of the year


class Face:
    """What one interface can do. path: the directory of the store."""

    def __init__(self, path, stack):
        self.path, self.stack = path, stack
        self.open()

    def open(self):
        """Open what stays open between calls."""

    def vector(self, text):
        from retrieval_store import WordLlamaEmbedding

        return [float(number) for number in WordLlamaEmbedding()([text])[0]]


def shown(text, metadata):
    """A record in the common form of all interfaces. Some use an empty text for none, or have no
    metadata."""
    return [text or "", {key: (metadata or {}).get(key) for key in ("topic", "year")}]


class OfClient(Face):
    function: ClassVar = {"embedding_function": MODEL}

    def open(self):
        import retrieval_store

        self.client = self.stack.enter_context(retrieval_store.Client(self.path))

    def of(self, name, remembered=False):
        return self.client.get_collection(name, **({} if remembered else self.function))

    def write(self, name):
        made = self.client.create_collection(name, **self.function)
        texts, metadatas = zip(*RECORDS.values(), strict=True)
        made.add(IDS, documents=[*texts], metadatas=[*metadatas])

    def read(self, name):
        got = self.of(name).get()
        rows = zip(got["ids"], got["documents"], got["metadatas"], strict=True)
        return {point_id: shown(text, metadata) for point_id, text, metadata in rows}

    def filtered(self, name):
        return self.of(name).get(where={"year": {"$gte": SINCE}})["ids"]

    def by_text(self, name, text):
        return self.of(name).query(query_texts=text)["ids"][0]

    def by_remembered(self, name, text):
        return self.of(name, remembered=True).query(query_texts=text)["ids"][0]

    def by_words(self, name, text):
        return self.of(name).query(query_texts=text, mode="text")["ids"][0]

    def by_vector(self, name, text):
        return self.of(name).query(query_embeddings=[self.vector(text)])["ids"][0]

    def update(self, name, point_id, text, year):
        self.of(name).update(point_id, documents=text, metadatas={"year": year})

    def delete(self, name, point_id):
        self.of(name).delete(point_id)

    def export(self, name):
        from retrieval_store_files import export_jsonl

        with tempfile.TemporaryDirectory() as folder:
            export_jsonl(self.of(name), Path(folder) / "out.jsonl")
            return exported(Path(folder) / "out.jsonl")

    def explain(self, name, text):
        explanation = self.of(name).explain(query_texts=text, where={"year": {"$gte": SINCE}})
        return explanation["matching"]


def exported(file):
    """The records of a file; each has its vector."""
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(len(record["embedding"]) == 256 for record in records)
    return {one["id"]: shown(one.get("document"), one.get("metadata")) for one in records}


class OfQdrant(Face):
    def open(self):
        from retrieval_store.qdrant import QdrantClient, models

        self.client = QdrantClient(path=str(self.path))
        self.stack.callback(self.client.close)
        self.models = models

    def text(self, text):
        return self.models.Document(text=text, model=MODEL)

    @property
    def since(self):
        year = self.models.FieldCondition(key="year", range=self.models.Range(gte=SINCE))
        return self.models.Filter(must=[year])

    def write(self, name):
        params = self.models.VectorParams(size=256, distance=self.models.Distance.COSINE)
        self.client.create_collection(name, params)
        points = [
            self.models.PointStruct(
                id=point_id, vector=self.text(text), payload={"_document": text, **metadata}
            )
            for point_id, (text, metadata) in RECORDS.items()
        ]
        self.client.upsert(name, points)

    def read(self, name):
        points, _ = self.client.scroll(name)
        return {str(one.id): shown(one.payload.get("_document"), one.payload) for one in points}

    def filtered(self, name):
        return [str(one.id) for one in self.client.scroll(name, scroll_filter=self.since)[0]]

    def by_text(self, name, text):
        return [str(one.id) for one in self.client.query_points(name, self.text(text)).points]

    def by_remembered(self, name, text):
        return self.client.query_points(name, self.models.Document(text=text, model="")).points

    def by_words(self, name, text):
        match = self.models.FieldCondition(key="_document", match=self.models.MatchText(text=text))
        found, _ = self.client.scroll(name, self.models.Filter(must=[match]))
        return [str(one.id) for one in found]

    def by_vector(self, name, text):
        return [str(one.id) for one in self.client.query_points(name, self.vector(text)).points]

    def update(self, name, point_id, text, year):
        vectors = self.models.PointVectors(id=point_id, vector=self.text(text))
        self.client.set_payload(name, {"_document": text, "year": year}, [point_id])
        self.client.update_vectors(name, [vectors])

    def delete(self, name, point_id):
        self.client.delete(name, [point_id])

    def export(self, name):
        points, _ = self.client.scroll(name, with_vectors=True)
        assert all(len(one.vector) == 256 for one in points)
        return {str(one.id): shown(one.payload.get("_document"), one.payload) for one in points}

    def explain(self, name, text):
        from retrieval_store.qdrant import explain

        explanation = explain(self.client, name, query=self.text(text), query_filter=self.since)
        return explanation["matching"]


class OfLangChain(Face):
    def open(self):
        from langchain_core.documents import Document
        from langchain_retrieval_store import RetrievalStore

        self.document, self.kind = Document, RetrievalStore

    @contextlib.contextmanager
    def of(self, name, embedding=MODEL, **how):
        with self.kind(embedding, path=self.path, collection_name=name, **how) as store:
            yield store

    def write(self, name):
        texts, metadatas = zip(*RECORDS.values(), strict=True)
        with self.of(name) as store:
            store.add_texts(texts, metadatas, ids=IDS)

    def read(self, name):
        with self.of(name, create=False) as store:
            found = store.get_by_ids(store.get()["ids"])
        return {one.id: shown(one.page_content, one.metadata) for one in found}

    def filtered(self, name):
        with self.of(name) as store:
            return store.get(where={"year": {"$gte": SINCE}})["ids"]

    def by_text(self, name, text):
        with self.of(name) as store:
            return [one.id for one in store.similarity_search(text)]

    def by_remembered(self, name, text):
        with self.of(name, None) as store:
            return [one.id for one in store.similarity_search(text)]

    def by_words(self, name, text):
        with self.of(name) as store:
            return [one.id for one in store.similarity_search(text, search_mode="text")]

    def by_vector(self, name, text):
        with self.of(name) as store:
            return [one.id for one in store.similarity_search_by_vector(self.vector(text))]

    def update(self, name, point_id, text, year):
        with self.of(name) as store:
            store.update_document(
                point_id, self.document(page_content=text, metadata={"year": year})
            )

    def delete(self, name, point_id):
        with self.of(name) as store:
            store.delete([point_id])

    def export(self, name):
        with self.of(name) as store:
            got = store.get(include=["metadatas", "documents", "embeddings"])
        assert got["embeddings"].shape[1] == 256
        rows = zip(got["ids"], got["documents"], got["metadatas"], strict=True)
        return {point_id: shown(text, metadata) for point_id, text, metadata in rows}

    def explain(self, name, text):
        with self.of(name) as store:
            return store.explain(text, filter={"year": {"$gte": SINCE}})["matching"]


class OfLlamaIndex(Face):
    def open(self):
        from llama_index.core import StorageContext, VectorStoreIndex, schema
        from llama_index.core.vector_stores import types
        from llama_index.vector_stores import retrieval_store

        self.context, self.index, self.schema = StorageContext, VectorStoreIndex, schema
        self.types, self.kind = types, retrieval_store.RetrievalStoreVectorStore
        self.embedding = retrieval_store.AsLlamaIndex(MODEL)
        year = types.MetadataFilter(key="year", operator=">=", value=SINCE)
        self.since = types.MetadataFilters(filters=[year])

    @contextlib.contextmanager
    def of(self, name, **how):
        how = {"embed_model": self.embedding, **how}
        with self.kind(path=self.path, collection_name=name, **how) as store:
            yield store

    def write(self, name):
        nodes = [
            self.schema.TextNode(
                id_=point_id,
                text=text,
                metadata=metadata,
                excluded_embed_metadata_keys=["topic", "year"],
            )
            for point_id, (text, metadata) in RECORDS.items()
        ]
        with self.of(name) as store:
            context = self.context.from_defaults(vector_store=store)
            self.index(nodes, storage_context=context, embed_model=self.embedding)

    def read(self, name):
        with self.of(name) as store:
            nodes = store.get_nodes(include=[])
        return {one.node_id: shown(one.get_content("none"), one.metadata) for one in nodes}

    def filtered(self, name):
        with self.of(name) as store:
            return [one.node_id for one in store.get_nodes(filters=self.since)]

    def by_text(self, name, text):
        with self.of(name) as store:
            index = self.index.from_vector_store(store, embed_model=self.embedding)
            found = index.as_retriever(similarity_top_k=9).retrieve(text)
        return [one.node_id for one in found]

    def by_remembered(self, name, text):
        with self.of(name, embed_model=None) as store:
            answer = store.as_tool("search")(text=text, mode="dense").raw_output
        return [point_id for point_id in IDS if point_id in answer.partition("2.")[0]]

    def by_words(self, name, text):
        with self.of(name) as store:
            query = self.types.VectorStoreQuery(query_str=text, mode="text_search")
            return store.query(query).ids

    def by_vector(self, name, text):
        with self.of(name) as store:
            query = self.types.VectorStoreQuery(self.vector(text), similarity_top_k=9)
            return store.query(query).ids

    def update(self, name, point_id, text, year):
        with self.of(name) as store:
            (node,) = store.get_nodes([point_id])
            node.set_content(text)
            node.metadata = {**node.metadata, "year": year}
            node.embedding = self.vector(text)
            store.add([node])

    def delete(self, name, point_id):
        with self.of(name) as store:
            store.delete_nodes([point_id])

    def export(self, name):
        with self.of(name) as store:
            nodes = store.get_nodes()
        assert all(len(one.embedding) == 256 for one in nodes)
        return {one.node_id: shown(one.get_content("none"), one.metadata) for one in nodes}

    def explain(self, name, text):
        with self.of(name) as store:
            query = self.types.VectorStoreQuery(self.vector(text), filters=self.since)
            return store.explain(query)["matching"]


class OfCommandLine(Face):
    since: ClassVar = ("--where", json.dumps({"year": {"$gte": SINCE}}))

    def run(self, command, name, *words):
        from click.testing import CliRunner

        from retrieval_store.cli.main import commands

        done = CliRunner().invoke(
            commands, [command, str(self.path), name, *words], standalone_mode=False
        )
        if done.exception is not None:
            raise done.exception
        return done.stdout

    def rows(self, *words):
        return [json.loads(line) for line in self.run(*words, "--json").splitlines()]

    def add(self, name, records, *how):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "in.jsonl"
            file.write_text("".join(json.dumps(record) + "\n" for record in records))
            self.run("add", name, str(file), "--quiet", *how)

    def write(self, name):
        records = [
            {"id": point_id, "document": text, "metadata": metadata}
            for point_id, (text, metadata) in RECORDS.items()
        ]
        self.add(name, records, "--model", MODEL)

    def read(self, name):
        found = self.rows("get", name)
        return {one["id"]: shown(one.get("document"), one.get("metadata")) for one in found}

    def filtered(self, name):
        return [one["id"] for one in self.rows("get", name, *self.since)]

    def by_text(self, name, text):
        return [one["id"] for one in self.rows("query", name, text, "--model", MODEL)]

    def by_remembered(self, name, text):
        return [one["id"] for one in self.rows("query", name, text)]

    def by_words(self, name, text):
        return [one["id"] for one in self.rows("query", name, text, "--mode", "text")]

    def by_vector(self, name, text):
        words = ("query", name, "--vector", json.dumps(self.vector(text)))
        return [one["id"] for one in self.rows(*words)]

    def update(self, name, point_id, text, year):
        record = {"id": point_id, "document": text, "metadata": {"year": year}}
        self.add(name, [record], "--upsert", "--model", MODEL)

    def update_with_vector(self, name, point_id, text, year):
        record = {"id": point_id, "document": text, "metadata": {"year": year}}
        self.add(name, [{**record, "embedding": self.vector(text)}], "--upsert")

    def delete(self, name, point_id):
        self.run("delete", name, point_id, "--yes")

    def export(self, name):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "out.jsonl"
            self.run("export", name, str(file), "--quiet")
            return exported(file)

    def explain(self, name, text):
        (reported,) = self.rows("query", name, text, "--explain", "--model", MODEL, *self.since)
        return reported["matching"]


class OfHTTP(Face):
    since: ClassVar = {"must": [{"key": "year", "range": {"gte": SINCE}}]}

    def open(self):
        from retrieval_store_server import running

        self.url = self.stack.enter_context(running(self.path))

    def ask(self, method, name, route="", body=None):
        request = urllib.request.Request(
            f"{self.url}/collections/{name}{route}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["result"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{error.code} {error.read().decode()}") from error

    def text(self, text):
        return {"text": text, "model": MODEL}

    def write(self, name):
        self.ask("PUT", name, body={"vectors": {"size": 256, "distance": "Cosine"}})
        points = [
            {
                "id": point_id,
                "vector": self.text(text),
                "payload": {"_document": text, **metadata},
            }
            for point_id, (text, metadata) in RECORDS.items()
        ]
        self.ask("PUT", name, "/points?wait=true", {"points": points})

    def scroll(self, name, **how):
        body = {"with_payload": True, **how}
        return self.ask("POST", name, "/points/scroll", body)["points"]

    def read(self, name):
        points = self.scroll(name)
        return {one["id"]: shown(one["payload"].get("_document"), one["payload"]) for one in points}

    def filtered(self, name):
        return [one["id"] for one in self.scroll(name, filter=self.since)]

    def query(self, name, query):
        found = self.ask("POST", name, "/points/query", {"query": query})
        return [one["id"] for one in found["points"]]

    def by_text(self, name, text):
        return self.query(name, self.text(text))

    def by_remembered(self, name, text):
        return self.query(name, {"text": text, "model": ""})

    def by_words(self, name, text):
        match = {"must": [{"key": "_document", "match": {"text": text}}]}
        return [one["id"] for one in self.scroll(name, filter=match)]

    def by_vector(self, name, text):
        return self.query(name, self.vector(text))

    def update(self, name, point_id, text, year):
        body = {"payload": {"_document": text, "year": year}, "points": [point_id]}
        self.ask("POST", name, "/points/payload?wait=true", body)
        points = {"points": [{"id": point_id, "vector": self.text(text)}]}
        self.ask("PUT", name, "/points/vectors?wait=true", points)

    def delete(self, name, point_id):
        self.ask("POST", name, "/points/delete?wait=true", {"points": [point_id]})

    def export(self, name):
        points = self.scroll(name, with_vector=True)
        assert all(len(one["vector"]) == 256 for one in points)
        return {one["id"]: shown(one["payload"].get("_document"), one["payload"]) for one in points}

    def explain(self, name, text):
        """Explained by our client, over HTTP."""
        import retrieval_store

        with retrieval_store.Client(url=self.url) as client:
            collection = client.get_collection(name, embedding_function=MODEL)
            where = {"year": {"$gte": SINCE}}
            return collection.explain(query_texts=text, where=where)["matching"]

    def by_page(self, name, text):
        """Explained by the page's call, whose only model is the collection's stored function."""
        import retrieval_store

        with retrieval_store.Client(url=self.url) as client:
            key = str(client.get_collection(name, embedding_function=MODEL).id)
        body = json.dumps({"collection": key, "text": text}).encode()
        request = urllib.request.Request(f"{self.url}/view/api/query", data=body, method="POST")
        request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request) as answer:
                return [one["id"] for one in json.load(answer)["hits"]]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{error.code} {error.read().decode()}") from error


class OfMemories(Face):
    """The tools of an agent, called by their protocol."""

    since: ClassVar = {"year": {"$gte": SINCE}}

    def open(self):
        command = [sys.executable, "-m", "retrieval_store", "mcp", str(self.path), "--write"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.stack.enter_context(self.process)
        self.stack.callback(self.process.kill)
        self.asked = 0
        version = {"protocolVersion": "2025-06-18", "capabilities": {}}
        self.ask("initialize", {**version, "clientInfo": {"name": "tests", "version": "1"}})
        self.send({"method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self.asked += 1
        self.send({"id": self.asked, "method": method, "params": params})
        while True:
            answer = json.loads(self.process.stdout.readline())
            if answer.get("id") == self.asked:
                return answer["result"]

    def call(self, tool, name, **arguments):
        params = {"name": tool, "arguments": {"collection": name, **arguments}}
        result = self.ask("tools/call", params)
        if result["isError"]:
            raise RuntimeError(result["content"][0]["text"])
        return result["structuredContent"]

    def write(self, name):
        texts, metadatas = zip(*RECORDS.values(), strict=True)
        self.call("add", name, documents=texts, metadatas=metadatas, ids=IDS)

    def read(self, name):
        found = self.call("get", name)["records"]
        return {one["id"]: shown(one["document"], one["metadata"]) for one in found}

    def filtered(self, name):
        return [one["id"] for one in self.call("get", name, where=self.since)["records"]]

    def by_text(self, name, text):
        return [one["id"] for one in self.call("search", name, text=text)["records"]]

    def by_remembered(self, name, text):
        found = self.call("search", name, text=text, mode="dense")
        return [one["id"] for one in found["records"]]

    def by_words(self, name, text):
        found = self.call("search", name, text=text, mode="text")
        return [one["id"] for one in found["records"]]

    def by_vector(self, name, text):
        return self.call("search", name, vector=self.vector(text))

    def update(self, name, point_id, text, year):
        self.call("update", name, ids=[point_id], documents=[text], metadatas=[{"year": year}])

    def change(self, name, point_id, year):
        self.call("update", name, ids=[point_id], metadatas=[{"year": year}])

    def delete(self, name, point_id):
        self.call("delete", name, ids=[point_id])

    def export(self, name):
        return self.call("export", name)

    def explain(self, name, text):
        (reported,) = self.call("why", name, text=text, ids=[IDS[0]], where=self.since)["reasons"]
        assert reported["excluded_by"], reported
        return sum(RECORDS[one][1]["year"] >= SINCE for one in IDS)


FACES = {
    "Client": OfClient,
    "QdrantClient": OfQdrant,
    "LangChain": OfLangChain,
    "LlamaIndex": OfLlamaIndex,
    "command line": OfCommandLine,
    "HTTP": OfHTTP,
    "MCP": OfMemories,
}


class FaceError(Exception):
    """The message with which an interface refuses a call."""


class Started:
    """An interface in its own process."""

    def __init__(self, name, path):
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, name, str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __getattr__(self, act):
        def asked(*arguments):
            self.process.stdin.write(json.dumps([act, *arguments]) + "\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline())
            if "error" in answer:
                raise FaceError(answer["error"])
            return answer["result"]

        return asked

    def end(self):
        self.process.stdin.close()
        assert self.process.wait() == 0
        self.process.stdout.close()


def serve(name, path):
    """Answer one line after another until the input ends."""
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as stack:
        face = FACES[name](path, stack)
        for line in sys.stdin:
            act, *arguments = json.loads(line)
            try:
                answer = {"result": getattr(face, act)(*arguments)}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
