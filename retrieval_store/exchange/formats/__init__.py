"""The formats of files: records out of them, and records into them.

Each module of a format reads rows, and writes a collection, in bounded memory: `jsonl`, `parquet`,
`csv_format` and `arrays` do both, `arrow` makes rows of batches of Arrow's. `rows` has what a row
is, and how an error names its place; `files` opens what is read, and makes what is written appear
as a whole or not at all; `records` reads a collection. It may use `direct`, `base`, `errors` and
what the rooms beside it report (`reports`).
"""
