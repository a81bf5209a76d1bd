"""The same server over gRPC.

`calls` is the server, and takes a call through the same checks, limits and threads as a request
over HTTP. `table` names the procedures, and reads messages about collections and of older methods.
`read` turns a message into the body of the same request over HTTP. `write` turns the result into a
message. The table in `http.routes` says which method a procedure calls, and who may call it. This
package may use `http` and its dependencies. It isn't imported before gRPC is served.
"""
