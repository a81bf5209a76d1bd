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

# What an answer is cited by, and a model needn't read or embed.
_APART = ["source", "hash", "text_hash", "recipe", "place", "places", "start", "end", "path"]


class FolderReader(BaseReader):
    """Reads the files in a folder as documents, one for each passage, with the metadata that
    `sync_folder` gives: path, headings, page, place, title and so on.

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
        """Say which files are read, and how.

        Args:
            path: the folder.
            function: what is to read all of each passage: the embedding of the index, a store that
                was made with `embed_model`, an embedding function of retrieval-store's or the name
                of one; no metadata are embedded with a passage then, which has its headings in
                front. Without it passages have up to 200 words, of which a model may read less.
            include: patterns of files or folders, as in a .gitignore file, such as "*.md" or
                "drafts/".
            exclude: such patterns of what is left out.
            gitignore: whether what .gitignore files name is left out.
            links: whether links to files are followed.
            reader: a function that gets the bytes and the path of each file, and returns what it
                says, or None for what the built-in readers do.
            chunk: False or None for a document a file, or a function that makes a list of passages
                of a text.
            overlap: words that two passages have in common.
            metadata: a dict, or a function of a path and a `Passage` that returns one, which is
                added.
            max_bytes: of a file.
            passwords: those that may open encrypted files.
            ocr: a function that gets a picture by Pillow, of a page of a PDF that is one, and
                returns its text.
            on_unreadable: called for each file that can't be read, or in part only; without it they
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
        """The documents, file after file. Takes no arguments: InvalidTypeError for any."""
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
    """The embedding function that is to read passages; None without one."""
    if isinstance(source, RetrievalStoreVectorStore):
        source = source.embed_model
        if source is None:
            raise InvalidArgumentError(
                "function is a store without embed_model: pass the embedding, or leave it out"
            )
    return FromLlamaIndex(source) if isinstance(source, BaseEmbedding) else source
