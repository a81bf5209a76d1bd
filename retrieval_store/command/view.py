"""`view`: a page in the browser that looks into a store."""

import secrets
import sys
import threading
import webbrowser
from pathlib import Path

import click

from retrieval_store.command import options
from retrieval_store.command.output import say
from retrieval_store.command.places import looked_at
from retrieval_store.command.serve import FOLDER, exits_at_sigterm
from retrieval_store.errors import MissingDependencyError


@click.command()
@options.store
@click.option("--port", default=0, show_default=True, help="0 for any that is free.")
@click.option("--no-browser", is_flag=True, help="Only print the address of the page.")
@options.trust
@click.option("--image-root", type=FOLDER, help="Files below it are shown as pictures.")
def view(store: str, port: int, no_browser: bool, trust: bool, image_root: Path | None) -> None:
    """Look into a store in the browser, until the process is told to end; nothing is changed.

    Others may write to it meanwhile. The page is served to this machine alone, and answers to
    whoever has its address.
    """
    try:
        from retrieval_store.server import run
        from retrieval_store.server.auth import Settings
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f'a page needs {error.name}: pip install "retrieval-store[server]"'
        ) from error
    token = secrets.token_urlsafe(32)
    settings = Settings(
        reader_keys=(token,), read_only=True, trust=trust, image_root=image_root, local=True
    )

    def announce(url: str) -> None:
        page = f"{url}#token={token}"
        say(f"looking into {store} at {page}")
        if is_terminal() and not no_browser:  # which may take its time
            threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()

    with exits_at_sigterm(), looked_at(store) as session:
        session.store.count()  # where nothing answers, that is said before a page is shown
        run.view(session, settings, port, announce)


def is_terminal() -> bool:
    """Whether somebody reads what is printed."""
    return sys.stdout.isatty()
