"""Parses pages into elements. HTML is parsed as in browsers, by the standard of WHATWG, and XHTML
is parsed as XML.

Scripts, styles and comments are left out, since they aren't displayed as text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from retrieval_store.errors import DataLoaderError, MissingDependencyError
from retrieval_store_files.readers.packed import local_name

_NO_TEXT = frozenset(["script", "style"])
_NONE: Mapping[str, str | None] = {}
# The attributes that affect the shown text. Most elements have only others, such as a class.
_KEPT = frozenset([
    "alt", "colspan", "content", "hidden", "href", "label", "lang", "name", "open", "placeholder",
    "property", "role", "rowspan", "shadowrootmode", "slot", "srcdoc", "start", "style", "type",
    "value", "x", "xml:lang",
])  # fmt: skip
# Elements whose text belongs to the parent, unless attributes say otherwise. Pages of code have one
# for each word, which would take most of the memory.
_IN_LINE = frozenset([
    "abbr", "b", "big", "cite", "del", "dfn", "em", "font", "i", "ins", "kbd", "mark", "nobr", "s",
    "samp", "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u", "var",
])  # fmt: skip
# Elements that may have a shadow root, besides custom elements, whose names have a hyphen.
_HOSTS = frozenset([
    "article", "aside", "blockquote", "body", "div", "footer", "h1", "h2", "h3", "h4", "h5", "h6",
    "header", "main", "nav", "p", "section", "span",
])  # fmt: skip
_XML_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


@dataclass(slots=True, eq=False)
class Element:
    """An element of a page. tag: its name without a namespace; attributes: the attributes that the
    readers use, with None for an attribute without a value; children: its texts and elements, in
    order."""

    tag: str
    attributes: Mapping[str, str | None]
    children: "list[Element | str]"

    def get(self, name: str) -> str:
        """The value of an attribute; "" if the element has no such attribute, or the attribute has
        no value."""
        return self.attributes.get(name) or ""

    def elements(self) -> "Iterator[Element]":
        """All elements inside this element, in order."""
        waiting = [iter(self.children)]
        while waiting:
            for child in waiting[-1]:
                if not isinstance(child, str):
                    yield child
                    waiting.append(iter(child.children))
                    break
            else:
                waiting.pop()

    def texts(self) -> Iterator[str]:
        """All texts inside this element, in order."""
        waiting: list[Element | str] = [self]
        while waiting:
            part = waiting.pop()
            if isinstance(part, str):
                yield part
            else:
                waiting += reversed(part.children)

    def take_out(self) -> None:
        """Remove the content of this element, so that it displays nothing."""
        self.tag, self.attributes, self.children = "wbr", _NONE, []


def html_elements(text: str) -> Element:
    """Parse a page like a browser that runs no scripts, and return the root element. If an element
    has a declared shadow root, the content of the shadow root replaces the content of the
    element."""
    root = _parsed(text).root
    page = Element("html", _NONE if root is None else _kept_attributes(root.attributes), [])
    has_shadows = "shadowrootmode" in text.lower()
    shadows: list[tuple[Element, Element]] = []  # the outer ones first
    waiting: list[tuple[Element, Any]] = [(page, root and root.first_child)]
    while waiting:
        parent, node = waiting.pop()
        children = parent.children
        while node is not None:
            tag = node.tag
            if tag == "-text":
                children.append(node.text_content or "")
            elif tag and tag[0] != "-" and tag not in _NO_TEXT:
                attributes = _kept_attributes(node.attributes)
                if attributes is _NONE and tag in _IN_LINE and not has_shadows:
                    waiting.append((parent, node.next))
                    node = node.first_child
                    continue
                is_page = tag == "iframe" and "srcdoc" in attributes
                element = Element("div" if is_page else tag, attributes, [])
                children.append(element)
                if tag == "template" and _is_shadow(parent, element, shadows):
                    shadows.append((parent, element))
                if (first := _first_in(node, tag, attributes)) is not None:
                    waiting.append((element, first))
            node = node.next
    for host, template in shadows:
        _compose(host, template)
    return page


def _parsed(text: str) -> Any:
    try:
        from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, SelectolaxError
    except ImportError as error:
        raise MissingDependencyError(
            "HTML needs selectolax: pip install retrieval-store-files"
        ) from error
    events = LexborDocumentOptions.WO_EVENTS  # by scripts, which don't run
    try:
        return LexborHTMLParser(text.encode("utf-8", "replace"), options=events)
    except SelectolaxError as error:  # out of memory
        raise DataLoaderError("it isn't HTML that can be read: it is too large") from error


def _first_in(node: Any, tag: str, attributes: Mapping[str, str | None]) -> Any:
    """The first node in the content of `node`; None if there is no content. tag, attributes: those
    of `node`. Content that the parser leaves unparsed is parsed here: the content of <noframes>,
    and the page in the attribute `srcdoc` of <iframe>."""
    if tag == "template":
        fragments = node.template_fragments()
        return fragments[0].first_child if fragments else None
    if tag == "noframes":
        return _parsed(node.text()).body
    if tag == "iframe" and "srcdoc" in attributes:
        return _parsed(attributes["srcdoc"] or "").body
    return node.first_child


def _kept_attributes(attributes: dict[str, str | None]) -> Mapping[str, str | None]:
    if _KEPT.isdisjoint(attributes):
        return _NONE
    return {name: value for name, value in attributes.items() if name in _KEPT}


def _is_shadow(host: Element, template: Element, known: list[tuple[Element, Element]]) -> bool:
    """Whether a template is the shadow root of its parent `host`. If a parent has several declared
    templates, only the first is the shadow root. known: pairs of a host and its shadow root that
    were found so far."""
    is_declared = template.get("shadowrootmode").lower() in ("open", "closed")
    may_have = host.tag in _HOSTS or "-" in host.tag
    return is_declared and may_have and not (known and known[-1][0] is host)


def _compose(host: Element, template: Element) -> None:
    """Replace the content of a host by the content of the host's shadow root. The host's own
    content moves into the slots of the shadow root."""
    light: dict[str, list[Element | str]] = {}
    for child in host.children:
        if child is not template:
            light.setdefault("" if isinstance(child, str) else child.get("slot"), []).append(child)
    for slot in _slots_of(template):
        content = light.get(slot.get("name"), [])
        if any(not isinstance(child, str) or child.strip() for child in content):
            slot.children = light.pop(slot.get("name"))
    rest = [child for children in light.values() for child in children]
    host.children = [*template.children, Element("div", {"hidden": None}, rest)]


def _slots_of(template: Element) -> Iterator[Element]:
    """The slots of a shadow root, except the slots of nested shadow roots."""
    waiting: list[Element] = [template]
    while waiting:
        for child in waiting.pop().children:
            if isinstance(child, str) or child.tag == "template":
                continue
            if child.tag == "slot":
                yield child
            waiting.append(child)


def xml_elements(root: Any) -> Element:
    """Convert XHTML to elements; root: the result of `packed.xml_root`. A reference to an entity
    that the page itself declares becomes the name of the entity."""
    page = Element(local_name(root), _attributes_of(root), [])
    waiting = [(page, root)]
    while waiting:
        parent, node = waiting.pop()
        children = parent.children
        if node.text:
            children.append(node.text)
        for child in node:
            tag = local_name(child)
            if not tag:
                children.append(child.text or "")
            elif tag not in _NO_TEXT:
                element = Element(tag, _attributes_of(child), [])
                children.append(element)
                waiting.append((element, child))
            if child.tail:
                children.append(child.tail)
    return page


def _attributes_of(node: Any) -> Mapping[str, str | None]:
    if not node.attrib:
        return _NONE
    attributes = dict(node.attrib)
    if language := node.get(_XML_LANGUAGE):
        attributes["xml:lang"] = language
    return _kept_attributes(attributes)
