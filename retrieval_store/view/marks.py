"""Where the words of a question stand in documents, as the collection finds words: so "running"
stands where "runs" was asked for, if the collection stems."""

from collections.abc import Sequence

import numpy as np

from retrieval_store.base.analysis import Analyzer, places_of_words

Mark = tuple[int, int]


def words_of(analyzer: Analyzer, text: str) -> list[str]:
    """The distinct words of a text, as they are compared."""
    return analyzer.words([text]).vocabulary


def marks(
    analyzer: Analyzer, words: Sequence[str], documents: Sequence[str | None]
) -> list[list[Mark]]:
    """For each document the ranges of characters that are one of the words."""
    if not words:
        return [[] for _ in documents]
    places = [places_of_words(document or "") for document in documents]
    spelt = {
        document[start:end]
        for document, each in zip(documents, places, strict=True)
        if document is not None
        for start, end in each
    }
    wanted = _meaning(analyzer, sorted(spelt), set(words))
    return [
        [(start, end) for start, end in each if (document or "")[start:end] in wanted]
        for document, each in zip(documents, places, strict=True)
    ]


def _meaning(analyzer: Analyzer, spelt: list[str], words: set[str]) -> set[str]:
    """Those of the spellings that are one of the words."""
    found = analyzer.words(spelt)
    are_wanted = np.array([word in words for word in found.vocabulary], np.bool_)
    if not are_wanted.any():
        return set()
    return {spelt[place] for place in found.owners[are_wanted[found.codes]].tolist()}
