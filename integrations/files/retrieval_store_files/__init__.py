"""Exports records to files, adds records from files and folders, and imports other stores.

`export_jsonl`, `export_csv`, `export_parquet` and `export_arrays` write a collection into files.
`lines_of` yields the lines that `export_jsonl` writes. `check` validates a file, `add_file` and
`add_folder` add the records of a file or a folder, and `sync_folder` keeps a collection in sync
with a folder. `ReaderProcess` reads files, and draws their pages, in a process with limits on time
and memory.

A record is a dict in the form that `Collection.iterate` returns and `Collection.add_from` takes.
The module `add` chooses a format, checks the whole file, and then adds its records. `find` finds
the files of a folder, and `gitignore` matches file names with patterns. `read` makes records from
the contents of files. `folders` adds the texts and images of a folder. `sync` keeps a collection in
sync with a folder, and has a function that returns the passages around a passage. `reports` has the
classes of the results that these functions return. The subpackage `formats` reads and writes files
of records, `imports` reads the stores of other programs, and `readers` extracts texts from files.
`functions` finds embedding functions by the names that users, files and other programs use.
`values` checks arguments, and formats messages. `commands` has the commands of the command line.

This package can import the public parts of the core. The core finds the readers and commands of
this package as plugins. The modules are imported on first use, because readers run in a process
with little memory.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from retrieval_store import require_core

if TYPE_CHECKING:
    from retrieval_store.loaders.passages import cite
    from retrieval_store_files.add import add_file, check
    from retrieval_store_files.folders import add_folder
    from retrieval_store_files.formats.arrays import export_arrays
    from retrieval_store_files.formats.csv_format import export_csv
    from retrieval_store_files.formats.jsonl import export_jsonl, lines_of
    from retrieval_store_files.formats.parquet import export_parquet
    from retrieval_store_files.imports.chroma import import_chroma
    from retrieval_store_files.imports.faiss import import_faiss
    from retrieval_store_files.imports.lancedb import import_lancedb
    from retrieval_store_files.imports.qdrant_local import import_qdrant_local
    from retrieval_store_files.read import read_folder
    from retrieval_store_files.readers.child import ReaderProcess
    from retrieval_store_files.readers.passages import passages_of
    from retrieval_store_files.reports import (
        Added,
        Carried,
        Checked,
        Exported,
        FolderAdded,
        FolderSynced,
        Imported,
        Left,
        Unreadable,
    )
    from retrieval_store_files.sync import sync_folder, with_neighbours

__version__ = "0.2.0"
require_core("retrieval-store-files", __version__)

__all__ = [
    "Added",
    "Carried",
    "Checked",
    "Exported",
    "FolderAdded",
    "FolderSynced",
    "Imported",
    "Left",
    "ReaderProcess",
    "Unreadable",
    "add_file",
    "add_folder",
    "check",
    "cite",
    "export_arrays",
    "export_csv",
    "export_jsonl",
    "export_parquet",
    "import_chroma",
    "import_faiss",
    "import_lancedb",
    "import_qdrant_local",
    "lines_of",
    "passages_of",
    "read_folder",
    "sync_folder",
    "with_neighbours",
]

_NAMES = {
    "add": "add_file check",
    "folders": "add_folder",
    "formats.arrays": "export_arrays",
    "formats.csv_format": "export_csv",
    "formats.jsonl": "export_jsonl lines_of",
    "formats.parquet": "export_parquet",
    "imports.chroma": "import_chroma",
    "imports.faiss": "import_faiss",
    "imports.lancedb": "import_lancedb",
    "imports.qdrant_local": "import_qdrant_local",
    "read": "read_folder",
    "readers.child": "ReaderProcess",
    "readers.passages": "passages_of",
    "reports": ("Added Carried Checked Exported FolderAdded FolderSynced Imported Left Unreadable"),
    "sync": "sync_folder with_neighbours",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

if not TYPE_CHECKING:  # otherwise type checkers would accept any name

    def __getattr__(name: str) -> Any:
        if name == "cite":
            from retrieval_store.loaders.passages import cite

            return cite
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
