"""Other processes: they read and write the same store, are killed and interrupted, or have few
descriptors.
"""

import time
import zipfile

import numpy as np

import retrieval_store
from tests.helpers import PATIENCE
from tests.rehearsal import programs
from tests.rehearsal.places import EMBEDDED
from tests.rehearsal.programs import Beside, beside, check_batches
from tests.rehearsal.scenario import Scenario, check_verified, compare
from tests.rehearsal.steps import step
from tests.rehearsal.steps.commands import run as command

DISK = frozenset({"disk"})
SHARED = frozenset({"disk", "served"})


def where_of(scenario: Scenario) -> str:
    return scenario.place.url or str(scenario.place.path)


def remove_batches(scenario: Scenario) -> None:
    """Delete the batches of the other programs."""
    scenario.collection.delete(where={"batch": {"$gte": 0}})
    scenario.check()


def own(ids: list[str]) -> list[str]:
    return [one for one in ids if not one.startswith("beside-")]


@step(places=SHARED)
def reads_beside_a_writer(scenario: Scenario) -> None:
    """Each read is of one moment, and contains the scenario's records."""
    dimension = scenario.shape.dimension
    with beside(programs.write, where_of(scenario), dimension) as writer:
        writer.wait(3)
        for _ in range(scenario.times(5, 20, 60)):
            before = writer.done
            ids = scenario.collection.get(include=[])["ids"]
            check_batches(ids, before, writer.done)
            compare(own(ids), scenario.truth.ids, "what was there before")
            before = writer.done
            where = {"batch": {"$gte": 0}}
            ids = scenario.collection.get(where=where, include=[])["ids"]
            check_batches(ids, before, writer.done)
            query = np.ones((1, dimension))
            got = scenario.collection.query(query, n_results=20, where=where, include=["documents"])
            for one, document in zip(got["ids"][0], got["documents"][0], strict=True):
                _, batch, place = one.split("-")
                assert document == f"batch {batch} place {place}"
            assert len(set(got["ids"][0])) == 20
        assert writer.process.poll() is None, writer.errors
        assert writer.done > 3
    remove_batches(scenario)


@step(places=SHARED)
def writes_beside_a_reader(scenario: Scenario) -> None:
    """Another process reads only whole batches, of two writers."""
    where, dimension = where_of(scenario), scenario.shape.dimension
    with (
        beside(programs.read, where, dimension) as reader,
        beside(programs.write, where, dimension, 10**6) as writer,
    ):
        for i in range(scenario.times(20, 100, 300)):
            records = scenario.more(20)
            scenario.collection.add(
                records.ids, records.vectors, [{"mine": i}] * 20, records.documents
            )
            assert scenario.collection.count(where={"mine": i}) == 20
            scenario.collection.delete(where={"mine": i})
        writer.wait(5)
        assert reader.process.poll() is None, reader.errors
        assert reader.said == ["ready"], reader.said[:5]
    remove_batches(scenario)


@step(places=DISK)
def snapshots_beside_a_writer(scenario: Scenario) -> None:
    """Each snapshot is of one moment and complete; so are a copy and an iteration."""
    dimension = scenario.shape.dimension
    with beside(programs.write, where_of(scenario), dimension) as writer:
        writer.wait(3)
        for _ in range(scenario.times(1, 3, 10)):
            path, there = scenario.new_path("moment.zip"), scenario.new_path("restored")
            before = writer.done
            scenario.collection.snapshot(path)
            after = writer.done
            assert zipfile.ZipFile(path).testzip() is None
            retrieval_store.restore(path, there)
            with retrieval_store.Client(there) as client:
                collection = client.get_collection("scenario", embedding_function=None)
                ids = collection.get(include=[])["ids"]
                check_verified(client)
            check_batches(ids, before, after)
            compare(own(ids), scenario.truth.ids, "what was there before")
            before = writer.done
            ids = [one["id"] for one in scenario.collection.iterate(batch=1000, include=[])]
            check_batches(ids, before, writer.done)
            compare(own(ids), scenario.truth.ids, "what was there before, one by one")
        assert writer.process.poll() is None, writer.errors
    remove_batches(scenario)


@step(places=DISK)
def verifies_beside_a_writer(scenario: Scenario) -> None:
    """A healthy store is never reported as damaged, nor lost by `optimize`."""
    with beside(programs.write, where_of(scenario), scenario.shape.dimension) as writer:
        for turn in range(scenario.times(1, 2, 6)):
            writer.wait(turn * 20 + 2)
            check_verified(scenario.client)
            scenario.collection.optimize()
        assert writer.process.poll() is None, writer.errors
    remove_batches(scenario)


