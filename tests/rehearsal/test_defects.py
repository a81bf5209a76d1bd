"""Whether the steps detect deliberate defects."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrieval_store.errors import DamagedError
from tests.rehearsal.defects import DEFECTS
from tests.rehearsal.places import on_disk
from tests.rehearsal.scenario import Scenario
from tests.rehearsal.shapes import SHAPES
from tests.rehearsal.steps import table

SIZE = 25_000
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    folder: Path = tmp_path_factory.mktemp("defects")
    with on_disk(folder) as place:
        scenario = Scenario(SHAPES["passages"], place, SIZE, folder, "first")
        yield scenario
        scenario.close()


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_is_found(
    scenario: Scenario,
    defect: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its step detects the defect, and passes without it."""
    step = next(one for one in table() if one.name == DEFECTS[defect])
    scenario.fill()
    scenario.collection.optimize()
    with scenario.watched(step.name):
        step.run(scenario)
    with monkeypatch.context() as patch:
        defect(patch)
        # Whichever comes first: that the step sees it, or the collection, which says so.
        with pytest.raises((AssertionError, DamagedError)) as found, scenario.watched(step.name):
            step.run(scenario)
    print(f"{defect.__name__}: {found.value}")
