"""Embedding functions under the names, and with the arguments, that code for Chroma uses.

Each name stands for a class of `retrieval_store.embeddings`, and collections store the name of that
class. The vectors equal those of Chroma's function, so that queries fit imported vectors. The
exception is `DefaultEmbeddingFunction`, which is the default function of this package. Chroma's
module for each function exists, too. Functions that this package lacks raise an error. Nothing is
loaded before its first use.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval_store.embeddings import (
        EmbeddingFunction,
        SparseEmbeddingFunction,
        ollama,
        open_clip,
        openai,
        sentence_transformers,
    )
    from retrieval_store.embeddings.bm25 import BM25Embedding
    from retrieval_store.embeddings.onnx import functions
    from retrieval_store.embeddings.sentence_transformers import SpladeEmbedding
    from retrieval_store.embeddings.wordllama import WordLlamaEmbedding as DefaultEmbeddingFunction

__all__ = [
    "Bm25EmbeddingFunction",
    "DefaultEmbeddingFunction",
    "EmbeddingFunction",
    "HuggingFaceSparseEmbeddingFunction",
    "ONNXMiniLM_L6_V2",
    "OllamaEmbeddingFunction",
    "OpenAIEmbeddingFunction",
    "OpenCLIPEmbeddingFunction",
    "SentenceTransformerEmbeddingFunction",
    "SparseEmbeddingFunction",
    "register_embedding_function",
]
_HOMES = {
    "DefaultEmbeddingFunction": "retrieval_store.embeddings.wordllama:WordLlamaEmbedding",
    "EmbeddingFunction": "retrieval_store.embeddings:EmbeddingFunction",
    "SparseEmbeddingFunction": "retrieval_store.embeddings:SparseEmbeddingFunction",
}
MODULES = {  # of Chroma's, and what each has
    "bm25_embedding_function": "Bm25EmbeddingFunction",
    "huggingface_sparse_embedding_function": "HuggingFaceSparseEmbeddingFunction",
    "onnx_mini_lm_l6_v2": "ONNXMiniLM_L6_V2",
    "ollama_embedding_function": "OllamaEmbeddingFunction",
    "openai_embedding_function": "OpenAIEmbeddingFunction",
    "open_clip_embedding_function": "OpenCLIPEmbeddingFunction",
    "sentence_transformer_embedding_function": "SentenceTransformerEmbeddingFunction",
}
PROVIDER = "CPUExecutionProvider"
ROUTES = ("/api/embeddings", "/api/embed")  # with which Chroma's code may name a server
USUAL_KEYS = ("OPENAI_API_KEY", "CHROMA_OPENAI_API_KEY")

CALLABLE = (
    "any callable that turns a list of texts into vectors is taken as embedding_function, Chroma's "
    "own included"
)
_OPENAI = "OpenAIEmbeddingFunction(api_base=…) asks any server that has OpenAI's interface"
_INSTEAD = {
    "HuggingFaceEmbeddingServer": f"{_OPENAI}, as its server does",
    "ChromaBm25EmbeddingFunction": "Bm25EmbeddingFunction makes sparse vectors by BM25",
    "FastembedSparseEmbeddingFunction": "Bm25EmbeddingFunction makes those of 'Qdrant/bm25'",
    "known_embedding_functions": "retrieval_store.plugins.available() lists registered functions",
    "sparse_known_embedding_functions": "retrieval_store.plugins.available() lists them",
    "get_builtins": "retrieval_store.plugins.available() lists them",
    "config_to_embedding_function": "a function is named: embedding_function='openai'",
    "register_sparse_embedding_function": "sparse vectors are given as sparse_embeddings",
    "ChromaLangchainEmbeddingFunction": (
        "FromLangChain of retrieval_store.embeddings.frameworks takes embeddings of LangChain"
    ),
}


def Bm25EmbeddingFunction(
    avg_len: float | None = None,
    task: str | None = "document",
    cache_dir: str | None = None,
    k: float | None = None,
    b: float | None = None,
    language: str | None = None,
    token_max_length: int | None = None,
    disable_stemmer: bool | None = None,
    specific_model_path: str | None = None,
    query_config: Any = None,
    **kwargs: Any,
) -> "BM25Embedding":
    """A `retrieval_store.embeddings.bm25.BM25Embedding`, which computes sparse vectors without a
    model or files. A call embeds documents, and `embed_query` embeds queries; `task` and
    `query_config` don't change that."""
    from retrieval_store.embeddings.bm25 import BM25Embedding

    others = {
        "cache_dir": cache_dir,
        "token_max_length": token_max_length,
        "specific_model_path": specific_model_path,
    }
    refuse("Bm25EmbeddingFunction", {**others, **kwargs})
    given: dict[str, Any] = {"average_length": avg_len, "k": k, "b": b, "language": language}
    settings = {name: value for name, value in given.items() if value is not None}
    return BM25Embedding(stemming=not disable_stemmer, **settings)


