"""Helpers that know nothing of stores; all other packages may use them.

`arrays` names array types, adds what numpy lacks, and has the copy-on-write arrays and the limits
of vectors. `validation` checks arguments and JSON values; `argument_names` knows their names in
other libraries. `analysis` splits texts into words; `fusion` combines rankings; `pca` projects
vectors onto a plane; `html` renders tables. `platform` has the functions of the operating system
that stores on disk need: locks, syncs, maps, names. `system` describes processes, and makes texts
printable; `budget` counts the memory and time of a request; `tracing` has loggers, spans and
progress bars. `locks` has locks that are also released after an interrupt; `workers` has thread
pools that still make calls while the interpreter ends; `threads` runs blocking calls for event
loops. It may use only `errors`.
"""
