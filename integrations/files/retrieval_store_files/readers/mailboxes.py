"""Reads mailboxes, which are files of many mails, and mails that Outlook has saved."""

import codecs
import io
import re
from dataclasses import replace
from functools import cache
from typing import Any

from retrieval_store.errors import DataLoaderError, MissingDependencyError
from retrieval_store_files.readers import FileText, Section, count_phrase, few, unreadable
from retrieval_store_files.readers.data import read_code
from retrieval_store_files.readers.html import read_html
from retrieval_store_files.readers.mail import read_mail
from retrieval_store_files.readers.mail_headers import decode_words
from retrieval_store_files.readers.packed import OLE

# The line before each mail: the first of the file, one with a time and a year below an empty line,
# or one above a header. In the text of a mail such lines are escaped with ">".
_FROM = re.compile(
    rb"\AFrom [^\n]*\n|(?:(?<=\n\n)|(?<=\n\r\n))From [^\n]*\d:\d\d[^\n]*\d{4}[^\n]*\n"
    rb"|^From [^\n]*\n(?=[!-9;-~]+:)",
    re.MULTILINE,
)
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
# Properties, and a type of properties: texts in an encoding that another property names.
_COMPRESSED_RTF, _DISPLAY_NAME, _SUBJECT, _SENDER_NAME = 0x1009, 0x3001, 0x0037, 0x0C1A
_HTML, _CODE_PAGE_OF_BODY, _CODE_PAGE_OF_STRINGS, _STRING8 = 0x1013, 0x3FDE, 0x3FFD, 0x001E
_OF_EXCHANGE = re.compile(r"\s*</o=[^>]*>", re.IGNORECASE)
_MAIL = ("IPM.Note", "REPORT.IPM.Note", "IPM.Post", "IPM.StickyNote")


def read_mbox(data: bytes, name: str) -> FileText:
    """Read the mails of a mailbox. The subject of each mail is the heading of its sections.
    Attachments are named as gaps, and not opened."""
    if b"\n" not in data:  # as on an old Macintosh
        data = data.replace(b"\r", b"\n")
    places = [*_FROM.finditer(data)]
    if not places and data.strip():
        raise DataLoaderError('it isn\'t a mailbox: no line begins with "From " before a mail')
    ends = [*(match.start() for match in places[1:]), len(data)][: len(places)]
    sections: list[Section] = []
    gaps: list[str] = []
    for number, (match, end) in enumerate(zip(places, ends, strict=True), 1):
        message = _QUOTED.sub(rb"\1", data[match.end() : end])
        try:
            mail = read_mail(message, name)
        except (MemoryError, RecursionError):
            raise
        except Exception as error:  # only for this mail: the others are read
            gaps.append(
                f"mail {number} isn't read: {unreadable('a mail', error, 'a mail program')}"
            )
            continue
        sections += _sections_of(mail, number)
        gaps += [f"mail {number}: {gap}" for gap in mail.gaps]
    more = [f"{len(gaps):,} parts of {len(places):,} mails aren't read"] if len(gaps) > 10 else []
    return FileText(sections, gaps=(*more, *few(gaps)))


def _sections_of(mail: FileText, number: int) -> list[Section]:
    """The sections of a mail. The mail's subject is the heading of the sections, and the first
    section begins with the sender and the date. number: the mail's position in the mailbox, which
    is the heading of a mail without a subject."""
    subject = " ".join((mail.title or "").split()) or f"Mail {number}"
    lead = _lead(mail.author, mail.date)
    first, *rest = mail.sections or [Section("")]
    text = "\n\n".join(filter(None, [lead, first.text]))
    return [
        Section(text, (subject, *first.headings)),
        *(Section(section.text, (subject, *section.headings)) for section in rest),
    ]


def _lead(author: str | None, date: str | None) -> str:
    lines = [f"From: {author}"] if author else []
    return "\n".join([*lines, *([f"Date: {date}"] if date else [])])


