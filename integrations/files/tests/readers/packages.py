"""Books, OpenDocument, OLE files and old spreadsheets, written by hand."""

import io
import struct
import zipfile

# Zips


def zipped(members):
    """A zip with these files, given by their names and contents."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return out.getvalue()


CONTAINER = """<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""


def page(body, title=""):
    """A chapter of a book."""
    return (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head>'
        f"<title>{title}</title></head><body>{body}</body></html>"
    )


def book(chapters, spine=None, metadata="<dc:title>Sailing</dc:title>", extra=(), members=()):
    """An EPUB. chapters: bodies by file name; spine: the names in reading order, by default the
    order of chapters; extra: items of the manifest; members: more files."""
    items = "".join(
        f'<item id="{name}" href="{name}" media-type="application/xhtml+xml"/>' for name in chapters
    )
    order = "".join(f'<itemref idref="{name}"/>' for name in spine or chapters)
    package = f"""<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata>{metadata}</metadata><manifest>{items}{"".join(extra)}</manifest><spine>{order}</spine></package>"""
    pages = {f"OEBPS/{name}": page(body) for name, body in chapters.items()}
    return zipped(
        {"META-INF/container.xml": CONTAINER, "OEBPS/book.opf": package, **pages, **dict(members)}
    )


_PREFIXES = {
    "office": "office", "text": "text", "table": "table", "draw": "drawing", "style": "style",
    "presentation": "presentation", "form": "form", "chart": "chart", "meta": "meta",
    "svg": "svg-compatible",
}  # fmt: skip
SPACES = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in _PREFIXES.items()
) + (' xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:dc="http://purl.org/dc/elements/1.1/"')


def content(body, kind="text", head="", styles=""):
    """The content of OpenDocument."""
    return (
        f'<?xml version="1.0"?>{head}<office:document-content {SPACES}>'
        f"<office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>"
    )


def open_document(body, kind="text", meta="", masters="", styles="", members=()):
    """OpenDocument as a zip. masters: the content of the master pages; members: more files."""
    return zipped(
        {
            "content.xml": content(body, kind, styles=styles),
            "meta.xml": f"<office:document-meta {SPACES}><office:meta>{meta}</office:meta></office:document-meta>",
            "styles.xml": f"<office:document-styles {SPACES}><office:master-styles>{masters}</office:master-styles></office:document-styles>",
            **dict(members),
        }
    )


# OLE, the format of Outlook's mails and old spreadsheets

