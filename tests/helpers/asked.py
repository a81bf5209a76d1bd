"""The common base of state machines that query a collection. It is in memory or on disk. On disk, a
read-only client with its own caches runs the same queries. Maintenance runs only by rules.
"""

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
    """This many examples with this many steps. A failing example is shown as it is, since shrinking
    it takes minutes."""
    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    return settings(max_examples=examples, stateful_step_count=steps, phases=phases)


def calls(events):
    """A strategy of calls of a machine: the name of a method, and its arguments from the strategies
    in `events`. A machine groups its calls in few rules, because hypothesis disables some rules for
    a whole example, and each step should write and query."""
    return st.sampled_from([*events]).flatmap(lambda name: st.tuples(st.just(name), *events[name]))


UPKEEP = {"optimize": (), "maintain": (), "close_files": (whoever,), "reopen": (), "nothing": ()}


class Asked(RuleBasedStateMachine):
    """`things` is the writer's collection."""

    def call(self, call):
        name, *arguments = call
        getattr(self, name)(*arguments)

    def nothing(self):
        """No event before the next query."""

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
