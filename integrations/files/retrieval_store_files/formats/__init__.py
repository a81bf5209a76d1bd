"""File formats: records from files, and records into files.

Each format reads rows and writes a collection in bounded memory: `jsonl`, `csv_format`, `parquet`
(with Arrow's batches) and `arrays`. `common` defines a row, names its position in errors, and reads
records of a collection. This room may use the public parts of the core, and `reports` and `values`
of this package.
"""