_SECTOR, _SMALL = 512, 64
_FREE, _END, _TABLE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def ole(storage):
    """A compound file of streams, which are bytes, and storages, which are dicts."""
    entries = [["Root Entry", 5, _FREE, _FREE, 0, 0]]  # name, kind, next, child, start, size
    small, big, small_table = bytearray(), [], []

    def add(items, parent):
        before = None
        for name, value in items.items():
            place = len(entries)
            entries.append([name, 1 if isinstance(value, dict) else 2, _FREE, _FREE, 0, 0])
            entries[before if before is not None else parent][2 if before is not None else 3] = (
                place
            )
            before = place
            if isinstance(value, dict):
                add(value, place)
            elif len(value) >= 4096:
                big.append((place, value))
            else:
                count = -(-len(value) // _SMALL)
                start = len(small_table)
                small_table.extend([*range(start + 1, start + count), _END] if count else [])
                small.extend(value.ljust(count * _SMALL, b"\0"))
                entries[place][4:] = [start if count else _END, len(value)]

    add(storage, 0)
    table, sectors = [], []

    def put(data):
        count = max(1, -(-len(data) // _SECTOR))
        start = len(table)
        table.extend([*range(start + 1, start + count), _END])
        sectors.append(data.ljust(count * _SECTOR, b"\0"))
        return start

    for place, value in big:
        entries[place][4:] = [put(value), len(value)]
    entries[0][4:] = [put(bytes(small)) if small else _END, len(small)]
    tabled = b"".join(struct.pack("<I", number) for number in small_table)
    first_small = (
        put(tabled.ljust(-(-len(tabled) // _SECTOR) * _SECTOR, b"\xff")) if tabled else _END
    )
    directory = b"".join(map(_entry, entries))
    first_entry = put(directory)
    number = 1
    while (len(table) + number) * 4 > number * _SECTOR:
        number += 1
    first_table = len(table)
    table += [_TABLE] * number
    fat = b"".join(struct.pack("<I", number) for number in table).ljust(number * _SECTOR, b"\xff")
    head = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 62, 3, 0xFFFE, 9, 6)
    )
    head += bytes(6) + struct.pack(
        "<IIIIIIIII", 0, number, first_entry, 0, 4096, first_small,
        -(-len(tabled) // _SECTOR), _END, 0,
    )  # fmt: skip
    places = [first_table + i for i in range(number)]
    head += b"".join(struct.pack("<I", number) for number in places).ljust(436, b"\xff")
    return head + b"".join(sectors) + fat


def _entry(entry):
    name, kind, following, child, start, size = entry
    wide = (name + "\0").encode("utf-16-le")
    return (
        wide.ljust(64, b"\0") + struct.pack("<HBBIII", len(wide), kind, 1, _FREE, following, child)
        + bytes(36) + struct.pack("<IQ", start, size)
    )  # fmt: skip


def outlook(
    texts, recipients=(), attachments=(), binary=(), sent=None, eight_bit=(), code_page=None
):
    """A mail of Outlook. texts, binary: properties by number; sent: a FILETIME; eight_bit: texts
    as bytes; code_page: of its body."""
    streams = {
        f"__substg1.0_{key:04X}001F": text.encode("utf-16-le") for key, text in dict(texts).items()
    }
    streams |= {f"__substg1.0_{key:04X}0102": data for key, data in dict(binary).items()}
    streams |= {f"__substg1.0_{key:04X}001E": data for key, data in dict(eight_bit).items()}
    listed = [
        struct.pack("<HHIQ", int(name[-4:], 16), int(name[-8:-4], 16), 6, len(data))
        for name, data in streams.items()
    ]
    listed += [struct.pack("<HHIQ", 0x40, 0x39, 6, sent)] if sent else []
    listed += [struct.pack("<HHIQ", 3, 0x3FDE, 6, code_page)] if code_page else []
    counts = (len(recipients), len(attachments), len(recipients), len(attachments))
    head = bytes(8) + struct.pack("<4I", *counts) + bytes(8)
    parts = {"__properties_version1.0": head + b"".join(listed), **streams}
    for number, values in enumerate(recipients):
        parts[f"__recip_version1.0_#{number:08X}"] = _part(values)
    for number, values in enumerate(attachments):
        parts[f"__attach_version1.0_#{number:08X}"] = _part(values)
    return ole({"__nameid_version1.0": {"__substg1.0_00020102": b""}, **parts})


def _part(texts):
    streams = {
        f"__substg1.0_{key:04X}001F": text.encode("utf-16-le") for key, text in texts.items()
    }
    listed = [struct.pack("<HHIQ", 0x1F, key, 6, len(text)) for key, text in texts.items()]
    return {"__properties_version1.0": bytes(8) + b"".join(listed), **streams}


# Spreadsheets of Excel 97


def _record(kind, body=b""):
    return struct.pack("<HH", kind, len(body)) + body


def _text(text, width="<H"):
    return struct.pack(width, len(text)) + b"\1" + text.encode("utf-16-le")


def cells(rows):
    """Records of cells: texts, bools, and numbers or pairs of numbers with the number of a
    format."""
    out = b""
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            place, style = struct.pack("<HH", row, column), struct.pack("<H", 15)
            if isinstance(value, tuple):
                value, form = value
                style = struct.pack("<H", 16 + form)
            if isinstance(value, str):
                out += _record(0x0204, place + style + _text(value)) if value else b""
            elif isinstance(value, bool):
                out += _record(0x0205, place + style + bytes([value, 0]))
            elif value is not None:
                out += _record(0x0203, place + style + struct.pack("<d", value))
    return out


def merged(*ranges):
    return _record(
        0x00E5,
        struct.pack("<H", len(ranges)) + b"".join(struct.pack("<4H", *place) for place in ranges),
    )


def header(text, footer=False):
    return _record(0x15 if footer else 0x14, _text(text))


def box(text, kind=6):
    """A box with a text; kind 25 is a comment on a cell."""
    return (
        _record(0x5D, struct.pack("<HHHHH", 0x15, 18, kind, 1, 0) + bytes(12) + bytes(4))
        + _record(0x1B6, struct.pack("<HH6sHHI", 0, 0, bytes(6), len(text), 0, 0))
        + (_record(0x3C, b"\1" + text.encode("utf-16-le")) if text else b"")
    )


def old_excel(sheets, formats=(), hidden=()):
    """A spreadsheet of Excel 97, without the OLE around it. sheets: records by title; formats: the
    number formats, by number."""
    begin = struct.pack("<HHHHII", 0x0600, 5, 0, 0, 0, 0)
    head = _record(0x809, begin) + _record(0x42, struct.pack("<H", 1200))
    head += (
        _record(0x31, struct.pack("<HHHHH5B", 200, 0, 0x7FFF, 400, 0, 0, 0, 0, 0, 0) + b"\5\0Arial")
        * 5
    )
    head += b"".join(
        _record(0x41E, struct.pack("<H", 164 + number) + _text(form))
        for number, form in enumerate(formats)
    )
    style = struct.pack("<HHH", 0, 0, 0xFFF5) + bytes(14)
    head += _record(0xE0, style) * 15 + _record(0xE0, struct.pack("<HHH", 0, 0, 1) + bytes(14))
    for number in range(len(formats)):
        head += _record(0xE0, struct.pack("<HHH", 0, 164 + number, 1) + bytes(14))
    bodies = [
        _record(0x809, struct.pack("<HHHHII", 0x0600, 0x10, 0, 0, 0, 0)) + body + _record(0x0A)
        for body in sheets.values()
    ]
    names = [_text(title, "<B") for title in sheets]
    at = len(head) + sum(4 + 6 + len(name) for name in names) + 4
    for title, name, body in zip(sheets, names, bodies, strict=True):
        head += _record(0x85, struct.pack("<IBB", at, title in hidden, 0) + name)
        at += len(body)
    return head + _record(0x0A) + b"".join(bodies)
