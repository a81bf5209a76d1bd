"""Ask your own notes, with LangChain: answers with their sources, file and line.

    python examples/ask_your_notes.py [FOLDER] [--ask QUESTION] [--model NAME]

Reads the .md, .txt and .rst files of a folder, cuts them into passages and keeps these in a store.
Run again, only files whose content has changed are read into it anew, and what was deleted goes.
Passages are found by meaning and by words at once. Without FOLDER it writes ten sample notes
beside the store; with FOLDER and no question it reads questions from the keyboard.

Nothing is downloaded: wordllama embeds, and in the place of a language model stands one that only
quotes. For a real one, `pip install langchain` with the package of your model, and for example
`--model ollama:llama3.2`: any name that LangChain's `init_chat_model` knows.

Needs: pip install "retrieval-store[langchain,standard,text]" langchain-text-splitters
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import SimpleChatModel
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_retrieval_store import RetrievalStore
from langchain_text_splitters import RecursiveCharacterTextSplitter

from retrieval_store.embeddings.wordllama import WordLlamaEmbedding

CHARACTERS = 500  # of a passage, at most
PASSAGES = 4  # that an answer is made from
SUFFIXES = {".md", ".rst", ".txt"}
# `## So`, or a line with ==== or ---- below it. Neither is looked for between the two --- that a
# note may begin with, nor in code between ```, whose # are comments.
HEADING = re.compile(
    r"\A---\n.*?^---$|^```.*?^```|^(#{1,6}) +([^\n]+?)[ #]*$|^(\S[^\n]*)\n([=~^\"-])\4{2,}$",
    re.MULTILINE | re.DOTALL,
)
PROMPT = ChatPromptTemplate.from_template(
    "Answer the question from these passages of my notes alone, in a few sentences, and name the"
    " numbers of those you used, like [1]. If they don't answer it, say so.\n\n"
    "{passages}\n\nQuestion: {question}"
)


class NoModel(SimpleChatModel):
    """Stands in for a language model: it understands nothing, and quotes the best passages."""

    def _call(self, messages: list[BaseMessage], *_: Any, **__: Any) -> str:
        _, *passages = re.split(r"^(?=\[\d+\] )", str(messages[-1].content), flags=re.MULTILINE)
        quoted = "\n".join(f"    {line}" for line in "".join(passages[:2]).strip().splitlines())
        return f"(no language model here; the best passages, word for word)\n{quoted}"

    @property
    def _llm_type(self) -> str:
        return "none"


def note_files(folder: Path, store: Path) -> dict[str, Path]:
    """The notes by their paths within the folder, without what is hidden or the store's."""
    files = {
        path.relative_to(folder): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file() and store not in path.parents
    }
    return {
        short.as_posix(): path
        for short, path in files.items()
        if not any(part.startswith(".") for part in short.parts)
    }


def fingerprint(content: bytes) -> str:
    """Differs when a note does, or how notes are cut."""
    return hashlib.sha256(b"%d " % CHARACTERS + content).hexdigest()


def sections(text: str) -> Iterator[tuple[int, list[str], str]]:
    """What stands below each heading: where that begins, the headings above it, and the text."""
    above: dict[int, str] = {}
    lines: list[str] = []  # with which headings are underlined: levels, in the order they come
    begin = 0
    for match in HEADING.finditer(text):
        hashes, said, underlined, line = match.groups()
        if hashes or line:
            yield begin, list(above.values()), text[begin : match.start()]
            lines += [line] if line and line not in lines else []
            level = len(hashes) if hashes else lines.index(line) + 1
            above = {upper: words for upper, words in above.items() if upper < level}
            above[level] = said or underlined
            begin = match.end()
    yield begin, list(above.values()), text[begin:]


def passages(name: str, content: bytes) -> list[Document]:
    """A note in passages, each of which says where it stands."""
    text = content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=CHARACTERS, chunk_overlap=0, add_start_index=True
    )
    found = []
    for begin, above, section in sections(text):
        heading = " › ".join(above) or Path(name).stem
        for piece in splitter.create_documents([section]):
            start = begin + piece.metadata["start_index"]
            told = {
                "path": name,
                "line": text.count("\n", 0, start) + 1,
                "fingerprint": fingerprint(content),
            }
            # The headings are part of it: "Pressure" alone doesn't say that it's the boiler's.
            said = f"{heading}\n{piece.page_content}"
            found.append(Document(id=f"{name}:{start}", page_content=said, metadata=told))
    if not found:  # nothing but headings, which then are what it says
        told = {"path": name, "line": 1, "fingerprint": fingerprint(content)}
        said = f"{Path(name).stem}\n{text.strip()}"
        found.append(Document(id=f"{name}:0", page_content=said, metadata=told))
    return found


