"""Each word of a file, of any kind and structure, is in a passage, or counted in a gap."""

import csv
import email.message
import io
import json
import re

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pptx.util import Inches

from integrations.files.tests.readers import files, packages
from retrieval_store import plugins
from retrieval_store_files.readers import file_text
from retrieval_store_files.readers.passages import cutter_of

# The parts of a file, each with its numbers of words: a heading of a level, a paragraph, the items
# of a list, the rows of a table, the lines of a block of code, a link, a note, and hidden text
# where a format has it.
NUMBER = st.integers(1, 12)
BLOCK = st.one_of(
    st.tuples(st.just("heading"), st.integers(1, 6), st.one_of(NUMBER, st.integers(13, 200))),
    st.tuples(st.just("paragraph"), st.one_of(NUMBER, st.integers(13, 200))),
    st.tuples(st.just("list"), st.lists(NUMBER, min_size=1, max_size=4)),
    st.tuples(
        st.just("table"),
        st.integers(1, 3).flatmap(
            lambda width: st.lists(
                st.lists(st.integers(0, 3), min_size=width, max_size=width), min_size=1, max_size=4
            )
        ),
    ),
    st.tuples(st.just("code"), st.lists(NUMBER, min_size=1, max_size=4)),
    st.tuples(st.just("link"), NUMBER),
    st.tuples(st.just("note"), NUMBER),
    st.tuples(st.just("hidden"), NUMBER),
)
LETTERS = ["w", "é", "Ж", "ł", "ß"]


class Words:
    """Words, each of which is used once."""

    def __init__(self, letter):
        self.all, self._letter = [], letter

    def next(self, number):
        """The next `number` words, in a line."""
        start = len(self.all)
        self.all += [f"{self._letter}{start + i}x" for i in range(number)]
        return " ".join(self.all[start:])

    def fill(self, counts):
        """Words instead of their numbers, in lists of any depth."""
        if isinstance(counts, str):
            return counts
        return self.next(counts) if isinstance(counts, int) else [*map(self.fill, counts)]

    def blocks(self, blocks):
        """The blocks with words."""
        return [
            (kind, *what[:1], self.next(what[1]))
            if kind == "heading"
            else (kind, self.fill(what[0]))
            for kind, *what in blocks
        ]


def lines_of(written, between="\n\n"):
    """A writer of a text, made from a writer of one block."""
    return lambda blocks: between.join(written(*block) for block in blocks).encode()


def markdown(kind, *what):
    text = what[-1]
    if kind == "heading":
        return f"{text}\n{'=-'[what[0] % 2] * 5}" if what[0] > 4 else f"{'#' * what[0]} {text}"
    if kind == "list":
        return "\n".join(f"- {item}" for item in text)
    if kind == "table":
        rows = [f"| {' | '.join(row)} |" for row in text]
        return "\n".join([rows[0], f"|{' --- |' * len(text[0])}", *rows[1:]])
    if kind == "code":
        return "\n".join(["```", *(f"# {line}" for line in text), "```"])
    return {"link": "[{}](https://example.com)", "note": "[^1]: {}", "hidden": "<!-- {} -->"}.get(
        kind, "{}"
    ).format(text)


def restructured(kind, *what):
    text = what[-1]
    if kind == "heading":
        return f"{text}\n{'=-~^+*'[what[0] - 1] * len(text)}"
    if kind == "table":
        return "\n".join([f"   * - {'     - '.join(f'{cell} ' for cell in row)}" for row in text])
    if kind == "code":
        return "\n".join(["::", "", *(f"    {line}" for line in text)])
    return {"note": ".. [1] {}", "hidden": ".. {}"}.get(kind, markdown(kind, *what)).format(text)


def asciidoc(kind, *what):
    text = what[-1]
    if kind == "heading":
        return f"{'=' * what[0]} {text}"
    if kind == "table":
        return "\n".join(["|===", *("".join(f"|{cell} " for cell in row) for row in text), "|==="])
    if kind == "code":
        return "\n".join(["----", *text, "----"])
    return {"note": "Text.footnote:[{}]", "hidden": "// {}"}.get(
        kind, markdown(kind, *what)
    ).format(text)


