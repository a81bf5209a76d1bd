"""However parts of a Word document are nested, each word is read once."""

import re

import docx
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.files.tests.readers import files
from retrieval_store_files.readers.word import read_docx

WORD = re.compile(r"w\d+w")
FEW = settings(max_examples=40)


class Words:
    """Words, each of which is used once."""

    def __init__(self):
        self.all = []

    def next(self):
        self.all.append(f"w{len(self.all)}w")
        return self.all[-1]


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
    headings = " ".join(" ".join(section.headings) for section in file.sections)
    texts = [word for section in file.sections for word in WORD.findall(section.text)]
    assert {*texts, *WORD.findall(headings)} == {*words.all}
    assert len(texts) == len({*texts})
