"""Forked children of a test's process."""

import faulthandler
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable

from tests.helpers import PATIENCE


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked child. Returns its exit status, which is 1 after an error."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            begin_child()
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def begin_child() -> None:
    """The first call in a forked child. If the child hangs, it prints its traceback and is killed.
    Garbage collection is off, since gRPC's finalizers may wait for threads of the parent."""
    gc.disable()
    faulthandler.register(signal.SIGALRM, file=sys.__stderr__, chain=True)
    signal.alarm(PATIENCE)
