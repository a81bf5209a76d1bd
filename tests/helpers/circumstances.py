"""What a process remembers, forgotten for a test: functions that were registered or given, and what
was told once."""

import pytest

from retrieval_store import plugins
from retrieval_store.api import configuration, embedding_functions
from retrieval_store.base.analysis import cached_analyzer, stemmer
from retrieval_store.embeddings import _common


def register_only(patch: pytest.MonkeyPatch, **classes: type) -> None:
    """This program has registered these embedding functions by these names, and no others; what it
    registers from now on is forgotten with the test."""
    patch.setattr(plugins, "_registered", classes)


def register_besides(patch: pytest.MonkeyPatch, **classes: type) -> None:
    """This program has registered these embedding functions too, until the test ends."""
    patch.setattr(plugins, "_registered", {**plugins._registered, **classes})


def install_plugins(patch: pytest.MonkeyPatch, **entries: object) -> None:
    """Packages bring these entry points besides those that are installed, each by its name."""
    installed = plugins._entry_points(plugins.EMBEDDING_FUNCTIONS)
    patch.setattr(plugins, "_entry_points", lambda _: {**installed, **entries})


def as_a_new_process(patch: pytest.MonkeyPatch) -> None:
    """No function was given yet, and nothing told of what is told once."""
    patch.setattr(embedding_functions, "_given_specs", set())
    patch.setattr(_common, "_warned", set())


def note_settings_anew(patch: pytest.MonkeyPatch) -> None:
    """No setting without meaning was noted yet, which is done once for each."""
    from retrieval_store.qdrant import config

    patch.setattr(config, "_logged", set())
    configuration._note.cache_clear()


def forget_given() -> None:
    """No function was given yet, as in another process."""
    embedding_functions._given_specs.clear()


def forget_stemmers() -> None:
    """Look for the package of stemmers anew."""
    stemmer.cache_clear()
    cached_analyzer.cache_clear()
