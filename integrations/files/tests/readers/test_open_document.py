"""The texts that are read in OpenDocument."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.files.tests.readers.packages import SPACES, content, open_document, zipped
from integrations.files.tests.readers.test_kinds import texts
from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers.files import read_file
from retrieval_store_files.readers.odf import StylesOfText
from retrieval_store_files.readers.open_document import read_open_document


def cell(text, attributes=""):
    return f"<table:table-cell {attributes}><text:p>{text}</text:p></table:table-cell>"


def rows(*cells):
    return "".join(f"<table:table-row>{''.join(row)}</table:table-row>" for row in cells)


BODY = f"""<text:tracked-changes><text:changed-region><text:deletion><text:p>gone</text:p></text:deletion>
</text:changed-region></text:tracked-changes><text:p text:style-name="P1">The Title</text:p><text:p>Before.</text:p>
<text:h text:outline-level="1">Kno<text:span>ts</text:span></text:h>
<text:p>A<text:s text:c="3"/>bow\u00adline<text:note><text:note-citation>1</text:note-citation><text:note-body>
<text:p>Its note.</text:p><text:p>More of it.</text:p></text:note-body></text:note> holds<office:annotation>
<dc:creator>Bob</dc:creator><dc:date>2026-01-01</dc:date><text:p>Really?</text:p></office:annotation>.
<text:hidden-text text:string-value="secret"/></text:p>
<text:list text:style-name="L1"><text:list-item><text:p>firm</text:p><text:list><text:list-item><text:p>deep</text:p>
</text:list-item></text:list></text:list-item><text:list-item><text:p>easy</text:p></text:list-item></text:list>
<text:section><text:h text:outline-level="2">Rigs</text:h></text:section>
<table:table><table:table-header-rows>{
    rows([cell("mast|s"), cell("sails", 'table:number-columns-repeated="2"')])
}
</table:table-header-rows>{
    rows(
        [
            cell("wide", 'table:number-columns-spanned="2" table:number-rows-spanned="2"'),
            "<table:covered-table-cell/>",
            cell("x"),
        ],
        ['<table:covered-table-cell table:number-columns-repeated="2"/>', cell("y")],
    )
}
</table:table>
<text:p><draw:frame><draw:text-box><text:p>In a box.</text:p></draw:text-box></draw:frame>
<draw:frame><draw:object xlink:href="./Object 1"/><draw:image xlink:href="x.png"/></draw:frame>
<draw:frame><draw:image xlink:href="b.png"/><svg:title>A sloop</svg:title><svg:desc>at sea</svg:desc></draw:frame>
<text:a xlink:href="https://example.com/a">out</text:a> <text:a xlink:href="#x">in</text:a></text:p>
<text:table-of-content><text:table-of-content-source><text:index-title-template>no</text:index-title-template>
</text:table-of-content-source><text:index-body><text:p>Knots 1</text:p></text:index-body></text:table-of-content>"""
STYLES = """<style:style style:name="P1" style:parent-style-name="Title"/><text:list-style style:name="L1">
<text:list-level-style-bullet text:level="1"/><text:list-level-style-number text:level="2"/></text:list-style>"""
META = """<dc:title>Sailing</dc:title><meta:initial-creator>Jane</meta:initial-creator>
<dc:date>2026-01-02T03:04:05.123456789</dc:date><dc:language>en-GB</dc:language>"""
MATH = """<math xmlns="http://www.w3.org/1998/Math/MathML"><semantics><mrow><mi>a</mi></mrow>
<annotation encoding="StarMath 5.0">a over b</annotation></semantics></math>"""
MASTERS = """<style:master-page><style:header><text:p>Company <text:page-number>1</text:page-number></text:p></style:header>
<style:footer-left><text:p>Page <text:page-number>1</text:page-number> of <text:page-count>9</text:page-count></text:p></style:footer-left>
</style:master-page>"""


def test_a_text_is_read_by_its_headings_with_its_notes_comments_and_objects():
    data = open_document(
        BODY, meta=META, masters=MASTERS, styles=STYLES, members={"Object 1/content.xml": MATH}
    )
    file = read_file(data, "a.odt")
    sections = texts(file)
    assert [headings for headings, _ in sections] == [
        ("The Title",), ("The Title", "Knots"), ("The Title", "Knots", "Rigs"), (),
    ]  # fmt: skip
    assert sections[1][1].split("\n\n") == [
        "A   bowline [1] holds. secret",
        "[1] Its note. More of it.",
        "Comment by Bob: Really?",
        "- firm\n  1. deep\n- easy",
    ]
    rigs = sections[2][1]
    assert rigs.startswith(
        "| mast\\|s | sails | sails |\n| --- | --- | --- |\n| wide | wide | x |\n| wide | wide | y |\n\n"
    )
    for text in (
        "In a box.",
        "a over b",
        "A sloop\nat sea",
        "[out](https://example.com/a) in",
        "Knots 1",
    ):
        assert text in rigs
    assert sections[3][1] == "Company 1"
    assert (file.title, file.author, file.date, file.language) == (
        "Sailing", "Jane", "2026-01-02T03:04:05", "en-GB",
    )  # fmt: skip
    assert file.gaps == ("1 tracked deletion",)
    flat = content(BODY, styles=STYLES).replace("document-content", "document")
    same = read_file(flat.encode("utf-16"), "a.fodt")
    assert texts(same)[:2] == sections[:2] and "1 embedded object" in same.gaps


def test_a_spreadsheet_is_read_as_it_is_shown():
    body = f"""<table:table table:name="Ships">{
        rows(
            [
                cell("name"),
                cell("load"),
                '<table:table-cell table:number-columns-repeated="16000"/>',
            ],
            [
                cell("sloop"),
                cell("1,234.50 €", 'office:value="1234.5"'),
                '<table:table-cell office:date-value="2026-01-02" table:number-columns-repeated="1"/>',
            ],
            [
                '<table:table-cell table:number-columns-repeated="300"/>',
                cell("far"),
                cell("x", 'table:number-columns-repeated="9"'),
            ],
            [cell("noted<office:annotation><text:p>late</text:p></office:annotation>")],
        )
    }
