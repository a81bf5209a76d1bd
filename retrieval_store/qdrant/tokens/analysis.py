"""Tokens of texts, as an index of texts makes them of what is kept and of what is looked for."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias, final

from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.errors import MissingDependencyError
from retrieval_store.qdrant.tokens.folding import fold
from retrieval_store.qdrant.tokens.letters import (
    between_blanks,
    names_and_parts,
    parts_of_names,
    words_in,
)
from retrieval_store.qdrant.tokens.scripts import words_of_any_script

Tokenizer: TypeAlias = Literal["word", "whitespace", "prefix", "multilingual", "code"]


@final
@dataclass(frozen=True, slots=True)
class Tokens:
    """How texts become tokens. stopwords: left out, as they are written; stemmer: a language of
    Snowball's; least, most: characters that a token has."""

    tokenizer: Tokenizer = "word"
    lowercase: bool = True
    folded: bool = False
    stopwords: tuple[str, ...] = ()
    stemmer: str | None = None
    least: int | None = None
    most: int | None = None

    def of_text(self, text: str) -> list[str]:
        """The tokens of a text that is kept."""
        split = names_and_parts if self.tokenizer == "code" else _SPLIT[self.tokenizer]
        words = self._words(split(text))
        if self.tokenizer != "prefix":
            return words
        return [
            word[:size]
            for word in words
            for size in range(self.least or 1, min(self.most or len(word), len(word)) + 1)
        ]

    def of_query(self, text: str) -> list[str]:
        """The tokens that are looked for."""
        if self.tokenizer != "prefix":
            return self._words(_SPLIT[self.tokenizer](text))
        # The beginning of a word may be a stopword, so none are left out.
        words = replace(self, stopwords=())._words(words_in(text))
        return [word[: self.most] for word in words]

    def of_phrase(self, text: str) -> list[str]:
        """The tokens that must follow one another."""
        return self.of_text(text) if self.tokenizer == "prefix" else self.of_query(text)

    def _words(self, raw: Sequence[str]) -> list[str]:
        spelt = [self._spelt(word) for word in raw]
        if self.stopwords:
            left_out = _as_set(self.stopwords, self.lowercase)
            spelt = [word for word in spelt if word not in left_out]
        if self.stemmer is not None:
            spelt = _stems(self.stemmer)(spelt)
        if self.least or (self.most is not None and self.tokenizer != "prefix"):
            spelt = [word for word in spelt if self._has_length(word)]
        return [word for word in spelt if word not in NO_TOKENS]

    def _spelt(self, word: str) -> str:
        if self.folded:
            word = fold(word)
        return word.lower() if self.lowercase else word

    def _has_length(self, word: str) -> bool:
        # Of the beginnings of a word all are short enough that are made of it.
        most = None if self.tokenizer == "prefix" else self.most
        return len(word) >= (self.least or 0) and (most is None or len(word) <= most)


NO_TOKENS = ("", "\0")  # U+0000 alone is none to servers either; beside others in a word it counts
_SPLIT: dict[Tokenizer, Callable[[str], list[str]]] = {
    "word": words_in,
    "whitespace": between_blanks,
    "prefix": words_in,
    "multilingual": words_of_any_script,
    "code": parts_of_names,
}


@lru_cache(maxsize=64)
def _as_set(stopwords: tuple[str, ...], lowercase: bool) -> frozenset[str]:
    return frozenset(word.lower() for word in stopwords) if lowercase else frozenset(stopwords)


@lru_cache(maxsize=32)
def _stems(language: str) -> Any:
    """What makes stems of words; its stemmers are those of the Rust that such servers are in."""
    try:
        from py_rust_stemmers import SnowballStemmer  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError(
            'stemmers need py-rust-stemmers: pip install "retrieval-store[qdrant]"'
        ) from error
    return SnowballStemmer(language).stem_words
