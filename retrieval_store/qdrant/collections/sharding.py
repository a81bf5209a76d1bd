"""Shard keys, of which a node that is no cluster has none: who names one names what isn't there."""

from typing import Any

from retrieval_store.base.json_values import shown
from retrieval_store.qdrant.collections.opened import Opened
from retrieval_store.qdrant.refusals import wrong

CUSTOM = "custom"


def check_shard_key(given: Any) -> None:
    """Refuse a shard key that a call is to go to."""
    if given is not None:
        raise wrong(f"Bad request: there is no shard key {shown(given)}")


def check_sharding(opened: Opened) -> None:
    """Refuse writes to a collection whose points go where a shard key says."""
    if opened.configuration.params.get("sharding_method") == CUSTOM:
        raise wrong(
            f"Bad request: collection {opened.record.name!r} has custom sharding, and there is no "
            "shard key that its points could go to"
        )
