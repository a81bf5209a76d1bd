"""Points with arbitrary string ids, which Collection writes: they can be found, filtered, changed
and deleted, but not created."""

import pytest

import retrieval_store
from integrations.server.tests.http.asked import Asking
from retrieval_store_server import app

AT = "/collections/notes/points"


@pytest.fixture
def ask(tmp_path):
    with retrieval_store.Client(tmp_path / "store") as client:
        notes = client.create_collection("notes", embedding_function=None)
        notes.add(ids=["cat", "dog", "7"], embeddings=[[1, 0], [0, 1], [1, 1]])
    asking = Asking(app(tmp_path / "store"))
    yield asking
    asking.close()


def ids(answer):
    assert answer.status == 200, answer
    found = answer.json["result"]
    points = found if isinstance(found, list) else found["points"]
    return [point["id"] for point in points]


def test_reads_take_them(ask):
    assert ids(ask("POST", AT, {"ids": ["dog", "cat"]})) == ["dog", "cat"]
    assert ids(ask("POST", f"{AT}/query", {"query": "cat"}))[0] == "7"
    assert (
        ids(ask("POST", f"{AT}/query", {"query": {"recommend": {"positive": ["cat"]}}}))[0] == "7"
    )
    assert ids(ask("POST", f"{AT}/recommend", {"positive": ["dog"], "limit": 1})) == ["7"]
    has_id = {"must": [{"has_id": ["dog"]}]}
    assert ids(ask("POST", f"{AT}/scroll", {"filter": has_id})) == ["dog"]
    page = ask("POST", f"{AT}/scroll", {"limit": 1}).json["result"]
    assert page["next_page_offset"] == "cat"
    assert ids(ask("POST", f"{AT}/scroll", {"limit": 1, "offset": "dog"})) == ["dog"]


def test_changes_of_payloads_and_deletes_take_them(ask):
    payload = {"payload": {"seen": True}, "points": ["cat"]}
    assert ask("POST", f"{AT}/payload", payload).status == 200
    assert ask("GET", f"{AT}/cat").json["result"]["payload"] == {"seen": True}
    assert ask("POST", f"{AT}/delete", {"points": ["cat"]}).status == 200
    assert ids(ask("POST", f"{AT}/scroll", {})) == ["7", "dog"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"ids": ["none"]}),
        ("/query", {"query": "none"}),
        ("/scroll", {"filter": {"must": [{"has_id": ["none"]}]}}),
        ("/delete", {"points": ["dog", "none"]}),
        ("/payload", {"payload": {"a": 1}, "points": ["none"]}),
        ("/recommend", {"positive": ["none"], "limit": 1}),
    ],
)
def test_a_string_that_no_point_has_is_refused_as_by_a_server(ask, path, body):
    answer = ask("POST", AT + path, body)
    assert answer.status == 400
    assert "not a valid point ID" in answer.json["status"]["error"]
    assert len(ids(ask("POST", f"{AT}/scroll", {}))) == 3


def test_new_points_and_new_vectors_are_of_integers_and_uuids(ask):
    vectors = {"points": [{"id": "cat", "vector": [3, 4]}]}
    assert ask("PUT", f"{AT}/vectors", vectors).status == 400
    body = {"points": [{"id": "cat", "vector": [1, 2]}]}
    assert ask("PUT", AT, body).status == 400
    batch = {"batch": {"ids": ["owl"], "vectors": [[1, 2]]}}
    assert ask("PUT", AT, batch).status == 400
    assert len(ids(ask("POST", f"{AT}/scroll", {}))) == 3
