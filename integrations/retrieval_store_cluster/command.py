"""`retrieval-store copy`: collections from a store to another."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import click

from retrieval_store.base.system import count_in_words
from retrieval_store.cli import shared
from retrieval_store.cli.shared import (
    complain,
    has_bar,
    is_url,
    open_client,
    opened_local_mode,
    poll_in_use,
    say,
)
from retrieval_store.errors import NotFoundError

if TYPE_CHECKING:
    from retrieval_store.api.client import Client

QUIET_FOR = 2.0  # seconds


@click.command()
@click.argument("source", type=click.Path(file_okay=False))
@click.argument("target", type=click.Path(file_okay=False))
@click.option(
    "--collection",
    "names",
    type=shared.TEXT,
    multiple=True,
    help="Only this one; may be given several times.",
)
@click.option(
    "--follow", is_flag=True, help="Then copy what is written, until no process has SOURCE open."
)
@click.option(
    "--until-quiet",
    is_flag=True,
    help="With --follow: until nothing is written, whether it is open or not.",
)
@click.option(
    "--quiet-for",
    type=float,
    help=f"With --follow: seconds without a write that end it, else {QUIET_FOR:.0f}.",
)
@click.option(
    "--fail-if-exists", is_flag=True, help="End with an error for what was copied wholly before."
)
@click.option(
    "--to-local-mode", is_flag=True, help="TARGET is a directory of qdrant-client's local mode."
)
@shared.quiet
def copy(
    source: str,
    target: str,
    names: tuple[str, ...],
    follow: bool,
    until_quiet: bool,
    quiet_for: float | None,
    fail_if_exists: bool,
    to_local_mode: bool,
    quiet: bool,
) -> None:
    """Copy collections from a store to another: directories and URLs, in any direction.

    Each is copied as it is at one moment, and compared at the end. Broken off, the same command
    goes on where it stopped; later, it brings level what it has copied. Nothing else is replaced.
    """
    if (until_quiet or quiet_for is not None) and not follow:
        given = "--until-quiet" if until_quiet else "--quiet-for"
        raise click.UsageError(f"{given} says when --follow ends, which isn't given")
    # A journal of what goes to a server stands beside the source.
    noted_here = is_url(target) and os.access(source, os.W_OK)
    with open_client(source, writes=noted_here) as ours:
        _refuse_unknown(ours, names)
        there = (
            opened_local_mode(target)
            if to_local_mode
            else open_client(target, writes=True, creates=True)
        )
        with there as theirs, going_on_later():
            copied = ours.copy_to(
                theirs,
                list(names) or None,
                follow=(until_quiet or partial(poll_in_use, source)) if follow else False,
                quiet=QUIET_FOR if quiet_for is None else quiet_for,
                on_level=_say_level if follow else None,
                on_change=complain,
                fail_if_exists=fail_if_exists,
                show_progress=has_bar(quiet),
            )
    for one in copied:
        followed = f", {one.followed:,} of them again" if one.followed else ""
        followed = ", level already" if one.level else followed
        compared = f"{one.compared:,} compared, all alike" if one.compared else "none compared"
        say(f"{one.name}: {count_in_words(one.points, 'point')}{followed}; {compared}")
    if not copied:
        say("there is no collection to copy")


def _refuse_unknown(client: "Client", names: tuple[str, ...]) -> None:
    """Raise NotFoundError before a target is made."""
    known = client.stats()["by_collection"] if names else {}
    for name in names:
        if name not in known:
            raise NotFoundError(f"there is no collection {name!r} to copy")


def _say_level() -> None:
    complain("level: all that was written so far is in the copy; once the writers stop, this ends")


@contextmanager
def going_on_later() -> Iterator[None]:
    """Say of what is broken off that it isn't lost."""
    try:
        yield
    except KeyboardInterrupt:
        complain("what was copied stays; the same command goes on")
        raise
