"""Answer questions about Python from its own documentation, with LlamaIndex.

    python examples/llama_index_rag.py [--ask QUESTION] [FOLDER OF THE STORE]

The program needs no network. The texts are Python's language reference (as in `help()`), and
wordllama embeds them. LlamaIndex's mock, which repeats its prompt, replaces the language model; put
your own in its place.

Needs: pip install . ./integrations/files ./integrations/llama_index
"""

import argparse
import tempfile
from pydoc_data.topics import topics

from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.vector_stores.retrieval_store import RetrievalStoreVectorStore

from retrieval_store.embeddings.wordllama import WordLlamaEmbedding

QUESTIONS = ["What happens in a finally clause?", "How are slices written?"]
EMBED = WordLlamaEmbedding()


class WordLlama(BaseEmbedding):
    """wordllama as an embedding of LlamaIndex."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return EMBED([text])[0].tolist()

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return EMBED(texts).tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def nodes() -> list[TextNode]:
    """The language reference, cut into paragraphs. Each topic is the document of its nodes."""
    return [
        TextNode(
            id_=f"{topic}-{i}",
            text=text,
            metadata={"topic": topic},
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=topic)},
        )
        for topic, page in topics.items()
        for i, text in enumerate(page.split("\n\n"))
        if len(text.split()) >= 12
    ]


def main() -> None:
    """Index the texts, ask, and print the answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", help="of the store; a temporary one if left out")
    parser.add_argument("--ask", action="append", help="a question of your own")
    chosen = parser.parse_args()
    embedding = WordLlama(embed_batch_size=512)
    with (
        tempfile.TemporaryDirectory() as temporary,
        RetrievalStoreVectorStore(path=chosen.folder or temporary) as store,
    ):
        if store.client.count():
            index = VectorStoreIndex.from_vector_store(store, embed_model=embedding)
        else:
            context = StorageContext.from_defaults(vector_store=store)
            index = VectorStoreIndex(nodes(), storage_context=context, embed_model=embedding)
        print(f"{store.client.count():,} nodes of the language reference")
        for question in chosen.ask or QUESTIONS:
            print(f"\n? {question}")
            retriever = index.as_retriever(
                similarity_top_k=3, vector_store_query_mode="hybrid", alpha=0.6
            )
            for found in retriever.retrieve(question):
                text = " ".join(found.node.get_content().split())
                print(f"  {found.score:.3f} {found.node.metadata['topic']}: {text[:80]}")
            topic = retriever.retrieve(question)[0].node.metadata["topic"]
            only = MetadataFilters(filters=[MetadataFilter(key="topic", value=topic)])
            engine = index.as_query_engine(llm=MockLLM(max_tokens=12), filters=only)
            print(f"  [a mock language model, from the topic {topic!r}]: {engine.query(question)}")


if __name__ == "__main__":
    main()
