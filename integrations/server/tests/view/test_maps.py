"""Maps: points in the plane of their vectors, in every kind of store, compared with numpy."""

import base64
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from integrations.server.tests.view.looking import KINDS, asked, filled
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.extension import filter_of, session_of
from retrieval_store_server.native.codec import unpack_message
from retrieval_store_server.view.live import Views
from tests.helpers import inside
from tests.helpers.clocks import set_clock


def drawn_map(views, **body):
    data, arrays = unpack_message(b"".join(asked(views, "map", **body)))
    return data, *arrays


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_a_map_shows_each_point_where_numpy_has_it(client, metric):
    settings = {"configuration": {"hnsw": {"space": metric}}}
    collection, matrix = filled(client, **settings)
    data, places, colors, axes = drawn_map(
        Views(session_of(client)), collection=str(collection.id), color="kind"
    )
    plane = inside.plane_of(matrix, metric == "cosine")
    assert axes == pytest.approx(plane.axes, abs=1e-5)
    assert data["explained"] == pytest.approx(plane.explained.tolist(), abs=1e-6)
    assert places == pytest.approx(
        inside.places_of(matrix, plane.axes, metric == "cosine"), abs=1e-4
    )
    assert data["keys"] == [f"s:p{i}" for i in range(60)]
    assert (data["total"], data["sampled"]) == (60, False)
    names = data["color"]["names"]
    assert [names[int(one)] for one in colors] == [KINDS[i % 3] for i in range(60)]


def test_a_map_shows_what_matches(client):
    collection, matrix = filled(client)
    data, places, colors, _ = drawn_map(
        Views(session_of(client)),
        collection=str(collection.id),
        where={"kind": "map"},
        where_document={"$contains": "number"},
        color="n",
    )
    assert data["keys"] == [f"s:p{i}" for i in range(2, 60, 3)]
    assert data["color"] == {"kind": "numbers", "least": 2.0, "greatest": 59.0}
    assert np.allclose(colors, (np.arange(2, 60, 3) - 2) / 57)
    chosen = matrix[2::3]
    assert places == pytest.approx(
        inside.places_of(chosen, inside.plane_of(chosen, False).axes, False), abs=1e-4
    )


@pytest.mark.embedded
def test_of_many_points_a_sample_is_drawn_that_is_the_same_again(client):
    collection, _ = filled(client)
    views, at = Views(session_of(client)), {"collection": str(collection.id), "sample": 20}
    data, places, *_ = drawn_map(views, seed=4, **at)
    assert (len(data["keys"]), data["total"], data["sampled"]) == (20, 60, True)
    numbers = [int(one.removeprefix("s:p")) for one in data["keys"]]
    assert numbers == sorted(numbers)
    again, same, *_ = drawn_map(views, seed=4, **at)
    assert again["keys"] == data["keys"] and (same == places).all()
    other, *_ = drawn_map(views, seed=5, **at)
    assert other["keys"] != data["keys"]


def test_places_of_others_are_found_in_the_same_plane(client):
    collection, _ = filled(client)
    views, at = Views(session_of(client)), {"collection": str(collection.id)}
    _, places, _, axes = drawn_map(views, where={"n": {"$lt": 40}}, **at)
    encoded = base64.b64encode(axes.tobytes()).decode()
    keys = ["s:p3", "s:none", "s:p50", "s:p3"]
    found = asked(views, "place", keys=keys, axes=encoded, **at)["places"]
    assert found[0] == found[3] == pytest.approx(places[3].tolist(), abs=1e-4)
    assert found[1] is None and len(found[2]) == 2
    for wrong in (encoded[:8], base64.b64encode(bytes([255]) * axes.nbytes).decode()):
        with pytest.raises(InvalidArgumentError, match="axes"):
            asked(views, "place", keys=keys, axes=wrong, **at)


def test_a_collection_without_vectors_is_an_empty_map(client):
    collection = client.create_collection("empty", embedding_function=None)
    at = {"collection": str(collection.id)}
    data, places, colors, axes = drawn_map(Views(session_of(client)), color="kind", **at)
    assert (data["keys"], data["total"], data["explained"]) == ([], 0, [0, 0])
    assert (places.shape, colors.shape, axes.shape) == ((0, 2), (0,), (3, 0))


@pytest.mark.embedded
def test_many_categories_end_with_all_others_and_a_missing_value_has_none(client):
    collection = client.create_collection("many", embedding_function=None)
    kinds = [f"k{i:02}" for i in range(15) for _ in range(15 - i)]
    values = [*({"k": kind} for kind in kinds), None, {"k": True}, {"k": [None, "k00"]}]
    collection.add(
        ids=[str(i) for i in range(len(values))],
        embeddings=np.random.default_rng(0).normal(size=(len(values), 3)),
        metadatas=values,
    )
    data, _, colors, _ = drawn_map(
        Views(session_of(client)), collection=str(collection.id), color="k"
    )
    names = data["color"]["names"]
    assert names == [*(f"k{i:02}" for i in range(11)), "other"]
    assert [names[int(one)] for one in colors[:16]] == ["k00"] * 15 + ["k01"]
    assert names[int(colors[len(kinds) - 1])] == "other"
    assert np.isnan(colors[-3]) and names[int(colors[-2])] == "other" and colors[-1] == 0


def test_a_cluster_is_counted_page_by_page_until_the_timeout(cluster, monkeypatch):
    collection, _ = filled(cluster)
    points = inside.store(cluster).points(str(collection.id))
    by_the_server = filter_of({"n": {"$gte": 20}})
    assert points.count_within(by_the_server, 0.0) == (40, True)
    expression = filter_of({"kind": {"$regex": "."}})  # which a server doesn't know
    assert points.count_within(expression, 0.0) == (0, False)
    assert points.count_within(expression, 100.0) == (60, True)
    set_clock(monkeypatch, "pages of a cluster", SimpleNamespace(monotonic=count().__next__))
    assert points.count_within(expression, 25) == (24, False)


def test_on_a_cluster_a_sample_is_drawn_too(cluster):
    collection, _ = filled(cluster)
    at = {"collection": str(collection.id), "sample": 20}
    data, *_ = drawn_map(Views(session_of(cluster)), **at)
    keys = data["keys"]
    assert len(set(keys)) == 20 and {*keys} < {f"s:p{i}" for i in range(60)}
    assert keys != [f"s:p{i}" for i in range(20)]
    assert keys == sorted(keys, key=lambda key: int(key[3:]))  # in the order of insertion
    assert (data["total"], data["sampled"]) == (60, True)
