"""Splits stored texts and queries into tokens, as a text index does.

`tokens_of` makes the tokenizer of an index. The steps follow a server:

- `fold` replaces letters, digits and signs by their ASCII variants, as Lucene's ASCIIFoldingFilter
  does. Most variants result from Unicode's decomposition, without the marks. A table has the
  exceptions: characters without a decomposition, and characters that have a decomposition but stay
  unchanged.
- `words_in` finds words: runs of characters that Unicode calls alphabetic or numeric. In addition
  to Python's letters and digits, these include vowel signs and other marks.
- `words_of_any_script` finds words in any script, without dictionaries. Words are folded as by a
  server's multilingual tokenizer. The words equal those of that tokenizer, except in Chinese,
  Japanese and Thai, which the server splits by dictionaries. Here a text with kana counts as
  Japanese, and each run of one script in it is a word. In other texts each Chinese character is a
  word.
- `stopwords_of` has the stopwords by language: the lists that servers use, by Snowball's authors
  and others, as in NLTK's corpus. `stopwords.txt` has a line for each language: the language's name
  and its stopwords, separated by tabs.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

from qdrant_client import models

from retrieval_store.base import budget
from retrieval_store.errors import InvalidArgumentError, MissingDependencyError

# Before each colon what the characters behind it become.
_BECOME = """
":«»“”„″‶❝❞❮❯ AE:ÆǢǼᴁ D:ÐĐƉƊƋᴅᴆꝹ O:ØƆƟǾᴏᴐꝊꝌ TH:ÞꝦ ss:ß ae:æǣǽᴂ d:ðđƌȡɖɗᵭᶁᶑꝺ o:øǿɔɵᴖᴗᶗⱺꝋꝍ th:þᵺꝧ
H:ĦʜⱧⱵ h:ħɥɦʮʯⱨⱶ i:ıɨᴉᵼᶖ q:ĸɋʠꝗꝙ L:ĿŁȽʟᴌⱠⱢꝆꝈꞀ l:ŀłƚȴɫɬɭᶅⱡꝇꝉꞁ n:ŉŋƞȵɲɳᵰᶇ N:ŊƝȠɴᴎ OE:Œɶ oe:œᴔ
T:ŦƬƮȾᴛꞆ t:ŧƫƭȶʇʈᵵⱦ b:ƀƃɓᵬᶀ B:ƁƂɃʙᴃ C:ƇȻʗᴄ c:ƈȼɕↄꜾꜿ E:ƎƐɆᴇⱻ F:ƑꜰꝻꟻ f:ƒᵮᶂẛꝼ G:ƓǤɢʛꝽꝾ hv:ƕ I:ƖƗɪᵻꟾ
K:ƘᴋⱩꝀꝂꝄ k:ƙʞᶄⱪꝁꝃꝅ M:ƜᴍⱮꟽꟿ P:ƤᴘⱣꝐꝒꝔ p:ƥᵱᵽᶈꝑꝓꝕꟼ V:ƲɅᴠỼꝞꝨ Y:ƳɎʏỾ y:ƴɏʎỿ Z:ƵȜȤᴢⱫꝢ z:ƶȝȥɀʐʑᵶᶎⱬꝣ
w:ƿʍⱳ e:ǝɇɘɛɜɝɞʚᴈᶒᶓᶔⱸ g:ǥɠɡᵷᵹᶃꝿ HV:Ƕ W:ǷᴡⱲ OU:Ȣᴕ ou:ȣ j:ȷɉɟʄʝ db:ȸ qp:ȹ A:Ⱥᴀ s:ȿʂᵴᶊẜẝꞄ U:Ʉᴜᵾ
J:Ɉᴊ Q:ɊꝖꝘ R:ɌʀʁᴙᴚⱤꝚꞂ r:ɍɼɽɾɿᵲᵳᶉꝛꞃ a:ɐəɚᶏᶕẚₔⱥⱯ m:ɯɰɱᵯᶆ u:ʉᶙ v:ʋʌᶌⱱⱴꝟ dz:ʣʥ ts:ʦ tc:ʨ ls:ʪ lz:ʫ
ue:ᵫ x:ᶍ SS:ẞ LL:Ỻ ll:ỻ -:‐‑‒–—⁻₋ ':‘’‚‛′‵‹›❛❜ ^:‸ /:⁄ [:⁅❲ ]:⁆❳ *:⁎ ;:⁏ %:⁒ ~:⁓ 11:⓫ 12:⓬ 13:⓭
14:⓮ 15:⓯ 16:⓰ 17:⓱ 18:⓲ 19:⓳ 20:⓴ 1:⓵❶➀➊ 2:⓶❷➁➋ 3:⓷❸➂➌ 4:⓸❹➃➍ 5:⓹❺➄➎ 6:⓺❻➅➏ 7:⓻❼➆➐ 8:⓼❽➇➑
9:⓽❾➈➒ 10:⓾❿➉➓ 0:⓿ (:❨❪ ):❩❫ <:❬❰ >:❭❱ {:❴ }:❵ ((:⸨ )):⸩ TZ:Ꜩ tz:ꜩ S:ꜱꞅ AA:Ꜳ aa:ꜳ AO:Ꜵ ao:ꜵ AU:Ꜷ
au:ꜷ AV:ꜸꜺ av:ꜹꜻ AY:Ꜽ ay:ꜽ OO:Ꝏ oo:ꝏ VY:Ꝡ vy:ꝡ
"""
_STAY = """
ªºʰʲʳʷʸˡˢˣ;ᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁᵂᵃᵇᵈᵉᵍᵏᵐᵒᵖᵗᵘᵛᶜᶠᶻ`․‥…ₕₖₗₘₙₚₛₜ₨℀℁ℂ℅℆ℊℋℌℍℎℐℑℒℓℕ№ℙℚℛℜℝ℠℡™ℤℨKÅℬℭℯℰℱℳℴℹ℻
ⅅⅆⅇⅈⅉⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩⅪⅫⅬⅭⅮⅯⅰⅱⅲⅳⅴⅵⅶⅷⅸⅹⅺⅻⅼⅽⅾⅿ≠≮≯⩴⩵⩶ⱽꟲꟳꟴﬅ｀｜
"""
_BY_HAND = {
    character: become
    for become, _, ones in (group.partition(":") for group in _BECOME.split())
    for character in ones
} | {character: character for character in _STAY if not character.isspace()}


def fold(word: str) -> str:
    """The word, in which each character that has an ASCII variant is replaced by that variant."""
    return word if word.isascii() else "".join(map(_fold_character, word))


@lru_cache(maxsize=10_000)
def _fold_character(character: str) -> str:
    known = _BY_HAND.get(character)
    if known is not None or character.isascii():
        return known or character
    decomposed = unicodedata.normalize("NFKD", character)
    plain = "".join(part for part in decomposed if not unicodedata.combining(part))
    return plain if plain.isascii() and plain.strip() else character


# In hexadecimal: characters that are alphabetic though no letters, and letters and digits that came
# with Unicode 15 to 17, of which a Python may not know yet.
_BESIDES = """
345 363-36f 5b0-5bd 5bf 5c1-5c2 5c4-5c5 5c7 610-61a 64b-657 659-65f 670 6d6-6dc 6e1-6e4 6e7-6e8
6ed 711 730-73f 7a6-7b0 816-817 81b-823 825-827 829-82c 88f 897 8d4-8df 8e3-8e9 8f0-903 93a-93b
93e-94c 94e-94f 955-957 962-963 981-983 9be-9c4 9c7-9c8 9cb-9cc 9d7 9e2-9e3 a01-a03 a3e-a42
a47-a48 a4b-a4c a51 a70-a71 a75 a81-a83 abe-ac5 ac7-ac9 acb-acc ae2-ae3 afa-afc b01-b03 b3e-b44
b47-b48 b4b-b4c b56-b57 b62-b63 b82 bbe-bc2 bc6-bc8 bca-bcc bd7 c00-c04 c3e-c44 c46-c48 c4a-c4c
c55-c56 c5c c62-c63 c81-c83 cbe-cc4 cc6-cc8 cca-ccc cd5-cd6 cdc ce2-ce3 cf3 d00-d03 d3e-d44
d46-d48 d4a-d4c d57 d62-d63 d81-d83 dcf-dd4 dd6 dd8-ddf df2-df3 e31 e34-e3a e4d eb1 eb4-eb9
ebb-ebc ecd f71-f83 f8d-f97 f99-fbc 102b-1036 1038 103b-103e 1056-1059 105e-1060 1062-1064
1067-106d 1071-1074 1082-108d 108f 109a-109d 1712-1713 1732-1733 1752-1753 1772-1773 17b6-17c8
1885-1886 18a9 1920-192b 1930-1938 1a17-1a1b 1a55-1a5e 1a61-1a74 1abf-1ac0 1acc-1ace 1b00-1b04
1b35-1b43 1b80-1b82 1ba1-1ba9 1bac-1bad 1be7-1bf1 1c24-1c36 1c89-1c8a 1dd3-1df4 24b6-24e9
2de0-2dff a674-a67b a69e-a69f a7cb-a7cf a7d2 a7d4 a7da-a7dc a7f1 a802 a80b a823-a827 a880-a881
a8b4-a8c3 a8c5 a8ff a926-a92a a947-a952 a980-a983 a9b4-a9bf a9e5 aa29-aa36 aa43 aa4c-aa4d
aa7b-aa7d aab0 aab2-aab4 aab7-aab8 aabe aaeb-aaef aaf5 abe3-abea fb1e 10376-1037a 105c0-105f3
10940-10959 10a01-10a03 10a05-10a06 10a0c-10a0f 10d24-10d27 10d40-10d65 10d69 10d6f-10d85
10eab-10eac 10ec2-10ec7 10efa-10efc 11000-11002 11038-11045 11073-11074 11080-11082 110b0-110b8
110c2 11100-11102 11127-11132 11145-11146 11180-11182 111b3-111bf 111ce-111cf 1122c-11234 11237
1123e-11241 112df-112e8 11300-11303 1133e-11344 11347-11348 1134b-1134c 11357 11362-11363
11380-11389 1138b 1138e 11390-113b5 113b7-113c0 113c2 113c5 113c7-113ca 113cc-113cd 113d1 113d3
11435-11441 11443-11445 114b0-114c1 115af-115b5 115b8-115be 115dc-115dd 11630-1163e 11640
116ab-116b5 116d0-116e3 1171d-1172a 1182c-11838 11930-11935 11937-11938 1193b-1193c 11940 11942
119d1-119d7 119da-119df 119e4 11a01-11a0a 11a35-11a39 11a3b-11a3e 11a51-11a5b 11a8a-11a97
11b60-11b67 11bc0-11be0 11bf0-11bf9 11c2f-11c36 11c38-11c3e 11c92-11ca7 11ca9-11cb6 11d31-11d36
11d3a 11d3c-11d3d 11d3f-11d41 11d43 11d47 11d8a-11d8e 11d90-11d91 11d93-11d96 11db0-11ddb
11de0-11de9 11ef3-11ef6 11f00-11f10 11f12-11f3a 11f3e-11f40 11f50-11f59 1342f 13441-13446
13460-143fa 16100-1612e 16130-16139 16d40-16d6c 16d70-16d79 16ea0-16eb8 16ebb-16ed3 16f4f
16f51-16f87 16f8f-16f92 16ff0-16ff6 187f8-187ff 18cff 18d09-18d1e 18d80-18df2 1b132 1b155 1bc9e
1ccf0-1ccf9 1d2c0-1d2d3 1df25-1df2a 1e000-1e006 1e008-1e018 1e01b-1e021 1e023-1e024 1e026-1e02a
1e030-1e06d 1e08f 1e4d0-1e4eb 1e4f0-1e4f9 1e5d0-1e5ed 1e5f0-1e5fa 1e6c0-1e6de 1e6e0-1e6f5
1e6fe-1e6ff 1e947 1f130-1f149 1f150-1f169 1f170-1f189 2b739-2b73f 2cea2-2cead 2ebf0-2ee5d
31350-33479
"""


def _in_class(run: str) -> str:
    return "-".join(chr(int(code, 16)) for code in run.split("-"))


BEGINNING = 50  # bytes of a beginning of a word besides its letters
FEW_BEGINNINGS = 10_000_000  # bytes of those of a text that aren't counted
_WORD = re.compile(rf"[\w{''.join(map(_in_class, _BESIDES.split()))}]+")
_PLAIN_NAME = re.compile(r"[a-zA-Z0-9_]+")
_PLAIN = re.compile(r"[a-zA-Z0-9]+")
# What Unicode calls white space; Python's split() takes four control characters for it besides.
_BLANK = re.compile("[^\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


def words_in(text: str) -> list[str]:
    """The words of a text: the runs of letters and digits."""
    if text.isascii():
        return _PLAIN.findall(text)
    return _WORD.findall(text.replace("_", " "))


def between_blanks(text: str) -> list[str]:
    """The parts of a text between white space."""
    return _BLANK.findall(text)


def parts_of_names(text: str) -> list[str]:
    """The words of a text. Names from program code are divided into their parts."""
    return [part for word in words_in(text) for part in _parts(word)]


def names_and_parts(text: str) -> list[str]:
    """The words of a text. After each name from program code, which is stripped of separators, its
    parts follow."""
    names = []
    for name in (_PLAIN_NAME if text.isascii() else _WORD).findall(text):
        words = words_in(name)
        parts = [_parts(word) for word in words]
        if len(words) > 1:
            names.append("".join(words))
        names += [
            word for word, parts_of_word in zip(words, parts, strict=True) if len(parts_of_word) > 1
        ]
        names += [part for parts_of_word in parts for part in parts_of_word]
    return names


def _parts(word: str) -> list[str]:
    """The parts of a name from program code. The name is divided between a lower-case letter or a
    digit and an upper-case letter. A run of upper-case letters is divided before its last letter if
    a lower-case letter follows."""
    starts = [0]
    for i in range(1, len(word)):
        follows = word[i].isupper() and (
            not word[i - 1].isupper() or (i + 1 < len(word) and word[i + 1].islower())
        )
        if follows:
            starts.append(i)
    return [word[start:stop] for start, stop in zip(starts, [*starts[1:], None], strict=True)]


_HAN = "\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HIRAGANA, _KATAKANA = "\u3041-\u309f", "\u30a0-\u30ff\u31f0-\u31ff"
_KANA = re.compile(f"[{_HIRAGANA}{_KATAKANA}]")
_RUNS = re.compile(f"[{_HAN}]+|[{_HIRAGANA}]+|[{_KATAKANA}]+|[^{_HAN}{_HIRAGANA}{_KATAKANA}]+")
_ONE_BY_ONE = re.compile(f"[{_HAN}]|[^{_HAN}]+")
_UNMARKED = ("LATIN", "GREEK", "HEBREW", "ARABIC", "THAI")  # scripts whose marks are left out


def words_of_any_script(text: str) -> list[str]:
    """The words of a text in lower case and without diacritics. Numbers do not count as words."""
    if text.isascii():
        words = words_in(text.lower())
    else:
        parts = _RUNS if _KANA.search(text) else _ONE_BY_ONE
        runs = "".join(map(_or_blank, text)).split()
        words = [_plain(part) for run in runs for part in parts.findall(run)]
    return [word for word in words if not all(map(_is_number, word))]


@lru_cache(maxsize=10_000)
def _or_blank(character: str) -> str:
    """The character if it can be part of a word, otherwise a blank. Marks of any script can be part
    of a word."""
    return character if character.isalnum() or unicodedata.category(character)[0] == "M" else " "


def _plain(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word.lower())
    if decomposed.isascii() or not unicodedata.name(word[0], "").startswith(_UNMARKED):
        return decomposed
    bare = "".join(character for character in decomposed if unicodedata.category(character) != "Mn")
    return bare.replace("\u03c2", "\u03c3")  # both are sigma


def _is_number(character: str) -> bool:
    return character.isnumeric() or character == "\u2044"  # of fractions


Tokenizer: TypeAlias = Literal["word", "whitespace", "prefix", "multilingual", "code"]


@final
@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenizer. stopwords: the words to remove, in their exact spelling; stemmer: a language of
    Snowball; least, most: the minimum and maximum length of a token in characters."""

    tokenizer: Tokenizer = "word"
    lowercase: bool = True
    folded: bool = False
    stopwords: tuple[str, ...] = ()
    stemmer: str | None = None
    least: int | None = None
    most: int | None = None

    def tokenize_text(self, text: str) -> list[str]:
        """The tokens of a stored text."""
        split = names_and_parts if self.tokenizer == "code" else _SPLIT[self.tokenizer]
        words = self._words(split(text))
        if self.tokenizer != "prefix":
            return words
        sizes = [min(self.most or len(word), len(word)) for word in words]
        # All beginnings of a word take the square of its length.
        needed = sum(size * (size + 1) // 2 + BEGINNING * size for size in sizes)
        if needed > FEW_BEGINNINGS:  # of the next text they are others
            budget.take(needed, "beginnings of words", sum(sizes))
            budget.take(-needed, "beginnings of words")
        return [
            word[:size]
            for word, longest in zip(words, sizes, strict=True)
            for size in range(self.least or 1, longest + 1)
        ]

    def tokenize_query(self, text: str) -> list[str]:
        """The tokens that a query searches for."""
        if self.tokenizer != "prefix":
            return self._words(_SPLIT[self.tokenizer](text))
        # The beginning of a word may be a stopword, so none are left out.
        words = replace(self, stopwords=())._words(words_in(text))
        return [word[: self.most] for word in words]

    def tokenize_phrase(self, text: str) -> list[str]:
        """The tokens that a query for a phrase searches for, in this order."""
        return self.tokenize_text(text) if self.tokenizer == "prefix" else self.tokenize_query(text)

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


LISTS_KEPT = 64  # of stopwords, as sets
FEW_STOPWORDS, FEW_LETTERS = 2_000, 50_000  # of a list that is short, as those of all languages are
_SETS: dict[tuple[tuple[str, ...], bool], frozenset[str]] = {}


def _as_set(stopwords: tuple[str, ...], lowercase: bool) -> frozenset[str]:
    """The stopwords as a set, which is cached for later texts. At most one long list is cached,
    since requests may contain long lists."""
    known = _SETS.get((stopwords, lowercase))
    if known is None:
        words = map(str.lower, stopwords) if lowercase else stopwords
        known = frozenset(words)
        is_short = len(stopwords) <= FEW_STOPWORDS and sum(map(len, stopwords)) <= FEW_LETTERS
        if not is_short or len(_SETS) >= LISTS_KEPT:
            _SETS.clear()
        _SETS[stopwords, lowercase] = known
    return known


@lru_cache(maxsize=32)
def _stems(language: str) -> Any:
    """The Snowball stemmer of a language, in the version that the Rust crate of servers uses."""
    try:
        from py_rust_stemmers import SnowballStemmer  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError(
            'stemmers need py-rust-stemmers: pip install "retrieval-store[qdrant]"'
        ) from error
    return SnowballStemmer(language).stem_words


FILE = Path(__file__).with_name("stopwords.txt")


def stopwords_of(language: str) -> tuple[str, ...]:
    """The stopwords of a language, from the list that servers use."""
    lists = _lists()
    if language not in lists:
        raise InvalidArgumentError(
            f"there is no list of stopwords for the language {language!r} here, only for "
            f"{', '.join(lists)}: give the words themselves, as `custom`"
        )
    return lists[language]


@lru_cache(maxsize=1)
def _lists() -> dict[str, tuple[str, ...]]:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return {name: tuple(words) for name, *words in (line.split("\t") for line in lines)}


def tokens_of(params: models.TextIndexParams) -> Tokens:
    """The tokenizer of a text index."""
    stemmer = params.stemmer
    return Tokens(
        tokenizer=(params.tokenizer or models.TokenizerType.WORD).value,
        lowercase=params.lowercase is not False,
        folded=params.ascii_folding is True,
        stopwords=_stopwords(params.stopwords),
        stemmer=stemmer.language.value if isinstance(stemmer, models.SnowballParams) else None,
        least=params.min_token_len,
        most=params.max_token_len,
    )


def _stopwords(value: Any) -> tuple[str, ...]:
    match value:
        case None:
            return ()
        case models.StopwordsSet(languages=languages, custom=custom):
            listed = [word for language in languages or () for word in stopwords_of(language.value)]
            return tuple(dict.fromkeys([*listed, *(custom or ())]))
    return stopwords_of(value.value)
