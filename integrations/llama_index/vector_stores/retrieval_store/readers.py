"""A folder of files as LlamaIndex's documents."""

import os
from collections.abc import Iterator
from typing import Any

from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import Document

from retrieval_store.exchange import read_folder

# What an answer is cited by, and a model needn't read or embed.
_APART = ["source", "hash", "text_hash", "recipe", "place", "places", "start", "end", "path"]


class FolderReader(BaseReader):
    """Reads the files in a folder as documents, one for each passage, with the metadata that
    `sync_folder` gives: path, headings, page, place, title and so on.

        FolderReader("docs", exclude="drafts", overlap=30).load_data()

    Takes what `retrieval_store.exchange.read_folder` takes: `include`, `exclude`, `gitignore`,
    `links`, `reader`, `chunk` (False for a document a file), `overlap`, `metadata`, `function` (an
    embedding function of retrieval-store's that is to read all of each passage), `max_bytes` and
    `on_unreadable`.
    """

    def __init__(self, path: str | os.PathLike[str], **how: Any) -> None:
        self.path, self.how = path, how

    def lazy_load_data(self, *args: Any, **kwargs: Any) -> Iterator[Document]:
        """The documents, file after file."""
        for one in read_folder(self.path, **self.how):
            yield Document(
                text=one["document"],
                metadata=one["metadata"],
                id_=one["id"],
                excluded_embed_metadata_keys=_APART,
                excluded_llm_metadata_keys=_APART,
            )