def index(store: RetrievalStore, files: dict[str, Path]) -> None:
    """Bring the store in step with the files."""
    held = store.collection.get(include=["metadatas"])["metadatas"]
    known = {one["path"]: one["fingerprint"] for one in held}
    contents = {name: path.read_bytes() for name, path in files.items()}
    changed = [name for name in files if known.get(name) != fingerprint(contents[name])]
    stale = [name for name in known if name in changed or name not in files]
    # Old passages go first: if this is broken off in between, a changed note isn't known any more,
    # and the next run takes it in. Each of the two writes is done as a whole or not at all.
    if stale:
        store.delete(filter={"path": {"$in": stale}})
    store.add_documents([one for name in changed for one in passages(name, contents[name])])
    gone, count = len(known.keys() - files.keys()), store.collection.count()
    print(
        f"{len(files)} notes in {count} passages; new or changed: {len(changed)}, gone: {gone},"
        f" as before: {len(files) - len(changed)}"
    )


def answer(store: RetrievalStore, model: BaseChatModel, question: str) -> None:
    """Print what the model says, as it comes, and the sources of it."""
    retriever = store.as_retriever(
        search_type="hybrid",
        search_kwargs={"k": PASSAGES},
    )
    found = retriever.invoke(question)
    sources = [f"[{i}] {source(passage)}" for i, passage in enumerate(found, 1)]
    shown = [f"{of}\n{one.page_content}" for of, one in zip(sources, found, strict=True)]
    print(f"\n? {question}")
    chain = PROMPT | model | StrOutputParser()
    for piece in chain.stream({"passages": "\n\n".join(shown), "question": question}):
        print(piece, end="", flush=True)
    print("\n  Sources:", *sources, sep="\n    ")


def source(passage: Document) -> str:
    """Where a passage stands, as editors open it."""
    heading = passage.page_content.partition("\n")[0]
    return f"{passage.metadata['path']}:{passage.metadata['line']} ({heading})"


def chat_model(name: str | None) -> BaseChatModel:
    """LangChain's model of this name; without one the stand-in."""
    if name is None:
        return NoModel()
    try:
        from langchain.chat_models import init_chat_model

        return init_chat_model(name)
    except (ImportError, ValueError) as error:
        sys.exit(
            f"--model {name}: {error}\nIt needs `pip install langchain`, the package of the model"
            " (for ollama:… langchain-ollama) and, where its provider wants one, a key."
        )


def typed() -> Iterator[str]:
    """Questions from the keyboard, until one is empty."""
    print("\nAsk, or press Enter to end:", flush=True)
    for line in sys.stdin:
        if not line.strip():
            return
        yield line.strip()


def write_samples(folder: Path) -> None:
    """The sample notes, unless they are there: what you change in them stays."""
    if not folder.exists():
        folder.mkdir(parents=True)
        for name, text in SAMPLES.items():
            (folder / name).write_text(text, encoding="utf-8")


def main() -> None:
    """Index, ask, answer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="of notes; sample notes if left out")
    parser.add_argument("--ask", action="append", metavar="QUESTION", help="may come repeatedly")
    parser.add_argument("--model", metavar="NAME", help="of a chat model, as in ollama:llama3.2")
    parser.add_argument("--store", type=Path, default=Path("notes_store"), help="its directory")
    chosen = parser.parse_args()
    model, where = chat_model(chosen.model), chosen.store.resolve()
    questions: Iterable[str] = chosen.ask or (typed() if chosen.folder else QUESTIONS)
    if chosen.folder is None:
        write_samples(where / "sample_notes")
    folder = (chosen.folder or where / "sample_notes").resolve()
    if not folder.is_dir():
        parser.error(f"{folder} is no folder")
    with RetrievalStore(
        WordLlamaEmbedding(),
        path=where / "passages",
        # One collection for each folder, or notes of another would look as if they were deleted.
        collection_name=f"notes-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}",
        configuration={"text": {"language": "english", "stopwords": True}},
    ) as store:
        index(store, note_files(folder, where / "passages"))
        for question in questions:
            answer(store, model, question)


QUESTIONS = [
    "How do I restore the database from the nightly dump?",
    "When does the sourdough go into the fridge?",
    "What is the pressure of the boiler supposed to be?",
    "error E4711",
]
SAMPLES = {
    "sourdough.md": """\
# Sourdough

Makes two loaves. The starter lives in the door of the fridge; feed it on Friday evening.

## Dough