def org(kind, *what):
    text = what[-1]
    if kind == "heading":
        return f"{'*' * what[0]} {text}"
    if kind == "code":
        return "\n".join(["#+begin_src", *text, "#+end_src"])
    return {"note": "[fn:1] {}", "hidden": "# {}"}.get(kind, markdown(kind, *what)).format(text)


def latex(kind, *what):
    text = what[-1]
    if kind == "heading":
        names = ["part", "chapter", "section", "subsection", "subsubsection", "paragraph"]
        return f"\\{names[what[0] - 1]}{{{text}}}"
    if kind == "list":
        items = "\n".join(f"\\item {item}" for item in text)
        return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"
    if kind == "table":
        return " \\\\\n".join(" & ".join(row) for row in text)
    if kind == "code":
        return "\n".join(["\\begin{verbatim}", *text, "\\end{verbatim}"])
    shapes = {
        "link": "\\href{{https://example.com}}{{{}}}",
        "note": "x\\footnote{{{}}}",
        "hidden": "%{}",
    }
    return shapes.get(kind, "{}").format(text)


def html_of(kind, *what):
    text = what[-1]
    if kind == "heading":
        return f"<h{what[0]}>{text}</h{what[0]}>"
    if kind == "list":
        return f"<ul>{''.join(f'<li>{item}</li>' for item in text)}</ul>"
    if kind == "table":
        rows = ("".join(f"<td>{cell}</td>" for cell in row) for row in text)
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
    if kind == "code":
        return "<pre>" + "\n".join(text) + "</pre>"
    shapes = {
        "link": '<a href="https://example.com">{}</a>',
        "note": "<aside><details><summary>Note</summary>{}</details></aside>",
        "hidden": '<div hidden="">{}</div>',
    }
    return shapes.get(kind, "<p>{}</p>").format(text)


def page(blocks):
    """A page without optional tags."""
    return "<!doctype html><title>t</title>" + "\n".join(html_of(*block) for block in blocks)


def book(blocks):
    """Each block in its own chapter, or all in one."""
    chapters = {f"{i}.xhtml": html_of(*block) for i, block in enumerate(blocks)}
    return packages.book(chapters if len(blocks) % 2 else {"a.xhtml": "".join(chapters.values())})


def mail(blocks, is_page=False):
    made = email.message.EmailMessage()
    made["Subject"], made["From"], made["To"] = "s", "a@example.com", "b@example.com"
    text = "\n\n".join(markdown(*block) for block in blocks)
    made.set_content(text)
    if is_page:
        made.set_content(page(blocks), subtype="html")
    return made.as_bytes()


def mails(blocks):
    """Each block in its own mail."""
    return b"".join(
        b"From a@example.com Mon Jan  1 00:00:00 2024\n%b\n\n" % mail([block], i % 2)
        for i, block in enumerate(blocks)
    )


def outlook(blocks):
    text = "\r\n".join(markdown(*block) for block in blocks)
    return packages.outlook({0x37: "s", 0x1000: text} if text else {0x37: "s"})


def texts_in(block):
    """The texts of a block, row by row."""
    kind, *what = block
    inner = what[-1]
    if isinstance(inner, str):
        return [[inner]]
    return inner if kind == "table" else [[item] for item in inner]


def rows_of(blocks):
    return [row for block in blocks for row in texts_in(block)]


def table(blocks):
    out = io.StringIO()
    csv.writer(out).writerows(rows_of(blocks))
    return out.getvalue().encode()


def nested(blocks):
    """Nested objects, one for each block, as its type and values."""
    made = []
    for kind, *what in reversed(blocks):
        made = [{"kind": kind, "values": what}, {"more": made}]
    return made


def notebook(blocks):
    cells = [
        {"cell_type": "code", "source": "\n".join(block[1]), "outputs": [], "metadata": {}}
        if block[0] == "code"
        else {"cell_type": "markdown", "source": [markdown(*block)], "metadata": {}}
        for block in blocks
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}).encode()


def program(blocks):
    """A block as a function with a comment above, or as a docstring."""
    out = []
    for i, block in enumerate(blocks):
        lines = [" ".join(row) for row in texts_in(block)]
        if i % 2:
            out += [f"def f{i}():", '    """', *(f"    {line}" for line in lines), '    """', ""]
        else:
            out += [*(f"# {line}" for line in lines), f"x{i} = 1", ""]
    return "\n".join(out).encode()


