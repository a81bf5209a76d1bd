"""Reports about the server itself: its version, its health, counts of requests, and memory. Each
process reports its own numbers; if there are several workers, a report is about the worker that
receives the request."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version as version_of
from typing import Any

import orjson

from retrieval_store.qdrant import Refused
from retrieval_store_server.http.answers import TEXT, Response, as_jsonable, text
from retrieval_store_server.http.refusals import wrong
from retrieval_store_server.http.request import BUCKETS, Count, Monitor, RequestContext
from retrieval_store_server.native.methods import OURS
from retrieval_store_server.values import resource

# The supported version of Qdrant's API: the version of the server whose responses were recorded.
# Clients one version older or newer consider it compatible.
SPOKEN = "1.19.0"
TITLE = "qdrant - vector search engine"  # the owner of the API
PEER = 1  # the number of the node in a cluster of one
NO_QUOTAS = {"enabled": False}
NOT_EXCEEDED = {"resident_memory": None, "disk_usage": None}  # not measured


def version(call: RequestContext) -> Response:
    """The version of Qdrant's API that is supported, and the version of this package."""
    return Response(200, _version())


@cache
def _version() -> bytes:
    return orjson.dumps({"title": TITLE, "version": SPOKEN, OURS: version_of(OURS)})


def health(call: RequestContext) -> Response:
    """A response that shows that the process is alive."""
    return text(200, "healthz check passed")


def readiness(call: RequestContext) -> Response:
    """A response that shows that the store is ready. The store is read first, and an error is
    raised if this fails."""
    call.served.store.count()
    return text(200, "all shards are ready")


def issues(call: RequestContext) -> Any:
    """The list of issues that a Qdrant server would report; it is always empty."""
    return {"issues": []}


def forget_issues(call: RequestContext) -> bool:
    """Clear the list of issues, which is always empty."""
    return True


def quotas(call: RequestContext) -> Any:
    """The configured quotas, which are never enforced, and the present use of the disk."""
    place = call.served.store.directory
    disk = None if place is None else shutil.disk_usage(place)
    percent = None if disk is None else round(100 * disk.used / disk.total)
    usage = {"resident_memory_percent": None, "disk_usage_percent": percent}
    return {"config": NO_QUOTAS, "usage": usage, "peers": {}}


def set_quotas(call: RequestContext) -> bool:
    """Refuse any quota, since none can be set."""
    if call.body.enabled or any(
        value is not None for name, value in vars(call.body).items() if name != "enabled"
    ):
        raise wrong("Bad request: quotas aren't enforced here: limit the process and the disk")
    return True


def optimizations(call: RequestContext) -> Any:
    """The pending optimizations; there are none."""
    pending = call.embedded.get_optimizations(call.collection)
    opened = call.embedded.open(call.collection)
    segment = {"uuid": opened.record.id, "points_count": opened.points.number(None)}
    lists: dict[str, list[Any]] = {"queued": [], "completed": [], "idle_segments": [segment]}
    parts = {part.strip() for part in call.query.get("with", "").split(",")}
    return {
        **pending.model_dump(mode="json", exclude_none=True),
        **{name: entries for name, entries in lists.items() if name in parts},
    }


# Telemetry


def telemetry(call: RequestContext) -> Any:
    """The data that Qdrant's web page reads: the version, the collections, and how often each route
    was called."""
    monitor = call.served.monitor
    level = int(call.query.get("details_level", "0") or 0)
    names = [] if call.query.get("anonymize") == "true" else list(_points(call))
    collections: dict[str, Any] = {"number_of_collections": call.served.store.count()}
    app: dict[str, Any] = {
        "name": "qdrant",
        "version": SPOKEN,
        "startup": monitor.started.isoformat().replace("+00:00", "Z"),
    }
    rest = {"responses": _responses(monitor)}
    if call.query.get("per_collection") == "true":
        rest["per_collection_responses"] = _responses_of_collections(call)
    summary = {
        "id": monitor.id,
        "app": app,
        "collections": collections,
        "cluster": {"enabled": False, "resharding_enabled": False},
        "requests": {
            "rest": rest,
            "grpc": {"responses": _responses(call.served.rpc_monitor)},
        },
        "quota": {"config": NO_QUOTAS, "exceeded": NOT_EXCEEDED},
    }
    if level == 0:
        return summary
    app["features"] = dict.fromkeys(FEATURES, False)
    collections["collections"] = details = []
    for name in names:
        with suppress(Refused):  # it was deleted meanwhile
            details.append(_collection_telemetry(call, name, level))
    collections["snapshots"] = [
        {"id": name, **dict.fromkeys(SNAPSHOTS_COUNTED, 0)} for name in names
    ]
    return {
        **summary,
        "memory": {**dict.fromkeys(MEMORY, 0), "resident_bytes": _resident()},
        "hardware": {"collection_data": {}},
        "search_pool": {"mode": "high_cpu", **dict.fromkeys(POOLS, _threads())},
    }


