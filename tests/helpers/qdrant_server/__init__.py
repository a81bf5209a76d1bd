"""A Qdrant server for tests, with Qdrant's own engine (qdrant-edge-py). So its results, comparisons
and refusals are a real server's. The code here adds what surrounds the engine: routes, collections,
several shards, strict mode, older versions, keys, and failures.

`server` has the routes, `collection` the reads of one collection, `writes` its changes, `shards`
the points. `edge_models` and `queries` translate requests for the engine. `config` is the displayed
configuration of a collection, `limits` has the limits, and `refusals` the error messages. `faults`
connects clients in this process, `socket` those over the network.
"""

from tests.helpers.qdrant_server.server import Server
from tests.helpers.qdrant_server.socket import serving

__all__ = ["Server", "serving"]
