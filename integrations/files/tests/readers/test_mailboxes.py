"""The texts that are read in mailboxes, and in mails that Outlook has saved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.files.tests.readers import files, packages
from integrations.files.tests.readers.test_kinds import texts
from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers.files import read_file
from retrieval_store_files.readers.mailboxes import read_mbox, read_msg

FROM = b"From jane@example.com Tue Sep  1 10:00:00 2026\n"
SUBJECT, BODY, HTML, SENDER, CLASS = 0x37, 0x1000, 0x1013, 0x0C1A, 0x1A


def test_the_mails_of_a_mailbox_are_read_below_their_subjects():
    page = b"Subject: =?utf-8?q?M=C3=B6we?=\nContent-Type: text/html\n\n<h1>Tide</h1><p>high</p>\n"
    plain = b"From: Bob\n\n>From the sea.\nFrom here on.\n"
    box = FROM + files.MAIL + b"\n" + FROM.replace(b"\n", b"\r\n") + page + b"\n" + FROM + plain
    file = read_file(box, "a.mbox")
    assert texts(file) == [
        (
            ("Tides",),
            "From: Jane <jane@example.com>\nDate: 2026-09-01T10:00:00+00:00\n\nThe tide is high at nine.",
        ),
        (("Möwe", "Tide"), "high"),
        (("Mail 3",), "From: Bob\n\nFrom the sea.\nFrom here on."),
    ]
    assert file.gaps == ("mail 1: the attachment 'table.pdf' isn't read",)
    many = read_file((FROM + files.MAIL + b"\n") * 12, "a.mbox")
    assert many.gaps[0] == "12 parts of 12 mails aren't read" and many.gaps[-1] == "and 2 more"


def test_an_invalid_mailbox_is_refused_and_an_empty_one_is_read():
    assert read_file(b"\n", "a.mbox").sections == []
    with pytest.raises(DataLoaderError, match="it isn't a mailbox"):
        read_file(b"Subject: x\n\ny", "a.mbox")


LINES = st.lists(
    st.sampled_from(["From here.", ">From x", "a line", "", "Subject: no", " "]), max_size=5
)


@given(st.lists(LINES, min_size=1, max_size=5))
def test_each_mail_is_read_on_its_own(bodies):
    box = b""
    for number, lines in enumerate(bodies):
        quoted = [f">{line}" if line.lstrip(">").startswith("From ") else line for line in lines]
        mail = f"Subject: mail{number}\n\nword{number}\n" + "\n".join(quoted) + "\n\n"
        box += FROM + mail.encode()
    file = read_mbox(box, "a.mbox")
    assert [section.headings for section in file.sections] == [
        (f"mail{n}",) for n in range(len(bodies))
    ]
    for number, (section, lines) in enumerate(zip(file.sections, bodies, strict=True)):
        assert section.text == "\n".join([f"word{number}", *lines]).strip()


def test_a_mail_of_outlook_is_read():
    filetime = (1_788_256_800 + 11_644_473_600) * 10_000_000  # 2026-09-01, 10:00
    data = packages.outlook(
        {
            SUBJECT: "Tides",
            BODY: "High at nine.\r\nLow at three.",
            SENDER: "Jane",
            CLASS: "IPM.Note",
        },
        [{0x3001: "Bob", 0x3003: "bob@example.com"}, {0x3001: "ann@x.org", 0x3003: "ann@x.org"}],
        [{0x3707: "table.pdf"}, {0x3001: "Forwarded"}],
        sent=filetime,
    )
    file = read_file(data, "a.msg")
    assert texts(file) == [
        ((), "To: Bob <bob@example.com>, ann@x.org\n\nHigh at nine.\nLow at three.")
    ]
    assert (file.title, file.author, file.date) == ("Tides", "Jane", "2026-09-01T10:00:00+00:00")
    assert file.gaps == (
        "the attachment 'table.pdf' isn't read", "the attachment 'Forwarded' isn't read",
    )  # fmt: skip
    many = packages.outlook({BODY: "x"}, attachments=[{0x3707: f"{n}"} for n in range(12)])
    assert read_file(many, "a.msg").gaps[-1] == "3 more attachments"


def test_mails_of_outlook_as_pages_in_old_encodings_or_without_a_text():
    page = packages.outlook({SUBJECT: "x"}, binary={HTML: "<h1>Möwe</h1><p>words</p>".encode()})
    assert texts(read_file(page, "a.msg")) == [(("Möwe",), "words")]
    old = packages.outlook({}, eight_bit={SUBJECT: "格式".encode("cp950")}, code_page=950)
    assert read_file(old, "a.msg").title == "格式"
    bare = packages.outlook({CLASS: "IPM.Appointment"}, binary={0x1009: b"rtf"})
    assert read_file(bare, "a.msg").gaps == (
        "its text, which is RTF alone, isn't read",
        "the fields of its kind, IPM.Appointment, aren't read",
    )
    empty = packages.ole({"a": b"x"})
    with pytest.raises(DataLoaderError, match="it isn't a mail of Outlook"):
        read_file(empty, "a.msg")
    assert read_file(b"::msgcat::mcset de Open", "de.msg").sections[0].is_code


def test_omitted_parts_of_a_page_in_a_mail_of_outlook_are_named():
    page = b"<nav><a href=x>Home</a></nav><p hidden>not seen</p><p>The tide is high at nine.</p>"
    file = read_msg(packages.outlook({SUBJECT: "s"}, binary={HTML: page}), "a.msg")
    assert file.sections[0].text == "The tide is high at nine."
    assert file.gaps == ("2 words that are hidden", "1 word of navigation")
