"""The texts that are read in PDF."""

import io

import pypdfium2
import pytest

from integrations.files.tests.readers import files
from retrieval_store.errors import DataLoaderError, InvalidTypeError
from retrieval_store_files.readers.files import read_file


def read(data, **options):
    return read_file(data, "a.pdf", **options)


def text_of(file):
    return "\n".join(" > ".join(one.headings) + " " + one.text for one in file.sections)


def test_each_page_is_a_section_and_pages_without_text_are_named():
    file = read(files.pdf("The sea.", None, "The sky.", title="Views"))
    assert [(one.page, one.text) for one in file.sections] == [(1, "The sea."), (3, "The sky.")]
    assert file.title == "Views"
    assert file.gaps == ()  # a blank page lacks nothing
    some = read(files.pdf("one", *[files.PICTURE] * 30))
    assert len(some.gaps) == 11 and some.gaps[-1] == "and 20 more"
    assert some.gaps[0] == "page 2 is a picture without text"
    with pytest.raises(DataLoaderError, match="page 1 is a picture without text"):
        read(files.pdf(files.PICTURE))
    assert read(files.pdf(None)).sections == []
    with pytest.raises(DataLoaderError, match="isn't a PDF that can be read"):
        read(b"%PDF-1.4 nothing")
    with pytest.raises(DataLoaderError, match="a PDF without pages"):
        read(files.pdf())


def test_a_page_that_is_mostly_a_picture_is_named():
    file = read(files.pdf((files.PICTURE, "PAID in May"), (files.PICTURE, "word " * 40)))
    assert file.sections[0].text == "PAID in May"
    assert file.gaps == ("page 1 is mostly a picture, of which 3 words were read",)


@pytest.mark.parametrize(
    "pages",
    [
        [f"Invoice {i}\nTwo chairs\nTotal: {i * 7}.00" for i in range(1_000, 1_004)],
        [f"Chapter {i}\nThe whale\n{i}" for i in range(1, 5)],
        [f"Minutes\n{i}.03.2024\n10:{i}" for i in range(10, 14)],
        ["10 20 30\n40 50 60\n70 80 90"],
    ],
)
def test_no_line_of_a_page_is_lost(pages):
    words = text_of(read(files.pdf(*pages))).split()
    assert words == " ".join(pages).split()


def test_words_are_joined_where_a_line_divides_them():
    page = (
        "too con-\nspicuous and dan- \ngerous for use \nand ex\\255\nploded, sch\\366n-\n\\344hnlich, "
        "UTF-\n8 Donau-\nDampf, a well-known end, \\256sh"
    )
    (section,) = read(files.pdf(page, encoding="WinAnsiEncoding")).sections
    words = section.text.replace("\n", " ").split(" ")
    assert {"conspicuous", "dangerous", "exploded,", "schönähnlich,"} <= {*words}
    assert {"UTF-", "8", "Donau-", "Dampf,", "well-known"} <= {*words}
    (section,) = read(files.pdf("\\256ne and \\257at")).sections
    assert section.text == "fine and flat"


def drawn(operators):
    """A page with these operators, in a font of 12 points."""
    shown = f"BT /F1 12 Tf 50 700 Td {operators} ET".encode("latin-1")
    return files.pdf("x", stream=shown, encoding="WinAnsiEncoding")


def test_accents_that_are_drawn_over_letters_are_put_onto_them():
    # In TeX's way: the accent, a step back, the letter; in any order.
    for before_letter in ("[(f)] TJ [(\\250) 445 (u) 0 (r)] TJ", "(fur) Tj 6 0 Td (\\250) Tj"):
        (section,) = read(drawn(before_letter)).sections
        assert section.text == "für"
    (code,) = read(drawn("(a `quoted' x^2 ~home) Tj")).sections
    assert code.text == "a `quoted' x^2 ~home"


def test_letters_that_the_file_does_not_name_are_counted():
    file = read(drawn("(modi\\033ed di\\035erent) Tj"))
    assert file.sections[0].text == "modi\ufffded di\ufffderent"
    assert file.gaps == ("2 characters whose letters the file doesn't name, on page 1",)


def test_an_unreadable_page_does_not_prevent_reading_the_others():
    data = files.pdf("one", "two").replace(b"/Kids[4 0 R 6 0 R]", b"/Kids[99 0 R 6 0 R]")
    file = read(data)
    assert [(one.page, one.text) for one in file.sections] == [(2, "two")]
    assert len(file.gaps) == 1 and file.gaps[0].startswith("page 1 can't be read")


def test_a_file_that_was_cut_off_is_read():
    data = files.pdf("Hello heron")
    assert read(data[: data.index(b"startxref")]).sections[0].text == "Hello heron"


