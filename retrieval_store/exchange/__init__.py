"""Records in files, out and in, and the stores of others, imported.

`export_jsonl`, `export_csv`, `export_parquet` and `export_arrays` write a collection, `lines_of`
gives its lines; `check` looks at a file, `add_file` and `add_folder` add what is in one, or in a
folder, and `sync_folder` keeps a collection in step with a folder; the room `imports` reads the
stores of other programs. In come a collection, or a client, and paths; out come files, points, and
reports.

A record is a dict as `Collection.iterate` gives and `add_from` takes. The room `formats` makes rows
of files and files of points; `reading` chooses among the formats, `checking` looks at all of a file
before `adding` writes the first of it, `describing` what it says of its collection; `folders` adds
files of texts and images, `passages` cuts texts, and `syncing` compares what `wanted` makes of the
files of a folder with what is there; `reports` has what is told of all that. It may use what users
may, Client, Collection, the errors and, for stores of qdrant-client's, `qdrant`; besides what
`direct` checks arguments with, `loaders`, `embeddings`, `plugins` and `base`. Nothing that it uses
knows of it.
"""

from retrieval_store.exchange.add import add_file, check
from retrieval_store.exchange.folders import add_folder, passages_of
from retrieval_store.exchange.formats.arrays import export_arrays
from retrieval_store.exchange.formats.csv_format import export_csv
from retrieval_store.exchange.formats.jsonl import export_jsonl, lines_of
from retrieval_store.exchange.formats.parquet import export_parquet
from retrieval_store.exchange.imports.chroma import import_chroma
from retrieval_store.exchange.imports.faiss import import_faiss
from retrieval_store.exchange.imports.lancedb import import_lancedb
from retrieval_store.exchange.imports.qdrant_local import import_qdrant_local
from retrieval_store.exchange.reports import (
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
from retrieval_store.exchange.sync import sync_folder

__all__ = [
    "Added",
    "Carried",
    "Checked",
    "Exported",
    "FolderAdded",
    "FolderSynced",
    "Imported",
    "Left",
    "Unreadable",
    "add_file",
    "add_folder",
    "check",
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
    "sync_folder",
]
