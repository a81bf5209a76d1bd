"""The store that `Client(url=)` opens: a store in a server process of this package, reached over
HTTP.

`opening` finds out which server is at a URL. `connection` sends requests over persistent
connections, and retries a request where this is safe. `store` has the classes of the store and of
its points, whose methods are listed in `native.methods`. This package may import `native` and
`values`.
"""
