"""Results as tables of HTML, as notebooks show them."""

from collections.abc import Iterator, Mapping
from typing import Any

from retrieval_store.base.html import ROWS, shape_of, table_of
from retrieval_store.direct.tables.results import columns_of

MOST_FACTS = 200


def table_of_result(result: dict[str, Any]) -> str:
    """A table of what `get` or `query` returned."""
    columns = columns_of(result)
    first = {name: values[:ROWS] for name, values in columns.items()}
    if "embedding" in first:
        first["embedding"] = [shape_of(one) for one in first["embedding"]]
    rows = list(zip(*first.values(), strict=True))
    return table_of(list(columns), rows, total=len(columns["id"]))


def table_of_facts(facts: Mapping[str, Any]) -> str:
    """A row for each thing that is told, with what stands in objects by the keys that lead
    there."""
    return table_of(("", ""), list(_rows_of(facts, "")), most=MOST_FACTS)


def _rows_of(facts: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        key = ".".join(filter(None, (above, name)))
        if isinstance(value, Mapping):
            yield from _rows_of(value, key)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for i, one in enumerate(value):
                yield from _rows_of(one, f"{key}[{i}]")
        elif isinstance(value, list):
            yield key, ", ".join(map(str, value))
        else:
            yield key, value
