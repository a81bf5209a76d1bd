"""Parts that several embedding functions share: checks of arguments, prefixes, and truncation of
texts.

Many models were trained with a prefix of a few words, which says whether a text is a query or a
document (`prefixes`). Without the prefix, searches find less. Servers and libraries don't add the
prefix, so the caller must.

A model reads a limited number of tokens of a text, but its tokenizer reads the whole text. For a
log file of megabytes, that takes seconds and gigabytes of memory. So `cut_to_tokens` first removes
text that is certainly beyond the limit. Functions that don't read the whole text log that by
`warn_of_truncation`, once per collection and process.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeAlias
from weakref import WeakSet

import numpy as np

from retrieval_store.base.arrays import Ints, plain_scalar
from retrieval_store.base.locks import Lock
from retrieval_store.base.platform import at_fork
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import is_blank, quote
from retrieval_store.errors import EmbeddingFunctionError, InvalidArgumentError, InvalidTypeError

_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
_REPRESENT = "Represent this sentence for searching relevant passages: "

# As the models' makers say: before queries, before documents. Keys are beginnings of names in lower
# case, without the maker's name and the tag; the longest that matches wins.
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
    """The value, if it is an int that is not less than `least`; otherwise raises
    InvalidArgumentError."""
    number = plain_scalar(value)
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise InvalidArgumentError(f"{name} is {quote(value)}, expected an int of {least} or more")
    return number


def prefixes(model: str, query: Any, document: Any) -> dict[str, str]:
    """The prefixes of queries and documents, as settings. None stands for the known prefix of the
    model, or for no prefix if none is known. Raises InvalidTypeError for a prefix that is not a
    string."""
    name = model.rpartition("/")[2].partition(":")[0].casefold()
    start = max(
        (beginning for beginning in KNOWN if name.startswith(beginning)), key=len, default=None
    )
    known = ("", "") if start is None else KNOWN[start]
    for argument, prefix in (("query_prefix", query), ("document_prefix", document)):
        if prefix is not None and not isinstance(prefix, str):
            raise InvalidTypeError(f"{argument} is {quote(prefix)}, expected a str or None")
    return {
        "query_prefix": known[0] if query is None else query,
        "document_prefix": known[1] if document is None else document,
    }


def require_strings(input: Sequence[Any], model: str) -> None:
    """Raise InvalidTypeError for an input that is not a string. model: the name of the function,
    for the message."""
    for i, text in enumerate(input):
        if not isinstance(text, str):
            raise InvalidTypeError(
                f"input[{i}] is of type {type(text).__name__}; {model} embeds only str"
            )


def blank_of_zeros(inputs: Sequence[Any], vectors: Iterable[Any]) -> int | None:
    """The position of the first blank text whose vector has only zeros; None if there is none. Such
    a vector is equally near to all queries."""
    pairs = enumerate(zip(inputs, vectors, strict=False))
    return next(
        (
            place
            for place, (text, vector) in pairs
            if isinstance(text, str) and is_blank(text) and not np.any(vector)
        ),
        None,
    )


def add_prefix(input: Sequence[Any], prefix: str) -> list[str]:
    """The texts, each with the prefix before it; raises InvalidTypeError for an input that is not a
    string."""
    require_strings(input, "the model")
    return [prefix + text for text in input]


# More than the words of any language have for a token, on average. Only of unusual texts, such as
# long runs of spaces, a model may see less than it could.
CHARACTERS_A_TOKEN = 64
# To see whether a text is too long, only this number of characters per token of the limit is
# tokenized first. All of it is tokenized only if these have too few tokens, as where words are
# long.
FIRST_CHARACTERS_A_TOKEN = 8
MANY_TOKENS = 10**9
ADVICE = (
    "Split it into passages, for example with retrieval_store_files.passages_of(text, function=…)"
)
Count: TypeAlias = Callable[[list[str]], Sequence[int]]
_log = log_of()
_warned: set[tuple[str | None, str]] = set()  # ids of collections, and models
MAX_WARNED = 10_000
_collection: ContextVar[tuple[str, str] | None] = ContextVar(
    "retrieval_store_collection", default=None
)


@contextmanager
def embedding_for(collection: tuple[str, str] | None) -> Iterator[None]:
    """A context manager: in its `with` block, log messages about texts name the collection for
    which texts are embedded. collection: its id and its name."""
    token = _collection.set(collection)
    try:
        yield
    finally:
        _collection.reset(token)


def warn_of_truncation(
    model: str, limit: int, texts: Sequence[str], seen: Ints, characters: int | None = None
) -> None:
    """Log that a model reads only the beginning of some texts, once per collection and process.

    seen: (n,), the number of tokens of each text; 0 for a text whose tokens weren't counted. If
    only the first `characters` of a text were tokenized, only the tokens of this part count.
    characters: None means the number of characters that `cut_to_tokens` keeps.
    """
    collection_id, name = _collection.get() or (None, None)
    key = collection_id, model
    if key in _warned:  # two threads may both find that it isn't, which does no harm
        return
    most = limit * CHARACTERS_A_TOKEN if characters is None else characters
    longer = sum(len(text) > most or count > limit for text, count in zip(texts, seen, strict=True))
    if not longer:
        return
    if len(_warned) >= MAX_WARNED:
        _warned.clear()
    _warned.add(key)
    _log.warning(
        "%s%d of %d texts are longer than the %d tokens that %s reads of each; what follows these "
        "doesn't count for the vectors. %s",
        "" if name is None else f"collection {name!r}: ",
        longer,
        len(texts),
        limit,
        model,
        ADVICE,
    )


def cut_to_tokens(texts: Sequence[str], tokens: int | None) -> list[str]:
    """The texts, each truncated to the longest part that a model with this limit of tokens can
    read; unchanged if there is no limit."""
    if tokens is None:
        return list(texts)
    return [text[: tokens * CHARACTERS_A_TOKEN] for text in texts]


def known_tokens(limit: object) -> int | None:
    """The limit of tokens that a model reports. None for 1e30, which tokenizers report if they do
    not know the limit."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 < limit < MANY_TOKENS:
        return None
    return limit


