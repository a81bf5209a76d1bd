"""Resets the state of a process for a test: registered functions, functions passed as arguments,
and messages that are shown once.
"""

import pytest

from retrieval_store import plugins
from retrieval_store.api import configuration, embedding_functions
from retrieval_store.base.analysis import cached_analyzer, stemmer
from retrieval_store.embeddings import _common


def register_only(patch: pytest.MonkeyPatch, **classes: type) -> None:
    """Register only these embedding functions in this program. Later registrations are undone with
    the test."""
    patch.setattr(plugins, "_registered", classes)


def register_besides(patch: pytest.MonkeyPatch, **classes: type) -> None:
    """Also register these embedding functions, until the test ends."""
    patch.setattr(plugins, "_registered", {**plugins._registered, **classes})


def install_plugins(patch: pytest.MonkeyPatch, **entries: object) -> None:
    """Add these entry points to those of installed packages, each by its name."""
    installed = plugins._entry_points(plugins.EMBEDDING_FUNCTIONS)
    patch.setattr(plugins, "_entry_points", lambda _: {**installed, **entries})


def as_a_new_process(patch: pytest.MonkeyPatch) -> None:
    """No function was passed yet, and no message was shown yet."""
    patch.setattr(embedding_functions, "_given_specs", set())
    patch.setattr(_common, "_warned", set())


def note_settings_anew(patch: pytest.MonkeyPatch) -> None:
    """No meaningless setting was reported yet; each is reported once."""
    from retrieval_store.qdrant import config

    patch.setattr(config, "_logged", set())
    configuration._note.cache_clear()


def forget_given() -> None:
    """No function was passed yet, as in another process."""
    embedding_functions._given_specs.clear()


def forget_stemmers() -> None:
    """Look for the package of stemmers again."""
    stemmer.cache_clear()
    cached_analyzer.cache_clear()
