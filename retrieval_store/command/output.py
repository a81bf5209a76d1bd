"""What commands print: tables on a terminal, plain lines in a pipe, JSON for scripts.

What is stored may be hostile: nothing of it reaches a terminal but characters that are shown.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
import numpy as np
import orjson

UNITS = ("B", "kB", "MB", "GB", "TB")
LONGEST = 2_000  # characters of a cell, of which a terminal shows fewer


def complain(message: str) -> None:
    """A line on the standard error."""
    click.echo(printable(message), err=True)


def say(message: str) -> None:
    """A line of what was done."""
    click.echo(printable(message))


def print_json(value: Any) -> None:
    """A line of JSON."""
    click.echo(orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)


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

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for i, name in enumerate(columns):
        right = bool(cells) and all(_is_number(row[i]) for row in cells)
        drawn.add_column(
            Text(name), justify="right" if right else "left", no_wrap=True, overflow="ellipsis"
        )
    for row in cells:
        drawn.add_row(*map(Text, row))
    Console(highlight=False).print(drawn)


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


def printable(text: str) -> str:
    """The text without what a terminal would obey: such characters are shown by their numbers."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _told(one) for one in text.replace("\r\n", "\n"))


def _told(one: str) -> str:
    return " " if one in "\n\t" else one.encode("unicode_escape").decode()


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