def numbers_of_tokens(texts: Sequence[str], limit: int, count: Count | None) -> Ints:
    """(n,): the number of tokens of each text, counted by `count`. It is 0 for a text that is
    certainly within the limit, or if tokens cannot be counted. For a longer text, only the tokens
    at its beginning may be counted."""
    counts = np.zeros(len(texts), np.int64)
    # A token has a byte at least.
    places = [i for i, text in enumerate(texts) if len(text) > limit or utf8_length(text) > limit]
    if count is None or not places:
        return counts
    start = limit * FIRST_CHARACTERS_A_TOKEN
    with suppress(Exception):  # of who knows which tokenizer; the model has embedded the texts
        counts[places] = count([texts[i][:start] for i in places])
        left = [i for i in places if counts[i] <= limit and len(texts[i]) > start]
        if left:
            counts[left] = count([texts[i] for i in left])
    return counts


def utf8_length(text: str) -> int:
    """The length of a text in UTF-8, in bytes."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


class TokenCounter:
    """Counts tokens with a copy of a model's tokenizer. The truncation by the model's own tokenizer
    can't be switched off while other threads use it."""

    def __init__(self) -> None:
        self._made: tuple[Any, Count | None] = None, None

    def of(self, tokenizer: Any) -> Count | None:
        """A function that counts tokens with this tokenizer, special tokens included. None unless
        it is a tokenizer of the package `tokenizers`, or transformers' wrapper of one."""
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
    """A base class of functions with a model. The first use loads the model, in one thread. After
    `close` the next use loads it again."""

    def __init__(self) -> None:
        self._model: Any = None
        self._counter = TokenCounter()
        self._loading = Lock()
        _with_locks.add(self)

    def close(self) -> None:
        """Release the model and its memory."""
        with self._loading:
            self._model, self._counter = None, TokenCounter()

    def _load_once(self) -> Any:
        with self._loading:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> Any:
        raise NotImplementedError


_with_locks: WeakSet[LoadsModel] = WeakSet()


def _renew_locks() -> None:
    """In a forked child: replace the locks that the parent's threads may have held."""
    for function in list(_with_locks):
        function._loading = Lock()


at_fork(after_in_child=_renew_locks)


def counter_of(count: Count | None) -> Count:
    """`count`, a function that counts tokens; raises EmbeddingFunctionError if it is None."""
    if count is None:
        raise EmbeddingFunctionError("the model's tokenizer is of a kind whose tokens aren't known")
    return count


def _counting(tokenizer: Any) -> Count:
    encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)

    def count(texts: list[str]) -> list[int]:
        return [len(tokens) for tokens in encode(texts)]

    return count
