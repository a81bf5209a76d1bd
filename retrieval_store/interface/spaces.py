"""Vector spaces: what vectors points have, how far these are apart, and how they are indexed."""

from typing import Literal, Protocol, TypeAlias, get_args

from retrieval_store.base.arrays import Datatype
from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.base.json_values import Payload
from retrieval_store.base.metrics import Metric
from retrieval_store.indexes import HNSW

Kind: TypeAlias = Literal["dense", "sparse", "multi"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class NewSpace:
    """A vector space to be: its metric, the name and settings of its index, and how many vectors of
    which kind a point has: one dense, one sparse, or several dense ones ("multi"). A sparse space
    ranks by the dot product; {"idf": true} in its settings multiplies by the idf of each index. The
    numbers of the others are kept as the datatype says; of "uint8" whole ones, from 0 to 255, to
    which all are cut. dimension: None leaves it to the first write."""

    metric: Metric
    index: Payload = field(default_factory=dict)
    kind: Kind = "dense"
    datatype: Datatype = "float32"
    dimension: int | None = None


@dataclass(frozen=True, slots=True)
class SpaceRecord:
    """A vector space as it is. dimension: None until it is fixed; count: of living points that have
    a vector in it; number: its own for ever, so that one that was dropped and added again is told
    from the one before."""

    name: str
    metric: Metric
    kind: Kind
    datatype: Datatype
    dimension: int | None
    index: Payload
    count: int
    number: int = field(default=0, compare=False)


class Indexed(Protocol):
    """What has an index: a space to be, or one that is. index: its name and settings."""

    @property
    def index(self) -> Payload: ...


def index_name(space: Indexed) -> str:
    """The registered name of a space's index."""
    return str(space.index.get("name", HNSW))


def index_settings(space: Indexed) -> Payload:
    """The settings that its class is made with."""
    settings = space.index.get("settings")
    return settings if isinstance(settings, dict) else {}
