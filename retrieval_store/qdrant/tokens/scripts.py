"""Words of texts in any script, without dictionaries.

They are folded as a server's tokenizer for many languages does it, and are the same words but for
Chinese, Japanese and Thai, which it cuts by dictionaries. Here a text that has kana is taken to be
Japanese, where what is written in one script is a word; in others each Chinese character is one.
"""

import re
import unicodedata
from functools import lru_cache

from retrieval_store.qdrant.tokens.letters import words_in

_HAN = "\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HIRAGANA, _KATAKANA = "\u3041-\u309f", "\u30a0-\u30ff\u31f0-\u31ff"
_KANA = re.compile(f"[{_HIRAGANA}{_KATAKANA}]")
_RUNS = re.compile(f"[{_HAN}]+|[{_HIRAGANA}]+|[{_KATAKANA}]+|[^{_HAN}{_HIRAGANA}{_KATAKANA}]+")
_ONE_BY_ONE = re.compile(f"[{_HAN}]|[^{_HAN}]+")
_UNMARKED = ("LATIN", "GREEK", "HEBREW", "ARABIC", "THAI")  # scripts whose marks are left out


def words_of_any_script(text: str) -> list[str]:
    """The words, in small letters, without diacritics; numbers are none."""
    if text.isascii():
        words = words_in(text.lower())
    else:
        parts = _RUNS if _KANA.search(text) else _ONE_BY_ONE
        runs = "".join(map(_or_blank, text)).split()
        words = [_plain(part) for run in runs for part in parts.findall(run)]
    return [word for word in words if not all(map(_is_number, word))]


@lru_cache(maxsize=10_000)
def _or_blank(one: str) -> str:
    """Parts of words; marks are some in any script."""
    return one if one.isalnum() or unicodedata.category(one)[0] == "M" else " "


def _plain(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word.lower())
    if decomposed.isascii() or not unicodedata.name(word[0], "").startswith(_UNMARKED):
        return decomposed
    bare = "".join(one for one in decomposed if unicodedata.category(one) != "Mn")
    return bare.replace("\u03c2", "\u03c3")  # both are sigma


def _is_number(one: str) -> bool:
    return one.isnumeric() or one == "\u2044"  # of fractions
