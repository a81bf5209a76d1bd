"""Expected results by the simplest methods: filters as a predicate on one record, distances in
float64, BM25 by its formula, fusion in ten lines.
"""

import math
import re
from datetime import UTC, datetime
from typing import Any

import numpy as np


def same(value: Any, wanted: Any) -> bool:
    """Equality of JSON scalars: numbers by value, a bool only to a bool, a string to a string."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return value == wanted
    return isinstance(value, str) and isinstance(wanted, str) and value == wanted


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


ORDERS = {"$gt": {1}, "$gte": {0, 1}, "$lt": {-1}, "$lte": {-1, 0}}


def compared(value: Any, other: Any) -> int | None:
    """-1, 0 or 1 as the value is less, equal or more; None where they can't be compared."""
    if is_number(value) and is_number(other):
        return (value > other) - (value < other)
    if not (isinstance(value, str) and isinstance(other, str)):
        return None
    times = [time_in(value), time_in(other)]
    one, two = (value, other) if None in times else times
    return (one > two) - (one < two)


def time_in(text: str) -> datetime | None:
    """The time of a string in one of ISO's common forms."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d([ T].*)?", text, re.ASCII):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


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
            if isinstance(value, str):
                return isinstance(operand, str) and operand in value
            return isinstance(value, list) and any(same(item, operand) for item in value)
        case "$not_contains":
            return not compare(value, "$contains", operand)
        case "$prefix":
            return isinstance(value, str) and value.startswith(operand)
        case "$regex":  # to RE2 the end isn't before a newline, too
            pattern = operand.replace("$", r"\Z")
            return isinstance(value, str) and re.search(pattern, value) is not None
        case "$not_regex":
            return not compare(value, "$regex", operand)
        case "$gt" | "$gte" | "$lt" | "$lte":
            return compared(value, operand) in ORDERS[operator]
        case "$exists":
            return (value is not None and value != []) is operand
        case "$size":
            return isinstance(value, list) and len(value) == operand
        case "$not":
            return not all(compare(value, o, v) for o, v in operand.items())
    raise AssertionError(operator)


def matches(metadata: dict[str, Any] | None, where: dict[str, Any]) -> bool:
    """Whether a record with this metadata fulfils `where`."""
    for key, operand in where.items():
        if key == "$and":
            fulfilled = all(matches(metadata, term) for term in operand)
        elif key == "$or":
            fulfilled = any(matches(metadata, term) for term in operand)
        elif key == "$nor":
            fulfilled = not any(matches(metadata, term) for term in operand)
        elif key == "$not":
            fulfilled = not matches(metadata, operand)
        else:
            value = value_of(metadata or {}, key)
            comparisons = operand if isinstance(operand, dict) else {"$eq": operand}
            fulfilled = all(compare(value, o, v) for o, v in comparisons.items())
        if not fulfilled:
            return False
    return True


def facet(metadatas: list[dict[str, Any] | None], key: str) -> list[tuple[Any, int]]:
    """The values under the key and how many records have each, by counting them one by one."""
    counts: dict[Any, int] = {}
    for metadata in metadatas:
        value = value_of(metadata or {}, key)
        items = value if isinstance(value, list) else [value]
        for item in {(type(one) is bool, one) for one in items if is_scalar(one)}:
            counts[item] = counts.get(item, 0) + 1
    # Bools, then numbers, then strings among those that are as frequent.
    order = sorted(
        counts, key=lambda item: (-counts[item], not item[0], isinstance(item[1], str), item[1])
    )
    return [(item[1], counts[item]) for item in order]


def is_scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)


def value_of(metadata: dict[str, Any], key: str) -> Any:
    """The value at the key, or, if there is none, at the path that its dots form."""
    if key in metadata or "." not in key:
        return metadata.get(key)
    value: Any = metadata
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def document_matches(document: str | None, where: dict[str, Any]) -> bool:
    """Whether a record with this document fulfils `where_document`."""
    for operator, operand in where.items():
        match operator:
            case "$and":
                fulfilled = all(document_matches(document, term) for term in operand)
            case "$or":
                fulfilled = any(document_matches(document, term) for term in operand)
            case "$nor":
                fulfilled = not any(document_matches(document, term) for term in operand)
            case "$not":
                fulfilled = not document_matches(document, operand)
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


def brute_force(query, rows, metric):
    """float64 distances of all rows, as in hits."""
    measured = brute_measures(query, rows, metric)
    return 1 + measured if metric == "ip" else measured


def brute_measures(query, rows, metric):
    """float64 distances of all rows, as searches compute them: for "ip" -dot."""
    query, rows = query.astype(np.float64), rows.astype(np.float64)
    if metric == "l2":
        return ((rows - query) ** 2).sum(axis=1)
    if metric == "l1":
        return np.abs(rows - query).sum(axis=1)
    dots = rows @ query
    if metric == "ip":
        return -dots
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return 1 - np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)


def is_identifier(word):
    """Whether a word is longer than two characters and has an underscore, digits with letters, or
    five digits."""
    mixed = re.search(r"\d", word) and re.search(r"\D", word)
    return len(word) > 2 and bool("_" in word or mixed or re.fullmatch(r"\d{5,}", word))


def bm25(documents, query, k1=1.2, b=0.75, identifiers=1):
    """Scores by the plain formula, one word at a time. identifiers: the weight of identifiers."""
    words = [re.findall(r"\w+", document.lower()) for document in documents]
    filled = [w for w in words if w]
    average = sum(map(len, filled)) / len(filled)
    scores = [0.0] * len(words)
    for word in re.findall(r"\w+", query.lower()):
        counts = [own.count(word) for own in words]
        holders = sum(f > 0 for f in counts)
        idf = math.log(1 + (len(filled) - holders + 0.5) / (holders + 0.5))
        idf *= identifiers if is_identifier(word) else 1
        for i, f in enumerate(counts):
            if f:
                length = 1 - b + b * len(words[i]) / average
                scores[i] += idf * f * (k1 + 1) / (f + k1 * length)
    return scores


def expected(ids, scores, k):
    """The k best ids with a score above 0, ties in order."""
    order = sorted(range(len(ids)), key=lambda i: (-scores[i], i))
    return [ids[i] for i in order if scores[i] > 0][:k]


def oracle_rrf(rankings, weights, k=60):
    scores = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0) + weight / (k + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def words_weight(documents, query, found):
    """The weight of words beside vectors in adaptive fusion: 1.5 s², where s is the greatest share
    of the query that one found document contains."""
    words = [re.findall(r"\w+", document.lower()) for document in documents]
    filled = sum(bool(w) for w in words)
    fields = {}
    for word in re.findall(r"\w+", query.lower()):
        holders = max(1, sum(word in other for other in words))
        idf = math.log(1 + (filled - holders + 0.5) / (holders + 0.5))
        fields[word] = fields.get(word, 0) + (idf * (4 if is_identifier(word) else 1)) ** 3
    request = sum(fields.values()) + (0.5 * math.log(1 + (filled - 0.5) / 1.5)) ** 3
    held = [sum(value for word, value in fields.items() if word in words[i]) for i in found]
    return 1.5 * (max(held, default=0) / request) ** 2


def oracle_weighted(rankings, weights):
    """Items by the sum of their scores; each ranking's scores are scaled to 0 … 1."""
    scores = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        least = min((score for _, score in ranking), default=0)
        span = max((score for _, score in ranking), default=0) - least
        for item, score in ranking:
            scaled = (score - least) / span if span else 1
            scores[item] = scores.get(item, 0) + weight * scaled
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
