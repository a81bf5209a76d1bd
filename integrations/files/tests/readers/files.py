"""Files of all kinds, written by libraries, and PDFs by hand."""

import io
import json
import zipfile
import zlib
from hashlib import md5

DOCX = "docx"
PICTURE = object()


def pdf(*pages, title=None, stream=None, encoding="StandardEncoding", extra="", objects=()):
    """A PDF with lines of text on each page: None for one without, PICTURE for one that has only a
    picture, (PICTURE, text) for both. stream: the content of the first page instead; encoding: of
    the text. extra: entries for the first page and the catalogue, whose references count from the
    first of these further objects, as "%d"."""
    first = 5 + 2 * len(pages)
    of_page, of_catalogue = (one.replace("%d", str(first)) for one in (extra or ("", "")))
    made = [f"<</Type/Catalog/Pages 2 0 R{of_catalogue}>>"]
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    made += [f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>"]
    made += [f"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/{encoding}>>"]
    for i, page in enumerate(pages):
        is_pictured = page is PICTURE or isinstance(page, tuple)
        made.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents {5 + 2 * i} 0 R"
            f"/Resources<</Font<</F1 3 0 R>>/XObject<</I {first - 1} 0 R>>>>"
            f"{of_page if i == 0 else ''}>>"
        )
        text = page[1] if isinstance(page, tuple) else page
        lines = text.split("\n") if isinstance(text, str) else []
        shown = " T* ".join(f"({line}) Tj" for line in lines)
        content = f"BT /F1 12 Tf 14 TL 50 700 Td {shown} ET".encode() if lines else b""
        content += b" q 600 0 0 780 0 0 cm /I Do Q" if is_pictured else b""
        content = zlib.compress(stream if stream is not None and i == 0 else content, 9)
        head = f"<</Length {len(content)}/Filter/FlateDecode>>stream\n"
        made.append(head.encode() + content + b"\nendstream")
    made.append(
        "<</Type/XObject/Subtype/Image/Width 1/Height 1/BitsPerComponent 8/ColorSpace/DeviceGray"
        "/Length 1>>stream\nx\nendstream"
    )
    made += [one.replace("%d", str(first)) for one in objects]
    made.append(f"<</Title({title})>>" if title else "<<>>")
    return assembled(made, info=len(made))


def assembled(objects, info=None):
    """The bytes of a PDF with these objects, the first of which is its catalogue."""
    out, places = io.BytesIO(), []
    out.write(b"%PDF-1.4\n")
    for number, one in enumerate(objects, 1):
        places.append(out.tell())
        body = one if isinstance(one, bytes) else one.encode()
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    message = f"/Info {info} 0 R" if info else ""
    out.write(f"trailer<</Root 1 0 R{message}/Size {len(objects) + 1}>>\n".encode())
    out.write(b"startxref\n%d\n%%%%EOF" % start)
    return out.getvalue()


def encrypted_pdf(text, password=b"secret"):
    """A PDF with a password: the standard handler of the first revision (RC4, 40 bits)."""
    padding = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")

    def rc4(key, data):
        state, j = list(range(256)), 0
        for i in range(256):
            j = (j + state[i] + key[i % len(key)]) % 256
            state[i], state[j] = state[j], state[i]
        i = j = 0
        out = bytearray()
        for byte in data:
            i = (i + 1) % 256
            j = (j + state[i]) % 256
            state[i], state[j] = state[j], state[i]
            out.append(byte ^ state[(state[i] + state[j]) % 256])
        return bytes(out)

    padded = (password + padding)[:32]
    owner = rc4(md5(padded).digest()[:5], padded)
    name = b"0123456789abcdef"
    allowed = (-4).to_bytes(4, "little", signed=True)
    key = md5(padded + owner + allowed + name).digest()[:5]
    user = rc4(key, padding)
    content = f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET".encode()
    own = md5(key + (5).to_bytes(3, "little") + b"\0\0").digest()[:10]
    stream = rc4(own, content)
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[4 0 R]/Count 1>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 5 0 R"
        "/Resources<</Font<</F1 3 0 R>>>>>>",
        b"<</Length %d>>stream\n%b\nendstream" % (len(stream), stream),
        f"<</Filter/Standard/V 1/R 2/O<{owner.hex()}>/U<{user.hex()}>/P -4>>",
    ]
    data = assembled(objects)
    names = f"/Encrypt 6 0 R/ID[<{name.hex()}><{name.hex()}>]"
    return data.replace(b"trailer<<", b"trailer<<" + names.encode())


def changed(data, change, without=""):
    """A document of Office with each file replaced by the result of `change` for its name and
    content. Files whose names contain `without` are left out."""
    before, out = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in before.namelist():
            if not without or without not in name:
                packed.writestr(name, change(name, before.read(name)))
    return out.getvalue()


def saved(document):
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def word():
    import docx

    document = docx.Document()
    document.core_properties.title = "Sailing"
    document.core_properties.author = "Jane"
    document.add_paragraph("Before you begin.")
    document.add_heading("Knots", 1)
    document.add_paragraph("A bowline makes a loop.")
    for item in ("firm", "easy to untie"):
        document.add_paragraph(item, style="List Bullet")
    document.add_heading("Rigs", 1)
    document.add_heading("Sloop", 2)
    table = document.add_table(2, 2)
    for i, text in enumerate(["mast|s", "sails", "one", "two"]):
        table.cell(i // 2, i % 2).text = text
    return saved(document)


def slides():
    import pptx

    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text = "Wind"
    slide.placeholders[1].text = "It blows."
    slide.notes_slide.notes_text_frame.text = "Say more."
    show.slides.add_slide(show.slide_layouts[6])
    return saved(show)


def sheets(rows=50):
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "Ships"
    book.active.append(["name", "year"])
    for i in range(rows):
        book.active.append([f"ship {i}", 1900 + i])
    return saved(book)


NOTEBOOK = json.dumps(
    {
        "cells": [
            {"cell_type": "markdown", "source": ["# Waves\n", "They come."]},
            {"cell_type": "code", "source": "1 + 1", "outputs": [{"data": {"text/plain": "2"}}]},
        ],
        "metadata": {},
    }
).encode()
MAIL = b"""Subject: Tides
From: Jane <jane@example.com>
Date: Tue, 01 Sep 2026 10:00:00 +0000
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=x

--x
Content-Type: text/plain

The tide is high at nine.
--x
Content-Type: application/pdf
Content-Disposition: attachment; filename=table.pdf

nothing
--x--
"""
PAGE = b"""<!doctype html><html lang=en><head><title>Ropes - The Site</title>
<meta name=author content="Jane"><meta name=date content="2026-01-02"></head><body>
<header><a href=/>The Site</a></header><nav><ul><li><a href=a>First</a></ul></nav>
<main><h1>Ropes<a href="#ropes">\xc2\xb6</a></h1><p>A <b>rope</b> has <a href="strands.html">strands</a>,
<a href="https://example.com/a">and more</a>.
<script>alert(1)</script><h2>Kinds</h2><ul><li>hemp<li>nylon<ul><li>braided</ul></ul>
<pre>tie(
  rope)</pre><table><tr><th>kind<th>load<tr><td>hemp<td>2|3 t</table>
<h2>Care</h2><p><a href="javascript:x()">Dry</a> it.</main><footer>1999</footer></body></html>"""
PROGRAM = b'''"""Ships."""

import os

# How large it is.
SIZE = 3


class Ship:
    """A ship."""

    # It floats.
    @property
    def name(self):
        return "x"

    def sail(self):
        def inner():
            pass


def build():
    return Ship()


print(build())
'''
