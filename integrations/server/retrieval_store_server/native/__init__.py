"""The protocol between a `Client(url=)` and a server of this package. Calls of the methods of
stores, and their results, are sent as bytes.

`methods` is the table of these methods, and converts errors to names and messages. `codec` is the
message format (JSON followed by arrays). It converts the core's dataclasses to messages and back,
by the types of their fields and a table of classes. `validate` refuses arguments that `Collection`
or `QdrantClient` would have refused, since a request from another process hasn't been checked. This
package may import `values`. Data never decides which code runs: a table in the core lists the
permitted classes.
"""
