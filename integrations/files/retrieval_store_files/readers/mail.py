"""Reads mail: all texts that a mail program shows, including forwarded mails."""

import email
from collections.abc import Iterator
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

from retrieval_store_files.readers import FileText, Section, few
from retrieval_store_files.readers.encodings import decode
from retrieval_store_files.readers.html import read_html
from retrieval_store_files.readers.mail_headers import MAIL_POLICY

_SAYS_NOTHING = frozenset([None, "us-ascii", "ascii", "ansi_x3.4-1968", "unknown-8bit", "8bit"])
_DEEPEST = 20  # mails within mails
_ATTACHMENT = "the attachment "
_RECEIVERS = (("To", "to"), ("Cc", "cc"))
_SENT = (("From", "from"), ("Date", "date"))


def read_mail(data: bytes, name: str) -> FileText:
    """Read the texts of a mail, and of the mails that it forwards. Attachments are named as gaps,
    and not opened."""
    mail = email.message_from_bytes(data, policy=MAIL_POLICY)
    parts = _Parts(name)
    sections = [*parts.read(mail, 0)]
    receivers = _fields(mail, _RECEIVERS)
    if receivers:
        first = sections[0] if sections else Section("")
        first = replace(first, text=f"{receivers}\n\n{first.text}".strip())
        sections = [first, *sections[1:]] if not first.headings else [Section(receivers), *sections]
    return FileText(
        sections,
        _header(mail, "subject"),
        _header(mail, "from"),
        _date_of(mail),
        gaps=few(parts.gaps),
    )


class _Parts:
    """Reads the parts of mails. gaps: descriptions of the parts that aren't read."""

    def __init__(self, name: str) -> None:
        self._name, self.gaps = name, list[str]()

    def read(self, part: Any, depth: int) -> Iterator[Section]:
        """The sections of a part, in the order in which a mail program shows them. depth: how many
        parts contain this part."""
        kind = part.get_content_type()
        if depth > _DEEPEST:
            self.gaps.append(f"a mail within {_DEEPEST} others isn't read")
        elif kind == "multipart/alternative" and part.is_multipart():
            yield from self._best_of(part.iter_parts(), depth)
        elif kind == "message/delivery-status":
            yield from _delivery_status(part)
        elif kind == "message/rfc822":
            for mail in part.iter_parts():
                yield from self._read_forwarded(mail, depth)
        elif part.is_multipart():
            for inner in part.iter_parts():
                yield from self.read(inner, depth + 1)
        elif part.get_content_maintype() in ("text", "multipart") and not part.is_attachment():
            yield from self._text(part, kind)
        else:
            self.gaps.append(f"{_ATTACHMENT}{part.get_filename() or kind!r} isn't read")

    def _text(self, part: Any, kind: str) -> Iterator[Section]:
        data, charset = part.get_payload(decode=True) or b"", _charset(part)
        if kind == "text/html" and charset is None:  # the page itself may declare it
            page = read_html(data, self._name)
        else:
            text, guessed = decode(data, charset)
            self.gaps += guessed
            if kind != "text/html":
                shown = text.replace("\r\n", "\n").strip()
                yield from [Section(shown)] if shown else []
                return
            page = read_html(text.encode("utf-8-sig", "replace"), self._name)
        self.gaps += page.gaps
        yield from page.sections

    def _best_of(self, alternatives: Any, depth: int) -> Iterator[Section]:
        """The sections of the best alternative. Alternatives are parts of a mail that have the same
        text in different formats. Usually the plain text is the best. A later alternative, such as
        HTML, is better if it has more than twice as many words."""
        known = len(self.gaps)
        best: list[Section] = []
        gaps: list[str] = []
        attached: list[str] = []  # named whichever text is shown
        for part in alternatives:
            sections = [*self.read(part, depth + 1)]
            found = self.gaps[known:]
            del self.gaps[known:]
            attached += [gap for gap in found if gap.startswith(_ATTACHMENT)]
            if not best or _words(sections) > 2 * _words(best):
                best, gaps = sections, [gap for gap in found if gap not in attached]
        self.gaps += [*attached, *gaps]
        yield from best

    def _read_forwarded(self, mail: Any, depth: int) -> Iterator[Section]:
        """The sections of a forwarded mail. The mail's subject is the heading of the sections."""
        subject = _header(mail, "subject") or ""
        fields = _fields(mail, (*_SENT, *_RECEIVERS))
        sections = [Section(fields)] if fields else []
        for section in [*sections, *self.read(mail, depth + 1)]:
            yield replace(
                section, headings=(subject, *section.headings) if subject else section.headings
            )


def _delivery_status(part: Any) -> Iterator[Section]:
    """A section with the report of a server that couldn't deliver a mail."""
    fields = (
        "\n".join(f"{name}: {value}" for name, value in inner.raw_items())
        for inner in part.iter_parts()
    )
    text = "\n\n".join(filter(None, fields))
    if text:
        yield Section(text)


def _words(sections: list[Section]) -> int:
    return sum(len(section.text.split()) for section in sections)


def _fields(mail: Any, names: tuple[tuple[str, str], ...]) -> str:
    """The header lines of a mail as text, such as "From: Jane". names: pairs of a label and the
    name of a header. Headers without a value are left out."""
    values = ((label, _header(mail, name)) for label, name in names)
    return "\n".join(f"{label}: {value}" for label, value in values if value)


def _charset(part: Any) -> str | None:
    """The encoding that a part declares. A declaration of ASCII is ignored if the text has
    non-ASCII bytes."""
    try:
        charset = part.get_content_charset()
    except (ValueError, IndexError, AttributeError, LookupError):  # errors of the library
        return None
    return None if charset in _SAYS_NOTHING else charset


def _header(mail: Any, name: str) -> str | None:
    try:
        value = mail[name]
    except (ValueError, IndexError, AttributeError, OverflowError):  # errors of the library
        return None
    return None if value is None else str(value)


def _date_of(mail: Any) -> str | None:
    try:
        return parsedate_to_datetime(_header(mail, "date") or "").isoformat()
    except (ValueError, TypeError, OverflowError):
        return None
