"""Texts and images in bodies, which the server embeds, and misuse that it refuses."""

import base64
import io
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from integrations.server.tests.http.asked import Asking
from retrieval_store import WordLlamaEmbedding
from retrieval_store.plugins import register_embedding_function
from retrieval_store_server import app
from tests.helpers.circumstances import register_besides

CAT, BANK = "The cat sleeps on the sofa.", "The bank raised interest rates."


class Brightness:
    """Two numbers of an image: its darkness and brightness."""

    self_contained = True

    def settings(self):
        return {}

    def __call__(self, images):
        return np.array([[255.0 - np.mean(one), np.mean(one)] for one in images])


class Fetching(Brightness):
    """Its settings may name a host."""

    self_contained = False
    made: ClassVar[list[str]] = []

    def __init__(self, url="default"):
        self.made.append(url)


@pytest.fixture
def registered(monkeypatch):
    register_besides(monkeypatch)
    register_embedding_function("brightness")(Brightness)
    register_embedding_function("fetching")(Fetching)


@pytest.fixture
def ask(tmp_path):
    asks = Asking(app(tmp_path / "store", durability="relaxed"))
    asks("PUT", "/collections/t", {
        "vectors": {"d": {"size": 256, "distance": "Cosine"}, "i": {"size": 2, "distance": "Dot"}},
        "sparse_vectors": {"s": {"modifier": "idf"}},
    })  # fmt: skip
    yield asks
    asks.close()


def words(text, **options):
    return {"text": text, "model": "Qdrant/bm25", **({"options": options} if options else {})}


def meaning(text):
    return {"text": text, "model": "wordllama"}


def picture(brightness):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (brightness,) * 3).save(file, "PNG")
    return file.getvalue()


def query(ask, **body):
    return ask("POST", "/collections/t/points/query", {"with_payload": True, **body})


def test_texts_are_found_by_meaning_and_by_words_at_any_position(ask):
    payload = {"kept": meaning("this is data")}
    points = [
        {"id": 1, "vector": {"d": meaning(CAT), "s": words(CAT)}, "payload": payload},
        {"id": 2, "vector": {"d": meaning(BANK), "s": words(BANK)}},
    ]
    assert ask("PUT", "/collections/t/points?wait=true", {"points": points}).status == 200
    by_meaning = query(ask, query=meaning("kitten"), using="d", limit=1).json["result"]["points"]
    assert by_meaning[0]["id"] == 1
    assert by_meaning[0]["payload"] == payload
    prefetch = [
        {"query": {"nearest": meaning("money")}, "using": "d", "limit": 1},
        {"query": words("rate"), "using": "s", "limit": 1},
    ]
    fused = query(ask, prefetch=prefetch, query={"fusion": "rrf"}).json["result"]["points"]
    assert [one["id"] for one in fused] == [2]
    liked = {"recommend": {"positive": [meaning("pets")], "negative": [meaning("finance")]}}
    assert query(ask, query=liked, using="d").json["result"]["points"][0]["id"] == 1
    several = {"searches": [{"query": words(one), "using": "s"} for one in ("sofas", "banks")]}
    found = ask("POST", "/collections/t/points/query/batch", several).json["result"]
    assert [one["points"][0]["id"] for one in found] == [1, 2]


def test_vectors_embedded_by_the_server_equal_the_functions(ask):
    ask("PUT", "/collections/t/points?wait=true", {"points": [{"id": 1, "vector": {"d": meaning(CAT)}}]})  # fmt: skip
    kept = ask("GET", "/collections/t/points/1").json["result"]["vector"]["d"]
    expected = np.asarray(WordLlamaEmbedding()([CAT]))[0]
    assert np.allclose(kept, expected / np.linalg.norm(expected), atol=1e-6)


def test_batches_and_updates_of_vectors_take_texts_too(ask):
    batch = {"ids": [1, 2], "vectors": {"s": [words(CAT), words(BANK)]}}
    assert ask("PUT", "/collections/t/points?wait=true", {"batch": batch}).status == 200
    update = {"points": [{"id": 1, "vector": {"d": meaning(BANK)}}]}
    assert ask("PUT", "/collections/t/points/vectors?wait=true", update).status == 200
    operations = [{"upsert": {"points": [{"id": 3, "vector": {"s": words("cats")}}]}}]
    assert ask("POST", "/collections/t/points/batch?wait=true", {"operations": operations}).json[
        "result"
    ]
    found = query(ask, query=words("cat"), using="s").json["result"]["points"]
    assert {one["id"] for one in found} == {1, 3}
    assert query(ask, query=meaning("banks"), using="d").json["result"]["points"][0]["id"] == 1


NO_MODELS = [
    {"text": "a", "model": "openai"},
    {"text": "a", "model": "fetching"},
    {"text": "a", "model": "fetching", "options": {"url": "http://169.254.169.254"}},
    {"text": "a", "model": "wordllama", "options": {"path": "/etc/passwd"}},
    {"text": "a", "model": "onnx", "options": {"directory": "/etc"}},
    {"text": "a", "model": "sentence-transformers/all-MiniLM-L6-v2"},
    {"text": "a", "model": "os:system"},
    {"text": "a", "model": "qdrant/bm25", "options": {"language": "no such"}},
    {"text": "a", "model": "qdrant/bm25", "options": {"k": "x"}},
    {"object": {"a": 1}, "model": "wordllama"},
    {"image": "a", "model": "wordllama"},
]


