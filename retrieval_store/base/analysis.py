"""Finds, folds, stems and numbers the words of texts, many texts in one call.

A word is a run of letters, digits and underscores, by Unicode, with the marks that follow them.
Case and diacritics are removed: "Éclair" and "eclair" are one word. Diacritics are removed after
stemming, because stemmers need them. Vowel signs of Arabic and points of Hebrew are removed too.
Stemming and stopwords depend on the language. Texts of users are never parsed: there is no query
syntax.

Scripts without spaces between words, such as Chinese and Thai, are split into pairs of characters,
in documents and in queries. So a query finds its text anywhere, without a dictionary. Documents are
also indexed by single characters, for queries of a single character. Korean has spaces, but
particles follow its nouns without a space, so it is split in both ways.

Invisible characters, such as soft hyphens and zero-width spaces, don't divide words. A word that a
hyphen divides at the end of a line is indexed as a whole, and also as its two halves, because the
hyphen may be part of the word.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Bools, Ints, distinct, stable_order
from retrieval_store.errors import InvalidArgumentError, MissingDependencyError

_BREAK = "\0"  # between texts; within one it separates words like any other control character
# The replacement of each byte of UTF-8. Of ASCII, only words, in lower case, and breaks stay.
_PLAIN = bytes(
    byte if chr(byte) in "_\0" or byte > 127 or chr(byte).isalnum() else ord(" ")
    for byte in bytes(range(256)).lower()
)
_SPACE = re.compile("[ \n]")  # where a text may be split, because no word contains it
PIECE = 1_000_000  # characters of a batch
LONG_NUMBER = 5  # digits; a number with at least this many looks like an identifier


def _class_of(ranges: str) -> str:
    """The content of a regular expression's character class. ranges: ranges of characters, in
    hexadecimal, separated by spaces."""
    return "".join(
        "-".join(re.escape(chr(int(end, 16))) for end in span.split("-")) for span in ranges.split()
    )


# Invisible characters: hyphens and spaces that show only at the end of a line, joiners, directions,
# variation selectors.
_INVISIBLE = _class_of(
    "ad 34f 61c 17b4-17b5 180b-180f 200b-200f 202a-202e 2060-206f fe00-fe0f feff fff9-fffb "
    "1d173-1d17a e0000-e0fff"
)
_AT_END_OF_LINE = r"[ \t]*\r?\n[ \t]*"
_HIDDEN_END = re.compile(f"[{_INVISIBLE}]+\\Z")
_HIDDEN = re.compile(f"\u00ad{_AT_END_OF_LINE}|[{_INVISIBLE}]")
# Between letters of Arabic a non-joiner is written where others write a space, as in Persian.
_ARABIC = _class_of("600-6ff 750-77f 870-8ff fb50-fdff fe70-fefc")
_NON_JOINER = re.compile(f"(?<=[{_ARABIC}])\u200c(?=[{_ARABIC}])")
# Scripts without spaces between words, but for their digits: Thai, Lao, Burmese, Khmer and others
# of South-East Asia; Chinese and Japanese characters, Yi and Vai; Tangut and others.
_SPACELESS_RANGES = """
e00-e4f e5a-ecf eda-eff 1000-103f 104a-108f 109a-109f 1780-17df 1950-19cf 1a20-1a7f 1a9a-1aaf
1b00-1b4f 3005-3007 3021-3029 3031-3035 3038-303c 3040-312f 31a0-31bf 31f0-31ff 3400-4dbf 4e00-9fff
a000-a48f a500-a61f a62a-a63f a980-a9cf a9e0-a9ef a9fa-a9ff aa60-aadf f900-faff ff66-ff9f
11700-1172f 11740-1174f 16fe0-1b2ff 20000-3fffd
"""
_SPACELESS = _class_of(_SPACELESS_RANGES)
_PAIRED = _SPACELESS + _class_of("ac00-d7a3")  # these scripts, and Korean's syllables
_HAS_PAIRED = re.compile(f"[{_PAIRED}]")
_LETTER = rf"[^\W{_SPACELESS}]"
_WORD = re.compile(f"{_LETTER}+")
MANY_DIVIDING = 64  # characters; replacing more of them one by one takes longer than a pattern
_MARKS = ("Mn", "Mc")  # Unicode's categories of combining marks
# Marks that texts may omit: diacritics, points and accents of Hebrew, vowel signs of Arabic and of
# Syriac, and the line that stretches Arabic words. In other scripts, such as Devanagari, marks are
# vowels that no text omits.
_DIACRITICS = re.compile(
    "["
    + _class_of(
        "300-36f 483-487 591-5bd 5bf 5c1-5c2 5c4-5c5 5c7 610-61a 640 64b-65f 670 6d6-6dc 6df-6e4 "
        "6e7-6e8 6ea-6ed 711 730-74a 898-89f 8ca-8e1 8e3-8ff 1ab0-1aff 1dc0-1dff 20d0-20f0 "
        "fe20-fe2f"
    )
    + "]+"
)
# Letters with a mark that Unicode doesn't separate from them, such as "ł"; the pattern matches
# their names.
_MARKED = re.compile("LATIN SMALL LETTER ([A-Z]{1,2}) WITH ")
_EAST_ASIAN = "\u2e80"  # words that begin with this character or a later one contain no such letter
_UNDIVIDED = {"æ": "ae", "œ": "oe", "ı": "i"}
_AFTER_UNICODE = sys.maxunicode + 1
_NARROW = re.compile("[\uff66-\uff9f]+")  # kana of half the width
_DIVISION = re.compile(f"[-\u2010]{_AT_END_OF_LINE}")
_LONGEST_HALF = 64  # letters of a word before or after the hyphen
_HALF_BEFORE, _HALF_AFTER = re.compile(r"[^\W\d_]+\Z"), re.compile(r"[^\W\d_]+")
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


# BM25's usual parameters: the weight of repetitions of a word, and of the length of a document.
K1, B = 1.2, 0.75


def idf_of(documents: int, holders: Any) -> Any:
    """BM25's inverse document frequency of a word: ln(1 + (documents - holders + ½) / (holders +
    ½)). documents: the number of documents. holders: how many of them contain the word, a number or
    an array."""
    return np.log1p((documents - holders + 0.5) / (holders + 0.5))


def is_identifier(word: str) -> bool:
    """Whether a word looks like an identifier, such as a part number, an error code or a name in a
    program. An identifier has at least three characters. It contains an underscore, or digits and
    letters. A number alone, such as a year, must have at least five digits."""
    digits = sum(character.isdigit() for character in word)
    mixed = 0 < digits < len(word) or digits >= LONG_NUMBER
    return len(word) > 2 and (mixed or "_" in word)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of texts. vocabulary: the distinct words. codes: (n,) for each occurrence of a
    word, the word's index in the vocabulary. owners: (n,) ascending, the number of the text in
    which each occurrence is."""

    vocabulary: list[str]
    codes: Ints
    owners: Ints


