"""The same server over gRPC: Qdrant's services, for clients that speak nothing else.

A call comes in, an answer goes out. `listening` is the server that takes calls; `calls` takes one
through the gate, the limits and the threads that requests over HTTP go through; `table` names the
procedures: `reading`, `collections` and `older` make of a message the body that the same request
has over HTTP, `writing` makes a message of what the method returns, and `values` are what messages
consist of.

What a procedure does, and who may call it, stands in the table of `routes`. It may use the rest of
the server but for `application` and `starting`. Nothing of it is loaded before gRPC is served.
"""
