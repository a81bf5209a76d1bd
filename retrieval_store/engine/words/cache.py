"""What this room keeps between calls, of which a collection without words has nothing: so the lists
themselves are no concern of this module, and it needs none of the others."""

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from retrieval_store.base.arrays import Ints, Patched
from retrieval_store.base.dataclasses import dataclass, field, replace
from retrieval_store.engine.state.layers import LayerCache
from retrieval_store.engine.state.state import View

if TYPE_CHECKING:
    from retrieval_store.base.analysis import Analyzer
    from retrieval_store.engine.words.lists import Lists

FOLLOWED = 1_024  # rows that are looked at again one by one; where there are more, all are
ListKey: TypeAlias = "tuple[str, Analyzer | int | None]"  # of words, trigrams, a sparse space
TRIGRAMS: ListKey = ("trigrams", None)


def file_key(key: ListKey) -> str:
    """Under which key the file of these lists is recorded."""
    kind, what = key
    if what is None:
        return kind
    if isinstance(what, int):
        return f"{kind}.{what}"
    import hashlib  # which takes 3 ms, and not all that asks for words asks for a file

    told = repr((what.language, sorted(what.stopwords)))
    return f"{kind}.{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def told_of(key: ListKey) -> list[object]:
    """What a file says of the key of its lists, in JSON."""
    kind, what = key
    if what is None or isinstance(what, int):
        return [kind, what]
    return [kind, [what.language, sorted(what.stopwords)]]


def key_told(told: Any) -> ListKey:
    """The key that a file speaks of. A name of a language is no more than looked up, when words are
    split by it; so a false one is an error then."""
    from retrieval_store.base.analysis import Analyzer

    kind, what = told
    if kind == "words":
        language, stopwords = what
        words = set(map(type, stopwords)) <= {str}
        if words and (language is None or type(language) is str):
            return kind, Analyzer(language, frozenset(stopwords))
    elif (kind == "sparse" and type(what) is int) or told == [*TRIGRAMS]:
        return kind, what
    raise ValueError(f"it has lists of {kind!r}")


@dataclass(frozen=True, slots=True)
class Measures:
    """segments: the lists that are measured; above: see `Layers.above`; sizes: of the rows there
    are, and some room, how many words each has, or numbers of a sparse vector; holders: how many
    rows have any; total: of all sizes; changed: rows to be looked at again."""

    segments: "tuple[Lists, ...]"
    above: list[Ints | None]
    sizes: Patched
    holders: int
    total: int
    changed: Ints

    @property
    def average(self) -> float:
        """The size of a row that has any."""
        return self.total / max(1, self.holders)


Known = dict[Hashable, Measures]


def after(known: Mapping[Hashable, Measures], listed: Ints) -> Known:
    """What is still of use once what is listed of these rows has changed."""
    there = list(known.items())  # a reader of the state before may add to it meanwhile
    both = [(key, one, np.concatenate([one.changed, listed])) for key, one in there]
    return {
        key: replace(one, changed=changed) for key, one, changed in both if len(changed) <= FOLLOWED
    }


@dataclass(frozen=True, slots=True)
class KeptLists:
    """What this room keeps. lists: by kind, for all states that number their rows alike; measures:
    what else was worked out of them, in one state; unsaved: what was made lately and may be worth a
    file."""

    lists: LayerCache
    measures: Known
    unsaved: set[Hashable] = field(default_factory=set, kw_only=True)


ListView: TypeAlias = View[KeptLists]
