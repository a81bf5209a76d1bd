"""Embeddings from a server with OpenAI's interface: OpenAI itself, or one of your own.

The key is read from an environment variable when it is needed; only the variable's name is ever
stored.
"""

import http.client
import json
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Matrix
from retrieval_store.errors import EmbeddingFunctionError, InvalidArgumentError

RETRIED = (408, 409, 429, 500, 502, 503, 504)
REQUEST_CHARACTERS = 400_000  # OpenAI takes 300,000 tokens at once; a token is some four characters
FIRST_PAUSE = 0.5  # seconds; doubled each time
LONGEST_PAUSE = 30.0


class OpenAIEmbeddingFunction:
    """Embeds texts by POST {base_url}/embeddings.

    model: its name there; api_key_env: the environment variable that has the key, None for a server
    that wants none; dimensions: how many numbers, where the model can choose. batch_size, timeout
    in seconds, retries: how it is asked; they aren't remembered by collections. Raises
    EmbeddingFunctionError when the server can't be reached, or refuses.
    """

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        base_url: str = "https://api.openai.com/v1",
        api_key_env: str | None = "OPENAI_API_KEY",
        dimensions: int | None = None,
        *,
        batch_size: int = 128,
        timeout: float = 60.0,
        retries: int = 4,
    ) -> None:
        parts = urllib.parse.urlsplit(base_url)
        if parts.scheme not in ("http", "https") or parts.username or parts.password:
            raise InvalidArgumentError(
                "base_url must be an http or https URL without a user's name or password: it is "
                "stored and shown"
            )
        self._settings: dict[str, Any] = {
            "model": model,
            "base_url": base_url.rstrip("/"),
            "api_key_env": api_key_env,
            "dimensions": dimensions,
        }
        self._batch_size, self._timeout, self._retries = batch_size, timeout, retries

    def settings(self) -> dict[str, Any]:
        """What decides the embeddings; the key isn't among them."""
        return self._settings

    def __call__(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n texts."""
        texts = list(input)
        if not texts:
            return np.empty((0, 0), np.float32)
        return np.concatenate([self._embedded(some) for some in self._batches(texts)])

    def _batches(self, texts: list[str]) -> Iterator[list[str]]:
        """As many texts as go into one request, by their number and by their lengths."""
        some: list[str] = []
        room = REQUEST_CHARACTERS
        for text in texts:
            if some and (len(some) == self._batch_size or len(text) > room):
                yield some
                some, room = [], REQUEST_CHARACTERS
            some.append(text)
            room -= len(text)
        yield some

    def _embedded(self, texts: list[str]) -> Matrix:
        body: dict[str, Any] = {"model": self._settings["model"], "input": texts}
        if self._settings["dimensions"] is not None:
            body["dimensions"] = self._settings["dimensions"]
        answer = self._asked(json.dumps(body).encode())
        try:
            items = sorted(answer["data"], key=lambda item: item["index"])
            if [item["index"] for item in items] != list(range(len(texts))):
                raise ValueError("other texts than were asked for")
            vectors = np.array([item["embedding"] for item in items], np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise EmbeddingFunctionError(
                f"{self._url} answered something else than embeddings: {str(answer)[:200]}"
            ) from error
        return vectors

    def _asked(self, body: bytes) -> Any:
        pause, waiting = FIRST_PAUSE, threading.Event()
        for left in range(self._retries, -1, -1):
            try:
                return self._answer(body)
            except urllib.error.HTTPError as error:
                said = self._without_key(error.read(500).decode(errors="replace"))
                if error.code not in RETRIED or not left:
                    raise EmbeddingFunctionError(
                        f"{self._url} answered {error.code}: {said}"
                    ) from error
                pause = _asked_for(error) or pause
            except (OSError, http.client.HTTPException) as error:
                if not left:
                    raise EmbeddingFunctionError(
                        f"{self._url} can't be reached: {error}"
                    ) from error
            waiting.wait(min(pause, LONGEST_PAUSE))
            pause *= 2
        raise AssertionError("unreachable")

    def _answer(self, body: bytes) -> Any:
        request = urllib.request.Request(self._url, body, self._headers(), method="POST")
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(request, timeout=self._timeout) as response:
            try:
                return json.load(response)
            except ValueError as error:
                raise EmbeddingFunctionError(f"{self._url} didn't answer JSON") from error

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        name = self._settings["api_key_env"]
        if name is not None:
            headers["Authorization"] = f"Bearer {self._key(name)}"
        return headers

    def _key(self, name: str) -> str:
        key = os.environ.get(name, "").strip()
        if not key or not key.isascii() or not key.isprintable():
            raise EmbeddingFunctionError(
                f"the environment variable {name} has no key that can be sent"
            )
        return key

    def _without_key(self, text: str) -> str:
        """What a server says, without the key, which some of them repeat."""
        name = self._settings["api_key_env"]
        key = "" if name is None else os.environ.get(name, "").strip()
        return text.replace(key, "***") if key else text

    @property
    def _url(self) -> str:
        return f"{self._settings['base_url']}/embeddings"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key goes to the server that the user named and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _asked_for(error: urllib.error.HTTPError) -> float | None:
    """How long the server wants us to wait, in seconds."""
    try:
        return float(error.headers.get("Retry-After", ""))
    except ValueError:
        return None
