"""Receives files in multipart bodies, and writes them to disk while they arrive."""

import asyncio
from pathlib import Path
from typing import Any, BinaryIO

from retrieval_store.extension import translate_errors
from retrieval_store_server.http.receiving import PlainRefusedError, Receive, deadline, receive_part

MAX_PARTS = 1_000  # parts of a multipart body; and headers of one part
LONGEST_HEADER = 16 * 1024  # bytes of one header


def boundary_of(headers: dict[bytes, bytes]) -> bytes:
    """The boundary of a multipart body; raises PlainRefusedError if there is none."""
    from python_multipart.multipart import parse_options_header

    content_type = headers.get(b"content-type")
    if content_type is None:
        raise PlainRefusedError(400, "Could not find Content-Type header")
    kind, options = parse_options_header(content_type)
    if not kind.startswith(b"multipart/"):
        message = "Parsed Content-Type did not have 'multipart' top-level media type"
        raise PlainRefusedError(415, message)
    boundary = options.get(b"boundary")
    if not boundary:
        raise PlainRefusedError(400, "Could not find the boundary in Content-Type header")
    return boundary


async def stream_to_file(
    receive: Receive, headers: dict[bytes, bytes], path: Path, seconds: float
) -> None:
    """Write the part `snapshot` of a multipart body to a new file while it arrives. Raises
    PlainRefusedError (400) for a body without that part, and StorageFullError if the disk is
    full."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser

    boundary = boundary_of(headers)
    with translate_errors(path), path.open("xb") as file:
        part = _PartWriter(file)
        try:
            parser = MultipartParser(boundary, part.callbacks())
            more = True
            async with deadline(seconds):
                while more:
                    message = await receive_part(receive)
                    more = message.get("more_body", False)
                    body = message.get("body", b"")
                    if body:
                        await asyncio.to_thread(parser.write, body)
            parser.finalize()
        except FormParserError as error:
            raise PlainRefusedError(400, f"the multipart body can't be read: {error}") from None
        if not part.was_found:
            raise PlainRefusedError(400, "Field 'snapshot' is required")


class _PartWriter:
    """Writes the bytes of the part of a multipart body that contains the snapshot."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._header, self._value = b"", b""
        self._is_snapshot = False
        self._parts = self._headers = 0
        self.was_found = False

    def callbacks(self) -> Any:
        """The callbacks for the multipart parser."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_part_data": self._on_data,
        }

    def _begin(self) -> None:
        self._is_snapshot = False
        self._parts += 1
        self._refuse_too_many()

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._refuse_too_many()

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._refuse_too_many()

    def _end_header(self) -> None:
        from python_multipart.multipart import parse_options_header

        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._is_snapshot = options.get(b"name") == b"snapshot" and not self.was_found
            self.was_found |= self._is_snapshot
        self._header, self._value = b"", b""
        self._headers += 1
        self._refuse_too_many()

    def _refuse_too_many(self) -> None:
        """Refuse a body with too many parts or headers, since each part or header takes far longer
        than its bytes."""
        size = len(self._header) + len(self._value)
        if max(self._parts, self._headers) > MAX_PARTS or size > LONGEST_HEADER:
            raise PlainRefusedError(
                400,
                f"the multipart body has more than {MAX_PARTS} parts or headers, or a header of "
                f"more than {LONGEST_HEADER} bytes",
            )

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_snapshot:
            self._file.write(memoryview(data)[start:end])
