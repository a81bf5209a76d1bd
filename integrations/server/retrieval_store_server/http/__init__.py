"""The server over HTTP.

`routes` is the table of routes. `auth` admits a request, `receiving` reads its body, and `pool` has
the worker threads. `json_bodies` and `bodies` parse the body into the arguments of qdrant-client's
methods; `legacy_search` has the bodies of older routes. `methods` calls the method that the route
names. `shapes` estimates the cost class of a request, and `rates` counts requests. `answers`
formats the result as a Qdrant server does, and `sending` sends it. `settings` has the server's
options and limits. `request` has the parameters in a request's URL, and the store. `inference`
embeds texts and images in bodies, and `monitoring` reports on the process. `own_routes` has the
routes for `Client(url=)`, and `browser` has the routes for the page of `view`. `snapshots` and
`uploads` send and receive files. `models` makes instances of qdrant-client's models, and `refusals`
has the messages of refused requests. This package may import `view`, `native` and `values`.
"""
