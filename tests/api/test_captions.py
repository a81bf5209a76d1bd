"""Pictures with captions: one of several fields is embedded, the others are stored with it."""

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.loaders import DataLoader

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}
STORED = ["documents", "uris", "embeddings"]


def embed(inputs):
    """The mean colours of pictures; the named colours of texts."""
    return [
        COLOURS.get(one, (1, 1, 1)) if isinstance(one, str) else one.mean((0, 1)) for one in inputs
    ]


class Painter(DataLoader):
    """Pictures by the names of their colours. `loaded`: the requested names."""

    def __init__(self, on_error="raise"):
        self.loaded, self.on_error = [], on_error

    def __call__(self, uris):
        self.loaded += uris
        return [picture(uri.removesuffix(".png")) for uri in uris]


def picture(colour):
    return np.full((2, 2, 3), COLOURS[colour], np.uint8) if colour in COLOURS else None


@pytest.fixture
def painter():
    return Painter()


@pytest.fixture
def photos(client, painter):
    return client.create_collection("photos", embedding_function=embed, data_loader=painter)


@pytest.fixture
def captioned(photos):
    photos.add(
        ids=["rose", "leaf", "sea"],
        uris=["red.png", "green.png", "blue.png"],
        documents=["a rose in a vase", "one leaf", None],
        embed="uris",
    )
    return photos


def test_a_record_losing_another_modality_is_reported_and_returned(captioned, caplog):
    caplog.set_level("WARNING", "retrieval_store")
    changed = captioned.update(["rose", "sea"], documents=["red", "blue"])
    assert changed == {"left_out": [], "cleared": ["rose", "sea"]}
    (message,) = [one.getMessage() for one in caplog.records]
    assert (
        "lost the document or the uri that they had" in message and "2, such as 'rose'" in message
    )
    caplog.clear()
    assert captioned.upsert(["rose", "new"], documents=["red", "red"]) == {"left_out": []}
    assert captioned.update("rose", uris="red.png") == {"left_out": [], "cleared": ["rose"]}
    assert len(caplog.records) == 1
    assert captioned.update("leaf", documents="leaves", embed="uris", uris="green.png") == {
        "left_out": []
    }
    assert captioned.get("leaf", include=["documents", "uris"])["uris"] == ["green.png"]


def held(collection, point_id):
    """Document, uri and vector of a record."""
    found = collection.get(ids=point_id, include=STORED)
    return found["documents"][0], found["uris"][0], found["embeddings"][0].tolist()


def test_a_record_is_found_by_its_picture_and_by_the_words_of_its_caption(captioned):
    assert held(captioned, "rose") == ("a rose in a vase", "red.png", [250, 0, 0])
    assert held(captioned, "sea") == (None, "blue.png", [0, 0, 250])
    for how in (
        {"query_images": picture("red")},
        {"query_uris": "red.png"},
        {"query_texts": "red"},
        {"query_texts": "vase", "mode": "text"},
        {"query_texts": "vase", "query_embeddings": [250.0, 0.0, 0.0], "mode": "hybrid"},
    ):
        assert captioned.query(**how, n_results=1)["ids"] == [["rose"]], how


def test_a_picture_may_be_an_array_and_a_text_may_have_a_source(photos, painter):
    photos.add(ids="a", images=[picture("green")], documents="one leaf", embed="images")
    assert held(photos, "a") == ("one leaf", None, [0, 250, 0])
    photos.add(ids="b", documents="red", uris="https://example.org/roses.html", embed="documents")
    assert held(photos, "b") == ("red", "https://example.org/roses.html", [250, 0, 0])
    photos.add(ids="c", images=[picture("blue")], uris="anywhere.png", embed="images")
    assert held(photos, "c") == (None, "anywhere.png", [0, 0, 250])
    assert painter.loaded == []


