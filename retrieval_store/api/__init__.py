"""The direct front: Client (`client`) and Collection (`collection`), as users of Chroma know them.

In come a user's arguments, whatever they are. `arguments`, `queries`, `configuration` and, for
clusters, `sharding` make checked, uniform values of them or raise an error that names the argument;
`modalities` and `embedder` make vectors of documents, images and uris, which `embedding` loads when
the first is to be made; `batches` makes of them what is written, `writing` writes it; `probing`
tells functions apart, `counting` tells of texts that they cut. Then a store is asked through
`interface`, and `results` makes of an answer what users get. The room `chroma` has what only
Chroma's users ask for by name, `tables` leads to data frames and from them, `reranking` puts hits
into a re-ranker's order, and `why` takes a query apart for those who ask why. It may use every room
but the stores themselves (`engine`, `served`, `remote`): which of them is meant, `places` says.
`asynchronous` has the same methods for an event loop.

Tables: results as data frames (`results`) and in notebooks (`html`), records in pieces from
wherever they come (`sources`), metadata as columns (`expanding`), and collections as maps (`maps`).
pandas, polars and pyarrow are there if a user has them, and never imported unless asked for. It may
use `interface`, `base` and `errors`.
"""