def subtitles(blocks):
    times = "00:00:{:02},000 --> 00:00:{:02},500"
    return "\n\n".join(
        "\n".join(
            [str(i), times.format(i % 60, i % 60), *(" ".join(row) for row in texts_in(block))]
        )
        for i, block in enumerate(blocks)
    ).encode()


def xml(blocks):
    return f"<a>{''.join(html_of(*block) for block in blocks)}</a>".encode()


def document(blocks):
    made = docx.Document()
    for kind, *what in blocks:
        text = what[-1]
        if kind == "heading":
            made.add_heading(text, what[0])
        elif kind == "list":
            for item in text:
                made.add_paragraph(item, style="List Bullet")
        elif kind == "table":
            cells = made.add_table(len(text), len(text[0]))
            for i, row in enumerate(text):
                for j, cell in enumerate(row):
                    cells.cell(i, j).text = cell
        elif kind == "note":
            made.add_comment(made.add_paragraph("x").runs, text=text, author="a")
        elif kind == "link":
            run = f"<w:r><w:t>{text}</w:t></w:r>"
            link = f"<w:p {nsdecls('w')}><w:hyperlink w:anchor='a'>{run}</w:hyperlink></w:p>"
            made.element.body.insert(-1, parse_xml(link))
        else:
            made.add_paragraph("\n".join(text) if kind == "code" else text)
    return files.saved(made)


def show(blocks):
    """A slide for each block, with its text in the title, a box, a table or the notes."""
    made, inch = pptx.Presentation(), Inches(1)
    for kind, *what in blocks:
        text = what[-1]
        slide = made.slides.add_slide(made.slide_layouts[5])
        if kind == "heading":
            slide.shapes.title.text = text
        elif kind == "table":
            cells = slide.shapes.add_table(len(text), len(text[0]), 0, 0, inch, inch).table
            for i, row in enumerate(text):
                for j, cell in enumerate(row):
                    cells.cell(i, j).text = cell
        elif kind == "note":
            slide.notes_slide.notes_text_frame.text = text
        else:
            box = slide.shapes.add_textbox(0, 0, inch, inch)
            box.text_frame.text = text if isinstance(text, str) else "\n".join(text)
    return files.saved(made)


def workbook(blocks):
    """A sheet for each block, named by its first word."""
    made = openpyxl.Workbook()
    for i, block in enumerate(blocks):
        sheet = made.create_sheet(f"S{i}")
        for row in texts_in(block):
            sheet.append(row)
        if block[0] == "hidden":
            sheet.sheet_state = "hidden"
    return files.saved(made)


def old_workbook(blocks):
    sheets = {f"S{i}": packages.cells(texts_in(block)) for i, block in enumerate(blocks)}
    return packages.ole({"Workbook": packages.old_excel(sheets or {"S": b""})})


def open_text(kind, *what):
    text = what[-1]
    if kind == "heading":
        return f'<text:h text:outline-level="{what[0]}">{text}</text:h>'
    if kind == "list":
        items = (f"<text:list-item><text:p>{item}</text:p></text:list-item>" for item in text)
        return f"<text:list>{''.join(items)}</text:list>"
    if kind == "table":
        return open_table(text)
    if kind == "code":
        return f"<text:p>{'<text:line-break/>'.join(text)}</text:p>"
    if kind == "note":
        body = f"<text:note-body><text:p>{text}</text:p></text:note-body>"
        return f'<text:p>x<text:note text:note-class="footnote">{body}</text:note></text:p>'
    if kind == "link":
        return f'<text:p><text:a xlink:href="https://example.com">{text}</text:a></text:p>'
    return f"<text:p>{text}</text:p>"


def open_table(rows, name="T"):
    cells = (
        "".join(f"<table:table-cell><text:p>{cell}</text:p></table:table-cell>" for cell in row)
        for row in rows
    )
    inside = "".join(f"<table:table-row>{row}</table:table-row>" for row in cells)
    return f'<table:table table:name="{name}">{inside}</table:table>'


def open_slide(*block):
    lines = "".join(f"<text:p>{' '.join(row)}</text:p>" for row in texts_in(block))
    frame = f"<draw:frame><draw:text-box>{lines}</draw:text-box></draw:frame>"
    if block[0] == "note":
        frame = f"<presentation:notes>{frame}</presentation:notes>"
    return f"<draw:page>{frame}</draw:page>"


