"""How expiring records behave for users, on every kind of store."""

import numpy as np
import pytest

from retrieval_store.errors import ConflictError, InvalidArgumentError, InvalidTypeError
from tests.helpers import inside

PAST, FUTURE = "2001-01-01T00:00:00Z", 64_060_588_800  # of which nothing here sees the year 4000


def test_expired_records_are_in_no_result_after_adding(client):
    if inside.session(client).on_cluster:
        with pytest.raises(InvalidArgumentError, match="on a cluster nothing expires"):
            client.create_collection("notes", {"expires": "until"}, embedding_function=None)
        return
    notes = client.create_collection("notes", {"expires": "until"}, embedding_function=None)
    moments = [PAST, FUTURE, 86_400, None, "4000-01-01"]
    notes.add(
        [f"n{i}" for i in range(5)],
        np.eye(5),
        [{"until": one} for one in moments],
        ["some words"] * 5,
    )
    there = ["n1", "n3", "n4"]
    assert notes.get()["ids"] == there
    assert notes.count() == len(notes) == notes.stats()["points"] == 3
    assert set(notes.query(query_embeddings=np.eye(5)[:1], n_results=5)["ids"][0]) == set(there)
    assert notes.query(query_texts="words", mode="text")["ids"] == [there]
    assert notes.configuration["expires"] == "until"
    assert [row["id"] for row in notes.iterate(batch=1)] == there
    assert "n0" not in notes and "n1" in notes
    assert "there is no record of this id" in str(
        notes.why(query_embeddings=np.eye(5)[:1], records=["n0"])
    )
    notes.update("n1", metadatas={"until": None})
    assert notes.get("n1")["metadatas"] == [{}]
    notes.update("n1", metadatas={"until": 1.5})
    assert notes.get()["ids"] == ["n3", "n4"]


@pytest.mark.embedded
@pytest.mark.parametrize("moment", ["tomorrow", True, ["2001-01-01"], {"at": 1}])
def test_a_moment_that_is_none_is_refused(client, moment):
    notes = client.create_collection("notes", {"expires": "until"}, embedding_function=None)
    with pytest.raises(InvalidArgumentError, match=r"metadatas\[1\]\['until'\] is .* expires"):
        notes.add(["a", "b"], np.eye(2), [{"until": 1}, {"until": moment}])
    assert notes.count() == 0


@pytest.mark.embedded
def test_milliseconds_are_refused(client):
    notes = client.create_collection("notes", {"expires": "until"}, embedding_function=None)
    with pytest.raises(InvalidArgumentError, match="are these milliseconds"):
        notes.add("a", [[1.0]], {"until": 1_795_000_000_000})


@pytest.mark.embedded
def test_the_key_stays(client):
    notes = client.create_collection("notes", {"expires": "until"}, embedding_function=None)
    assert client.get_or_create_collection("notes", {"expires": "until"}) == notes
    with pytest.raises(ConflictError, match="expires='until'"):
        client.get_or_create_collection("notes", {"expires": "end"})
    with pytest.raises(ConflictError, match="expires='until'"):
        notes.modify(configuration={"expires": "end"})
    notes.modify("renamed")
    assert notes.configuration["expires"] == "until"
    with pytest.raises(InvalidTypeError, match=r"configuration\['expires'\] is 5"):
        client.create_collection("other", {"expires": 5})


@pytest.mark.embedded
def test_an_update_by_filter_skips_expired_records_and_refuses_invalid_times(client):
    notes = client.create_collection("notes", {"expires": "until"}, embedding_function=None)
    notes.add(["a", "b", "c"], np.eye(3), [{"until": 1, "n": 1}, {"n": 1}, {"n": 2}])
    assert notes.update(where={"n": 1}, metadatas={"n": 3})["updated"] == 1
    assert notes.get()["metadatas"] == [{"n": 3}, {"n": 2}]
    with pytest.raises(InvalidArgumentError, match=r"metadatas\[0\]\['until'\] is 'tomorrow'"):
        notes.update(where={"n": 2}, metadatas={"until": "tomorrow"})
    assert notes.update(where={"n": 2}, metadatas={"until": 2})["updated"] == 1
    assert notes.get()["ids"] == ["b"]