FEATURES = ("debug", "gpu", "recovery_mode", "rocksdb", "service_debug_feature", "staging")
MEMORY = ("active_bytes", "allocated_bytes", "metadata_bytes", "retained_bytes")
POOLS = ("high_cpu_threads", "high_io_threads")
SNAPSHOTS_COUNTED = ("running_snapshots", "running_snapshot_recovery", "total_snapshot_creations")
OF_ALL, OF_CONFIG, OF_SHARDS, OF_SEGMENTS = 1, 2, 3, 4  # levels of detail


def _threads() -> int:
    """The number of threads that handle requests; they are started as needed."""
    return sum(thread.name.startswith("server_") for thread in threading.enumerate())


def _collection_telemetry(call: RequestContext, name: str, level: int) -> dict[str, Any]:
    """The telemetry of a collection: one shard with one segment, without pending optimizations."""
    opened = call.embedded.open(name)
    info: Any = as_jsonable(call.embedded.get_collection(name))
    if level == OF_ALL:
        return {"vectors": info["points_count"], "optimizers_status": "ok", "params": {}}
    config = {key: value for key, value in info["config"].items() if value is not None}
    summary: dict[str, Any] = {"id": name, "init_time_ms": 0, "config": config}
    if level < OF_SHARDS:
        return summary
    shard: dict[str, Any] = {
        "id": 0,
        "key": None,
        "local": _shard_telemetry(opened, info, level),
        "remote": [],
        "replicate_states": {str(PEER): "Active"},
        "partial_snapshot": dict(PARTIAL),
    }
    return {**summary, "shards": [shard], "transfers": [], "resharding": []}


PARTIAL = {"ongoing_create_snapshot_requests": 0, "is_recovering": False, "recovery_timestamp": 0}


def _shard_telemetry(opened: Any, info: Any, level: int) -> dict[str, Any]:
    stats: Any = opened.points.stats()
    memory, disk = stats["memory"], stats.get("disk") or {}
    counts = {space.name: space.count for space in opened.points.spaces()}
    sizes = {
        "num_points": info["points_count"],
        "num_vectors": sum(counts.values()),
        "vectors_size_bytes": disk.get("vectors", memory.get("vectors", 0)),
        "payloads_size_bytes": disk.get("points", 0),
    }
    shard = {
        "variant_name": "local",
        "status": info["status"],
        "total_optimized_points": 0,
        **sizes,
        "num_vectors_by_name": counts,
        "optimizations": {"status": "ok", "optimizations": {"count": 0}, "log": []},
        "async_scorer": False,
        "update_queue": {"length": 0, "op_num": opened.points.operation},
    }
    if level < OF_SEGMENTS:
        return shard
    indexed = info["indexed_vectors_count"]
    segment = {
        "uuid": opened.record.id,
        "segment_type": "indexed" if indexed else "plain",
        **sizes,
        "num_indexed_vectors": indexed,
        "num_deleted_vectors": sum(space["dead_slots"] for space in stats["spaces"].values()),
        "ram_usage_bytes": sum(memory.values()),
        "disk_usage_bytes": sum(disk.values()),
        "is_appendable": True,
        "index_schema": info["payload_schema"],
        "vector_data": {},
    }
    config = {"vector_data": {}, "payload_storage_type": {"type": "mmap"}}
    lists: dict[str, Any] = {"vector_index_searches": [], "payload_field_indices": []}
    segments = [{"info": segment, "config": config, **lists}]
    return {**shard, "segments": segments, "indexed_only_excluded_vectors": {}}


