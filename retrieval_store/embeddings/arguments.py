"""Arguments that several embedding functions have: texts, counts, and what is put before texts.

Many models were trained with a few words before each text, which say whether it is a query or a
document. They find less without, and servers and libraries leave that to the caller.
"""

from collections.abc import Sequence
from typing import Any

from retrieval_store.base.arrays import plain_scalar
from retrieval_store.base.validation import shown
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError

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