@pytest.mark.parametrize("method", ["update", "upsert"])
def test_unembedded_fields_change_without_embedding(captioned, painter, method):
    painter.loaded.clear()
    change = getattr(captioned, method)
    change(ids=["rose", "leaf"], documents=["a tulip", None], embed="uris")
    assert held(captioned, "rose") == ("a tulip", "red.png", [250, 0, 0])
    assert held(captioned, "leaf") == ("one leaf", "green.png", [0, 250, 0])
    assert painter.loaded == []
    change(ids=["rose", "sea"], uris=["blue.png", None], documents=[None, "water"], embed="uris")
    assert held(captioned, "rose") == ("a tulip", "blue.png", [0, 0, 250])
    assert held(captioned, "sea") == ("water", "blue.png", [0, 0, 250])
    change(ids="rose", documents="green", embed="documents")
    assert held(captioned, "rose") == ("green", "blue.png", [0, 250, 0])


def test_without_saying_so_one_replaces_the_other(captioned):
    captioned.update(ids="rose", documents="green")
    assert held(captioned, "rose") == ("green", None, [0, 250, 0])


def test_upsert_that_replaces_leaves_nothing_of_before(captioned):
    captioned.upsert(
        ids=["rose", "new"],
        uris=["blue.png", "green.png"],
        documents=[None, "grass"],
        embed="uris",
        replace=True,
    )
    assert held(captioned, "rose") == (None, "blue.png", [0, 0, 250])
    assert held(captioned, "new") == ("grass", "green.png", [0, 250, 0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"documents": ["x", "y"], "embed": "uris"}, "id 'p' has no uri, but embed is 'uris'"),
        ({"uris": ["red.png", None], "embed": "uris"}, "id 'q' has no uri"),
        ({"documents": ["x", "y"], "embed": "images"}, "id 'p' has no image"),
        ({"embeddings": [[1, 2, 3]] * 2, "embed": "uris"}, "embeddings and embed='uris'"),
        ({"documents": ["x", "y"], "embed": "texts"}, "embed is 'texts'.*'documents' or 'images'"),
        (
            {"documents": ["x", "y"], "images": [picture("red")] * 2, "embed": "documents"},
            "images are given, which aren't stored",
        ),
        ({"documents": ["x", "y"], "uris": ["red.png"] * 2}, "embed='documents', 'images' or 'uri"),
    ],
)
def test_unembeddable_inputs_are_refused_and_nothing_is_written(painter, given, message):
    with retrieval_store.Client() as client:
        photos = client.create_collection("p12", embedding_function=embed, data_loader=painter)
        with pytest.raises(InvalidArgumentError, match=message):
            photos.add(ids=["p", "q"], **given)
        assert photos.count() == 0


def test_a_new_record_needs_something_to_embed(captioned):
    with pytest.raises(InvalidArgumentError, match="no embedding is given for new ids: 'new'"):
        captioned.upsert(ids=["rose", "new"], documents=["x", "y"], embed="uris")
    assert held(captioned, "rose")[0] == "a rose in a vase"


def test_inputs_that_a_loader_skips_are_left_out_with_their_captions(client):
    loader = Painter(on_error="skip")
    photos = client.create_collection("some", embedding_function=embed, data_loader=loader)
    result = photos.add(
        ids=["a", "b"], uris=["red.png", "none.png"], documents=["one", "two"], embed="uris"
    )
    assert result == {"left_out": ["b"]} and photos.get()["ids"] == ["a"]


def test_records_bring_both(client, painter):
    photos = client.create_collection("first", embedding_function=embed, data_loader=painter)
    records = [
        {"id": "rose", "uri": "red.png", "document": "a rose"},
        {"id": "leaf", "uri": "green.png"},
    ]
    assert photos.add_from(records, embed="uris") == 2
    assert held(photos, "rose") == ("a rose", "red.png", [250, 0, 0])


@pytest.mark.embedded
def test_a_replaced_record_loses_the_vectors_of_its_old_content(photos):
    photos.add("a", uris="red.png", documents="caption", embed="uris")
    with pytest.raises(InvalidArgumentError, match="'a' has no uri"):
        photos.upsert("a", documents="new", embed="uris", replace=True)
    assert photos.get("a")["documents"] == ["caption"]