def HuggingFaceSparseEmbeddingFunction(
    model_name: str,
    device: str | None = None,
    task: str | None = "document",
    query_config: Any = None,
    **kwargs: Any,
) -> "SpladeEmbedding":
    """A `retrieval_store.embeddings.sentence_transformers.SpladeEmbedding`, which computes sparse
    vectors. A call embeds documents, and `embed_query` embeds queries; `task` and `query_config`
    don't change that."""
    from retrieval_store.embeddings.sentence_transformers import SpladeEmbedding

    refuse("HuggingFaceSparseEmbeddingFunction", kwargs)
    return SpladeEmbedding(model_name, device=device)


def ONNXMiniLM_L6_V2(
    preferred_providers: Sequence[str] | None = None,
) -> "functions.MiniLMEmbedding":
    """A `retrieval_store.MiniLMEmbedding` in float32, whose vectors equal those of Chroma. It runs
    on the CPU."""
    from retrieval_store.base.validation import quote
    from retrieval_store.embeddings.onnx import functions
    from retrieval_store.errors import InvalidArgumentError

    if preferred_providers is not None and PROVIDER not in preferred_providers:
        raise InvalidArgumentError(
            f"preferred_providers is {quote(preferred_providers)}, expected {PROVIDER!r} among "
            "them: the model runs on processors alone"
        )
    return functions.MiniLMEmbedding("float32")


def OllamaEmbeddingFunction(
    url: str = "http://localhost:11434",
    model_name: str = "chroma/all-minilm-l6-v2-f32",
    timeout: float = 60,
) -> "ollama.OllamaEmbeddingFunction":
    """A `retrieval_store.OllamaEmbeddingFunction` without prefixes before texts, as in Chroma. (By
    default, that class adds the prefixes that some models need.)"""
    from retrieval_store.embeddings import ollama

    if isinstance(url, str):
        url = url.rstrip("/")
        for route in ROUTES:
            url = url.removesuffix(route)
    return ollama.OllamaEmbeddingFunction(
        model_name, url, query_prefix="", document_prefix="", timeout=timeout
    )


def OpenAIEmbeddingFunction(
    api_key: str | None = None,
    model_name: str = "text-embedding-ada-002",
    organization_id: str | None = None,
    api_base: str | None = None,
    api_type: str | None = None,
    api_version: str | None = None,
    deployment_id: str | None = None,
    default_headers: Mapping[str, str] | None = None,
    dimensions: int | None = None,
    api_key_env_var: str | None = None,
) -> "openai.OpenAIEmbeddingFunction":
    """A `retrieval_store.OpenAIEmbeddingFunction`, which calls OpenAI, or a server with the same
    API at `api_base`. api_key: the key, which collections do not store; api_key_env_var: the
    environment variable that contains the key. By default it is OPENAI_API_KEY, or
    CHROMA_OPENAI_API_KEY if only that is set. Arguments for Azure, organizations and headers are
    refused."""
    from retrieval_store.base.validation import quote
    from retrieval_store.embeddings import openai
    from retrieval_store.errors import InvalidArgumentError

    if api_type not in (None, "openai", "open_ai"):
        raise InvalidArgumentError(
            f"api_type is {quote(api_type)}, expected none: servers with OpenAI's interface are "
            "asked; for others pass any callable as embedding_function"
        )
    others = {
        "organization_id": organization_id,
        "api_version": api_version,
        "deployment_id": deployment_id,
        "default_headers": default_headers,
    }
    refuse("OpenAIEmbeddingFunction", others)
    variable = _usual_key() if api_key_env_var is None else api_key_env_var
    base: dict[str, Any] = {} if api_base is None else {"base_url": api_base}
    return openai.OpenAIEmbeddingFunction(
        model_name, api_key_env=variable, dimensions=dimensions, api_key=api_key, **base
    )


