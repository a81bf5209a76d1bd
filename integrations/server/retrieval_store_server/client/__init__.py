"""A store of this engine in another process, reached over HTTP.

`opening` finds out which server is at a URL. `connection` sends requests over persistent
connections, and retries where a retry is safe. `store` has the store and its points, with the
methods of `native.methods`. This package may import `native` and `values`.
"""
