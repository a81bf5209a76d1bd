"""Thresholds of the package by plain names, so that the smallest collections have an index, a log
is truncated after two writes, and waits are short. If a threshold moves in the package, only this
table changes.
"""

from pkgutil import resolve_name
from typing import Any

import pytest

THRESHOLDS: dict[str, tuple[str, ...]] = {
    name: tuple(
        path if path.startswith("retrieval_store_") else f"retrieval_store.{path}"
        for path in paths.split()
    )
    for name, paths in {
        # How the engine filters, and what it keeps of that.
        "columns_worth": "engine.filtering.columns.COLUMNS_WORTH",
        "compared_at_once": "engine.filtering.segments.COMPARED",
        "cost_of_a_read": "engine.filtering.order.READ",
        "counted_at_least": "engine.filtering.select.COUNTED",
        "few_to_count": "engine.filtering.select.LOOKED_AT_WHOLE",
        "filters_followed": "engine.filtering.cache.FOLLOWED",
        "first_look": "engine.filtering.select.FIRST_LOOK",
        "cost_of_beginning": "engine.filtering.evaluate.READ_START_COST",
        "cost_of_looking": "engine.filtering.evaluate.POINT_READ_COST",
        "few_listed": "engine.filtering.evaluate.FEW_LISTED",
        "sampled_rows": "engine.filtering.evaluate.SAMPLE",
        "few_of_sample": "engine.filtering.evaluate.FEW_OF_SAMPLE",
        "asked_conditions": "engine.filtering.evaluate.MOST_NODES",
        "changed_rows": "engine.filtering.segments.MOST_CHANGED",
        "broad_filters": "engine.filtering.cache.BROAD",
        "pairs_at_once": "engine.filtering.order.FIRST_PAIRS",
        "places_at_once": "engine.filtering.segments.PHRASE_STARTS_AT_ONCE",
        "looked_up_at_once": "engine.filtering.evaluate.ROWS_PER_COST",
        "looked_at_once": "engine.filtering.select.LOOKED_AT_ONCE",
        "changes_kept": "engine.state.caches.CHANGES_KEPT",
        "keys_noted": "engine.state.caches.KEYS_NOTED",
        "memory_budget": "engine.state.caches.CACHE_BUDGET.limit",
        "wanted_after": "engine.state.caches.WANTED_AFTER",
        # Lists of words.
        "lists_worth": "engine.text.ranking.LISTS_WORTH",
        "lists_pause": "engine.maintenance.derive.LISTS_PAUSE",
        "rows_measured_ahead": "engine.text.ranking.ROOM",
        "rows_listed_ahead": "engine.maintenance.derive.ROWS_AHEAD",
        "rows_listed_beside_writers": "engine.maintenance.derive.ROWS_BESIDE",
        "seconds_listed_beside_writers": "engine.maintenance.derive.SECONDS_BESIDE",
        "seconds_until_quiet": "engine.maintenance.derive.QUIET_AFTER",
        "longest_pause_beside_writers": "engine.maintenance.derive.LONGEST_PAUSE",
        "rows_of_text_in_a_step": "engine.text.ranking.ROWS_A_STEP",
        "rows_of_text_at_once": "engine.text.ranking.ROWS_A_PIECE",
        "trigrams_worth": "engine.filtering.evaluate.TRIGRAMS_WORTH",
        # The state in memory, and its file.
        "dead_rows_tolerated": "engine.state.state.TOLERATED_DEAD_ROWS",
        "states_worth": "engine.state.state.STATES_WORTH",
        "steps_of_sqlite": "engine.sqlite.MAX_STEPS",
        "state_pause": "engine.maintenance.derive.STATE_PAUSE",
        "state_at_close": "engine.maintenance.run.CLOSING_STATE",
        # The log of writes, locks, and databases.
        "query_seats": "engine.locks.SEATS",
        "longest_wait": "engine.locks.LONGEST_WAIT",
        "readers_at_once": "engine.sqlite.AT_ONCE",
        "templates_kept": "engine.sqlite.TEMPLATES_KEPT",
        "longest_line": "engine.sqlite.LONGEST_LINE",
        "checksum_extension": "engine.sqlite.EXTENSION",
        "log_writes": "engine.storage.log.LOG_WRITES",
        "log_pks": "engine.storage.log.LOG_PKS",
        "trim_every": "engine.storage.log.TRIM_EVERY",
        "errors_read_again_after": "engine.access.CORRUPTION_ERRORS",
        "lock_timeout_ms": "engine.access.LOCK_TIMEOUT_MS",
        "every_lock_timeout_ms": "engine.sqlite.LOCK_TIMEOUT_MS engine.access.LOCK_TIMEOUT_MS",
        "fewest_awake": "engine.store.MIN_AWAKE",
        "mounts": "engine.storage.files.MOUNTS",
        # Vectors that go to their file by way of the database.
        "small_bytes": "engine.storage.write.SMALL_BYTES",
        "unsynced_bytes": "engine.storage.write.UNSYNCED_BYTES",
        # Folders.
        "synced_records_at_once": "retrieval_store_files.sync._READ_AT_ONCE",
        "settled_after": "retrieval_store_files.read.SETTLED",
        # Maintenance.
        "coded_every": "engine.maintenance.run.CODED_EVERY",
        "bytes_at_close": "engine.maintenance.derive.CLOSING_BYTES",
        "dead_cells": "engine.maintenance.compaction.DEAD_CELLS",
        "columns_saved": "engine.maintenance.derive.MAX_COLUMNS",
        "columns_tried_again": "engine.maintenance.derive.GROWN_AGAIN",
        "columns_ahead": "engine.filtering.columns.AHEAD_WORTH",
        "column_bytes_saved": "engine.filtering.columns.MAX_BYTES",
        "column_bytes_each": "engine.filtering.columns.BYTES_EACH",
        "expired_at_once": "engine.maintenance.run.AT_ONCE",
        "indexed_at_once": "engine.maintenance.derive.FILLED_AT_ONCE",
        "maintenance_every": "engine.points.MAINTENANCE_EVERY",
        "postings_verified_at_once": "engine.maintenance.verify.POSTINGS_AT_ONCE",
        "slice_bytes": "engine.maintenance.compaction.SLICE_BYTES",
        # Indexes and codes, and which of the ways to the nearest is taken.
        "index_worth": "engine.search.index_lifecycle.WORTH_CELLS",
        "multivector_numbers": "engine.search.multivectors.NUMBERS",
        "looks_apart": "engine.search.recall.LOOKS_APART",
        "measured_at_least": "engine.search.recall.MIN_MEASURED",
        "questions_of_each_kind": "engine.search.recall.QUESTIONS",
        "errors_unmeasured": "engine.search.recall.UNMEASURED",
        "cost_of_signs": "engine.search.planner.SIGNS_PASS",
        "split_work": "indexes.quantized.SPLIT_WORK",
        "split_rows": "indexes.quantized.SPLIT_ROWS",
        "split_part_rows": "indexes.quantized.PART_ROWS",
        "cores_used": "indexes.quantized.usable_cores",
        "cores_to_measure_with": "engine.search.recall.usable_cores",
        "sampled_blocks": "indexes.quantized.SAMPLED indexes.quantized.SAMPLED_OF_MANY",
        "index_load_cost": "engine.maintenance.derive.LOADING",
        "coded_cells": "engine.search.planner.MIN_CODED_NUMBERS",
        "coded_cells_everywhere": (
            "engine.search.planner.MIN_CODED_NUMBERS engine.search.ranker.MIN_CODED_NUMBERS"
        ),
        "coded_dimensions": "engine.search.planner.MIN_DIMENSIONS",
        "cells_coded_at_once": "engine.search.codes.MIN_CELLS engine.stats.MIN_CELLS",
        "code_segment": (
            "engine.search.codes.SEGMENT engine.stats.SEGMENT engine.maintenance.verify.SEGMENT"
        ),
        "code_file_segments": (
            "engine.search.codes.FILE_SEGMENTS engine.stats.FILE_SEGMENTS "
            "engine.maintenance.verify.FILE_SEGMENTS"
        ),
        "fresh_cells": "engine.points.FRESH_CELLS",
        "fresh_cells_of_search": "engine.search.ranker.FRESH_CELLS",
        "cost_of_copying": "engine.search.planner.COPIED_ROW engine.search.planner.COPIED_NUMBER",
        "cost_of_a_pass": "engine.search.planner.CODE_PASS",
        "cost_of_floats": "engine.search.planner.FLOAT_PASS",
        "few_of_all": "engine.search.planner.ROWS_PER_HIT",
        "share_of_a_large_result": "engine.search.code_search.MAX_SHARE",
        "exact_at_least": "indexes.exact.MIN_CANDIDATES",
        "codes_noted": "indexes.quantized.NOTED",
        # Arrays and projections.
        "longest_patch": "base.arrays.LONGEST_PATCH",
        "projection_block": "base.pca.BLOCK",
        "projection_cells": "base.pca.CELLS",
        "projection_deciding": "base.pca.DECIDING",
        "projection_fewest": "base.pca.MIN_DECIDING",
        "mmr_cells": "base.fusion.MMR_CELLS",
        "piece_of_text": "base.analysis.PIECE",
        "dividing_replaced": "base.analysis.MANY_DIVIDING",
        # Models, and requests of Qdrant's front.
        "texts_tokenized_at_once": "embeddings.onnx.runtime.TEXTS_AT_ONCE",
        "parts_of_a_formula": "qdrant.query_parser.MAX_NODES",
        "configurations_kept": "qdrant.collections.KEPT",
        "sizes_kept": "qdrant.strict_mode.MAX_MEASURED",
        # Copies of stores.
        "copied_bytes": "retrieval_store_cluster.copying.pages.BYTES",
        "copied_page": "retrieval_store_cluster.copying.pages.PAGE",
        "copied_pages": "retrieval_store_cluster.copying.pages.PAGE retrieval_store_cluster.copying.pages.FIRST",
        # Clusters, servers, and what waits for them.
        "cluster_changes": "retrieval_store_cluster.write.MANY_MATCHING",
        "cluster_slowest": "retrieval_store_cluster.write.SLOWEST",
        "cluster_indexed": "retrieval_store_cluster.store.MANY_TO_INDEX",
        "cluster_indexed_a_second": "retrieval_store_cluster.store.INDEXED_A_SECOND",
        "cluster_age": "retrieval_store_cluster.schema.AGE",
        "cluster_answer_bytes": "retrieval_store_cluster.space.REQUEST_BYTES",
        "cluster_compared": "retrieval_store_cluster.ranker.COMPARED_AT_ONCE",
        "cluster_fork_bytes": "retrieval_store_cluster.forking.REQUEST_BYTES",
        "cluster_groups_after": "retrieval_store_cluster.ranker.GROUPS_AFTER",
        "cluster_hits": "retrieval_store_cluster.ranker.HITS_AT_ONCE",
        "cluster_most_named": "retrieval_store_cluster.ranker.MOST_NAMED",
        "cluster_most_read": "retrieval_store_cluster.ranker.MOST_READ",
        "cluster_page": "retrieval_store_cluster.space.PAGE",
        "cluster_pauses": "retrieval_store_cluster.client.PAUSES",
        "cluster_ties": "retrieval_store_cluster.ranker.TIES",
        "cluster_request_bytes": "retrieval_store_cluster.write.REQUEST_BYTES",
        "cluster_question_bytes": "retrieval_store_cluster.ranker.REQUEST_BYTES",
        "embedding_pause": "embeddings._servers.FIRST_PAUSE",
        "grpc_port": "retrieval_store_server.command.GRPC_PORT",
        "head_within": "retrieval_store_server.run.HEAD_WITHIN",
        "json_parser": "retrieval_store_server.http.bodies.simdjson",
        "large_body": "retrieval_store_server.http.bodies.LARGE",
        "largest_answer": "retrieval_store_server.client.connection.MAX_BYTES",
        "looked_within": "retrieval_store_server.client.connection.LOOKED_WITHIN",
        "page_waits": "retrieval_store_server.view.pictures.WAITS_FOR",
        "server_patience": "retrieval_store_server.client.connection.PATIENCE",
        "streams": "retrieval_store_server.application.MAX_STREAMS",
        "stream_followed_every": "retrieval_store_server.http.sending.FOLLOWED_EVERY",
        "stream_idle_after": "retrieval_store_server.http.sending.IDLE_AFTER",
        "stream_lasts": "retrieval_store_server.http.sending.STREAMED_FOR",
    }.items()
}