def _points(call: RequestContext) -> dict[str, int]:
    """The number of points of each collection, except collections that are deleted meanwhile. The
    numbers are read directly from the store, since the strict mode of a collection may limit
    reads."""
    counts = {}
    for record in call.served.store.page(None, 0):
        with suppress(Refused):
            counts[record.name] = call.embedded.open(record.name).points.count()
    return counts


def _responses(monitor: Monitor) -> dict[str, dict[str, Any]]:
    responses: dict[str, dict[str, Any]] = {}
    for route, status, count in monitor.counts():
        responses.setdefault(route, {})[str(status)] = _durations(count)
    return responses


def _responses_of_collections(call: RequestContext) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for route, status, collection, count in _counts_of_collections(call):
        responses.setdefault(collection, {}).setdefault(route, {})[str(status)] = _durations(count)
    return responses


def _counts_of_collections(call: RequestContext) -> list[tuple[str, int, str, Count]]:
    """The counts of responses by collection, for existing collections and aliases."""
    existing = {record.name for record in call.served.store.page(None, 0)} | {
        *call.served.store.aliases()
    }
    return call.served.monitor.by_collection(existing)


def _durations(count: Count) -> dict[str, Any]:
    return {
        "count": count.times,
        "avg_duration_micros": count.seconds * 1e6 / count.times,
        "min_duration_micros": count.least * 1e6,
        "max_duration_micros": count.most * 1e6,
        "total_duration_micros": int(count.seconds * 1e6),
        "last_responded": datetime.fromtimestamp(count.last, UTC)
        .isoformat()
        .replace("+00:00", "Z"),
    }


# Metrics, in the text format of Prometheus


def metrics(call: RequestContext) -> Response:
    """A response with metrics for Prometheus. It has those of Qdrant's metrics that also exist in
    this server, under Qdrant's names."""
    by_collection = call.query.get("per_collection") == "true"
    lines = [*_app_metrics(), *_collection_metrics(call)]
    counted = _counts_of_collections(call) if by_collection else None
    lines += _answer_metrics("rest", call.served.monitor, counted)
    lines += _answer_metrics("grpc", call.served.rpc_monitor)
    lines += _process_metrics(call)
    return Response(200, ("\n".join(lines) + "\n").encode(), TEXT)


def _metric(
    name: str, kind: str, description: str, values: Mapping[tuple[tuple[str, str], ...], float]
) -> Iterator[str]:
    yield f"# HELP {name} {description}"
    yield f"# TYPE {name} {kind}"
    for labels, value in values.items():
        shown = ",".join(f'{key}="{_escape_label(label_value)}"' for key, label_value in labels)
        yield f"{name}{{{shown}}} {_number(value)}" if labels else f"{name} {_number(value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escape_label(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _app_metrics() -> Iterator[str]:
    labels = (("name", "qdrant"), ("version", SPOKEN))
    yield from _metric("app_info", "gauge", "information about qdrant server", {labels: 1})


def _collection_metrics(call: RequestContext) -> Iterator[str]:
    points = _points(call)
    yield from _metric("collections_total", "gauge", "number of collections", {(): len(points)})
    yield from _metric(
        "collection_points",
        "gauge",
        "number of points by collection",
        {(("id", name),): count for name, count in points.items()},
    )


def _labels(route: str, status: int, collection: str = "") -> tuple[tuple[str, str], ...]:
    """The labels for the responses of a route or a gRPC procedure. A route is labelled with its
    method and its path, a procedure only with its name."""
    method, _, endpoint = route.rpartition(" ")
    named = (("method", method),) if method else ()
    about = (("collection", collection),) if collection else ()
    return (*named, ("endpoint", endpoint), ("status", str(status)), *about)


