"""Changes of a store, told as they come."""

from typing import Any

import orjson

from retrieval_store.view.views import Views

EMPTY = b"\n"


class Lines:
    """What one page is told: a line at once, and one at each change."""

    def __init__(self, views: Views, collection: str | None) -> None:
        self._watching, self._collection = views.watching, collection
        self._told: dict[str, dict[str, Any]] | None = None

    def __call__(self) -> bytes | None:
        """The next line; None where nothing has changed since the last."""
        now = self._watching.now(self._collection)
        if now == self._told:
            return None
        self._told = now
        return orjson.dumps({"collections": now}) + b"\n"


def live(views: Views, collection: str | None = None) -> Lines:
    """The lines that tell of changes; of one collection sooner than of others."""
    return Lines(views, collection)
