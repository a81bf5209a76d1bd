"""The texts that are read in Word documents, slides and spreadsheets."""

import io
import re
import zipfile

import pytest

from integrations.files.tests.readers import files
from integrations.files.tests.readers.test_kinds import texts
from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers.files import read_file
from retrieval_store_files.readers.office import chart_text, parse_xml

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
M = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
RELATIONSHIPS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
A = "http://schemas.openxmlformats.org/drawingml/2006/main"
C = "http://schemas.openxmlformats.org/drawingml/2006/chart"


def all_of(file):
    return "\n".join(" > ".join(one.headings) + " " + one.text for one in file.sections)


def test_documents_of_office():
    document = read_file(files.word(), "a.docx")
    assert (document.title, document.author) == ("Sailing", "Jane")
    assert texts(document) == [
        ((), "Before you begin."),
        (("Knots",), "A bowline makes a loop.\n\n- firm\n- easy to untie"),
        (("Rigs", "Sloop"), "| mast\\|s | sails |\n| --- | --- |\n| one | two |"),
    ]
    show = read_file(files.slides(), "a.pptx")
    assert [(one.page, one.headings, one.text) for one in show.sections] == [
        (1, ("Wind",), "It blows.\n\nSay more.")
    ]
    assert show.gaps == ("slide 2 has no text",)
    for name in ("a.docx", "a.pptx", "a.xlsx"):
        with pytest.raises(DataLoaderError, match="isn't a document of Office"):
            read_file(b"PK nothing", name)


def test_a_document_is_read_as_it_is_with_all_changes_accepted():
    def change(name, content):
        if name != "word/document.xml":
            return content
        text = content.decode()
        run = "<w:r><w:t>A bowline makes a loop.</w:t></w:r>"
        assert run in text
        return text.replace(
            run,
            "<w:ins><w:r><w:t>A bowline </w:t></w:r></w:ins><w:del><w:r><w:delText>never"
            "</w:delText></w:r></w:del><w:r><w:t>makes a loop.</w:t></w:r></w:p>"
            "<w:sdt><w:sdtPr/><w:sdtContent><w:p><w:r><w:t>In a control.</w:t></w:r></w:p>"
            "</w:sdtContent></w:sdt><w:p><w:pPr><w:outlineLvl w:val='1'/></w:pPr><w:r><w:t>Own"
            "</w:t></w:r></w:p><w:p><w:r><w:t>below</w:t></w:r>",
        )

    file = read_file(files.changed(files.word(), change), "a.docx")
    assert texts(file)[1:3] == [
        (("Knots",), "A bowline makes a loop.\n\nIn a control."),
        (("Knots", "Own"), "below\n\n- firm\n- easy to untie"),
    ]


def test_documents_without_properties_have_neither_author_nor_date():
    import docx

    def change(name, content):
        if name == "_rels/.rels":
            return re.sub(rb"<Relationship [^>]*core-properties[^>]*>", b"", content)
        return re.sub(rb"<Override [^>]*core.xml[^>]*>", b"", content)

    made = {"a.docx": files.word(), "a.xlsx": files.sheets(), "a.pptx": files.slides()}
    for name, data in made.items():
        file = read_file(files.changed(data, change, "core.xml"), name)
        assert file.sections and (file.title, file.author, file.date) == (None, None, None)
    assert read_file(files.saved(docx.Document()), "a.docx").sections == []


def with_part(data, of, name, content, kind, edit=None):
    """A document in which a part refers to another one by the id "rIdX". edit: changes the
    referring part."""
    before, out = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    folder, _, file = of.rpartition("/")
    rels = f"{folder}/_rels/{file}.rels"
    names = before.namelist()
    relation = f'<Relationship Id="rIdX" Type="{RELATIONSHIPS}/{kind}" Target="/{name}"/>'
    with zipfile.ZipFile(out, "w") as packed:
        for each in names:
            text = before.read(each)
            if each == of and edit is not None:
                text = edit(text.decode()).encode()
            if each == rels:
                text = text.replace(b"</Relationships>", f"{relation}</Relationships>".encode())
            if each == "[Content_Types].xml":
                text = text.replace(
                    b"</Types>",
                    f'<Override PartName="/{name}" ContentType="x/{kind}+xml"/></Types>'.encode(),
                )
            packed.writestr(each, text)
        if rels not in names:
            space = "http://schemas.openxmlformats.org/package/2006/relationships"
            packed.writestr(rels, f'<Relationships xmlns="{space}">{relation}</Relationships>')
        packed.writestr(name, content)
    return out.getvalue()


