"""`chromadb.api`: the types of clients, `types`, and collections in `models`. It may import every
package except `cli`.
"""

from typing import TYPE_CHECKING, Any

from retrieval_store.api.client import ClientAPI
from retrieval_store.chromadb.absences import error_for
from retrieval_store.chromadb.api import models, types

__all__ = ["ClientAPI", "models", "types"]

if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        raise error_for(__name__, name)
