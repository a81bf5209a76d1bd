"""The server over HTTP.

`routes` is the table of what can be asked. Of a request `auth` admits it, `receiving` reads its
body, `pool` has the threads that work, `json_bodies` and `bodies` parse it into the arguments that
qdrant-client's methods take (`older` those of older routes), one of `methods` is called (`shapes`
tells how long one like it took), `rates` counts it, `answers` formats the result as a server does,
and `sending` sends it. `settings` are what a server is told at its start, and how much it takes
at once. `request` has the parameters of URLs and the store itself; `inference` makes vectors
of texts and images in bodies; `monitoring` reports on the process; `own_routes` are those for
`Client(url=)`; `browser` serves the page of `view`; `snapshots` and `uploads` are files that come
and go; `models` makes instances of qdrant-client's, and `refusals` says what is refused. It may use
`view`, `native` and `values`.
"""
