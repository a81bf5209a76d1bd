"""The command that serves a store to agents: `retrieval-store mcp`."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from retrieval_store.cli import plugin
from retrieval_store.errors import NotFoundError

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
INTERRUPTED = 130  # exit code


@click.command()
@plugin.store
@click.option(
    "--collection",
    "-c",
    multiple=True,
    metavar="NAME",
    help="Serve only this collection (repeatable).",
)
@click.option("--write", is_flag=True, help="Offer the tools add, update and delete, too.")
@click.option(
    "--http", metavar="HOST:PORT", help="Serve over HTTP instead of standard input and output."
)
@click.option("--image-root", type=FOLDER, help="Let agents see pictures below this folder.")
@plugin.trust
def mcp(
    store: str,
    collection: tuple[str, ...],
    write: bool,
    http: str | None,
    image_root: Path | None,
    trust: bool,
) -> None:
    """Serve a store to agents, as tools of the Model Context Protocol.

    The client starts this command, and talks to it through standard input and output. The command
    ends with the client. With --write, a missing directory is created. With --http, API keys are
    read from the environment, as in `serve`.
    """
    parent = os.getppid()  # before slow imports, during which the parent may exit
    if not (write or plugin.is_store(store)):
        raise NotFoundError(
            f"there is no store at {os.path.abspath(store)}: give its absolute path, fill one by "
            "`retrieval-store sync`, or let --write make an empty one"
        )
    with plugin.needing("the Model Context Protocol", None, "retrieval-store-agents"):
        from retrieval_store_agents.mcp import SharedTools, serve_http, serve_stdio
    opens = partial(plugin.open_client, store, writes=write, creates=write, trust=trust)
    served = SharedTools(partial(opens, unknown_keys="error"), collection, write, image_root)
    if http is None:
        with ends_at_interrupt():
            serve_stdio(served, parent)
        return
    host, _, port = http.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()):
        raise click.UsageError(f"--http is {http!r}, expected HOST:PORT such as 127.0.0.1:8080")

    def announce(url: str) -> None:
        plugin.say(f"serving {store} to agents at {url}")

    with plugin.needing("HTTP", None, "retrieval-store-server"), plugin.exits_at_sigterm():
        serve_http(served, host, int(port), announce)


@contextmanager
def ends_at_interrupt() -> Iterator[None]:
    """A context manager: in its `with` block an interrupt ends the process at once, instead of
    waiting for the next line of the input. A write in progress is stored completely or not at
    all."""

    def end(*_: object) -> None:
        plugin.complain("interrupted")
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
