"""Progress bars, where a user asks for one."""

from importlib import import_module
from typing import Any


def progress_bar(what: str, total: int | None, unit: str, shown: bool) -> Any:
    """A bar of tqdm, a context manager with `update(n)`; one that shows nothing unless `shown`."""
    # The one for notebooks may complain about a missing widget, so it is imported when wanted.
    tqdm = import_module("tqdm.auto" if shown else "tqdm").tqdm
    return tqdm(total=total, desc=what, unit=unit, disable=not shown)
