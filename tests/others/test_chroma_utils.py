"""The first lines of code for Chroma, with this package's name instead: its embedding functions by
their names, with its arguments; they give the same vectors.
"""

import importlib
import inspect
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from chromadb.utils import data_loaders as their_loaders
from chromadb.utils import embedding_functions as theirs
from PIL import Image

import retrieval_store
from retrieval_store import embeddings, plugins
from retrieval_store.errors import ConflictError, InvalidArgumentError, InvalidTypeError
from retrieval_store.utils import embedding_functions as ours
from tests.helpers.circumstances import register_only

# As the pages of Chroma's docs, its README and examples begin.
FIRST_LINES = """
from chromadb.utils import embedding_functions
import chromadb.utils.embedding_functions as embedding_functions
from chromadb.utils.embedding_functions import DefaultEmbeddingFunction
from chromadb.utils.embedding_functions import OpenAIEmbeddingFunction, OllamaEmbeddingFunction
from chromadb.utils.embedding_functions import SentenceTransformerEmbeddingFunction
from chromadb.utils.embedding_functions import register_embedding_function
from chromadb.utils.embedding_functions import OpenCLIPEmbeddingFunction, ONNXMiniLM_L6_V2
from chromadb.utils.embedding_functions import Bm25EmbeddingFunction, EmbeddingFunction
from chromadb.utils.embedding_functions import HuggingFaceSparseEmbeddingFunction
from chromadb.utils.embedding_functions.ollama_embedding_function import OllamaEmbeddingFunction
from chromadb.utils.embedding_functions.openai_embedding_function import OpenAIEmbeddingFunction
from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2
from chromadb.utils.embedding_functions.open_clip_embedding_function import OpenCLIPEmbeddingFunction
from chromadb.utils.data_loaders import ImageLoader
from chromadb import Documents, EmbeddingFunction, Embeddings, Metadatas, Where, WhereDocument
from chromadb import Include, IDs, URIs, Images, Embeddable
from chromadb import Search, K, Knn, Rrf, Key
import chromadb; chromadb.utils.embedding_functions.DefaultEmbeddingFunction()
import chromadb; chromadb.utils.embedding_functions.SentenceTransformerEmbeddingFunction(model_name="all-mpnet-base-v2")
import chromadb; chromadb.utils.embedding_functions.OpenAIEmbeddingFunction(api_key="k", model_name="text-embedding-3-small")
import chromadb; chromadb.utils.data_loaders.ImageLoader()
""".strip().splitlines()


def test_the_first_lines_of_code_for_chroma_work():
    for line in FIRST_LINES:
        exec(line.replace("chromadb", "retrieval_store"), {})


def test_nothing_is_loaded_before_it_is_needed():
    code = "import retrieval_store, sys; retrieval_store.utils.embedding_functions; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "retrieval_store.utils.embedding_functions" in loaded
    ours_loaded = {one for one in loaded if one.startswith("retrieval_store.")}
    here = "retrieval_store.utils.embedding_functions"
    modules = {f"{here}.{name}" for name in ours.MODULES}  # which hold a name alone
    assert "numpy" not in loaded and ours_loaded - modules == {"retrieval_store.utils", here}


def test_every_name_exists_or_names_the_alternative():
    names = {*theirs.__all__, *theirs._all_classes, *vars(theirs)}
    public = {
        name for name in names if name[0] != "_" and not inspect.ismodule(getattr(theirs, name))
    }
    here = public & {*ours.__all__}
    assert len(here) == len(ours.__all__)
    for name in sorted(public - here - {"Any", "Dict", "Set", "Type"}):
        with pytest.raises(ImportError, match=f"cannot import name '{name}'"):
            exec(f"from retrieval_store.utils.embedding_functions import {name}", {})
        with pytest.raises(AttributeError) as reported:
            getattr(ours, name)
        if name[0].isupper() and not name.endswith("Config"):
            instead = ("any callable", "OpenAIEmbeddingFunction", "Bm25Embedding", "FromLangChain")
            assert any(one in str(reported.value) for one in instead), name
    with pytest.raises(AttributeError, match="data_loaders and embedding_functions"):
        getattr(retrieval_store.utils, "batch_utils")  # noqa: B009


