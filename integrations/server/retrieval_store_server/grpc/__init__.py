"""The server's API over gRPC.

`calls` is the server, and takes a call through the same checks, limits and threads as a request
over HTTP. `table` lists the procedures, and reads messages about collections, and messages of older
methods. `read` turns a message into the body of the same request over HTTP. `write` turns a result
into a message. The table in `http.routes` says which method a procedure calls, and which keys
permit the call. This package may import `http` and its dependencies. It isn't imported before gRPC
is served.
"""
