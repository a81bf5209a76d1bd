"""Conditions of a `Search` → filter expressions: the dialect of `where`, and ids besides."""

from collections.abc import Mapping
from typing import Any

from retrieval_store.base.validation import shown
from retrieval_store.direct.arguments import ids_of
from retrieval_store.direct.chroma.expressions import EMBEDDING, ID, METADATA, SCORE
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.nodes import MAX_DEPTH, Expression, HasId, Not, all_of
from retrieval_store.filters.where import JUNCTIONS, parse_where

_OF_IDS = {"$eq": (False, False), "$in": (False, True), "$ne": (True, False), "$nin": (True, True)}
_UNKNOWN = (EMBEDDING, METADATA, SCORE)


def expression_of(form: Mapping[str, Any], depth: int = 1) -> Expression:
    """The expression; raises InvalidFilterError."""
    if depth > MAX_DEPTH:
        raise InvalidFilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(form, Mapping) or not form:
        return parse_where(form)  # which says what is wrong
    found = all_of(*(_term(key, operand, depth) for key, operand in form.items()))
    assert found is not None
    return found


def _term(key: Any, operand: Any, depth: int) -> Expression:
    if key in JUNCTIONS and isinstance(operand, list | tuple) and operand:
        return JUNCTIONS[key](tuple(expression_of(one, depth + 1) for one in operand))
    if key == ID:
        return _of_ids(operand)
    if key in _UNKNOWN:
        raise InvalidFilterError(
            f"where has {key!r}: conditions are on metadata keys, K.DOCUMENT and K.ID; scores and "
            "vectors are known only when records have been found"
        )
    return parse_where({key: operand})


def _of_ids(operand: Any) -> Expression:
    """Records with some ids, or without them: one id, or an operator with one or several."""
    asked = operand if isinstance(operand, Mapping) else {"$eq": operand}
    terms: list[Expression] = []
    for operator, named in asked.items():
        if operator not in _OF_IDS:
            raise InvalidFilterError(
                f"where[{ID!r}] has {shown(operator)}, expected one of {', '.join(_OF_IDS)}"
            )
        is_not, are_several = _OF_IDS[operator]
        place = f"where[{ID!r}][{operator!r}]"
        ids = HasId(tuple(ids_of(named if are_several else [named], place)), are_shown=True)
        terms.append(Not(ids) if is_not else ids)
    found = all_of(*terms)
    if found is None:
        raise InvalidFilterError(f"where[{ID!r}] is {shown(operand)}, expected ids")
    return found
