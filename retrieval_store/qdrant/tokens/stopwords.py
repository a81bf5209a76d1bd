"""Words that an index of texts leaves out, by language: those lists that servers use.

`stopwords.txt` has a line for each language, its name first, separated by tabs. They are the lists
that Snowball's authors and others have made, as they are gathered in NLTK's corpus of stopwords.
"""

from functools import lru_cache
from pathlib import Path

from retrieval_store.errors import InvalidArgumentError

FILE = Path(__file__).with_name("stopwords.txt")


def stopwords_of(language: str) -> tuple[str, ...]:
    """The list of a language, as servers have it."""
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
