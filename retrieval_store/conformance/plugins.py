"""Tests of the behaviour that the engine expects of an index, and that collections expect of
embedding functions and data loaders.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

import retrieval_store
from retrieval_store.errors import DataLoaderError
from retrieval_store.indexes import KnowsVectors, VectorIndex

COUNT, DIMENSION, NEAREST = 1_000, 16, 10
TEXTS = ["A ship sails on the sea.", "Bread is baked in an oven.", "naïve café, 東京", "ship"]


class EmbeddingFunctionTests:
    """Tests of an embedding function. A subclass defines the fixture `function`, and the fixture
    `inputs` if the function does not embed texts."""

    @pytest.fixture
    def function(self) -> Any:
        """The embedding function to test."""
        raise NotImplementedError("define the fixture `function`")

    @pytest.fixture
    def inputs(self) -> list[Any]:
        """Four different inputs."""
        return [*TEXTS]

    def test_each_input_has_a_vector_of_one_length(self, function: Any, inputs: list[Any]) -> None:
        vectors = np.asarray(function(inputs), np.float64)
        assert vectors.ndim == 2 and len(vectors) == len(inputs)
        assert np.isfinite(vectors).all()
        assert all(vector.any() for vector in vectors), "a vector of zeros is near to nothing"

    def test_a_vector_does_not_depend_on_the_other_inputs(
        self, function: Any, inputs: list[Any]
    ) -> None:
        together = np.asarray(function(inputs), np.float64)
        alone = np.concatenate([np.asarray(function([one]), np.float64) for one in inputs])
        np.testing.assert_allclose(alone, together, rtol=1e-3, atol=1e-3)

    def test_queries_have_vectors_of_the_same_length(
        self, function: Any, inputs: list[Any]
    ) -> None:
        ask = getattr(function, "embed_query", function)
        asked, made = np.asarray(ask(inputs[:2])), np.asarray(function(inputs[:2]))
        assert asked.shape == made.shape

    def test_settings_are_json_that_recreates_the_function(
        self, function: Any, inputs: list[Any]
    ) -> None:
        if not hasattr(function, "settings"):
            pytest.skip("it has no settings, so that a collection can't make it again")
        again = type(function)(**json.loads(json.dumps(function.settings())))
        np.testing.assert_allclose(again(inputs), function(inputs), rtol=1e-3, atol=1e-3)

    def test_tokens_up_to_max_tokens_can_be_counted(self, function: Any) -> None:
        most = getattr(function, "max_tokens", None)
        if most is None or not hasattr(function, "count_tokens"):
            pytest.skip("it reports no tokens")
        assert isinstance(most, int) and most > 0
        short, long = function.count_tokens(["word", "word " * 2 * most])
        assert 0 < short < most < long

    def test_a_collection_finds_embedded_inputs(self, function: Any, inputs: list[Any]) -> None:
        if not all(isinstance(one, str) for one in inputs):
            pytest.skip("it embeds no texts")
        with retrieval_store.Client() as client:
            made = client.create_collection("conformance", embedding_function=function)
            made.add([str(i) for i in range(len(inputs))], documents=inputs)
            found = made.query(query_texts=inputs, n_results=1)["ids"]
            assert found == [[str(i)] for i in range(len(inputs))]


class DataLoaderTests:
    """Tests of a data loader. A subclass defines the fixtures `loader` and `uris`."""

    @pytest.fixture
    def loader(self) -> Any:
        """The data loader to test."""
        raise NotImplementedError("define the fixture `loader`")

    @pytest.fixture
    def uris(self) -> list[str]:
        """At least two URIs that can be loaded."""
        raise NotImplementedError("define the fixture `uris`")

    def test_each_uri_has_an_item_at_its_position(self, loader: Any, uris: list[str]) -> None:
        items = loader(uris)
        assert len(items) == len(uris) and all(item is not None for item in items)
        for uri, item in zip(uris, items, strict=True):
            np.testing.assert_array_equal(np.asarray(loader([uri])[0]), np.asarray(item))

    def test_no_uris_give_no_items(self, loader: Any) -> None:
        assert len(loader([])) == 0

    def test_an_unloadable_uri_raises_an_error_or_gives_none(
        self, loader: Any, tmp_path: Path
    ) -> None:
        try:
            items = loader([str(tmp_path / "not there")])
        except DataLoaderError:
            return
        assert [*items] == [None]


class IndexTests:
    """Tests of an index. A subclass names the class of the index, and the settings with which it is
    created."""

    index_class: ClassVar[type[VectorIndex]]
    settings: ClassVar[dict[str, Any]] = {}
    metrics: ClassVar[Sequence[Any]] = ("cosine", "l2", "ip")
    recall: ClassVar[float] = 0.9  # of the nearest ten, at `ef_search`

    @pytest.fixture
    def vectors(self) -> npt.NDArray[np.float32]:
        """(COUNT, DIMENSION) vectors of length 1."""
        rows = np.random.default_rng(3).standard_normal((COUNT, DIMENSION)).astype(np.float32)
        unit: npt.NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def make(self, metric: Any = "l2") -> VectorIndex:
        """A new index without vectors."""
        return self.index_class(DIMENSION, metric, self.settings)

    def test_the_class_declares_that_it_is_self_contained(self) -> None:
        assert getattr(self.index_class, "self_contained", False) is True

    def test_unknown_settings_are_refused(self) -> None:
        with pytest.raises(ValueError, match="no_such_setting"):
            self.index_class(DIMENSION, "l2", {**self.settings, "no_such_setting": 1})

    def test_it_finds_the_nearest_with_their_distances(
        self, vectors: npt.NDArray[np.float32]
    ) -> None:
        for metric in self.metrics:
            index = self.make(metric)
            index.add(vectors[:300])
            index.add(vectors[300:])
            assert len(index) == COUNT and index.nbytes > 0
            queries = vectors[:50] + np.float32(0.01)
            numbers, distances = index.search(queries, max(NEAREST, index.ef_search))
            assert numbers.shape == distances.shape and numbers.dtype == np.int64
            expected = _distances(vectors, queries, metric)
            nearest = np.argsort(expected, axis=1)[:, :NEAREST]
            found = [
                len({*ours[:NEAREST]} & {*theirs})
                for ours, theirs in zip(numbers.tolist(), nearest.tolist(), strict=True)
            ]
            assert sum(found) / nearest.size >= self.recall, metric
            said = np.take_along_axis(expected, numbers, axis=1)
            np.testing.assert_allclose(distances, said, rtol=1e-3, atol=1e-4)
            assert (np.diff(distances, axis=1) >= 0).all(), "the nearest come first"

    def test_a_saved_index_can_be_loaded_and_extended(
        self, vectors: npt.NDArray[np.float32], tmp_path: Path
    ) -> None:
        index, loaded = self.make(), self.make()
        index.add(vectors[:500])
        index.save(tmp_path / "index")
        loaded.load(tmp_path / "index", 500)
        assert len(loaded) == 500
        before, after = (one.search(vectors[:20], 5)[0] for one in (index, loaded))
        found = [len({*a} & {*b}) for a, b in zip(before.tolist(), after.tolist(), strict=True)]
        assert sum(found) / before.size >= self.recall  # it may have been built anew
        loaded.add(vectors[500:])
        numbers, _ = loaded.search(vectors[700:720], 1)
        assert (numbers[:, 0] == np.arange(700, 720)).mean() >= self.recall

    def test_a_damaged_file_is_a_value_error(
        self, vectors: npt.NDArray[np.float32], tmp_path: Path
    ) -> None:
        index = self.make()
        index.add(vectors[:100])
        index.save(tmp_path / "index")
        data = (tmp_path / "index").read_bytes()
        for damaged in (b"", data[: len(data) // 2], b"\0" * len(data)):
            (tmp_path / "damaged").write_bytes(damaged)
            with pytest.raises(ValueError):
                self.make().load(tmp_path / "damaged", 100)

    def test_it_knows_its_vectors(self, vectors: npt.NDArray[np.float32]) -> None:
        index = self.make()
        if not isinstance(index, KnowsVectors):
            pytest.skip("it has no `holds`, so verify() searches for each vector")
        index.add(vectors[:100])
        assert index.holds(10, vectors[10:20]).all()
        assert not index.holds(10, vectors[11:21]).any()


def _distances(
    vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32], metric: str
) -> npt.NDArray[np.float64]:
    """(q, n): the distances of vectors of length 1 from queries, in float64."""
    rows, asked = vectors.astype(np.float64), queries.astype(np.float64)
    products = asked @ rows.T
    if metric == "l2":
        squares = (asked**2).sum(axis=1)[:, None] + (rows**2).sum(axis=1)
        difference: npt.NDArray[np.float64] = squares - 2 * products
        return difference
    if metric == "cosine":
        products /= np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
    one_less: npt.NDArray[np.float64] = 1 - products
    return one_less
