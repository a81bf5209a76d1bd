"""What `Collection.search` returns."""

from typing import Any, TypedDict


class SearchRow(TypedDict, total=False):
    """One record that was found: its id, and what of it was selected and is there."""

    id: str
    document: str
    embedding: list[float]
    metadata: dict[str, Any]
    score: float


_COLUMNS = {
    "documents": "document",
    "embeddings": "embedding",
    "metadatas": "metadata",
    "scores": "score",
}


class SearchResult(dict[str, Any]):
    """For each search, under "ids", "documents", "embeddings", "metadatas" and "scores", a list
    with an item for each record, or None for what wasn't selected; and "select", the names of what
    was."""

    def rows(self) -> list[list[SearchRow]]:
        """The same record by record: for each search a list of dicts."""
        return [self._rows(i, ids) for i, ids in enumerate(self["ids"])]

    def _rows(self, search: int, ids: list[str]) -> list[SearchRow]:
        rows = [SearchRow(id=one) for one in ids]
        for column, name in _COLUMNS.items():
            values = self[column][search]
            for row, value in zip(rows, values if values is not None else (), strict=False):
                if value is not None:
                    row[name] = value  # type: ignore[literal-required]
        return rows
