"""Internal steps of the package by plain names, so that a test can count a step, make something
happen before it, or make it fail. If a step moves in the package, only this table changes.
"""

import inspect
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

import pytest

STEPS: dict[str, tuple[str, ...]] = {
    name: tuple(
        path if path.startswith("retrieval_store_") else f"retrieval_store.{path}"
        for path in paths.split()
    )
    for name, paths in {
        # What filters read and work out.
        "ask_documents": "engine.filtering.evaluate._ask_documents",
        "evaluate_filter": "engine.filtering.evaluate.test_or_mask",
        "evaluate_any_filter": (
            "engine.filtering.evaluate.matching engine.filtering.select.matching "
            "engine.filtering.evaluate.filter_rows engine.filtering.select.filter_rows"
        ),
        "parse_payloads": "engine.storage.records.decode_payloads",
        "read_documents": "engine.filtering.evaluate.read_records",
        "read_exactly": "engine.filtering.columns.read_exactly",
        "read_payloads": "engine.filtering.columns.read_values",
        "tell_time_of_expiry": "engine.filtering.select.now",
        "rows_selected": "engine.points.select engine.transaction.select",
        "note_change_in_filters": "engine.filtering.cache.FilterCache.note",
        "note_change_in_caches": "engine.access.caches_after",
        "facet_of_points": "engine.points.PointStore.facet",
        "ask_points": "engine.points.PointStore.ask",
        # Lists of words.
        "list_words": "engine.text.inverted.list_words",
        "read_texts": "engine.text.ranking.documents_of",
        "read_sparse_vectors": "engine.text.ranking.read_blobs",
        # Writes, and the files of collections.
        "wait_to_read": "engine.sqlite.FileDatabase._wait_in_line",
        "begin_connection": "engine.sqlite.guard",
        "create_points": "engine.points.PointStore.create",
        "put_points": "engine.points.PointStore.put",
        "get_points": "engine.points.PointStore.get",
        "spaces_of_points": "engine.points.PointStore.spaces",
        "position_of_points": "engine.points.PointStore.position",
        "changes_of_points": "engine.points.PointStore.changes_since",
        "get_records": "api.collection.Collection.get",
        "delete_records": "api.collection.Collection.delete",
        "finish_write": "engine.storage.write.finish",
        "page_of_catalog": "engine.storage.catalog.Entries.page",
        "write_catalog": "engine.storage.catalog.Catalog.write",
        "write_transaction": "engine.sqlite.writing",
        "is_unforkable": "engine.locks.is_unforkable",
        "sync_log": "engine.maintenance.compaction.sync_file",
        "sync_vectors": "engine.storage.vector_files.sync",
        "restore_vectors": "engine.access.restore_unsynced",
        "sync_name_of_vectors": "engine.storage.vector_files.sync_directory",
        "sync_database": "engine.sqlite.sync_file",
        "sync_name_of_database": "engine.sqlite.sync_directory",
        "sync_name_of_store": "engine.store.sync_directory",
        "drop_marked": "engine.store.Store._finish_drop",
        "remove_dropped": "engine.store.Store._remove",
        "remove_files": "engine.store.remove_collection",
        "forget_open": "engine.store.OpenCollections.forget",
        "adopt_collection": "engine.store.Store.adopt_collection",
        "change_record": "backends.StoredCollection.change",
        "memory_bytes": "base.system.memory_bytes",
        "resources_of_system": "base.system.resource",
        "limit_descriptors": "engine.store.descriptor_limit",
        "number_of_descriptors": "engine.access.Access.descriptors",
        # Maintenance, and verification.
        "compact": "engine.maintenance.run.compact",
        "switch_generation": "engine.maintenance.compaction._switch",
        "reduce_snapshot": "engine.snapshots.remove_expired",
        "delete_rows": "engine.storage.write.delete",
        "remove_vectors": "engine.maintenance.compaction.remove_vector_files",
        "current_state": "engine.access.Access.current_state",
        "copy_rows": "engine.maintenance.compaction.append_rows",
        "look_at_living_vectors": "engine.maintenance.compaction._vectors",
        "maintain": "engine.maintenance.run.run_once",
        "maintain_alone": "engine.maintenance.run.as_only_process",
        "make_codes": "engine.maintenance.run.build_codes",
        "measure_recall": "engine.maintenance.derive.Measurement.run",
        "take_in_vectors": "engine.maintenance.derive._take_in",
        "write_derived": "engine.maintenance.derive.derived.write_file",
        "verify_collection": "engine.maintenance.verify.verify_collection",
        "compare_derived": "engine.maintenance.verify._refuse_false",
        "index_that_knows_vectors": "engine.maintenance.verify.KnowsVectors",
        # Indexes and codes.
        "add_to_index": "engine.search.index_lifecycle.SpaceIndex.add",
        "save_index": "engine.search.index_lifecycle.SpaceIndex.save",
        "add_to_graph": "indexes.hnsw.HNSWIndex.add",
        "load_graph": "indexes.hnsw.HNSWIndex.load",
        "save_graph": "indexes.hnsw.HNSWIndex.save",
        "search_graph": "indexes.hnsw.HNSWIndex.search",
        "search_codes_for_queries": "indexes.quantized._nearest_by_codes",
        "gather_codes": "engine.search.code_search._gather_codes",
        "verify_vectors": "engine.storage.vector_files.VectorFile.verify_once",
        "plan_search": "engine.search.ranker._DenseSearch",
        "keep_search": "engine.search.context.OpenSpace.keep_search",
        "report_search": "engine.stats.search_attributes",
        # Copies of stores, and what is read from elsewhere.
        "advance_journal": "retrieval_store_cluster.copying.journal.Journal.advance",
        "append_to_copy": "retrieval_store_cluster.copying.collection.append",
        "append_each_to_copy": "retrieval_store_cluster.copying.collection.append_each",
        "compare_copies": "retrieval_store_cluster.copying.collection.compare",
        "copies_by_files": "retrieval_store_cluster.copying.collection.CollectionCopy._by_files",
        "copy_changes": "retrieval_store_cluster.copying.place.ChangesCopy.run",
        "write_to_copy": "retrieval_store_cluster.copying.collection.write_each",
        "add_of_folder": "retrieval_store_files.folders.Adder.add",
        "check_import": "retrieval_store_files.add.check_source",
        "fill_from_import": "retrieval_store_files.imports.common.Filling.add",
        "import_aliases": "retrieval_store_files.imports.qdrant_local._create_aliases",
        "find_files_to_sync": "retrieval_store_files.sync.find_files",
        "kinds_in_parquet": "retrieval_store_files.formats.parquet._kinds",
        "read_export": "retrieval_store_files.formats.common.PointSelection._pieces",
        "read_known_files": "retrieval_store_files.sync.records_of_sync",
        "draw_page": "retrieval_store_files.readers.child.ReaderProcess.draw",
        "open_source": "loaders.sources.open_file",
        "refuse_private": "loaders.web.refuse_private",
        # Models.
        "load_plugin": "plugins.load",
        "embed_minilm": "embeddings.onnx.functions.MiniLMEmbedding.__call__",
        "find_library_of_maps": "api.maps.find_spec",
        "ask_openai": "embeddings.openai.OpenAIEmbeddingFunction._request",
        "run_model": "embeddings.onnx.runtime.RunningModel._run",
        "open_existing": "frameworks.collection.existing_collection",
        "replace_function": "frameworks.collection.replace_function",
        "remember_function": "api.embedding_functions.spec_of",
        "tracer": "base.tracing._tracer",
        # Servers, clusters and the command line.
        "connect_to_cluster": "retrieval_store_cluster.client.QdrantClient",
        "compare_secrets": "retrieval_store_server.http.auth.hmac.compare_digest",
        "hold_body": "retrieval_store_server.http.receiving.BodyBudget.account",
        "make_snapshot": "qdrant.manage.Snapshots.create",
        "open_browser": "retrieval_store_server.command.webbrowser.open",
        "serve": "retrieval_store_server.run.serve",
        "serve_page": "retrieval_store_server.run.view",
        "is_terminal": "retrieval_store_server.command.is_terminal",
    }.items()
}


