"""The direct API: Client (`client`) and Collection (`collection`), as users of Chroma know them.

`arguments`, `query_arguments` and `configuration` check arguments, and raise errors that name them.
`embedding_functions` creates a collection's embedding function when it is first needed, and
`embedder` calls it for documents, images and URIs. `record_writer` builds and writes batches.
Queries are sent to the store as types of the package `query`, and `results` makes the results that
users get. `rerank` sorts hits by a re-ranker; `why_request` makes the request of `Collection.why`;
`unknown_keys` warns of filters that match nothing. `frames` converts to and from data frames,
`maps` draws collections, and `aio` has the same methods for event loops. The subpackage `chroma`
has names that only Chroma's users know. This package may import every other package except the
stores (`engine`, and plugins). `backends` chooses one of the stores.
"""
