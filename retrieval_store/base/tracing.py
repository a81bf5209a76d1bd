"""Spans of OpenTelemetry, loggers and progress bars, with which users observe a store.

Spans are for applications that trace themselves. This module doesn't import OpenTelemetry. Unless
the application has imported it, no spans are collected, and the only cost is a lookup in
`sys.modules`. Attributes follow OpenTelemetry's conventions for databases where these apply, and
are otherwise named `retrieval_store.…`. No attribute contains user data: no id, text, metadata,
filter or vector. Error messages are left out too, because they may quote user data. So the receiver
of the spans sees only names of collections, numbers, and types of errors.

The loggers (`log_of`) are "retrieval_store" and, below it, one for each topic. Until the
application configures them, warnings are written to the standard error, by Python's default. DEBUG
is for maintenance, INFO for rare events (a store is created, migrated, restored; an index is
built), WARNING for problems that an operator should check. At INFO and above, log records never
contain texts, metadata or filters.

Progress bars are drawn on request, if there is a terminal or notebook. `shortens_tracebacks` is for
classes that users call.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import FunctionType, TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeAlias, TypeVar

from retrieval_store.errors import RetrievalStoreError, StorageError

P = ParamSpec("P")
R = TypeVar("R")
Attributes: TypeAlias = Mapping[str, bool | int | float | str | Sequence[str]]
System: TypeAlias = Literal["retrieval_store", "qdrant"]
OURS: System = "retrieval_store"
API = "opentelemetry.trace"

_tracer: Any = None
# The span of the current call. It isn't the current span of OpenTelemetry, which may be the
# application's.
_recording: ContextVar[Any] = ContextVar("retrieval_store_span", default=None)


class HasName(Protocol):
    """An object with a name, such as a collection, whose calls are recorded in spans."""

    @property
    def name(self) -> str:
        """The name of the collection."""


class HasPoints(Protocol):
    """Points that a call returns. The span of the call records their number."""

    @property
    def ids(self) -> Sequence[object]:
        """The ids of the points."""


S = TypeVar("S", bound=HasName)


def _find_tracer() -> Any:
    """The tracer; None unless the application has imported OpenTelemetry and configured where spans
    are sent."""
    global _tracer  # noqa: PLW0603 (it is looked up once)
    trace: Any = sys.modules.get(API)
    # While OpenTelemetry is being imported, it lacks this attribute.
    if _tracer is None and hasattr(trace, "get_tracer_provider"):
        provider = trace.get_tracer_provider()
        if type(provider) is not trace.ProxyTracerProvider:
            _tracer = provider.get_tracer(OURS)
    return _tracer


def traced(
    operation: str,
    tell: Callable[[Any], Attributes] | None = None,
    system: System = OURS,
) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R]]:
    """Decorator: records a span for each call of a method. operation: the method's name in the
    span. tell: returns the span's attributes for a result of the method."""

    def decorate(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
        @wraps(method)
        def call_in_span(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if (_tracer or _find_tracer()) is None:
                return method(self, *args, **kwargs)
            with span(operation, self.name, system):
                result = method(self, *args, **kwargs)
                if tell is not None:
                    note(lambda: tell(result))
                return result

        return call_in_span

    return decorate


@contextmanager
def span(operation: str, collection: str, system: System = OURS) -> Iterator[None]:
    """Context manager: records a span for the `with` body, if the application collects spans.
    operation: the name of the operation; system: the name of the database system in the span."""
    tracer = _tracer or _find_tracer()
    if tracer is None:
        yield
        return
    trace: Any = sys.modules[API]
    kind = trace.SpanKind.INTERNAL if system == OURS else trace.SpanKind.CLIENT
    attributes = {
        "db.system.name": system,
        "db.operation.name": operation,
        "db.collection.name": collection,
    }
    started = tracer.start_span(f"{operation} {collection}", kind=kind, attributes=attributes)
    if not started.get_span_context().is_valid:  # such spans aren't collected
        yield
        return
    recording = started if started.is_recording() else None
    token = _recording.set(recording)
    try:
        # Only the type of an error is recorded.
        with trace.use_span(started, record_exception=False, set_status_on_exception=False):
            yield
    except BaseException as error:
        if recording is not None:
            recording.set_attribute("error.type", type(error).__qualname__)
            recording.set_status(trace.Status(trace.StatusCode.ERROR))
        raise
    finally:
        _recording.reset(token)
        started.end()


def is_recording() -> bool:
    """Whether a span is being recorded."""
    return _recording.get() is not None


def note(tell: Callable[[], Attributes]) -> None:
    """Add attributes to the current span. `tell` is called only if there is a span."""
    recording = _recording.get()
    if recording is not None:
        recording.set_attributes(tell())


def event(name: str, tell: Callable[[], Attributes] = dict) -> None:
    """Add an event to the current span. `tell` is called only if there is a span."""
    recording = _recording.get()
    if recording is not None:
        recording.add_event(f"{OURS}.{name}", tell())


def counts_of_results(*results: HasPoints) -> Attributes:
    """The span attributes with the number of points in the results of a call."""
    counts = {"db.response.returned_rows": sum(len(points.ids) for points in results)}
    return counts if len(results) == 1 else {**counts, "db.operation.batch.size": len(results)}


ROOT = "retrieval_store"
Part: TypeAlias = Literal["store", "maintenance", "files", "cluster", "server", "access", "agents"]


def log_of(part: Part | None = None) -> logging.Logger:
    """The logger of a topic: `store` (creation and deletion of stores and collections),
    `maintenance` (compaction, codes, indexes), `files` (derived files that are loaded or useless),
    `cluster` (calls), `server` (failed requests), `access` (all requests), `agents` (failed tools).
    None is the logger for messages about the user's own call."""
    return logging.getLogger(ROOT if part is None else f"{ROOT}.{part}")


class _NoBar:
    """A progress bar that isn't shown. It is used because tqdm's disabled bar would start a
    thread."""

    def update(self, n: int) -> None:
        """Do nothing."""

    def __enter__(self) -> "_NoBar":
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""


def progress_bar(label: str, total: int | None, unit: str, shown: bool) -> Any:
    """A tqdm progress bar as a context manager with `update(n)`. It has no output if the standard
    error is a pipe or a file.

    Args:
        label: the activity, for example "adding".
        total: the number of items; None if unknown.
        unit: the name of an item, for example "text".
        shown: whether to show the bar at all.
    """
    if not (shown and _is_drawn()):
        return _NoBar()
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=label, unit=unit)


def _is_drawn() -> bool:
    """Whether there is a terminal or a notebook in which a bar can be drawn."""
    stream = sys.stderr  # None in a program without a console
    return "ipykernel" in sys.modules or (stream is not None and stream.isatty())


# "full": show all frames, for developers of this package.
HAS_ALL_FRAMES = os.environ.get("RETRIEVAL_STORE_TRACEBACKS") == "full"
ClassT = TypeVar("ClassT", bound=type)


def shortens_tracebacks(kind: ClassT) -> ClassT:
    """Class decorator: removes inner frames from the tracebacks of our errors that public methods
    raise. A user sees the line of the call and the method, but no calls below the method, unless
    they include the user's own code. If an error of a file has a cause, such as SQLite's error, the
    cause is shown without its frames."""
    if not HAS_ALL_FRAMES:
        for name, attribute in list(vars(kind).items()):
            if isinstance(attribute, FunctionType) and (name == "__init__" or name[0] != "_"):
                setattr(kind, name, _hide_internal_frames(attribute))
    return kind


# Folders whose code isn't the user's: this package's, and Python's.
_NOT_OF_USERS = (os.path.dirname(os.path.dirname(__file__)), os.path.dirname(os.__file__))


def _has_frames_of_users(traceback: TracebackType | None) -> bool:
    """Whether a failed call went through code of the user, for example a loader."""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith(_NOT_OF_USERS) and "-packages" not in file:
            return True
        traceback = traceback.tb_next
    return False


def is_shown_without_frames(error: RetrievalStoreError) -> bool:
    """Whether an error's message is sufficient for a user, so that frames below the public method
    are omitted. If an error of a file is shown without frames, its cause is shown without its own
    frames, too."""
    if HAS_ALL_FRAMES or _has_frames_of_users(error.__traceback__):
        return False
    if isinstance(error, StorageError) and error.__cause__ is not None:
        error.__cause__.__traceback__ = None
    return True


def _hide_internal_frames(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call_and_shorten_traceback(*arguments: Any, **keywords: Any) -> Any:
        try:
            return method(*arguments, **keywords)
        except RetrievalStoreError as error:
            if not is_shown_without_frames(error):
                raise
            raise error.with_traceback(None) from error.__cause__

    return call_and_shorten_traceback
