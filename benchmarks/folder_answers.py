r"""How often a question finds its answer in a folder of documentation, and what a sync costs.

The folder is made of what Debian installs under /usr/share/doc: pages of Python's documentation in
HTML, of Node.js's in Markdown, and the manuals of seven packages in PDF:

    apt-get install python3-doc nodejs-doc bzip2-doc fontconfig libtasn1-doc nettle-dev \
        shared-mime-info valgrind zlib1g-dev

Each question was written, and its place read by eye, before any was asked; a hit counts if its file
is the right one and, in a PDF, its page one of those on which the answer is.

    python -m benchmarks.folder_answers [--model minilm] [--doc /usr/share/doc]
"""

import argparse
import gzip
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import retrieval_store
from retrieval_store.exchange import sync_folder

HTML = ("python3-doc/html/tutorial", "python3-doc/html/howto", "python3-doc/html/faq")
HTML_OF = "python3-doc/html/library"
MODULES = (
    "argparse", "array", "asyncio-task", "atexit", "base64", "bisect", "calendar", "codecs",
    "collections", "concurrent.futures", "configparser", "contextlib", "copy", "csv",
    "dataclasses", "datetime", "decimal", "difflib", "email.examples", "enum", "errno",
    "filecmp", "fileinput", "fnmatch", "fractions", "functools", "getpass", "glob", "gzip",
    "hashlib", "heapq", "html", "http.server", "imaplib", "inspect", "io", "ipaddress",
    "itertools", "json", "locale", "logging.handlers", "mimetypes", "mmap", "multiprocessing",
    "operator", "os.path", "pathlib", "pdb", "pickle", "platform", "pprint", "profile", "queue",
    "random", "re", "sched", "secrets", "select", "shelve", "shlex", "shutil", "signal",
    "smtplib", "socket", "socketserver", "sqlite3", "ssl", "statistics", "string", "struct",
    "subprocess", "tempfile", "textwrap", "threading", "timeit", "tokenize", "traceback",
    "types", "typing", "unicodedata", "unittest.mock", "urllib.parse", "uuid", "venv",
    "warnings", "weakref", "xml.etree.elementtree", "zipfile", "zoneinfo",
)  # fmt: skip
MARKDOWN, MOST = "nodejs/api", 130_000  # bytes of a page
PDFS = {
    "bzip2.pdf": "bzip2/manual.pdf.gz",
    "crc.pdf": "zlib1g-dev/crc-doc.1.0.pdf.gz",
    "fontconfig.pdf": "fontconfig/fontconfig-user.pdf.gz",
    "libtasn1.pdf": "libtasn1-doc/libtasn1.pdf",
    "nettle.pdf": "nettle-dev/nettle.pdf.gz",
    "shared-mime-info.pdf": "shared-mime-info/shared-mime-info-spec.pdf",
    "valgrind.pdf": "valgrind/valgrind_manual.pdf.gz",
}
# A question, the file with the answer, and the pages of a PDF.
QUESTIONS: list[tuple[str, str, tuple[int, ...]]] = [
    ("my .bz2 archive is corrupt, can anything in it be saved?", "bzip2.pdf", (7, 9, 10)),
    ("how much memory does it take to unpack a bz2 file made with -9?", "bzip2.pdf", (8, 9)),
    (
        "see where undefined bytes come from that the checker complains about",
        "valgrind.pdf",
        (6, 74, 83, 198),
    ),
    (
        "stop reports of errors in a library that I can't change",
        "valgrind.pdf",
        (15, 18, 19, 20, 29, 85),
    ),
    (
        "draw a graph of the heap that my program uses over time",
        "valgrind.pdf",
        (163, 164, 165, 166),
    ),
    ("turn a passphrase into an encryption key", "nettle.pdf", (74, 75, 76)),
    (
        "which hash functions should new programs avoid since collisions are known?",
        "nettle.pdf",
        (13, 22),
    ),
    ("why is the process id a bad seed for cryptographic random numbers?", "nettle.pdf", (95,)),
    ("make C source out of a file of ASN.1 definitions", "libtasn1.pdf", (8,)),
    (
        "should a file manager look at the name or at the contents of a file first?",
        "shared-mime-info.pdf",
        (14,),
    ),
    ("where do I put font settings that are mine alone?", "fontconfig.pdf", (1, 10, 11, 12)),
    (
        "how many processor cycles for each byte does the fastest checksum need?",
        "crc.pdf",
        (1, 23, 24, 25),
    ),
    ("keep only the last ten items that were added", "library/collections.html", ()),
    ("read settings from an .ini file with sections", "library/configparser.html", ()),
    ("is it safe for two threads to append to one list?", "faq/library.html", ()),
    ("why does a list as a default argument remember earlier calls?", "faq/programming.html", ()),
    ("a directory that disappears when I am done with it", "library/tempfile.html", ()),
    ("measure how long a small piece of code takes", "library/timeit.html", ()),
    ("copy a list together with the lists in it", "library/copy.html", ()),
    ("send a mail with a picture attached", "library/email.examples.html", ()),
    ("call a function with arguments that are in a list already", "tutorial/controlflow.html", ()),
    ("sort by one column, and where it is equal by another", "howto/sorting.html", ()),
    ("why isn't .1 + .2 equal to .3?", "tutorial/floatingpoint.html", ()),
    ("log each access to an attribute of my objects", "howto/descriptor.html", ()),
    ("read a huge file one line at a time in Node", "readline.md", ()),
    ("several processes that listen on one port", "cluster.md", ()),
    ("start another program and read what it prints, in JavaScript", "child_process.md", ()),
    ("compress a response with brotli", "zlib.md", ()),
    ("look up the mail servers of a domain", "dns.md", ()),
    ("how many processors and how much free memory does this machine have?", "os.md", ()),
]
SHOWN = 5


