"""How often a question finds its answer in a folder of files, and the cost of syncing one.

    python benchmarks/folder_answers.py --make FOLDER
    python benchmarks/folder_answers.py [--model wordllama] [--doc FOLDER ...] [--whole FOLDER]
                                        [--files 5000] [--output FOLDER]

It needs these packages of Debian's documentation, in /usr/share/doc, or in folders made by `apt-get
download` and `dpkg-deb -x`, which --doc names:

    apt-get install python3-doc bash-doc dvdisaster-doc libconfig-doc ne-doc speex-doc xmlstarlet

Of Python's library reference only the pages in MODULES are used, so that a model embeds all of them
in minutes. The fifty files that --make creates are added. The questions are in
folder_questions.json, each with all pages that answer it. They were written from the pages before
any query ran, and are never changed because of results. A hit counts if its file is right and, in a
PDF, its page.

With --whole, a folder such as /usr/share/doc is read without embedding, to check that each file is
read or reported. --tests-model uses the test weights of minilm. Prints JSON, and saves it.
"""

import argparse
import gzip
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from folder_files import BROKEN, make, mark_of
from runs import save

import retrieval_store
from retrieval_store_files import sync_folder

SHOWN = 5
QUESTIONS = json.loads(Path(__file__).with_name("folder_questions.json").read_text())
HTML = "python3-doc/html"
MODULES = "dhsz"  # what a page of the library begins with
LOCATIONS = (
    *(f"{HTML}/{one}/*.html" for one in ("tutorial", "howto", "faq", "using", "extending")),
    f"{HTML}/library/[{MODULES}]*.html",
    "bash-doc/bashref.pdf",
    "dvdisaster/manual.pdf.gz",
    "libconfig-doc/libconfig.pdf.gz",
    "ne-doc/ne.pdf.gz",
    "speex/manual.pdf.gz",
    "xmlstarlet/xmlstarlet-ug.pdf.gz",
    "dpkg/spec/*.txt",
    "util-linux/*.txt",
    "apt/README.md.gz",
    "base-files/*",
    "git/README*",
    "git/RelNotes/2.3?.0.txt",
)
Settings = dict[str, Any]
MODES: dict[str, Settings] = {
    "default": {},
    "hybrid": {"mode": "hybrid"},
    "re-ranked": {"mode": "hybrid", "rerank": "tokens"},
}


def copied(docs: Iterable[Path], folder: Path) -> list[str]:
    """Copy the documentation into a folder, unpacked. Returns the places without documentation."""
    missing = []
    for place in LOCATIONS:
        found = [(doc, path) for doc in docs for path in sorted(doc.glob(place))]
        for doc, path in found:
            if not path.is_file():
                continue
            target = folder / str(path.relative_to(doc)).removesuffix(".gz")
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".gz":
                target.write_bytes(gzip.decompress(path.read_bytes()))
            else:
                shutil.copyfile(path, target)
        if not found:
            missing.append(place)
    return missing


def model_of(name: str) -> Any:
    """The embedding function of this name, loaded."""
    made = {"wordllama": "WordLlamaEmbedding", "minilm": "MiniLMEmbedding"}[name]
    function = getattr(retrieval_store, made)()
    function(["a text, so that the model is loaded"])
    return function


class Timed:
    """An embedding function that records how long its calls took."""

    def __init__(self, function: Any) -> None:
        self._function, self.seconds, self.texts = function, 0.0, 0

    def __call__(self, input: list[str]) -> Any:
        start = time.perf_counter()
        made = self._function(input)
        self.seconds += time.perf_counter() - start
        self.texts += len(input)
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a call, and its seconds."""
    start = time.perf_counter()
    result = call()
    return result, round(time.perf_counter() - start, 3)


def figures_of_report(report: Any, folder: Path) -> dict[str, Any]:
    """Summarize a report of a sync: how many files were read, and why others weren't."""
    named: dict[str, Any] = {"read": len(report.added) + len(report.changed) + report.unchanged}
    for kind in ("left_out", "unreadable", "gaps"):
        some = getattr(report, kind)
        named[kind] = len(some)
        named[f"why {kind}"] = dict(Counter(_reason(one.why) for one in some).most_common(12))
    return named | {"neither read nor named": unnamed(report, folder)[:20]}


def _reason(why: str) -> str:
    return "".join("N" if one.isdigit() else one for one in why)[:100]


def unnamed(report: Any, folder: Path) -> list[str]:
    """The files of a folder that the report of its first sync doesn't mention."""
    said = {folder / one for one in report.added}
    said |= {one.path for one in (*report.left_out, *report.unreadable)}
    files = [one for one in sorted(folder.rglob("*")) if one.is_file()]
    return [str(one.relative_to(folder)) for one in files if not {one, *one.parents} & said]


def unread(collection: Any) -> list[str]:
    """Of the generated files, those whose own sentence is in no record."""
    found = collection.get(where={"path": {"$exists": True}}, include=["metadatas", "documents"])
    texts: dict[str, str] = {}
    for metadata, text in zip(found["metadatas"], found["documents"], strict=True):
        of = metadata["path"].removeprefix("made/")
        texts[of] = f"{texts.get(of, '')} {' '.join(text.split())}"
    return sorted(one for one in made_files() if mark_of(one) not in texts.get(one, ""))


