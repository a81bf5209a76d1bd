"""Words of texts, of any script."""

import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_store.base.analysis import Analyzer, analyzer, fold
from tests.helpers.tuned import tuned

EVERY_MARK = "".join(
    chr(i)
    for i in range(sys.maxunicode + 1)
    if unicodedata.category(chr(i)) in ("Mn", "Mc")
    and not unicodedata.name(chr(i)).startswith("VARIATION SELECTOR-")
)
WORD = re.compile(rf"\w[\w{EVERY_MARK}]*")
PIECES = ("Ab", "x_1", " ", "-", "\0", "É", "e\u0301", "\u0301", "ß", "İ", "K", "\u0345", "中")
PIECES += ("हिन्दी", "\u094d", "\ufe0f", "\U000e0101", "\u2028", "\u3000", "\ud800", "\U0001e8d0")


def one_by_one(texts):
    """The words of each text as one pattern with all marks finds them, text by text."""
    for text in texts:
        apart = unicodedata.normalize("NFC", text.replace("\0", " ")).casefold()
        found = WORD.findall(unicodedata.normalize("NFC", apart))
        yield [word for word in map(fold, found) if word]


def assert_found_as_one_by_one(texts):
    words, expected = Analyzer().words(texts), list(one_by_one(texts))
    every = [word for own in expected for word in own]
    assert words.vocabulary == list(dict.fromkeys(every))
    assert [words.vocabulary[code] for code in words.codes.tolist()] == every
    assert words.owners.tolist() == [i for i, own in enumerate(expected) for _ in own]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), max_size=6))
def test_texts_of_several_scripts_are_found_together_as_one_by_one(texts):
    assert_found_as_one_by_one(texts)


@given(
    st.lists(st.lists(st.sampled_from(PIECES), max_size=20).map("".join), max_size=6),
    st.integers(1, 12),
)
def test_long_texts_are_read_in_parts_as_in_one_piece(texts, piece):
    with pytest.MonkeyPatch.context() as patch:
        tuned(patch, piece_of_text=piece)
        assert_found_as_one_by_one(texts)


def test_each_character_joins_words_or_parts_them_wherever_it_stands():
    characters = [chr(i) for i in range(0x20000) if not 0xD800 <= i < 0xE000]
    blocks = [characters[i : i + 1024] for i in range(0, len(characters), 1024)]
    assert_found_as_one_by_one([" ".join(f"a{c}b {c}" for c in block) for block in blocks])


@given(st.lists(st.text(max_size=30), max_size=6))
def test_words_of_any_text_are_runs_of_letters_digits_and_marks(texts):
    found = Analyzer().words(texts)
    for i, text in enumerate(texts):
        own = [found.vocabulary[code] for code in found.codes[found.owners == i].tolist()]
        joined = "".join(own)
        composed = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
        folded = fold("".join(c for c in composed if re.match(r"\w", c)))
        kept = [c for c in folded if re.match(r"\w", c)]
        letters = [c for c in joined if re.match(r"\w", c)]
        assert letters == kept


def test_marks_of_scripts_that_need_them_stay_in_words():
    assert Analyzer().words(["हिन्दी भाषा"]).vocabulary == ["हिन्दी", "भाषा"]
    assert Analyzer().words(["naïve NAI\u0308VE naive"]).vocabulary == ["naive"]
    assert analyzer("english", True, ["Éclair"]).words(["eclair houses"]).vocabulary == ["hous"]
