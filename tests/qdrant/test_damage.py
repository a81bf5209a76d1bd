"""Changed settings in a catalog are reported as damage."""

import orjson
import pytest

from retrieval_store.errors import DamagedError
from retrieval_store.qdrant import QdrantClient, models
from retrieval_store.qdrant.config import KEY
from tests.helpers.small_stores import sql

WRONG = [
    7,
    [],
    {KEY: 7},
    {KEY: {"nothing": 1}},
    {KEY: {"vectors": 7}},
    {KEY: {"vectors": {"": {"size": 4}}}},
    {KEY: {"vectors": {"": {"size": 4, "distance": "Nearby"}}}},
    {KEY: {"payload_schema": {"k": {"data_type": "nothing"}}}},
    {KEY: {"strict_mode_config": {"enabled": "perhaps"}}},
]


@pytest.mark.parametrize("settings", WRONG)
def test_settings_of_no_client_are_damage(tmp_path, settings):
    with QdrantClient(path=tmp_path) as client:
        client.create_collection("x", models.VectorParams(size=4, distance="Dot"))
    change = "UPDATE collections SET settings = ?"
    sql(tmp_path / "catalog.sqlite", change, orjson.dumps(settings))
    with QdrantClient(path=tmp_path) as client:
        assert [one.name for one in client.get_collections().collections] == ["x"]
        for ask in (client.get_collection, client.count, client.scroll):
            with pytest.raises(DamagedError, match="damaged"):
                ask("x")
        assert client.delete_collection("x")
