"""Words of texts: found, folded, stemmed, and numbered, many texts at once.

A word is a run of letters, digits and underscores, as Unicode has them, with the marks that follow
them. Case and diacritics are folded, the latter after stemming, since stemmers go by them: "Éclair"
and "eclair" are one word. Stemming and stopwords go by language. Text from users is only ever text:
there is no query syntax.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Ints
from retrieval_store.errors import InvalidArgumentError, MissingDependencyError

_BREAK = "\0"  # between texts; within one it separates words like any other control character
_PLAIN = re.compile(r"\w+|\0", re.ASCII)
_DIACRITICS = re.compile("[\u0300-\u036f]+")
# What variation selectors say is how a character should look.
_VARIATIONS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
_MARKS = range(0x300, 0x1E94B)  # where Unicode has marks, but for variations
# The words of English that carry the least meaning: pronouns, articles, forms of be, have and do,
# and the commonest prepositions and conjunctions.
_ENGLISH = """
a about above after again against all am an and any are as at be because been before being below
between both but by can did do does doing down during each few for from further had has have having
he her here hers herself him himself his how i if in into is it its itself just me more most my
myself no nor not now of off on once only or other our ours ourselves out over own s same she should
so some such t than that the their theirs them themselves then there these they this those through
to too under until up very was we were what when where which while who whom why will with you your
yours yourself yourselves
"""
ENGLISH = frozenset(_ENGLISH.split())


@dataclass(frozen=True, slots=True)
class Words:
    """The words of some texts. vocabulary: the distinct ones; codes: (n,) for each occurrence which
    of them; owners: (n,) ascending, which text it stands in."""

    vocabulary: list[str]
    codes: Ints
    owners: Ints


@dataclass(frozen=True, slots=True)
class Analyzer:
    """How words are found. language: of the stemmer, by the name that Snowball gives it, None for
    no stemming; stopwords: words that are left out, before stemming."""

    language: str | None = None
    stopwords: frozenset[str] = frozenset()

    def words(self, texts: Sequence[str]) -> Words:
        """The words of the texts, in their order."""
        found = _split(_BREAK.join([text.replace(_BREAK, " ") for text in texts]))
        numbers = _Numbers({_BREAK: 0})
        codes = np.fromiter(map(numbers.__getitem__, found), np.int64, len(found))
        breaks = codes == 0
        owners = np.cumsum(breaks)
        return self._reduced(list(numbers), codes[~breaks], owners[~breaks])

    def _reduced(self, raw: list[str], codes: Ints, owners: Ints) -> Words:
        """Without stopwords, stems for words, folded: done to each distinct word, not each
        occurrence. The first of `raw` is the break."""
        numbers, new_codes = _Numbers(), np.full(len(raw), -1, np.int64)
        stems = raw if self.language is None else stemmer(self.language).stemWords(raw)
        for code, (word, stem) in enumerate(zip(raw, stems, strict=True)):
            if code and stem and not (self.stopwords and fold(word) in self.stopwords):
                new_codes[code] = numbers[fold(stem)]
        codes = new_codes[codes] if len(codes) else codes
        return Words(list(numbers), codes[codes >= 0], owners[codes >= 0])


class _Numbers(dict[str, int]):
    """Numbers things in the order in which they are first asked for."""

    def __missing__(self, key: str) -> int:
        self[key] = number = len(self)
        return number


def _split(text: str) -> list[str]:
    """Words and breaks, in lower case."""
    if text.isascii():
        return _PLAIN.findall(text.lower())
    # Twice, since folding case may decompose.
    composed = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return _with_marks().findall(composed)


@lru_cache(maxsize=1)
def _with_marks() -> re.Pattern[str]:
    # Marks are parts of words in many scripts, which Python's \w doesn't know.
    marks = [chr(i) for i in _MARKS if unicodedata.category(chr(i)) in ("Mn", "Mc")]
    kept = "".join(mark for mark in marks if not any(ord(mark) in span for span in _VARIATIONS))
    return re.compile(rf"\w[\w{kept}]*|\0")


def fold(word: str) -> str:
    """A word without case and diacritics."""
    if word.isascii():
        return word
    return _DIACRITICS.sub("", unicodedata.normalize("NFKD", word).casefold())


@lru_cache(maxsize=32)
def stemmer(language: str) -> Any:
    """Snowball's stemmer of a language; InvalidArgumentError for one that it doesn't know."""
    try:
        import Stemmer
    except ImportError as error:
        raise MissingDependencyError(
            'stemming needs PyStemmer: pip install "retrieval-store[text]"'
        ) from error
    if language not in Stemmer.algorithms():
        known = ", ".join(Stemmer.algorithms())
        raise InvalidArgumentError(f"language is {language!r}, expected one of {known}")
    return Stemmer.Stemmer(language)


def analyzer(language: str | None, stemming: bool, stopwords: bool | Sequence[str]) -> Analyzer:
    """The analyzer of these settings; stopwords: True for the language's own, or a list."""
    if stopwords is True and language != "english":
        raise InvalidArgumentError(
            f"there are no stopwords for the language {language!r}, only for 'english': give them "
            "as a list"
        )
    left_out = ENGLISH if stopwords is True else frozenset(stopwords or ())
    folded = frozenset(fold(word) for given in left_out for word in _split(given))
    if language is not None and stemming:
        stemmer(language)
    return Analyzer(language if stemming else None, folded)
