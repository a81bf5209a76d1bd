"""Embeddings from a server with OpenAI's API: OpenAI itself, or a server of your own.

Unless the key is passed, it is read from an environment variable when it is needed. Only the
variable's name is ever stored.
"""

import json
import os
import urllib.parse
from collections.abc import Sequence
from typing import Any

from retrieval_store.base.arrays import Matrix
from retrieval_store.base.validation import quote
from retrieval_store.embeddings import ComparedByCosine
from retrieval_store.embeddings._common import at_least, require_strings
from retrieval_store.embeddings._servers import (
    ask,
    check_manner,
    check_url,
    in_batches,
    matrix,
    no_embeddings,
    refuse_other_length,
)
from retrieval_store.errors import (
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidTypeError,
)

# Of OpenAI's own models; a server of another may call anything by these names.
MAX_TOKENS = {
    "text-embedding-3-small": 8191,
    "text-embedding-3-large": 8191,
    "text-embedding-ada-002": 8191,
}


BATCH_SIZE = 128  # texts


class OpenAIEmbeddingFunction(ComparedByCosine):
    """Embeds texts by POST {base_url}/embeddings."""

    comparable = ("batch_size",)  # which decides no vector

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        base_url: str = "https://api.openai.com/v1",
        api_key_env: str | None = "OPENAI_API_KEY",
        dimensions: int | None = None,
        *,
        api_key: str | None = None,
        batch_size: int = BATCH_SIZE,
        timeout: float = 60.0,
        retries: int = 4,
    ) -> None:
        """Choose a server and its model, and how it is called.

        Args:
            model: the model's name on the server.
            base_url: the URL of the server.
            api_key_env: the environment variable that has the key; None for a server without keys.
            dimensions: the length of the vectors, for models that support several lengths.
            api_key: the key itself, instead of the variable; not stored in collections.
            batch_size: texts per request, which a server may limit; stored in collections.
            timeout: seconds without data after which a request fails; not stored.
            retries: how often a request is retried; not stored.

        Raises:
            EmbeddingFunctionError: there is no key; at a call, the server can't be reached, or
                refuses.
        """
        if not isinstance(model, str) or not model:
            raise InvalidArgumentError(f"model is {quote(model)}, expected the name of a model")
        if not isinstance(api_key_env, str | None):
            raise InvalidTypeError(
                f"api_key_env is {quote(api_key_env)}, expected the name of a variable, or None"
            )
        self._settings: dict[str, Any] = {
            "model": model,
            "base_url": check_url(base_url),
            "api_key_env": api_key_env,
            "dimensions": None if dimensions is None else at_least(1, "dimensions", dimensions),
        }
        if api_key is not None and not isinstance(api_key, str):  # it isn't shown
            raise InvalidTypeError(
                f"api_key is of type {type(api_key).__name__}, expected a str or None"
            )
        self._given_key = api_key
        self._manner = check_manner(batch_size, timeout, retries)
        if self._manner.batch_size != BATCH_SIZE:
            self._settings["batch_size"] = self._manner.batch_size

    def settings(self) -> dict[str, Any]:
        """The settings that decide the embeddings, and `batch_size` if it isn't the default; no
        key."""
        return self._settings

    def check(self) -> None:
        """Raise EmbeddingFunctionError if there is no key, or if the key can't be sent in a
        header."""
        self._headers()

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text OpenAI's own models accept; a longer text is refused. None for
        other models and servers."""
        host = urllib.parse.urlsplit(self._settings["base_url"]).hostname or ""
        if host != "api.openai.com" and not host.endswith(".api.openai.com"):
            return None
        return MAX_TOKENS.get(self._settings["model"])

    def __call__(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n texts."""
        require_strings(input, "the model")
        return in_batches(list(input), self._manner.batch_size, self._embed_texts)

    def _embed_texts(self, texts: list[str]) -> Matrix:
        body: dict[str, Any] = {"model": self._settings["model"], "input": texts}
        if self._settings["dimensions"] is not None:
            body["dimensions"] = self._settings["dimensions"]
        answer = self._request(json.dumps(body).encode())
        try:
            items = sorted(answer["data"], key=lambda item: item["index"])
            if [item["index"] for item in items] != list(range(len(texts))):
                raise ValueError("other texts than were asked for")
            vectors = matrix([item["embedding"] for item in items], len(texts))
        except (KeyError, TypeError, ValueError) as error:
            raise no_embeddings(self._url, answer) from error
        why = f"the model {self._settings['model']!r}, or this server, can't shorten them"
        refuse_other_length(vectors, self._settings["dimensions"], self._url, why)
        return vectors

    def _request(self, body: bytes) -> Any:
        return ask(self._url, body, self._headers(), self._manner, self._message_of)

    def _message_of(self, status: int | None, answer: str) -> str:
        if status is None:
            return f"{self._url} can't be reached: {answer}"
        return f"{self._url} answered {status}: {self._without_key(answer)}"

    def _headers(self) -> dict[str, str]:
        key = self._key()
        if key is None:
            return {}
        if not key or not key.isascii() or not key.isprintable():
            name = self._settings["api_key_env"]
            where = f"the environment variable {name}" if self._given_key is None else "api_key"
            raise EmbeddingFunctionError(
                f"{where} has no key that can be sent: set it, or pass "
                "OpenAIEmbeddingFunction(api_key=…), with api_key_env=None for a server that wants "
                "none"
            )
        return {"Authorization": f"Bearer {key}"}

    def _key(self) -> str | None:
        """The current key; None if none is needed."""
        if self._given_key is not None:
            return self._given_key.strip()
        name = self._settings["api_key_env"]
        return None if name is None else os.environ.get(name, "").strip()

    def _without_key(self, text: str) -> str:
        """A server's message without the key, since some servers repeat the key."""
        key = self._key()
        return text.replace(key, "***") if key else text

    @property
    def _url(self) -> str:
        return f"{self._settings['base_url']}/embeddings"
