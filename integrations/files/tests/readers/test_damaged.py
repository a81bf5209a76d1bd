"""Errors for damaged files, and files that other programs write slightly differently."""

import io
import random
import re
import zipfile

import docx
import openpyxl
import pptx
import pytest

from integrations.files.tests.readers import files, packages
from integrations.files.tests.readers.files import saved
from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers.files import read_file, text_of_bytes


def word():
    document = docx.Document()
    document.core_properties.title = "Rules"
    document.add_paragraph("harbour rules")
    return saved(document)


def sheet():
    book = openpyxl.Workbook()
    book.properties.title = "Rules"
    book.active.append(["harbour rules", 1.5])
    return saved(book)


def slides():
    presentation = pptx.Presentation()
    presentation.core_properties.title = "Rules"
    slide = presentation.slides.add_slide(presentation.slide_layouts[1])
    slide.shapes.title.text = "harbour rules"
    return saved(presentation)


MAKERS = {
    "docx": word,
    "xlsx": sheet,
    "pptx": slides,
    "odt": lambda: packages.open_document("<text:p>harbour rules</text:p>"),
    "epub": lambda: packages.book({"a.xhtml": "<p>harbour rules</p>"}),
}


def rewritten(data, name_of=str, content_of=lambda name, content: content):
    """A zip with other names and contents of its parts; None leaves one out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for part in old.infolist():
            content = content_of(part.filename, old.read(part))
            if content is not None:
                info = zipfile.ZipInfo("x")
                info.filename = name_of(part.filename)
                new.writestr(info, content)
    return out.getvalue()


@pytest.mark.parametrize("ending", MAKERS)
@pytest.mark.parametrize(
    "name_of",
    [
        lambda name: name.replace("/", "\\"),
        str.upper,
        str.lower,
        lambda name: "/".join(part[:1].swapcase() + part[1:] for part in name.split("/")),
        lambda name: name.replace("/", "\\").title(),
    ],
    ids=["backslashes", "capitals", "small letters", "first letters", "both"],
)
def test_parts_may_be_named_with_backslashes_or_in_another_case(ending, name_of):
    data = MAKERS[ending]()
    plain = read_file(data, f"a.{ending}")
    assert read_file(rewritten(data, name_of), f"a.{ending}") == plain
    assert "harbour rules" in str(plain)


@pytest.mark.parametrize("ending", ["docx", "xlsx", "pptx"])
def test_references_may_spell_names_of_parts_differently(ending):
    def otherwise(name, content):
        if name.endswith(".rels") or name.startswith("["):
            content = re.sub(
                rb'((?:Target|PartName)=")([^":]*")',
                lambda match: match[1] + match[2].replace(b"/", b"\\").swapcase(),
                content,
            )
        return content

    data = MAKERS[ending]()
    assert read_file(rewritten(data, content_of=otherwise), f"a.{ending}") == read_file(
        data, f"a.{ending}"
    )


def test_of_two_parts_that_differ_by_case_alone_the_exact_one_is_read():
    data = packages.book({"a.xhtml": "<p>small</p>", "A.xhtml": "<p>capital</p>"})
    text = " ".join(section.text for section in read_file(data, "a.epub").sections)
    assert "small" in text and "capital" in text


# Parts of Python's messages, which say nothing about the file.
OF_PYTHON = re.compile(
    r"\b(?:KeyError|ValueError|TypeError|AttributeError|IndexError|AssertionError|NoneType|int\(\)|"
    r"codec can't decode|subscriptable|object has no|unpack requires|out of range|Traceback)|: *$"
)


@pytest.mark.parametrize("ending", MAKERS)
@pytest.mark.parametrize("seed", range(3))
def test_the_report_of_a_damaged_part_names_it(process, ending, seed):
    rng = random.Random(seed)
    data = MAKERS[ending]()
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        names = package.namelist()
    for damaged in rng.sample(names, min(len(names), 12)):

        def damage(name, content, damaged=damaged):
            if name != damaged:
                return content
            way = rng.randrange(4)
            if way == 0:
                return None
            if way == 1:
                return b""
            if way == 2:
                return content[: rng.randrange(len(content) + 1)]
            return re.sub(rb'="[^"]*"', b'=""', content, count=rng.randrange(1, 20))

        try:
            text_of_bytes(rewritten(data, content_of=damage), f"a.{ending}", process)
        except DataLoaderError as error:
            assert not OF_PYTHON.search(str(error)), str(error)
            assert re.search(r"'[^']+'|isn't OpenDocument|isn't an EPUB|container", str(error))


@pytest.mark.parametrize("ending", [*MAKERS, "pdf", "rtf", "xls", "msg", "ipynb", "mbox"])
def test_files_that_are_truncated_or_have_wrong_bytes_are_reported(process, ending):
    others = {
        "pdf": lambda: files.pdf("harbour rules"),
        "rtf": lambda: rb"{\rtf1\ansi{\info{\title T}}\uc1 Harbour \u8217? rules\par}",
        "xls": lambda: packages.old_excel({"A": b""}),
        "msg": lambda: packages.ole({"a": b"x" * 5_000}),
        "ipynb": lambda: b'{"cells": [{"cell_type": "markdown", "source": "x"}]}',
        "mbox": lambda: b"From a Thu Jan  1 00:00:00 2026\nSubject: s\n\nhello\n",
    }
    data = {**MAKERS, **others}[ending]()
    rng = random.Random(ending)
    for _ in range(15):
        wrong = bytearray(data[: rng.randrange(len(data))] if rng.random() < 0.5 else data)
        for _ in range(rng.randrange(8) if wrong else 0):
            wrong[rng.randrange(len(wrong))] = rng.randrange(256)
        try:
            text_of_bytes(bytes(wrong), f"a.{ending}", process)
        except DataLoaderError as error:
            assert not OF_PYTHON.search(str(error)), str(error)


def test_a_part_that_is_missing_or_damaged_is_named():
    def without(part):
        return rewritten(sheet(), content_of=lambda name, data: None if name == part else data)

    with pytest.raises(DataLoaderError, match="it has no 'xl/workbook.xml' in it; if Office or"):
        read_file(without("xl/workbook.xml"), "a.xlsx")
    damaged = rewritten(
        sheet(),
        content_of=lambda name, data: data.replace(b'r="A1"', b'r="x"'),
    )
    with pytest.raises(DataLoaderError, match="'xl/worksheets/sheet1.xml' is damaged; if Office"):
        read_file(damaged, "a.xlsx")
    with pytest.raises(DataLoaderError, match="has no list of 'cells'; `jupyter nbconvert"):
        read_file(b'{"worksheets": []}', "a.ipynb")


@pytest.mark.parametrize(
    "control",
    [
        r"\bin ", r"\bin", r"\uc ", r"\uc", r"\uc-1 ", r"\ansicpg ", r"\ansicpg0 ", r"\u ", r"\f ",
        r"\deff ", r"\fs ", r"\bin99999 ", r"\binfsxn2 ", r"\uc99999999999999 ", r"\li ", r"\s ",
        r"\outlinelevel ", r"{\pict\jpegblip \bin ffd8}", r"{\pict\binsxn2 ffd8}",
        r"{\fonttbl{\f \fcharset A;}}", r"{\fonttbl{\f0\fcharset83 A;}}\f0 ", r"{\stylesheet{\s }}",
        r"{\creatim\yr\mo\dy}", r"{\colortbl\red\green;}", r"\trowd\cellx ",
    ],
)  # fmt: skip
def test_a_control_word_without_its_number_loses_nothing_else(control):
    source = (
        rf"{{\rtf1\ansi {control}{{\pard Harbour rules \u8217?\par}}{{\pard Boats \'e9.\par}}}}"
    )
    text = " ".join(section.text for section in read_file(source.encode(), "a.rtf").sections)
    assert "Harbour rules ’" in text and "Boats" in text


def test_numbers_beyond_unicode_are_replaced_and_shown_backslashes_stay():
    source = rb"{\rtf1\ansi a\u99999999?b\u-99999?c C:\\bin\\uc x\par}"
    (section,) = read_file(source, "a.rtf").sections
    assert section.text == "a\ufffdb\ufffdc C:\\bin\\uc x"


def test_letters_of_fonts_of_the_macintosh_are_read():
    source = (
        rb"{\rtf1\mac{\fonttbl{\f0\fcharset89 A;}{\f1\fcharset78 B;}{\f2\fcharset88 C;}}"
        rb"\f0 \'8f\'f0\'e8 \f1 \'8d\'60 \f2 \'8b\par}"
    )
    (section,) = read_file(source, "a.rtf").sections
    assert section.text == "При 港 č"
