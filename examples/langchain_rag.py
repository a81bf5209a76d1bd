"""Answer questions about Python from its own documentation, with LangChain.

    python examples/langchain_rag.py [--ask QUESTION] [FOLDER OF THE STORE]

The program needs no network. The texts are Python's language reference (as in `help()`), and
wordllama embeds them. A function that repeats its prompt replaces the language model; put your own
chat model in its place.

Needs: pip install . ./integrations/files ./integrations/langchain langchain-text-splitters
"""

import argparse
import tempfile
from pydoc_data.topics import topics

from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_retrieval_store import RetrievalStore

from retrieval_store.embeddings.wordllama import WordLlamaEmbedding

QUESTIONS = ["What happens in a finally clause?", "How are slices written?"]


def passages() -> list[Document]:
    """The language reference, cut into paragraphs."""
    return [
        Document(id=f"{topic}-{i}", page_content=" ".join(text.split()), metadata={"topic": topic})
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
    with (
        tempfile.TemporaryDirectory() as temporary,
        RetrievalStore(WordLlamaEmbedding(), path=chosen.folder or temporary) as store,
    ):
        documents = passages()
        if store.collection.count() < len(documents):
            store.add_documents(documents)
        print(f"{store.collection.count():,} passages of the language reference")
        prompt = ChatPromptTemplate.from_template(
            "Answer from this alone:\n{context}\n\n{question}"
        )
        model = FakeListChatModel(
            responses=["[no real language model here: see the passages above for the answer]"]
        )
        for question in chosen.ask or QUESTIONS:
            retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 3, "fetch_k": 12})
            found = retriever.invoke(question)
            print(f"\n? {question}")
            for document in found:
                print(f"  {document.metadata['topic']}: {document.page_content[:90]}")
            chain = (
                {
                    "context": lambda _, found=found: "\n".join(d.page_content for d in found),
                    "question": RunnablePassthrough(),
                }
                | prompt
                | model
                | StrOutputParser()
            )
            print(f"  {chain.invoke(question)}")


if __name__ == "__main__":
    main()
