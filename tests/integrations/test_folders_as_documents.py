"""A folder of files as documents of the frameworks, with the places that answers are cited by."""

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_retrieval_store import FolderLoader, RetrievalStore
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import MetadataMode
from llama_index.vector_stores.retrieval_store import FolderReader

from retrieval_store.errors import InvalidArgumentError
from retrieval_store.exchange import cite
from tests.readers import files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "guide.md").write_text("# Guide\n\nOne.\n\n## Part\n\nTwo.")
    (tmp_path / "views.pdf").write_bytes(files.pdf("The sea.", "The sky."))
    return tmp_path


def test_documents_of_langchain(folder):
    documents = FolderLoader(folder, metadata={"team": "crew"}).load()
    assert [(one.id, one.page_content) for one in documents] == [
        ("guide.md#0", "Guide: One."),
        ("guide.md#1", "Guide > Part: Two."),
        ("views.pdf#0", "views: The sea."),
        ("views.pdf#1", "views: The sky."),
    ]
    assert documents[1].metadata["headings"] == ["Guide", "Part"]
    assert documents[3].metadata["page"] == 2 and documents[3].metadata["team"] == "crew"
    with RetrievalStore(DeterministicFakeEmbedding(size=8)) as store:
        store.add_documents(documents)
        (hit,) = store.similarity_search("Guide > Part: Two.", k=1)
        assert cite(hit) == "Guide (guide.md), Part"
    whole = FolderLoader(folder, chunk=False, include="*.pdf").load()
    assert [one.page_content for one in whole] == ["The sea.\n\nThe sky."]
    with pytest.raises(InvalidArgumentError, match="expected a folder"):
        FolderLoader(folder / "gone").load()


def test_documents_of_llama_index(folder):
    documents = FolderReader(folder).load_data()
    assert [(one.id_, one.text) for one in documents][2:] == [
        ("views.pdf#0", "views: The sea."),
        ("views.pdf#1", "views: The sky."),
    ]
    shown = documents[3].get_content(MetadataMode.EMBED)
    assert "page: 2" in shown and "hash" not in shown
    index = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(8))
    hits = index.as_retriever(similarity_top_k=4).retrieve("sky")
    assert {cite(one) for one in hits} == {
        "Guide (guide.md), characters 9 to 13",
        "Guide (guide.md), Part",
        "views.pdf, page 1",
        "views.pdf, page 2",
    }
