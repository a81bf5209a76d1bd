"""A model is identified by its vectors, whichever class wraps it: which functions a collection
accepts as its own, and what it stores about them.
"""

import itertools
import logging
from types import SimpleNamespace

import pytest
from langchain_core.embeddings import Embeddings
from langchain_retrieval_store import AsLangChain, RetrievalStore
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.vector_stores.retrieval_store import AsLlamaIndex, RetrievalStoreVectorStore

import retrieval_store
from retrieval_store import SentenceTransformerEmbeddingFunction, WordLlamaEmbedding
from retrieval_store.embeddings.frameworks import FromLangChain, FromLlamaIndex
from retrieval_store.errors import ConflictError, EmbeddingFunctionError
from tests.helpers import inside
from tests.helpers.minilm import weights_folder

NAME = "one-model"
LangchainEmbedding = pytest.importorskip("llama_index.embeddings.langchain").LangchainEmbedding
WORDLLAMA = {"name": "wordllama", "settings": {"dimensions": 256}}


def from_llama(function):
    return FromLlamaIndex(AsLlamaIndex(function))


def from_lang(function):
    return FromLangChain(AsLangChain(function))


def through_llama_indexes_own(function):
    return FromLlamaIndex(LangchainEmbedding(AsLangChain(function)))


ADAPTERS = {
    "LlamaIndex": from_llama,
    "LangChain": from_lang,
    "LangChain in LlamaIndex": lambda function: from_llama(from_lang(function)),
    "LlamaIndex in LangChain": lambda function: from_lang(from_llama(function)),
    "LlamaIndex's own of LangChain": through_llama_indexes_own,
    "all of them": lambda function: through_llama_indexes_own(from_llama(from_lang(function))),
}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_is_remembered_of_an_adapter_is_the_function_in_it(client, adapter):
    adapted = ADAPTERS[adapter]("wordllama")
    things = client.create_collection(NAME, embedding_function=adapted)
    things.add("a", documents="A small boat.")
    assert things.configuration["embedding_function"] == WORDLLAMA
    for function in (adapted, "wordllama", *(make("wordllama") for make in ADAPTERS.values())):
        again = client.get_collection(NAME, embedding_function=function)
        assert again.query(query_texts="ship")["ids"] == [["a"]]
    with pytest.raises(ConflictError, match="'dimensions': 256.*'dimensions': 64"):
        other = ADAPTERS[adapter](WordLlamaEmbedding(64))
        client.get_collection(NAME, embedding_function=other)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_new_collection_has_the_distance_of_the_function_in_an_adapter(client, adapter):
    class OfProducts:
        def __call__(self, texts):
            return [[float(len(text)), 1.0] for text in texts]

        def default_space(self):
            return "ip"

    made = client.create_collection(NAME, embedding_function=ADAPTERS[adapter](OfProducts()))
    assert made.configuration["hnsw"]["space"] == "ip"
    assert made.configuration["embedding_function"]["custom"].endswith("OfProducts")


class Shouting(AsLangChain):
    """A subclass that embeds changed texts."""

    def embed_documents(self, texts):
        return super().embed_documents([text.upper() for text in texts])


class ShoutingNode(AsLlamaIndex):
    def _get_text_embeddings(self, texts):
        return [
            [float(number) for number in one] for one in self.function([*map(str.upper, texts)])
        ]


def test_a_subclass_of_an_adapter_is_another_model(client):
    client.create_collection(NAME, embedding_function="wordllama").add("a", documents="A boat.")
    for other in (FromLangChain(Shouting("wordllama")), FromLlamaIndex(ShoutingNode("wordllama"))):
        with pytest.raises(ConflictError):
            client.get_collection(NAME, embedding_function=other)


