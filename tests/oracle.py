"""What filters mean, as a plain Python predicate on one record: the oracle of the filter tests."""

import re
from typing import Any


def same(value: Any, wanted: Any) -> bool:
    """Equality of JSON scalars: numbers by value, a bool only to a bool, a string to a string."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return value == wanted
    return isinstance(value, str) and isinstance(wanted, str) and value == wanted


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compare(value: Any, operator: str, operand: Any) -> bool:
    match operator:
        case "$eq":
            return same(value, operand)
        case "$ne":
            return not same(value, operand)
        case "$in":
            return any(same(value, item) for item in operand)
        case "$nin":
            return not any(same(value, item) for item in operand)
        case "$contains":
            return isinstance(value, list) and any(same(item, operand) for item in value)
        case "$not_contains":
            return not (isinstance(value, list) and any(same(item, operand) for item in value))
        case "$gt":
            return is_number(value) and value > operand
        case "$gte":
            return is_number(value) and value >= operand
        case "$lt":
            return is_number(value) and value < operand
        case "$lte":
            return is_number(value) and value <= operand
    raise AssertionError(operator)


def matches(metadata: dict[str, Any] | None, where: dict[str, Any]) -> bool:
    """Whether a record with this metadata fulfils `where`."""
    for key, operand in where.items():
        if key == "$and":
            fulfilled = all(matches(metadata, term) for term in operand)
        elif key == "$or":
            fulfilled = any(matches(metadata, term) for term in operand)
        else:
            value = (metadata or {}).get(key)
            comparisons = operand if isinstance(operand, dict) else {"$eq": operand}
            fulfilled = all(compare(value, o, v) for o, v in comparisons.items())
        if not fulfilled:
            return False
    return True


def document_matches(document: str | None, where: dict[str, Any]) -> bool:
    """Whether a record with this document fulfils `where_document`."""
    for operator, operand in where.items():
        match operator:
            case "$and":
                fulfilled = all(document_matches(document, term) for term in operand)
            case "$or":
                fulfilled = any(document_matches(document, term) for term in operand)
            case "$contains":
                fulfilled = document is not None and operand in document
            case "$not_contains":
                fulfilled = document is None or operand not in document
            case "$regex":
                fulfilled = document is not None and re.search(operand, document) is not None
            case "$not_regex":
                fulfilled = document is None or re.search(operand, document) is None
            case _:
                raise AssertionError(operator)
        if not fulfilled:
            return False
    return True
