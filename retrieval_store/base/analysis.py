"""Words of texts: found, folded, stemmed, and numbered, many texts at once.

A word is a run of letters, digits and underscores, as Unicode has them, with the marks that follow
them. Case and diacritics are folded, the latter after stemming, since stemmers go by them: "Éclair"
and "eclair" are one word. Stemming and stopwords go by language. Text from users is only ever text:
there is no query syntax.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Ints, distinct
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.errors import InvalidArgumentError, MissingDependencyError

_BREAK = "\0"  # between texts; within one it separates words like any other control character
# For each byte of UTF-8 what takes its place: of ASCII only words, in lower case, and breaks stay.
_PLAIN = bytes(
    byte if chr(byte) in "_\0" or byte > 127 or chr(byte).isalnum() else ord(" ")
    for byte in bytes(range(256)).lower()
)
_SPACE = re.compile("[ \n]")  # what no word has in it, nor any mark goes with the word before it
PIECE = 1_000_000  # characters
_DIACRITICS = re.compile("[\u0300-\u036f]+")
_FIRST_MARK = 0x300
LONG_NUMBER = 5  # digits, from which on a number is a name of something
# What variation selectors say is how a character should look.
_VARIATIONS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
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


def is_identifier(word: str) -> bool:
    """Whether a word looks like the name of one thing, such as a part number, an error code or an
    identifier in a program: three characters or more, with an underscore, or with digits and
    letters. A number alone, such as a year, counts only with five digits or more."""
    digits = sum(one.isdigit() for one in word)
    mixed = 0 < digits < len(word) or digits >= LONG_NUMBER
    return len(word) > 2 and (mixed or "_" in word)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of texts. vocabulary: the distinct ones; codes: (n,) for each occurrence its index
    in the vocabulary; owners: (n,) ascending, the text of each occurrence."""

    vocabulary: list[str]
    codes: Ints
    owners: Ints


@dataclass(frozen=True, slots=True)
class Analyzer:
    """Finds the words of texts. language: of the stemmer, by Snowball's name, None for no stemming;
    stopwords: words that are left out, before stemming."""

    language: str | None = None
    stopwords: frozenset[str] = frozenset()

    def words(self, texts: Sequence[str]) -> Words:
        """The words of the texts, in their order."""
        numbers = _Numbers({_BREAK: 0})
        codes, owners = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for places, parts in _in_pieces([text.replace(_BREAK, " ") for text in texts]):
            found = _split(parts)
            numbered = np.fromiter(map(numbers.__getitem__, found), np.int64, len(found))
            breaks = numbered == 0
            codes.append(numbered[~breaks])
            owners.append(np.array(places, np.int64)[np.cumsum(breaks)[~breaks]])
        return self._reduced(list(numbers), np.concatenate(codes), np.concatenate(owners))

    def _reduced(self, raw: list[str], codes: Ints, owners: Ints) -> Words:
        """Words without stopwords, stemmed and folded: once for each distinct word, not for each
        occurrence. The first of `raw` is the break."""
        stems = raw if self.language is None else stemmer(self.language).stemWords(raw)
        spelt = ["", *map(fold, stems[1:])]
        if self.stopwords:
            left_out = [fold(word) in self.stopwords for word in raw]
            spelt = ["" if out else word for word, out in zip(spelt, left_out, strict=True)]
        numbers = _Numbers({"": 0})  # what is left out
        new_codes = np.fromiter(map(numbers.__getitem__, spelt), np.int64, len(spelt)) - 1
        codes = new_codes[codes] if len(codes) else codes
        return Words(list(numbers)[1:], codes[codes >= 0], owners[codes >= 0])


class _Numbers(dict[str, int]):
    """Numbers things in the order of their first use."""

    def __missing__(self, key: str) -> int:
        self[key] = number = len(self)
        return number


def _in_pieces(texts: Sequence[str]) -> Iterator[tuple[list[int], list[str]]]:
    """The texts, so many characters at a time, with their indices, since words take ten times the
    memory of the text. A longer text comes in parts, cut before a space."""
    places: list[int] = []
    parts: list[str] = []
    room = PIECE
    for place, text in enumerate(texts):
        start = 0
        while start < len(text):
            stop = len(text) if len(text) - start <= room else _end_of_word(text, start + room)
            places.append(place)
            parts.append(text[start:stop] if start or stop < len(text) else text)
            room -= stop - start
            start = stop
            if room <= 0:
                yield places, parts
                places, parts, room = [], [], PIECE
    if parts:
        yield places, parts