def in_document(*blocks):
    """A function that makes these the blocks of a Word document."""
    body = "".join(blocks)
    return lambda text: re.sub(r"<w:body>.*</w:body>", f"<w:body>{body}</w:body>", text, flags=re.S)


def p(inner):
    return f"<w:p><w:r>{inner}</w:r></w:p>"


def t(text):
    return f"<w:t>{text}</w:t>"


def word(*blocks):
    edit = in_document(*blocks)
    return files.changed(
        files.word(),
        lambda name, old: edit(old.decode()).encode() if name == "word/document.xml" else old,
    )


@pytest.mark.parametrize("kind", ["footnote", "endnote"])
def test_notes_follow_the_text_that_refers_to_them(kind):
    notes = (
        f'<w:{kind}s {W}><w:{kind} w:id="-1" w:type="separator"><w:p/></w:{kind}>'
        f'<w:{kind} w:id="2">{p(t("unless the tenant objects"))}</w:{kind}>'
        f'<w:{kind} w:id="3">{p(t("which nothing refers to"))}</w:{kind}></w:{kind}s>'
    )
    edit = in_document(
        p(t("It ends in May.") + f'<w:{kind}Reference w:id="2"/>'), p(t("Then it goes on."))
    )
    data = with_part(
        files.word(), "word/document.xml", f"word/{kind}s.xml", notes, f"{kind}s", edit
    )
    file = read_file(data, "a.docx")
    assert texts(file) == [
        ((), "It ends in May.\n\nunless the tenant objects\n\nThen it goes on."),
        ((), "which nothing refers to"),
    ]


def test_comments_have_who_wrote_them_and_deletions_are_counted():
    comment = f'<w:comments {W}><w:comment w:id="0" w:author="Ann">{p(t("Sure?"))}</w:comment></w:comments>'
    gone = (
        f"<w:p><w:del><w:r><w:delText>never</w:delText></w:r></w:del><w:r>{t('kept')}</w:r></w:p>"
    )
    edit = in_document(gone, p(t("It floats.") + '<w:commentReference w:id="0"/>'))
    data = with_part(
        files.word(), "word/document.xml", "word/comments.xml", comment, "comments", edit
    )
    file = read_file(data, "a.docx")
    assert texts(file) == [((), "kept\n\nIt floats.\n\nAnn: Sure?")]
    assert file.gaps == ("1 tracked deletion",)


def test_headers_and_footers_are_read_once():
    import docx

    document = docx.Document()
    document.add_paragraph("body")
    for section in (document.sections[0], document.add_section()):
        section.header.is_linked_to_previous = False
        section.header.paragraphs[0].text = "Offer 17"
        section.footer.paragraphs[0].text = "Bank account 4711"
    assert texts(read_file(files.saved(document), "a.docx")) == [
        ((), "body"),
        ((), "Offer 17\n\nBank account 4711"),
    ]


def test_equations_are_written_in_a_line():
    half = (
        "<m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f>"
    )
    root = "<m:rad><m:deg/><m:e><m:sSup><m:e><m:r><m:t>c</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup></m:e></m:rad>"
    equation = f"<w:p><w:r>{t('so ')}</w:r><m:oMath {M}><m:r><m:t>x=</m:t></m:r>{half}<m:r><m:t>+</m:t></m:r>{root}</m:oMath></w:p>"
    assert texts(read_file(word(equation), "a.docx")) == [((), "so x=(a+b)/2+√(c^2)")]


