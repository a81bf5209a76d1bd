"""Lets tests run as on a machine with other kernels of products, as TEST_NUMKONG says: "haswell", AVX2
and nothing newer; "serial", none that is fast; "absent", as if numkong weren't installed.
"""

import importlib.abc
import os
import sys

KEPT = os.environ.get("TEST_NUMKONG")


class Limiter(importlib.abc.MetaPathFinder):
    """At the first import of numkong, switches off what isn't to be used."""

    def find_spec(self, name, path=None, target=None):
        if name == "numkong":
            sys.meta_path.remove(self)
            import numkong

            for capability, there in numkong.get_capabilities().items():
                if there and capability not in ("serial", KEPT):
                    numkong.disable_capability(capability)


def limit() -> None:
    if KEPT == "absent":
        sys.modules["numkong"] = None
    elif KEPT:
        sys.meta_path.insert(0, Limiter())
