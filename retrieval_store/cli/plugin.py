"""For authors of a command in another package: the arguments and options of the built-in commands,
and functions that open a store and print. Such a command imports these names, and no other names of
`cli`.

`store`, `collection`, `filters`, `as_json`, `trust` and `quiet` decorate the function of a click
command, whose arguments are called `store`, `collection`, `where` and `where_document`, `as_json`,
`trust` and `quiet`. `TEXT` is the type of arguments that are stored. Nothing heavy is imported
before a store is opened. An error of `retrieval_store.errors` ends a command with its message and
the exit code 1.

- `is_store`, `open_client` and `collection_of` recognize a store, open it, and open a collection.
- `collection_by` opens a collection with the user's model, and `refuse_images` refuses models that
  can't embed images.
- `say`, `complain` and `print_json` print untrusted text safely. `has_bar` tells whether to show
  progress.
- `needing` turns failed imports into MissingDependencyError, and `exits_at_sigterm` closes all
  resources at SIGTERM.
"""

from retrieval_store.base.system import needing
from retrieval_store.cli.shared import (
    TEXT,
    as_json,
    collection,
    collection_by,
    collection_of,
    complain,
    exits_at_sigterm,
    filters,
    has_bar,
    is_store,
    open_client,
    print_json,
    quiet,
    refuse_images,
    say,
    store,
    trust,
)

__all__ = [
    "TEXT",
    "as_json",
    "collection",
    "collection_by",
    "collection_of",
    "complain",
    "exits_at_sigterm",
    "filters",
    "has_bar",
    "is_store",
    "needing",
    "open_client",
    "print_json",
    "quiet",
    "refuse_images",
    "say",
    "store",
    "trust",
]
