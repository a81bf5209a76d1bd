"""The group of all commands, and the handling of their errors."""

import re
import sys
from collections.abc import Sequence

import click
from click.shell_completion import get_completion_class

from retrieval_store.cli.maintain import (
    count,
    delete,
    drop,
    info,
    list_,
    optimize,
    rename,
    restore,
    snapshot,
    verify,
)
from retrieval_store.cli.query import evaluate, facet, get, peek, query, why
from retrieval_store.cli.shared import DAMAGED, INTERRUPTED, complain
from retrieval_store.errors import (
    DamagedError,
    DuplicateIDError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    RetrievalStoreError,
)

PROGRAM = "retrieval-store"
FAILED, USAGE = 1, 2
# Arguments of Python's in messages, and the options that mean the same. In quotes they are data.
_OPTIONS = {
    "n_results": "--limit",
    "either ids or containing": "either --id or --containing",
    "query_embeddings": "--vector",
    "query_images": "--image",
    "query_texts": "TEXT",
    "embedding_function=": "--model",
    "modes=['text']": "--mode text",
    "table=": "--table",
    "name=": "--name",
    "pass data_loader= when you get it": "add the folder with the files",
    "kind='texts'": "--kind texts",
    "embed='documents'": "--embed documents",
    "embed='uris'": "--embed uris",
    "None to number the rows": '"" to number the rows',
    **{
        name: f"--{name.replace('_', '-')}"
        for name in (
            "id_column", "document_column", "vector_column", "text_column", "order_by",
            "max_distance", "where_document",
        )
    },
}  # fmt: skip
_ARGUMENT = re.compile(
    r"(?<![\w'\"])(?:(\w+)=True\b|(" + "|".join(map(re.escape, _OPTIONS)) + r")(?![\w'\"]))"
)
SHELLS = ("bash", "zsh", "fish")


# In the order of --help; commands of other packages come last.
ORDER = (
    *("completion", "info", "list", "count", "peek", "get", "facet", "query", "why", "evaluate"),
    *("add", "sync", "delete", "rename", "drop", "copy", "import", "export", "snapshot"),
    *("restore", "optimize", "verify", "serve", "view", "mcp"),
)


class _Commands(click.Group):
    """The commands of this package, and the commands that other packages register."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from retrieval_store import plugins

        installed = {*self.commands, *plugins.names(plugins.COMMANDS)}
        return [
            *(name for name in ORDER if name in installed),
            *sorted(installed.difference(ORDER)),
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        from retrieval_store import plugins

        if not plugins.is_known(plugins.COMMANDS, cmd_name):
            return None
        try:
            command: click.Command = plugins.load(plugins.COMMANDS, cmd_name)
        except RetrievalStoreError as error:
            return _unusable(cmd_name, error)
        return command


def _unusable(name: str, error: RetrievalStoreError) -> click.Command:
    """A placeholder for a command whose package is missing, broken or of another version. When the
    command is called, it reports the problem."""

    def fail() -> None:
        raise error

    takes_anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, takes_anything, fail, short_help=str(error), add_help_option=False)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="retrieval-store", prog_name=PROGRAM)
def commands() -> None:
    """Fill, search, inspect, copy and repair stores.

    STORE is a directory, or the URL of a served store or a Qdrant cluster. The URLs of several
    nodes of a cluster are separated by commas. API keys are read from RETRIEVAL_STORE_API_KEY or
    QDRANT_API_KEY.

    Exit codes: 0 success, 1 failure, 2 wrong arguments, 3 damage, 130 interrupt.
    """


@commands.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script that makes a shell complete commands, stores and collections.

    bash: put `eval "$(retrieval-store completion bash)"` into ~/.bashrc. zsh: put the same with
    `zsh` into ~/.zshrc. fish: put `retrieval-store completion fish | source` into its
    configuration.
    """
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(made(commands, {}, PROGRAM, COMPLETE).source())


COMPLETE = "_RETRIEVAL_STORE_COMPLETE"
_OWN = (
    info, list_, count, peek, get, facet, query, why, evaluate, delete, rename, drop, snapshot,
    restore, optimize, verify, completion,
)  # fmt: skip
for _command in _OWN:
    commands.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    try:
        code = commands.main(arguments, PROGRAM, COMPLETE, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        complain("interrupted")
        return INTERRUPTED
    except SystemExit:  # of click's, when the reader of a pipe has seen enough
        return 0
    except RetrievalStoreError as error:
        complain(f"error: {_ARGUMENT.sub(_as_option, str(error))}")
        return _code_of(error)
    except OSError as error:
        complain(f"error: {error}")
        return FAILED
    except Exception as error:  # such as a model raises that can't run here
        if sys.flags.dev_mode:
            raise
        complain(f"error: {type(error).__name__}: {error}")
        return FAILED
    return code if isinstance(code, int) else 0


def _as_option(match: re.Match[str]) -> str:
    return _OPTIONS[match[2]] if match[2] else f"--{match[1].replace('_', '-')}"


def _code_of(error: RetrievalStoreError) -> int:
    if isinstance(error, DamagedError):
        return DAMAGED
    of_data = isinstance(error, IDAlreadyExistsError | DuplicateIDError)
    return USAGE if isinstance(error, InvalidArgumentError) and not of_data else FAILED
