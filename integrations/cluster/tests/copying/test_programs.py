"""Copies of stores with random changes, killed between any two steps, equal their sources."""

import random
import shutil

import pytest

import retrieval_store
from integrations.cluster.tests.copying import programs
from retrieval_store_cluster.copying import journal
from tests.helpers.qdrant_server.socket import serving

PROGRAMS = 4


def same(source, target, said):
    ours, theirs = programs.read_everything(source), programs.read_everything(target)
    assert ours.keys() == theirs.keys(), said
    for name in ours:
        assert ours[name] == theirs[name], f"{said}: {name}"


def is_finished(target):
    for path in target.glob("copy-*.journal"):
        entries = journal._read_journal(path).entries.values()
        return bool(entries) and all(one.finished for one in entries)
    return False


def run(seed, base):
    rng = random.Random(seed)
    source, target = base / f"{seed}-a", base / f"{seed}-b"
    by_points = rng.random() < 0.5
    programs.changed(seed, source, 40)
    for attempt in range(rng.randint(1, 6)):
        beside, kill_at = rng.random() < 0.5, round(rng.expovariate(1 / 150)) + 1
        number, was_finished = seed * 100 + attempt, is_finished(target)
        got = programs.in_child(programs.copy, number, source, target, kill_at, beside, by_points)
        assert got in ("done", "killed"), f"program {seed}, attempt {attempt}: {got}"
        if not beside and (got == "done" or (is_finished(target) and not was_finished)):
            same(source, target, f"program {seed}, attempt {attempt}")
        programs.changed(number + 50, source, rng.randint(0, 10), programs.Lasting)
    for message in ("at the end", "once more"):
        got = programs.in_child(programs.copy, seed, source, target, -1, False, by_points)
        assert got == "done", f"program {seed}, {message}: {got}"
        same(source, target, f"program {seed}, {message}")
    shutil.rmtree(source)
    shutil.rmtree(target)


@pytest.mark.kills
def test_copies_of_random_programs_equal_their_sources(tmp_path):
    for seed in range(PROGRAMS):
        run(seed, tmp_path)


@pytest.mark.kills
def test_copies_to_a_cluster_of_random_programs_equal_their_sources(tmp_path):
    for seed in range(2):
        rng, source = random.Random(seed), tmp_path / f"{seed}"
        programs.changed(seed, source, 25, programs.OfClusters)
        with serving() as url:
            for attempt in range(rng.randint(1, 4)):
                kill_at, number = round(rng.expovariate(1 / 100)) + 1, seed * 100 + attempt
                beside, was_finished = rng.random() < 0.5, is_finished(source)
                got = programs.in_child(programs.copy, number, source, url, kill_at, beside, True)
                assert got in ("done", "killed"), f"program {seed}, {attempt}: {got}"
                if not beside and is_finished(source) and not was_finished:
                    break
                programs.changed(number + 50, source, rng.randint(0, 5), programs.OfClusters)
            else:
                got = programs.in_child(programs.copy, seed, source, url, -1, False, True)
                assert got == "done", f"program {seed}, at the end: {got}"
            with retrieval_store.Client(source) as ours, retrieval_store.Client(url=url) as theirs:
                here, there = programs.told_of(ours), programs.told_of(theirs)
            assert here.keys() == there.keys(), f"program {seed}"
            for name in here:
                assert here[name] == there[name], f"program {seed}: {name}"


@pytest.mark.kills
def test_a_copy_that_is_killed_between_any_two_steps_is_resumed(tmp_path):
    """Also at the end, when everything is done and nobody has been informed."""
    source, every = tmp_path / "a", 35
    programs.changed(7, source, 60)
    for kill_at in range(1, 10_000, every):
        target = tmp_path / f"{kill_at}"
        by_points = kill_at % 2 == 0
        copying = source, target, kill_at, False, by_points
        got = programs.in_child(programs.copy, 0, *copying)
        assert got in ("done", "killed"), got
        again = programs.in_child(programs.copy, 0, source, target, -1, False, by_points)
        assert again == "done", f"killed at {kill_at}: {again}"
        same(source, target, f"killed at {kill_at}")
        shutil.rmtree(target)
        if got == "done":
            return