@step(places=DISK)
def copies_beside_a_writer(scenario: Scenario) -> None:
    with beside(programs.write, where_of(scenario), scenario.shape.dimension) as writer:
        for _ in range(scenario.times(1, 2, 5)):
            writer.wait(3)
            before = writer.done
            with retrieval_store.Client(scenario.new_path("copy")) as other:
                scenario.client.copy_to(other, collections=["scenario"])
                after = writer.done
                collection = other.get_collection("scenario", embedding_function=None)
                ids = collection.get(include=[])["ids"]
                check_batches(ids, before, after)
                compare(sorted(own(ids)), sorted(scenario.truth.ids), "what was there before")
        assert writer.process.poll() is None, writer.errors
    remove_batches(scenario)


@step(places=SHARED)
def copies_are_brought_level(scenario: Scenario) -> None:
    """The command copies during writes, and once more afterwards; then everything is there."""
    copied, batches = scenario.new_path("copied"), scenario.times(20, 100, 400)
    words = ("copy", where_of(scenario), copied, "--collection", "scenario", "-q")
    with beside(programs.write, where_of(scenario), scenario.shape.dimension, 0, batches) as writer:
        writer.wait(3)
        command(*words)
        command(*words)
        assert writer.process.wait(5 * PATIENCE) == 0, writer.errors
    command(*words)
    with retrieval_store.Client(copied) as client:
        ids = client.get_collection("scenario", embedding_function=None).get(include=[])["ids"]
    check_batches(ids, batches - 1, batches - 1)
    compare(sorted(own(ids)), sorted(scenario.truth.ids), "what was there before")
    remove_batches(scenario)


def check_acknowledged(scenario: Scenario, writer: Beside, first: int) -> int:
    """Check that a finished writer's acknowledged batches are there; returns the next writer's
    first batch."""
    ids = scenario.collection.get(where={"batch": {"$gte": first}}, include=[])["ids"]
    check_batches(ids, writer.done, writer.done, first)
    return writer.done + 100


@step(places=DISK)
def writers_are_killed(scenario: Scenario) -> None:
    """Kills at random moments: acknowledged batches are there, and at most one more."""
    first = 0
    for _ in range(scenario.times(2, 12, 60)):
        with beside(programs.write, where_of(scenario), scenario.shape.dimension, first) as writer:
            writer.wait(2)
            time.sleep(float(scenario.random.uniform(0, 0.3)))
            writer.stop()
        first = check_acknowledged(scenario, writer, first)
    if scenario.length != "suite":
        check_verified(scenario.client)
    remove_batches(scenario)


@step(places=DISK)
def writers_are_interrupted(scenario: Scenario) -> None:
    """Ctrl-C at random moments: nothing stays locked."""
    first = 0
    for _ in range(scenario.times(2, 8, 40)):
        with beside(programs.write, where_of(scenario), scenario.shape.dimension, first) as writer:
            writer.wait(2)
            time.sleep(float(scenario.random.uniform(0, 0.2)))
            writer.interrupt()
            writer.stop()
        assert "KeyboardInterrupt" in "".join(writer.errors[-3:]), writer.errors[-3:]
        first = check_acknowledged(scenario, writer, first)
    remove_batches(scenario)


@step(places=DISK)
def few_descriptors(scenario: Scenario) -> None:
    """A process limited to 64 open files reads and writes 60 collections."""
    records, names = scenario.records.part(0, 300), [f"small-{i}" for i in range(60)]
    for name in names:
        collection = scenario.make(scenario.client, name)
        collection.add(records.ids, records.vectors, records.metadatas, records.documents)
    printed = programs.run(programs.few_descriptors, where_of(scenario), 64, ",".join(names))
    assert printed == "done\n"
    for name in names:
        assert scenario.client.get_collection(name, embedding_function=None).count() == 303
        scenario.client.delete_collection(name)


@step(places=EMBEDDED | {"served"})
def two_clients_agree(scenario: Scenario) -> None:
    """One client's writes are visible to the other at once, in filters and caches too."""
    other = scenario.place.client()
    theirs = other.get_collection("scenario", embedding_function=None)
    for turn in range(scenario.times(5, 20, 50)):
        records = scenario.more(50)
        metadatas = [{"turn": turn}] * 50
        assert theirs.count(where={"turn": turn}) == 0
        scenario.collection.add(records.ids, records.vectors, metadatas, records.documents)
        assert theirs.count(where={"turn": turn}) == 50
        hits = theirs.query(records.vectors[:1], where={"turn": turn}, n_results=60)["ids"][0]
        compare(sorted(hits), sorted(records.ids), "what another client wrote")
        theirs.delete(where={"turn": turn})
        assert scenario.collection.get(where={"turn": turn}, include=[])["ids"] == []
    if other is not scenario.client:
        other.close()
    scenario.check()
