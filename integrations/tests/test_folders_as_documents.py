"""A folder of files as documents of the frameworks, with the places that citations need."""

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_retrieval_store import FolderLoader, RetrievalStore
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import MetadataMode
from llama_index.vector_stores.retrieval_store import (
    AsLlamaIndex,
    FolderReader,
    RetrievalStoreVectorStore,
)

from integrations.files.tests.readers import files
from retrieval_store.embeddings.wordllama import WordLlamaEmbedding
from retrieval_store.errors import InvalidArgumentError
from retrieval_store_files import cite, passages_of, sync_folder
from retrieval_store_files.readers.passages import words_in
from tests.helpers.circumstances import as_a_new_process


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


@pytest.fixture
def numbers(tmp_path):
    """A folder of texts whose words have more tokens than English prose."""
    rows = [" ".join(str(7919 * i * j % 99991) for j in range(1, 60)) for i in range(1, 30)]
    (tmp_path / "numbers.md").write_text("# Numbers\n\n" + "\n\n".join(rows))
    return tmp_path


class Inherited(Embeddings):
    """An embedding that inherits its model, and reports its maximum length of texts."""

    max_tokens = 40

    def embed_documents(self, texts):
        return [[float(len(text)), 1.0] for text in texts]

    def embed_query(self, text):
        return [1.0, 1.0]


def test_passages_of_langchain_are_as_long_as_the_stores_function_reads(
    numbers, caplog, monkeypatch
):
    as_a_new_process(monkeypatch)
    with RetrievalStore("wordllama") as store:
        for function in (store, store.embeddings, "wordllama", WordLlamaEmbedding()):
            store.add_documents(FolderLoader(numbers, function=function).load())
        assert not caplog.records
        store.add_documents(FolderLoader(numbers).load())
        assert "texts are longer than the 256 tokens" in caplog.text
    with RetrievalStore(Inherited()) as store:
        found = FolderLoader(numbers, function=store).load()
        assert max(words_in(one.page_content) for one in found) <= 30


def test_what_llama_index_embeds_is_as_long_as_its_function_reads(numbers):
    function, embedding = WordLlamaEmbedding(), AsLlamaIndex("wordllama")
    with RetrievalStoreVectorStore(embed_model=embedding) as store:
        for given in (store, embedding, "wordllama", function):
            found = FolderReader(numbers, function=given, metadata={"team": "crew " * 50})
            shown = [one.get_content(MetadataMode.EMBED) for one in found.load_data()]
            assert max(function.count_tokens(shown)) <= function.max_tokens
        index = VectorStoreIndex.from_vector_store(store, embed_model=embedding)
        for document in found.load_data():
            index.insert(document)
        sync_folder(store.collection, numbers)
        texts = store.collection.get()["documents"]
        assert max(function.count_tokens(texts)) <= function.max_tokens
    longer = [one.get_content(MetadataMode.EMBED) for one in FolderReader(numbers).load_data()]
    assert max(function.count_tokens(longer)) > function.max_tokens


def test_loaders_refuse_what_they_cant_use(folder):
    with RetrievalStore() as store, RetrievalStoreVectorStore() as vectors:
        wrong = [
            (lambda: FolderLoader(folder, function=store), "a store without an embedding"),
            (lambda: FolderReader(folder, function=vectors), "a store without embed_model"),
            (lambda: FolderLoader(folder, function="wordlama"), "function is 'wordlama'; there"),
            (lambda: FolderReader(folder, function="x").load_data(), "function is 'x'; there are"),
            (lambda: FolderReader(folder, function=3).load_data(), "function is 3"),
            (lambda: passages_of("x", function="wordllama"), "function is 'wordllama'"),
            (lambda: FolderReader(folder).load_data(exclude="*.pdf"), "takes no arguments"),
            (lambda: FolderLoader(folder, exclud="*.pdf"), "unexpected keyword argument"),
        ]
        for call, message in wrong:
            with pytest.raises((InvalidArgumentError, TypeError), match=message):
                call()


def test_encrypted_files_and_pages_that_are_pictures_become_documents(tmp_path):
    (tmp_path / "locked.pdf").write_bytes(files.encrypted_pdf("A hidden heron."))
    (tmp_path / "scan.pdf").write_bytes(files.pdf(files.PICTURE))
    how = {"passwords": ["secret"], "ocr": lambda picture: "A stamp."}
    expected = ["locked: A hidden heron.", "scan: A stamp."]
    assert [each.page_content for each in FolderLoader(tmp_path, **how).load()] == expected
    assert [each.text for each in FolderReader(tmp_path, **how).load_data()] == expected
    assert FolderLoader(tmp_path, on_unreadable=lambda file: None).load() == []