def _usual_key() -> str:
    return next((name for name in USUAL_KEYS if os.environ.get(name)), USUAL_KEYS[0])


def OpenCLIPEmbeddingFunction(
    model_name: str = "ViT-B-32",
    checkpoint: str = "laion2b_s34b_b79k",
    device: str | None = "cpu",
) -> "open_clip.OpenCLIPEmbeddingFunction":
    """A `retrieval_store.OpenCLIPEmbeddingFunction`."""
    from retrieval_store.embeddings import open_clip

    return open_clip.OpenCLIPEmbeddingFunction(model_name, checkpoint, device=device)


def SentenceTransformerEmbeddingFunction(
    model_name: str = "all-MiniLM-L6-v2",
    device: str | None = "cpu",
    normalize_embeddings: bool = False,
    **kwargs: Any,
) -> "sentence_transformers.SentenceTransformerEmbeddingFunction":
    """A `retrieval_store.SentenceTransformerEmbeddingFunction` without prompts, as in Chroma. (By
    default, that class uses the prompts of the model's authors.) Arguments of the model's class are
    refused."""
    from retrieval_store.embeddings import sentence_transformers

    refuse("SentenceTransformerEmbeddingFunction", kwargs)
    return sentence_transformers.SentenceTransformerEmbeddingFunction(
        model_name,
        normalize=normalize_embeddings,
        query_prompt="",
        document_prompt="",
        device=device,
    )


def register_embedding_function(ef_class: Any = None) -> Any:
    """Register a class of embedding functions under the name that its `name()` returns. The
    function is a class decorator, used with or without parentheses."""
    from retrieval_store import plugins

    register = plugins.register_embedding_function
    return register if ef_class is None else register(ef_class)


def is_chroma_name(name: str) -> bool:
    """Whether Chroma is known to have an object of this name."""
    return name in _INSTEAD or name.endswith("EmbeddingFunction")


def absent(name: str) -> str:
    """The message that a name does not exist in this package, with a replacement."""
    what = f"module 'retrieval_store.utils.embedding_functions' has no attribute {name!r}"
    if name in _INSTEAD:
        return f"{what}: {_INSTEAD[name]}"
    return f"{what}: {CALLABLE}; {_OPENAI}" if name.endswith("EmbeddingFunction") else what


def refuse(function: str, given: dict[str, Any]) -> None:
    """Raise InvalidArgumentError for passed arguments of Chroma that have no meaning here."""
    from retrieval_store.base.validation import quote
    from retrieval_store.errors import InvalidArgumentError

    for name, value in given.items():
        if value is not None:
            raise InvalidArgumentError(
                f"{name} is {quote(value)}, which {function} here doesn't take: leave it out; or "
                f"{CALLABLE}"
            )


def add_modules(package: str) -> None:
    """Make modules with the names of Chroma's modules for these functions importable below
    `package`, a package of this project."""
    for name, function in MODULES.items():
        module = ModuleType(f"{package}.{name}")
        vars(module)[function] = globals()[function]
        sys.modules[module.__name__] = module


__path__: list[str] = []  # else nothing could be imported from below
add_modules(__name__)

if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(absent(name))
        module, _, home = _HOMES[name].partition(":")
        return getattr(import_module(module), home)


def __dir__() -> list[str]:
    return sorted(__all__)
