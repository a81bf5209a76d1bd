"""Texts by URI."""

import codecs
import os
from collections.abc import Sequence

from retrieval_store.errors import DataLoaderError, InvalidArgumentError
from retrieval_store.loaders.images import OnError, loaded_all, sources_of


class TextLoader:
    """Loads texts. encoding: how they are written. The other arguments are those of `ImageLoader`.
    None stays None."""

    def __init__(
        self,
        *,
        encoding: str = "utf-8",
        schemes: Sequence[str] = (),
        root: str | os.PathLike[str] | None = None,
        max_bytes: int = 10_000_000,
        timeout: float = 10.0,
        private_addresses: bool = False,
        on_error: OnError = "raise",
        threads: int = 4,
    ) -> None:
        self._sources = sources_of(schemes, root, max_bytes, timeout, private_addresses, on_error)
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise InvalidArgumentError(
                f"encoding is {encoding!r}, which Python doesn't know"
            ) from None
        self._encoding, self.on_error, self._threads = encoding, on_error, max(1, threads)

    def __call__(self, uris: Sequence[str | None]) -> list[str | None]:
        """The texts, in the order of the uris."""
        return loaded_all(self._load, uris, self.on_error, self._threads)

    def _load(self, uri: str) -> str:
        try:
            return self._sources.read(uri).decode(self._encoding)
        except UnicodeDecodeError as error:
            raise DataLoaderError(f"it isn't a text in {self._encoding}: {error}") from error
