"""Vector files: torn, cut off, flipped or written little by little."""

import os

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import DamagedError
from retrieval_store.query.types import Fields, NewSpace
from tests.helpers import inside
from tests.helpers.batches import ADD, batch
from tests.helpers.oracle import brute_force
from tests.helpers.questions import nearest_to, search
from tests.helpers.small_stores import filled


def flip(file, place):
    with file.open("r+b") as stream:
        stream.seek(place)
        (byte,) = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte ^ 1]))


def test_a_flipped_bit_in_a_vector_is_an_error_that_names_the_file(tmp_path):
    filled(tmp_path)
    (file,) = tmp_path.glob("*/*.vectors")
    bad_row = 1_500
    flip(file, bad_row * 32)
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        with pytest.raises(DamagedError, match=file.name):
            things.query(query_embeddings=np.zeros(8))
        with pytest.raises(DamagedError, match="block 2, vectors 1024 to 1535"):
            things.get(ids=str(bad_row), include=["embeddings"])
        assert inside.rows_per_block(32) == 512
        # What the damage doesn't touch can still be read.
        assert things.get(ids="3", include=["embeddings"])["embeddings"][0, 0] == 24
        assert things.query(query_embeddings=np.zeros(8), ids=["7", "8"])["ids"] == [["7", "8"]]


def test_a_flipped_bit_in_a_document_is_an_error_that_names_the_file(tmp_path):
    filled(tmp_path)
    (file,) = tmp_path.glob("*/points.sqlite")
    flip(file, file.read_bytes().index(b"document 1234"))
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        with pytest.raises(DamagedError, match=r"points\.sqlite is damaged"):
            things.get(ids="1234")


def test_a_vector_file_that_is_cut_off_or_missing_is_damage_and_no_crash(tmp_path):
    filled(tmp_path)
    (file,) = tmp_path.glob("*/*.vectors")
    block = inside.rows_per_block(32) * 32
    for spoil in (
        lambda: os.truncate(file, 2 * block),
        lambda: os.truncate(file, block + 1_000),
        lambda: os.truncate(file, 0),
        file.unlink,
    ):
        spoil()
        with retrieval_store.Client(tmp_path) as client:
            things = client.get_collection("things")
            with pytest.raises(DamagedError, match=file.name):
                things.query(query_embeddings=np.zeros(8))
            assert things.get(ids="5")["documents"] == ["the text of document 5"]


def test_vectors_are_written_whole_even_if_the_system_writes_little_at_a_time(
    tmp_path, monkeypatch
):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:1_000], offset))
    filled(tmp_path, count=700)
    with retrieval_store.Client(tmp_path) as client:
        vectors = client.get_collection("things").get(include=["embeddings"])["embeddings"]
        assert np.array_equal(vectors.ravel(), np.arange(700 * 8))


def test_lengths_that_float32_can_t_square_are_noted_in_whichever_block_they_are(tmp_path):
    vectors = np.random.default_rng(2).standard_normal((1_500, 8)).astype(np.float32)
    vectors[3] *= 1e25
    store = inside.opened(tmp_path)
    for metric in ("l2", "ip", "cosine"):
        points = store.points(store.create(f"by {metric}", {}, {"v": NewSpace(metric)}).id)
        points.put(batch(list(range(1_500)), v=vectors), ADD)
        for query in (vectors[3], vectors[1_400]):
            (hits,) = search(points, nearest_to("v", query[np.newaxis], 3, None), Fields())
            expected = np.sort(brute_force(query, vectors, metric))[:3]
            assert np.allclose(hits.distances, expected, rtol=1e-9, atol=1e-12)


def test_a_torn_tail_of_the_vector_file_is_invisible_and_overwritten(tmp_path):
    filled(tmp_path, count=10)
    (file,) = tmp_path.glob("*/*.vectors")
    with file.open("r+b") as stream:
        stream.seek(10 * 32)
        stream.write(b"\xff" * 1_000)
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        assert things.count() == 10
        things.add(ids="new", embeddings=np.ones(8))
        assert things.query(query_embeddings=np.ones(8), n_results=1)["ids"] == [["new"]]