def test_no_request_chooses_how_a_model_is_created(ask, registered):
    Fetching.made.clear()
    for text in NO_MODELS:
        assert query(ask, query=text, using="d").status == 400
        points = {"points": [{"id": 1, "vector": {"d": text}}]}
        assert ask("PUT", "/collections/t/points?wait=true", points).status == 400
    for given in (
        *(words("a", avg_len=0), words("a", language="keyword"), words("a", k="x")),
        {"image": base64.b64encode(picture(1)).decode(), "model": "Qdrant/bm25"},
        {"object": ["a"], "model": "Qdrant/bm25"},
    ):
        points = {"points": [{"id": 1, "vector": {"s": given}}]}
        assert ask("PUT", "/collections/t/points?wait=true", points).status == 400
    assert Fetching.made == []
    assert ask("POST", "/collections/t/points/count", {}).json["result"]["count"] == 0


def test_a_server_that_trusts_its_clients_uses_all_registered_functions(registered):
    ask = Asking(app(":memory:", trust=True))
    ask("PUT", "/collections/t", {"vectors": {"i": {"size": 2, "distance": "Dot"}}})
    image = {"image": base64.b64encode(picture(200)).decode(), "model": "fetching"}
    Fetching.made.clear()
    assert query(ask, query=image, using="i").status == 200
    assert query(ask, query={**image, "options": {"url": "x"}}, using="i").status == 400
    assert Fetching.made in ([], ["default"])  # made once for the process
    ask.close()


def test_images_come_in_base64_and_as_data(ask, registered):
    encoded = [base64.b64encode(picture(one)).decode() for one in (10, 240)]
    images = [{"image": encoded[0], "model": "brightness"},
              {"image": f"data:image/png;base64,{encoded[1]}", "model": "brightness"}]  # fmt: skip
    points = [{"id": i, "vector": {"i": one}} for i, one in enumerate(images)]
    assert ask("PUT", "/collections/t/points?wait=true", {"points": points}).status == 200
    bright = {"image": base64.b64encode(picture(250)).decode(), "model": "brightness"}
    assert query(ask, query=bright, using="i").json["result"]["points"][0]["id"] == 1
    assert ask("GET", "/collections/t/points/0").json["result"]["vector"]["i"] == [245, 10]


def test_many_images_are_embedded_a_few_at_a_time(ask, registered, monkeypatch):
    taken = []
    embed = Brightness.__call__
    monkeypatch.setattr(
        Brightness,
        "__call__",
        lambda self, images: taken.append(len(images)) or embed(self, images),
    )
    images = [base64.b64encode(picture(i)).decode() for i in range(70)]
    points = [
        {"id": i, "vector": {"i": {"image": image, "model": "brightness"}}}
        for i, image in enumerate(images)
    ]
    assert ask("PUT", "/collections/t/points?wait=true", {"points": points}).status == 200
    assert sum(taken) == 70 and max(taken) <= 32


NO_IMAGES = [
    "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/a.png", "../secret.png",
    "ftp://host/a", "bm90IGFuIGltYWdlIGF0IGFsbA==", "data:image/png;base64,AAAA", 5, None, "",
]  # fmt: skip


def test_no_body_reads_a_file_or_a_host(ask, registered):
    for image in NO_IMAGES:
        answer = query(ask, query={"image": image, "model": "brightness"}, using="i")
        assert answer.status == 400
        assert b"root:" not in answer.body


def test_images_may_be_named_below_a_folder_and_nowhere_else(tmp_path, registered):
    root = tmp_path / "images"
    root.mkdir()
    (root / "bright.png").write_bytes(picture(240))
    (tmp_path / "secret.png").write_bytes(picture(1))
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    ask = Asking(app(":memory:", image_root=root))
    ask("PUT", "/collections/t", {"vectors": {"i": {"size": 2, "distance": "Dot"}}})
    for name, status in {
        "bright.png": 200, "../secret.png": 400, "link.png": 400, "nothing.png": 400,
        str(tmp_path / "secret.png"): 400, "http://127.0.0.1:1/a.png": 400,
    }.items():  # fmt: skip
        found = query(ask, query={"image": name, "model": "brightness"}, using="i")
        assert found.status == status, name
        assert str(root).encode() not in found.body
    # A text that is too long for a path is data, as it is without a folder.
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    large = base64.b64encode(file.getvalue()).decode()
    found = query(ask, query={"image": large, "model": "brightness"}, using="i")
    assert (len(large) > 4096, found.status) == (True, 200)
    ask.close()


def test_no_response_reveals_whether_a_file_exists(tmp_path, registered):
    # Paths that are valid base64.
    there = next(
        str(one) for one in Path("/usr/share").iterdir() if one.name.isalnum() and len(one.name) > 5
    )
    ask = Asking(app(":memory:", image_root=tmp_path))
    ask("PUT", "/collections/t", {"vectors": {"i": {"size": 2, "distance": "Dot"}}})
    reports = [
        query(ask, query={"image": path, "model": "brightness"}, using="i").body.replace(
            path.encode(), b"PATH"
        )
        for path in (there, there[:-1] + ("A" if there[-1] != "A" else "B"))
    ]
    assert reports[0] == reports[1]
    ask.close()
