"""Arguments that several embedding functions have: texts, counts, and what is put before texts.

Many models were trained with a few words before each text, which say whether it is a query or a
document. They find less without, and servers and libraries leave that to the caller.

Texts cut to what a model takes in of them, and what that leaves out.

A model reads so many tokens of a text and no more. Its tokenizer goes through all of the text
nevertheless, which of a log of megabytes takes seconds and gigabytes; so what can't matter is cut
off before. Functions tell what they didn't read by `tell_of_cut` or `tell_of_lengths`: who writes
to a collection collects it; where none does, that anything was cut is logged once a process for
each model.

Servers that embed texts: asked by JSON over HTTP, in batches.

What may pass is tried again. Texts and keys go to the host that the user named and to no other, so
no redirect is followed. It needs nothing but the standard library.
"""

import copy
import http.client
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np

from retrieval_store.base.arrays import Ints, Matrix, plain_scalar
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import shown
from retrieval_store.errors import EmbeddingFunctionError, InvalidArgumentError, InvalidTypeError

_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
_REPRESENT = "Represent this sentence for searching relevant passages: "

# As the models' makers say: before queries, before documents; by how names begin, the longest that
# fits, in small letters, without the maker's name and the tag.
KNOWN: dict[str, tuple[str, str]] = {
    "embeddinggemma": ("task: search result | query: ", "title: none | text: "),
    "multilingual-e5-": ("query: ", "passage: "),
    "multilingual-e5-large-instruct": (f"Instruct: {_SEARCH}\nQuery: ", ""),
    "mxbai-embed-large": (_REPRESENT, ""),
    "nomic-embed-text": ("search_query: ", "search_document: "),
    "qwen3-embedding": (f"Instruct: {_SEARCH}\nQuery:", ""),
    "snowflake-arctic-embed": (_REPRESENT, ""),
    "snowflake-arctic-embed-l-v2.0": ("query: ", ""),
    "snowflake-arctic-embed-m-v2.0": ("query: ", ""),
    "snowflake-arctic-embed2": ("query: ", ""),
}


def at_least(least: int, name: str, value: Any) -> int:
    """The value, if it is an int that isn't smaller; InvalidArgumentError for others."""
    number = plain_scalar(value)
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise InvalidArgumentError(f"{name} is {shown(value)}, expected an int of {least} or more")
    return number


def prefixes(model: str, query: Any, document: Any) -> dict[str, str]:
    """As settings, what is put before queries and documents: what is given; where that is None,
    what is known of the model, or nothing. InvalidTypeError for what is no text."""
    name = model.rpartition("/")[2].partition(":")[0].casefold()
    start = max((one for one in KNOWN if name.startswith(one)), key=len, default=None)
    known = ("", "") if start is None else KNOWN[start]
    for which, given in (("query_prefix", query), ("document_prefix", document)):
        if given is not None and not isinstance(given, str):
            raise InvalidTypeError(f"{which} is {shown(given)}, expected a str or None")
    return {
        "query_prefix": known[0] if query is None else query,
        "document_prefix": known[1] if document is None else document,
    }


def refuse_no_text(input: Sequence[Any], model: str) -> None:
    """Raise InvalidTypeError for what is no text; model: what embeds only these."""
    for i, text in enumerate(input):
        if not isinstance(text, str):
            raise InvalidTypeError(
                f"input[{i}] is of type {type(text).__name__}; {model} embeds only str"
            )


def prefixed(input: Sequence[Any], prefix: str) -> list[str]:
    """The texts with the prefix before each; InvalidTypeError for what is no text."""
    refuse_no_text(input, "the model")
    return [prefix + text for text in input]


# More than the words of any language have for a token, on average: of longer runs of spaces, or of
# words that aren't any, a model may see less than it could.
CHARACTERS_A_TOKEN = 64
# So many of a text are tokenized to see whether it is too long, before all of it is: enough, but
# where words are long.
LOOKED_AT = 8
MANY_TOKENS = 10**9
ADVICE = (
    "Passages, as retrieval_store.exchange.passages_of(text, function=…) makes them, are found by "
    "all they say"
)
Count: TypeAlias = Callable[[list[str]], Sequence[int]]
_log = log_of()
_told: set[tuple[str, int]] = set()


@dataclass(frozen=True, slots=True)
class Cut:
    """Texts of which a model reads the beginning alone. limit: of a text, in tokens; texts: how
    many are longer; tokens, read: about how many these have together, and how many were read."""

    model: str
    limit: int
    texts: int
    tokens: float
    read: int

    def __add__(self, other: "Cut") -> "Cut":
        return Cut(
            self.model,
            self.limit,
            self.texts + other.texts,
            self.tokens + other.tokens,
            self.read + other.read,
        )


_collecting: ContextVar[list[Cut] | None] = ContextVar("retrieval_store_cuts", default=None)