@dataclass(frozen=True, slots=True)
class Analyzer:
    """Finds the words of texts. language: Snowball's name of the stemmer, None for no stemming.
    stopwords: words that are left out, compared before stemming."""

    language: str | None = None
    stopwords: frozenset[str] = frozenset()

    def words(self, texts: Sequence[str], is_query: bool = False) -> Words:
        """The words of the texts, in text order. After the words of each part of a text come the
        pairs and the single characters of its scripts without spaces. is_query: whether the texts
        are queries. In a query, a single character of such a script is included only if it has no
        neighbour."""
        numbers = _Numbers({_BREAK: 0})
        codes, owners = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        texts = [text.replace(_BREAK, " ") for text in texts]
        if _HIDDEN.search(_beyond_ascii(texts)):
            texts = [*map(_without_hidden, texts)]
        for places, parts in _in_pieces([*map(_with_whole_words, texts)]):
            words, texts_of_parts = _split(parts), np.array(places, np.int64)
            numbered = np.fromiter(map(numbers.__getitem__, words), np.int64, len(words))
            breaks = numbered == 0
            codes.append(numbered[~breaks])
            owners.append(texts_of_parts[np.cumsum(breaks)[~breaks]])
            for spelt, indices, holders in _without_spaces(parts, is_query):
                numbered = np.fromiter(map(numbers.__getitem__, spelt), np.int64, len(spelt))
                codes.append(numbered[indices])
                owners.append(texts_of_parts[holders])
        all_codes, all_owners = np.concatenate(codes), np.concatenate(owners)
        if (all_owners[1:] < all_owners[:-1]).any():
            order = stable_order(all_owners)
            all_codes, all_owners = all_codes[order], all_owners[order]
        return self._reduce(list(numbers), all_codes, all_owners)

    def _reduce(self, raw: list[str], codes: Ints, owners: Ints) -> Words:
        """Remove stopwords, and stem and fold the other words. That is done once for each distinct
        word, not for each occurrence. The first item of `raw` is the break between texts."""
        stems = raw if self.language is None else stemmer(self.language).stemWords(raw)
        spelt = ["", *map(fold, stems[1:])]
        if self.stopwords:
            left_out = [fold(word) in self.stopwords for word in raw]
            spelt = ["" if out else word for word, out in zip(spelt, left_out, strict=True)]
        numbers = _Numbers({"": 0})  # the key of words that are left out
        new_codes = np.fromiter(map(numbers.__getitem__, spelt), np.int64, len(spelt)) - 1
        codes = new_codes[codes] if len(codes) else codes
        return Words(list(numbers)[1:], codes[codes >= 0], owners[codes >= 0])


