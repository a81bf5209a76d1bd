"""Limits the reads and writes per minute of a collection, by its strict mode.

As on a Qdrant server, each collection has two buckets of tokens in this process, for reads and for
writes. A bucket holds the tokens of one minute, is full at first, and is refilled within a minute.
A read costs one token, and one for each condition of its filter. A query with examples costs one
token for each example instead of the first token.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from qdrant_client import models

from retrieval_store.extension import Lock, at_fork, conditions_in
from retrieval_store.qdrant import Refused
from retrieval_store_server.http.refusals import RateLimited

RequestKind: TypeAlias = Literal["read", "write"]
MINUTE = 60.0
TOO_MANY = 429
MAX_BUCKETS = 1024


@dataclass(slots=True)
class Bucket:
    """A bucket of tokens. tokens: the number of tokens at the time `at`, in seconds; most: the
    maximum number, which is also the number of new tokens per minute."""

    most: int
    at: float
    tokens: float = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = self.most

    def lack_after(self, cost: int, now: float) -> float:
        """Take the tokens that an operation costs, and return 0. If there are too few tokens, take
        none, and return the seconds until there are enough."""
        filled = self.tokens + (now - self.at) * self.most / MINUTE
        self.tokens, self.at = min(float(self.most), filled), now
        if self.tokens >= cost:
            self.tokens -= cost
            return 0.0
        return (cost - self.tokens) * MINUTE / self.most


class _Buckets:
    """The buckets of this process. A forked child begins with full buckets and a new lock, because
    a thread that does not exist in the child may hold the lock."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._buckets: dict[tuple[str, RequestKind], Bucket] = {}

    def forget_after_fork(self) -> None:
        """Begin with new buckets and a new lock in a forked child."""
        self._lock, self._buckets = Lock(), {}

    def lack_after(self, collection: str, kind: RequestKind, most: int, cost: int) -> float:
        """The same as `Bucket.lack_after`, for the bucket of this collection and kind of request.
        If the limit has changed, a new bucket is used."""
        now, key = time.monotonic(), (collection, kind)
        with self._lock:
            bucket = self._buckets.get(key)
            if bucket is None or bucket.most != most:
                if len(self._buckets) >= MAX_BUCKETS:
                    self._buckets.clear()
                bucket = self._buckets[key] = Bucket(most, now)
            return bucket.lack_after(cost, now)


_buckets = _Buckets()
at_fork(after_in_child=_buckets.forget_after_fork)


def spend_read(opened: Any, bodies: Sequence[Any]) -> None:
    """Refuse reads with these bodies if they exceed the limit per minute."""
    most, _ = opened.rate_limits
    if most is not None:
        _spend(opened, "read", most, sum(map(_cost_of_read, bodies)))


def spend_write(opened: Any, operations: Sequence[Any]) -> None:
    """Refuse writes if they exceed the limit per minute. Each point that a write names by its id or
    matches by its filter costs one token."""
    _, most = opened.rate_limits
    if most is not None:
        _spend(
            opened,
            "write",
            most,
            sum(_cost_of_write(opened, operation) for operation in operations),
        )


def _spend(opened: Any, kind: RequestKind, most: int, cost: int) -> None:
    exceeded = f"Rate limiting exceeded: {kind.capitalize()} rate limit exceeded"
    if cost > most:
        raise Refused(
            TOO_MANY,
            f"{exceeded}, request larger than rate limiter capacity, please try to split your "
            f"request: it counts for {cost} operations, of {most} a minute",
        )
    lack = _buckets.lack_after(opened.record.id, kind, most, cost)
    if lack > 0.0:
        seconds = max(1, math.ceil(lack))
        left = max(0.0, cost - lack * most / MINUTE)
        raise RateLimited(
            f"{exceeded}: Operation requires {cost} tokens but only {left:.1f} were available. "
            f"Retry after {seconds}s",
            seconds,
        )


def _cost_of_write(opened: Any, operation: Any) -> int:
    (body,) = vars(operation).values()
    named = body.batch if isinstance(body, models.PointsBatch) else getattr(body, "points", None)
    if named is None:
        matching: int = opened.count(body.filter)
        return max(1, matching)
    return max(1, len(named.ids if isinstance(named, models.Batch) else named))


def _cost_of_read(body: Any) -> int:
    """The tokens that a read costs. A query costs the sum of its prefetches; without prefetches it
    costs one search. Reading points by id costs one token for each id. Any other read costs one
    token, and one for each condition."""
    if hasattr(body, "ids"):
        return len(body.ids)
    if not hasattr(body, "prefetch"):
        return 1 + len(conditions_in(getattr(body, "filter", None)))
    cost, pending = 0, [body]
    while pending:
        request = pending.pop()
        sources = request.prefetch
        if sources:
            pending.extend(sources if isinstance(sources, Sequence) else [sources])
        else:
            cost += _examples(request.query) + len(conditions_in(request.filter))
    return cost


def _examples(query: Any) -> int:
    match query:
        case None | models.NearestQuery():
            return 1
        case models.RecommendQuery(recommend=examples):
            return max(1, len(examples.positive or ()) + len(examples.negative or ()))
        case models.DiscoverQuery(discover=examples):
            return 1 + _sides(examples.context)
        case models.ContextQuery(context=context):
            return max(1, _sides(context))
    return 1


def _sides(pairs: Any) -> int:
    return 2 * (len(pairs) if isinstance(pairs, Sequence) else int(pairs is not None))
