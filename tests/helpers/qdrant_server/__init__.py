"""A Qdrant server for tests, whose engine is Qdrant's own (qdrant-edge-py): what it finds, how it
compares and what it refuses is what a real one does, and what surrounds the engine in a real one is
here: routes, collections, several shards, strict mode, older versions, keys, and what goes wrong.

`server` has the routes, `collection` what is found in one, `writes` what is changed there, `shards`
the points; `edge_models` and `queries` say to the engine what was asked. `config` is what a server
tells of a collection, `limits` what it doesn't allow, and `refusals` how it says so. `faults` is the
way to it in this process, `socket` the way by network.
"""

from tests.helpers.qdrant_server.server import Server
from tests.helpers.qdrant_server.socket import serving

__all__ = ["Server", "serving"]