class _Numbers(dict[str, int]):
    """A dict that numbers keys in the order of their first use."""

    def __missing__(self, key: str) -> int:
        self[key] = number = len(self)
        return number


def _in_pieces(texts: Sequence[str]) -> Iterator[tuple[list[int], list[str]]]:
    """Yield the texts with their indices, in batches with a limited number of characters, because
    words take ten times the memory of the text. A text that exceeds the limit is split into parts,
    each cut before a space."""
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


def _end_of_word(text: str, position: int) -> int:
    """The first position after `position` at which a word ends."""
    space = _SPACE.search(text, position)
    return space.start() if space else len(text)


def _beyond_ascii(texts: Sequence[str]) -> str:
    """The distinct characters in some texts that aren't ASCII. They decide which steps a text
    needs. Testing each pattern on the text itself would take as long as splitting it."""
    distinct_points = [np.empty(0, np.uint32)]
    for _, parts in _in_pieces([text for text in texts if not text.isascii()]):
        points = np.frombuffer("".join(parts).encode("utf-32-le", "surrogatepass"), "<u4")
        distinct_points.append(distinct(points[points > 127]))
    return "".join(map(chr, distinct(np.concatenate(distinct_points)).tolist()))


def _without_hidden(text: str) -> str:
    """The text without the invisible characters that don't divide words."""
    return text if text.isascii() else _HIDDEN.sub("", _NON_JOINER.sub(" ", text))


def _with_whole_words(text: str) -> str:
    """The text, followed by the words that are divided between two lines, each without its
    hyphen."""
    whole = ["".join(piece[0] for piece in pieces) for pieces in _divided_words(text)]
    return " ".join([text, *whole]) if whole else text


def _divided_words(text: str) -> Iterator[list[re.Match[str]]]:
    """Yield the pieces of each word that is divided between lines. A hyphen counts as a division
    only between small letters, or between capitals. Otherwise it is part of a name."""
    if "\n" not in text or ("-" not in text and "\u2010" not in text):
        return
    pieces: list[re.Match[str]] = []
    for division in _DIVISION.finditer(text):
        start, end = division.span()
        before = _HALF_BEFORE.search(text, max(0, start - _LONGEST_HALF), start)
        after = _HALF_AFTER.match(text, end, end + _LONGEST_HALF)
        if not (before and after and _is_of_one_case(before[0][-1] + after[0][0])):
            continue
        if pieces and pieces[-1].start() == before.start():  # the middle of a word in three pieces
            pieces.append(after)
            continue
        if pieces:
            yield pieces
        pieces = [before, after]
    if pieces:
        yield pieces


def _is_of_one_case(letters: str) -> bool:
    return letters.islower() or letters.isupper()


def _split(texts: Sequence[str]) -> list[str]:
    """The words of the texts, in lower case, with a break between texts. Words of scripts without
    spaces are left out."""
    spelt = list(texts)
    odd = [i for i, text in enumerate(texts) if not text.isascii()]
    if odd:
        plain = _only_words(_compose([texts[i] for i in odd]))
        for i, plain_text in zip(odd, plain.split(_BREAK), strict=True):
            spelt[i] = plain_text
    # Splitting at spaces takes a fifth of the time of a regular expression.
    return f" {_BREAK} ".join(spelt).encode().translate(_PLAIN).decode().split()


def _only_words(text: str) -> str:
    """The text, with spaces instead of non-ASCII characters that aren't part of words."""
    characters = _beyond_ascii([text])
    marks = _marks_among(characters)
    dividing = [character for character in characters if not _WORD.match(character)]
    if marks or len(dividing) > MANY_DIVIDING:
        return " ".join(_word(f"[{marks}]" if marks else "").findall(text))
    for character in dividing:
        text = text.replace(character, " ")
    return text


