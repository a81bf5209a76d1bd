"""The ground floor: what every room may stand on, and nothing that knows of stores.

In come plain values: arrays, JSON, texts, rankings. Out come the same, checked, counted or fused.
`arrays` names array types and has what numpy lacks; `patched` has arrays whose versions share
memory; `dataclasses` makes the standard library's in less time; `json_values` says which values a
payload may hold; `arguments` checks numbers and paths that users pass; `words` finds the words of
texts; `metrics` says how far vectors may be apart and what scores are made of that, and names the
ways to fuse rankings, which `ranking` does; `projection` finds the plane in which vectors differ
most; `progress` shows bars; `printable` says which
characters are shown; `tables` makes tables of HTML; `posix` has what some systems lack, and syncs
files; `processes` tells of other processes; `logs` has the loggers; `tracing` makes spans for
applications that trace themselves; `telemetry` keeps onnxruntime from reporting to its makers;
`threads` makes calls for which an event loop waits. It may use `errors` alone.
"""
