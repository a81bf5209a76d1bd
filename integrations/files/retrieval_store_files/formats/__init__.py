"""File formats: records from files, and records into files.

Each format reads rows and writes a collection in bounded memory: `jsonl`, `csv_format`, `parquet`
(with Arrow's batches) and `arrays`. `common` says what a row is, names its place in errors, reads
records of a collection. It may use what users may of the core, and `reports` and `values` of this
package.
"""
