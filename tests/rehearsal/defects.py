"""Deliberate defects, each of a kind that occurred or could occur; the steps must detect them."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.helpers import steps

Patch = pytest.MonkeyPatch


def forgets_a_row(patch: Patch) -> None:
    """A filter leaves out one record in 100,000."""

    def select(step: Any, view: Any, ids: Any, expression: Any, *more: Any) -> Any:
        rows = step(view, ids, expression, *more)
        return rows if expression is None else rows[rows % 100_000 != 12_345]

    steps.around(patch, "rows_selected", select)


def doubles_a_record(patch: Patch) -> None:
    """A late page repeats the last record of the page before."""

    def select(
        step: Any, view: Any, ids: Any, expression: Any, limit: Any = None, offset: int = 0
    ) -> Any:
        return step(view, ids, expression, limit, offset - (offset > 20_000))

    steps.around(patch, "rows_selected", select)


def leaves_out_the_last_batch(patch: Patch) -> None:
    """A snapshot lacks the last added records."""

    def reduce(step: Any, points: Any) -> Any:
        found = step(points)
        pks = points.current_state().state.pks[-10:]
        points.write(lambda write: steps.taken("delete_rows")(write, pks))
        return found

    steps.around(patch, "reduce_snapshot", reduce)


def filters_miss_changes(patch: Patch) -> None:
    """Cached filter results ignore changes."""
    steps.around(
        patch, "note_change_in_filters", lambda step, own, seq, rows: step(own, seq, rows[:0])
    )


def columns_are_stale(patch: Patch) -> None:
    """A column ignores changes after a compaction."""
    compacted = []
    steps.before(patch, "switch_generation", lambda: compacted.append(True))

    def after(step: Any, caches: Any, seq: int, changed: Any, spaces: Any) -> Any:
        return step(caches, seq, replace(changed, payload={}) if compacted else changed, spaces)

    steps.around(patch, "note_change_in_caches", after)


def words_are_stale(patch: Patch) -> None:
    """Lists of words ignore changed documents."""

    def after(step: Any, caches: Any, seq: int, changed: Any, spaces: Any) -> Any:
        return step(caches, seq, replace(changed, documents=changed.documents[:0]), spaces)

    steps.around(patch, "note_change_in_caches", after)


def leaks_descriptors(patch: Patch) -> None:
    """Each query leaves a descriptor open."""
    steps.before(patch, "ask_points", lambda: os.open(os.devnull, os.O_RDONLY))


def leaks_memory(patch: Patch) -> None:
    """Each read of records leaves 100 KB behind."""
    held: list[bytes] = []
    steps.before(patch, "get_points", lambda: held.append(os.urandom(100_000)))


def leaves_threads(patch: Patch) -> None:
    """Each query leaves a thread that waits for a minute."""

    def start() -> None:
        threading.Thread(target=time.sleep, args=[60], daemon=True).start()

    steps.before(patch, "ask_points", start)


def measures_roughly(patch: Patch) -> None:
    """Distances are rounded to 16 bits."""

    def rough(step: Any, *arguments: Any) -> Any:
        return [
            replace(hits, distances=hits.distances.astype(np.float16).astype(float))
            for hits in step(*arguments)
        ]

    steps.around(patch, "ask_points", rough)


def counts_one_too_many(patch: Patch) -> None:
    """A facet of a value that more than a thousand records have counts one twice."""

    def facet(step: Any, *arguments: Any) -> Any:
        return [(value, count + (count > 1000)) for value, count in step(*arguments)]

    steps.around(patch, "facet_of_points", facet)


# Each with the step that must find it.
DEFECTS: dict[Callable[[Patch], None], str] = {
    forgets_a_row: "reading.every_filter",
    doubles_a_record: "reading.pages_through_everything",
    leaves_out_the_last_batch: "upkeep.snapshots_of_a_collection",
    filters_miss_changes: "writing.deletes_a_third_by_filter",
    columns_are_stale: "writing.changes_after_a_compaction",
    words_are_stale: "writing.changes_texts",
    leaks_descriptors: "reading.queries_one_by_one",
    leaks_memory: "upkeep.memory_stays",
    leaves_threads: "reading.queries_one_by_one",
    measures_roughly: "reading.queries_exactly",
    counts_one_too_many: "reading.facets",
}
