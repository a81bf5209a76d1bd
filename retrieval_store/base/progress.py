"""Progress bars, where a user asks for one and there is something to draw it on."""

import sys
from types import TracebackType
from typing import Any


class _NoBar:
    """What stands for a bar that isn't shown; tqdm's own would start a thread."""

    def update(self, n: int) -> None:
        """Nothing to show."""

    def __enter__(self) -> "_NoBar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to end."""


def progress_bar(what: str, total: int | None, unit: str, shown: bool) -> Any:
    """A bar of tqdm, a context manager with `update(n)`; one that shows nothing unless `shown`, nor
    where the standard error is a pipe or a file, which it would fill with copies of itself."""
    if not (shown and _is_drawn()):
        return _NoBar()
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=what, unit=unit)


def _is_drawn() -> bool:
    """Whether there is a terminal, or a notebook."""
    stream = sys.stderr  # None in a program without a console
    return "ipykernel" in sys.modules or (stream is not None and stream.isatty())
