"""What is read of files of each kind."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_store.errors import DataLoaderError, InvalidTypeError
from retrieval_store.readers import FileText, Section
from retrieval_store.readers.files import read_file, reader_name
from tests.readers import files


def texts(file):
    return [(one.headings, one.text) for one in file.sections]


def test_texts_are_read_word_for_word_by_their_headings():
    text = "---\ntitle: Ships\nauthor: 'Jane'\ndate: 2026-01-02\nlang: en\n---\n\nFirst.\n\n## Sails\n\n  Two.\n"
    file = read_file(text.encode(), "a.md")
    assert texts(file) == [((), "First."), (("Sails",), "Two.")]
    assert (file.title, file.author, file.date, file.language) == (
        "Ships",
        "Jane",
        "2026-01-02",
        "en",
    )
    assert all(text[one.start : one.end] == one.text for one in file.sections)
    own = read_file(b"\xef\xbb\xbf# Own\n\nwords\n\n# Other\n", "a.txt")
    assert own.title == "Own" and texts(own) == [(("Own",), "words"), (("Other",), "")]
    with pytest.raises(DataLoaderError, match="isn't a text in UTF-8"):
        read_file(b"\xff", "a.rst")


LINES = st.sampled_from(
    ["# One", "## Two ##", "Part", "====", "----", "***", "```", "words and more", "  - item", "", " ",
     "| a | b |", "|---|---|", "\t", "\r", "\x0c", "\u2028", "# ", "#no", "---", "title: x"]
)  # fmt: skip


@given(st.lists(LINES, max_size=30).map("\n".join))
def test_each_section_of_a_text_stands_in_the_file_as_it_is(text):
    file = read_file(text.encode(), "a.md")
    places = [(one.start, one.end) for one in file.sections]
    assert places == sorted(places)
    for one in file.sections:
        assert one.text == text[one.start : one.end] == one.text.strip()
        assert one.text or one.headings


def test_the_main_part_of_a_page_is_read_as_markdown():
    file = read_file(files.PAGE, "a.html")
    assert (file.title, file.author, file.date, file.language) == (
        "Ropes",
        "Jane",
        "2026-01-02",
        "en",
    )
    assert texts(file) == [
        (("Ropes",), "A rope has strands, [and more](https://example.com/a)."),
        (
            ("Ropes", "Kinds"),
            "- hemp\n- nylon\n  - braided\n\n```\ntie(\n  rope)\n```\n\n"
            "| kind | load |\n| --- | --- |\n| hemp | 2\\|3 t |",
        ),
        (("Ropes", "Care"), "Dry it."),
    ]
    plain = read_file("<p>Größe".encode("latin-1"), "a.htm")
    assert texts(plain) == [((), "Größe")]
    assert read_file(b"", "a.html").sections == []


def test_a_program_is_read_by_its_classes_and_functions():
    file = read_file(files.PROGRAM, "a.py")
    text = files.PROGRAM.decode()
    assert all(text[one.start : one.end] == one.text and one.is_code for one in file.sections)
    assert [one.headings for one in file.sections] == [
        (),
        ("class Ship",),
        ("class Ship", "def name"),
        ("class Ship", "def sail"),
        ("def build",),
        (),
    ]
    assert file.sections[2].text.startswith("    # It floats.\n    @property")
    assert file.sections[-1].text == "print(build())"
    broken = read_file(b"def f(:\n" + b"x = 1\n\n" * 100, "a.py")
    assert len(broken.sections) > 2 and {one.headings for one in broken.sections} == {()}
    windows = read_file(b"def f():\r\n    pass\r\n\r\nx = 1\r\n", "a.py")
    assert [one.text for one in windows.sections] == ["def f():\r\n    pass", "x = 1"]


def test_other_code_is_read_by_its_lines():
    text = "\n".join(f"line {i};" if i % 9 else "" for i in range(200))
    file = read_file(text.encode(), "deep/a.js")
    assert all(text[one.start : one.end] == one.text for one in file.sections)
    assert all(one.text.count("\n") < 60 for one in file.sections)
    assert re.findall(r"line \d+", "\n".join(one.text for one in file.sections)) == re.findall(
        r"line \d+", text
    )


def test_json_is_read_in_lines():
    listed = read_file(b'[{"a": {"b": [1, "x"]}, "c": [{"d": null}]}, "text"]', "a.json")
    assert texts(listed) == [((), "a.b: 1, x\nc[0].d: null"), ((), "text")]
    keyed = read_file(b'{"one": "%b", "two": [true]}' % (b"x" * 600), "a.json")
    assert [one.headings for one in keyed.sections] == [("one",), ("two",)]
    lines = b'{"t": "one"}\n\n{"t": "two"}\n'
    by_line = read_file(lines, "a.ndjson")
    assert texts(by_line) == [((), "t: one"), ((), "t: two")]
    assert lines[by_line.sections[1].start : by_line.sections[1].end] == b'{"t": "two"}'
    for data, name, said in (
        (b"{", "a.json", "it isn't JSON"),
        (b"1\n{", "a.jsonl", "line 2 isn't JSON"),
        (b"[" * 100_000, "a.json", "too deep"),
    ):
        with pytest.raises(DataLoaderError, match=said):
            read_file(data, name)


def test_tables_are_read_with_their_header_in_sections_of_rows():
    rows = "".join(f'{i};"two\nlines"\n' for i in range(45))
    text = "name;note\n" + rows
    file = read_file(text.encode(), "a.csv")
    assert len(file.sections) == 3
    for one in file.sections:
        assert one.text.startswith("| name | note |\n| --- | --- |\n|")
    assert file.sections[2].text.endswith("| 44 | two lines |")
    last = text[file.sections[2].start : file.sections[2].end]
    assert last.startswith("40;") and last.endswith('44;"two\nlines"\n')
    sheet = read_file(files.sheets(), "a.xlsx")
    assert {one.headings for one in sheet.sections} == {("Ships",)} and len(sheet.sections) == 3
    assert "| ship 49 | 1949 |" in sheet.sections[2].text
    assert "| a | b |" in read_file(b"a\tb\n1\t2\n", "a.tsv").sections[0].text


def test_notebooks_and_mails():
    book = read_file(files.NOTEBOOK, "a.ipynb")
    assert texts(book) == [
        (("Waves",), "They come.\n\n```python\n1 + 1\n```\n\n```\n2\n```"),
    ]
    mail = read_file(files.MAIL, "a.eml")
    assert texts(mail) == [((), "The tide is high at nine.")]
    assert (mail.title, mail.author) == ("Tides", "Jane <jane@example.com>")
    assert mail.date == "2026-09-01T10:00:00+00:00"
    assert mail.gaps == ("the attachment 'table.pdf' isn't read",)
    with pytest.raises(DataLoaderError, match="isn't a notebook"):
        read_file(b"[]", "a.ipynb")


def test_pages_of_a_pdf():
    file = read_file(files.pdf("The sea.", None, "The sky.", title="Views"), "a.pdf")
    assert [(one.page, one.text) for one in file.sections] == [(1, "The sea."), (3, "The sky.")]
    assert file.title == "Views"
    assert file.gaps == ("page 2 has no text: it is a picture, or blank",)
    many = read_file(files.pdf(*[None] * 30), "a.pdf")
    assert len(many.gaps) == 11 and many.gaps[-1] == "and 20 other pages have none"
    with pytest.raises(DataLoaderError, match="isn't a PDF that can be read"):
        read_file(b"%PDF-1.4 nothing", "a.pdf")


def test_an_outline_gives_the_headings_of_pages():
    from pypdf import PdfWriter

    writer = PdfWriter(files_of(files.pdf("one", "two", "three")))
    part = writer.add_outline_item(title="Part", page_number=0)
    writer.add_outline_item(title="Chapter", page_number=1, parent=part)
    out = files.io.BytesIO()
    writer.write(out)
    file = read_file(out.getvalue(), "a.pdf")
    assert [one.headings for one in file.sections] == [
        ("Part",),
        ("Part", "Chapter"),
        ("Part", "Chapter"),
    ]
    writer.encrypt("secret")
    out = files.io.BytesIO()
    writer.write(out)
    with pytest.raises(DataLoaderError, match="encrypted"):
        read_file(out.getvalue(), "a.pdf")


def files_of(data):
    return files.io.BytesIO(data)


def test_documents_of_office():
    document = read_file(files.word(), "a.docx")
    assert (document.title, document.author) == ("Sailing", "Jane")
    assert texts(document) == [
        ((), "Before you begin."),
        (("Knots",), "A bowline makes a loop.\n\n- firm\n- easy to untie"),
        (("Rigs", "Sloop"), "| mast\\|s | sails |\n| --- | --- |\n| one | two |"),
    ]
    show = read_file(files.slides(), "a.pptx")
    assert [(one.page, one.headings, one.text) for one in show.sections] == [
        (1, ("Wind",), "It blows.\n\nSay more.")
    ]
    assert show.gaps == ("slide 2 has no text",)
    for name in ("a.docx", "a.pptx", "a.xlsx"):
        with pytest.raises(DataLoaderError, match="isn't a document of Office"):
            read_file(b"PK nothing", name)


def test_a_reader_is_found_by_the_name():
    known = {
        "a.md": "md", "A.MARKDOWN": "md", "a.htm": "html", "a.py": "py", "a.rs": "code",
        "Makefile": "code", "README": "txt", "docs/a.log": "txt", "a.yaml": "code", "a.tsv": "csv",
        "a.docm": "docx", "a.vcf": "txt", "a.exe": None, "a.md.gz": None, "a": None, "a.png": None,
        "archive.zip": None,
    }  # fmt: skip
    assert {name: reader_name(name) for name in known} == known


def test_one_may_read_files_by_oneself(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("one two")
    assert texts(read_file(path)) == [((), "one two")]

    def by_words(data, name):
        return [Section(one, (name,)) for one in data.decode().split()] if name == "a.log" else None

    assert texts(read_file(path, reader=by_words)) == [(("a.log",), "one"), (("a.log",), "two")]
    assert texts(read_file(b"x", "b.txt", reader=by_words)) == [((), "x")]
    assert read_file(b"", "b.txt", reader=lambda data, name: FileText(title="t")).title == "t"
    for wrong in (7, [7], b"x"):
        with pytest.raises(InvalidTypeError, match="expected a str, Sections or a FileText"):
            read_file(b"x", "b.txt", reader=lambda data, name, wrong=wrong: wrong)
    with pytest.raises(DataLoaderError, match="ZeroDivisionError"):
        read_file(b"x", "b.txt", reader=lambda data, name: 1 / 0)
    with pytest.raises(DataLoaderError, match=r"no reader for \.exe"):
        read_file(b"x", "b.exe")
    with pytest.raises(DataLoaderError, match="No such file"):
        read_file(tmp_path / "gone.md")
    with pytest.raises(InvalidTypeError, match="name is None"):
        read_file(b"x")
