"""The command that serves a store to agents: `retrieval-store mcp`."""

import os
import signal
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import click

from retrieval_store.base.system import needing
from retrieval_store.cli import shared
from retrieval_store.cli.shared import (
    FOLDER,
    INTERRUPTED,
    at_signal,
    complain,
    exits_at_sigterm,
    say,
)
from retrieval_store.errors import NotFoundError


@click.command()
@shared.store
@click.option(
    "--collection",
    "-c",
    multiple=True,
    metavar="NAME",
    help="Serve only this collection (repeatable).",
)
@click.option("--write", is_flag=True, help="Offer the tools add, update and delete too.")
@click.option(
    "--http", metavar="HOST:PORT", help="Serve over HTTP instead of standard input and output."
)
@click.option("--image-root", type=FOLDER, help="Let agents see pictures below this folder.")
@shared.trust
def mcp(
    store: str,
    collection: tuple[str, ...],
    write: bool,
    http: str | None,
    image_root: Path | None,
    trust: bool,
) -> None:
    """Serve a store to agents, as tools of the Model Context Protocol.

    Over standard input and output: the client starts this command, and it ends with the client. A
    directory that doesn't exist is made with --write. With --http keys are read as a server
    reads them.
    """
    parent = os.getppid()  # before what takes time is imported, in which it may end
    if not (write or shared.is_url(store) or shared.has_catalog(store)):
        raise NotFoundError(
            f"there is no store at {os.path.abspath(store)}: give its absolute path, fill one by "
            "`retrieval-store sync`, or let --write make an empty one"
        )
    with needing("the Model Context Protocol", None, "[mcp]"):
        from retrieval_store_agents.mcp import SharedTools, serve_http, serve_stdio
    served = SharedTools(
        partial(shared.client_of, store, write, trust), collection, write, image_root
    )
    if http is None:
        with ends_at_interrupt():
            serve_stdio(served, parent)
        return
    host, _, port = http.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()):
        raise click.UsageError(f"--http is {http!r}, expected HOST:PORT such as 127.0.0.1:8080")
    with needing("HTTP", None, "[server]"), exits_at_sigterm():
        serve_http(served, host, int(port), lambda url: say(f"serving {store} to agents at {url}"))


def ends_at_interrupt() -> AbstractContextManager[None]:
    """Let an interrupt end the process where it stands: it would else wait for the next line of its
    input. What is being written is there wholly or not at all."""

    def end() -> None:
        complain("interrupted")
        os._exit(INTERRUPTED)

    return at_signal(signal.SIGINT, end)