def _compose(texts: Sequence[str]) -> str:
    """The texts in lower case, joined by breaks, in a Unicode normal form. So equal texts are equal
    character by character."""
    # Normalized twice, because folding case may decompose characters.
    composed = unicodedata.normalize("NFC", _BREAK.join(texts))
    composed = unicodedata.normalize("NFC", composed.casefold())
    if not _NARROW.search(_beyond_ascii([composed])):
        return composed
    return _NARROW.sub(lambda match: unicodedata.normalize("NFKC", match[0]), composed)


def _without_spaces(texts: Sequence[str], is_query: bool) -> Iterator[tuple[list[str], Ints, Ints]]:
    """Yield the characters of texts in scripts without spaces, and in Korean: first pairs of
    characters, then single characters. Pairs, and then characters, are yielded as the distinct
    strings, and, for each occurrence, the index of its string and the index of its text."""
    if not _HAS_PAIRED.search(_beyond_ascii(texts)):
        return
    odd = [i for i, text in enumerate(texts) if not text.isascii() and _HAS_PAIRED.search(text)]
    composed = _compose([texts[i] for i in odd])
    points = np.frombuffer(composed.encode("utf-32-le", "surrogatepass"), "<u4")
    starts, ends, followed = _characters_in(points)
    holders = np.array(odd)[np.searchsorted(np.flatnonzero(points == 0), starts)]
    characters = points[starts].astype(np.int64)
    marked = np.flatnonzero(ends - starts > 1)
    spans = zip(starts[marked].tolist(), ends[marked].tolist(), strict=True)
    numbers = _Numbers()
    named = map(numbers.__getitem__, (composed[start:end] for start, end in spans))
    characters[marked] = _AFTER_UNICODE + np.fromiter(named, np.int64, len(marked))
    firsts = np.flatnonzero(followed)
    pairs = characters[firsts] << 32 | characters[firsts + 1]
    yield _distinct_in(composed, pairs, starts[firsts], ends[firsts + 1], holders[firsts])
    # A query with several characters searches scripts that are in pairs only by pairs.
    single = ~followed & ~np.append(False, followed)[:-1] if is_query else np.ones_like(followed)
    yield _distinct_in(composed, characters[single], starts[single], ends[single], holders[single])


def _characters_in(points: npt.NDArray[np.uint32]) -> tuple[Ints, Ints, Bools]:
    """The characters of scripts without spaces in a text. points: the code points of the text.
    Returns where each character begins, where its marks end, and whether another such character
    follows directly."""
    kinds = np.zeros(_AFTER_UNICODE, np.uint8)
    for point in distinct(points).tolist():
        character = chr(point)
        if character.isalnum() and _HAS_PAIRED.match(character):
            kinds[point] = 1
        elif unicodedata.category(character) in _MARKS:
            kinds[point] = 2
    kind = np.append(kinds[points], 0)
    starts, bounds = np.flatnonzero(kind == 1), np.flatnonzero(kind != 2)
    ends = bounds[np.searchsorted(bounds, starts + 1)]
    return starts, ends, kind[ends] == 1


def _distinct_in(
    text: str, keys: Ints, starts: Ints, ends: Ints, holders: Ints
) -> tuple[list[str], Ints, Ints]:
    """The distinct pieces of a text, and, for each occurrence of a piece, the piece's number and
    the item of `holders`. keys: a number for each occurrence; pieces with equal keys are equal.
    starts, ends: the range of each occurrence in the text."""
    _, firsts, inverse = np.unique(keys, return_index=True, return_inverse=True)
    spans = zip(starts[firsts].tolist(), ends[firsts].tolist(), strict=True)
    return [text[start:end] for start, end in spans], inverse.reshape(-1), holders


def _marks_among(characters: str) -> str:
    """The combining marks among some characters. They are parts of words in many scripts, but
    Python's class of word characters leaves them out."""
    return "".join(mark for mark in characters if unicodedata.category(mark) in _MARKS)


def places_of_words(text: str) -> list[tuple[int, int]]:
    """The positions of words in a text, each as (start, end), sorted by start. In scripts without
    spaces, and in Korean, single characters and pairs have positions. A word that is divided
    between lines also has a position for the whole word."""
    plain = text.replace(_BREAK, " ")
    marks = _marks_among(_beyond_ascii([plain]))
    # Kana of half the width have their marks behind them.
    more = rf"(?:\u00ad{_AT_END_OF_LINE}|[{marks}{_INVISIBLE}\uff9e\uff9f])"
    words = _word(more).finditer(plain)
    places = [
        (match.start(), match.start() + len(_HIDDEN_END.sub("", match[0]))) for match in words
    ]
    for match in _character(more).finditer(plain):
        places += [match.span(1), (match.start(), match.end(2))][: 1 if match[2] is None else 2]
    places += [(pieces[0].start(), pieces[-1].end()) for pieces in _divided_words(plain)]
    return sorted({*places})


