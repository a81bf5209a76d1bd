"""The texts that are read in files of each kind."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.files.tests.readers import files
from retrieval_store.errors import DataLoaderError, InvalidTypeError
from retrieval_store_files import passages_of
from retrieval_store_files.readers import FileText, Section
from retrieval_store_files.readers.files import read_file, reader_name
from retrieval_store_files.readers.markup import read_markdown, read_rst, read_text


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
    with pytest.raises(DataLoaderError, match="isn't a text"):
        read_file(b"\xff\0\x80", "a.rst")


LINES = st.sampled_from(
    ["# One", "## Two ##", "Part", "====", "----", "***", "```", "words and more", "  - item", "", " ",
     "| a | b |", "|---|---|", "\t", "\r", "\x0c", "\u2028", "# ", "#no", "---", "title: x"]
)  # fmt: skip


@given(st.lists(LINES, max_size=30).map("\n".join))
def test_each_section_of_a_text_is_an_exact_part_of_the_file(text):
    file = read_file(text.encode(), "a.md")
    places = [(one.start, one.end) for one in file.sections]
    assert places == sorted(places)
    for one in file.sections:
        assert one.text == text[one.start : one.end] == one.text.strip()
        assert one.text or one.headings


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
    for data, name, message in (
        (b"{", "a.json", "it isn't JSON"),
        (b"\n{", "a.jsonl", "line 2 isn't JSON"),
        (b"[" * 100_000, "a.json", "too deep"),
    ):
        with pytest.raises(DataLoaderError, match=message):
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


def test_notebooks():
    book = read_file(files.NOTEBOOK, "a.ipynb")
    assert texts(book) == [
        (("Waves",), "They come.\n\n```python\n1 + 1\n```\n\n```\n2\n```"),
    ]
    outputs = [
        {"output_type": "stream", "text": ["long " * 1_000]},
        {"output_type": "error", "ename": "KeyError", "evalue": "'tide'", "traceback": ["x"]},
        {"output_type": "display_data", "data": {"image/png": "aGk=", "text/plain": "a figure"}},
    ]
    cells = [{"cell_type": "code", "source": "run()", "outputs": [one]} for one in outputs]
    file = read_file(json.dumps({"cells": cells}).encode(), "a.ipynb")
    assert "KeyError: 'tide'" in file.sections[0].text and "a figure" in file.sections[0].text
    assert file.gaps == (
        "1 output of which only the first 2,000 characters are read",
        "1 output that is a picture",
    )
    with pytest.raises(DataLoaderError, match="isn't a notebook"):
        read_file(b"[]", "a.ipynb")


def test_files_of_old_programs_are_read():
    table = read_file("a,b\nMöwe,1\n".encode("cp1252"), "a.csv")
    assert "| Möwe | 1 |" in table.sections[0].text
    assert table.gaps == ("it isn't in UTF-8, and was read as Windows-1252",)
    program = read_file("# coding: latin-1\nx = 'Möwe'\n".encode("latin-1"), "a.py")
    assert "Möwe" in program.sections[0].text
    lines = read_file(b"1\n{\n2\n", "a.jsonl")
    assert [one.text for one in lines.sections] == ["1", "2"]
    assert len(lines.gaps) == 1 and lines.gaps[0].startswith("line 2 isn't JSON")


def test_quotes_in_cells_are_read_wherever_they_are():
    rows = "".join(f'{i},"plain {i}"\n' for i in range(900))
    table = f'id,text\n{rows}900,"said ""HI"" twice, ok"\n'
    last = read_file(table.encode(), "a.csv").sections[-1].text.split("\n")[-1]
    assert last == '| 900 | said "HI" twice, ok |'


def test_an_apostrophe_quotes_no_cell_of_a_table():
    table = "id,text\n1,'yes'\n2,\"hello, world\"\n"
    (section,) = read_file(table.encode(), "a.csv").sections
    assert section.text.split("\n")[2:] == ["| 1 | 'yes' |", "| 2 | hello, world |"]


def test_a_table_in_a_tsv_file_is_cut_at_tabs_where_it_has_more_commas():
    table = b"1\tBern, Switzerland\n2\tParis, France\n"
    (section,) = read_file(table, "towns.TSV").sections
    assert section.text.split("\n")[::2] == ["| 1 | Bern, Switzerland |", "| 2 | Paris, France |"]
    assert "| a | b |" in read_file(b"a;b\n1;2\n", "a.tsv").sections[0].text


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nIntro about dunnarts.\n\n---\n\n# Title\n\nbody\n",
        "---\n# Slide 1\n\ndunnarts\n\n---\n# Slide 2\n\nmore\n",
        "---\nBetween rules: dunnarts\n---\nrest\n",
        "---\nA sentence about dunnarts.\n---\nrest\n",
        "---\n\nOnly dunnarts.\n\n---\n",
        "---\r\ntitle: x\r\ntags: [dunnarts]\r\n---\r\nrest\r\n",
        "---\ndescription: >\n  about\n  dunnarts\ntitle: x\n---\nrest\n",
        "---\ndate: the day of dunnarts\n---\n",
        "---\n- a list: of\n- dunnarts\n---\n",
    ],
)
def test_text_between_two_rules_is_read(text):
    for reader, name in ((read_markdown, "a.md"), (read_text, "a.txt"), (read_rst, "a.rst")):
        file = reader(text.encode(), name)
        shown = " ".join([*(one.text for one in file.sections), file.title or ""])
        heads = " ".join(heading for one in file.sections for heading in one.headings)
        assert "dunnarts" in shown + heads
        assert all(text[one.start : one.end] == one.text for one in file.sections)


def test_front_matter_is_as_yaml_has_it():
    text = (
        "---\ntitle: >\n  The folded\n  title\nauthor: 'Jane'\nlayout: post\ntags:\n- a\n- b\n"
        "date: 2026-01-02\n---\n\nbody\n"
    )
    file = read_file(text.encode(), "a.md")
    assert (file.title, file.author, file.date) == ("The folded title", "Jane", "2026-01-02")
    assert texts(file) == [((), "layout: post\ntags:\n- a\n- b"), ((), "body")]


def test_headings_of_markdown_are_as_commonmark_has_them():
    text = (
        b"A Long Heading Here\n===\n\none\n\nOther part\n---\n\ntwo\n\n   ## Indented\n\nthree\n\n"
        b"- item\n---\n\nlast words\nof a paragraph\n---\n\n    # code\n"
    )
    assert [one.headings for one in read_file(text, "a.md").sections] == [
        ("A Long Heading Here",),
        ("A Long Heading Here", "Other part"),
        ("A Long Heading Here", "Indented"),
    ]
    short = read_file(b"Long Heading\n===\n\none\n", "a.rst")
    assert [one.headings for one in short.sections] == [()]


@pytest.mark.parametrize(
    "block",
    [
        "````\n```python\n# no heading\n```\n````",
        "```\n```python\n# no heading\n```",
        "~~~~ md\n~~~\n# no heading\n~~~~~",
        "```\n~~~\n# no heading\n```",
        "- one\n\n  ```\n  # no heading\n  ````",
        "- one\n  ```\n  # no heading\n  ``` ([see](there))\n- two",
        "- Example:\n\n  ```makefile\n  all:\n\tcc main.c\n  # no heading\n  ```",
        "- one\n  ```\n  x\n  ```\nText:\n\n  ```\n# no heading\n  ```",
        "* * *\n\n  ```\n# no heading\n  ```",
        "- ```\n  # no heading\n  ```\n- two",
        "1. one\n   ```\n   # no heading\n    ```\n   two",
        "1. one\n\n   ~~~\n   # no heading\n\n   # nor this\n\nafter the list",
        "  ```\n# no heading\n  ```",
    ],
)
def test_a_block_of_code_ends_as_commonmark_has_it(block):
    text = f"# Top\n\nbefore\n\n{block}\n\n## Below\n\nafter"
    file = read_file(text.replace("\n\n## B", "  \n\n## B").encode(), "a.md")
    assert texts(file) == [(("Top",), f"before\n\n{block}"), (("Top", "Below"), "after")]
    longer = f"{block}\n\n" + "word " * 300  # which is cut
    assert passages_of(longer)[0].startswith(block.strip())


def test_a_cell_of_code_may_have_the_marks_of_code_in_it():
    source = ['text = """\n', "```\n", "# no heading\n", "```\n", '"""']
    printed = {"output_type": "stream", "text": ["````\n", "# nor this"]}
    cell = {"cell_type": "code", "source": source, "outputs": [printed]}
    book = json.dumps({"cells": [cell], "metadata": {}})
    ((headings, text),) = texts(read_file(book.encode(), "a.ipynb"))
    assert headings == () and "# no heading" in text and "# nor this" in text


def test_rows_of_tildes_underline_in_rst_and_begin_code_in_markdown():
    text = b"Top\n===\n\nSub\n~~~\n\n# no heading\n"
    assert texts(read_file(text.replace(b"# no", b"no"), "a.rst")) == [
        (("Top", "Sub"), "no heading")
    ]
    assert texts(read_file(text, "a.md")) == [(("Top",), "Sub\n~~~\n\n# no heading")]
    spaces = b"# a" + b" " * 1_000_000 + b"b"  # quickly
    assert len(read_file(spaces, "a.md").sections) == 1
    assert texts(read_file(b"# C#\n\n## Two ##\n\nx", "a.md")) == [(("C#", "Two"), "x")]


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
