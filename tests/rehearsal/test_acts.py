"""Every act in every setting that it fits."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.rehearsal import plan
from tests.rehearsal.acts import Act, table
from tests.rehearsal.places import PLACES
from tests.rehearsal.shapes import SHAPES
from tests.rehearsal.stage import Stage

EVERY = 3


def chosen() -> list[pytest.param]:
    """In `scripts/test --all` every third act in the first setting that it fits; else all in all."""
    taken, rows = set(), []
    acts = table()[::EVERY] if plan.LENGTH == "suite" else table()
    for setting in plan.settings():
        for act in acts:
            if not setting.takes(act) or (plan.LENGTH == "suite" and act.name in taken):
                continue
            taken.add(act.name)
            rows.append(pytest.param(setting, act, id=plan.id_of(setting, act)))
    return rows


class Theatre:
    """Keeps the stage of one setting open until another is wanted."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self.folders = folders
        self.setting: plan.Setting | None = None
        self.stage: Stage | None = None
        self._open = ExitStack()

    def set(self, setting: plan.Setting) -> Stage:
        if self.stage is None or setting != self.setting:
            self.close()
            folder = self.folders.mktemp(setting.name)
            self._open.callback(shutil.rmtree, folder, ignore_errors=True)
            place = self._open.enter_context(PLACES[setting.place](folder))
            shape = SHAPES[setting.shape]
            self.stage = Stage(shape, place, setting.size, folder, plan.LENGTH)
            self._open.callback(self.stage.close)
            self.setting = setting
        return self.stage

    def close(self) -> None:
        self.stage = None
        self._open.close()


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    theatre = Theatre(tmp_path_factory)
    yield theatre
    theatre.close()


@pytest.mark.parametrize(("setting", "act"), chosen())
def test_act(
    theatre: Theatre,
    setting: plan.Setting,
    act: Act,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("setting", setting.name)
    record_property("act", act.name)
    stage = theatre.set(setting)
    if stage.spoilt:
        stage.fill()
    stage.spoilt = True
    try:
        with stage.watched(act.name, act.slow, act.holds):
            act.run(stage)
    finally:
        stage.clear()
    stage.spoilt = False
