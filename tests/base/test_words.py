"""Words of texts, of any script."""

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from retrieval_store.base.words import Analyzer, analyzer, fold


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
