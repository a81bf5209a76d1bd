"""Calls of qdrant-client, and what their failures mean.

In goes the name of a method with its arguments; out comes its answer, or an error of ours.
`cluster` makes the calls, again where that helps, and knows the server's version; `failures` reads
what qdrant-client raises, over REST, gRPC and in its local mode; `meanings` has a table of what
that means to us. It may use `base` and `errors`.
"""