def read_msg(data: bytes, name: str) -> FileText:
    """Read a mail that Outlook has saved. Attachments are named as gaps, and not opened. A .msg
    file that isn't such a mail, such as a message catalogue, is read as text."""
    if not data.startswith(OLE):
        return read_code(data, name)
    try:
        from oxmsg import Message
    except ImportError as error:
        raise MissingDependencyError(
            f"mail of Outlook needs python-oxmsg: pip install retrieval-store-files ({error})"
        ) from error
    _know_code_pages()
    try:
        message = Message.load(io.BytesIO(data))
        body = _body_of(message, name)
        file = FileText(
            body.sections,
            _decode_again(message, _SUBJECT, message.subject).strip() or None,
            _sender_of(message),
            _date_of(message),
            gaps=(*body.gaps, *_gaps_of(message, bool(body.sections))),
        )
    except (MemoryError, RecursionError, DataLoaderError):
        raise
    except Exception as error:  # any error of the library
        raise unreadable("a mail of Outlook", error, "Outlook") from error
    return file


def _body_of(message: Any, name: str) -> FileText:
    """The text of a mail that Outlook has saved. The first section begins with the recipients."""
    recipients = [
        " ".join(filter(None, [recipient.name, _address_of(recipient)]))
        for recipient in message.recipients
    ]
    lead = "\n".join([f"To: {', '.join(recipients)}"] if recipients else [])
    text = (message.body or "").replace("\r\n", "\n").strip()
    sections = [Section(text)] if text else []
    page = b"" if text else _page_of(message)
    file = read_html(page, name) if page else FileText(sections)
    if not file.sections and not lead:
        return file
    first, *rest = file.sections or [Section("")]
    first = Section("\n\n".join(filter(None, [lead, first.text])), first.headings)
    return replace(file, sections=[first, *rest])


def _page_of(message: Any) -> bytes:
    """The HTML text of a mail. If the mail doesn't declare the encoding, the HTML may declare
    it."""
    page = message.properties.binary_prop_value(_HTML)
    if page and message.properties.int_prop_value(_CODE_PAGE_OF_BODY) is None:
        return bytes(page)
    return (message.html_body or "").encode()


def _address_of(recipient: Any) -> str:
    address = recipient.email_address
    return f"<{address}>" if address and address != recipient.name else ""


def _sender_of(message: Any) -> str | None:
    """The name and address of the sender, without an address in an Exchange directory."""
    named = message.sender or message.properties.str_prop_value(_SENDER_NAME)
    sender = _decode_again(message, _SENDER_NAME, named or "")
    if not sender:
        return None
    return _OF_EXCHANGE.sub("", decode_words(sender)).strip() or None


def _decode_again(message: Any, number: int, text: str) -> str:
    """The text of a property of a mail. If the mail doesn't declare the encoding of short texts,
    the text is decoded again, in the encoding of the body. number: the number of the property;
    text: the text as the library decoded it."""
    properties = message.properties
    if properties.int_prop_value(_CODE_PAGE_OF_STRINGS) is not None or not any(
        known.pid == number and known.ptyp == _STRING8 for known in properties
    ):
        return text
    try:
        return text.encode("iso-8859-15").decode(properties.body_encoding)
    except (UnicodeError, LookupError):
        return text


def _date_of(message: Any) -> str | None:
    """The date of a mail in ISO 8601; None if it is in 1601, which means that there is no date."""
    date = message.sent_date
    return date.isoformat() if date and date.year > 1601 else None


@cache
def _know_code_pages() -> None:
    """Register the Windows encodings in Python under the names that the library uses, such as
    "windows-950". For some of these names, a larger encoding is used. Mails that declare such a
    name are really written in the larger encoding."""
    from oxmsg.domain import encodings

    larger = {932: "cp932", 936: "gb18030", 949: "cp949", 950: "big5hkscs", 38598: "iso-8859-8"}
    encodings._CODE_PAGE_ENCODINGS.update(larger)

    def look_up(name: str) -> codecs.CodecInfo | None:
        number = name.replace("-", "_").removeprefix("windows_")
        return codecs.lookup(f"cp{number}") if number != name and number.isdigit() else None

    codecs.register(look_up)


def _gaps_of(message: Any, has_text: bool) -> list[str]:
    names = [
        attachment.file_name
        or attachment.properties.str_prop_value(_DISPLAY_NAME)
        or "without a name"
        for attachment in message.attachments
    ]
    gaps = [f"the attachment {file!r} isn't read" for file in names[:9]]
    gaps += count_phrase(len(names) - 9, "more attachment") if len(names) > 9 else []
    body = message.body or message.html_body
    if not body and message.properties.binary_prop_value(_COMPRESSED_RTF):
        gaps.append("its text, which is RTF alone, isn't read")
    kind = message.message_class
    if kind and not kind.startswith(_MAIL):
        gaps.append(f"the fields of its kind, {kind}, aren't read")
    return gaps
