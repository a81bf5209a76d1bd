"""A pytest plugin that runs chromadb's own tests of its API on this store: it replaces their client
and the error classes that they expect by name by ours.
"""

import sys
import types

import chromadb.errors
import pytest

import retrieval_store

# What those tests import and don't use here: chromadb's server.
server, fastapi = types.ModuleType("chromadb.server.fastapi"), types.ModuleType("fastapi")
server.FastAPI = server.Server = object
fastapi.HTTPException = Exception
sys.modules |= {"chromadb.server.fastapi": server, "fastapi": fastapi}

# They skip what only one implementation of theirs can do; ours can.
retrieval_store.Settings.chroma_api_impl = "chromadb.api.rust.RustBindingsAPI"
for name in [name for name in vars(chromadb.errors) if name.endswith(("Error", "Exception"))]:
    setattr(chromadb.errors, name, getattr(retrieval_store.errors, name))


@pytest.fixture
def client(tmp_path):
    with retrieval_store.Client(tmp_path / "store", allow_reset=True) as client:
        yield client
