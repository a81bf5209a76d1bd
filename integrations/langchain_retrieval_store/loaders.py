"""A folder of files as LangChain's documents."""

import os
from collections.abc import Iterator
from typing import Any

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from retrieval_store.exchange import read_folder


class FolderLoader(BaseLoader):
    """Loads the files in a folder as documents, one for each passage, with the metadata that
    `sync_folder` gives: path, headings, page, place, title and so on.

        FolderLoader("docs", exclude="drafts", overlap=30).load()

    Takes what `retrieval_store.exchange.read_folder` takes: `include`, `exclude`, `gitignore`,
    `links`, `reader`, `chunk` (False for a document a file), `overlap`, `metadata`, `function` (an
    embedding function of retrieval-store's that is to read all of each passage), `max_bytes` and
    `on_unreadable`.
    """

    def __init__(self, path: str | os.PathLike[str], **how: Any) -> None:
        self.path, self.how = path, how

    def lazy_load(self) -> Iterator[Document]:
        """The documents, file after file."""
        for one in read_folder(self.path, **self.how):
            yield Document(page_content=one["document"], metadata=one["metadata"], id=one["id"])
