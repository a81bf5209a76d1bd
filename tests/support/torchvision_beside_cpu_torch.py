"""Makes torchvision importable with a build of torch that its compiled part doesn't fit: it
declares the missing operators, which are never called. It acts only if the import fails, and only
at the first import of torchvision, so it costs nothing otherwise.
"""

import importlib.abc
import importlib.util
import sys

DECLARED = []  # a library's operators are gone when it is, so this module keeps it


class Mender(importlib.abc.MetaPathFinder):
    """Tests the first import of torchvision, and applies the workaround if it fails."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            mend()


def mend() -> None:
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        import torch

        for module in [name for name in sys.modules if name.startswith("torchvision.")]:
            del sys.modules[module]
        sys.modules.pop("torchvision", None)
        library = torch.library.Library("torchvision", "DEF")
        arguments = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(f"nms{arguments}")
        library.define(f"qnms{arguments}")
        DECLARED.append(library)


def watch() -> None:
    if importlib.util.find_spec("torchvision") is not None:
        sys.meta_path.insert(0, Mender())