def make_folder(doc: Path, folder: Path) -> None:
    """Copy the documentation."""
    for place in HTML:
        shutil.copytree(doc / place, folder / Path(place).name)
    (folder / "library").mkdir()
    for name in MODULES:
        shutil.copy(doc / HTML_OF / f"{name}.html", folder / "library")
    (folder / "node").mkdir()
    for path in sorted((doc / MARKDOWN).glob("*.md")):
        if path.stat().st_size <= MOST:
            shutil.copy(path, folder / "node")
    for name, place in PDFS.items():
        data = (doc / place).read_bytes()
        (folder / name).write_bytes(gzip.decompress(data) if place.endswith(".gz") else data)


def ranks(collection: Any, mode: str) -> list[int | None]:
    """For each question the place of the first right hit, from 1."""
    found = collection.query(
        query_texts=[question for question, _, _ in QUESTIONS], mode=mode, n_results=SHOWN
    )
    places: list[int | None] = []
    for (_, file, pages), hits in zip(QUESTIONS, found["metadatas"], strict=True):
        right = [
            one["path"].endswith(file) and (not pages or one.get("page") in pages) for one in hits
        ]
        places.append(right.index(True) + 1 if True in right else None)
    return places


def model_of(name: str) -> Any:
    """The embedding function of this name."""
    if name == "minilm":
        return retrieval_store.MiniLMEmbedding()
    return retrieval_store.WordLlamaEmbedding()


def timed(collection: Any, folder: Path) -> tuple[Any, float]:
    """The report of a sync, and its seconds."""
    before = time.perf_counter()
    report = sync_folder(collection, folder)
    return report, time.perf_counter() - before


def answers(doc: Path, model: str, place: Path) -> None:
    """Sync the documentation, and ask the questions."""
    folder = place / "docs"
    folder.mkdir()
    make_folder(doc, folder)
    with retrieval_store.Client(place / "store") as client:
        docs = client.create_collection("docs", embedding_function=model_of(model))
        report, seconds = timed(docs, folder)
        print(f"{report}: {docs.count():,} passages, {seconds:.1f} s")
        for one in (*report.unreadable, *report.gaps):
            print(f"  {one.path.relative_to(folder)}: {one.why}")
        print(f"again: {timed(docs, folder)[1]:.2f} s")
        for mode in ("dense", "hybrid"):
            places = ranks(docs, mode)
            right = sum(one is not None for one in places)
            print(f"{model}, {mode}: {right} of {len(QUESTIONS)} among the first {SHOWN}")
            for (question, file, _), rank in zip(QUESTIONS, places, strict=True):
                print(f"  {rank or '-'}  {question} ({file})")


def many(place: Path, model: str, files: int = 5_000) -> None:
    """What a sync of many small files costs."""
    folder = place / "many"
    for i in range(files):
        path = folder / f"{i // 100}" / f"{i}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"# Note {i}\n\n" + f"The note {i} is about ships that sail far away. " * 20
        )
    with retrieval_store.Client(place / "many-store") as client:
        function = model_of(model)
        notes = client.create_collection("notes", embedding_function=function)
        print(f"{files:,} files: {timed(notes, folder)[1]:.1f} s")
        print(f"again: {timed(notes, folder)[1]:.2f} s")
        changed = "# Other\n\nWords that were changed."
        (folder / "3" / "333.md").write_text(changed)
        before = time.perf_counter()
        function([changed])
        embedding = time.perf_counter() - before
        seconds = timed(notes, folder)[1]
        print(f"one changed: {seconds:.2f} s, of which {embedding:.3f} s to embed it")


def main() -> None:
    """Measure as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--doc", type=Path, default=Path("/usr/share/doc"))
    parser.add_argument("--model", choices=["wordllama", "minilm"], default="wordllama")
    options = parser.parse_args()
    print(platform.processor() or platform.machine(), platform.python_version())
    with tempfile.TemporaryDirectory() as folder:
        answers(options.doc, options.model, Path(folder))
        many(Path(folder), options.model)


if __name__ == "__main__":
    main()
