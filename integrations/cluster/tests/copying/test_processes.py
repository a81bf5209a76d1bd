"""Copies that are killed at random moments and begun again, and sources that never rest."""

import os
import random
import shutil
import threading

import pytest
from tests.helpers.often import times

import retrieval_store
from integrations.cluster.tests.copying import processes
from integrations.cluster.tests.copying.test_copies_of_stores import filled, held, opened, same
from tests.helpers import PATIENCE
from tests.helpers.processes import running
from tests.helpers.qdrant_server.socket import serving

KILLS = int(os.environ.get("COPY_KILLS", times(4, 8)))  # of all; 50 and more were tried


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return made(tmp_path_factory.mktemp("source") / "store", 800, 1_700)


def made(path, first, things):
    with retrieval_store.Client(path) as client:
        filled(client, "first", first)
        filled(client, "things", things)
    return path


def killed_or_done(moment, *arguments):
    """Whether a copy came to its end before it was killed."""
    with running(processes.copy, *arguments) as process:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        timer = threading.Timer(moment, process.kill)
        timer.start()
        out, err = process.communicate(timeout=PATIENCE)
        timer.cancel()  # or the tests would end no sooner than it does
        assert "Error" not in err, err
        return "\nthings " in out


@pytest.mark.in_turn(3)
@pytest.mark.kills
@pytest.mark.parametrize("how", ["files", "points"])
def test_copies_killed_at_random_lose_and_double_nothing(source, tmp_path, how):
    rng, kills, ends = random.Random(how), 0, 0
    target = tmp_path / "target"
    while kills < KILLS // 2:
        done = killed_or_done(rng.uniform(0, 0.5), source, target, how)
        kills += not done
        if done:
            ends += 1
            check(source, target)
            shutil.rmtree(target)
    while not killed_or_done(PATIENCE, source, target, how):
        pass
    check(source, target)


def check(source, target):
    with retrieval_store.Client(source) as ours, retrieval_store.Client(target) as theirs:
        for name in ("first", "things"):
            same(opened(ours, name), opened(theirs, name))
        assert not [one for one in theirs.verify() if one.problem]
    assert not list(target.glob(".copy*"))


@pytest.mark.kills
def test_a_copy_to_a_server_that_is_killed_goes_on(tmp_path):
    rng = random.Random(3)
    store = made(tmp_path / "store", 100, 400)
    with serving() as url:
        for _ in range(times(2, 5)):
            if killed_or_done(rng.uniform(0.1, 1.5), store, url, "points"):
                break
        else:
            assert killed_or_done(PATIENCE, store, url, "points")
        with retrieval_store.Client(store) as ours, retrieval_store.Client(url=url) as theirs:
            for name in ("first", "things"):
                same(opened(ours, name), opened(theirs, name))


@pytest.mark.slow
@pytest.mark.kills
@pytest.mark.parametrize("to", ["disk", "memory"])
def test_copies_beside_a_writer_that_never_pauses_come_ever_nearer(tmp_path, to):
    """And the one after it has ended holds all."""
    with retrieval_store.Client(tmp_path / "a") as source:
        things = filled(source, count=1_700)
        with (
            running(processes.write_without_end, tmp_path / "a") as writer,
            retrieval_store.Client(tmp_path / "b" if to == "disk" else None) as target,
        ):
            assert writer.stdout.readline() == "0\n", writer.stderr.read()
            turn = 0
            while turn < 600:
                source.copy_to(target)
                turn = int(writer.stdout.readline())
            writer.kill()
            writer.wait(PATIENCE)
            source.copy_to(target)
            same(things, opened(target))
            assert held(things)["ids"]