- 900 g flour (a fifth of it rye), 620 g water, 18 g salt, 200 g starter
- Mix everything but the salt, wait half an hour, then knead the salt in.
- Four folds in the first two hours, then leave it alone until it has grown by half.

## Proofing and baking

Shape the loaves at nine in the evening and put them into the fridge overnight, covered, 10 to 14
hours. Bake straight from the fridge: 20 minutes at 250 °C with the lid on, 25 minutes at 220 °C
without it. Last time the crust was too dark: put a tray below.
""",
    "postgres-restore.md": """\
# Restoring the database

The dump is made at 03:15 every night on `atlas` and kept for 14 days under `/srv/backup/pg`.

## Steps

1. Stop the application, so that nobody writes: `systemctl stop shop`.
2. Make an empty database beside the old one: `createdb shop_restored`.
3. Load the dump with four jobs:

```sh
# takes some 25 minutes
pg_restore --jobs 4 --no-owner --dbname shop_restored /srv/backup/pg/shop-latest.dump
```

4. Look at the newest order, then rename the databases and start the application.

## What went wrong in May

The disk of atlas was full, so the dump of three nights was empty and nobody noticed. Since then
the job sends a mail if the file is smaller than the day before.
""",
    "boiler.rst": """\
Boiler
======

Installed in 2019, serviced every September by Mrs Novak (the number is on the lid).

Pressure
--------

The needle should stand between 1.2 and 1.8 bar when the heating is cold. Below 1.0 it switches
itself off: open the blue tap behind it until the needle is at 1.5, then close it again.

Errors
------

F28: no gas; is the yellow tap open? F75: the pump or its sensor. E4711: the pump has stopped;
switch the boiler off, wait five minutes, switch it on. If it comes back, call Mrs Novak.
""",
    "lisbon.md": """\
# Lisbon, 3 to 9 October

## Getting there

Train to Paris on the 3rd at 07:52, night there, flight at 10:40. The way back is by plane all the
way; the suitcase may have 23 kg.

## To do

- Tram 28 early in the morning, before the queues
- Tile museum: free on the first Sunday of the month, closed on Mondays
- Day trip to Sintra by train from Rossio, 40 minutes; buy the ticket of the palace the day before
- Ana recommends the fish place in Rua da Bica, cash only
""",
    "bicycle.md": """\
# Bicycle

## Service in spring

Chain: replace it when the gauge says 0.75 % (it did after 3,100 km). Brake pads: less than 2 mm
is too little. Tyres: 4.5 bar in front, 5 bar behind, half a bar less when it rains.

## Squeaking

It was not the bottom bracket but the seat post. Take it out, clean it, grease it, put it back to
the mark at 71 cm.
""",
    "garden.txt": """\
Garden calendar

February: sow peppers and aubergines indoors, they take long. Prune the apple tree on a dry day.

March: prune the roses when the forsythia blooms. Sow peas, spinach, broad beans outside.

May: tomatoes go out after the 15th, not before; last year frost killed six of them on the 11th.
Water them in the morning and only at the root, or they get blight.

October: plant garlic and tulips. Leaves go onto the beds, not into the bin.
""",
    "network.md": """\
# Home network

The router is at 192.168.7.1; its password is in the password manager under "cupboard".

## Slow Wi-Fi in the attic

The repeater was on channel 1 like everybody's in this street. On channel 11 it does 140 Mbit/s.
If it blinks orange, hold the button at the back for ten seconds and wait.

## Printer

Fixed address 192.168.7.40. When it is "offline" again: switch it off and on, then delete the
queue, in this order.
""",
    "team-meeting.md": """\
# Team meeting, 12 June

Present: Ines, Tom, Farid, me.

## Decisions

- We release every second Tuesday, starting on 24 June. Farid cuts the branch on the Friday before.
- No new features for the old importer; Tom writes to the three customers who still use it.
- Search results get a "why this?" link. Ines makes a sketch until next week.

## Open

Who is on call in August? Tom and I are away in the first two weeks.
""",
    "cat.txt": """\
Misha (the cat)

Vaccination every year in November at Dr Weber's; the next one is also against rabies.
Weight: 4.9 kg in April, which is a bit much. Dry food: 45 g a day, in two portions, no milk.
When we are away the neighbour's daughter comes; the key is with Mrs Lind on the second floor.
""",
    "reading.md": """\
# Reading

## Middlemarch

Slow for a hundred pages, then impossible to put down. "The growing good of the world is partly
dependent on unhistoric acts" — for the talk on maintenance work.

## A book on sleep

Its point about caffeine: half of it is still there after five to six hours, so no coffee after
two in the afternoon. Not convinced by the chapter on dreams.
""",
}


if __name__ == "__main__":
    main()
