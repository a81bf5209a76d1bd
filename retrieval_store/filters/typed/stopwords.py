"""Words that an index of texts leaves out, by language."""


def stopwords_of(language: str) -> tuple[str, ...]:
    """The list of a language, as servers have it."""
    return ()
