"""A chat over a folder of files, whose answers name their sources.

    python examples/ask_a_folder.py [FOLDER] [--ask QUESTION] [--address URL --model NAME]

The program reads Markdown, PDF, Word and other files into a store. The next run reads only changed
files. Hybrid queries find passages, and a re-ranker compares the best of them word by word.
--address: the URL of an API like OpenAI's, such as Ollama's http://localhost:11434/v1; an API key
is read from OPENAI_API_KEY. Without --address, the best passages are the answer. The default FOLDER
is this project's documentation.

Needs: pip install . ./integrations/files, in a checkout
"""

import argparse
import json
import os
import sys
import textwrap
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import retrieval_store
from retrieval_store_files import cite, sync_folder

DOCS = Path(__file__).resolve().parents[1] / "docs"
QUESTIONS = [
    "Does a write survive a power cut?",
    "How do I search by a code such as E4711?",
    "How do I back up a store while others write?",
]
PASSAGES = 4  # for one answer
REMEMBERED = 6  # messages of the conversation that the model gets again
TASK = (
    "Answer from the numbered passages alone, in a few sentences, and name the numbers of those "
    "that you used, like [1]. If they don't answer the question, say so."
)


class Chat:
    """Answers questions about the files of a folder, from a collection."""

    def __init__(
        self, files: retrieval_store.Collection, folder: Path, address: str | None, model: str
    ) -> None:
        self._files, self._folder, self._address, self._model = files, folder, address, model
        self._said: list[dict[str, str]] = []

    def answer(self, question: str) -> str:
        """The answer, and below it its sources."""
        found = self._files.query(
            query_texts=question,
            where={"source": str(self._folder)},
            mode="hybrid",
            rerank="tokens",
            n_results=PASSAGES,
        )
        texts, places = found["documents"][0], [cite(one) for one in found["metadatas"][0]]
        sources = [f"[{number}] {place}" for number, place in enumerate(places, 1)]
        if self._address is None:
            shown = (textwrap.shorten(text, 300) for text in texts)
            return "\n".join(
                f"{source}\n    {text}" for source, text in zip(sources, shown, strict=True)
            )
        passages = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(texts, 1))
        asked = {"role": "user", "content": f"{passages}\n\nQuestion: {question}"}
        system = {"role": "system", "content": TASK}
        answered = self._ask_model([system, *self._said[-REMEMBERED:], asked])
        self._said += [{"role": "user", "content": question}]
        self._said += [{"role": "assistant", "content": answered}]
        return "\n".join([answered, *(f"  {source}" for source in sources)])

    def _ask_model(self, messages: list[dict[str, str]]) -> str:
        body = json.dumps({"model": self._model, "messages": messages}).encode()
        key = os.environ.get("OPENAI_API_KEY", "none")
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        request = urllib.request.Request(f"{self._address}/chat/completions", body, headers)
        with urllib.request.urlopen(request, timeout=300) as response:
            choices: list[dict[str, Any]] = json.load(response)["choices"]
        return str(choices[0]["message"]["content"])


def typed() -> Iterable[str]:
    """Yield questions from the keyboard, until the end of the input."""
    print("\nAsk, or press Ctrl-D to end:", flush=True)
    return (line.strip() for line in sys.stdin if line.strip())


def main() -> None:
    """Sync the store with the folder, then answer questions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="of files; these docs if left out")
    parser.add_argument("--ask", action="append", metavar="QUESTION", help="may come repeatedly")
    parser.add_argument("--address", help="of an API like OpenAI's")
    parser.add_argument("--model", default="llama3.2", help="its name there")
    parser.add_argument("--store", default="folder_store", help="a directory, made if needed")
    chosen = parser.parse_args()
    folder = (chosen.folder or DOCS).resolve()
    if not folder.is_dir():
        parser.error(f"{folder} is no folder")
    with retrieval_store.Client(chosen.store) as client:
        files = client.get_or_create_collection("files", embedding_function="wordllama")
        # Ids begin with the folder, since several folders may have files of the same name. JSON is
        # left out, since its numbers answer no question.
        prefix = f"{folder}/"
        report = sync_folder(
            files, folder, prefix=prefix, kind="texts", exclude="*.json", allow_empty=True
        )
        print(report)
        chat = Chat(files, folder, chosen.address, chosen.model)
        for question in chosen.ask or (typed() if chosen.folder else QUESTIONS):
            print(f"\n? {question}\n{chat.answer(question)}", flush=True)


if __name__ == "__main__":
    main()
