"""The commands that serve a store: `serve` serves it over HTTP and gRPC, and `view` shows it in a
browser.
"""

import os
import secrets
import sys
import threading
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from retrieval_store.cli import plugin
from retrieval_store.cli.plugin import complain, exits_at_sigterm, needing, open_client, say
from retrieval_store.errors import MissingDependencyError, StorageError

FILE = click.Path(path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
PEM = click.Path(exists=True, dir_okay=False, path_type=Path)
GRPC_PORT = 6334
CLIENTS_KEY = "RETRIEVAL_STORE_API_KEY"


class NumberOfWorkers(click.ParamType):  # type: ignore[type-arg]  # since click 8.4
    """The type of the option `--workers`: the number of processes that serve. "auto" becomes 0."""

    name = "number"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number from the text of the option."""
        if value == "auto":
            return 0
        if not (value.isascii() and value.isdigit()) or int(value) == 0:
            self.fail(f"it is {value!r}, expected 1 or more, or auto", param, ctx)
        return int(value)


@click.command()
@click.argument("store", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=6333, show_default=True, help="HTTP port; 0 for any free one.")
@click.option(
    "--grpc-port",
    metavar="PORT",
    help='gRPC port, "none", or "any" for any free one.  [default: 6334, if it is free]',
)
@click.option("--temporary", is_flag=True, help="Serve a new store and delete it at the end.")
@click.option("--read-only", is_flag=True, help="Refuse all writes.")
@click.option(
    "--workers",
    default="1",
    show_default=True,
    type=NumberOfWorkers(),
    metavar="N|auto",
    help="Number of processes; auto: one per processor, up to 8.",
)
@click.option("--tls-cert", type=PEM, help="TLS certificate with its chain, in PEM.")
@click.option("--tls-key", type=PEM, help="Private key of the certificate, in PEM.")
@click.option(
    "--api-key-file",
    type=FILE,
    help="File with one API key per line; 'read-only KEY' for a key that can only read.",
)
@click.option("--no-auth", is_flag=True, help="Let other machines connect without an API key.")
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Host name to accept without API keys (repeatable).",
)
@click.option(
    "--cors",
    multiple=True,
    metavar="ORIGIN",
    help="Let web pages of this origin connect (repeatable).",
)
@click.option("--trust", is_flag=True, help="Let requests use any registered embedding function.")
@click.option("--image-root", type=FOLDER, help="Let requests name images below this folder.")
@click.option(
    "--dashboard", type=FOLDER, help="Folder with Qdrant's web page, to serve at /dashboard."
)
@click.option(
    "--memory-budget",
    type=click.IntRange(1),
    metavar="MB",
    help="Size of the cache of each process, in megabytes.  [default: 256, or an eighth]",
)
@click.option("--access-log", is_flag=True, help="Log every request.")
def serve(
    store: str | None,
    host: str,
    port: int,
    grpc_port: str | None,
    temporary: bool,
    read_only: bool,
    workers: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    api_key_file: Path | None,
    no_auth: bool,
    allow_host: tuple[str, ...],
    cors: tuple[str, ...],
    trust: bool,
    image_root: Path | None,
    dashboard: Path | None,
    memory_budget: int | None,
    access_log: bool,
) -> None:
    """Serve a store over HTTP and gRPC with Qdrant's API, until the process is stopped.

    STORE is a directory or ":memory:". A missing directory is created. API keys are read from
    RETRIEVAL_STORE_API_KEYS and RETRIEVAL_STORE_READ_ONLY_API_KEYS (several are separated by
    commas), from QDRANT__SERVICE__API_KEY and QDRANT__SERVICE__READ_ONLY_API_KEY, and from
    --api-key-file.
    """
    if (store is None) != temporary:
        raise click.UsageError("give STORE, or --temporary")
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key need each other")
    with needing("a server", None, "retrieval-store-server"):
        from retrieval_store_server import run
        from retrieval_store_server.http.settings import (
            ServerSettings,
            check_cors,
            check_reach,
            keys_of,
        )
    keys, reader_keys = keys_of(os.environ, api_key_file)
    if not (keys or reader_keys) and CLIENTS_KEY in os.environ:
        complain(
            f"{CLIENTS_KEY} is the key that clients send, and isn't used: a server has its keys "
            f"from {CLIENTS_KEY}S; this one asks for none"
        )
    has_keys = bool(keys or reader_keys)
    check_reach(host, has_keys, no_auth)
    check_cors(cors, has_keys, no_auth)
    settings = ServerSettings(
        keys=keys,
        reader_keys=reader_keys,
        allow_hosts=allow_host,
        cors=cors,
        read_only=read_only,
        trust=trust,
        image_root=image_root,
        dashboard=dashboard,
        access_log=access_log,
        durability="relaxed" if temporary else "full",
        memory_budget=None if memory_budget is None else memory_budget << 20,
    )
    rpc = _grpc_port(grpc_port, host)
    listening = run.Listening(host, port, rpc, tls_cert, tls_key)
    with ExitStack() as stack:
        stack.enter_context(exits_at_sigterm())
        if store is None:
            store = stack.enter_context(TemporaryDirectory(prefix="retrieval-store-"))
        place = store

        def announce(url: str, grpc_address: str | None) -> None:
            say(f"serving {place} at {url}")
            if grpc_address is not None:
                say(f"and over gRPC at {grpc_address}")
            say(f"and a page to look into it at {url}/view")

        workers = workers or run.usual_workers(place, listening)
        run.serve(place, settings, listening, workers, announce)


def _grpc_port(option: str | None, host: str) -> int | None:
    """The port for gRPC. 0 means that the system chooses a free port, and None that gRPC is not
    served. gRPC is not served either if the default port is in use, or if gRPC isn't installed."""
    if option in ("none", "0"):
        return None
    if option is not None:
        try:
            return 0 if option == "any" else int(option)
        except ValueError:
            raise click.UsageError(
                f'--grpc-port is {option!r}, expected a port, "none" or "any"'
            ) from None
    from retrieval_store_server.run import check_rpc

    try:
        check_rpc(host, GRPC_PORT)
    except (MissingDependencyError, StorageError) as error:
        complain(f"gRPC isn't served: {error}")
        return None
    return GRPC_PORT


@click.command()
@plugin.store
@click.option("--port", default=0, show_default=True, help="Port; 0 for any free one.")
@click.option("--no-browser", is_flag=True, help="Only print the page's address.")
@plugin.trust
@click.option(
    "--image-root", type=FOLDER, help="Show pictures and pages of files below this folder."
)
def view(store: str, port: int, no_browser: bool, trust: bool, image_root: Path | None) -> None:
    """Show a store in the browser, until the process is stopped. The page changes nothing.

    Other processes can write to the store meanwhile. Everyone on this machine who knows the address
    of the page can see it.
    """
    with needing("a page", None, "retrieval-store-server"):
        from retrieval_store_server import run
        from retrieval_store_server.http.settings import ServerSettings
    token = secrets.token_urlsafe(32)
    settings = ServerSettings(
        reader_keys=(token,), read_only=True, trust=trust, image_root=image_root, local=True
    )

    def announce(url: str) -> None:
        page = f"{url}#token={token}"
        say(f"looking into {store} at {page}")
        if is_terminal() and not no_browser:  # may be slow
            threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()

    with exits_at_sigterm(), open_client(store) as client:
        client.count_collections()  # where nothing answers, the error comes before a page opens
        run.view(client, settings, port, announce)


def is_terminal() -> bool:
    """Whether the output is a terminal."""
    return sys.stdout.isatty()
