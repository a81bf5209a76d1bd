"""Which of the hits of a query are shown: what users pass, checked."""

import sys
from typing import Any

from retrieval_store.base.arrays import plain_scalar
from retrieval_store.base.json_values import shown
from retrieval_store.direct.arguments import whole_number
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.interface.queries import Cut


def checked_cut(
    n_results: Any, offset: Any, max_distance: Any, group_by: Any, group_size: Any, mode: str
) -> Cut:
    """A cut of what a user passes."""
    count = whole_number(n_results, "n_results", 1)
    skipped = 0 if offset is None else whole_number(offset, "offset", 0, sys.maxsize - count)
    size = 1 if group_size is None else whole_number(group_size, "group_size", 1)
    if group_by is None and group_size is not None:
        raise InvalidArgumentError("group_size goes with group_by, the key to group by")
    if group_by is not None and (not isinstance(group_by, str) or not group_by):
        raise InvalidArgumentError(f"group_by is {shown(group_by)}, expected a metadata key")
    if max_distance is None:
        return Cut(count, skipped, None, group_by, size)
    if mode != "dense":
        raise InvalidArgumentError(f"max_distance goes with mode 'dense', not {mode!r}")
    max_distance = plain_scalar(max_distance)
    number = isinstance(max_distance, int | float) and not isinstance(max_distance, bool)
    if not number or not abs(max_distance) <= sys.float_info.max:  # NaN isn't, either
        raise InvalidArgumentError(f"max_distance is {shown(max_distance)}, expected a number")
    return Cut(count, skipped, float(max_distance), group_by, size)
