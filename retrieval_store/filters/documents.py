"""Conditions on documents, each one class; see `leaves`."""

from collections.abc import Callable
from typing import Any, final

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import is_unicode, shown
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.leaves import Bound, Pushdown
from retrieval_store.filters.nodes import Expression


class DocumentLeaf(Expression):
    """A condition on the document of a point; one without a document fulfils none."""

    __slots__ = ()

    def holds(self, document: str) -> bool:
        """Whether the condition is true of the document."""
        raise NotImplementedError

    def test(self) -> Callable[[str], Any]:
        """`holds`, made ready for many documents; what it returns is true or false to Python."""
        return self.holds

    def bound(self, pushdown: Pushdown) -> Bound:
        """What a store elsewhere can say of it."""
        return pushdown.nothing()


@final
@dataclass(frozen=True, slots=True)
class DocumentContains(DocumentLeaf):
    """Points with a document that has `text` in it, case and all. The engine finds them by SQLite
    and by trigrams (`engine.filtering.documents`), and doesn't ask `holds`."""

    text: str

    def check(self) -> None:
        if not isinstance(self.text, str) or not is_unicode(self.text):
            raise InvalidFilterError(
                f"documents should contain {shown(self.text)}, expected a string without lone "
                "surrogates"
            )

    def holds(self, document: str) -> bool:
        return self.text in document

    def bound(self, pushdown: Pushdown) -> Bound:
        return pushdown.containing(self.text)


@final
@dataclass(frozen=True, slots=True)
class DocumentMatches(DocumentLeaf):
    """Points with a document in which the RE2 `pattern` is found somewhere."""

    pattern: str

    def check(self) -> None:
        _compiled(self.pattern)

    def holds(self, document: str) -> bool:
        return self.test()(document) is not None

    def test(self) -> Callable[[str], Any]:
        search: Callable[[str], Any] = _compiled(self.pattern).search
        return search


def _compiled(pattern: str) -> Any:
    """See `patterns.compile_pattern`: RE2 is loaded when the first pattern comes."""
    from retrieval_store.filters.patterns import compile_pattern

    return compile_pattern(pattern)