def _answer_metrics(protocol: str, monitor: Monitor, counted: Any = None) -> Iterator[str]:
    """The metrics of responses, as lines of text. counted: counts by collection, which replace the
    total counts of the same routes."""
    apart = {(route, status) for route, status, *_ in counted or ()}
    counts = [row for row in monitor.counts() if (row[0], row[1]) not in apart]
    named = {_labels(*about): count for *about, count in [*(counted or ()), *counts]}
    if not named and protocol == "grpc":
        return
    yield from _metric(
        f"{protocol}_responses_total",
        "counter",
        "number of answers",
        {key: count.times for key, count in named.items()},
    )
    for name, description, seconds in (
        ("avg", "average", {key: count.seconds / count.times for key, count in named.items()}),
        ("min", "least", {key: count.least for key, count in named.items()}),
        ("max", "most", {key: count.most for key, count in named.items()}),
    ):
        title = f"{protocol}_responses_{name}_duration_seconds"
        yield from _metric(title, "gauge", f"{description} time that answers took", seconds)
    name = f"{protocol}_responses_duration_seconds"
    yield f"# HELP {name} time that answers took"
    yield f"# TYPE {name} histogram"
    for key, count in named.items():
        shown = ",".join(f'{label}="{_escape_label(value)}"' for label, value in key)
        for bound, times in zip(BUCKETS, count.within, strict=True):
            yield f'{name}_bucket{{{shown},le="{bound:g}"}} {times}'
        yield f'{name}_bucket{{{shown},le="+Inf"}} {count.times}'
        yield f"{name}_sum{{{shown}}} {count.seconds!r}"
        yield f"{name}_count{{{shown}}} {count.times}"


def _process_metrics(call: RequestContext) -> Iterator[str]:
    for name, kind, description, value in _process_rows(call):
        yield from _metric(name, kind, description, {(): value})


def _process_rows(call: RequestContext) -> Iterator[tuple[str, str, str, float]]:
    """The metrics of the process, each with its name, kind, description and value."""
    held = call.served.store.budget().get("held", 0)
    yield "memory_resident_bytes", "gauge", "memory that the process holds", _resident()
    yield "memory_allocated_bytes", "gauge", "memory that caches of the store hold", held
    yield "process_threads", "gauge", "threads of the process", threading.active_count()
    yield "process_open_fds", "gauge", "file descriptors that are open", _descriptors()
    if resource is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        cpu = usage.ru_utime + usage.ru_stime
        yield "process_max_fds", "gauge", "most file descriptors that may be open", most
        yield "process_minor_page_faults_total", "counter", "minor page faults", usage.ru_minflt
        yield "process_major_page_faults_total", "counter", "major page faults", usage.ru_majflt
        yield "process_cpu_seconds_total", "counter", "time on processors", cpu
    yield "process_uptime_seconds", "gauge", "since when the process runs", _uptime()


_BEGAN = time.monotonic()


def _uptime() -> float:
    return round(time.monotonic() - _BEGAN, 3)


def _resident() -> int:
    """The resident memory of the process in bytes; on macOS the greatest resident memory so far,
    since the system reports only that."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        if resource is None:
            return 0
        most: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _descriptors() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))
        except OSError:
            continue
    return 0


# One collection


def memory_of(call: RequestContext) -> Any:
    """The bytes that a collection takes in memory and on disk, by part."""
    opened = call.embedded.open(call.collection)
    stats: Any = opened.points.stats()
    memory, disk = stats["memory"], stats.get("disk") or {}
    vectors = {space.name: space for space in opened.points.spaces()}
    total = sum((space.count * (space.dimension or 0) for space in vectors.values()), 0) or 1
    shown: dict[str, list[Any]] = {"dense": [], "sparse": []}
    for name, space in vectors.items():
        share = space.count * (space.dimension or 0) / total
        kind = "sparse" if space.kind == "sparse" else "dense"
        on_disk = int(disk.get("vectors", 0) * share)
        shown[kind].append({"name": name, "storage": _bytes(disk=on_disk, expected=on_disk)})
    return {
        "total": _bytes(
            disk=sum(disk.values()), ram=sum(memory.values()), expected=disk.get("vectors", 0)
        ),
        "vectors": shown["dense"],
        "sparse_vectors": shown["sparse"],
        "payload": _bytes(disk=disk.get("points", 0)),
        "payload_index": [],
        "other": {
            "derived": _bytes(disk=disk.get("derived", 0)),
            **{name: _bytes(ram=size) for name, size in memory.items()},
        },
    }


def _bytes(disk: int = 0, ram: int = 0, expected: int = 0) -> dict[str, int]:
    return {
        "disk_bytes": disk,
        "ram_bytes": ram,
        "cached_bytes": 0,
        "expected_cache_bytes": expected,
    }