def open_kind(kind, written):
    return lambda blocks: packages.open_document("".join(written(*b) for b in blocks), kind)


def rich_text(blocks):
    styles = "".join(f"{{\\s{i}\\outlinelevel{i - 1} heading {i};}}" for i in range(1, 7))
    body = []
    for kind, *what in blocks:
        text = what[-1]
        if kind == "heading":
            body.append(f"\\pard\\s{what[0]}\\outlinelevel{what[0] - 1} {text}\\par")
        elif kind == "table":
            for row in text:
                body.append(
                    "\\trowd" + "".join(f"\\cellx{1000 * i}" for i in range(1, len(row) + 1))
                )
                body.append("".join(f"\\intbl {cell}\\cell " for cell in row) + "\\row\\pard ")
        elif kind == "note":
            body.append(f"\\pard x{{\\footnote {text}}}\\par")
        elif kind == "link":
            field = '{\\field{\\*\\fldinst HYPERLINK "https://example.com"}'
            body.append(f"\\pard {field}{{\\fldrslt {text}}}}}\\par")
        else:
            lines = [text] if isinstance(text, str) else text
            body.append("\\pard " + "\\line ".join(lines) + "\\par")
    made = f"{{\\rtf1\\ansi\\uc0{{\\stylesheet{styles}}}" + "\n".join(body) + "}"
    return "".join(letter if letter.isascii() else f"\\u{ord(letter)} " for letter in made).encode()


def printed(blocks):
    """Pages of lines, of ASCII."""
    words = " ".join(" ".join(row) for row in rows_of(blocks)).split()
    lines = [" ".join(words[at : at + 12]) for at in range(0, len(words), 12)]
    return files.pdf(*("\n".join(lines[at : at + 40]) for at in range(0, len(lines) or 1, 40)))


WRITERS = {
    "txt": lines_of(markdown),
    "md": lines_of(markdown),
    "rst": lines_of(restructured),
    "html": lambda blocks: page(blocks).encode(),
    "py": program,
    "code": lambda blocks: "\n".join(" ".join(row) for row in rows_of(blocks)).encode(),
    "json": lambda blocks: json.dumps(nested(blocks), ensure_ascii=len(blocks) % 2 == 0).encode(),
    "jsonl": lambda blocks: "\n".join(json.dumps(block) for block in blocks).encode(),
    "csv": table,
    "ipynb": notebook,
    "adoc": lines_of(asciidoc),
    "docx": document,
    "eml": lambda blocks: mail(blocks, is_page=len(blocks) % 2 == 0),
    "epub": book,
    "mbox": mails,
    "msg": outlook,
    "odp": open_kind("presentation", open_slide),
    "ods": open_kind("spreadsheet", lambda *block: open_table(texts_in(block))),
    "odt": open_kind("text", open_text),
    "org": lines_of(org),
    "pdf": printed,
    "pptx": show,
    "rtf": rich_text,
    "srt": subtitles,
    "tex": lines_of(latex),
    "xls": old_workbook,
    "xlsx": workbook,
    "xml": xml,
}
COUNTED = re.compile(r"([\d,]+) words?\b")


def test_files_of_each_kind_are_written_here():
    assert {*WRITERS} == {*plugins.BROUGHT[plugins.READERS]}


@pytest.mark.parametrize("kind", WRITERS)
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    blocks=st.lists(BLOCK, max_size=7),
    letter=st.sampled_from(LETTERS),
    longest=st.sampled_from([16, 60, 200]),
)
def test_each_word_of_a_file_is_in_a_passage_or_in_a_gap(kind, blocks, letter, longest):
    words = Words("w" if kind == "pdf" else letter)
    data = WRITERS[kind](words.blocks(blocks))
    file = file_text(plugins.load(plugins.READERS, kind)(data, f"a.{kind}"), kind)
    passages = cutter_of(None, longest).passages(file, "a")
    text = " ".join(passage.text for passage in passages)
    lost = {*words.all} - {*re.findall(r"\w+", text.replace("_", " "))}
    named = sum(int(number.replace(",", "")) for number in COUNTED.findall(" ".join(file.gaps)))
    assert len(lost) <= named, (sorted(lost)[:5], file.gaps)
