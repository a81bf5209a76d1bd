"""Which shapes are rehearsed in which stores, by the length in REHEARSE."""

import os
from dataclasses import dataclass

from tests.rehearsal.places import PLACES
from tests.rehearsal.shapes import SHAPES
from tests.rehearsal.steps import Step

LENGTH = os.environ.get("REHEARSE", "suite")
TIMES = float(os.environ.get("REHEARSE_SIZE", "1"))
Sizes = dict[tuple[str, str], int]

SUITE: Sizes = {
    ("passages", "disk"): 25_000,
    ("passages", "served"): 5_000,
    ("tokens", "disk"): 300,
    ("sparse", "disk"): 3_000,
    ("tenants", "disk"): 2_000,
    ("folder", "disk"): 200,
    ("pictures", "disk"): 300,
}
FIRST: Sizes = {
    ("passages", "disk"): 50_000,
    ("tight", "disk"): 25_000,
    ("wide", "disk"): 20_000,
    ("passages", "memory"): 10_000,
    ("passages", "served"): 10_000,
    ("tight", "grpc"): 5_000,
    ("passages", "cluster"): 2_000,
    ("many", "disk"): 300_000,
    ("tokens", "disk"): 2_000,
    ("sparse", "disk"): 50_000,
    ("tenants", "disk"): 20_000,
    ("folder", "disk"): 1_000,
    ("pictures", "disk"): 2_000,
}
# How much smaller shapes are in a full rehearsal beside the directory, so that it is over in hours.
SMALLER = {"disk": 1, "memory": 10, "served": 10, "grpc": 20, "cluster": 50}
FULL: Sizes = {
    (shape.name, place): shape.size // smaller
    for shape in SHAPES.values()
    for place, smaller in SMALLER.items()
}
# In the first length this shape, which takes long, is for some steps alone.
OF_MANY = ("reading.", "upkeep.is_quick")


@dataclass(frozen=True)
class Setting:
    shape: str
    place: str
    size: int

    def takes(self, step: Step) -> bool:
        """Whether a step runs here. A shape with special features runs only the steps for these."""
        shape = SHAPES[self.shape]
        if not step.fits(shape.kinds, self.place, LENGTH):
            return False
        if LENGTH == "first" and self.shape == "many":
            return step.name.startswith(OF_MANY)
        return not shape.has or bool(step.needs & shape.has)

    @property
    def name(self) -> str:
        return f"{self.shape}-{self.place}-{self.size}"


def id_of(setting: Setting, step: Step) -> str:
    """The name of a test."""
    return f"{setting.name}-{step.name}"


def setting_in(nodeid: str) -> str:
    """The name of the setting of a test id; the whole id if it has no setting."""
    return nodeid.rpartition("[")[2].rpartition("-")[0] or nodeid


def settings() -> list[Setting]:
    """The settings of this length, limited to the shapes and places in REHEARSE_ONLY (for example
    passages-disk)."""
    assert set(SMALLER) == set(PLACES)
    sizes = {"suite": SUITE, "first": FIRST, "full": FULL}[LENGTH]
    only = os.environ.get("REHEARSE_ONLY")
    return [
        Setting(shape, place, int(size * TIMES))
        for (shape, place), size in sizes.items()
        if only is None or f"{shape}-{place}" in only.split(",")
    ]
