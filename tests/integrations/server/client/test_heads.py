"""Heads of answers, and of the pieces of their bodies, as other servers may send them."""

from http.client import HTTPException

import pytest

from retrieval_store_server.client.connection import (
    RequestWriter,
    address_of,
    head_of,
    piece_size,
)


@pytest.mark.parametrize(("line", "size"), [(b"0\r\n", 0), (b"1f\r\n", 31), (b"A ;x=y\r\n", 10)])
def test_a_piece_says_its_length_in_hexadecimal_digits(line, size):
    assert piece_size(line) == size


@pytest.mark.parametrize("line", [b"\r\n", b"-5\r\n", b"+5\r\n", b"0x5\r\n", b"1_0\r\n", b"z\r\n"])
def test_any_other_length_of_a_piece_is_refused(line):
    with pytest.raises(HTTPException, match="a piece of a body begins with"):
        piece_size(line)


@pytest.mark.parametrize("length", ["-1", "+1", "1_0", "", "0x1"])
def test_a_length_that_is_no_number_of_bytes_is_refused(length):
    with pytest.raises(HTTPException, match="content-length"):
        head_of(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())


def test_compressed_answers_are_never_asked_for():
    options = {"headers": {"Accept-Encoding": "gzip", "x-mine": "1"}}
    (head,) = RequestWriter(address_of("http://here:1", options)).build("GET", "/", (b"",))
    assert [line for line in head.splitlines() if line.startswith((b"accept", b"x-"))] == [
        b"accept-encoding: identity",
        b"x-mine: 1",
    ]
