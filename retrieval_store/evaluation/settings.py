"""In which ways questions are asked: by the modes that a collection can answer, and by settings
that the caller names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from retrieval_store.base.validation import shown
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError

EvaluatedMode: TypeAlias = Literal["dense", "text", "hybrid"]
MODES: tuple[EvaluatedMode, ...] = get_args(EvaluatedMode)
ARGUMENTS = (
    "mode", "alpha", "fusion", "depth", "where", "where_document", "max_distance", "min_score",
    "exact", "ef", "group_by", "group_size", "rerank", "rerank_from",
)  # fmt: skip
How: TypeAlias = Mapping[str, Any]  # arguments of Collection.query


def modes_of(modes: Any) -> tuple[EvaluatedMode, ...] | None:
    """The modes that the caller names, each once; None where that is left to the collection."""
    if modes is None:
        return None
    given = [modes] if isinstance(modes, str) else modes
    if not isinstance(given, Iterable):
        raise InvalidTypeError(f"modes is {shown(modes)}, expected a list of {MODES}")
    named = tuple(given)
    for one in named:
        if one not in MODES:
            raise InvalidArgumentError(f"modes has {shown(one)}, expected some of {MODES}")
    return tuple(dict.fromkeys(named))


def settings_of(settings: Any) -> dict[str, How]:
    """The settings that the caller names, by their names."""
    if settings is None:
        return {}
    if not isinstance(settings, Mapping):
        raise InvalidTypeError(
            f"settings is {shown(settings)}, expected a dict of names and arguments of query"
        )
    return {_name(name): _how(name, how) for name, how in settings.items()}


def all_settings(
    modes: Sequence[EvaluatedMode], named: Mapping[str, How], shared: How
) -> dict[str, How]:
    """Modes, then what the caller named, which takes the place of a mode of that name. shared:
    arguments for all that say nothing else."""
    return {
        name: {**shared, **how}
        for name, how in ({one: {"mode": one} for one in modes} | {**named}).items()
    }


def needs_vectors(how: How) -> bool:
    """Whether questions that are asked so must be embedded."""
    return mode_of(how) != "text"


def mode_of(how: How) -> str:
    """The mode of a setting; that of `query` where it names none."""
    mode: str = how.get("mode", "dense")
    return mode


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise InvalidArgumentError(f"settings has the name {shown(name)}, expected some text")
    return name


def _how(name: str, how: Any) -> How:
    place = f"settings[{name!r}]"
    if not isinstance(how, Mapping):
        raise InvalidTypeError(f"{place} is {shown(how)}, expected a dict of arguments of query")
    for key in how:
        if key not in ARGUMENTS:
            raise InvalidArgumentError(
                f"{place} has the key {shown(key)}, expected some of {', '.join(ARGUMENTS)}"
            )
    if mode_of(how) not in MODES:  # of a sparse one questions have no vectors
        raise InvalidArgumentError(
            f"{place}: mode is {shown(mode_of(how))}, expected one of {MODES}"
        )
    return dict(how)
