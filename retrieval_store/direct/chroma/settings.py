"""Settings, tenants and databases: accepted where they say what is so here anyway, and refused by
name where they would mean something."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from retrieval_store.base.json_values import shown
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError

DEFAULT_TENANT, DEFAULT_DATABASE = "default_tenant", "default_database"
# What is so here whatever they say: there is no telemetry, and one way of doing things.
MEANINGLESS = frozenset({"anonymized_telemetry", "chroma_product_telemetry_impl", "environment"})
PLACES = frozenset({"is_persistent", "persist_directory"})


class Settings:
    """Settings as Chroma's users give them: `allow_reset`, and `anonymized_telemetry`, which there
    is none of. InvalidArgumentError for any other."""

    def __init__(self, **named: Any) -> None:
        self.allow_reset = _checked(named)
        self.anonymized_telemetry = False

    def __repr__(self) -> str:
        return f"Settings(allow_reset={self.allow_reset})"


def checked_settings(settings: Any, tenant: Any, database: Any) -> Settings:
    """What a client is given of these; InvalidArgumentError for what can't be here."""
    given = {"tenant": (tenant, DEFAULT_TENANT), "database": (database, DEFAULT_DATABASE)}
    for name, (value, default) in given.items():
        if not isinstance(value, str) or value != default:
            raise InvalidArgumentError(
                f"{name} is {shown(value)}, but a store has no tenants and databases: keep each "
                "in a directory of its own"
            )
    return settings if isinstance(settings, Settings) else Settings(**_named(settings))


def _named(settings: Any) -> dict[str, Any]:
    """The settings that differ from what they are if nothing is said."""
    if settings is None:
        return {}
    if isinstance(settings, Mapping) and all(isinstance(name, str) for name in settings):
        return dict(settings)
    if isinstance(settings, type) or not hasattr(settings, "model_dump"):
        raise InvalidTypeError(f"settings is {shown(settings)}, expected Settings or a dict")
    usual: dict[str, Any] = {}
    with suppress(Exception):  # a model may have fields that must be given
        usual = type(settings)().model_dump()
    return {k: v for k, v in settings.model_dump().items() if k not in usual or v != usual[k]}


def _checked(named: Mapping[str, Any]) -> bool:
    for name, value in named.items():
        if name in PLACES:
            raise InvalidArgumentError(
                f"settings.{name} is {shown(value)}: a directory is given as path="
            )
        if name != "allow_reset" and name not in MEANINGLESS:
            raise InvalidArgumentError(
                f"settings.{name} is {shown(value)}, which there is nothing for here; known is "
                "allow_reset"
            )
    allowed = named.get("allow_reset", False)
    if not isinstance(allowed, bool):
        raise InvalidArgumentError(
            f"settings.allow_reset is {shown(allowed)}, expected True or False"
        )
    return allowed
