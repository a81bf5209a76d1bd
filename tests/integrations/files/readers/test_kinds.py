"""What is read of files of each kind."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_store.errors import DataLoaderError, InvalidTypeError
from retrieval_store_files.readers import FileText, Section
from retrieval_store_files.readers.files import read_file, reader_name
from tests.integrations.files.readers import files


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
    both = read_file(b"---\ntitle: Said\n---\n\n# Heading\n\nwords\n", "a.md")
    assert both.title == "Said" and texts(both) == [(("Heading",), "words")]
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
        (b"\n{", "a.jsonl", "line 2 isn't JSON"),
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
    assert file.gaps == ()  # a blank page lacks nothing
    some = read_file(files.pdf("one", *[files.PICTURE] * 30), "a.pdf")
    assert len(some.gaps) == 11 and some.gaps[-1] == "and 20 more"
    assert some.gaps[0] == "page 2 is a picture without text"
    with pytest.raises(DataLoaderError, match="page 1 is a picture without text"):
        read_file(files.pdf(files.PICTURE), "a.pdf")
    assert read_file(files.pdf(None), "a.pdf").sections == []
    with pytest.raises(DataLoaderError, match="isn't a PDF that can be read"):
        read_file(b"%PDF-1.4 nothing", "a.pdf")


def test_a_pdf_is_read_without_running_heads_and_broken_words():
    pages = [
        f"The Book\nPage {i} says that words are bro-\nken, and \\256ne.\n{i}" for i in (1, 2, 3)
    ]
    file = read_file(files.pdf(*pages), "a.pdf")
    assert [one.text for one in file.sections] == [
        f"Page {i} says that words are broken, and fine." for i in (1, 2, 3)
    ]


def test_words_of_a_pdf_are_joined_where_a_line_divides_them():
    page = (
        "too con-\nspicuous and dan- \ngerous for use \nand ex\\255\nploded, sch\\366n-\n\\344hnlich, "
        "Co-\\255 \noperate, UTF-\n8 Donau-\nDampf, a well\\255known end\\255"
    )
    (section,) = read_file(files.pdf(page, encoding="WinAnsiEncoding"), "a.pdf").sections
    words = section.text.replace("\n", " ").split(" ")
    assert {"conspicuous", "dangerous", "exploded,", "schönähnlich,"} <= {*words}
    assert {"UTF-", "8", "Donau-", "Dampf,", "well\u00adknown"} <= {*words}


def test_a_page_that_cannot_be_read_is_no_reason_not_to_read_the_others():
    file = read_file(files.pdf("one", "two", stream=b" " * 100_000_000), "a.pdf")
    assert [(one.page, one.text) for one in file.sections] == [(2, "two")]
    assert len(file.gaps) == 1 and file.gaps[0].startswith("page 1 can't be read")


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


def test_a_document_is_read_as_it_is_with_all_changes_accepted():
    def change(name, content):
        if name != "word/document.xml":
            return content
        text = content.decode()
        run = "<w:r><w:t>A bowline makes a loop.</w:t></w:r>"
        assert run in text
        return text.replace(
            run,
            "<w:ins><w:r><w:t>A bowline </w:t></w:r></w:ins><w:del><w:r><w:delText>never"
            "</w:delText></w:r></w:del><w:r><w:t>makes a loop.</w:t></w:r></w:p>"
            "<w:sdt><w:sdtPr/><w:sdtContent><w:p><w:r><w:t>In a control.</w:t></w:r></w:p>"
            "</w:sdtContent></w:sdt><w:p><w:pPr><w:outlineLvl w:val='1'/></w:pPr><w:r><w:t>Own"
            "</w:t></w:r></w:p><w:p><w:r><w:t>below</w:t></w:r>",
        )

    file = read_file(files.changed(files.word(), change), "a.docx")
    assert texts(file)[1:3] == [
        (("Knots",), "A bowline makes a loop.\n\nIn a control."),
        (("Knots", "Own"), "below\n\n- firm\n- easy to untie"),
    ]


def test_what_says_nothing_of_itself_has_neither_author_nor_date():
    import docx

    def change(name, content):
        if name == "_rels/.rels":
            return re.sub(rb"<Relationship [^>]*core-properties[^>]*>", b"", content)
        return re.sub(rb"<Override [^>]*core.xml[^>]*>", b"", content)

    made = {"a.docx": files.word(), "a.xlsx": files.sheets(), "a.pptx": files.slides()}
    for name, data in made.items():
        file = read_file(files.changed(data, change, "core.xml"), name)
        assert file.sections and (file.title, file.author, file.date) == (None, None, None)
    assert read_file(files.saved(docx.Document()), "a.docx").sections == []


def test_what_old_programs_wrote_is_read():
    table = read_file("a,b\nMöwe,1\n".encode("cp1252"), "a.csv")
    assert "| Möwe | 1 |" in table.sections[0].text
    assert table.gaps == ("it isn't in UTF-8, and was read as Windows-1252",)
    program = read_file("# coding: latin-1\nx = 'Möwe'\n".encode("latin-1"), "a.py")
    assert "Möwe" in program.sections[0].text
    mail = b"Subject: x\nContent-Type: text/plain; charset=nobody-knows\n\nThe tide.\n"
    assert texts(read_file(mail, "a.eml")) == [((), "The tide.")]
    lines = read_file(b"1\n{\n2\n", "a.jsonl")
    assert [one.text for one in lines.sections] == ["1", "2"]
    assert len(lines.gaps) == 1 and lines.gaps[0].startswith("line 2 isn't JSON")


def test_rows_of_tildes_underline_in_rst_and_begin_code_in_markdown():
    text = b"Top\n===\n\nSub\n~~~\n\n# no heading\n"
    assert texts(read_file(text.replace(b"# no", b"no"), "a.rst")) == [
        (("Top", "Sub"), "no heading")
    ]
    assert texts(read_file(text, "a.md")) == [(("Top",), "Sub\n~~~\n\n# no heading")]
    spaces = b"# a" + b" " * 1_000_000 + b"b"  # quickly
    assert len(read_file(spaces, "a.md").sections) == 1
    assert texts(read_file(b"# C#\n\n## Two ##\n\nx", "a.md")) == [(("C#", "Two"), "x")]


def test_terms_stand_with_what_explains_them_and_cells_have_words():
    page = b"""<h1>T</h1><dl><dt>f(x)</dt><dd><p>Return x.</p><p>More.</p></dd><dt>g</dt><dt>h</dt><dd>both</dd></dl>
<table><tr><th>a<th>b<tr><td><p>x</p><p>y</p><td>q<br>r <b>s</b>t</table>"""
    (section,) = read_file(page, "a.html").sections
    assert section.text.split("\n\n") == [
        "f(x)\nReturn x.",
        "More.",
        "g\nh\nboth",
        "| a | b |\n| --- | --- |\n| x y | q r st |",
    ]


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
