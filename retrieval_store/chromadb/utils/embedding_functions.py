"""`chromadb.utils.embedding_functions`: the names and modules of
`retrieval_store.utils.embedding_functions`. Nothing is loaded before its first use."""

from typing import TYPE_CHECKING, Any

from retrieval_store.utils import embedding_functions
from retrieval_store.utils.embedding_functions import absent, add_modules, is_chroma_name

if TYPE_CHECKING:
    from retrieval_store.utils.embedding_functions import *

__path__: list[str] = []
add_modules(__name__)

if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        from retrieval_store.errors import NameNotHereError

        if name not in embedding_functions.__all__ and is_chroma_name(name):
            raise NameNotHereError(absent(name))
        return getattr(embedding_functions, name)


def __dir__() -> list[str]:
    return dir(embedding_functions)
