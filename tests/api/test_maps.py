"""`Collection.map`, and how notebooks display a collection."""

import io

import numpy as np
import pytest

from retrieval_store.api.maps import MapData, atlas_columns
from retrieval_store.errors import InvalidArgumentError, MissingDependencyError
from tests.helpers import steps
from tests.helpers.oracle import brute_force


@pytest.fixture
def groups(client):
    """Three clusters of points; the metadata names the cluster."""
    rng = np.random.default_rng(5)
    centers = np.array([[9, 0, 0, 0], [-9, 5, 0, 0], [0, -9, 0, 0]])
    which = np.arange(60) % 3
    vectors = (centers[which] + rng.standard_normal((60, 4))).astype(np.float32)
    collection = client.create_collection("groups", embedding_function=None)
    collection.add(
        [f"p{i}" for i in range(60)],
        vectors,
        [{"cloud": f"<b>{cloud}", "n": i / 2} for i, cloud in enumerate(which)],
        [f"<script>{i}</script> $x$" for i in range(60)],
    )
    return collection, vectors


def rows_of(chart):
    """The points of an altair chart, which stores its data separately."""
    reported = chart.to_dict()
    return (
        reported["datasets"][reported["data"]["name"]]
        if "name" in reported["data"]
        else reported["data"]["values"]
    )


@pytest.mark.others
def test_points_lie_where_the_first_two_principal_components_have_them(groups):
    collection, vectors = groups
    plotly = pytest.importorskip("plotly")
    figure = collection.map("cloud", mark=["p7"], library="plotly")
    assert isinstance(figure, plotly.graph_objects.Figure)
    *clouds, marked = figure.data
    centered = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    signs = [np.sign(axis[np.abs(axis).argmax()]) for axis in axes[:2]]
    expected = centered @ axes[:2].T * signs
    assert len(clouds) == 3
    for cloud, rows in zip(clouds, (range(i, 60, 3) for i in range(3)), strict=True):
        found = np.stack([cloud.x, cloud.y], axis=1)
        assert np.allclose(found, expected[list(rows)], atol=1e-4)
        assert "<" not in cloud.name and "<script>" not in cloud.text[0]
    assert np.allclose([marked.x[0], marked.y[0]], expected[7], atol=1e-4)
    assert brute_force(expected[0], expected[[3, 1]], "l2").argmin() == 0  # clouds stay together


@pytest.mark.others
def test_a_picture_is_a_png_that_can_be_saved(groups, tmp_path):
    collection, _ = groups
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    for color in (None, "cloud", "n"):
        picture = collection.map(color, mark="p1", library="matplotlib", where={"n": {"$lt": 20}})
        assert picture._repr_png_() == picture.save(tmp_path / "map.png").read_bytes()
        shown = image.open(io.BytesIO(picture.data))
        assert shown.width > 500 and len(shown.convert("RGB").getcolors(1 << 24)) > 2


@pytest.mark.others
def test_a_chart_has_each_point_once_as_text(groups):
    collection, _ = groups
    pytest.importorskip("altair")
    rows = rows_of(collection.map("n", library="altair", sample=1_000))
    assert [row["id"] for row in rows] == [f"p{i}" for i in range(60)]
    assert rows[3]["value"] == 1.5 and rows[3]["document"] == "<script>3</script> $x$"


def test_a_key_that_is_called_as_a_column_takes_nothing_from_it():
    for key, column in (("document", "metadata.document"), ("cloud", "cloud")):
        data = MapData(["a"], np.zeros((1, 2)), ["text"], ["red"], [False], "t", key)
        columns = atlas_columns(data)
        assert columns["document"] == ["text"] and columns[column] == ["red"]


@pytest.mark.others
def test_a_sample_is_the_same_each_time_and_marked_records_are_in_it(groups):
    collection, _ = groups
    pytest.importorskip("altair")

    def ids(**asked):
        chart = collection.map(library="altair", sample=10, **asked)
        return [row["id"] for row in rows_of(chart)]

    first = ids(seed=3)
    assert len(first) == 10 and ids(seed=3) == first and ids(seed=4) != first
    absent = next(f"p{i}" for i in range(60) if f"p{i}" not in first)
    assert ids(seed=3, mark=absent) == [*first, absent]
    drawn = [ids(seed=seed, where={"n": {"$lt": 20}}) for seed in range(80)]
    assert all(len(one) == 10 and one == sorted(one, key=place_in) for one in drawn)
    places = [place_in(point_id) for one in drawn for point_id in one]
    assert set(places) == {*range(40)}  # of each that matches by one of the draws
    title = collection.map(library="altair", sample=10, where={"n": {"$lt": 20}}).to_dict()["title"]
    assert "40 points, 10 drawn at random" in str(title)


def place_in(point_id):
    return int(point_id[1:])


def test_impossible_drawings_are_reported(groups, monkeypatch):
    collection, _ = groups
    for given, message in [
        ({"color": ""}, "color is ''"),
        ({"sample": 0}, "sample is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"library": "crayons"}, "library is 'crayons'"),
        ({"color": "absent"}, "which no record drawn has"),
        ({"mark": ["p1", "p99"]}, "aren't there: 'p99'"),
    ]:
        with pytest.raises(InvalidArgumentError, match=message):
            collection.map(**given)
    steps.replace(monkeypatch, "find_library_of_maps", lambda _: None)
    with pytest.raises(MissingDependencyError, match="pip install plotly"):
        collection.map()


@pytest.mark.others
def test_an_empty_collection_has_an_empty_map(collection):
    pytest.importorskip("altair")
    chart = collection.map(library="altair", where={"a": 1})
    assert rows_of(chart) == []


def test_notebooks_show_collections_as_tables(populated):
    for reported in (populated.stats(), populated.explain(query_embeddings=[[0, 0]])):
        page = reported._repr_html_()
        assert "<td>points</td><td>5</td>" in page and isinstance(reported, dict)
