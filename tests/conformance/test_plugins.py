"""Our own plugins pass the conformance tests for plugins."""

import numpy as np
import pytest
from PIL import Image

from retrieval_store import ImageLoader, TextLoader, WordLlamaEmbedding
from retrieval_store.conformance import DataLoaderTests, EmbeddingFunctionTests, IndexTests
from retrieval_store.indexes.hnsw import HNSWIndex


class TestWordLlama(EmbeddingFunctionTests):
    @pytest.fixture
    def function(self):
        return WordLlamaEmbedding(128)


@pytest.mark.models
class TestMiniLM(EmbeddingFunctionTests):
    @pytest.fixture
    def function(self):
        from retrieval_store import MiniLMEmbedding

        return MiniLMEmbedding()


class TestImages(DataLoaderTests):
    @pytest.fixture
    def loader(self):
        return ImageLoader()

    @pytest.fixture
    def uris(self, tmp_path):
        paths = [str(tmp_path / f"{i}.png") for i in range(2)]
        for i, path in enumerate(paths):
            Image.fromarray(np.full((3, 4, 3), i * 9, np.uint8)).save(path)
        return paths


class TestTexts(DataLoaderTests):
    @pytest.fixture
    def loader(self):
        return TextLoader()

    @pytest.fixture
    def uris(self, tmp_path):
        paths = [tmp_path / f"{i}.txt" for i in range(2)]
        for i, path in enumerate(paths):
            path.write_text(f"text {i}")
        return [*map(str, paths)]


class TestHNSW(IndexTests):
    index_class = HNSWIndex
