"""Collections on a Qdrant cluster, through qdrant-client's own interface.

Sharding, replication and consensus are Qdrant's. What a Collection means is kept: ids are strings,
points come in the order of first insertion, and a filter lets through exactly what it says, since
what Qdrant finds is checked here once more. What comes in and goes out is that of `interface`.
`store` has the collections, as Qdrant collections that `making` makes with our settings; `points`
those of one: listed by `listing`, written by `writing`, which `sending` sends in a thread where
there is much of it; `leaves` answers what is asked of them, by searches whose answers are
`verified`. `space` is what a collection is there: its vectors, and what its server allows.
`conditions` turns filters into Qdrant's, as far as the payload `indexes` serve, and `limits` makes
these as small as a server in strict mode takes them. Two rooms: what is `kept` of a point, and the
`calls` to the server with what their failures mean. It may use `answering` and `interface`, and of
`embeddings` what counts words.

Calls of qdrant-client, and what their failures mean.

In goes the name of a method with its arguments; out comes its answer, or an error of ours.
`cluster` makes the calls, again where that helps, and knows the server's version; `failures` reads
what qdrant-client raises, over REST, gRPC and in its local mode; `meanings` has a table of what
that means to us. It may use `base` and `errors`.

What Qdrant keeps of a point, besides its vectors.

In goes a point as `interface` has it, and out comes a payload; and the reverse. `payloads` says
what stands where, `numbers` how floats survive, `orders` numbers points by their first insertion.
It may use `base`, `filters` and `interface`.
"""
