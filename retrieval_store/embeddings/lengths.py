"""Texts cut to what a model takes in of them.

A model reads so many tokens of a text and no more. Its tokenizer goes through all of the text
nevertheless, which of a log of megabytes takes seconds and gigabytes; so what can't matter is cut
off before, and that anything was is logged once a process for each model.
"""

from collections.abc import Sequence

from retrieval_store.base.logs import log_of

# More than the words of any language have for a token, on average: of longer runs of spaces, or of
# words that aren't any, a model may see less than it could.
CHARACTERS_A_TOKEN = 64
MANY_TOKENS = 10**9
_log = log_of()
_told: set[tuple[str, int]] = set()


def cut(texts: Sequence[str], characters: int, model: str, tokens: int) -> list[str]:
    """The texts, the first so many characters of each. model, tokens: what is said of it."""
    if any(len(text) > characters for text in texts):
        tell_of_cut(model, tokens)
    return [text[:characters] for text in texts]


def cut_to_tokens(texts: Sequence[str], tokens: object, model: str) -> list[str]:
    """The texts without what a model of so many tokens can't take in; all of them where no number
    is known."""
    known = known_tokens(tokens)
    if known is None:
        return list(texts)
    return cut(texts, known * CHARACTERS_A_TOKEN, model, known)


def known_tokens(told: object) -> int | None:
    """A number of tokens as a model tells it; None for what is none, such as the 1e30 by which
    tokenizers say that they don't know."""
    if not isinstance(told, int) or isinstance(told, bool) or not 0 < told < MANY_TOKENS:
        return None
    return told


def tell_of_cut(model: str, tokens: int) -> None:
    """Log, the first time, that a model doesn't take in all of the texts."""
    if (model, tokens) in _told:  # two threads may both find that it isn't, which does no harm
        return
    _told.add((model, tokens))
    _log.warning(
        "a text is longer than the %d tokens of it that %s takes in: what comes after them doesn't "
        "count for its vector. Passages of a few hundred words each are found by all they say",
        tokens,
        model,
    )
