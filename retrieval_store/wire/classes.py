"""Which classes may come in a message, by their names."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module

PACKAGE = "retrieval_store."
_HOMES: Mapping[str, Sequence[str]] = {
    "base.words": ("Analyzer",),
    "base.arrays": ("SparseVector",),
    "filters.nodes": ("HasId", "HasVector"),
    "filters.paths": ("Steps",),
    "filters.columns": ("ValuesAt", "PlacesAt", "TokensAt", "ElementsAt"),
    "filters.documents": ("DocumentContains", "DocumentMatches"),
    "filters.geo": ("InBox", "InCircle", "InPolygon"),
    "filters.nested": ("AnyElement",),
    "filters.slices": ("InSlice",),
    "filters.values": (
        *("Beginning", "Between", "Containing", "Differs", "Equals", "Exists", "HasLength"),
        *("HasPhrase", "HasTokens", "ListHas", "OneOf", "Range", "TextIn", "TextRange"),
    ),
    "interface.formulas": (
        *("Apply", "Combine", "Constant", "Decayed", "DistanceTo", "NumberAt", "Power"),
        *("Quotient", "ScoreOf", "TimeAt", "Whether"),
    ),
    "interface.points": ("Changed", "Fields", "Position", "PutResult", "WriteRules"),
    "interface.questions": (
        *("BestOfEach", "Computed", "Discovered", "Diverse", "Fused", "Near", "Ordered"),
        *("PayloadText", "Question", "Recommended", "RelevanceFeedback", "Sparse", "Step"),
        *("Text", "Unranked"),
    ),
    "interface.reasons": ("Findings", "Inquiry", "LegFindings", "WordFindings"),
    "interface.records": ("CollectionRecord", "Gauges"),
    "interface.spaces": ("NewSpace", "SpaceRecord"),
}
_HOME_OF = {name: PACKAGE + home for home, names in _HOMES.items() for name in names}
_LEARNT: dict[str, type] = {}


def learn(kind: type) -> None:
    """Take a dataclass of a room above for one that may come in a message."""
    _LEARNT[kind.__name__] = kind


@cache
def class_of(name: str) -> type | None:
    """The class that a name stands for; None if it stands for none."""
    if name in _LEARNT:
        return _LEARNT[name]
    home = _HOME_OF.get(name)
    found: type | None = None if home is None else getattr(import_module(home), name)
    return found


def is_learnt(name: str) -> bool:
    """Whether a room above has said that a class may come."""
    return name in _LEARNT