def taken(name: str) -> Any:
    """The function of a step."""
    return resolve_name(_paths_of(name)[0])


def _paths_of(name: str) -> tuple[str, ...]:
    if name not in STEPS:
        raise KeyError(f"there is no step {name!r}")
    return STEPS[name]


def replace(patch: pytest.MonkeyPatch, name: str, by: Any) -> None:
    """Replace a step by `by`."""
    for path in _paths_of(name):
        place, _, attribute = path.rpartition(".")
        owner = resolve_name(place)
        held = inspect.getattr_static(owner, attribute)
        bound = isinstance(held, classmethod | staticmethod)
        patch.setattr(owner, attribute, staticmethod(by) if bound else by)


def around(patch: pytest.MonkeyPatch, name: str, call: Callable[..., Any]) -> None:
    """Replace a step by `call`, which gets the step and its arguments."""
    step = taken(name)

    def instead(*arguments: Any, **named: Any) -> Any:
        return call(step, *arguments, **named)

    replace(patch, name, instead)


def noted(patch: pytest.MonkeyPatch, name: str) -> list[tuple[Any, ...]]:
    """A list that gets the arguments of each call of a step from now on."""
    calls: list[tuple[Any, ...]] = []

    def note(step: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return step(*arguments, **named)

    around(patch, name, note)
    return calls


def before(patch: pytest.MonkeyPatch, name: str, happen: Callable[[], object]) -> None:
    """Make something happen before each call of a step."""

    def first(step: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        happen()
        return step(*arguments, **named)

    around(patch, name, first)


def fail(
    patch: pytest.MonkeyPatch,
    name: str,
    error: type[BaseException] | BaseException = ZeroDivisionError,
) -> None:
    """Make a step raise an error; the default is one that the package never raises itself."""

    def failing(*_: Any, **__: Any) -> Any:
        raise error

    replace(patch, name, failing)


def counted(patch: pytest.MonkeyPatch, name: str, number: Callable[..., Any]) -> list[Any]:
    """A list that gets `number` of the arguments of each call of a step from now on."""
    numbers: list[Any] = []

    def count(step: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        numbers.append(number(*arguments))
        return step(*arguments, **named)

    around(patch, name, count)
    return numbers