<table:table-row table:number-rows-repeated="1048576"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>
<table:shapes><draw:frame><draw:object xlink:href="./Chart"/></draw:frame></table:shapes></table:table>
<table:table table:name="Hidden" table:display="false">{rows([cell("secret")])}</table:table>"""
    chart = f"""<office:document-content {SPACES}><office:body><office:chart><chart:chart><chart:title><text:p>Loads</text:p>
</chart:title><table:table>{rows([cell("hemp"), cell("7")])}</table:table></chart:chart></office:chart></office:body></office:document-content>"""
    file = read_file(
        open_document(body, "spreadsheet", members={"Chart/content.xml": chart}), "a.ods"
    )
    (_, table), (_, beside), hidden = texts(file)
    assert table.split("\n")[2] == "| sloop | 1,234.50 € | 2026-01-02 |" + "  |" * 10
    assert table.split("\n")[3].endswith("| far |" + " x |" * 9)
    assert beside == "Comment: late\n\nLoads\n\n| hemp | 7 |\n| --- | --- |"
    assert hidden == (("Hidden",), "| secret |\n| --- |") and file.gaps == ()


def test_a_cell_after_an_omitted_run_is_read_in_its_own_column():
    run = '<table:table-cell table:number-columns-repeated="16000"/>'
    body = rows([cell("a"), run, cell("far"), cell("farther")], [cell("b"), cell("c")])
    file = read_file(open_document(f"<table:table>{body}</table:table>", "spreadsheet"), "a.ods")
    (table,) = [section.text for section in file.sections]
    assert table.split("\n")[::2] == ["| a |  |", "| b | c |"]
    assert file.gaps == ("2 cells beyond the column 1,000",)


def test_slides_are_read_with_their_notes_and_what_the_master_shows(monkeypatch):
    def slide(body):
        return f"<draw:page presentation:use-footer-name='f'>{body}</draw:page>"

    shown = """<draw:frame presentation:class="title"><draw:text-box><text:p>Wind</text:p></draw:text-box></draw:frame>
