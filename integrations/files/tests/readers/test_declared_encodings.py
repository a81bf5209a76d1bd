"""The encodings that pages, XML and mails declare, by the labels in the encoding standard."""

import base64

import pytest

from retrieval_store_files.readers.declared import codec_of, label_in_page
from retrieval_store_files.readers.files import read_file

LABELS = [  # a label, a text in its encoding, and Python's name of that
    ("x-sjis", "①髙橋の港", "cp932"),
    ("windows-31j", "①髙橋の港", "cp932"),
    ("shift_jis", "～㈱ の港", "cp932"),
    ("euc-jp", "日本語の港", "euc_jp"),
    ("iso-8859-8-i", "שלום עולם", "iso8859-8"),
    ("logical", "שלום עולם", "iso8859-8"),
    ("x-mac-cyrillic", "Привет мир", "mac-cyrillic"),
    ("macintosh", "Größe geändert", "mac-roman"),
    ("big5", "啫喱 香港 咁樣", "big5hkscs"),
    ("x-x-big5", "啫喱 香港 咁樣", "big5hkscs"),
    ("gb2312", "镕基 你好", "gbk"),
    ("gb_2312-80", "镕基 你好", "gbk"),
    ("x-gbk", "镕基 㐀 你好", "gb18030"),
    ("ks_c_5601-1987", "똠방각하", "cp949"),
    ("euc-kr", "똠방각하", "cp949"),
    ("tis-620", "ที่ท่าเรือ “”", "cp874"),
    ("latin1", "“quoted” for 5 €", "cp1252"),
    ("iso-8859-1", "“quoted” for 5 €", "cp1252"),
    ("iso-8859-9", "açılır “şimdi”", "cp1254"),
    ("koi8-u", "Їхні човни", "koi8-u"),
    ("koi8-r", "Привет мир", "koi8-r"),
    ("cp866", "Привет мир", "cp866"),
    ("iso-8859-16", "cărți și", "iso8859-16"),
    ("windows-1258", "Đêm nay", "cp1258"),
    ("iso-2022-jp", "日本語の港", "iso2022_jp"),
    ("cp437", "Größe geändert", "cp437"),  # which the standard doesn't have
]


def words_of(file):
    return " ".join([file.title or "", *(section.text for section in file.sections)])


KINDS = ["xml", "eml", "mbox", "page in a mail"]


@pytest.mark.parametrize(
    ("label", "text", "encoding", "kind"),
    [*((*one, "html") for one in LABELS), *((*one, kind) for one in LABELS[::4] for kind in KINDS)],
)
def test_a_label_is_read_as_browsers_read_it(label, text, encoding, kind):
    data = text.encode(encoding)
    mail = (
        f"Subject: s\nMIME-Version: 1.0\nContent-Type: text/plain; charset={label}\n"
        "Content-Transfer-Encoding: base64\n\n"
    ).encode() + base64.b64encode(data)
    page = b"<html><head><meta charset=" + label.encode() + b"></head><body><p>" + data
    files = {
        "html": ("a.html", page),
        "xml": ("a.xml", f'<?xml version="1.0" encoding="{label}"?><a>'.encode() + data + b"</a>"),
        "eml": ("a.eml", mail),
        "mbox": ("a.mbox", b"From a Thu Jan  1 00:00:00 2026\n" + mail),
        "page in a mail": (
            "a.eml",
            b"Subject: s\nMIME-Version: 1.0\nContent-Type: text/html\n"
            b"Content-Transfer-Encoding: base64\n\n" + base64.b64encode(page),
        ),
    }
    name, content = files[kind]
    file = read_file(content, name)
    assert text in words_of(file)
    assert file.gaps == ()


@pytest.mark.parametrize(("label", "text", "encoding"), LABELS)
def test_words_in_the_headers_of_a_mail_are_decoded_too(label, text, encoding):
    word = f"=?{label}?B?{base64.b64encode(text.encode(encoding)).decode()}?="
    mail = f"Subject: {word}\nFrom: {word} <a@b.c>\nTo: {word} <d@e.f>\n\nhello\n"
    file = read_file(mail.encode(), "a.eml")
    assert file.title == text
    assert file.author is not None and text in file.author
    assert text in file.sections[0].text


