"""XML that declares entities in its DOCTYPE, and the words of drawings."""

from itertools import pairwise

import pytest

from integrations.files.tests.readers import packages
from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers.entities import MAX_EXPANDED, Entities
from retrieval_store_files.readers.files import read_file

SUBSET = """<!DOCTYPE html [
  <!-- ]> isn't its end -->
  <?no end ]> either?>
  <!ELEMENT p (#PCDATA)>
  <!ENTITY % parameter "x">
  <!ENTITY firm 'Harbour &amp; "Co"'>
  <!ENTITY both "&firm;, &firm;">
  <!ENTITY other SYSTEM "file:///etc/passwd">
]>"""
LAUGHS = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairwise("abcdefghij"))


def words_of(file):
    return " ".join([file.title or "", *(section.text for section in file.sections)])


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("a.xml", "", "<a>@</a>"),
        ("a.xhtml", '<?xml version="1.0"?>', "<html><body><p>@</p></body></html>"),
        ("a.html", "", "<html><body><p>@</p></body></html>"),
        ("a.svg", "", '<svg xmlns="http://www.w3.org/2000/svg"><text>@</text></svg>'),
    ],
)
def test_entities_of_a_document_are_read_and_those_of_other_files_are_not(name, before, after):
    source = before + SUBSET + after.replace("@", "made by &both;; &amp;firm;")
    file = read_file(source.encode(), name)
    assert 'made by Harbour & "Co", Harbour & "Co"; &firm;' in words_of(file)
    assert file.gaps == ()
    file = read_file(
        (before + SUBSET + after.replace("@", "made by &firm; &other;")).encode(), name
    )
    assert 'made by Harbour & "Co"' in words_of(file) and "root:" not in words_of(file)


@pytest.mark.parametrize("name", ["a.xml", "a.html", "a.svg", "a.xhtml"])
def test_entities_that_laugh_are_bounded(name):
    subset = f'<!DOCTYPE x [<!ENTITY a "ha">{LAUGHS}]>'
    inner = "The sea. &j;"
    source = {
        "a.xml": f"{subset}<a>{inner}</a>",
        "a.html": f"{subset}<html><body><p>{inner}</p></body></html>",
        "a.xhtml": f"{subset}<html><body><p>{inner}</p></body></html>",
        "a.svg": f'{subset}<svg xmlns="http://www.w3.org/2000/svg"><text>{inner}</text></svg>',
    }[name]
    try:
        file = read_file(source.encode(), name)
    except DataLoaderError as error:
        assert "memory" not in str(error)
        return
    assert "The sea." in words_of(file) and len(words_of(file)) < 4 * MAX_EXPANDED
    assert any("aren't replaced" in gap for gap in file.gaps)


def test_entities_with_their_own_character_stay():
    entities = Entities('<!DOCTYPE a [<!ENTITY a "1&b;"><!ENTITY b "2&a;">]><a>&a;</a>')
    assert entities.expand("&a; &c;").endswith(" &c;")
    assert "aren't replaced" in entities.gaps[0]


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE a [" + "<!ENTITY a 'x'>" * 20_000,
        "<!-- x -->" * 20_000 + "<a>",
        "<?x" * 20_000,
        "<!DOCTYPE a [" + "<!" * 20_000 + "]>",
        "<!DOCTYPE a [" + "<!ENTITY a " * 5_000,
        "<!DOCTYPE a [" + "]" * 20_000,
    ],
    ids=range(6),
)
def test_texts_that_look_like_declarations_declare_nothing(text):
    assert Entities(text).expand("&b; &amp;") == "&b; &amp;"


def test_an_entity_of_a_chapter_is_read():
    chapter = (
        '<!DOCTYPE html [<!ENTITY firm "Harbour Co">]><html><body><p>By &firm;.</p></body></html>'
    )
    book = packages.book({"a.xhtml": ""}, members={"OEBPS/a.xhtml": chapter})
    file = read_file(book, "a.epub")
    assert "By Harbour Co." in words_of(file)


def test_the_words_of_a_drawing_are_read():
    source = """<?xml version="1.0" encoding="koi8-r"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<!-- drawn by hand -->
<svg:svg xmlns:svg="http://www.w3.org/2000/svg"><svg:title>Гавань</svg:title>
<svg:desc>A map of the harbour</svg:desc><svg:path d="M1 2L3 4"/><svg:style>x{}</svg:style>
<svg:g><svg:title>Pier</svg:title><svg:text>North <svg:tspan>pier</svg:tspan></svg:text>
<svg:foreignObject><p>Boats</p></svg:foreignObject></svg:g></svg:svg>"""
    file = read_file(source.encode("koi8-r"), "a.svg")
    (section,) = file.sections
    assert file.title == "Гавань" and section.headings == ("Гавань",)
    assert section.text == "A map of the harbour\nPier\nNorth pier\nBoats"
    assert read_file(source.encode("koi8-r"), "a.xml") == file


def test_a_drawing_that_is_not_well_formed_is_read_by_its_lines():
    assert "Harbour" in words_of(read_file(b"<svg><text>Harbour", "a.svg"))
