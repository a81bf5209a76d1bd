"""Helpers that don't depend on stores; all other packages are allowed to import them.

`arrays` names array types, adds operations that numpy lacks, and contains the copy-on-write arrays
and the limits on vectors. `validation` checks arguments and JSON values; `argument_names` lists
their names in other libraries. `analysis` splits texts into words; `fusion` combines rankings;
`pca` projects vectors to a plane; `html` renders tables. `platform` contains the functions of the
operating system that stores on disk need: locks, syncs, memory maps, file names. `system` describes
processes, and makes texts printable; `budget` counts the memory and time of a request; `tracing`
contains loggers, spans and progress bars. `locks` contains locks that are also released after an
interrupt; `workers` contains thread pools that still accept calls while the interpreter ends;
`threads` runs blocking calls for event loops. The package is allowed to import only `errors`.
"""
