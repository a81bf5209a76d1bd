"""The server over HTTP.

`routes` is the table of what can be asked. Of a request `auth` admits it, `limits` reads its body,
bounds the work and has the pool of threads, `bodies` parses it into the arguments that
qdrant-client's methods take, one of `methods` is called, `answers` formats the result as a server
does, and `sending` sends it. `request` has the parameters of URLs and the store itself; `inference`
makes vectors of texts and images in bodies; `monitoring` reports on the process; `own_routes` are
those for `Client(url=)`; `browser` serves the page of `view`; `snapshots` are files that come and
go. It may use `view`, `native`, the Qdrant front and what is below them.
"""