def searched_by_all(path, name):
    """The ids that each interface finds for a text."""
    with retrieval_store.Client(path) as client:
        for named in ({}, {"embedding_function": "wordllama"}):
            yield client.get_collection(name, **named).query(query_texts="ship")["ids"][0]
    with RetrievalStore("wordllama", path=path, collection_name=name) as store:
        yield [one.id for one in store.similarity_search("ship")]
    with RetrievalStore(path=path, collection_name=name) as store:
        yield [one.id for one in store.similarity_search("ship")]
    embedding = AsLlamaIndex("wordllama")
    with RetrievalStoreVectorStore(path=path, collection_name=name, embed_model=embedding) as store:
        index = VectorStoreIndex.from_vector_store(store, embed_model=embedding)
        yield [one.node_id for one in index.as_retriever().retrieve("ship")]
    with RetrievalStoreVectorStore(path=path, collection_name=name) as store:
        found = store.as_tool("search")(text="ship").raw_output
        yield ["a"] if "A small boat." in found else found


def made_by(path, maker):
    embedding = AsLlamaIndex("wordllama")
    match maker:
        case "Client":
            with retrieval_store.Client(path) as client:
                made = client.create_collection(NAME, embedding_function="wordllama")
                made.add("a", documents="A small boat.")
        case "LangChain":
            with RetrievalStore("wordllama", path=path, collection_name=NAME) as store:
                store.add_texts(["A small boat."], ids=["a"])
        case "LangChain, adapted":
            adapted = AsLangChain(FromLlamaIndex(embedding))
            with RetrievalStore(adapted, path=path, collection_name=NAME) as store:
                store.add_texts(["A small boat."], ids=["a"])
        case "LlamaIndex":
            store = RetrievalStoreVectorStore(
                path=path, collection_name=NAME, embed_model=embedding
            )
            with store:
                context = StorageContext.from_defaults(vector_store=store)
                VectorStoreIndex.from_documents(
                    [Document(text="A small boat.")],
                    storage_context=context,
                    embed_model=embedding,
                )


@pytest.mark.parametrize("maker", ["Client", "LangChain", "LangChain, adapted", "LlamaIndex"])
def test_a_collection_of_one_face_is_searched_by_text_from_each(tmp_path, maker, caplog):
    made_by(tmp_path, maker)
    with retrieval_store.Client(tmp_path) as client:
        collection = client.get_collection(NAME)
        assert collection.configuration["embedding_function"] == WORDLLAMA
        ids = collection.get()["ids"]
    caplog.set_level(logging.WARNING)
    for found in searched_by_all(tmp_path, NAME):
        assert found in (ids, ["a"])
    assert not caplog.records


def test_a_store_without_an_embedding_opens_any_collection_without_a_word(tmp_path, caplog):
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("own", embedding_function=lambda texts: [[1.0, 2.0]] * len(texts))
        client.create_collection("none", embedding_function=None)
        client.create_collection("words", embedding_function="wordllama")
        for name in ("own", "none", "words"):
            client.get_collection(name, embedding_function=None).add("a", [[1.0] * 256])
    caplog.set_level(logging.WARNING)
    for name in ("own", "none", "words"):
        for kind in (RetrievalStore, RetrievalStoreVectorStore):
            with kind(path=tmp_path, collection_name=name) as store:
                assert store.collection.count() == 1
                store.collection.upsert("a", [[1.0] * 256], documents="A boat.")
    assert not caplog.records
    for name in ("own", "none"):
        store = RetrievalStore(path=tmp_path, collection_name=name)
        with store, pytest.raises(EmbeddingFunctionError, match="made without embedding="):
            store.similarity_search("ship")
    with RetrievalStoreVectorStore(path=tmp_path, collection_name="made") as store:
        assert store.collection.configuration["embedding_function"] is None
    store = RetrievalStoreVectorStore(path=tmp_path, collection_name="own")
    with store, pytest.raises(EmbeddingFunctionError, match="<lambda>.*pass it as"):
        store.collection.query(query_texts="ship")


# What earlier versions remembered

BEFORE = {
    "custom": "FromLlamaIndex(AsLlamaIndex)",
    "module": "retrieval_store.embeddings.frameworks",
}
OF_WORDLLAMA = "retrieval_store.embeddings.wordllama.WordLlamaEmbedding {'dimensions': 256}"


class Lengths:
    def __call__(self, texts):
        return [[float(len(text)), 1.0] for text in texts]


def remember(path, spec, function="wordllama"):
    """A collection as an earlier version stored it."""
    with retrieval_store.Client(path) as client:
        things = client.create_collection(NAME, embedding_function=function)
        things.add("a", documents="A small boat.")
        record = inside.backend(things).record()
        record.settings["embedding_function"] = spec
        inside.backend(things).change(lambda _: record)


