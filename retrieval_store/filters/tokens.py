"""Conditions on the tokens of texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from retrieval_store.filters.columns import TokensAt
from retrieval_store.filters.leaves import ColumnLeaf, KeptTokens, RowSet


@final
@dataclass(frozen=True, slots=True)
class HasTokens(ColumnLeaf):
    """Points with any of the tokens in a text, or with every one; with none of none."""

    at: TokensAt
    tokens: tuple[str, ...]
    every: bool

    def holds(self, value: Sequence[str]) -> bool:
        wanted, text = set(self.tokens), set(value)
        return bool(wanted) and (wanted <= text if self.every else bool(wanted & text))

    def found_in(self, kept: KeptTokens) -> RowSet:
        return kept.with_tokens(self.tokens, self.every)


@final
@dataclass(frozen=True, slots=True)
class HasPhrase(ColumnLeaf):
    """Points with the tokens one after the other in a text."""

    at: TokensAt
    tokens: tuple[str, ...]

    def holds(self, value: Sequence[str]) -> bool:
        size = len(self.tokens)
        starts = range(len(value) - size + 1) if size else ()
        return any(tuple(value[i : i + size]) == self.tokens for i in starts)

    def found_in(self, kept: KeptTokens) -> RowSet:
        return kept.with_phrase(self.tokens)