MADE_BY_ARGUMENTS = [
    "Bm25EmbeddingFunction",
    "HuggingFaceSparseEmbeddingFunction",
    "ONNXMiniLM_L6_V2",
    "OllamaEmbeddingFunction",
    "OpenAIEmbeddingFunction",
    "OpenCLIPEmbeddingFunction",
    "SentenceTransformerEmbeddingFunction",
]


@pytest.mark.parametrize("name", MADE_BY_ARGUMENTS)
def test_the_arguments_are_chromas_in_its_order(name):
    given = list(inspect.signature(getattr(theirs, name)).parameters)
    assert list(inspect.signature(getattr(ours, name)).parameters) == given
    loader = inspect.signature(retrieval_store.utils.data_loaders.ImageLoader)
    assert list(loader.parameters) == list(inspect.signature(their_loaders.ImageLoader).parameters)


def test_chromas_constructors_create_this_packages_functions(monkeypatch):
    for name in ("OPENAI_API_KEY", "CHROMA_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert ours.DefaultEmbeddingFunction is retrieval_store.WordLlamaEmbedding
    assert ours.EmbeddingFunction is retrieval_store.EmbeddingFunction
    nothing = {"query_prefix": "", "document_prefix": ""}
    for made, kind, settings in [
        (
            ours.OpenAIEmbeddingFunction("key", "m", api_base="http://h/v1/", dimensions=5),
            retrieval_store.OpenAIEmbeddingFunction,
            {
                "model": "m",
                "base_url": "http://h/v1",
                "api_key_env": "OPENAI_API_KEY",
                "dimensions": 5,
            },
        ),
        (
            ours.OllamaEmbeddingFunction("http://h:1/api/embeddings", "nomic-embed-text"),
            retrieval_store.OllamaEmbeddingFunction,
            {"model": "nomic-embed-text", "base_url": "http://h:1", **nothing, "dimensions": None},
        ),
        (
            ours.SentenceTransformerEmbeddingFunction("m", device="cpu", normalize_embeddings=True),
            retrieval_store.SentenceTransformerEmbeddingFunction,
            {"model_name": "m", "normalize": True, "query_prompt": "", "document_prompt": ""},
        ),
        (
            ours.OpenCLIPEmbeddingFunction(checkpoint="c", device="cpu"),
            retrieval_store.OpenCLIPEmbeddingFunction,
            {"model_name": "ViT-B-32", "checkpoint": "c"},
        ),
        (
            ours.ONNXMiniLM_L6_V2(["CPUExecutionProvider"]),
            retrieval_store.MiniLMEmbedding,
            {"precision": "float32"},
        ),
    ]:
        assert type(made) is kind and made.settings() == settings
    assert ours.OpenAIEmbeddingFunction().settings()["model"] == "text-embedding-ada-002"
    monkeypatch.setenv("CHROMA_OPENAI_API_KEY", "k")
    assert ours.OpenAIEmbeddingFunction().settings()["api_key_env"] == "CHROMA_OPENAI_API_KEY"
    named = ours.OpenAIEmbeddingFunction(api_key_env_var="MINE")
    assert named.settings()["api_key_env"] == "MINE"
    sparse = ours.Bm25EmbeddingFunction(avg_len=7, k=1, disable_stemmer=True, query_config={})
    assert isinstance(sparse, embeddings.bm25.BM25Embedding)
    settings = sparse.settings()
    assert (settings["average_length"], settings["k"], settings["stemming"]) == (7, 1, False)
    splade = ours.HuggingFaceSparseEmbeddingFunction("m", "cpu")
    assert splade.settings() == {"model_name": "m"}


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ours.OpenAIEmbeddingFunction(api_type="azure"), "api_type is 'azure'"),
        (lambda: ours.OpenAIEmbeddingFunction(organization_id="o"), "organization_id is 'o'"),
        (lambda: ours.OpenAIEmbeddingFunction(default_headers={"a": "b"}), "default_headers is"),
        (lambda: ours.OpenAIEmbeddingFunction(api_base="host"), "base_url must be an http"),
        (lambda: ours.SentenceTransformerEmbeddingFunction("m", revision="1"), "revision is '1'"),
        (lambda: ours.ONNXMiniLM_L6_V2(["CUDAExecutionProvider"]), "CPUExecutionProvider"),
        (lambda: ours.Bm25EmbeddingFunction(cache_dir="x"), "cache_dir is 'x'"),
        (lambda: retrieval_store.utils.data_loaders.ImageLoader(0), "max_workers is 0"),
    ],
)
def test_arguments_that_mean_nothing_here_are_refused_by_name(make, named):
    with pytest.raises(InvalidArgumentError, match=named):
        make()