def tuned(patch: pytest.MonkeyPatch | None = None, /, **values: Any) -> None:
    """Set thresholds by their names in the table above, until `patch` is undone. Without `patch`
    they are set permanently, for a process of its own."""
    for name in values:
        if name not in THRESHOLDS:
            raise KeyError(f"there is no threshold {name!r}")
    places = [(path.rpartition("."), values[name]) for name in values for path in THRESHOLDS[name]]
    # All modules are imported before anything is set: one that takes a threshold from another as it
    # is imported would have the new value for its old one.
    owners = [resolve_name(place) for (place, _, _), _ in places]
    for owner, ((_, _, attribute), value) in zip(owners, places, strict=True):
        if patch is not None:
            patch.setattr(owner, attribute, value)
        else:
            getattr(owner, attribute)  # it must be there
            setattr(owner, attribute, value)


def eager_indexes(patch: pytest.MonkeyPatch | None = None) -> None:
    """Build a graph for the smallest collections at once, and use it wherever possible."""
    tuned(patch, index_worth=1, fresh_cells=0, maintenance_every=1, dead_cells=2_000)
    tuned(patch, index_load_cost=0)
    use_index(patch)


def use_index(patch: pytest.MonkeyPatch | None = None) -> None:
    """Treat scans of codes and of many vectors as so slow that a large collection gets and uses an
    index, on any machine."""
    usual = resolve_name("retrieval_store.api.configuration.ALL_DEFAULTS")
    graph = resolve_name("retrieval_store.api.configuration.INDEX_BEFORE")
    if patch is None:
        usual["index"] = graph
    else:
        patch.setitem(usual, "index", graph)
    tuned(patch, cost_of_a_pass=1e12, cost_of_floats=1e11)


def eager_codes(patch: pytest.MonkeyPatch | None = None) -> None:
    """Make codes for the smallest collections, in small segments, and use them wherever
    possible."""
    tuned(patch, coded_cells_everywhere=1, coded_dimensions=1, cells_coded_at_once=0)
    tuned(patch, fresh_cells=0, maintenance_every=1, cost_of_a_pass=-1e9, few_of_all=1)
    tuned(patch, share_of_a_large_result=1, code_segment=128, code_file_segments=2)
    tuned(patch, cost_of_copying=1e-9)


def eager_signs(patch: pytest.MonkeyPatch | None = None) -> None:
    """Make codes for the smallest collections, measure searches by signs, and use these wherever a
    recall is requested."""
    eager_codes(patch)
    tuned(patch, measured_at_least=200, cost_of_signs=-2e9)


def use_trigrams(patch: pytest.MonkeyPatch | None = None) -> None:
    """Build lists of words and of trigrams for the smallest collections at the first query."""
    tuned(patch, trigrams_worth=1, wanted_after=1, lists_worth=1)