def _end_of_word(text: str, wanted: int) -> int:
    """Where the first word after a position ends."""
    found = _SPACE.search(text, wanted)
    return found.start() if found else len(text)


def _split(texts: Sequence[str]) -> list[str]:
    """The words of the texts, in lower case, with a break between texts."""
    spelt = list(texts)
    odd = [i for i, text in enumerate(texts) if not text.isascii()]
    if odd:
        for i, words in zip(odd, _words_of([texts[i] for i in odd]), strict=True):
            spelt[i] = words
    # Splitting at spaces takes a fifth of the time of a regular expression.
    return f" {_BREAK} ".join(spelt).encode().translate(_PLAIN).decode().split()


def _words_of(texts: Sequence[str]) -> list[str]:
    """Each text as its words, in lower case, with spaces between them."""
    # Twice, since folding case may decompose.
    composed = unicodedata.normalize("NFC", _BREAK.join(texts))
    composed = unicodedata.normalize("NFC", composed.casefold())
    return " ".join(_word(_marks_in(composed)).findall(composed)).split(_BREAK)


def _marks_in(text: str) -> str:
    """The combining marks in a text, each once: parts of words in many scripts, which Python's
    class of word characters leaves out."""
    # By numpy, since a set of the text's characters would make an object of each first.
    characters = distinct(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4"))
    found = map(chr, characters[characters >= _FIRST_MARK].tolist())
    marks = [mark for mark in found if unicodedata.category(mark) in ("Mn", "Mc")]
    return "".join(mark for mark in marks if not any(ord(mark) in span for span in _VARIATIONS))


def places_of_words(text: str) -> list[tuple[int, int]]:
    """Where words stand in a text, each as (start, end)."""
    plain = text.replace(_BREAK, " ")
    return [found.span() for found in _word(_marks_in(plain)).finditer(plain)]


@lru_cache(maxsize=64)
def _word(marks: str) -> re.Pattern[str]:
    """The pattern of a word, with these marks, or of a break. A pattern with all of Unicode's marks
    would take 40 ms to compile, and would slow down every match."""
    return re.compile(rf"\w[\w{marks}]*|\0")


def fold(word: str) -> str:
    """A word without case and diacritics."""
    if word.isascii():
        return word
    return _DIACRITICS.sub("", unicodedata.normalize("NFKD", word).casefold())


@lru_cache(maxsize=32)
def stemmer(language: str) -> Any:
    """Snowball's stemmer of a language; InvalidArgumentError for an unknown one."""
    try:
        import Stemmer
    except ImportError:  # not `needing`: users of words read one error, without its cause
        raise MissingDependencyError(
            'stemming needs PyStemmer: pip install "retrieval-store[text]"'
        ) from None
    if language not in Stemmer.algorithms():
        known = ", ".join(Stemmer.algorithms())
        raise InvalidArgumentError(f"language is {language!r}, expected one of {known}")
    return Stemmer.Stemmer(language)


def analyzer(language: str | None, stemming: bool, stopwords: bool | Sequence[str]) -> Analyzer:
    """The analyzer with these settings; stopwords: True for those of the language, or a list."""
    if stopwords is True and language != "english":
        raise InvalidArgumentError(
            f"there are no stopwords for the language {language!r}, only for 'english': give them "
            "as a list"
        )
    left_out = ENGLISH if stopwords is True else frozenset(stopwords or ())
    folded = frozenset(fold(word) for given in left_out for word in _split([given]))
    if language is not None and stemming:
        stemmer(language)
    return Analyzer(language if stemming else None, folded)


def spellings(analyzer: Analyzer, text: str) -> dict[str, str]:
    """The first spelling in a text of each of its words."""
    spelt = list(dict.fromkeys(text[start:end] for start, end in places_of_words(text)))
    words = analyzer.words(spelt)
    found: dict[str, str] = {}
    for code, owner in zip(words.codes.tolist(), words.owners.tolist(), strict=True):
        found.setdefault(words.vocabulary[code], spelt[owner])
    return found
