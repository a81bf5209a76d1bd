"""A folder of files as LangChain's documents."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from langchain_retrieval_store.retriever import as_embeddings, as_function
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.frameworks import needing

if TYPE_CHECKING:
    from retrieval_store_files import Unreadable
    from retrieval_store_files.readers import FileText, Section


class FolderLoader(BaseLoader):
    """Loads the files in a folder as documents, one per passage. Their metadata are those that
    `sync_folder` writes: path, headings, page, place, title and so on.

        store = RetrievalStore("wordllama", path="./store")
        store.add_documents(FolderLoader("docs", function=store, exclude="drafts").load())
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        function: Any = None,
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        gitignore: bool = False,
        links: bool = False,
        reader: "Callable[[bytes, str], FileText | Iterable[Section] | str | None] | None" = None,
        chunk: bool | Callable[[str], list[str]] | None = True,
        overlap: int = 0,
        metadata: Mapping[str, Any] | Callable[..., Mapping[str, Any] | None] | None = None,
        max_bytes: int = 50_000_000,
        passwords: Sequence[str] = (),
        ocr: Callable[[Any], str] | None = None,
        on_unreadable: "Callable[[Unreadable], object] | None" = None,
    ) -> None:
        """Choose which files are loaded, and how.

        Args:
            path: the folder.
            function: the model that must be able to read each passage whole: the destination store,
                its embedding, an embedding function of retrieval-store or its registered name.
                Without it passages have up to 200 words, and a model may truncate them.
            include: patterns of files or folders, as in a .gitignore file, such as "*.md" or
                "drafts/".
            exclude: patterns, in the same form, of files or folders that are left out.
            gitignore: whether files matched by .gitignore files are left out.
            links: whether links to files are followed.
            reader: a function that gets the bytes and the path of each file. It returns the file's
                text, or None to use the built-in readers.
            chunk: False or None for one document per file, or a function that splits a text into a
                list of passages.
            overlap: the number of words that adjacent passages share.
            metadata: metadata to add: a dict, or a function of a path and a `Passage` that returns
                a dict.
            max_bytes: the largest size of a file.
            passwords: candidates for opening encrypted files.
            ocr: a function that gets a Pillow image of a scanned PDF page, and returns its text.
            on_unreadable: called for each file that can't be read completely; without it such files
                are logged as warnings.

        Raises:
            InvalidArgumentError: a store without an embedding.
        """
        with needing("FolderLoader", "retrieval-store-files", "retrieval-store-files"):
            from retrieval_store_files import read_folder

        self.path = path
        self._read = partial(
            read_folder,
            function=_function_in(function),
            include=include,
            exclude=exclude,
            gitignore=gitignore,
            links=links,
            reader=reader,
            chunk=chunk,
            overlap=overlap,
            metadata=metadata,
            max_bytes=max_bytes,
            passwords=passwords,
            ocr=ocr,
            on_unreadable=on_unreadable,
        )

    def lazy_load(self) -> Iterator[Document]:
        """Yield the documents, file by file."""
        for record in self._read(self.path):
            yield Document(
                page_content=record["document"], metadata=record["metadata"], id=record["id"]
            )


def _function_in(source: Any) -> Any:
    """The embedding function for which passages must be short enough: the function in a store or an
    embedding, or the passed function itself. None if nothing was passed."""
    if isinstance(source, VectorStore):
        if source.embeddings is None:
            raise InvalidArgumentError(
                "function is a store without an embedding: pass an embedding function, or leave it "
                "out"
            )
        source = source.embeddings
    return as_function(as_embeddings(source, "function"))
