"""`chromadb.config`: settings."""

from typing import TYPE_CHECKING, Any

from retrieval_store.api.arguments import DEFAULT_DATABASE, DEFAULT_TENANT
from retrieval_store.api.chroma.settings import Settings
from retrieval_store.chromadb.absences import error_for

__all__ = ["DEFAULT_DATABASE", "DEFAULT_TENANT", "Settings"]

if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        raise error_for(__name__, name)