<draw:frame><draw:text-box><text:list><text:list-item><text:p>blows</text:p></text:list-item></text:list></draw:text-box></draw:frame>
<draw:g><draw:custom-shape><text:p>grouped</text:p></draw:custom-shape></draw:g>
<draw:frame><table:table><table:table-row><table:table-cell><text:p>cell</text:p></table:table-cell></table:table-row></table:table></draw:frame>
<presentation:notes><draw:page-thumbnail/><draw:frame><draw:text-box><text:p>Say more.</text:p></draw:text-box></draw:frame></presentation:notes>"""
    masters = """<style:master-page><draw:frame><draw:text-box><text:p>ACME</text:p></draw:text-box></draw:frame>
<draw:frame presentation:class="title"><draw:text-box><text:p>Click to edit</text:p></draw:text-box></draw:frame></style:master-page>"""
    body = "<presentation:footer-decl presentation:name='f'>the foot</presentation:footer-decl>"
    file = read_file(open_document(body + slide(shown), "presentation", masters=masters), "a.odp")
    first = "- blows\n\ngrouped\n\n| cell |\n| --- |\n\nSay more.\n\nthe foot"
    assert [(section.page, section.headings, section.text) for section in file.sections] == [
        (1, ("Wind",), first), (None, (), "ACME"),
    ]  # fmt: skip
    looked_through = []
    take = StylesOfText.add
    monkeypatch.setattr(
        StylesOfText, "add", lambda own, root: looked_through.append(take(own, root))
    )
    many = open_document("".join([body, *[slide(shown)] * 20]), "presentation")
    assert len(read_open_document(many, "a.odp").sections) == 20
    assert len(looked_through) == 2, "the styles of a document are read once, not for each shape"
    empty = read_file(open_document("<draw:page/>", "drawing"), "a.odg")
    assert empty.gaps == ("slide 1 has no text",)


def test_invalid_or_encrypted_open_documents_are_refused():
    manifest = '<manifest:encryption-data manifest:checksum="x"/>'
    for data, why in (
        (open_document("", members={"META-INF/manifest.xml": manifest}), "it is encrypted"),
        (b"text", "neither a zip nor XML"),
        (b"<a/>", "it has no body"),
        (b"PK text", "it isn't OpenDocument"),
        (zipped({"content.xml": "<a>"}), "'content.xml' isn't XML that can be read"),
        (zipped({"other": ""}), "no 'content.xml' in it"),
    ):
        with pytest.raises(DataLoaderError, match=why):
            read_file(data, "a.odt")
    assert read_file(zipped({"content.xml": MATH}), "a.odf").sections[0].text == "a over b"


def test_items_of_lists_are_counted():
    def numbered(*items, attributes=""):
        listed = "".join(f"<text:list-item>{item}</text:list-item>" for item in items)
        return f'<text:list text:style-name="N" {attributes}>{listed}</text:list>'

    inner = numbered("<text:p>deep</text:p>")
    body = numbered("<text:p>a</text:p><text:p>more</text:p>", f"<text:p>b</text:p>{inner}")
    body += "<text:p>between</text:p>"
    body += numbered("<text:p>c</text:p>", attributes='text:continue-numbering="true"')
    body += numbered("<text:p>d</text:p>")
    style = """<text:list-style style:name="N"><text:list-level-style-number text:level="1"/>
