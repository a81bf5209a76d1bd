"""The front in the shape of qdrant-client: its classes, on our engine or on a Qdrant server.

In comes what qdrant-client's models say; out go points, filters and queries of `interface`, and
what these answer as models again. It translates, and holds no search. `client` and `async_client`
are the classes that users make, `opening` says whether they mean a store here; `embedded` has the
methods, `snapshots` those of files, and `inference` makes vectors of texts; `collections`, `points`
and `queries` are rooms for what these need; `serialised` checks JSON; `filters` is the dialect of
filters, `tokens` splits texts; `refusals` says what is refused, and `instances` makes models of
values that are valid. It may use `places`, `plugins`, `embeddings`, `interface`, `filters`,
`indexes`, `base` and `errors`, and wants qdrant-client.

Collections: `configuration` is what they were made with, `requests` checks what is asked for,
`opened` is one as a call finds it, `managing` makes and changes them, `reports` says what they are,
`strict` what their owner doesn't allow, by `indexed`, which indexes serve a filter. It may use
`points.payloads`, `filters` and what the room above may use.

The dialect of filters of Qdrant's client, and keys of payloads and their indexes.

In come models of qdrant-client's and the indexes of a collection; out go expressions, and columns
that facets, orders, formulas and groups are of. A condition on a key means what it means on a
server, where it depends on the index that the key has: an index answers what it can from the values
that it holds, and everything else is asked of payloads. So each condition is translated into one on
the values that would be asked there, and evaluators know nothing of indexes. `paths` reads keys,
`indexes` says which values an index knows, `conditions` makes leaves of conditions on a key, and
`parsing` expressions of filters. It may use `tokens`, `refusals`, `interface`, the room of filters
at the top, `base` and `errors`.

Points: `ids`, `vectors` and `payloads` translate what they are made of, `writing` what is done
to them, `reading` what is asked of them; `uploads` cuts long ones into batches. It may use
`collections`, `filters` and what the room above may use.

Queries: `inputs` makes vectors of what models name them by, `steps` makes steps of queries,
`formulas` formulas, `answers` asks the engine and makes models of what it finds, and `why` takes
filters apart for those who ask why. It may use `points`, `collections`, `filters` and what the room
above may use.

Tokens of texts in payloads, as an index of texts that Qdrant has makes them.

In comes a text; out come its tokens. `analysis` says how, of words that `letters` or `scripts` find
in it, which `folding` spells in ASCII, but those in lists of `stopwords`; `described` reads how an
index of texts is described. It may use `errors`, and qdrant-client's models. Words of documents,
which users search, are another thing (`base.words`).
"""

from retrieval_store.base.system import telemetry_off
from retrieval_store.qdrant.client import AsyncQdrantClient, QdrantClient, explain, why
from retrieval_store.qdrant.errors import Refused

try:
    with telemetry_off():  # it imports fastembed, where that is installed, and so onnxruntime
        from qdrant_client import models
except ImportError as error:
    from retrieval_store.errors import MissingDependencyError

    raise MissingDependencyError(
        'retrieval_store.qdrant needs qdrant-client: pip install "retrieval-store[qdrant]"'
    ) from error


__all__ = ["AsyncQdrantClient", "QdrantClient", "Refused", "explain", "models", "why"]