def opened(path, function):
    how = {} if function is None else {"embedding_function": function}
    with retrieval_store.Client(path) as client:
        return client.get_collection(NAME, **how).query(query_texts="A small boat.")["ids"]


def test_what_as_llama_index_was_remembered_as_is_the_function_in_it(tmp_path, caplog):
    remember(tmp_path, {**BEFORE, "model": OF_WORDLLAMA})
    for function in (None, "wordllama", from_llama("wordllama"), from_lang("wordllama")):
        assert opened(tmp_path, function) == [["a"]]
    for other in (WordLlamaEmbedding(64), from_llama(WordLlamaEmbedding(128))):
        with pytest.raises(ConflictError):
            opened(tmp_path, other)
    assert not caplog.records


@pytest.mark.parametrize(
    ("spec", "adapter"),
    [
        ({**BEFORE, "model": f"{__name__}.Lengths 140031"}, from_llama),
        (
            {**BEFORE, "model": "my own name"},
            lambda f: FromLlamaIndex(AsLlamaIndex(f, model_name="my own name")),
        ),
        ({**BEFORE, "custom": "FromLangChain(AsLangChain)"}, from_lang),
    ],
)
def test_what_cannot_be_proved_opens_with_the_adapter_as_before(tmp_path, spec, adapter):
    remember(tmp_path, spec, Lengths())
    assert opened(tmp_path, adapter(Lengths())) == [["a"]]
    with pytest.raises(EmbeddingFunctionError, match="isn't registered"):
        opened(tmp_path, None)


@pytest.mark.parametrize(
    "model",
    [
        "os.system {'command': 'true'}",
        "retrieval_store.embeddings.wordllama.WordLlamaEmbedding " + "[" * 100_000,
        "retrieval_store.embeddings.wordllama.WordLlamaEmbedding __import__('os').getpid()",
        "retrieval_store.embeddings.wordllama.WordLlamaEmbedding {'dimensions': {1, 2}}",
        "retrieval_store.embeddings.wordllama.WordLlamaEmbedding",
        " ",
        "." * 5_000,
    ],
)
def test_a_remembered_text_that_is_no_function_runs_nothing(tmp_path, model):
    remember(tmp_path, {**BEFORE, "model": model})
    with pytest.raises(EmbeddingFunctionError, match="isn't registered"):
        opened(tmp_path, None)


# Models of frameworks


class HuggingFaceEmbeddings(Embeddings):
    """Reports its model as LangChain's class does."""

    def __init__(self, model, **settings):
        self.model_name = model
        self.encode_kwargs = settings.get("encode_kwargs", {})
        self.query_encode_kwargs = settings.get("query_encode_kwargs", {})

    def embed_documents(self, texts):
        return [[float(len(text)), 1.0] for text in texts]

    def embed_query(self, text):
        return self.embed_documents([text])[0]


class HuggingFaceEmbedding(MockEmbedding):
    """Reports its model as LlamaIndex's class does."""

    normalize: bool = True
    query_instruction: str | None = None
    text_instruction: str | None = None

    def __init__(self, model, **settings):
        super().__init__(embed_dim=2, **settings)
        self.model_name = model


