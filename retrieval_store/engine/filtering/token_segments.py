"""Inverted lists of the tokens of texts in payloads: which texts have which token, and where."""

from collections.abc import Sequence
from functools import reduce
from itertools import chain
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Bools, Ints, stable_order
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.filters.columns import TokensAt


@dataclass(frozen=True, slots=True)
class TokenSegment:
    """Distinct texts by token. Text text_of[i] is one of owners[i]'s; numbers says which number a
    token has, and codes[starts[t]:starts[t + 1]] are the numbers of text t's, in their order;
    texts[offsets[n]:offsets[n + 1]] have token n, ascending."""

    rows: Ints
    owners: Ints
    text_of: Ints
    numbers: dict[str, int]
    codes: Ints
    starts: Ints
    texts: Ints
    offsets: Ints

    @property
    def is_empty(self) -> bool:
        """Whether no row has a text."""
        return not len(self.owners)

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays; of tokens, a guess."""
        arrays = (self.rows, self.owners, self.text_of, self.codes, self.starts)
        held = sum(array.nbytes for array in (*arrays, self.texts, self.offsets))
        return held + 100 * len(self.numbers)

    def with_tokens(self, tokens: Sequence[str], every: bool) -> "Texts":
        """The rows of texts with any of the tokens, or with every one."""
        known = {self.numbers[token] for token in tokens if token in self.numbers}
        if not known or (every and len(known) < len(set(tokens))):
            return Texts(self, np.empty(0, np.int64))
        lists = sorted((self._with(number) for number in known), key=len)
        join = _common if every else np.union1d
        return Texts(self, reduce(join, lists))

    def with_phrase(self, tokens: Sequence[str]) -> "Texts":
        """The rows of texts with the tokens one after the other."""
        found = self.with_tokens(tokens, every=True)
        if not len(found.texts):
            return found
        numbers = [self.numbers[token] for token in tokens]
        return Texts(self, found.texts[[self._has(text, numbers) for text in found.texts.tolist()]])

    def _with(self, number: int) -> Ints:
        return self.texts[self.offsets[number] : self.offsets[number + 1]]

    def _has(self, text: int, numbers: list[int]) -> bool:
        codes = self.codes[self.starts[text] : self.starts[text + 1]].tolist()
        size = len(numbers)
        return any(codes[i : i + size] == numbers for i in range(len(codes) - size + 1))


@dataclass(frozen=True, slots=True)
class Texts:
    """The rows of some texts."""

    segment: TokenSegment
    texts: Ints

    def mark(self, mask: Bools) -> None:
        """Set the mask, over rows, at these."""
        if not len(self.texts):
            return
        wanted = np.zeros(len(self.segment.starts) - 1, np.bool_)
        wanted[self.texts] = True
        mask[self.segment.owners[wanted[self.segment.text_of]]] = True


def build_tokens(column: TokensAt, rows: Ints, owners: Ints, items: Sequence[Any]) -> TokenSegment:
    """The tokens of items[i] of owners[i], ascending; what is no string has none."""
    some = np.array([type(item) is str for item in items], np.bool_)
    owners = owners[some]
    texts: list[tuple[str, ...]] = [(item,) for item in items if type(item) is str]
    if column.together and len(owners) > len(np.unique(owners)):
        owners, texts = _together(owners, texts)
    distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    of_text = column.tokens.of_text
    tokens = [[*chain.from_iterable(map(of_text, text))] for text in distinct]
    numbers = {token: i for i, token in enumerate(dict.fromkeys(chain.from_iterable(tokens)))}
    sizes = np.fromiter(map(len, tokens), np.int64, len(tokens))
    codes = np.fromiter(map(numbers.__getitem__, chain.from_iterable(tokens)), np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    listed, offsets = _inverted(codes, np.repeat(np.arange(len(tokens)), sizes), len(numbers))
    text_of = np.fromiter(map(distinct.__getitem__, texts), np.int64, len(texts))
    return TokenSegment(rows, owners, text_of, numbers, codes, starts, listed, offsets)


def _together(owners: Ints, texts: Sequence[tuple[str, ...]]) -> tuple[Ints, list[tuple[str, ...]]]:
    """All texts of an owner as one."""
    each, starts = np.unique(owners, return_index=True)
    stops = [*starts.tolist()[1:], len(owners)]
    joined = [
        tuple(chain.from_iterable(texts[start:stop]))
        for start, stop in zip(starts.tolist(), stops, strict=True)
    ]
    return each, joined


def _inverted(codes: Ints, texts: Ints, count: int) -> tuple[Ints, Ints]:
    """For each token the texts that have it, ascending, each once."""
    order = stable_order(codes)
    codes, texts = codes[order], texts[order]
    first = np.ones(len(codes), np.bool_)
    first[1:] = (codes[1:] != codes[:-1]) | (texts[1:] != texts[:-1])
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(codes[first], minlength=count), out=offsets[1:])
    return texts[first], offsets


def _common(some: Ints, others: Ints) -> Ints:
    return np.intersect1d(some, others, assume_unique=True)
