"""A store of our engine that another process serves, reached over HTTP.

`connection` finds the server of a URL, sends requests over connections that stay open, and retries
what may be retried; `store` is the store and its points, with the methods of `protocol.methods`. It
may use `protocol`, `query` and what lies below.
"""
