"""What readers of spreadsheets share beside `sheet_sections`."""

_PAGE_WORDS = frozenset([
    "page", "pages", "of", "seite", "seiten", "von", "sur", "pagina", "página", "de", "di", "da",
    "oldal", "strana", "stránka", "strona", "sida", "side", "sivu", "av", "af", "van", "z", "из",
    "страница", "стр",
])  # fmt: skip


def without_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    """The rows of a sheet without the columns in which no row has anything."""
    used = sorted({column for row in rows for column, text in enumerate(row) if text})
    if not used or len(used) > used[-1]:
        return rows
    return [[row[column] for column in used if column < len(row)] for row in rows]


def is_page_number(text: str) -> bool:
    """Whether a line of a header or footer has no more than "page" and "of" beside its fields."""
    words = "".join(letter if letter.isalpha() else " " for letter in text.lower()).split()
    return _PAGE_WORDS.issuperset(words)
