"""What commands print: tables on a terminal, plain lines in a pipe, JSON for scripts.

What is stored may be hostile: nothing of it reaches a terminal but characters that are shown.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
import orjson

from retrieval_store.base.html import printable

DAMAGED = 3  # the exit code
GAP = 3  # between two columns of a table
UNITS = ("B", "kB", "MB", "GB", "TB")
SHOWN = 10  # ids that aren't there
LONGEST = 2_000  # characters of a cell, of which a terminal shows fewer


def has_bar(quiet: bool) -> bool:
    """Whether a bar is shown: on a terminal, unless the user wants quiet."""
    return not quiet and sys.stderr.isatty()


def complain(message: str) -> None:
    """A line on the standard error."""
    click.echo(printable(message), err=True)


def say(message: str) -> None:
    """A line of what was done."""
    click.echo(printable(message))


def tell_missing(ids: Sequence[str]) -> None:
    """That no point has these ids."""
    for one in ids[:SHOWN]:
        complain(f"no point has the id {one!r}")
    if len(ids) > SHOWN:
        complain(f"and none has any of {len(ids) - SHOWN:,} others")


def print_json(value: Any) -> None:
    """A line of JSON; on a terminal without characters that it would obey."""
    line = orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
    if sys.stdout.isatty():
        click.echo("".join(map(_escaped, line.decode())))
    else:
        click.echo(line)


def _escaped(one: str) -> str:
    """A character as JSON has it, by its number unless it is printable."""
    return one if one.isprintable() else json.dumps(one)[1:-1]


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows under the names of their columns: drawn on a terminal, else separated by tabs."""
    cells = [[shown(one) for one in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [columns, *cells]:
            click.echo("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    columns_of_cells = [[name, *(row[i] for row in cells)] for i, name in enumerate(columns)]
    room = console.width - GAP * (len(columns) - 1)
    for column, width in zip(columns_of_cells, widths(columns_of_cells, room), strict=True):
        is_number = len(column) > 1 and all(map(_is_number, column[1:]))
        drawn.add_column(
            Text(column[0]),
            justify="right" if is_number else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=width,
        )
    for row in cells:
        drawn.add_row(*map(Text, row))
    console.print(drawn)


def widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """How wide each column is, so that all have room: those that are long share what the short ones
    leave, each as much as it needs."""
    from rich.cells import cell_len

    needed = [max(map(cell_len, column)) for column in columns]
    given = [0] * len(needed)
    left = room
    for place, i in enumerate(sorted(range(len(needed)), key=needed.__getitem__)):
        given[i] = max(1, min(needed[i], left // (len(needed) - place)))
        left -= given[i]
    return given


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """What is known of one thing, a line each; what is None is left out."""
    told = [(name, shown(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        click.echo(f"{name:<{width}}  {value}")


def shown(value: Any) -> str:
    """A value as a cell of a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, dict | list):
        value = orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return printable(str(value)[:LONGEST])


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("-", "").isdigit()


def counted(number: int, what: str) -> str:
    """So many of something, in words."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def size(count: int | None) -> str | None:
    """Bytes, in the largest unit of which there is one."""
    if count is None:
        return None
    number, unit = float(count), 0
    while number >= 1000 and unit < len(UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.0f} {UNITS[unit]}" if unit < 2 else f"{number:.1f} {UNITS[unit]}"
