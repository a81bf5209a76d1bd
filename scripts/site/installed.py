"""Writes the table of docs/installed.md: the installed packages, with their makers and licences.

    python scripts/site/installed.py

Run it in an environment with `retrieval-store[standard,minilm]` and `retrieval-store-server`. The
requirements, makers, licences and sources are read from the metadata of the installed packages.
`SAID_ELSEWHERE` contains those that are missing in the metadata.
"""

import re
from email.utils import getaddresses
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path

from packaging.requirements import Requirement

PAGE = Path(__file__).resolve().parents[2] / "docs" / "installed.md"
BLOCK = re.compile(r"(<!-- generated: packages -->\n).*?(<!-- /generated -->)", re.DOTALL)
OURS = ("retrieval-store", "retrieval-store-server")
BRINGS = {  # the packages of ours, and extras
    ("retrieval-store", ""): "all",
    ("retrieval-store", "standard"): "`standard`",
    ("retrieval-store", "minilm"): "`minilm`",
    ("retrieval-store-server", ""): "server",
}
SAID_ELSEWHERE = {  # maker, licence, sources: by the sources, where the metadata says nothing
    "google-re2": ("", "BSD-3-Clause", ""),
    "httpx": ("", "BSD-3-Clause", ""),
    "orjson": ("ijl", "", ""),
    "protobuf": ("Google", "", "https://github.com/protocolbuffers/protobuf"),
    "py_rust_stemmers": ("Qdrant", "MIT", "https://github.com/qdrant/py-rust-stemmers"),
    "pysimdjson": ("Tyler Kennedy", "MIT", "https://github.com/TkTech/pysimdjson"),
    "typing_extensions": ("the typing community of CPython", "", ""),
    "wordllama": ("", "MIT", "https://github.com/dleemiller/WordLlama"),
}
CODE = r"https://github\.com/(?!sponsors/)[^/]+/[^/]+/?$"
SHORT = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "any-OSI": "any that the Open Source Initiative approves",
}


def brought_by(package: str, extra: str) -> set[str]:
    """The names of all packages that package[extra] installs on this platform."""
    found: set[str] = set()
    pending = [(package, frozenset({extra}))]
    seen = set(pending)
    while pending:
        name, extras = pending.pop()
        try:
            needed = [Requirement(one) for one in requires(name) or ()]
        except PackageNotFoundError:  # for another platform
            continue
        found.add(metadata(name)["Name"])
        for one in needed:
            wanted = extras or {""}
            if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in wanted):
                key = (one.name, frozenset(one.extras))
                if key not in seen:
                    seen.add(key)
                    pending.append(key)
    return found.difference(OURS)


def row_of(name: str, comes_with: str) -> str:
    """A line of the table."""
    data = metadata(name)
    maker, licence, sources = SAID_ELSEWHERE.get(name, ("", "", ""))
    addresses = getaddresses([data["Author-email"] or data["Maintainer-email"] or ""])
    people = [person or address for person, address in addresses]
    some = ", ".join(people[:2]) + (" and others" if len(people) > 2 else "")
    classes = [one for one in data.get_all("Classifier") or () if one.startswith("License ::")]
    said = classes[0].split(" :: ")[-1] if classes else (data["License"] or "").partition("\n")[0]
    said = data["License-Expression"] or said
    links = dict(one.split(", ", 1) for one in data.get_all("Project-URL") or ())
    code = [url for url in links.values() if re.match(CODE, url)]
    where = sources or next(iter(code), "") or data["Home-page"] or next(iter(links.values()), "")
    by = maker or data["Author"] or data["Maintainer"] or some
    kind = licence or SHORT.get(said, said)
    return f"| [{name}]({where}) | {comes_with} | {by} | {kind} |\n"


def table() -> str:
    """All rows."""
    comes: dict[str, list[str]] = {}
    for (package, extra), shown in BRINGS.items():
        for name in brought_by(package, extra):
            if "all" not in comes.setdefault(name, []):
                comes[name].append(shown)
    head = "| package | with | made by | licence |\n|---|---|---|---|\n"
    names = sorted(comes, key=str.lower)
    return head + "".join(row_of(name, ", ".join(comes[name])) for name in names)


def filled(text: str) -> str:
    """The page with its table made anew."""
    return BLOCK.sub(lambda found: found[1] + "\n" + table() + "\n" + found[2], text)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