def made_files() -> list[str]:
    """The names of the generated files that can be read."""
    from folder_files import KINDS

    names = [one for _, each in KINDS for one in each.split()]
    return [one for one in names if one not in BROKEN]


def asked(collection: Any, settings: Settings) -> list[dict[str, Any]]:
    """For each question: the rank of the first right hit, the rank of the first hit from the right
    file, and the first hit."""
    texts = [one["question"] for one in QUESTIONS]
    found = collection.query(query_texts=texts, n_results=SHOWN, **settings)
    rows = []
    for one, hits in zip(QUESTIONS, found["metadatas"], strict=True):
        files = [any(hit["path"].endswith(file) for file in one["files"]) for hit in hits]
        pages = [not one["pages"] or hit.get("page") in one["pages"] for hit in hits]
        right = [file and page for file, page in zip(files, pages, strict=True)]
        shown = [f"{hit['path']}:{hit.get('page', '')}" for hit in hits]
        ranks = {"rank": _first(right), "rank of file": _first(files)}
        rows.append({"question": one["question"], **ranks, "found": shown})
    return rows


def _first(right: list[bool]) -> int | None:
    return right.index(True) + 1 if True in right else None


def answers(docs: list[Path], embed: Any, place: Path) -> dict[str, Any]:
    """Sync the generated files and the documentation, and run the questions."""
    folder = place / "folder"
    found: dict[str, Any] = {"not made": make(folder / "made"), "not there": copied(docs, folder)}
    with retrieval_store.Client(place / "store") as client:
        things = client.create_collection("things", embedding_function=embed)
        report, seconds = timed(lambda: sync_folder(things, folder))
        found |= figures_of_report(report, folder) | {
            "passages": things.count(),
            "seconds": seconds,
        }
        found |= {"seconds of embedding": round(embed.seconds, 1)}
        found |= {"made files not read to their end": unread(things)}
        found["second sync, s"] = timed(lambda: sync_folder(things, folder))[1]
        for mode, settings in MODES.items():
            rows = asked(things, settings)
            found[f"of {len(rows)}, {mode}"] = sum(row["rank"] is not None for row in rows)
            found[f"of {len(rows)}, right file, {mode}"] = sum(
                row["rank of file"] is not None for row in rows
            )
            found[f"rows, {mode}"] = rows
    return found


def kept_up(files: int, embed: Any, place: Path) -> dict[str, Any]:
    """The cost of syncing many small files: the first sync, a second one, and one after a
    change."""
    folder = place / "many"
    for i in range(files):
        path = folder / str(i // 100) / f"{i}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# Note {i}\n\n" + f"Ship {i} sails from Kiel with salt and rope. " * 20)
    with retrieval_store.Client(place / "many-store") as client:
        things = client.create_collection("notes", embedding_function=embed)
        found: dict[str, Any] = {"files": files}
        found |= {"first sync, s": timed(lambda: sync_folder(things, folder))[1]}
        again = [timed(lambda: sync_folder(things, folder))[1] for _ in range(3)]
        found["second sync, s"] = again[0]
        found["later syncs, s"] = again[1:]
        changed = []
        for i in range(3):
            (folder / "0" / f"{i}.md").write_text(f"# Note {i}\n\nIt lies in the harbour now.\n")
            before = embed.seconds
            seconds = timed(lambda: sync_folder(things, folder))[1]
            changed.append([seconds, round(embed.seconds - before, 3)])
        found["one changed, s, and of these to embed"] = changed
    return found


def looked_through(folder: Path, place: Path) -> dict[str, Any]:
    """What a sync of a whole folder would do, according to its report."""
    with retrieval_store.Client(place / "whole-store") as client:
        function = retrieval_store.WordLlamaEmbedding()
        things = client.create_collection("whole", embedding_function=function)
        report, seconds = timed(lambda: sync_folder(things, folder, kind="texts", dry_run=True))
    passages = {"passages": report.embedded, "seconds": seconds}
    return {"folder": str(folder)} | figures_of_report(report, folder) | passages


def short(found: Any) -> Any:
    """The results without the rows of single questions, except of those without a right hit."""
    if not isinstance(found, dict):
        return found
    return {
        key: [row for row in value if row["rank"] is None] if "rows" in key else short(value)
        for key, value in found.items()
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--make", type=Path, metavar="FOLDER")
    parser.add_argument("--model", choices=["wordllama", "minilm"], default="wordllama")
    parser.add_argument("--doc", type=Path, nargs="+", default=[Path("/usr/share/doc")])
    parser.add_argument("--whole", type=Path, metavar="FOLDER")
    parser.add_argument("--files", type=int, default=5_000)
    parser.add_argument("--tests-model", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    given = parser.parse_args()
    if given.make:
        print(*make(given.make), sep="\n")
        return
    if given.tests_model:
        from tests.helpers import minilm

        minilm.install()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary).resolve()
        if given.whole:
            found["whole"] = looked_through(given.whole.resolve(), place)
        else:
            found["answers"] = answers(given.doc, Timed(model_of(given.model)), place)
            found["many"] = kept_up(given.files, Timed(model_of(given.model)), place)
    name = "folder_whole" if given.whole else f"folder_answers-{given.model}"
    packages = ["wordllama", "onnxruntime", "pypdfium2", "lxml", "python-docx", "openpyxl"]
    save(given.output, name, found, packages, model=given.model, modules=MODULES)
    print(json.dumps(short(found), indent=1))


if __name__ == "__main__":
    main()
