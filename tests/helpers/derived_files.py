"""Reads and builds derived files by their layout: eight bytes for the kind, a header, arrays."""

from retrieval_store.engine.filtering import columns
from retrieval_store.engine.state.mapped_files import pieces, read_arrays
from retrieval_store.engine.text import inverted
from retrieval_store.engine.text.inverted import Vocabulary, file_key

COLUMNS, LISTS = columns.MAGIC, inverted.MAGIC
COLUMNS_BEFORE = columns.MAGICS_BEFORE  # of older formats

__all__ = ["COLUMNS", "COLUMNS_BEFORE", "LISTS", "Vocabulary", "file_key", "pieces", "read_arrays"]
