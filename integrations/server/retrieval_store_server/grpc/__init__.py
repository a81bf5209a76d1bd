"""The same server over gRPC.

`calls` is the server, and takes a call through the same checks, limits and threads as a request
over HTTP. `table` names the procedures and reads messages about collections and of older methods;
`read` turns a message into the body that the same request has over HTTP; `write` makes a message of
the result. What a procedure does, and who may call it, stands in `http.routes`. It may use `http`
and what that may use. Nothing of it is loaded before gRPC is served.
"""
