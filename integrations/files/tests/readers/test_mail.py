"""The texts that are read in mail."""

from email.message import EmailMessage

from integrations.files.tests.readers import files
from integrations.files.tests.readers.test_kinds import texts
from retrieval_store_files.readers.files import read_file


def read(mail):
    return read_file(mail if isinstance(mail, bytes) else mail.as_bytes(), "a.eml")


def message(text, subject="report", **fields):
    mail = EmailMessage()
    mail["Subject"], mail["From"] = subject, "a@example.org"
    for name, value in fields.items():
        mail[name] = value
    mail.set_content(text)
    return mail


def test_a_mail_and_its_headers():
    mail = read(files.MAIL)
    assert texts(mail) == [((), "The tide is high at nine.")]
    assert (mail.title, mail.author) == ("Tides", "Jane <jane@example.com>")
    assert mail.date == "2026-09-01T10:00:00+00:00"
    assert mail.gaps == ("the attachment 'table.pdf' isn't read",)
    to = read(message("Come.", To="bob@example.org", Cc="cid@example.org"))
    assert texts(to) == [((), "To: bob@example.org\nCc: cid@example.org\n\nCome.")]


def test_all_texts_that_are_shown_one_after_another_are_read():
    mail = message("See the picture.")
    mail.make_mixed()
    mail.add_attachment(b"x", "image", "png", filename="heron.png")
    second = EmailMessage()
    second.set_content("The heron is on the left.")
    mail.attach(second)
    mail.add_attachment(message("The ibis came later.", "inner", To="b@example.org"))
    file = read(mail)
    assert texts(file) == [
        ((), "See the picture."),
        ((), "The heron is on the left."),
        (("inner",), "From: a@example.org\nTo: b@example.org"),
        (("inner",), "The ibis came later."),
    ]
    assert file.gaps == ("the attachment 'heron.png' isn't read",)


def test_the_longer_of_two_versions_of_a_text_is_read():
    for plain, page, right in (
        ("", "<p>The heron letter</p>", "The heron letter"),
        ("This mail is HTML.", f"<p>{'word ' * 20}</p>", ("word " * 20).strip()),
        ("The heron letter", "<p>The heron letter</p>", "The heron letter"),
    ):
        mail = message(plain)
        mail.add_alternative(page, subtype="html")
        assert texts(read(mail)) == [((), right)]


def test_a_text_in_an_unknown_encoding_is_read():
    head = b"Subject: x\nContent-Type: text/plain; charset=nobody-knows\n\n"
    assert texts(read(head + b"The tide.\n")) == [((), "The tide.")]
    file = read(head + "Größe geändert".encode("cp1252"))
    assert texts(file) == [((), "Größe geändert")]
    assert file.gaps == ("it isn't in UTF-8, and was read as Windows-1252",)


def test_mails_within_mails_end_somewhere():
    mail = message("innermost")
    for _ in range(30):
        outer = message("outer")
        outer.make_mixed()
        outer.add_attachment(mail)
        mail = outer
    file = read(mail)
    assert len(file.sections) > 15 and "a mail within 20 others isn't read" in file.gaps
