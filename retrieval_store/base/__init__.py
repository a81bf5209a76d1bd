"""The ground floor: helpers that know nothing of stores.

`arrays` names array types, adds what numpy lacks, and has the copy-on-write arrays and the limits
of vectors; `validation` checks arguments and JSON values; `argument_names` knows what other
libraries call them; `analysis` splits texts into words; `fusion` combines rankings; `pca` projects
vectors onto a plane; `html` renders tables; `platform` has what stores on disk need of the
operating system: locks, syncs, maps, names; `system` describes processes, and makes texts
printable; `budget` counts what a request needs; `tracing` has loggers, spans and progress bars;
`locks` has locks that interrupts release; `workers` has threads for calls, and makes these itself
where the interpreter ends; `threads` runs blocking calls for event loops. It may use `errors`
alone.
"""
