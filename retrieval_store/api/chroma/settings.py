"""Settings, tenants and databases of Chroma. A setting is accepted if it describes what this
package does anyway. Any other setting is refused, with an error that names it.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from retrieval_store.api.arguments import DEFAULT_DATABASE, DEFAULT_TENANT
from retrieval_store.base.validation import quote
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError

# What is so here whatever they say: there is no telemetry, and one way of doing things.
MEANINGLESS = frozenset({"anonymized_telemetry", "chroma_product_telemetry_impl", "environment"})


class Settings:
    """Settings in the form of Chroma, as arguments or attributes. `allow_reset` has an effect; for
    a store in a directory, `is_persistent` and `persist_directory` have one, too.
    `anonymized_telemetry` has no effect, since there is no telemetry. Clients raise
    InvalidArgumentError for any other setting."""

    def __init__(self, **options: Any) -> None:
        """Takes `allow_reset`, `is_persistent`, `persist_directory` and `anonymized_telemetry` by
        name. Raises InvalidArgumentError for any other setting."""
        self.allow_reset = self.is_persistent = self.anonymized_telemetry = False
        self.persist_directory: str | None = None
        vars(self).update(_check_settings(options))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"Settings({fields})"


def directory_in(settings: Settings, path: Any) -> Any:
    """The directory of the store, from `path` or the settings; None for a store in memory. Raises
    InvalidArgumentError if the settings contradict `path`."""
    directory = settings.persist_directory
    if directory is None:
        if settings.is_persistent and path is None:
            raise InvalidArgumentError(
                "settings.is_persistent is True without a directory: where Chroma takes './chroma' "
                "by itself, persist_directory= or path= names one here"
            )
        return path
    if path is not None and os.path.abspath(path) != os.path.abspath(directory):
        raise InvalidArgumentError(
            f"settings.persist_directory is {quote(directory)}, but path is {quote(path)}"
        )
    if path is None and not settings.is_persistent:
        raise InvalidArgumentError(
            f"settings.persist_directory is {quote(directory)} without is_persistent=True: such a "
            "store would be in memory; a directory is given as path="
        )
    return directory


def refuse_persistent(settings: Any) -> None:
    """Raise InvalidArgumentError if the settings ask for a store in a directory. This function is
    called for clients of a store in memory."""
    known = check_settings(settings, DEFAULT_TENANT, DEFAULT_DATABASE)
    if known.is_persistent or known.persist_directory is not None:
        name = "is_persistent" if known.is_persistent else "persist_directory"
        raise InvalidArgumentError(
            f"settings.{name} is {quote(getattr(known, name))}, but the client is to be in memory: "
            "PersistentClient takes a path="
        )


def check_settings(settings: Any, tenant: Any, database: Any) -> Settings:
    """The settings as `Settings`. Raises InvalidArgumentError for an unsupported setting, tenant or
    database."""
    arguments = {"tenant": (tenant, DEFAULT_TENANT), "database": (database, DEFAULT_DATABASE)}
    for name, (value, default) in arguments.items():
        if not isinstance(value, str) or value != default:
            raise InvalidArgumentError(
                f"{name} is {quote(value)}, but a store has no tenants and databases: keep each "
                "in a directory of its own"
            )
    options = vars(settings) if isinstance(settings, Settings) else _named_settings(settings)
    return Settings(**options)


def _named_settings(settings: Any) -> dict[str, Any]:
    """The settings that differ from Chroma's defaults, by name. The directory is included if it is
    set."""
    if settings is None:
        return {}
    if isinstance(settings, Mapping) and all(isinstance(name, str) for name in settings):
        return dict(settings)
    if isinstance(settings, type) or not hasattr(settings, "model_dump"):
        raise InvalidTypeError(f"settings is {quote(settings)}, expected Settings or a dict")
    usual: dict[str, Any] = {}
    with suppress(Exception):  # a model may have fields that must be given
        usual = type(settings)().model_dump()
    explicit = {"persist_directory"} & getattr(settings, "model_fields_set", set())
    values = settings.model_dump().items()
    return {k: v for k, v in values if k in explicit or k not in usual or v != usual[k]}


def _check_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The supported settings among the options; raises InvalidArgumentError if the value of any
    option is not supported."""
    for name, value in options.items():
        if name in ("allow_reset", "is_persistent"):
            if not isinstance(value, bool):
                raise InvalidArgumentError(
                    f"settings.{name} is {quote(value)}, expected True or False"
                )
        elif name == "persist_directory":
            if value is not None and not isinstance(value, str | os.PathLike):
                raise InvalidArgumentError(
                    f"settings.{name} is {quote(value)}, expected the name of a directory"
                )
        elif name not in MEANINGLESS:
            raise InvalidArgumentError(
                f"settings.{name} is {quote(value)}, which there is nothing for here; known are "
                "allow_reset, is_persistent and persist_directory"
            )
    return {name: value for name, value in options.items() if name not in MEANINGLESS}
