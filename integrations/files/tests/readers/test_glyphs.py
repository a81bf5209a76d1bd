"""Characters of PDFs that the file maps to no letter, but whose glyphs' names may give it."""

import io

import pytest
from pypdf import PdfReader, PdfWriter

from retrieval_store_files.readers.files import read_file
from retrieval_store_files.readers.glyphs import letters_of, mapped_to_letters

HEAD = (
    b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def"
    b" 1 begincodespacerange <00><FF> endcodespacerange "
)


def pdf(names, mapping, pages=1, codes=b"!"):
    """Pages with the text "See the de…nition.", with glyphs of these names in the middle. A drawn
    font maps them by the CMap; None for no map."""
    text = b"BT /F1 12 Tf 20 100 Td (See the de) Tj /F2 12 Tf (%s) Tj /F1 12 Tf (nition.) Tj ET"
    content = text % codes
    cmap = HEAD + (mapping or b"") + b" endcmap end end"
    drawn = b"500 0 0 0 500 700 d1 0 0 500 700 re f"
    procedures = b" ".join(b"/%s 5 0 R" % name for name in names)
    differences = b" ".join(b"/%s" % name for name in names)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>"
        % (pages, b" ".join(b"%d 0 R" % (8 + page) for page in range(pages))),
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Length %d>>stream\n%s\nendstream" % (len(cmap), cmap),
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        b"<</Type/Font/Subtype/Type3/FontBBox[0 0 500 700]/FontMatrix[.001 0 0 .001 0 0]"
        b"/CharProcs<<%s>>/FirstChar 33/LastChar 36/Widths[500 500 500 500]"
        b"/Encoding<</Type/Encoding/Differences[33 %s]>>%s>>"
        % (procedures, differences, b"/ToUnicode 4 0 R" if mapping else b""),
        *[
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 200]/Contents 3 0 R"
            b"/Resources<</Font<</F1 6 0 R/F2 7 0 R>>>>>>"
        ]
        * pages,
    ]
    out, places = b"%PDF-1.4\n", []
    for number, part in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return b"%sxref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        out, size, table, size, len(out),
    )  # fmt: skip


MAPPINGS = [
    b"1 beginbfrange <21><21><0000> endbfrange",
    b"1 beginbfrange <21> <24> [<0000> <0000> <0041> <0042>] endbfrange",
    b"1 beginbfrange\n<21>\n<24>\n<0000>\nendbfrange",
    b"2 beginbfchar <20> <0020>\n<21> <0000> endbfchar",
    b"1 beginbfchar <21> <FFFD> endbfchar",
]
NAMES = {
    b"fi": "fi", b"f_i": "fi", b"uniFB01": "fi", b"f_f_i.alt": "ffi", b"T_h": "Th",
    b"quoteright": "’", b"u1F600": "😀", b"uni00660069": "fi", b"one.oldstyle": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "letters", "mapping"),
    [(*named, mapping) for named, mapping in zip(NAMES.items(), MAPPINGS * 2, strict=False)],
)
def test_a_glyph_that_is_mapped_to_nothing_has_the_letters_of_its_name(name, letters, mapping):
    file = read_file(pdf([name], mapping), "a.pdf")
    assert [section.text for section in file.sections] == [f"See the de{letters}nition."]
    assert file.gaps == ()


def test_a_glyph_with_a_meaningless_name_is_a_gap_with_its_pages():
    data = pdf([b"fi", b"g12"], b"1 beginbfrange <21><22><0000> endbfrange", 7, b'!"')
    file = read_file(data, "a.pdf")
    assert {section.text for section in file.sections} == {"See the defi\ufffdnition."}
    assert file.gaps == (
        "7 characters whose letters the file doesn't name, on pages 1, 2, 3, 4, 5 and 2 more",
    )


def test_an_encrypted_file_that_opens_by_itself_has_its_letters():
    plain = pdf([b"f_i"], b"1 beginbfrange <21><21><0000> endbfrange")
    for user in ("", "secret"):
        writer = PdfWriter(clone_from=PdfReader(io.BytesIO(plain)))
        writer.encrypt(user_password=user, owner_password="owner", algorithm="RC4-128")
        out = io.BytesIO()
        writer.write(out)
        file = read_file(out.getvalue(), "a.pdf", passwords=["secret"])
        assert file.sections[0].text == "See the definition."


def test_other_characters_of_a_map_stay():
    cmap = HEAD + b"2 beginbfrange <20><21><0041> <22><23><0000> endbfrange"
    mended = mapped_to_letters(cmap, {0x21: "x", 0x23: "fi"})
    assert (
        mended == HEAD + b"2 beginbfrange <20><21><0041> <22> <23> [<0000> <00660069>] endbfrange"
    )


def test_a_damaged_map_is_left_as_it_is():
    for part in (
        b"beginbfrange <zz><21><0000> endbfrange",
        b"beginbfrange <00><FFFFFFFF><0000> endbfrange",
        b"beginbfrange <21>",
        b"beginbfchar <> <0000> endbfchar",
    ):
        assert mapped_to_letters(part, {0x21: "x"}) == part


@pytest.mark.parametrize("name", ["", ".notdef", "g12", "uniD800", "uXYZ", "f__i", "_"])
def test_glyph_names_without_a_letter(name):
    assert letters_of(name) is None