@lru_cache(maxsize=64)
def _word(more: str) -> re.Pattern[str]:
    """The pattern of a word or a break between texts. more: a pattern of the combining marks in the
    text. A pattern with all marks of Unicode would take 40 ms to compile, and would slow down every
    match."""
    if not more:
        return re.compile(rf"{_LETTER}+|\0")
    return re.compile(rf"{_LETTER}+(?:{more}+{_LETTER}*)*|\0")


@lru_cache(maxsize=64)
def _character(more: str) -> re.Pattern[str]:
    """The pattern of a pair of characters: group 1 is a character, and group 2 the next
    character."""
    character = rf"(?=\w)[{_PAIRED}]{more}*"
    return re.compile(rf"({character})(?=({character})|)")


def fold(word: str) -> str:
    """Remove case and diacritics from a word."""
    if word.isascii():
        return word
    unmarked = _DIACRITICS.sub("", unicodedata.normalize("NFKD", word).casefold())
    if unmarked.isascii() or unmarked > _EAST_ASIAN:
        return unmarked
    return unmarked.translate(_plain_letters())


@lru_cache(maxsize=1)
def _plain_letters() -> dict[int, str]:
    """Maps Latin letters with a mark to the letters without it, for marks that Unicode
    decomposition doesn't remove."""
    plain = {ord(letter): letters for letter, letters in _UNDIVIDED.items()}
    for point in (*range(0xE0, 0x250), *range(0x1E00, 0x1F00), *range(0x2C60, 0xA800)):
        marked = _MARKED.match(unicodedata.name(chr(point), ""))
        if marked:
            plain[point] = marked[1].lower()
    return plain


@lru_cache(maxsize=32)
def stemmer(language: str) -> Any:
    """Snowball's stemmer of a language. Raises InvalidArgumentError if the language is unknown."""
    try:
        import Stemmer
    except ImportError:  # not `needing`, so that users see one error without its cause
        raise MissingDependencyError(
            'stemming needs PyStemmer: pip install "retrieval-store[text]"'
        ) from None
    if language not in Stemmer.algorithms():
        known = ", ".join(Stemmer.algorithms())
        raise InvalidArgumentError(f"language is {language!r}, expected one of {known}")
    return Stemmer.Stemmer(language)


def analyzer(language: str | None, stemming: bool, stopwords: bool | Sequence[str]) -> Analyzer:
    """Create the analyzer with these settings. stopwords: True for the stopwords of the language,
    or a list of words. Raises InvalidArgumentError for unsupported settings."""
    if stopwords is True and language != "english":
        raise InvalidArgumentError(
            f"there are no stopwords for the language {language!r}, only for 'english': give them "
            "as a list"
        )
    left_out = ENGLISH if stopwords is True else frozenset(stopwords or ())
    folded = frozenset(Analyzer().words([*left_out], is_query=True).vocabulary)
    if language is not None and stemming:
        stemmer(language)
    return Analyzer(language if stemming else None, folded)


def analyzer_of(text_settings: Mapping[str, Any]) -> Analyzer:
    """The analyzer with a collection's settings (`TEXT_DEFAULTS`). Raises the same errors as
    `analyzer`."""
    words = text_settings["stopwords"]
    stopwords = tuple(words) if isinstance(words, list) else words
    return cached_analyzer(text_settings["language"], text_settings["stemming"], stopwords)


@lru_cache(maxsize=64)
def cached_analyzer(language: str | None, stemming: bool, stopwords: Any) -> Analyzer:
    """Like `analyzer`, but cached, because creating an analyzer takes some time."""
    return analyzer(language, stemming, stopwords)


def spellings(analyzer: Analyzer, text: str) -> dict[str, str]:
    """For each word of a text as the analyzer returns it, how the text spells the word's first
    occurrence."""
    spelt = list(dict.fromkeys(text[start:end] for start, end in places_of_words(text)))
    words = analyzer.words(spelt, is_query=True)
    by_word: dict[str, str] = {}
    for code, owner in zip(words.codes.tolist(), words.owners.tolist(), strict=True):
        by_word.setdefault(words.vocabulary[code], spelt[owner])
    return by_word