def test_a_character_that_is_divided_between_two_words_of_a_header_is_read():
    data = "镕基你好".encode("gbk")
    words = "\n ".join(
        f"=?GB2312?B?{base64.b64encode(part).decode()}?=" for part in (data[:3], data[3:])
    )
    file = read_file(f"Subject: {words}\n\nhello\n".encode(), "a.eml")
    assert file.title == "镕基你好"


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_headers_that_are_not_encoded_are_read(encoding):
    mail = "Subject: Größe geändert, schöne Grüße\nFrom: Jürgen <a@b.c>\n\nhello\n"
    file = read_file(mail.encode(encoding), "a.eml")
    assert (file.title, file.author) == ("Größe geändert, schöne Grüße", "Jürgen <a@b.c>")


def test_the_rows_of_windows_are_read_in_each_encoding_of_japanese():
    # Characters that Python's codecs for them lack: "①", and NEC's and IBM's "髙".
    for label, data in (
        ("euc-jp", b"\xad\xa1\xa4\xce\xb9\xc1 \xfc\xe2 \xb1"),
        ("iso-2022-jp", b"\x1b$B\x2d\x21\x24\x4e\x39\x41\x1b(B \x1b$B\x7c\x62\x1b(B \x1b(I\x31"),
    ):
        page = b"<meta charset=" + label.encode() + b"><p>" + data
        text = words_of(read_file(page.replace(b"\xb1", b"\x8e\xb1"), "a.html"))
        assert "①の港 髙 ｱ" in text, label


@pytest.mark.parametrize(
    ("page", "label"),
    [
        (b"<!-- <meta charset=big5> --><meta charset=koi8-r>", "koi8-r"),
        (b"<!--><meta charset=koi8-r>", "koi8-r"),
        (b"<p title='<meta charset=big5>'><META CHARSET = 'koi8-r'>", "koi8-r"),
        (b"<a <meta charset=big5><meta charset=koi8-r>", "koi8-r"),
        (b"<metadata charset=big5><meta/charset=koi8-r>", "koi8-r"),
        (b"<meta charset=nobody-knows><meta charset=koi8-r>", "koi8-r"),
        (b"<meta name=d content='charset=big5'><meta charset=koi8-r>", "koi8-r"),
        (b"<meta content='text/html; charset=\"koi8-r\"' http-equiv=Content-Type>", "koi8-r"),
        (b"<!doctype html><?x <meta charset=big5> ?><meta\ncharset\n=\nkoi8-r\n>", "koi8-r"),
        (b"<?xml version='1.0' encoding='koi8-r'?><html>", "koi8-r"),
        (b"<meta charset=utf-16le>", "utf-8"),
        (b"<meta charset=x-user-defined>", "windows-1252"),
        (b"<!-- <meta charset=big5>", None),
        (b"<meta charset>", None),
        (b"<<<<</", None),
    ],
)
def test_a_label_is_looked_up_as_in_the_html_standard(page, label):
    assert label_in_page(page) == label


@pytest.mark.parametrize(
    "label", ["rot13", "base64", "punycode", "idna", "unicode_escape", "é", "../x", "a\0b", ""]
)
def test_unknown_encodings_have_no_codec(label):
    assert codec_of(label) is None


@pytest.mark.parametrize("ending", ["html", "xml", "eml"])
def test_a_text_in_utf_8_that_declares_another_encoding_is_in_utf_8(ending):
    text = "Größe geändert, 東京の港, Привет"
    data = {
        "html": f"<meta charset=windows-1252><p>{text}",
        "xml": f'<?xml version="1.0" encoding="iso-8859-1"?><a>{text}</a>',
        "eml": f"Content-Type: text/plain; charset=gb2312\n\n{text}",
    }[ending]
    assert text in words_of(read_file(data.encode(), f"a.{ending}"))


def test_a_mail_that_declares_ascii_wrongly_is_guessed():
    text = "Библиотека в порту открывается в девять часов утра, в том числе по субботам."
    head = b"Subject: s\nContent-Type: text/plain; charset=us-ascii\n\n"
    file = read_file(head + text.encode("cp1251"), "a.eml")
    assert words_of(file) == f"s {text}"
    assert file.gaps == ("it isn't in UTF-8, and was read as Windows-1251",)


def test_a_module_is_read_in_the_encoding_that_it_declares():
    source = "#!/usr/bin/python\n# vim: set fileencoding=cp1251 :\nx = 'Привет'\n"
    file = read_file(source.encode("cp1251"), "a.py")
    assert "Привет" in words_of(file) and file.gaps == ()
