"""The texts that are read in EPUB files."""

import pytest

from integrations.files.tests.readers import packages
from integrations.files.tests.readers.packages import book, page, zipped
from integrations.files.tests.readers.test_kinds import texts
from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers.files import read_file
from retrieval_store_files.readers.packed import PackedFile

METADATA = (
    "<dc:title>Sailing</dc:title><dc:creator>Jane</dc:creator><dc:creator>Bob</dc:creator>"
    "<dc:language>en</dc:language><dc:date>2026-01-02</dc:date>"
)


def test_chapters_are_read_in_the_order_of_the_spine_by_their_headings():
    chapters = {
        "b.xhtml": "<h1>Second</h1><p>after&nbsp;all</p><h2>Part</h2><p>x</p>",
        "a.xhtml": "<section role='doc-chapter'><header><h1>First</h1></header><p>begins</p>"
        "<aside id='n'>A footnote.</aside></section>",
    }
    file = read_file(book(chapters, ["a.xhtml", "b.xhtml"], METADATA), "a.epub")
    assert texts(file) == [
        (("First",), "begins\n\nA footnote."),
        (("Second",), "after all"),
        (("Second", "Part"), "x"),
    ]
    assert (file.title, file.author, file.date, file.language, file.gaps) == (
        "Sailing", "Jane, Bob", "2026-01-02", "en", (),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["nav", "ncx"])
def test_a_chapter_without_headings_has_the_title_of_the_table_of_contents(kind):
    nav = page('<nav><ol><li><a href="a.xhtml#x"><span>One</span> more</a></li></ol></nav>')
    ncx = """<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint><navLabel><text>One more</text>
</navLabel><content src="a.xhtml"/></navPoint></navMap></ncx>"""
    media = {"nav": "application/xhtml+xml", "ncx": "application/x-dtbncx+xml"}[kind]
    item = f'<item id="toc" href="toc" media-type="{media}" properties="{kind}"/>'
    made = book(
        {"a.xhtml": "<p>text</p>", "b.xhtml": "<p>other</p>"},
        extra=[item], members={"OEBPS/toc": {"nav": nav, "ncx": ncx}[kind]},
    )  # fmt: skip
    assert texts(read_file(made, "a.epub")) == [(("One more",), "text"), ((), "other")]


def test_omitted_parts_of_a_book_are_named():
    chapters = {
        "a.xhtml": "<p>see <a href='sub/../note.xhtml#n1'>1</a></p><video/><audio/><audio/>"
        "<svg xmlns='http://www.w3.org/2000/svg'><text>drawn words</text></svg>",
        "note.xhtml": "<p>the note</p>",
        "lost.xhtml": "<p>unreachable</p>",
    }
    extra = ['<item id="p" href="p.pdf" media-type="application/pdf"/>']
    made = book(chapters, ["a.xhtml", "p", "a.xhtml"], extra=extra, members={"OEBPS/p.pdf": "x"})
    file = read_file(made, "a.epub")
    assert texts(file) == [((), "see 1\n\ndrawn words"), ((), "the note")]
    assert file.gaps == (
        "OEBPS/p.pdf isn't read: it is application/pdf",
        "2 audio recordings",
        "1 video recording",
        "1 file in it without a link from a chapter",
    )
    broken = read_file(book({"a.xhtml": "<p>left <b>open &nbsp; &unknown;"}), "a.epub")
    assert "left open" in broken.sections[0].text


def test_encrypted_books_and_others_that_are_none_are_refused():
    def encryption(algorithm, uri):
        return {
            "META-INF/encryption.xml": f"""<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"
 xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData><enc:EncryptionMethod Algorithm="{algorithm}"/>
<enc:CipherData><enc:CipherReference URI="{uri}"/></enc:CipherData></enc:EncryptedData></encryption>"""
        }

    chapters = {"a.xhtml": "<p>x</p>"}
    drm = encryption("http://www.w3.org/2001/04/xmlenc#aes128-cbc", "OEBPS/a.xhtml")
    with pytest.raises(DataLoaderError, match="it is encrypted"):
        read_file(book(chapters, members=drm), "a.epub")
    fonts = encryption("http://www.idpf.org/2008/embedding", "OEBPS/a.xhtml")
    assert read_file(book(chapters, members=fonts), "a.epub").sections
    for data, why in (
        (b"text", "it isn't an EPUB"),
        (zipped({"a": "b"}), "no META-INF/container.xml"),
        (zipped({"META-INF/container.xml": "<a/>"}), "names no package document"),
        (zipped({"META-INF/container.xml": packages.CONTAINER}), "no 'OEBPS/book.opf' in it"),
    ):
        with pytest.raises(DataLoaderError, match=why):
            read_file(data, "a.epub")


def test_a_damaged_member_of_a_zip_is_named():
    data = bytearray(zipped({"a.txt": "some text " * 100}))
    place = data.find(b"a.txt") + 10
    data[place : place + 10] = b"\xff" * 10
    with pytest.raises(DataLoaderError, match=r"'a\.txt' in it can't be unpacked"):
        PackedFile(bytes(data), "a zip").read("a.txt")
