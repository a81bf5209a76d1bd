"""Whether the acts find what is wrong, where something is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrieval_store.errors import DamagedError
from tests.rehearsal.acts import table
from tests.rehearsal.defects import DEFECTS
from tests.rehearsal.places import on_disk
from tests.rehearsal.shapes import SHAPES
from tests.rehearsal.stage import Stage

SIZE = 25_000
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("defects")
    with on_disk(folder) as place:
        stage = Stage(SHAPES["passages"], place, SIZE, folder, "first")
        yield stage
        stage.close()


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_is_found(
    stage: Stage, defect: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its act, which finds nothing without it."""
    act = next(one for one in table() if one.name == DEFECTS[defect])
    stage.fill()
    stage.collection.optimize()
    with stage.watched(act.name):
        act.run(stage)
    with monkeypatch.context() as patch:
        defect(patch)
        # Whichever comes first: that the act sees it, or the collection, which says so.
        with pytest.raises((AssertionError, DamagedError)) as found, stage.watched(act.name):
            act.run(stage)
    print(f"{defect.__name__}: {found.value}")
