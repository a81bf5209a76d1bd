"""What state machines that ask a collection share: it lies in memory or on disk, where a client that
only reads asks beside the one that writes, with caches of its own. What the background does is done
by rules alone."""

import gc
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

import retrieval_store
from tests.helpers import inside, open_files
from tests.helpers.tuned import tuned

whoever = st.integers(0, 1)


def turns(examples, steps):
    """So many examples of so many steps. One that fails is shown as it is: to shorten it takes
    minutes."""
    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    return settings(max_examples=examples, stateful_step_count=steps, phases=phases)


def calls(events):
    """A strategy of calls of a machine: the name of a method, and its arguments, by the strategies
    that `events` has for that. Machines take them in few rules, of which hypothesis leaves out some
    for the whole of an example: each step is to write and to ask."""
    return st.sampled_from([*events]).flatmap(lambda name: st.tuples(st.just(name), *events[name]))


UPKEEP = {"optimize": (), "maintain": (), "close_files": (whoever,), "reopen": (), "nothing": ()}


class Asked(RuleBasedStateMachine):
    """`things` is the collection as its writer has it."""

    def call(self, call):
        name, *arguments = call
        getattr(self, name)(*arguments)

    def nothing(self):
        """Only the next question comes."""

    def open(self, on_disk, configuration=None):
        self.patch = pytest.MonkeyPatch()
        inside.without_background(self.patch)
        # What a contradiction in memory leads to isn't mended by loading all anew.
        tuned(self.patch, errors_read_again_after=())
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "store") if on_disk else None
        self.clients = [retrieval_store.Client(self.path, durability="relaxed")]
        self.clients[0].create_collection("things", configuration, embedding_function=None)
        self._opened()

    def _opened(self):
        if self.path is not None and len(self.clients) == 1:
            self.clients.append(retrieval_store.Client(self.path, read_only=True))
        self.all_things = [
            client.get_collection("things", embedding_function=None) for client in self.clients
        ]
        self.things = self.all_things[0]

    def asker(self, who):
        return self.all_things[who % len(self.all_things)]

    def optimize(self):
        self.things.optimize()

    def maintain(self):
        inside.maintain(inside.access(self.things))

    def close_files(self, who):
        inside.close_files(inside.access(self.asker(who)))

    def reopen(self):
        if self.path is not None:
            for client in self.clients:
                client.close()
            self.clients = [retrieval_store.Client(self.path, durability="relaxed")]
            self._opened()

    def teardown(self):
        if hasattr(self, "clients"):
            for client in self.clients:
                client.close()
            if open_files(self.folder.name):
                gc.collect()  # of what refers to itself
            assert not open_files(self.folder.name)
            self.folder.cleanup()
            self.patch.undo()
