"""Imports of what would otherwise report to its makers.

onnxruntime sends what it runs, and on which machine, to Microsoft, on Linux and macOS from 1.29 on,
and keeps an id of the machine in the user's cache; a thread does it, for which a forked child waits
for ever at its end. The variable that forbids it is read once, when onnxruntime is imported.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "ORT_DISABLE_TELEMETRY"


@contextmanager
def telemetry_off() -> Iterator[None]:
    """onnxruntime sends nothing, if it is imported here for the first time; one that was imported
    before sends no more than it has, unless the user has said so by the variable."""
    said = VARIABLE in os.environ
    os.environ.setdefault(VARIABLE, "1")
    try:
        yield
    finally:
        if not said:
            os.environ.pop(VARIABLE, None)
    disable = getattr(sys.modules.get("onnxruntime"), "disable_telemetry_events", None)
    if disable is not None and not said:
        disable()
