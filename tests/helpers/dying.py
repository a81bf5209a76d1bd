"""Processes that die at one step after another, for programs that a test runs by `python -c`."""

import os
import signal
import sys
from collections.abc import Callable


def at_each_step(
    prepare: Callable[[int], str], work: Callable[[str], object], names: tuple[str, ...], every: int
) -> None:
    """Call `work` in children, with the result of `prepare` for each. The first child is killed at
    the first call of one of these functions of `os`, and each further one `every` calls later,
    until one completes. Prints the prepared values, and the status of each child."""
    for step in range(1, 100):
        path = prepare(step)
        child = os.fork()
        if child == 0:
            _die_after(1 + every * (step - 1), names)
            work(path)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(path, status, flush=True)
        if status != -signal.SIGKILL:
            sys.exit()


def _die_after(calls: int, names: tuple[str, ...]) -> None:
    left = calls

    def dying(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        setattr(os, name, call)

    for name in names:
        dying(name)
