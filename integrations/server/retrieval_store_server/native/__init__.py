"""The protocol between a `Client(url=)` and a server of ours: the interface of stores, as bytes.

`methods` is the table of calls, and names errors; `codec` is the message format (JSON with arrays
behind it) and turns the core's dataclasses into messages and back, by the types of their fields and
a table of classes; `validate` refuses what a front would have refused, since a request from another
process hasn't been checked. It may use `values`. Data never decides what code runs: classes are
named by a table of the core's.
"""