def test_merged_cells_of_a_document_are_in_each_place():
    import docx

    document = docx.Document()
    table = document.add_table(3, 3)
    for i, text in enumerate("abcdefghi"):
        table.cell(i // 3, i % 3).text = text
    table.cell(0, 0).merge(table.cell(1, 0)).text = "tall"
    table.cell(2, 1).merge(table.cell(2, 2)).text = "wide"
    (section,) = read_file(files.saved(document), "a.docx").sections
    assert section.text.split("\n")[::2][0] == "| tall | b | c |"
    assert section.text.split("\n")[2:] == ["| tall | e | f |", "| g | wide | wide |"]


CHART = (
    f'<c:chartSpace xmlns:c="{C}" xmlns:a="{A}"><c:chart><c:title><c:tx><c:rich><a:p><a:r><a:t>Yield'
    "</a:t></a:r></a:p></c:rich></c:tx></c:title><c:plotArea><c:barChart><c:ser><c:tx><c:strRef>"
    "<c:strCache><c:pt idx='0'><c:v>tons</c:v></c:pt></c:strCache></c:strRef></c:tx><c:cat><c:strRef>"
    "<c:strCache><c:pt idx='0'><c:v>rye</c:v></c:pt><c:pt idx='1'><c:v>oats</c:v></c:pt></c:strCache>"
    "</c:strRef></c:cat><c:val><c:numRef><c:numCache><c:pt idx='0'><c:v>3</c:v></c:pt><c:pt idx='1'>"
    "<c:v>4.5</c:v></c:pt></c:numCache></c:numRef></c:val></c:ser></c:barChart></c:plotArea></c:chart>"
    "</c:chartSpace>"
)
SHOWN = "Yield\n\n|  | tons |\n| --- | --- |\n| rye | 3 |\n| oats | 4.5 |"


def test_charts_are_tables_and_pictures_have_their_texts():
    drawing = (
        '<w:drawing><wp:inline xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/'
        'wordprocessingDrawing"><wp:docPr id="1" name="x" descr="Map of depots"/><c:chart '
        f'xmlns:c="{C}" xmlns:r="{RELATIONSHIPS}" r:id="rIdX"/></wp:inline></w:drawing>'
    )
    data = with_part(
        files.word(), "word/document.xml", "word/charts/chart1.xml", CHART, "chart",
        in_document(p(drawing)),
    )  # fmt: skip
    ((_, text),) = texts(read_file(data, "a.docx"))
    assert "Map of depots" in text and SHOWN in text


def test_slides_are_read_with_all_that_is_on_them():
    import pptx
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches

    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = "Crops"
    inch = Inches(1)
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, inch, inch).text_frame.text = "in a group"
    table = slide.shapes.add_table(2, 2, 0, 0, inch, inch).table
    table.cell(0, 0).merge(table.cell(0, 1))
    for i, text in enumerate(["wide", "", "c", "d"]):
        table.cell(i // 2, i % 2).text = text
    values = CategoryChartData()
    values.categories = ["rye", "oats"]
    values.add_series("tons", (3, 4.5))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, inch, inch, values)
    slide.slide_layout.shapes[0]._element.addnext(
        pptx.oxml.parse_xml(
            f'<p:sp xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" xmlns:a="{A}">'
            "<p:nvSpPr><p:cNvPr id='99' name='x'/><p:cNvSpPr/><p:nvPr/></p:nvSpPr><p:spPr/><p:txBody>"
            "<a:bodyPr/><a:p><a:r><a:t>The Farm Ltd</a:t></a:r></a:p></p:txBody></p:sp>"
        )
    )
    slide.notes_slide.notes_text_frame.text = "Say why."
    file = read_file(files.saved(show), "a.pptx")
    first, last = file.sections
    assert (first.headings, first.page) == (("Crops",), 1)
    for shown in ("in a group", "| wide | wide |", "| c | d |", "| oats | 4.5 |", "Say why."):
        assert shown in first.text
    assert (last.text, last.page) == ("The Farm Ltd", None)


def test_comments_of_slides_have_who_wrote_them():
    space = "http://schemas.openxmlformats.org/presentationml/2006/main"
    comments = f'<p:cmLst xmlns:p="{space}"><p:cm authorId="1" idx="1"><p:text>Too long</p:text></p:cm></p:cmLst>'
    authors = f'<p:cmAuthorLst xmlns:p="{space}"><p:cmAuthor id="1" name="Bob"/></p:cmAuthorLst>'
    data = with_part(
        files.slides(), "ppt/slides/slide1.xml", "ppt/comments/c1.xml", comments, "comments"
    )
    data = with_part(data, "ppt/presentation.xml", "ppt/authors.xml", authors, "commentAuthors")
    assert read_file(data, "a.pptx").sections[0].text == "It blows.\n\nSay more.\n\nBob: Too long"


def sheet(edit):
    import openpyxl

    book = openpyxl.Workbook()
    edit(book)
    return read_file(files.saved(book), "a.xlsx")


