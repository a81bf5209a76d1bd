"""A flipped bit anywhere: either an error that names the file, or no visible effect."""

import os
import random
import shutil

import pytest

import retrieval_store
from retrieval_store.errors import DamagedError, RetrievalStoreError
from tests.helpers.small_stores import DIMENSION, everything, fill, problems


def flip(file, place, bit):
    with file.open("r+b") as stream:
        stream.seek(place)
        (byte,) = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte ^ (1 << bit)]))


def check_flips(path, tmp_path, places_of):
    """Flip a bit at each of these places of each file; returns the number of flips."""
    whole = everything(path)
    assert problems(path) == set()
    files = [path / "catalog.sqlite", *path.glob("*/points.sqlite"), *path.glob("*/*.vectors")]
    assert len(files) == 3
    flips = 0
    for file in files:
        kept = tmp_path / "kept"
        shutil.copy2(file, kept)
        truth = file.stat().st_size
        if file.suffix == ".vectors":
            # Behind these is the row that was written alone, which is in the database until the
            # file is synced, and written again from there; and then nothing but a hole.
            truth = (whole[1] + 1) * DIMENSION * 4
        for place in places_of(file.stat().st_size):
            bit = random.Random(place).randrange(8)
            flip(file, place, bit)
            flips += 1
            where = f"bit {bit} of byte {place} of {file.name}"
            try:
                assert everything(path) == whole, where
                raised = False
            except RetrievalStoreError as error:
                assert file.name in str(error), (where, error)
                raised = True
            assert problems(path) == ({file.name} if place < truth else set()), where
            assert raised <= (place < truth), where
            shutil.copy2(kept, file)
    assert everything(path) == whole
    return flips


@pytest.mark.kills
@pytest.mark.property
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path):
    path = tmp_path / "store"
    fill(path, 8)
    first, every, apart = 0, 4, 1_004
    places = lambda size: [*range(first, 110, every), *range(110 + 251 * first, size, apart)]  # noqa: E731
    assert check_flips(path, tmp_path, places) > 100


@pytest.mark.property
@pytest.mark.slow
def test_a_flipped_bit_is_found_at_every_place_of_a_small_store(tmp_path):
    path = tmp_path / "store"
    fill(path, 8)
    assert check_flips(path, tmp_path, lambda size: range(min(size, 80_000))) > 50_000


@pytest.mark.kills
@pytest.mark.property
def test_a_flipped_bit_is_found_at_random_places_of_a_larger_store(tmp_path):
    path = tmp_path / "store"
    fill(path, 3_000)
    places = random.Random(3)
    check_flips(path, tmp_path, lambda size: [places.randrange(size) for _ in range(10)])


def test_a_vector_file_cut_off_while_open_is_an_error(tmp_path):
    fill(tmp_path, 3_000)
    with retrieval_store.Client(tmp_path) as client:
        (things,) = client.list_collections()
        assert things.query(query_embeddings=[0] * DIMENSION)["ids"]
        (file,) = tmp_path.glob("*/*.vectors")
        whole = file.read_bytes()
        for size in (0, 40, 4096):
            os.truncate(file, size)
            for call in (
                lambda: things.query(query_embeddings=[0] * DIMENSION),
                lambda: things.get(ids="id 3", include=["embeddings"]),
                things.optimize,
            ):
                with pytest.raises(DamagedError, match=f"{file.name} is cut off"):
                    call()
        file.write_bytes(whole)
        assert things.query(query_embeddings=[0] * DIMENSION)["ids"]


def test_verify_reports_each_file_and_others_stay_usable(tmp_path, terminal, capfd):
    with retrieval_store.Client() as client:
        client.create_collection("things")
        assert client.verify() == []
    fill(tmp_path, 10)
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("whole", embedding_function=None).add("a", [[1]])
        (file,) = [
            f
            for f in tmp_path.glob("*/*.vectors")
            if f.stat().st_size and b"\x40" in f.read_bytes()[:64]
        ]
        flip(file, 21, 0)
        reports = client.verify(progress=True)
        assert "5file" in capfd.readouterr().err
        bad = [report for report in reports if report.problem]
        assert [report.file for report in bad] == [file]
        assert "block 0" in bad[0].problem
        assert sorted(report.file.name for report in reports) == [
            "1.0.vectors",
            "1.0.vectors",
            "catalog.sqlite",
            "points.sqlite",
            "points.sqlite",
        ]
        assert client.get_collection("whole").get()["ids"] == ["a"]
