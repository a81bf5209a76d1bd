"""Words of texts, in any script."""

import re
import sys
import unicodedata
from collections import Counter
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_store.base.analysis import Analyzer, analyzer, fold, places_of_words
from tests.helpers.tuned import tuned

# Of scripts without spaces; of them only letters are split into pairs.
SPACELESS_NAMES = re.compile(
    "CJK UNIFIED|CJK COMPATIBILITY IDEOGRAPH|TANGUT|NUSHU|KHITAN|OLD CHINESE|HIRAGANA|KATAKANA|"
    "HENTAIGANA|HALFWIDTH KATAKANA|VERTICAL (IDEO|KANA)|HANGZHOU|IDEOGRAPHIC|MASU|BOPOMOFO|YI |VAI |"
    "THAI |LAO |MYANMAR |KHMER (LETTER|SIGN|INDEPENDENT)|TAI |NEW TAI |BALINESE|JAVANESE|AHOM"
)
HIDDEN_NAMES = re.compile(
    "VARIATION SELECTOR-|COMBINING GRAPHEME JOINER|MONGOLIAN FREE|KHMER VOWEL INHERENT"
)
PIECES = ("Ab", "x_1", " ", "-", "\0", "É", "e\u0301", "\u0301", "ß", "İ", "K", "\u0345", "中")
PIECES += ("हिन्दी", "\u094d", "\ufe0f", "\U000e0101", "\u2028", "\u3000", "\ud800", "\U0001e8d0")
PIECES += ("国", "の", "ﾃﾞ", "ที่", "น้ำ", "\u00ad", "\u200b", "\u200c", "ا", "\n", "ab", "-\n", "가")
PIECES += ("AB", "학교", "에서", "ł", "مُ", "ـ", "שָׁ")


class Characters(NamedTuple):
    """Sets of all characters with a property."""

    spaceless: set[str]
    paired: set[str]
    marks: set[str]
    hidden: set[str]


@cache
def characters():
    names = [(chr(i), unicodedata.name(chr(i), "")) for i in range(sys.maxunicode + 1)]
    spaceless = {
        c
        for c, name in names
        if SPACELESS_NAMES.match(name)
        and c.isalnum()
        and unicodedata.category(c) not in ("Nd", "No")
    }
    # Newer ones have no name here.
    spaceless |= {c for c, name in names if not name and c.isalnum() and c >= "\u3400"}
    hidden = {
        c
        for c, name in names
        if (unicodedata.category(c) == "Cf" and not name.startswith("ARABIC "))
        or HIDDEN_NAMES.match(name)
        or c in "\u061c\u2065"
    } - set("\u070f\U000110bd\U000110cd")
    hidden -= {chr(i) for r in (range(0x13430, 0x13440), range(0x1BCA0, 0x1BCA4)) for i in r}
    return Characters(
        spaceless,
        spaceless | {c for c, name in names if name.startswith("HANGUL SYLLABLE ")},
        {c for c, _ in names if unicodedata.category(c) in ("Mn", "Mc")},
        hidden,
    )


def one_by_one(texts, is_query=False):
    """The words of each text, character by character."""
    for text in texts:
        text = text.replace("\0", " ")
        text = re.sub("\u00ad[ \t]*\r?\n[ \t]*", "", text)
        text = re.sub(r"(?<=[ا])\u200c(?=[ا])", " ", text)  # the only Arabic letter in the pieces
        text = "".join(c for c in text if c not in characters().hidden)
        text = " ".join([text, *divided(text)])
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
        text = re.sub("[ｦ-ﾟ]+", lambda m: unicodedata.normalize("NFKC", m[0]), text)
        yield [word for word in map(fold, words_in(text, is_query)) if word]


def divided(text):
    whole, end = "", -1  # a word so far, and where its last piece ends
    for at in re.finditer(r"[-\u2010][ \t]*\r?\n[ \t]*", text):
        before = re.search(r"[^\W\d_]*\Z", text[: at.start()])[0]
        after = re.match(r"[^\W\d_]*", text[at.end() :])[0]
        if not (before and after):
            continue
        two = before[-1] + after[0]
        if two.islower() or two.isupper():
            if at.start() != end:
                yield from [whole] if whole else []
                whole = before
            whole, end = whole + after, at.end() + len(after)
    yield from [whole] if whole else []


def words_in(text, is_query):
    """Runs of letters; in Korean and scripts without spaces, characters and pairs of them."""
    yield from (
        "".join(run)
        for run in runs_in(text, characters().spaceless)
        if run[0][0] not in characters().spaceless
    )
    for run in runs_in(text, characters().paired):
        if run[0][0] not in characters().paired:
            continue
        if is_query:
            yield from run if len(run) == 1 else map("".join, pairwise(run))
        else:
            for i, one in enumerate(run):
                yield from ["".join(run[i : i + 2]), one] if run[i + 1 :] else [one]


def runs_in(text, others):
    """Runs of word characters with their marks, split where those among `others` begin or end."""
    runs, kind = [], None
    for c in text:
        if c in characters().marks and kind is not None:
            runs[-1][-1] += c
            continue
        is_word = c.isalnum() or c == "_"
        kind, before = (c in others if is_word else None), kind
        if kind is not None and kind is before:
            runs[-1].append(c)
        elif kind is not None:
            runs.append([c])
    return runs


