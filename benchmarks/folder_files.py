"""Creates a folder of fifty files of all kinds, by the libraries that people use.

`folder_answers.py --make FOLDER` calls it. Long texts are topics of Python's help. Each file also
contains a sentence of its own (`mark_of` its path), which shows whether the whole file was read.
PDFs are written by reportlab, which isn't among the project's dependencies. Without it, PDFs are
left out and named.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable
from email.message import EmailMessage
from pathlib import Path
from pydoc_data.topics import topics

TITLES = sorted(one for one, text in topics.items() if 1_500 < len(text) < 12_000)
WORKSHOP = [
    "The workshop is open on weekdays from nine to six, and until noon on Saturdays.",
    "Only members who have passed the induction course may use the lathe, and never alone.",
    "Sweep the floor before you go. Dust from the sander goes into the grey bin.",
]
LENT = [
    ("item", "shelf", "lent to", "due"),
    ("torque wrench", "C4", "Anna Berg", "2024-05-12"),
    ("tyre gauge", "B2", "", ""),
    ("cordless drill", "A1", "Jonas Falk", "2024-05-20"),
    ("extension lead", "D3", "", ""),
]
HEATING = (
    "Dear neighbours,\n\nthe heating engineer visits on Thursday the 14th, between eight and ten "
    "in the morning. Someone has to open the cellar for him.\n\nYours, Marta"
)
BROKEN = ("broken.docx", "encrypted.pdf", "picture.pdf", "setup.exe", ".hidden.txt")


def mark_of(name: str) -> str:
    """The sentence that the file of this name contains."""
    number = sum(map(ord, name)) * 7919 % 9000 + 1000
    return f"The inventory lists this document under number {number}."


def _topic(number: int) -> tuple[str, str]:
    title = TITLES[number * 11 % len(TITLES)]
    return title.capitalize(), topics[title]


def _paragraphs(number: int) -> list[str]:
    return [one.strip() for one in _topic(number)[1].split("\n\n") if one.strip()]


def _text(name: str, number: int) -> str:
    return f"{_topic(number)[1]}\n\n{mark_of(name)}\n"


def _markdown(name: str, number: int) -> str:
    title, _ = _topic(number)
    body = "\n\n".join(f"## Part {i}\n\n{one}" for i, one in enumerate(_paragraphs(number)[:6]))
    table = "| knot | load |\n|---|---|\n| bowline | 200 kg |\n| hitch | 90 kg |"
    return f"---\ntitle: {title}\n---\n\n# {title}\n\n{body}\n\n{table}\n\n{mark_of(name)}\n"


def _rst(name: str, number: int) -> str:
    title, text = _topic(number)
    return f"{title}\n{'=' * len(title)}\n\n{text}\n\nNumber\n------\n\n{mark_of(name)}\n"


def _html(name: str, number: int) -> str:
    from html import escape

    title, _ = _topic(number)
    body = "".join(f"<h2>Part {i}</h2><p>{escape(one)}</p>" for i, one in _numbered(number))
    nav = "<nav><ul><li><a href='a'>Home</a></li><li><a href='b'>Shop</a></li></ul></nav>"
    return (
        f"<!DOCTYPE html><html lang='en'><head><title>{title}</title></head><body>{nav}<main>"
        f"<h1>{title}</h1>{body}<p>{mark_of(name)}</p></main><footer>all rights</footer></body>"
    )


def _numbered(number: int) -> Iterable[tuple[int, str]]:
    return enumerate(_paragraphs(number)[:8])


def _code(comment: str) -> Callable[[str, int], str]:
    def made(name: str, number: int) -> str:
        lines = "\n".join(f"{comment} {one}" for one in _paragraphs(number)[0].splitlines())
        return f"{lines}\n\nstart {{ run 1 }}\n\n{comment} {mark_of(name)}\n"

    return made


def _python(name: str, number: int) -> str:
    text = _paragraphs(number)[0].replace('"', "'").replace("\\", "/")
    return (
        f'"""{text}"""\n\n\nclass Ship:\n    """{mark_of(name)}"""\n\n'
        f"    def sail(self, days: int) -> int:\n        return days * 24\n"
    )


def _settings(name: str, number: int) -> str:
    return f'# {mark_of(name)}\n[server]\nport = {8000 + number}\nname = "harbour"\n'


def _json(name: str, number: int) -> str:
    people = [{"name": "Jane", "port": "Kiel"}, {"name": "Ole", "port": "Bergen"}]
    said = {"note": mark_of(name), "people": people, "text": _paragraphs(number)[0]}
    return json.dumps(said, indent=2)


def _jsonl(name: str, number: int) -> str:
    rows = [{"id": i, "text": one} for i, one in _numbered(number)]
    return "".join(json.dumps(row) + "\n" for row in [*rows, {"id": 99, "text": mark_of(name)}])


def _table(delimiter: str) -> Callable[[str, int], str]:
    def made(name: str, number: int) -> str:
        out = io.StringIO()
        writer = csv.writer(out, delimiter=delimiter)
        writer.writerows([("n", "port", "note"), *((i, "Kiel", "calm") for i in range(45))])
        writer.writerow((number, "Bergen", mark_of(name)))
        return out.getvalue()

    return made


def _notebook(name: str, number: int) -> str:
    text = [f"# {_topic(number)[0]}\n", "\n", mark_of(name)]
    output = {"output_type": "stream", "name": "stdout", "text": ["42\n"]}
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": text},
        {
            "cell_type": "code", "metadata": {}, "execution_count": 1,
            "source": ["print(6 * 7)"], "outputs": [output],
        },
    ]  # fmt: skip
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def _mail(name: str, number: int) -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "Heating" if name == "heating.eml" else _topic(number)[0]
    mail["From"], mail["To"] = "Marta <marta@example.org>", "house@example.org"
    mail["Date"] = "Mon, 11 Mar 2024 09:30:00 +0100"
    body = HEATING if name == "heating.eml" else _paragraphs(number)[0]
    mail.set_content(f"{body}\n\n{mark_of(name)}\n")
    mail.add_attachment(b"\0\1\2", maintype="application", subtype="octet-stream", filename="a.bin")
    return mail.as_bytes()


def _word(name: str, number: int) -> bytes:
    from docx import Document

    document = Document()
    document.add_heading("Rules" if name == "workshop.docx" else _topic(number)[0], 1)
    for one in WORKSHOP if name == "workshop.docx" else _paragraphs(number)[:6]:
        document.add_paragraph(one)
    document.add_heading("Number", 2)
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "note", mark_of(name)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def _slides(name: str, number: int) -> bytes:
    from pptx import Presentation

    slides = Presentation()
    for i, text in _numbered(number):
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = f"Slide {i}", text[:300]
    slide.notes_slide.notes_text_frame.text = mark_of(name)
    out = io.BytesIO()
    slides.save(out)
    return out.getvalue()


def _sheets(name: str, number: int) -> bytes:
    from openpyxl import Workbook

    book = Workbook()
    rows = LENT if name == "lending.xlsx" else [("n", "port"), *((i, "Kiel") for i in range(60))]
    for row in rows:
        book.active.append(row)
    book.create_sheet("Notes").append(("note", mark_of(name)))
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _pdf(name: str, number: int) -> bytes:
    """Write a PDF with an outline; its last page has the file's sentence."""
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out)
    canvas.setTitle(_topic(number)[0])
    lines = _topic(number)[1].splitlines()[:120]
    for i in range(0, len(lines), 40):
        canvas.bookmarkPage(f"p{i}")
        canvas.addOutlineEntry(f"Lines from {i}", f"p{i}")
        shown = canvas.beginText(60, 780)
        shown.textLines([one.encode("ascii", "replace").decode() for one in lines[i : i + 40]])
        canvas.drawText(shown)
        canvas.showPage()
    canvas.drawString(60, 780, mark_of(name))
    canvas.save()
    return out.getvalue()


