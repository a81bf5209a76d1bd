"""Malicious books, documents and other files, and missing libraries."""

import io
import sys
import zipfile
from itertools import pairwise

import pytest

from integrations.files.tests.readers import files, packages
from integrations.files.tests.readers.packages import book, content, open_document, zipped
from retrieval_store.errors import DataLoaderError, MissingDependencyError
from retrieval_store_files.readers import html, mailboxes, old_sheets, packed, rich_text
from retrieval_store_files.readers.files import text_of_bytes
from retrieval_store_files.readers.sheets import MAX_ROWS

LAUGHS = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairwise("abcdefghij"))
DECLARED = f'<!DOCTYPE x [<!ENTITY a "ha">{LAUGHS}]>'
SPANS = "<text:span>" * 10_000 + "x" + "</text:span>" * 10_000
MANY = 'table:number-columns-repeated="999999999"'
REPEATED = (
    f'<table:table table:name="T"><table:table-row table:number-rows-repeated="999999999">'
    f"<table:table-cell {MANY}><text:p>x</text:p></table:table-cell></table:table-row></table:table>"
)
BLANK = '<table:table-row table:number-rows-repeated="5"><table:table-cell/></table:table-row>'


def tall(rows, below=""):
    """A sheet with one cell that is repeated in this number of rows."""
    cell = "<table:table-cell><text:p>x</text:p></table:table-cell>"
    row = f'<table:table-row table:number-rows-repeated="{rows}">{cell}</table:table-row>'
    return f'<table:table table:name="T">{row}{below}</table:table>'


NESTED = (
    '<table:table><table:table-row table:number-rows-repeated="1000">'
    '<table:table-cell table:number-columns-repeated="1000">'
) * 9


def many_entries():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for number in range(10_001):
            made.writestr(f"{number}", b"")
    return out.getvalue()


REFUSED = {
    "many files": ("a.epub", many_entries, "10,001 files"),
    "laughs": (
        "a.odt",
        lambda: zipped({"content.xml": content("<text:p>&j;</text:p>", head=DECLARED)}),
        "isn't XML that can be read",
    ),
    "deep": ("a.odt", lambda: open_document(f"<text:p>{SPANS}</text:p>"), "isn't XML that can be read"),
    "nested tables": (
        "a.odt",
        lambda: open_document(
            f"{NESTED}<text:p>x</text:p>{'</table:table-cell></table:table-row></table:table>' * 9}"
        ),
        "more memory|more than 400 MB|longer than",
    ),
    "cut off": ("a.xls", lambda: packages.old_excel({"A": b""})[:200], "isn't a spreadsheet"),
    "circle": ("a.msg", lambda: packages.ole({"a": b"x" * 5000})[:1500], "isn't a mail of Outlook"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_bomb_of_a_newer_kind_does_nothing_to_the_program(process, what):
    name, make, why = REFUSED[what]
    with pytest.raises(DataLoaderError, match=why):
        text_of_bytes(make(), name, process)
    assert text_of_bytes(files.pdf("The sea."), "a.pdf", process).sections


def test_repeated_cells_and_spaces_have_limits_that_are_named(process):
    sheet = text_of_bytes(open_document(REPEATED, "spreadsheet"), "a.ods", process)
    assert sheet.sections and sheet.gaps == (
        "the sheet 'T' is read to its row 1,000", "the sheet 'T' is read to its column 200",
    )  # fmt: skip
    for body, row in (
        (REPEATED.replace("<table:table-row", f"{BLANK}<table:table-row", 1), "1,005"),
        (tall(10 * MAX_ROWS), f"{MAX_ROWS:,}"),
    ):
        sheet = text_of_bytes(open_document(body, "spreadsheet"), "a.ods", process)
        assert sheet.gaps[0] == f"the sheet 'T' is read to its row {row}"
    sheet = text_of_bytes(open_document(tall(MAX_ROWS, BLANK), "spreadsheet"), "a.ods", process)
    assert sheet.sections and sheet.gaps == ()
    spaces = '<text:p>a<text:s text:c="999999999"/>b</text:p>'
    (section,) = text_of_bytes(open_document(spaces), "a.odt", process).sections
    assert section.text == f"a{' ' * 1_000}b"
    braces = text_of_bytes(b"{\\rtf1 x" + b"{" * 200_000 + b"{\\footnote", "a.rtf", process)
    assert braces.sections[0].text == "x"


def test_entities_of_books_and_documents_are_not_resolved_to_files(process, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    declared = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>'
    flat = content("<text:p>before &e; after</text:p>", head=declared)
    chapter = f"{declared}<html><body><p>before &e; after</p></body></html>"
    pages = book({"a.xhtml": ""}, members={"OEBPS/a.xhtml": chapter})
    for data, name in ((flat.encode(), "a.fodt"), (pages, "a.epub"), (flat.encode(), "a.xml")):
        try:
            shown = str(text_of_bytes(data, name, process).sections)
        except DataLoaderError as error:
            shown = str(error)
        assert "SECRET" not in shown


@pytest.mark.parametrize(
    ("read", "data", "module"),
    [
        (rich_text.read_rtf, b"{\\rtf1}", "striprtf.striprtf"),
        (mailboxes.read_msg, packages.ole({}), "oxmsg"),
        (old_sheets.read_xls, packages.ole({}), "xlrd"),
        (packed.xml_root, b"<a/>", "lxml"),
        (html.read_html, b"<a>", "selectolax.lexbor"),
    ],
)
def test_a_library_that_is_missing_is_named(monkeypatch, read, data, module):
    monkeypatch.setitem(sys.modules, module, None)
    library = module.partition(".")[0]
    named = rf"needs (python-)?{library}: pip install retrieval-store-files"
    with pytest.raises(MissingDependencyError, match=named):
        read(data, "a")
