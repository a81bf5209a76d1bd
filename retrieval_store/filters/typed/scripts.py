"""Words of texts in any script, without a language's dictionary."""

import unicodedata

from retrieval_store.filters.typed.letters import words_in


def words_of_any_script(text: str) -> list[str]:
    """The words, in small letters and without diacritics."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    plain = "".join(one for one in decomposed if not unicodedata.combining(one))
    return words_in(plain)
