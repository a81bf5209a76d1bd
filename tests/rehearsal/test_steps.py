"""Every step in every setting that fits."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.rehearsal import plan
from tests.rehearsal.places import PLACES
from tests.rehearsal.scenario import Scenario
from tests.rehearsal.shapes import SHAPES
from tests.rehearsal.steps import Step, table

EVERY = 3


def chosen() -> list[pytest.param]:
    """With `scripts/test --all`, every third step in the first setting that fits; otherwise all."""
    taken, rows = set(), []
    steps = table()[::EVERY] if plan.LENGTH == "suite" else table()
    for setting in plan.settings():
        for step in steps:
            if not setting.takes(step) or (plan.LENGTH == "suite" and step.name in taken):
                continue
            taken.add(step.name)
            rows.append(pytest.param(setting, step, id=plan.id_of(setting, step)))
    return rows


class Scenarios:
    """Keeps the scenario of one setting open until another is needed."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self.folders = folders
        self.setting: plan.Setting | None = None
        self.scenario: Scenario | None = None
        self._open = ExitStack()

    def set(self, setting: plan.Setting) -> Scenario:
        if self.scenario is None or setting != self.setting:
            self.close()
            folder = self.folders.mktemp(setting.name)
            self._open.callback(shutil.rmtree, folder, ignore_errors=True)
            place = self._open.enter_context(PLACES[setting.place](folder))
            shape = SHAPES[setting.shape]
            self.scenario = Scenario(shape, place, setting.size, folder, plan.LENGTH)
            self._open.callback(self.scenario.close)
            self.setting = setting
        return self.scenario

    def close(self) -> None:
        self.scenario = None
        self._open.close()


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenarios]:
    scenarios = Scenarios(tmp_path_factory)
    yield scenarios
    scenarios.close()


@pytest.mark.parametrize(("setting", "step"), chosen())
def test_step(
    scenarios: Scenarios,
    setting: plan.Setting,
    step: Step,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("setting", setting.name)
    record_property("step", step.name)
    scenario = scenarios.set(setting)
    if scenario.spoilt:
        scenario.fill()
    scenario.spoilt = True
    try:
        with scenario.watched(step.name, step.slow, step.holds):
            step.run(scenario)
    finally:
        scenario.clear()
    scenario.spoilt = False
