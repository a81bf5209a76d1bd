"""A folder of files as LlamaIndex's documents."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import Document
from llama_index.vector_stores.retrieval_store.base import RetrievalStoreVectorStore

from retrieval_store.embeddings.frameworks import FromLlamaIndex
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from retrieval_store.frameworks import needing

if TYPE_CHECKING:
    from retrieval_store_files import Unreadable
    from retrieval_store_files.readers import FileText, Section

# Metadata for citing a passage, which a model needn't read or embed.
_APART = ["source", "hash", "text_hash", "recipe", "place", "places", "start", "end", "path"]


class FolderReader(BaseReader):
    """Reads the files in a folder as documents, one per passage. Their metadata are those that
    `sync_folder` writes: path, headings, page, place, title and so on.

        embedding = AsLlamaIndex("wordllama")
        FolderReader("docs", function=embedding, exclude="drafts").load_data()
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
        """Choose which files are read, and how.

        Args:
            path: the folder.
            function: the model that must be able to read each passage whole: the index's embedding,
                a store that was made with `embed_model`, an embedding function of retrieval-store
                or its registered name. With a function, a passage begins with its headings, and no
                metadata are embedded. Without a function, passages have up to 200 words, and a
                model may truncate them.
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
        with needing("FolderReader", "retrieval-store-files", "retrieval-store-files"):
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

    def lazy_load_data(self, *args: Any, **load_kwargs: Any) -> Iterator[Document]:
        """The documents, file after file. The method takes no arguments, and raises
        InvalidTypeError if it gets any."""
        if args or load_kwargs:
            named = next(iter(load_kwargs), None) or args[0]
            raise InvalidTypeError(
                f"load_data takes no arguments, but {named!r} is given: FolderReader itself takes "
                "what is to be read"
            )
        is_read_whole = self._read.keywords["function"] is not None
        for record in self._read(self.path):
            yield Document(
                text=record["document"],
                metadata=record["metadata"],
                id_=record["id"],
                excluded_embed_metadata_keys=[*record["metadata"]] if is_read_whole else _APART,
                excluded_llm_metadata_keys=_APART,
            )


def _function_in(source: Any) -> Any:
    """The embedding function that must be able to read the passages; None if there is none."""
    if isinstance(source, RetrievalStoreVectorStore):
        source = source.embed_model
        if source is None:
            raise InvalidArgumentError(
                "function is a store without embed_model: pass the embedding, or leave it out"
            )
    return FromLlamaIndex(source) if isinstance(source, BaseEmbedding) else source