FULL, SHORT = "sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2"
OF = SimpleNamespace(
    lang=lambda model=FULL, **how: FromLangChain(HuggingFaceEmbeddings(model, **how)),
    llama=lambda model=FULL, **how: FromLlamaIndex(HuggingFaceEmbedding(model, **how)),
    own=lambda model=SHORT, **how: SentenceTransformerEmbeddingFunction(model, **how),
)
DRY = {"encode_kwargs": {"normalize_embeddings": False}}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *itertools.permutations([OF.lang(), OF.llama(), OF.own()], 2),
        (OF.own(FULL), OF.lang(SHORT)),
        (OF.own(query_prompt="q: "), OF.llama(query_instruction="q: ")),
        (OF.own(document_prompt="d: "), OF.lang(encode_kwargs={"prompt": "d: "})),
        (OF.own(normalize=False), OF.lang(**DRY)),
        (OF.llama(), through_llama_indexes_own(OF.lang())),
    ],
)
def test_one_model_of_sentence_transformers_is_the_same_in_each_framework(
    tmp_path, first, second, caplog
):
    pytest.importorskip("sentence_transformers")
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection(NAME, embedding_function=first).add("a", [[1.0, 2.0]])
        assert client.get_collection(NAME, embedding_function=second).count() == 1
    assert not caplog.records


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (OF.lang(), OF.llama("BAAI/bge-small-en"), "bge-small-en"),
        (OF.own(), OF.lang("BAAI/bge-small-en"), "bge-small-en"),
        (OF.own(), OF.lang(**DRY), "'normalize': False"),
        (OF.lang(**DRY), OF.llama(), "'normalize': True"),
        (OF.own(normalize=False), OF.llama(), "'normalize': True"),
        (OF.own(query_prompt="q: "), OF.llama(query_instruction="other: "), "other: "),
        (OF.own(document_prompt="d: "), OF.llama(text_instruction="other: "), "other: "),
    ],
)
def test_another_model_and_settings_that_contradict_are_refused(tmp_path, first, second, expected):
    pytest.importorskip("sentence_transformers")
    for one, other in ((first, second), (second, first)):
        with retrieval_store.Client() as client:
            client.create_collection(NAME, embedding_function=one).add("a", [[1.0, 2.0]])
            with pytest.raises(ConflictError) as refused:
                client.get_collection(NAME, embedding_function=other)
            assert expected in str(refused.value)


@pytest.mark.models
def test_the_frameworks_own_classes_of_one_model_search_each_others_collections(tmp_path, caplog):
    lang = pytest.importorskip("langchain_huggingface").HuggingFaceEmbeddings
    llama = pytest.importorskip("llama_index.embeddings.huggingface").HuggingFaceEmbedding
    path = str(weights_folder())
    functions = [
        FromLangChain(lang(model_name=path)),
        FromLlamaIndex(llama(model_name=path)),
        FromLlamaIndex(LangchainEmbedding(lang(model_name=path))),
        SentenceTransformerEmbeddingFunction(path),
    ]
    texts = ["A small boat.", "Bread and butter."]
    caplog.set_level(logging.WARNING, "retrieval_store")
    with retrieval_store.Client(tmp_path) as client:
        for i, function in enumerate(functions):
            made = client.create_collection(f"of-{i}", embedding_function=function)
            made.add(["boat", "bread"], documents=texts)
            for other in functions:
                again = client.get_collection(f"of-{i}", embedding_function=other)
                found = again.query(query_texts=texts[0], n_results=1)
                assert found["ids"] == [["boat"]]
                assert abs(found["distances"][0][0]) < 1e-5
        dry = FromLangChain(lang(model_name=path, **DRY))
        with pytest.raises(ConflictError, match="'normalize': False"):
            client.get_collection("of-3", embedding_function=dry)
    assert not [one for one in caplog.records if one.name.startswith("retrieval_store")]


def test_a_client_takes_embeddings_of_frameworks_as_they_are(client):
    for i, embedding in enumerate((AsLangChain("wordllama"), AsLlamaIndex("wordllama"))):
        made = client.create_collection(f"{NAME}-{i}", embedding_function=embedding)
        assert made.configuration["embedding_function"] == WORDLLAMA
        made.add("a", documents="A small boat.")
        assert made.query(query_texts="ship")["ids"] == [["a"]]
    for i, model in enumerate((HuggingFaceEmbeddings(FULL), HuggingFaceEmbedding(FULL))):
        made = client.create_collection(f"own-{i}", embedding_function=model)
        made.add("a", documents="A small boat.")
        again = client.get_collection(f"own-{i}", embedding_function=model)
        assert again.query(query_texts="ship")["ids"] == [["a"]]


def test_langchains_store_takes_an_embedding_of_llama_indexes(tmp_path):
    for embedding in (AsLlamaIndex("wordllama"), MockEmbedding(3)):
        name = type(embedding).__name__
        with RetrievalStore(embedding, path=tmp_path, collection_name=name) as store:
            store.add_texts(["A small boat."], ids=["a"])
            assert [one.id for one in store.similarity_search("ship")] == ["a"]