def _encrypted(name: str, number: int) -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out, encrypt="secret")
    canvas.drawString(60, 780, f"{mark_of(name)} {number}")
    canvas.save()
    return out.getvalue()


def _picture(name: str, number: int) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (300, 200), (number, 90, 160)).save(out, "PDF")
    return out.getvalue()


Maker = Callable[[str, int], str | bytes]
KINDS: list[tuple[Maker, str]] = [
    (_text, "sea.txt wind.txt ships/log.txt ships/crew.txt"),
    (_markdown, "guide.md notes/knots.md notes/rope.md README.md"),
    (_rst, "manual.rst notes/sails.rst notes/tides.rst"),
    (_html, "web/index.html web/about.html web/faq.htm"),
    (_python, "code/ship.py code/harbour.py"),
    (_code("//"), "code/sail.c code/sail.js"),
    (_code("#"), "code/run.sh Makefile"),
    (_settings, "settings.toml"),
    (_json, "data/people.json data/ports.json"),
    (_jsonl, "data/log.jsonl"),
    (_table(","), "data/loads.csv data/tides.csv data/crew.csv"),
    (_table("\t"), "data/ports.tsv"),
    (_notebook, "lab/loads.ipynb lab/tides.ipynb"),
    (_mail, "heating.eml mail/offer.eml mail/thanks.eml"),
    (_word, "workshop.docx office/letter.docx office/contract.docx office/minutes.docx"),
    (_slides, "office/talk.pptx office/plan.pptx"),
    (_sheets, "lending.xlsx office/budget.xlsx office/rota.xlsx"),
    (_pdf, "papers/knots.pdf papers/sails.pdf papers/tides.pdf"),
    (_encrypted, "encrypted.pdf"),
    (_picture, "picture.pdf"),
    (lambda *_: b"PK\3\4 what was a document", "broken.docx"),
    (lambda *_: b"MZ\0\0", "setup.exe"),
    (_text, ".hidden.txt"),
]


def make(folder: Path) -> list[str]:
    """Write the files. Returns those that couldn't be written because a library is missing."""
    missing, number = [], 0
    for maker, names in KINDS:
        for name in names.split():
            number += 1
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                made = maker(name, number)
            except ImportError as error:
                missing.append(f"{name}: {error.name} isn't installed")
                continue
            path.write_bytes(made.encode() if isinstance(made, str) else made)
    return missing
