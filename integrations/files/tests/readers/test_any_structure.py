"""Whatever is nested into what in a document of Office or a PDF, each word is read, in its order."""

import re

import docx
import openpyxl
import pptx
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.utils import get_column_letter
from pptx.util import Inches

from integrations.files.tests.readers import files
from retrieval_store_files.readers.pdf import read_pdf
from retrieval_store_files.readers.sheets import read_xlsx
from retrieval_store_files.readers.slides import read_pptx
from retrieval_store_files.readers.word import read_docx

WORD = re.compile(r"w\d+w")
FEW = settings(max_examples=40)


class Words:
    """Words of which each is given out once."""

    def __init__(self):
        self.all = []

    def next(self):
        self.all.append(f"w{len(self.all)}w")
        return self.all[-1]


def words_in(file):
    """The words of a file, those of headings once, as they begin."""
    words, before = [], ()
    for section in file.sections:
        if section.headings != before:
            words += [word for heading in section.headings for word in WORD.findall(heading)]
        before = section.headings
        words += WORD.findall(section.text)
    return words


BLOCKS = st.recursive(
    st.sampled_from(["paragraph", "item", "heading 1", "heading 3", "empty", "box", "control"]),
    lambda inner: st.tuples(
        st.just("table"), st.lists(st.lists(st.lists(inner, max_size=2), max_size=3), max_size=3)
    ),
    max_leaves=12,
)


def paragraph(text):
    return f"<w:p {nsdecls('w')}><w:r><w:t>{text}</w:t></w:r></w:p>"


def block_of(block, words):
    """The XML of a block of a document."""
    if isinstance(block, tuple):
        rows = "".join(
            "<w:tr>"
            + "".join(
                f"<w:tc>{''.join(block_of(each, words) for each in cell)}<w:p/></w:tc>"
                for cell in row
            )
            + "</w:tr>"
            for row in block[1]
        )
        return f"<w:tbl {nsdecls('w')}>{rows}</w:tbl>"
    if block == "empty":
        return f"<w:p {nsdecls('w')}/>"
    text = paragraph(words.next())
    if block == "box":
        inside = f"<w:r><w:pict><w:txbxContent>{text}</w:txbxContent></w:pict></w:r>"
        return f"<w:p {nsdecls('w')}>{inside}</w:p>"
    if block == "control":
        return f"<w:sdt {nsdecls('w')}><w:sdtContent>{text}</w:sdtContent></w:sdt>"
    styles = {"item": "ListBullet", "heading 1": "Heading1", "heading 3": "Heading3"}
    style = styles.get(block)
    own = f"<w:pPr><w:pStyle w:val='{style}'/></w:pPr>" if style else ""
    return text.replace("<w:r>", f"{own}<w:r>", 1)


@FEW
@given(st.lists(BLOCKS, max_size=8))
def test_no_word_of_a_document_is_lost(blocks):
    words, document = Words(), docx.Document()
    for block in blocks:
        document.element.body.insert(-1, parse_xml(block_of(block, words)))
    file = read_docx(files.saved(document), "a.docx")
    assert {*words_in(file)} == {*words.all}
    texts = [word for section in file.sections for word in WORD.findall(section.text)]
    assert len(texts) == len({*texts})


SHAPES = st.recursive(
    st.sampled_from(["box", "table", "picture", "title"]),
    lambda inner: st.lists(inner, min_size=1, max_size=3),
    max_leaves=6,
)


def add_shape(shapes, shape, words):
    inch = Inches(1)
    if isinstance(shape, list):
        group = shapes.add_group_shape()
        for each in shape:
            add_shape(group.shapes, each, words)
    elif shape == "table" and hasattr(shapes, "add_table"):
        table = shapes.add_table(2, 2, 0, 0, inch, inch).table
        for i in range(4):
            table.cell(i // 2, i % 2).text = words.next()
    else:
        box = shapes.add_textbox(0, 0, inch, inch)
        box.text_frame.text = words.next()
        box.text_frame.add_paragraph().text = words.next()


@FEW
@given(st.lists(st.tuples(st.booleans(), st.lists(SHAPES, max_size=4)), max_size=4))
def test_no_word_of_slides_is_lost(slides):
    words, show = Words(), pptx.Presentation()
    for has_notes, shapes in slides:
        slide = show.slides.add_slide(show.slide_layouts[5])
        slide.shapes.title.text = words.next()
        for shape in shapes:
            add_shape(slide.shapes, shape, words)
        if has_notes:
            slide.notes_slide.notes_text_frame.text = words.next()
    assert words_in(read_pptx(files.saved(show), "a.pptx")) == words.all


CELLS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 12)), unique=True, max_size=25)


@FEW
@given(st.lists(st.tuples(CELLS, st.booleans()), min_size=1, max_size=3))
def test_no_word_of_a_spreadsheet_is_lost(sheets):
    words, book = Words(), openpyxl.Workbook()
    for number, (cells, is_hidden) in enumerate(sheets):
        sheet = book.create_sheet(f"S{number}")
        sheet.sheet_state = "hidden" if is_hidden else "visible"
        for row, column in sorted(cells):
            sheet.cell(row, column).value = words.next()
        if cells and min(cells) == (1, 1):  # a cell that takes three places
            below = {row for row, column in cells if column == 1} - {1}
            if not below & {2, 3}:
                sheet.merge_cells(f"A1:{get_column_letter(1)}3")
    file = read_xlsx(files.saved(book), "a.xlsx")
    assert {*words_in(file)} == {*words.all}


@FEW
@given(st.lists(st.lists(st.integers(0, 6), max_size=8), min_size=1, max_size=6))
def test_no_word_of_a_pdf_is_lost(pages):
    words = Words()
    lines = [[" ".join(words.next() for _ in range(count)) for count in page] for page in pages]
    data = files.pdf(*("\n".join(page) if any(page) else None for page in lines))
    file = read_pdf(data, "a.pdf")
    assert words_in(file) == words.all
    assert all(section.page is not None for section in file.sections)
