"""Files in unusual forms that few programs write: all their text is read, once."""

import csv
import io
import zipfile
from contextlib import closing

import docx
import numpy as np
import pyarrow.parquet
import pytest

import retrieval_store
from retrieval_store.qdrant import QdrantClient, models
from retrieval_store_files import export_arrays, export_parquet, passages_of, read_folder
from retrieval_store_files.readers.data import read_csv
from retrieval_store_files.readers.files import read_file
from retrieval_store_files.readers.pdf import _sections_of_pages
from retrieval_store_files.readers.sheets import _OF_FORMAT, _UNSTORED
from retrieval_store_files.readers.word import _WITH_MACROS
from tests.helpers.real_qdrant import qdrant


def lines(*parts):
    return "\n".join(parts).encode()


PICTURE = rb"{\pict\wbitmap0\bin500 " + b"f" * 500 + rb"}"
NESTED = lines(
    "Subject: s",
    'Content-Type: multipart/alternative; boundary="a"',
    "",
    "--a",
    "Content-Type: text/plain",
    "",
    "the plain text, which is as long as the other one",
    "--a",
    'Content-Type: multipart/mixed; boundary="b"',
    "",
    "--b",
    "Content-Type: text/html",
    "",
    "<p>the other text</p>",
    "--b",
    'Content-Disposition: attachment; filename="a.pdf"',
    "Content-Type: application/pdf",
    "",
    "x",
    "--b--",
    "--a--",
)
BOUNCE = lines(
    "Subject: failed",
    'Content-Type: multipart/report; boundary="a"',
    "",
    "--a",
    "Content-Type: message/delivery-status",
    "",
    "Reporting-MTA: dns; here",
    "",
    "Final-Recipient: rfc822; jane@example.com",
    "Status: 5.1.1",
    "--a--",
)
TABLE = (
    b"<table><tr><td>a<td>b</tr><p>between</p><tr><td>c<td>d</tr>"
    b"<form><tr><td>left<td>right</tr></form></table>"
)
NOTEBOOK = (
    b'{"cells": [{"cell_type": "raw", "source": "---\\ntitle: T\\nauthor: Jane Roe\\n---"},'
    b' {"cell_type": "markdown", "source": "text"}]}'
)
# The name of a file, its content, and the text that is read in it.
TEXTS = {
    "xml that says utf-16": (
        "a.xml", b'<?xml version="1.0" encoding="utf-16"?><a>hello world1</a>', ["hello world1"],
    ),
    "behind a binary picture": (
        "a.rtf", rb"{\rtf1\ansi Before\par" + PICTURE + rb"After it\par}", ["Before", "After it"],
    ),
    "tabs behind numbers": (
        "a.rtf", rb"{\rtf1\ansi Article 5.\tab Payment\par see no.\tab x\par}",
        ["Article 5.", "see no."],
    ),
    "an alternative without a boundary": (
        "a.eml", b"Subject: s\nContent-Type: multipart/alternative\n\nHello there\n", ["Hello there"],
    ),
    "what a server says": ("a.eml", BOUNCE, ["Final-Recipient: rfc822; jane@example.com", "5.1.1"]),
    "quotes of Windows": (
        "a.eml", b"Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\n"
        b"\x93quoted\x94 10 \x80", ["\u201cquoted\u201d 10 \u20ac"],
    ),
    "what strays in a table": ("a.html", TABLE, ["between", "left", "right"]),
    "a break in code": ("a.html", b"<code>install a<br>python b.py</code>", ["install a python"]),
    "lines of code": ("a.html", b"<pre><div>one</div><div>two</div></pre>", ["one\ntwo"]),
    "comments alone": ("a.html", b"<!-- x -->", []),
}  # fmt: skip


@pytest.mark.parametrize("what", TEXTS)
def test_declared_texts_are_read(what):
    name, data, texts = TEXTS[what]
    file = read_file(data, name)
    shown = "\n".join(section.text for section in file.sections)
    assert all(text in shown for text in texts), shown


def test_hidden_parts_attached_to_a_text_are_named():
    assert read_file(NESTED, "a.eml").gaps == ("the attachment 'a.pdf' isn't read",)


def test_one_odd_mail_leaves_the_others_of_a_mailbox():
    odd = b"From x\nDate: 1 Jan 99999999999 00:00:00 +0000\n\nodd\n\n"
    file = read_file(odd + b"From y\nSubject: s\n\nthe other\n", "a.mbox")
    assert "the other" in [section.text for section in file.sections]


HEADINGS = {
    "# A\n\n```pip install x```\n\n## B\n\nb\n\n```sh\n# comment\nls\n```\n\n## C\n\nc": "A B C",
    "# A\n\n~~~\nls\n~~~\n\nend": "A",
    "---\n# Site settings\ntitle: Foo\n---\n# A\nhello": "A",
}


@pytest.mark.parametrize("text", HEADINGS)
def test_code_and_front_matter_have_no_headings(text):
    file = read_file(text.encode(), "a.md")
    assert [section.headings[-1] for section in file.sections if section.headings] == (
        HEADINGS[text].split()
    )


def test_blocks_of_code_in_asciidoc_may_be_of_any_language():
    text = b"= T\n\n== A\n\n```c++\n== no heading\n```\n\n== B\n\nb\n"
    names = {section.headings[-1] for section in read_file(text, "a.adoc").sections}
    assert {"A", "B"} <= names and "no heading" not in names


