"""A store of our engine that another process serves, reached over HTTP.

`opening` finds out what is at a URL; `connection` sends requests over connections that stay open,
and retries what may be retried; `store` is the store and its points, with the methods of
`native.methods`. It may use `native` and `values`.
"""
