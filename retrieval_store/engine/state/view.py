"""What a call that reads is given."""

from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import apsw

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.engine.state.state import State

Kept_co = TypeVar("Kept_co", covariant=True)


@dataclass(slots=True)  # it isn't changed; frozen, it would take three times as long to make
class View(Generic[Kept_co]):
    """What a call reads: the state in memory, and a transaction that shows the same `seq`.

    kept: what was worked out of the state before. Each room that keeps something says what; to this
    one it is nothing. directory: where there are derived files to be used, if anywhere; name: of
    the collection, for messages; remarks: what an explanation should tell besides, None where none
    is asked for.
    """

    connection: apsw.Connection
    state: State
    kept: Kept_co
    directory: Path | None = None
    name: str = ""
    remarks: list[str] | None = None


AnyView: TypeAlias = View[object]
