"""Conditions on strings, and on the tokens of texts."""

from dataclasses import dataclass
from typing import final

from retrieval_store.filters.typed.columns import TokensAt, ValuesAt
from retrieval_store.filters.typed.leaf import KeptTokens, KeptValues, TypedLeaf
from retrieval_store.filters.typed.paths import Found as Values
from retrieval_store.filters.typed.paths import items_of
from retrieval_store.filters.values import Found


@final
@dataclass(frozen=True, slots=True)
class Containing(TypedLeaf):
    """Points with a string that has `text` in it, case and all."""

    at: ValuesAt
    text: str

    def holds(self, values: Values) -> bool:
        return any(self.text in value for value in self.at.within(values))

    def found_in(self, kept: KeptValues) -> Found:
        return kept.texts_that(lambda held: self.text in held)


@final
@dataclass(frozen=True, slots=True)
class Beginning(TypedLeaf):
    """Points with a string that begins with `prefix`, case and all."""

    at: ValuesAt
    prefix: str

    def holds(self, values: Values) -> bool:
        return any(value.startswith(self.prefix) for value in self.at.within(values))

    def found_in(self, kept: KeptValues) -> Found:
        return kept.texts_that(lambda held: held.startswith(self.prefix))


@final
@dataclass(frozen=True, slots=True)
class HasTokens(TypedLeaf):
    """Points with any of the tokens in a text, or with every one; with none of none."""

    at: TokensAt
    tokens: tuple[str, ...]
    every: bool

    def holds(self, values: Values) -> bool:
        wanted = set(self.tokens)
        texts = [set(text) for text in token_texts(self.at, values)]
        return bool(wanted) and any(
            wanted <= text if self.every else bool(wanted & text) for text in texts
        )

    def found_in(self, kept: KeptTokens) -> Found:
        return kept.with_tokens(self.tokens, self.every)


@final
@dataclass(frozen=True, slots=True)
class HasPhrase(TypedLeaf):
    """Points with the tokens one after the other in a text."""

    at: TokensAt
    tokens: tuple[str, ...]

    def holds(self, values: Values) -> bool:
        size = len(self.tokens)
        return size > 0 and any(
            tuple(text[i : i + size]) == self.tokens
            for text in token_texts(self.at, values)
            for i in range(len(text) - size + 1)
        )

    def found_in(self, kept: KeptTokens) -> Found:
        return kept.with_phrase(self.tokens)


def token_texts(at: TokensAt, values: Values) -> list[list[str]]:
    """The tokens of each text, or of all of them as of one."""
    texts = [at.tokens.of_text(item) for item in items_of(values) if type(item) is str]
    return [[token for text in texts for token in text]] if at.together else texts
