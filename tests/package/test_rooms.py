"""What rooms say of themselves is true: each names its modules, and what it may use."""

import pytest

from tests.helpers import ROOT
from tests.helpers.packages import PACKAGES

OURS = [folder for name, folder in PACKAGES.items() if name.startswith("retrieval_store_")]
ROOMS = sorted(
    path.parent for one in (ROOT / "retrieval_store", *OURS) for path in one.rglob("__init__.py")
)


@pytest.mark.parametrize(
    "room", [one for one in ROOMS if one.name != "retrieval_store"], ids=lambda room: room.name
)
def test_a_room_names_its_modules_and_what_it_may_use(room):
    told = (room / "__init__.py").read_text().split('"""')[1]
    modules = {path.stem for path in room.glob("*.py")} - {"__init__"}
    assert {name for name in modules if f"`{name}`" not in told} == set()
    assert "may use" in told.replace("\n", " ") or room.name == "engine"


def test_the_top_of_the_package_is_small():
    assert len(list((ROOT / "retrieval_store").glob("*.py"))) <= 6
