"""Reads slides with python-pptx: shapes, tables, charts and diagrams, with notes and comments."""

from collections.abc import Iterator
from typing import Any

from retrieval_store_files.readers import FileText, Section, count_phrase, few
from retrieval_store_files.readers.office import (
    CHART,
    DIAGRAM,
    FALLBACK,
    RELATED,
    TABLE,
    chart_text,
    drawing_table,
    drawing_text,
    elements,
    missing,
    office_metadata,
    open_by,
    open_office,
    parse_xml,
    reading,
)
from retrieval_store_files.readers.packed import PackedFile
from retrieval_store_files.readers.tables import markdown_table

_SLIDE = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_SHAPE, _NAMED, _OBJECT = (f"{_SLIDE}{name}" for name in ("sp", "cNvPr", "oleObj"))
_NO_TEXT = frozenset([FALLBACK])
_TITLES = ("title", "ctrTitle")
_OF_NOTES = ("sldImg", "sldNum", "dt", "hdr", "ftr")  # shapes of notes pages other than the notes


def read_pptx(data: bytes, name: str) -> FileText:
    """Read slides. Each slide becomes a section with its notes and comments. The page of the
    section is the slide's number. The texts of layouts are a section at the end."""
    try:
        import pptx
    except ImportError as error:
        raise missing("slides", "python-pptx", error) from error
    packed = open_office(data)
    with reading("slides", packed):
        return _read(*open_by(packed, pptx.Presentation))


def _read(packed: PackedFile, slides: Any) -> FileText:
    sections, gaps, objects = [], [], 0
    authors = _authors(slides)
    layouts: dict[str, Any] = {}  # and masters, by the names of their parts
    for number, slide in enumerate(slides.slides, 1):
        blocks = [*_blocks(slide), *_notes(slide), *_comments(slide, authors)]
        heading = " ".join(filter(None, _title(slide)))
        text = "\n\n".join(filter(None, blocks))
        if text or heading:
            sections.append(Section(text, (heading,) if heading else (), number))
        else:
            gaps.append(f"slide {number} has no text")
        objects += sum(1 for _ in slide.element.iter(_OBJECT))
        for layout in (slide.slide_layout, slide.slide_layout.slide_master):
            layouts[str(layout.part.partname)] = layout
    behind = dict.fromkeys(text for layout in layouts.values() for text in _texts_of(layout))
    if behind:
        sections.append(Section("\n\n".join(behind)))
    return FileText(
        sections,
        **office_metadata(packed, slides.core_properties),
        gaps=(*few(gaps), *count_phrase(objects, "embedded object")),
    )


def _kind(shape: Any) -> str | None:
    """The kind of a placeholder; None for a shape that isn't a placeholder."""
    placeholder = shape.find(f"{_SLIDE}nvSpPr/{_SLIDE}nvPr/{_SLIDE}ph")
    return None if placeholder is None else placeholder.get("type", "obj")


def _shapes(page: Any) -> Iterator[Any]:
    tree = page.element.find(f"{_SLIDE}cSld/{_SLIDE}spTree")
    yield from elements(tree, (_SHAPE, TABLE, CHART, DIAGRAM, _NAMED), _NO_TEXT)


def _title(slide: Any) -> Iterator[str]:
    """Yield the title of a slide in one line, if the slide has a title."""
    for shape in _shapes(slide):
        if shape.tag == _SHAPE and _kind(shape) in _TITLES:
            yield " ".join(drawing_text(shape).split())


def _blocks(slide: Any) -> Iterator[str]:
    """The texts of a slide, except its title."""
    for shape in _shapes(slide):
        if shape.tag == TABLE:
            yield markdown_table(drawing_table(shape))
        elif shape.tag == CHART:
            yield _text_of_drawing(slide, shape, "id", chart_text)
        elif shape.tag == DIAGRAM:
            yield _text_of_drawing(slide, shape, "dm", drawing_text)
        elif shape.tag == _NAMED:  # a picture, or another shape without a text of its own
            yield shape.get("descr") or ""
        elif _kind(shape) not in _TITLES:
            yield drawing_text(shape)


def _text_of_drawing(slide: Any, shape: Any, attribute: str, read: Any) -> str:
    """The text of a chart or a diagram. The chart or diagram is in a separate part of the file.
    attribute: the attribute of `shape` with the id of this part; read: a function that reads the
    root of this part."""
    number = shape.get(f"{RELATED}{attribute}")
    relation = slide.part.rels.get(number) if number else None
    if relation is None or relation.is_external:
        return ""
    return str(read(parse_xml(relation.target_part.blob)))


def _notes(slide: Any) -> Iterator[str]:
    if not slide.has_notes_slide:
        return
    for shape in _shapes(slide.notes_slide):
        if shape.tag == _SHAPE and _kind(shape) not in _OF_NOTES:
            yield drawing_text(shape)


def _authors(slides: Any) -> dict[str, str]:
    """A dict from the id of each author of comments to the name of the author."""
    roots = _related_roots(slides.part, ("commentAuthors", "authors"))
    return {author.get("id"): author.get("name") for root in roots for author in root}


def _comments(slide: Any, authors: dict[str, str]) -> Iterator[str]:
    """The comments on a slide, with their authors."""
    for root in _related_roots(slide.part, ("comments",)):
        for comment in root.iterfind(".//*[@authorId]"):
            body = comment.find("{*}txBody")  # its own, not those in its replies
            drawn = "" if body is None else drawing_text(body)
            text = "".join(comment.itertext(f"{_SLIDE}text")) or drawn
            if text.strip():
                yield ": ".join(filter(None, [authors.get(comment.get("authorId")), text.strip()]))


def _related_roots(part: Any, kinds: tuple[str, ...]) -> Iterator[Any]:
    """The root elements of the parts to which `part` refers, if their kind is one of `kinds`."""
    for relation in part.rels.values():
        if not relation.is_external and relation.reltype.rpartition("/")[2] in kinds:
            yield parse_xml(relation.target_part.blob)


def _texts_of(layout: Any) -> Iterator[str]:
    """The texts that a layout shows on its slides. Placeholders of the layout show no text."""
    for shape in _shapes(layout):
        if shape.tag == _SHAPE and _kind(shape) is None and (text := drawing_text(shape)):
            yield text
