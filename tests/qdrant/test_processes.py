"""Several processes on one path, each with its own client; some of them are killed."""

import random
import time
from contextlib import ExitStack

import pytest

import retrieval_store
from retrieval_store.qdrant import QdrantClient
from tests.helpers.processes import running
from tests.qdrant.processes import (
    COUNT,
    first_version,
    mixtures,
    rewrite,
    snapshots_again_and_again,
    take_turns,
    versions_of,
)


def test_a_reader_never_sees_a_part_of_the_writes_of_two_processes(tmp_path):
    with first_version(tmp_path) as client, ExitStack() as processes:
        writers = [processes.enter_context(running(rewrite, tmp_path, i)) for i in (1, 2)]
        for writer in writers:
            assert writer.stdout.readline().strip().isdigit(), writer.stderr.read()
        assert mixtures(client, 300, least=8) == 0
        assert [writer.poll() for writer in writers] == [None, None]


def state_of(client):
    """The last versions to which all points and all aliases belong."""
    versions, count = versions_of(client, 1)
    (version,) = map(int, versions)
    assert count == COUNT
    points, _ = client.scroll("things", limit=COUNT, with_vectors=["turn"])
    moved = [(one.id, one.vector["turn"]) for one in points if one.vector]
    assert moved == ([(version // 2 % COUNT, [version])] if version else [])
    aliases = {one.alias_name: one.collection_name for one in client.get_aliases().aliases}
    live = aliases.pop("live", None)
    if live is None:
        assert aliases == {}
        return version, None
    ((name, collection),) = aliases.items()
    number = int(name.removeprefix("turn-"))
    assert (live, collection) == ("things" if number % 4 == 1 else "other", "things")
    return version, number


def after(number):
    """The expected versions of all points and all aliases after that turn. They begin with the
    second."""
    batch, aliases = number - number % 2, number - (number + 1) % 2
    return batch if number > 1 else 0, aliases if number > 2 else None


@pytest.mark.kills
def test_of_batches_and_alias_lists_a_kill_leaves_all_or_nothing(tmp_path):
    moments, last = random.Random(17), 1
    first_version(tmp_path).close()
    for _ in range(3):
        with running(take_turns, tmp_path, last + 1) as process:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            messages = [process.stdout.readline() for _ in range(moments.randrange(20, 50))]
            time.sleep(moments.uniform(0, 0.01))
            process.kill()
            messages.append(process.stdout.read())
        acknowledged = [int(line) for line in "".join(messages).split("\n")[:-1]]
        newest = max([last, *acknowledged])
        with QdrantClient(path=tmp_path) as client:
            found = state_of(client)
        assert found in (after(newest), after(newest + 1))
        last = newest if found == after(newest) else newest + 1
    assert last > 30
    with retrieval_store.Client(tmp_path) as client:
        assert not [report for report in client.verify() if report.problem]


def test_snapshots_during_writes_of_another_process_are_consistent(tmp_path):
    with first_version(tmp_path) as client, ExitStack() as processes:
        processes.enter_context(running(rewrite, tmp_path, 1)).stdout.readline()
        taking = processes.enter_context(running(snapshots_again_and_again, tmp_path))
        names = [taking.stdout.readline().strip() for _ in range(2)]
        own = client.create_snapshot("things").name
        folder = tmp_path / "snapshots" / "collection-things"
        for name in (*names, own):
            client.recover_snapshot("restored", str(folder / name))
            found, _ = client.scroll("restored", limit=100, with_vectors=["v"])
            versions = {one.payload["version"] for one in found}
            versions |= {number for one in found for number in one.vector["v"]}
            assert len(found) == COUNT and len(versions) == 1
