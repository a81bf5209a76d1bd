"""Records in files, out and in; and imports from other stores.

`export_jsonl`, `export_csv`, `export_parquet` and `export_arrays` write a collection, `lines_of`
gives its lines; `check` looks at a file, `add_file` and `add_folder` add what is in one, or in a
folder, and `sync_folder` keeps a collection in step with a folder.

A record is a dict as `Collection.iterate` gives and `add_from` takes. `add` chooses a format,
checks the whole file, and then adds it; `folders` finds and reads the files of a folder,
`gitignore` says which of them patterns name; `sync` compares it with a collection, and gets the
passages around one; `reports` are the results of all that. The room `formats` reads and writes
files, the room `imports` reads the stores of other programs. It may use what users may: Client,
Collection, errors and, for stores of qdrant-client, `qdrant`; and the checks of arguments of `api`,
`readers`, `loaders`, `embeddings`, `plugins` and `base`. Nothing that it uses knows of it.
"""

from retrieval_store.exchange.add import add_file, check
from retrieval_store.exchange.folders import add_folder, read_folder
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
from retrieval_store.exchange.sync import sync_folder, with_neighbours
from retrieval_store.readers.passages import cite, passages_of

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
