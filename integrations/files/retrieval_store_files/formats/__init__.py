"""File formats: read records from files, and write records to files.

The formats are `jsonl`, `csv_format`, `parquet` (with batches of Arrow) and `arrays`. Each of them
reads rows and writes a collection in bounded memory. `common` defines a row, names its position in
errors, and reads the records of a collection. This subpackage can use the public parts of the core,
and `reports` and `values` of this package.
"""