def test_all_of_a_spreadsheet_is_read_or_named():
    from openpyxl.chart import BarChart, Reference
    from openpyxl.comments import Comment

    def edit(book):
        page = book.active
        for row in (["kind", "tons", "all"], ["rye", 3, "=B2*2"], ["", 4, 8]):
            page.append(row)
        page.merge_cells("A2:A3")
        page["B2"].comment = Comment("estimated", "Ann")
        page.oddFooter.left.text = "Farm Ltd"
        page.cell(2, 300).value = "far"
        hidden = book.create_sheet("Hidden")
        hidden.append(["secret plan"])
        hidden.sheet_state = "hidden"
        chart = BarChart()
        chart.title = "Yield"
        chart.add_data(Reference(page, min_col=2, min_row=1, max_row=3), titles_from_data=True)
        page.add_chart(chart, "E5")

    file = sheet(edit)
    shown = all_of(file)
    for text in ("| rye | 4 | 8 |", "B2: estimated", "Farm Ltd", "Hidden | secret plan |", "Yield"):
        assert text in shown.replace("Hidden |", "Hidden |"), text
    assert file.gaps == (
        "in the sheet 'Sheet': 1 cell beyond its column 200",
        "in the sheet 'Sheet': 1 formula without a stored value",
    )


def test_a_sheet_of_a_chart_alone_is_read():
    from openpyxl.chart import BarChart, Reference

    def edit(book):
        page = book.active
        page.append(["tons"])
        page.append([3])
        chart = BarChart()
        chart.title = "Yield"
        chart.add_data(Reference(page, min_col=1, min_row=1, max_row=2), titles_from_data=True)
        book.create_chartsheet("Chart").add_chart(chart)

    assert [one.headings for one in sheet(edit).sections] == [("Sheet",), ("Chart",)]


def test_a_large_merged_cell_takes_no_memory():
    def merged(name, old):
        if not name.endswith("sheet1.xml"):
            return old
        cells = b'<mergeCells count="1"><mergeCell ref="A1:XFD1048576"/></mergeCells>'
        return old.replace(b"</sheetData>", b"</sheetData>" + cells)

    file = read_file(files.changed(files.sheets(2), merged), "a.xlsx")
    assert "| ship 1 | 1901 |" in all_of(file)
    assert file.gaps == ("in the sheet 'Ships': merged cells beyond the first ones are read once",)


def test_an_encrypted_document_is_opened_by_a_password():
    from msoffcrypto.format.ooxml import OOXMLFile

    out = io.BytesIO()
    OOXMLFile(io.BytesIO(files.word())).encrypt("secret", out)
    with pytest.raises(DataLoaderError, match="encrypted, and requires a password"):
        read_file(out.getvalue(), "a.docx")
    with pytest.raises(DataLoaderError, match="none of 1 passwords opens it"):
        read_file(out.getvalue(), "a.docx", passwords=["other"])
    file = read_file(out.getvalue(), "a.docx", passwords=["other", "secret"])
    assert "A bowline makes a loop." in all_of(file)
    with pytest.raises(DataLoaderError, match="in its format since 2007"):
        read_file(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"x" * 600, "a.docx")


def test_documents_in_the_strict_form_of_the_standard_are_read():
    def strict(name, old):
        usual = rb"http://schemas\.openxmlformats\.org/(\w+)/2006/(\w+)(?<!package/2006)"
        named = re.sub(usual, rb"http://purl.oclc.org/ooxml/\1/\2", old)
        return named.replace(b"http://purl.oclc.org/ooxml/package/", PACKAGE)

    for name, data in (("a.xlsx", files.sheets(3)), ("a.docx", files.word())):
        made = files.changed(data, lambda part, old: strict(part, old))
        assert b"purl.oclc.org" in zipfile.ZipFile(io.BytesIO(made)).read("_rels/.rels")
        assert texts(read_file(made, name)) == texts(read_file(data, name))


PACKAGE = b"http://schemas.openxmlformats.org/package/2006/"


def test_text_drawn_on_a_sheet_is_read_and_embedded_objects_are_counted():
    drawing = (
        '<xdr:wsDr xmlns:xdr="http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing" '
        f'xmlns:a="{A}"><xdr:cNvPr id="1" name="x" descr="Lighthouse at dawn"/><xdr:txBody><a:p><a:r>'
        "<a:t>a box</a:t></a:r></a:p></xdr:txBody></xdr:wsDr>"
    )
    diagram = f'<x xmlns:a="{A}"><a:p><a:r><a:t>step one</a:t></a:r></a:p></x>'
    data = with_part(files.sheets(2), "xl/worksheets/sheet1.xml", "xl/d/d.xml", drawing, "drawing")
    data = with_part(data, "xl/d/d.xml", "xl/d/data1.xml", diagram, "diagramData")
    file = read_file(data, "a.xlsx")
    assert texts(file)[-1] == (("Ships",), "a box\n\nLighthouse at dawn\n\nstep one")
    embedded = with_part(files.sheets(2), "xl/worksheets/sheet1.xml", "xl/o.bin", "x", "oleObject")
    assert read_file(embedded, "a.xlsx").gaps == ("in the sheet 'Ships': 1 embedded object",)