def test_comments_in_front_matter_belong_to_no_field():
    text = b"---\ntitle: My page\n# draft: true\ndate: 2024-01-01\n# x\n---\nhello"
    file = read_file(text, "a.md")
    assert (file.title, file.date) == ("My page", "2024-01-01")
    assert "# draft: true" in "\n".join(section.text for section in file.sections)
    notebook = read_file(NOTEBOOK, "a.ipynb")
    assert (notebook.title, notebook.author) == ("T", "Jane Roe")


def test_the_title_of_rtf_is_read_in_its_code_page():
    data = rb"{\rtf1\ansi\ansicpg1251{\info{\title \'cf\'f0\'e8\'e2\'e5\'f2}}text\par}"
    assert read_file(data, "a.rtf").title == "\u041f\u0440\u0438\u0432\u0435\u0442"


def test_a_page_continues_below_the_last_heading():
    marks = {1: [("Chapter 1",), ("Chapter 1", "Introduction")]}
    sections = [*_sections_of_pages(["CHAPTER ONE\nIntroduction\nfoo", "bar"], marks)]
    assert sections[-1].headings == ("Chapter 1", "Introduction") and sections[-1].page == 2


def test_documents_with_macros_are_read():
    written, changed = io.BytesIO(), io.BytesIO()
    document = docx.Document()
    document.add_paragraph("text beside macros")
    document.save(written)
    plain = b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content.replace(plain, _WITH_MACROS.encode()))
    (section,) = read_file(changed.getvalue(), "a.docm").sections
    assert section.text == "text beside macros"


def test_excluded_links_to_folders_are_not_reported_as_unreadable(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("text")
    (tmp_path / "docs" / "linked").symlink_to(tmp_path)
    reports = []
    for exclude in ("linked", ()):
        [*read_folder(tmp_path / "docs", exclude=exclude, on_unreadable=reports.append)]
    assert [file.why for file in reports] == ["it is a link, which isn't followed"]


def test_formulas_without_a_value_are_distinguished_from_empty_texts():
    assert _UNSTORED.search(b'<c r="A1"><f>1+1</f><v /></c>')
    assert not _UNSTORED.search(b'<c r="A1" t="str"><f>IF(1,"")</f><v></v></c>')
    assert _OF_FORMAT.sub("", '&LQuarterly &C&"Arial,Bold"&12Report') == "Quarterly Report"


def test_a_long_row_of_full_stops_is_cut_in_no_time_to_speak_of():
    assert len(" ".join(passages_of(". " * 100_000)).split()) == 100_000


def test_vectors_after_a_first_batch_without_any_are_exported_from_a_cluster(tmp_path):
    with qdrant() as points:
        things = retrieval_store.Client(qdrant_client=points).create_collection(
            "things", embedding_function=None
        )
        things.add(ids=["a", "b", "c", "d"], embeddings=[[1.0, 0.0]] * 4)
        found = points.scroll("things")[0]
        bare = [point.id for point in found if point.payload["_id"] != "d"]
        points.delete_vectors("things", ["embedding"], bare)
        export_arrays(things, tmp_path / "arrays", batch=2)
    matrix = np.load(tmp_path / "arrays" / "embeddings.npy")
    assert matrix.shape == (4, 2) and np.isnan(matrix).any(axis=1).tolist() == [1, 1, 1, 0]


def test_vectors_that_come_after_a_first_batch_without_are_exported(tmp_path):
    with closing(QdrantClient(path=str(tmp_path / "store"))) as points:
        points.create_collection("things", models.VectorParams(size=3, distance="Dot"))
        bare = [models.PointStruct(id=i, vector={}) for i in range(3)]
        points.upsert("things", [*bare, models.PointStruct(id=9, vector=[1.0, 2.0, 3.0])])
    with retrieval_store.Client(tmp_path / "store") as client:
        things = client.get_collection("things", None)
        export_arrays(things, tmp_path / "arrays", batch=2)
        export_parquet(things, tmp_path / "things.parquet", batch=2)
    matrix = np.load(tmp_path / "arrays" / "embeddings.npy")
    assert np.isnan(matrix[:3]).all() and matrix[3].tolist() == [1.0, 2.0, 3.0]
    column = pyarrow.parquet.read_table(tmp_path / "things.parquet")["embedding"].to_pylist()
    assert column == [None, None, None, [1.0, 2.0, 3.0]]


def test_each_item_of_a_long_list_is_numbered_without_counting_those_before():
    items = "".join(f"<li>thing {i}</li>" for i in range(1, 5_001))
    (section,) = read_file(f"<ol>{items}<li value=9>last</ol>".encode(), "a.html").sections
    assert section.text.startswith("1. thing 1\n") and section.text.endswith("9. last")
    assert "\n5000. thing 5000\n" in section.text.replace("\n\n", "\n")


def test_a_table_of_very_many_columns_is_recognized_by_the_first(monkeypatch):
    sampled, sniff = [], csv.Sniffer.sniff

    def noted(self, sample, delimiters):
        sampled.append(len(sample))
        return sniff(self, sample, delimiters)

    monkeypatch.setattr(csv.Sniffer, "sniff", noted)
    names = ";".join(f"column {i}" for i in range(20_000))
    text = f"{names}\n{';'.join(['1,5'] * 20_000)}\n"
    sections = read_csv(text.encode(), "a.csv").sections  # in this process
    assert sections[0].text.startswith("| column 0 | column 1 |")
    assert sampled and max(sampled) <= 30_000


def test_a_table_of_a_megabyte_is_recognized_by_its_beginning():
    text = "name;load\n" + "".join(f'"ship; {i}";{i}\n' for i in range(60_000))
    sections = read_file(text.encode(), "a.csv").sections
    assert "| name | load |" in sections[0].text and "| ship; 59999 | 59999 |" in sections[-1].text