@contextmanager
def collected() -> Iterator[list[Cut]]:
    """What functions tell of cuts meanwhile, in this thread, which isn't logged then."""
    found: list[Cut] = []
    token = _collecting.set(found)
    try:
        yield found
    finally:
        _collecting.reset(token)


def tell_of_cut(cut: Cut) -> None:
    """Tell that a model doesn't read all of some texts: the call that collects it; where none does,
    the log, the first time."""
    collecting = _collecting.get()
    if collecting is not None:
        collecting.append(cut)
        return
    if (cut.model, cut.limit) in _told:  # two threads may both find it isn't, which does no harm
        return
    _told.add((cut.model, cut.limit))
    _log.warning(
        "a text is longer than the %d tokens of it that %s takes in: what comes after them doesn't "
        "count for its vector. %s",
        cut.limit,
        cut.model,
        ADVICE,
    )


def tell_of_lengths(
    model: str, limit: int, texts: Sequence[str], seen: Ints, characters: int | None = None
) -> None:
    """Tell of those texts that are longer than what a model reads of them.

    seen: (n,), how many tokens the first `characters` of each have, which is all that was
    tokenized: as many as `cut_to_tokens` leaves if that is None; 0 where they weren't counted. What
    comes after them is taken to have as many tokens for a character.
    """
    most = limit * CHARACTERS_A_TOKEN if characters is None else characters
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    cut = (lengths > most) | (seen > limit)
    if not cut.any():
        return
    there = np.where(seen == 0, limit, seen)[cut]
    tokens = there * np.maximum(lengths[cut] / most, 1)
    read = int(np.minimum(there, limit).sum())
    tell_of_cut(Cut(model, limit, len(there), float(tokens.sum()), read))


def cut_to_tokens(texts: Sequence[str], tokens: int | None) -> list[str]:
    """The texts without what a model of so many tokens can't take in; all of them where no number
    is known."""
    if tokens is None:
        return list(texts)
    return [text[: tokens * CHARACTERS_A_TOKEN] for text in texts]


def known_tokens(told: object) -> int | None:
    """A number of tokens as a model tells it; None for what is none, such as the 1e30 by which
    tokenizers say that they don't know."""
    if not isinstance(told, int) or isinstance(told, bool) or not 0 < told < MANY_TOKENS:
        return None
    return told


def numbers_of_tokens(texts: Sequence[str], limit: int, count: Count | None) -> Ints:
    """(n,) how many tokens each of the texts has, as `count` says, if that may be more than the
    limit: else, and where it can't be counted, 0. Of long texts it is an estimate."""
    found = np.zeros(len(texts), np.int64)
    # A token has a byte at least.
    places = [i for i, text in enumerate(texts) if len(text) > limit or _bytes(text) > limit]
    if count is None or not places:
        return found
    start = limit * LOOKED_AT
    with suppress(Exception):  # of who knows which tokenizer; the model has embedded the texts
        found[places] = count([texts[i][:start] for i in places])
        left = [i for i in places if found[i] <= limit and len(texts[i]) > start]
        for i in places:
            found[i] = found[i] * max(1.0, len(texts[i]) / start)
        if left:
            found[left] = count([texts[i] for i in left])
    return found


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


class TokenCounter:
    """Counts by a copy of a model's tokenizer, since a model's own can't be told not to cut while
    other threads use it."""

    def __init__(self) -> None:
        self._made: tuple[Any, Count | None] = None, None

    def of(self, tokenizer: Any) -> Count | None:
        """What counts the tokens of texts, with the model's own marks, as a tokenizer of the
        package `tokenizers` does, or what transformers puts around one; None where it is another.
        """
        known, count = self._made
        if known is not tokenizer:
            count = None
            with suppress(Exception):
                whole = copy.deepcopy(getattr(tokenizer, "backend_tokenizer", tokenizer))
                whole.no_truncation()
                whole.no_padding()
                count = _counting(whole)
            self._made = tokenizer, count
        return count


class LoadsModel:
    """What has a model, which the first use loads in one thread, and the next use after `close`."""

    def __init__(self) -> None:
        self._model: Any = None
        self._counter = TokenCounter()
        self._loading = threading.Lock()

    def close(self) -> None:
        """Let go of the model, and of the memory that it takes."""
        with self._loading:
            self._model, self._counter = None, TokenCounter()

    def _loaded(self) -> Any:
        with self._loading:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> Any:
        raise NotImplementedError


def counted_by(count: Count | None) -> Count:
    """What counts tokens; EmbeddingFunctionError where nothing does."""
    if count is None:
        raise EmbeddingFunctionError("the model's tokenizer is of a kind whose tokens aren't known")
    return count


def _counting(tokenizer: Any) -> Count:
    encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)

    def count(texts: list[str]) -> list[int]:
        return [len(one) for one in encode(texts)]

    return count


RETRIED = (408, 409, 429, 500, 502, 503, 504)
REQUEST_CHARACTERS = 400_000  # OpenAI takes 300,000 tokens at once; a token is some four characters
FIRST_PAUSE = 0.5  # seconds; doubled each time
LONGEST_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class Manner:
    """How a server is asked: batch_size texts at once; timeout: how many seconds it may be silent;
    retries: how often what failed is tried again."""

    batch_size: int
    timeout: float
    retries: int


