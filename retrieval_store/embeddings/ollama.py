"""Embeddings from Ollama, by its own API: models that run on your machine, or on another machine of
yours."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from retrieval_store.base.arrays import Matrix
from retrieval_store.base.validation import quote
from retrieval_store.embeddings import ComparedByCosine
from retrieval_store.embeddings._common import add_prefix, at_least, known_tokens, prefixes
from retrieval_store.embeddings._servers import (
    ask,
    check_manner,
    check_url,
    in_batches,
    matrix,
    no_embeddings,
    refuse_other_length,
)
from retrieval_store.errors import EmbeddingFunctionError, InvalidArgumentError

_SHOW_TIMEOUT = 10.0  # seconds; nothing has to be loaded for it


BATCH_SIZE = 64  # texts


class OllamaEmbeddingFunction(ComparedByCosine):
    """Embeds texts by POST {base_url}/api/embed of Ollama."""

    comparable = ("batch_size",)  # which decides no vector

    def __init__(
        self,
        model: str = "nomic-embed-text",
        base_url: str = "http://localhost:11434",
        *,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        dimensions: int | None = None,
        batch_size: int = BATCH_SIZE,
        timeout: float = 120.0,
        retries: int = 4,
    ) -> None:
        """Choose a model, and how it is called. Tokens beyond the model's limit (`max_tokens`) are
        ignored.

        Args:
            model: the model's name in Ollama; `ollama pull` downloads it.
            base_url: the URL of the server.
            query_prefix: a text put before queries; "" for none. None: for known families of
                models, the prefix that their authors document; otherwise none.
            document_prefix: a text put before documents; see `query_prefix`.
            dimensions: the length of the vectors, for models that support several lengths.
            batch_size: texts per request, which a server may limit; stored in collections.
            timeout: seconds for a request, which includes loading the model; not stored.
            retries: how often a request is retried; not stored.

        Raises:
            EmbeddingFunctionError: at a call, when Ollama isn't running, lacks the model, or
                refuses.
        """
        if not isinstance(model, str) or not model:
            raise InvalidArgumentError(
                f"model is {quote(model)}, expected the name of a model that Ollama has, such as "
                "'nomic-embed-text'"
            )
        self._settings: dict[str, Any] = {
            "model": model.removesuffix(":latest"),  # the default tag of a name
            "base_url": check_url(base_url),
            **prefixes(model, query_prefix, document_prefix),
            "dimensions": None if dimensions is None else at_least(1, "dimensions", dimensions),
        }
        self._manner = check_manner(batch_size, timeout, retries)
        if self._manner.batch_size != BATCH_SIZE:
            self._settings["batch_size"] = self._manner.batch_size
        self._shown: dict[str, Any] | None = None

    def settings(self) -> dict[str, Any]:
        """The settings that decide the embeddings, and `batch_size` if it isn't the default."""
        return self._settings

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text, including its prefix, the model reads: the model's context
        length, or a smaller limit in its parameters. Ollama is asked once; None if Ollama doesn't
        report the length. Ollama doesn't report a smaller context with which it was started."""
        if self._shown is None:
            with suppress(EmbeddingFunctionError):  # asked again the next time
                answer = self._request("/api/show", {"model": self._settings["model"]}, brief=True)
                self._shown = answer if isinstance(answer, dict) else {}
        return None if self._shown is None else _context_of(self._shown)

    def __call__(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n documents, of length 1."""
        return self._embed_all(input, self._settings["document_prefix"])

    def embed_query(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n queries, of length 1."""
        return self._embed_all(input, self._settings["query_prefix"])

    def _embed_all(self, input: Sequence[str], prefix: str) -> Matrix:
        return in_batches(add_prefix(input, prefix), self._manner.batch_size, self._embed_texts)

    def _embed_texts(self, texts: list[str]) -> Matrix:
        body = {"model": self._settings["model"], "input": texts, "truncate": True}
        dimensions = self._settings["dimensions"]
        if dimensions is not None:
            body["dimensions"] = dimensions
        answer = self._request("/api/embed", body)
        try:
            vectors = matrix(answer["embeddings"], len(texts))
        except (KeyError, TypeError, ValueError) as error:
            raise no_embeddings(f"{self._settings['base_url']}/api/embed", answer) from error
        who = f"the model {self._settings['model']!r}"
        why = "it has no more, or this version of Ollama can't shorten them"
        refuse_other_length(vectors, dimensions, who, why)
        return vectors

    def _request(self, path: str, body: dict[str, Any], brief: bool = False) -> Any:
        """Ollama's response. brief: whether to make a single attempt with a short timeout."""
        how = self._manner
        if brief:
            how = replace(how, timeout=min(how.timeout, _SHOW_TIMEOUT), retries=0)
        url = self._settings["base_url"] + path
        return ask(url, json.dumps(body).encode(), {}, how, self._message_of)

    def _message_of(self, status: int | None, answer: str) -> str:
        """An error message with the problem and its solution."""
        url, model = self._settings["base_url"], self._settings["model"]
        reason = _reason_in(answer)
        if status is None:
            return (
                f"Ollama can't be reached at {url} ({answer}): is it running there? `ollama serve` "
                "starts it; where it is elsewhere, say so by base_url="
            )
        if status == 404 and reason is None:
            return (
                f"{url} answered 404 ({answer.strip()}), as what isn't Ollama does: base_url is "
                "its address alone, without /api or /v1"
            )
        if status == 404:
            return f"Ollama at {url} says: {reason}. `ollama pull {model}` fetches the model"
        return f"Ollama at {url} answered {status}: {answer if reason is None else reason}"


def _reason_in(answer: str) -> str | None:
    """The reason in an error response of Ollama: {"error": "…"}."""
    try:
        reason = json.loads(answer)["error"]
    except (ValueError, KeyError, TypeError):
        return None
    return reason if isinstance(reason, str) else None


def _context_of(shown_model: dict[str, Any]) -> int | None:
    """The context length in a response of /api/show, from "<architecture>.context_length" in
    model_info, and from a line such as "num_ctx 2048" in the parameters."""
    limits = []
    information = shown_model.get("model_info")
    if isinstance(information, dict):
        architecture = information.get("general.architecture")
        limits.append(known_tokens(information.get(f"{architecture}.context_length")))
    parameters = shown_model.get("parameters")
    for line in parameters.splitlines() if isinstance(parameters, str) else []:
        words = line.split()
        if len(words) == 2 and words[0] == "num_ctx" and words[1].isdecimal():
            limits.append(known_tokens(int(words[1])))
    return min((limit for limit in limits if limit is not None), default=None)