<text:list-level-style-number text:level="2"/></text:list-style>"""
    ((_, text),) = texts(read_file(open_document(body, styles=style), "a.odt"))
    assert text == "1. a\n  more\n2. b\n  1. deep\n\nbetween\n\n3. c\n1. d"


def test_headings_have_the_numbers_that_they_show():
    def heading(level, text, attributes=""):
        return f'<text:h text:outline-level="{level}" {attributes}>{text}</text:h>'

    body = heading(1, "One") + heading(2, "Deep") + heading(2, "Deeper") + heading(3, "Plain")
    body += (
        heading(1, "Preface", 'text:is-list-header="true"') + heading(1, "Two") + heading(2, "Last")
    )
    outline = """<text:outline-style><text:outline-level-style text:level="1" style:num-format="1" style:num-suffix="."/>
<text:outline-level-style text:level="2" style:num-format="1" text:display-levels="2" style:num-prefix="§"/>
<text:outline-level-style text:level="3" style:num-format=""/></text:outline-style>"""
    file = read_file(open_document(body, masters=outline), "a.odt")
    assert [headings for headings, _ in texts(file)] == [
        ("1. One", "§1.1 Deep"),
        ("1. One", "§1.2 Deeper", "Plain"),
        ("Preface",),
        ("2. Two", "§2.1 Last"),
    ]


def test_fields_are_text_and_entities_are_none():
    body = f"""<text:p>Of <text:title>Sailing</text:title>, <text:date>2 May</text:date></text:p>
<table:table>{rows(["<table:table-cell>&e;<text:p>x</text:p></table:table-cell>"])}</table:table>&e;"""
    flat = content(body, head='<!DOCTYPE x [<!ENTITY e "entity">]>')
    assert texts(read_file(flat.encode(), "a.fodt")) == [
        ((), "Of Sailing, 2 May\n\n| x |\n| --- |")
    ]


def test_forms_are_read_and_what_others_draw_is_named():
    body = """<draw:frame><draw:text-box><text:p>of the
   page</text:p></draw:text-box></draw:frame><office:forms><form:form><form:text form:label="Name" form:current-value="Jane"/></form:form></office:forms>
<text:p>x<draw:frame><draw:object-ole xlink:href="o"/></draw:frame><draw:frame><draw:plugin/></draw:frame>
<draw:frame><draw:object xlink:href="gone"/></draw:frame></text:p>"""
    file = read_file(open_document(body), "a.odt")
    assert file.sections[0].text.startswith("of the page\n\nName: Jane\n\nx")
    assert file.gaps == (
        "1 embedded OLE object", "1 embedded plugin", "1 embedded object",
    )  # fmt: skip


WORDS = iter(f"word{number}" for number in range(10**9))
TEXT = st.builds(lambda: next(WORDS))
INLINE = st.recursive(
    TEXT,
    lambda inner: st.one_of(
        inner.map("<text:span>{}</text:span>".format),
        inner.map(
            "<text:note><text:note-body><text:p>{}</text:p></text:note-body></text:note>".format
        ),
        inner.map("<office:annotation><text:p>{}</text:p></office:annotation>".format),
        inner.map(
            "<draw:frame><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>".format
        ),
        st.tuples(inner, inner).map(" <text:tab/> ".join),
    ),
    max_leaves=4,
)
BLOCK = st.recursive(
    st.one_of(
        INLINE.map("<text:p>{}</text:p>".format),
        INLINE.map("<text:h text:outline-level='2'>{}</text:h>".format),
    ),
    lambda inner: st.one_of(
        inner.map("<text:section>{}</text:section>".format),
        inner.map("<text:list><text:list-item>{}</text:list-item></text:list>".format),
        st.lists(inner, max_size=3).map(
            lambda cells: (
                "<table:table>"
                + rows([f"<table:table-cell>{text}</table:table-cell>" for text in cells])
                + "</table:table>"
            )
        ),
        st.lists(inner, max_size=3).map("".join),
    ),
    max_leaves=8,
)


@given(BLOCK)
def test_each_word_is_read_however_parts_are_nested(body):
    file = read_open_document(open_document(body), "a.odt")
    shown = " ".join(" ".join([*section.headings, section.text]) for section in file.sections)
    assert {*re.findall(r"word\d+", body)} <= {*re.findall(r"word\d+", shown)}
