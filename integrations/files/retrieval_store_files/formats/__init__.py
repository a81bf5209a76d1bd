"""File formats: read records from files, and write records to files.

Each of the modules `jsonl`, `csv_format`, `parquet` and `arrays` reads and writes one format. It
reads the rows of a file, and writes a collection to a file, in bounded memory. `parquet` also makes
batches of Arrow. `common` defines a row, names the position of a row in error messages, and reads
the records of a collection. This subpackage can import the public parts of the core, and `reports`
and `values` of this package.
"""