def assert_found_as_one_by_one(texts):
    for is_query in (False, True):
        words, expected = Analyzer().words(texts, is_query), list(one_by_one(texts, is_query))
        assert words.owners.tolist() == [i for i, own in enumerate(expected) for _ in own]
        assert len({*words.vocabulary}) == len(words.vocabulary)
        for i, own in enumerate(expected):
            found = [words.vocabulary[code] for code in words.codes[words.owners == i].tolist()]
            assert Counter(found) == Counter(own)
            if not characters().paired & {*unicodedata.normalize("NFC", "".join(own))}:
                assert found == own  # in their order


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


@pytest.mark.parametrize("replaced", [0, 10_000])
def test_each_character_joins_or_separates_words_at_any_position(replaced, monkeypatch):
    tuned(monkeypatch, dividing_replaced=replaced)
    characters = [chr(i) for i in range(0x20000) if not 0xD800 <= i < 0xE000]
    # All of Latin and its neighbours, and of what comes then every seventh.
    characters = characters[:0x800] + characters[0x800::7]
    blocks = [characters[i : i + 1024] for i in range(0, len(characters), 1024)]
    assert_found_as_one_by_one([" ".join(f"a{c}b {c}" for c in block) for block in blocks])


@given(st.lists(st.text(max_size=30), max_size=6))
def test_words_of_any_text_are_runs_of_letters_digits_and_marks(texts):
    found = Analyzer().words(texts)
    for i, text in enumerate(texts):
        own = [found.vocabulary[code] for code in found.codes[found.owners == i].tolist()]
        shown = "".join(c for c in text if c not in characters().hidden)
        composed = unicodedata.normalize("NFC", unicodedata.normalize("NFC", shown).casefold())
        kept = fold("".join(c for c in composed if re.match(r"\w", c)))
        if not characters().paired & {*composed} and not any(divided(text)):
            letters = [c for c in "".join(own) if re.match(r"\w", c)]
            assert letters == [c for c in kept if re.match(r"\w", c)]


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        ("床前明月光，疑是地上霜。低头思故乡", ("故乡", "明月", "明月光", "霜")),
        ("日本語の契約書はこちらです", ("契約書", "日本語", "書")),
        (
            "日本語のPython本とＳＱＬ第3章",
            ("Python", "python本", "日本語", "本", "sql", "3", "第3章"),
        ),
        ("データベースの設計", ("データベース", "ﾃﾞｰﾀ", "設計")),
        ("ภาษาไทยไม่มีช่องว่าง", ("ภาษาไทย", "ช่องว่าง", "ไทย")),
        ("ຂ້ອຍຮັກພາສາລາວ", ("ພາສາ", "ລາວ")),
        ("ខ្ញុំស្រឡាញ់ភាសាខ្មែរ", ("ភាសាខ្មែរ", "ខ្មែរ")),
        ("ကျွန်တော်မြန်မာစာဖတ်တယ်", ("မြန်မာ", "မြန်မာစာ")),
        ("ᥖᥭᥰᥖᥬᥳᥑᥨᥒᥰ", ("ᥖᥭᥰ",)),
        ("ꦲꦏ꧀ꦱꦫꦗꦮ", ("ꦗꦮ",)),
        ("葛\U000e0100城市", ("葛城", "城市")),
        ("ភាសា\u200bខ្មែរ", ("ភាសាខ្មែរ", "ភាសា")),
        ("Donau\xaddampf\u200bschiff\xad\n  fahrt", ("Donaudampfschifffahrt",)),
        ("auf\u200clage co\u2060operate \ufeffbom ශ්\u200dරී", ("auflage", "cooperate", "bom", "ශ්රී")),
        ("می\u200cخواهم", ("می خواهم", "می\u200cخواهم")),
        ("학교에서 책을 읽는 사람들이", ("학교", "책", "사람", "학교에서")),
        ("K팝은 東京에서도", ("팝", "K팝은", "東京")),
        ("قال مُحَمَّدٌ كتابــه شَرِكَة", ("محمد", "كتابه", "شركة", "مُحَمَّدٌ")),
        ("שָׁלוֹם עֲלֵיכֶם", ("שלום", "עליכם")),
        (
            "Łódź smørrebrød Đakovo Ħaġar Encyclopædia",
            ("lodz", "smorrebrod", "dakovo", "hagar", "encyclopaedia"),
        ),
        ("too dan- \r\n  gerous for", ("dangerous", "gerous")),
        ("a well-\nknown Verständ‐\nnis ver-\nändert", ("well-known", "Verständnis", "verändert")),
    ],
)
def test_words_of_questions_are_words_of_texts(text, queries):
    there = {*Analyzer().words([text]).vocabulary}
    for query in queries:
        wanted = {*Analyzer().words([query], is_query=True).vocabulary}
        assert wanted and wanted <= there, (query, wanted - there)
        spans = [text[start:end] for start, end in places_of_words(text)]
        for word in wanted:
            assert any(word in Analyzer().words([one], True).vocabulary for one in spans), word


def test_pairs_of_characters_match_only_adjacent_characters():
    there = {*Analyzer().words(["故事。他乡的家乡，the UTF-\n8 Donau-\nDampf"]).vocabulary}
    assert there.isdisjoint(Analyzer().words(["故乡 utf8 donaudampf"], is_query=True).vocabulary)


def test_marks_of_scripts_that_need_them_stay_in_words():
    assert Analyzer().words(["हिन्दी भाषा"]).vocabulary == ["हिन्दी", "भाषा"]
    assert Analyzer().words(["naïve NAI\u0308VE naive"]).vocabulary == ["naive"]
    assert analyzer("english", True, ["Éclair"]).words(["eclair houses"]).vocabulary == ["hous"]
