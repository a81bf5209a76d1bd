"""The direct front: Client (`client`) and Collection (`collection`), as users of Chroma know them.

Arguments come in, whatever they are. `arguments`, `query_arguments` and `configuration` turn them
into checked values, or raise an error that names the argument; `embedder` makes vectors of
documents, images and URIs, by what `embedding_functions` makes when the first is needed;
`record_writer` builds and writes batches. A store is asked through the room `query`, and `results`
makes the result that users get. `rerank` puts hits into a re-ranker's order; `why_request` makes
what `Collection.why` asks of a store; `frames` converts to and from data frames, and `maps` draws
collections; `aio` has the same methods for event loops. The room `chroma` has what only Chroma's
users know. It may use every room but the stores themselves (`engine`, and what plugins open):
`backends` chooses one.
"""
