"""The texts that are read in AsciiDoc, Org, LaTeX, XML and subtitles."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.files.tests.readers.test_kinds import texts
from retrieval_store_files.readers.files import read_file, reader_name, why_no_reader
from retrieval_store_files.readers.marked_text import (
    read_asciidoc,
    read_latex,
    read_org,
    read_subtitles,
)

ASCIIDOC = """= Sea Guide
Jane Doe <jane@example.com>
v1.0, 2026-01-02
:lang: en

Intro

== Knots

----
== no heading
----

Bowline
~~~~~~~

[[other]]
Rigs
----
text

[NOTE]
====
inside
====

.Title
====
include::part.adoc[]
====
"""


def test_asciidoc_is_read_by_its_headings():
    file = read_file(ASCIIDOC.encode(), "a.adoc")
    assert [headings for headings, _ in texts(file)] == [
        ("Sea Guide",), ("Sea Guide", "Knots"), ("Sea Guide", "Knots", "Bowline"),
        ("Sea Guide", "Rigs"),
    ]  # fmt: skip
    assert file.sections[1].text == "----\n== no heading\n----"
    assert file.sections[3].text.endswith("include::part.adoc[]\n====")
    assert all(ASCIIDOC[section.start : section.end] == section.text for section in file.sections)
    assert (file.title, file.author, file.date, file.language) == (
        "Sea Guide", "Jane Doe", "2026-01-02", "en",
    )  # fmt: skip
    assert file.gaps == ("'part.adoc', which it includes, isn't read",)
    assert read_file(b"text\n\n== Late\n\nx", "a.asciidoc").title is None


def test_org_is_read_by_its_headings():
    text = (
        "#+TITLE: Sea\n#+title: Guide\n#+AUTHOR: Jane\n#+DATE: <2026-01-02 Fri>\n#+LANGUAGE: en\n"
        "before\n* TODO Knots :rope:\n** Bowline\ntext *bold*\n*no heading\n* Rigs\n"
        '#+INCLUDE: "part.org" src\n'
    )
    file = read_file(text.encode(), "a.org")
    assert [headings for headings, _ in texts(file)] == [
        (), ("TODO Knots :rope:", "Bowline"), ("Rigs",),
    ]  # fmt: skip
    assert all(text[section.start : section.end] == section.text for section in file.sections)
    assert (file.title, file.author, file.date, file.language) == (
        "Sea Guide", "Jane", "2026-01-02", "en",
    )  # fmt: skip
    assert file.gaps == ("'part.org', which it includes, isn't read",)


LATEX = r"""\title{\textbf{M\"owen} und M{\'e}nage}
\author{J\"org Stra\ss e \and \'Edouard}
\date{2026-01-02}
Fran\c{c}ais na\"{\i}ve {\"O}l \o re {\aa}l \'{e}t\'e co\-op
% \section{no}
\part{One}
\section*[short]{A {nested \emph{title}}\label{x}}
text 100\% here
\begin{verbatim}
\section{none} \"a
\end{verbatim}
\subsection
{B}
\input{ch1}
\section{Empty}
"""


def test_latex_is_read_by_its_headings():
    file = read_file(LATEX.encode(), "a.tex")
    first, *rest = texts(file)
    assert first[1].split("\n")[3] == "Français naïve Öl øre ål été coop"
    assert rest == [
        (
            ("One", "A nested title (short)"),
            'text 100\\% here\n\\begin{verbatim}\n\\section{none} \\"a\n\\end{verbatim}',
        ),
        (("One", "A nested title (short)", "B"), "\\input{ch1}"),
        (("One", "Empty"), ""),
    ]
    assert file.title == "Möwen und Ménage" and file.author == "Jörg Straße Édouard"
    assert file.date == "2026-01-02" and file.gaps == ("'ch1', which it includes, isn't read",)
    place = file.sections[1]
    assert LATEX[place.start : place.end] == place.text


def test_xml_is_read_in_its_encoding_with_its_attributes():
    text = (
        '<?xml version="1.0" encoding="iso-8859-1"?>\n<a name="M&#246;we">Größe &amp; &#x1F600;</a>'
    )
    (section,) = read_file(text.encode("latin-1"), "a.xml").sections
    assert section.text.endswith('<a name="Möwe">Größe & 😀</a>') and section.is_code
    wrong = read_file("<?xml version='1.0' encoding='nobody-knows'?><a>ö</a>".encode(), "a.xml")
    assert "<a>ö</a>" in wrong.sections[0].text
    for name in ("a.toml", "a.ini", "a.sql"):
        assert read_file("key = 'Möwe'".encode(), name).sections[0].text == "key = 'Möwe'"


VTT = """WEBVTT - My talk
Kind: captions

STYLE
::cue { color: red }

NOTE a remark
of two lines

intro
00:05.000 --> 00:09.000 align:left
<v Roger>We are in <i>New York</i> &amp; more</v>

1:12:05.100 --> 1:12:09.000
- Hi <c.yellow>there</c> <00:12:06.000>you
- <laughs>
"""


def test_subtitles_are_read_with_their_speakers_below_their_times():
    file = read_file(VTT.encode(), "a.vtt")
    assert texts(file) == [
        (
            ("00:00:05",),
            "Kind: captions\nNOTE a remark of two lines\nRoger: We are in New York & more\n"
            "- Hi there you - <laughs>",
        )
    ]
    assert file.title == "My talk"
    assert file.gaps == ("1 block of styles", "1 name of a cue")
    cues = "".join(
        f"{n + 1}\r\n00:{n // 60:02}:{n % 60:02},500 --> 00:59:00,000\r\n{{\\an8}}line {n}\r\n\r\n"
        for n in range(100)
    )
    srt = read_file(cues.encode(), "a.srt")
    assert [section.headings for section in srt.sections] == [
        ("00:00:00",),
        ("00:00:40",),
        ("00:01:20",),
    ]
    assert srt.sections[1].text.split("\n")[0] == "line 40"
    place = cues[srt.sections[1].start : srt.sections[1].end]
    assert place.startswith("41\r\n") and place.endswith("line 79")


def test_markdown_with_components_is_read_as_markdown():
    text = b"import Chart from 'x'\n\n# Sea\n\n<Chart year={2026}>waves</Chart>\n"
    assert texts(read_file(text, "a.mdx")) == [
        ((), "import Chart from 'x'"), (("Sea",), "<Chart year={2026}>waves</Chart>"),
    ]  # fmt: skip


def test_readers_are_found_by_suffix_and_others_name_what_would_help():
    known = {
        "a.epub": "epub", "a.fodt": "odt", "a.ott": "odt", "a.ods": "ods", "a.odg": "odp",
        "a.rtf": "rtf", "a.mbox": "mbox", "a.msg": "msg", "a.xls": "xls", "a.mdx": "md",
        "a.asciidoc": "adoc", "a.org": "org", "a.latex": "tex", "a.xml": "xml", "a.vtt": "srt",
        "a.log": "txt", "a.toml": "code", "a.sql": "code", "a.doc": None, "a.zip": None,
    }  # fmt: skip
    assert {name: reader_name(name) for name in known} == known
    assert why_no_reader("a.doc") == (
        "no reader for .doc: convert it, as with `libreoffice --convert-to docx`"
    )
    assert why_no_reader("a.DJVU") == "no reader for .djvu: `djvutxt` makes a file that may be read"
    assert why_no_reader("a.bin") == "no reader for .bin"


PIECES = st.sampled_from(
    ["= One", "== Two", "* Org", "** Deep", "Title", "-----", "=====", "----", "", " ", "words and",
     "\\section{A}", "\\section{", "}", "%", "\\begin{verbatim}", "\\end{verbatim}", "[x]", "////",
     "00:01.000 --> 00:02.000", "WEBVTT", "NOTE", "1", "<v Bob>", "\r", "#+TITLE: t", "|==="]
)  # fmt: skip


@pytest.mark.parametrize("read", [read_asciidoc, read_org, read_latex, read_subtitles])
@given(lines=st.lists(PIECES, max_size=20))
def test_each_word_is_read_in_any_order_of_lines(read, lines):
    marked = [
        f"{line} word{n}" if line in ("words and", "Title", "NOTE") else line
        for n, line in enumerate(lines)
    ]
    text = "\n".join(marked)
    file = read(text.encode(), "a")
    shown = " ".join(" ".join([*section.headings, section.text]) for section in file.sections)
    everything = f"{shown} {file.title} {file.author}"
    assert {*re.findall(r"word\d+", text)} <= {*re.findall(r"word\d+", everything)}
    places = [(section.start, section.end) for section in file.sections]
    assert places == sorted(places)
    if read in (read_asciidoc, read_org):
        assert all(text[section.start : section.end] == section.text for section in file.sections)
