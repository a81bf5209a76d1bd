"""The modules of `chromadb.utils` that programs for Chroma import, under their names.

`embedding_functions` and `data_loaders` have Chroma's names and arguments for classes of this
package. Nothing is loaded before its first use. The package may import `embeddings`, `loaders`,
`plugins`, `base` and `errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval_store.utils import data_loaders, embedding_functions

__all__ = ["data_loaders", "embedding_functions"]

if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        if name in __all__:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}; of chromadb.utils there are "
            f"{' and '.join(__all__)}"
        )


def __dir__() -> list[str]:
    return sorted(__all__)
