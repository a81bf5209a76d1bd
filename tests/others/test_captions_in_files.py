"""Files whose records have both a document and a URI."""

import pytest

from retrieval_store.errors import InvalidArgumentError
from retrieval_store_files import add_file, export_csv, export_jsonl, export_parquet
from tests.api.test_captions import STORED, embed, held, painter  # noqa: F401


def test_records_and_files_bring_both(client, painter, tmp_path):
    photos = client.create_collection("first", embedding_function=embed, data_loader=painter)
    records = [
        {"id": "rose", "uri": "red.png", "document": "a rose"},
        {"id": "leaf", "uri": "green.png"},
    ]
    assert photos.add_from(records, embed="uris") == 2
    everything = photos.get(include=[*STORED, "metadatas"])
    for i, (export, kind) in enumerate(
        ((export_jsonl, "jsonl"), (export_csv, "csv"), (export_parquet, "parquet"))
    ):
        path = tmp_path / f"out.{kind}"
        export(photos, path)
        again = client.create_collection(f"again{i}", embedding_function=embed)
        assert add_file(again, path, embed="uris").added == 2  # their vectors are there
        found = again.get(include=[*STORED, "metadatas"])
        assert found["embeddings"].tolist() == everything["embeddings"].tolist()
        assert {**found, "embeddings": 0} == {**everything, "embeddings": 0}


def test_a_file_without_vectors_names_what_is_embedded(client, painter, tmp_path):
    photos = client.create_collection("first", embedding_function=embed, data_loader=painter)
    path = tmp_path / "photos.jsonl"
    path.write_text('{"id": "rose", "uri": "red.png", "document": "a rose"}\n')
    with pytest.raises(InvalidArgumentError, match="line 1: .*embed='documents' or embed='uris'"):
        add_file(photos, path)
    with pytest.raises(InvalidArgumentError, match="embed is 'images'"):
        add_file(photos, path, embed="images")
    add_file(photos, path, embed="uris")
    assert held(photos, "rose") == ("a rose", "red.png", [250, 0, 0])
    path.write_text('{"id": "leaf", "document": "a leaf"}\n')
    with pytest.raises(InvalidArgumentError, match="line 1: .*no uri to make one of"):
        add_file(photos, path, embed="uris")
