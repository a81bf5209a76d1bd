"""What a collection tells about itself: how a query was answered, and what takes how much room."""

from contextlib import suppress
from pathlib import Path

from retrieval_store.base.json_values import JSONValue, Payload
from retrieval_store.base.tracing import Attributes
from retrieval_store.engine.nearest.kept import Kept
from retrieval_store.engine.nearest.trace import Trace
from retrieval_store.engine.state.budget import BUDGET
from retrieval_store.engine.state.state import SpaceState, State, state_bytes
from retrieval_store.engine.storage.files import DERIVED
from retrieval_store.interface.spaces import index_name


def explanation(trace: Trace, state: State) -> Payload:
    """What a search did. fresh: vectors that the index lacks; uncoded: vectors without codes, which
    are searched as floats; plans: for each query vector in turn, and more than one for those that
    needed a second try; costs: estimates in microseconds; steps: milliseconds."""
    return {
        "points": state.count,
        "matching": trace.matching,
        "fresh": trace.fresh,
        "uncoded": trace.uncoded,
        "legs": {name: list[JSONValue](counts) for name, counts in trace.legs.items()},
        "plans": [
            {
                "method": plan.method,
                "ef": plan.ef,
                "costs": {method: round(cost, 1) for method, cost in plan.costs.items()},
            }
            for plan in trace.plans
        ],
        "remarks": list[JSONValue](trace.remarks),
        "steps": {name: round(milliseconds, 4) for name, milliseconds in trace.steps.items()},
    }


def of_search(trace: Trace, state: State) -> Attributes:
    """The same for spans."""
    return {
        "retrieval_store.seq": state.head.seq,
        "retrieval_store.points": state.count,
        "retrieval_store.matching": trace.matching,
        "retrieval_store.fresh": trace.fresh,
        "retrieval_store.uncoded": trace.uncoded,
        **{f"retrieval_store.ms.{step}": spent for step, spent in trace.steps.items()},
    }


def statistics(state: State, kept: Kept, directory: Path | None) -> Payload:
    """Points, vectors and bytes by part, on disk and in memory."""
    spaces = state.spaces
    memory: Payload = {
        "state": state_bytes(state),
        "columns": kept.columns.nbytes,
        "words": kept.lists.nbytes,
        "filters": kept.allowed.nbytes + kept.answers.nbytes,
        "several": kept.several.nbytes,
        "codes": sum(codes.nbytes for codes in kept.codes.values()),
        "indexes": sum(index.nbytes for index in kept.indexes.values()),
    }
    if directory is None:
        memory["vectors"] = sum(s.space.slots * s.space.row_bytes for s in spaces.values())
    return {
        "points": state.count,
        "spaces": {name: _of_space(s, kept) for name, s in spaces.items()},
        "memory": memory,
        "budget": {"limit": BUDGET.limit, "held": BUDGET.held},
        "disk": {} if directory is None else _on_disk(directory),
    }


def _of_space(space: SpaceState, kept: Kept) -> Payload:
    name, slots = space.space.name, space.space.slots
    return {
        "dimension": space.space.dimension,
        "vectors": space.space.slots - space.dead,
        "dead_slots": space.dead,
        "index": index_name(space.space),
        "indexed_slots": kept.indexes[name].covered,
        "coded_slots": kept.codes[name].shown().count_below(slots),
    }


def _on_disk(directory: Path) -> Payload:
    parts = {"points": "points.sqlite*", "vectors": "*.vectors", "derived": f"{DERIVED}/*"}
    return {part: sum(map(_taken, directory.glob(pattern))) for part, pattern in parts.items()}


def _taken(path: Path) -> int:
    with suppress(FileNotFoundError):  # maintenance may just have removed it
        return 512 * path.stat().st_blocks
    return 0
