"""Children of a test's process, forked with all that is in it."""

import faulthandler
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable

from tests.helpers import PATIENCE


def in_child(work: Callable[[], object]) -> int:
    """Do `work` in a forked child; its exit status, 1 after an error."""
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
    """What a forked child does first: if it hangs it says where, and is killed; and it collects no
    garbage, since this may be gRPC's, whose finalizers wait for threads that only the parent has."""
    gc.disable()
    faulthandler.register(signal.SIGALRM, file=sys.__stderr__, chain=True)
    signal.alarm(PATIENCE)