def points(*texts):
    """Values of a chart at the positions 0, 1, …, except where there is none."""
    shown = enumerate(texts)
    return "".join(f"<c:pt idx='{i}'><c:v>{text}</c:v></c:pt>" for i, text in shown if text)


def chart(name, labels):
    """A chart with a series that has a name and four values."""
    values = f"<c:val><c:numRef><c:numCache>{points(1, 2, 3, 4)}</c:numCache></c:numRef></c:val>"
    return parse_xml(
        f'<c:chartSpace xmlns:c="{C}"><c:ser><c:tx>{name}</c:tx><c:cat>{labels}</c:cat>{values}'
        "</c:ser></c:chartSpace>".encode()
    )


def test_categories_of_a_chart_in_levels_have_the_text_of_each_level():
    levels = [points("Q3", "Q4", "Q1", "Q2"), points("2024", "", "2025", "")]
    cache = "".join(f"<c:lvl>{level}</c:lvl>" for level in levels)
    labels = (
        f"<c:multiLvlStrRef><c:multiLvlStrCache>{cache}</c:multiLvlStrCache></c:multiLvlStrRef>"
    )
    assert chart_text(chart("<c:v>tons</c:v>", labels)).split("\n") == [
        "|  | tons |", "| --- | --- |",
        "| Q3 2024 | 1 |", "| Q4 2024 | 2 |", "| Q1 2025 | 3 |", "| Q2 2025 | 4 |",
    ]  # fmt: skip


def test_a_thread_of_comments_is_read_once_and_older_comments_too():
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    older = (
        f'<comments xmlns="{space}"><authors><author>tc=1</author><author>Ann</author></authors>'
        '<commentList><comment ref="A1" authorId="0"><text><t>[Threaded comment] Sure?</t></text>'
        '</comment><comment ref="B2" authorId="1"><text><t>estimated</t></text></comment>'
        "</commentList></comments>"
    )
    space = "http://schemas.microsoft.com/office/spreadsheetml/2018/threadedcomments"
    thread = (
        f'<ThreadedComments xmlns="{space}"><threadedComment ref="A1"><text>Sure?</text>'
        '</threadedComment><threadedComment ref="A1"><text>Yes.</text></threadedComment>'
        "</ThreadedComments>"
    )
    of = "xl/worksheets/sheet1.xml"
    data = with_part(files.sheets(2), of, "xl/comments1.xml", older, "comments")
    shown = all_of(read_file(data, "a.xlsx"))
    assert "[Threaded comment] Sure?" in shown and "B2: estimated" in shown
    data = with_part(data, of, "xl/threads1.xml", thread, "threadedComment")
    shown = all_of(read_file(data, "a.xlsx"))
    assert [shown.count(text) for text in ("Sure?", "Yes.", "estimated")] == [1, 1, 1]


def test_answers_to_a_comment_of_a_slide_are_read_once():
    space = "http://schemas.microsoft.com/office/powerpoint/2018/8/main"

    def body(text):
        return f"<p188:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p188:txBody>"

    comments = (
        f'<p188:cmLst xmlns:p188="{space}" xmlns:a="{A}"><p188:cm id="1" authorId="1"><p188:replyLst>'
        f'<p188:reply id="2" authorId="2">{body("I think so.")}</p188:reply></p188:replyLst>'
        f"{body('Is it true?')}</p188:cm></p188:cmLst>"
    )
    data = with_part(
        files.slides(), "ppt/slides/slide1.xml", "ppt/comments/c1.xml", comments, "comments"
    )
    text = read_file(data, "a.pptx").sections[0].text
    assert text.split("\n\n")[-2:] == ["Is it true?", "I think so."]


def test_an_old_picture_in_a_cell_is_described_once():
    shape = '<v:shape xmlns:v="urn:schemas-microsoft-com:vml" alt="Lighthouse at dawn"/>'
    cell = f"<w:tc>{p(t('left'))}{p(f'<w:pict>{shape}</w:pict>')}</w:tc>"
    data = word(f"<w:tbl><w:tr>{cell}<w:tc>{p(t('right'))}</w:tc></w:tr></w:tbl>")
    ((_, text),) = texts(read_file(data, "a.docx"))
    assert text.count("Lighthouse at dawn") == 1 and "left" in text and "right" in text