def test_the_type_of_a_key_is_shown_and_not_the_key():
    with pytest.raises(InvalidTypeError, match="api_key is of type bytes") as reported:
        ours.OpenAIEmbeddingFunction(b"s3cret")
    assert "s3cret" not in str(reported.value)


@contextmanager
def serving(asked):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(self.headers.get("Authorization"))
            data = [{"index": i, "embedding": [len(t), 1]} for i, t in enumerate(body["input"])]
            self.send_response(400 if "wrong" in body["input"] else 200)
            self.end_headers()
            message = (
                f"no such key: {asked[-1]}"
                if "wrong" in body["input"]
                else json.dumps({"data": data})
            )
            self.wfile.write(message.encode())

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=[0.02])
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def test_a_passed_key_is_sent_and_stays_out_of_stores_and_messages(tmp_path):
    queries = []
    with serving(queries) as url, retrieval_store.PersistentClient(tmp_path / "store") as client:
        function = ours.OpenAIEmbeddingFunction(api_key="s3cret", api_base=url, model_name="m")
        made = client.create_collection("things", embedding_function=function)
        made.add("a", documents=["four"])
        assert set(queries) == {"Bearer s3cret"}
        assert made.configuration["embedding_function"]["name"] == "openai"
        again = client.get_collection("things", embedding_function=function)
        assert again.query(query_texts="four")["ids"] == [["a"]]
        with pytest.raises(retrieval_store.errors.EmbeddingFunctionError) as reported:
            function(["wrong"])
        assert "s3cret" not in str(reported.value)
        another = ours.OpenAIEmbeddingFunction(api_key="s3cret", api_base=url, model_name="other")
        with pytest.raises(ConflictError, match="other"):
            client.get_collection("things", embedding_function=another)
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert files and not any(b"s3cret" in path.read_bytes() for path in files)


def test_a_class_is_registered_in_both_of_chromas_ways(monkeypatch):
    register_only(monkeypatch)

    class Lengths(ours.EmbeddingFunction):
        def __call__(self, input):
            return [np.array([len(text), 1.0]) for text in input]

        @staticmethod
        def name():
            return "chroma_like_lengths"

        def get_config(self):
            return {}

        @staticmethod
        def build_from_config(config):
            return Lengths()

    assert ours.register_embedding_function(Lengths) is Lengths
    assert ours.register_embedding_function()(Lengths) is Lengths
    with retrieval_store.EphemeralClient() as client:
        made = client.create_collection("lengths", embedding_function=Lengths())
        assert made.configuration["embedding_function"]["name"] == "chroma_like_lengths"
    assert plugins.is_known(plugins.EMBEDDING_FUNCTIONS, "chroma_like_lengths")


def test_images_are_loaded_from_files(tmp_path):
    Image.new("RGB", (3, 2), "red").save(tmp_path / "red.png")
    load = importlib.import_module("retrieval_store.utils.data_loaders").ImageLoader(max_workers=2)
    (picture,) = load([str(tmp_path / "red.png")])
    assert picture.shape == (2, 3, 3) and picture[0, 0].tolist() == [255, 0, 0]
