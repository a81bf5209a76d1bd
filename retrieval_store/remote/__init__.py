"""A store of our engine that another process serves, reached over HTTP.

`opening` tells from a URL and what is given with it where that is, and whether it is a server of
ours at all; `connection` sends requests over kept `lines` and tries again what may be tried again,
by `attempts`, which knows what each failure means. `heads` are those of requests and answers.
`store` and `points` are what fronts know as a store, whose methods are those that `wire.api` names.

It may use `wire`, `interface` and what lies below.
"""