def outlined(*pages):
    """A PDF with the part "Part" on its first page, the chapter "Chapter" on its second."""
    first = 5 + 2 * len(pages)
    objects = [
        f"<</Type/Outlines/First {first + 1} 0 R/Last {first + 1} 0 R/Count 2>>",
        f"<</Title(Part)/Parent {first} 0 R/First {first + 2} 0 R/Last {first + 2} 0 R/Count 1"
        "/Dest[4 0 R/Fit]>>",
        f"<</Title(Chapter)/Parent {first + 1} 0 R/Dest[6 0 R/Fit]>>",
    ]
    return files.pdf(*pages, extra=("", "/Outlines %d 0 R"), objects=objects)


def test_an_outline_gives_the_headings_of_pages():
    file = read(outlined("one", "two", "three"))
    assert [one.headings for one in file.sections] == [
        ("Part",),
        ("Part", "Chapter"),
        ("Part", "Chapter"),
    ]


def test_a_heading_keeps_its_number_and_its_parents():
    file = read(outlined("Part\nintro", "end of it\n1.1 Chapter\nbody"))
    assert [(one.headings, one.text) for one in file.sections] == [
        (("Part",), "intro"),
        (("Part",), "end of it"),
        (("Part", "1.1 Chapter"), "body"),
    ]


WIDGET = "/Type/Annot/Subtype/Widget/Rect[50 600 200 620]"


def form():
    """A page with a text field, a list with two selected options, a checked box, an unchecked one,
    and a comment."""
    options = "[[(a)(Rope)][(b)(Sail)][(c)(Oar)]]"
    fields = [
        f"<<{WIDGET}/FT/Tx/T(name)/TU(Full name)/V(Jane Doe)>>",
        f"<<{WIDGET}/FT/Ch/Ff 2097152/T(goods)/Opt{options}/V[(a)(c)]/I[0 2]>>",
        f"<<{WIDGET}/FT/Btn/T(member)/V/Yes/AS/Yes/AP<</N<</Yes 3 0 R/Off 3 0 R>>>>>>",
        f"<<{WIDGET}/FT/Btn/T(robot)/V/Off/AS/Off/AP<</N<</Yes 3 0 R/Off 3 0 R>>>>>>",
        "<</Type/Annot/Subtype/Text/Rect[10 10 20 20]/T(Ann)/Contents(Is that right?)>>",
    ]
    first = 5 + 2
    numbers = [f"{first + i} 0 R" for i in range(len(fields))]
    extra = (
        f"/Annots[{' '.join(numbers)}]",
        f"/AcroForm<</Fields[{' '.join(numbers[:-1])}]>>",
    )
    return files.pdf("Form", extra=extra, objects=fields)


def test_filled_form_fields_and_comments_are_read():
    (section,) = read(form()).sections
    assert section.text.split("\n\n") == [
        "Form",
        "Full name: Jane Doe",
        "goods: Rope, Oar",
        "member: Yes",
        "Ann: Is that right?",
    ]


def test_a_function_reads_the_pages_that_are_pictures():
    seen = []

    def ocr(picture):
        seen.append(picture.size)
        return "" if len(seen) == 3 else f"scanned {len(seen)}"

    data = files.pdf(files.PICTURE, "typed", (files.PICTURE, "PAID"), files.PICTURE)
    file = read(data, ocr=ocr)
    assert [(one.page, one.text) for one in file.sections] == [
        (1, "scanned 1"),
        (2, "typed"),
        (3, "PAID"),
        (3, "scanned 2"),
    ]
    assert file.gaps == ("page 4 is a picture without text",)
    assert seen == [(2_250, 3_000)] * 3
    with pytest.raises(DataLoaderError, match="page 1: ZeroDivisionError"):
        read(data, ocr=lambda picture: 1 / 0)
    with pytest.raises(InvalidTypeError, match="ocr has returned None .*expected a str"):
        read(data, ocr=lambda picture: None)


def test_an_attachment_is_named():
    pdf = pypdfium2.PdfDocument(files.pdf("text"))
    pdf.new_attachment("table.csv").set_data(b"a,b")
    out = io.BytesIO()
    pdf.save(out)
    assert read(out.getvalue()).gaps == ("the attachment 'table.csv' isn't read",)


def test_an_encrypted_file_is_opened_by_a_password():
    data = files.encrypted_pdf("a hidden heron")
    with pytest.raises(DataLoaderError, match="encrypted, and requires a password"):
        read(data)
    with pytest.raises(DataLoaderError, match="none of 2 passwords opens it"):
        read(data, passwords=["a", "b"])
    assert read(data, passwords=["a", "secret"]).sections[0].text == "a hidden heron"