def checked_manner(batch_size: Any, timeout: Any, retries: Any) -> Manner:
    """How to ask, if the numbers can be meant; InvalidArgumentError for others."""
    seconds = plain_scalar(timeout)
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds < threading.TIMEOUT_MAX:
        raise InvalidArgumentError(
            f"timeout is {shown(timeout)}, expected a number of seconds above 0"
        )
    return Manner(
        at_least(1, "batch_size", batch_size), float(seconds), at_least(0, "retries", retries)
    )


def checked_url(base_url: Any) -> str:
    """The URL of a server without the slash at its end; InvalidArgumentError for one that can't be
    asked, or that must not be stored."""
    try:
        parts = urllib.parse.urlsplit(base_url if isinstance(base_url, str) else "")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable or parts.username or parts.password:  # it isn't shown, for it may have a password
        raise InvalidArgumentError(
            "base_url must be an http or https URL without a user's name or password: it is "
            "stored and shown"
        )
    return str(base_url).rstrip("/")


def in_batches(texts: list[str], size: int, embed: Callable[[list[str]], Matrix]) -> Matrix:
    """(n, dim) float32 for n texts, which `embed` embeds some at a time; (0, 0) for none."""
    if not texts:
        return np.empty((0, 0), np.float32)
    parts = [embed(some) for some in batches(texts, size)]
    widths = sorted({part.shape[1] for part in parts})
    if len(widths) > 1:
        raise EmbeddingFunctionError(
            f"the server answered vectors of {' and of '.join(map(str, widths))} numbers to texts "
            "of one call"
        )
    return np.concatenate(parts)


def batches(texts: list[str], size: int) -> Iterator[list[str]]:
    """As many texts as go into one request, by their number and by their lengths."""
    some: list[str] = []
    room = REQUEST_CHARACTERS
    for text in texts:
        if some and (len(some) == size or len(text) > room):
            yield some
            some, room = [], REQUEST_CHARACTERS
        some.append(text)
        room -= len(text)
    yield some


def matrix(rows: Any, count: int) -> Matrix:
    """(count, dim) float32 of what a server answered; TypeError or ValueError if it isn't that."""
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite
            vectors = np.array(rows, np.float32)
    except OverflowError as error:  # an int that no float holds
        raise ValueError(str(error)) from error
    if vectors.ndim != 2 or len(vectors) != count or not vectors.shape[1]:
        raise ValueError(f"an array of shape {vectors.shape} for {count} texts")
    if not np.isfinite(vectors).all():
        raise ValueError("numbers that aren't finite")
    return vectors


def no_embeddings(url: str, answer: Any) -> EmbeddingFunctionError:
    """The error of an answer that has other things than were asked for."""
    return EmbeddingFunctionError(
        f"{url} answered something else than embeddings: {str(answer)[:200]}"
    )


def ask(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    manner: Manner,
    told: Callable[[int | None, str], str],
) -> Any:
    """What a server answers to the body, as JSON.

    Raises EmbeddingFunctionError with the text that `told` makes of the status and the beginning of
    what the server said; of None and the reason, where it can't be reached.
    """
    pause, waiting = FIRST_PAUSE, threading.Event()
    for left in range(manner.retries, -1, -1):
        try:
            return _answer(url, body, headers, manner.timeout)
        except urllib.error.HTTPError as error:
            said = _beginning_of(error)
            if error.code not in RETRIED or not left:
                raise EmbeddingFunctionError(told(error.code, said)) from error
            pause = _asked_for(error) or pause
        except UnicodeError as error:  # of a URL; bytes that aren't UTF-8 aren't JSON
            raise EmbeddingFunctionError(told(None, str(error))) from error
        except (OSError, http.client.HTTPException) as error:
            if not left:
                raise EmbeddingFunctionError(told(None, str(error))) from error
        waiting.wait(min(pause, LONGEST_PAUSE))
        pause *= 2
    raise AssertionError("unreachable")


def _answer(url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Any:
    request = urllib.request.Request(
        url, body, {"Content-Type": "application/json", **headers}, method="POST"
    )
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(request, timeout=timeout) as response:
        try:
            return json.load(response)
        except (ValueError, RecursionError) as error:
            raise EmbeddingFunctionError(f"{url} didn't answer JSON") from error


def _beginning_of(error: urllib.error.HTTPError) -> str:
    """What the server says of the error; nothing where it falls silent."""
    with error, suppress(OSError, http.client.HTTPException):
        return error.read(500).decode(errors="replace")
    return ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other that isn't embeddings."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _asked_for(error: urllib.error.HTTPError) -> float | None:
    """How long the server wants us to wait, in seconds."""
    try:
        return float(error.headers.get("Retry-After", ""))
    except ValueError:
        return None
