"""The loggers: "retrieval_store" and, below it, one for each of what may be watched apart.

Until the application says where to, warnings go to the standard error, as Python has it. DEBUG is
what maintenance does, INFO what happens rarely (a store is made, migrated, restored; an index is
built), WARNING what an operator should look at. From INFO on, log records never contain texts,
metadata or filters.
"""

import logging
from typing import Literal, TypeAlias

ROOT = "retrieval_store"
Part: TypeAlias = Literal["store", "maintenance", "files", "cluster", "server", "access"]


def log_of(part: Part | None = None) -> logging.Logger:
    """The logger of a part: `store` tells of stores and collections that come and go, `maintenance`
    of compaction, codes and indexes, `files` of derived files that are loaded or of no use,
    `cluster` of calls, `server` of requests that failed, `access` of all requests; None for what
    concerns the call that a user makes."""
    return logging.getLogger(ROOT if part is None else f"{ROOT}.{part}")
