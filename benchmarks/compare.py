"""The same work in this store and in its alternatives, each in its own process.

    pip install ".[bench]"
    python benchmarks/compare.py [--points 50000] [--dimension 256] [--vectors FILE.npy]
                                 [--only NAME ...] [--output docs/benchmarks] [--redraw]

Texts are the glosses of WordNet if Debian's package wordnet-base is installed, otherwise windows of
the standard library's source. Embeddings are by wordllama. A query uses one thread; batches use
each system's default. Writes JSON, a table, and plots. Compare only figures of one run: a busy
machine changes them between runs.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from peers import FILTERS, FRESH, PEERS
from runs import processor, save

QUERIES = 400
WINDOW = 12
# The systems of the front page, as it names them.
SHOWN = {
    "retrieval-store": "retrieval-store",
    "retrieval-store, recall=0.98": "retrieval-store, recall=0.98",
    "qdrant-edge": "Qdrant Edge",
    "lancedb": "LanceDB",
    "chromadb": "Chroma",
    "qdrant-client local": "qdrant-client, local mode",
}
WORDNET = Path("/usr/share/wordnet")


def glosses() -> Iterator[str]:
    """The glosses of WordNet's synsets."""
    for part in ("noun", "verb", "adj", "adv"):
        with (WORDNET / f"data.{part}").open(encoding="latin-1") as lines:
            yield from (line.partition(" | ")[2].strip() for line in lines if line[0] != " ")


def windows(count: int) -> Iterator[str]:
    """`count` windows of words over all available text."""
    words = " ".join(glosses()).split() if WORDNET.is_dir() else []
    for file in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if len(words) > 7 * count:
            break
        if "site-packages" not in file.parts:
            words += re.findall(r"\w+|[^\w\s]+", file.read_text(errors="ignore"))
    step = max(1, (len(words) - WINDOW) // count)
    yield from (" ".join(words[i * step : i * step + WINDOW]) for i in range(count))


def texts(count: int) -> list[str]:
    """Real texts in random order."""
    found = list(glosses()) if WORDNET.is_dir() else []
    if len(found) < count:
        found = list(windows(count))
    order = np.random.default_rng(0).permutation(len(found))
    return [found[i] for i in order[:count]]


def embedded(documents: list[str], dimension: int) -> np.ndarray:
    """Embeddings by wordllama, truncated to the dimension."""
    from retrieval_store.embeddings.wordllama import WordLlamaEmbedding

    embed = WordLlamaEmbedding()
    parts = [
        embed(documents[i : i + 2_000])[:, :dimension] for i in range(0, len(documents), 2_000)
    ]
    return np.ascontiguousarray(np.concatenate(parts), np.float32)


def prepare(folder: Path, points: int, dimension: int, vectors_file: str | None) -> None:
    """Write the input files of all systems."""
    documents = texts(points + QUERIES)
    if vectors_file:
        vectors = np.load(vectors_file)[: points + QUERIES]
    else:
        vectors = embedded(documents, dimension)
    random = np.random.default_rng(1)
    records = [
        {
            "document": document,
            "metadata": {
                "share": float(random.random()),
                "year": int(random.integers(1900, 2000) if i % 2 else random.integers(1900, 2020)),
                "topic": f"t{i % 143}",
            },
        }
        for i, document in enumerate(documents[:points])
    ]
    np.save(folder / "vectors.npy", vectors[:points])
    np.save(folder / "queries.npy", vectors[points:])
    (folder / "records.json").write_text(json.dumps(records))


def run(name: str, folder: Path) -> dict[str, Any]:
    """Run one system; returns all its figures."""
    figures: dict[str, Any] = {}
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"}
    for mode in ([], ["cold"], ["cold"], ["cold"]):
        command = [
            sys.executable,
            str(Path(__file__).parent / "peers.py"),
            name,
            str(folder),
            *mode,
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if done.returncode:
            print(name, *mode, "failed:", done.stderr[-600:], file=sys.stderr)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        for key, value in found.items():
            figures[key] = min(value, figures.get(key, value))
    return figures


def table(results: dict[str, dict[str, Any]]) -> str:
    """The figures as a Markdown table, one row per system."""
    names = list(results)
    rows = [
        "| figure | " + " | ".join(SHOWN.get(name, name) for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    keys = dict.fromkeys(key for figures in results.values() for key in figures)
    for key in keys:
        cells = [_shown(key, results[name].get(key)) for name in names]
        rows.append(f"| {key} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _shown(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    if key.startswith("recall"):
        return f"{value:.3f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def plot_systems(results: dict[str, dict[str, Any]], file: Path) -> None:
    """Plot microseconds of a query by filter, on a logarithmic scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(13, 5), sharey=True)
    for axis, kind, labels in (
        (axes[0], "query us", list(FILTERS)),
        (axes[1], "fresh filter us", list(FRESH)),
    ):
        width = 0.8 / len(results)
        for i, (name, figures) in enumerate(results.items()):
            values = [figures.get(f"{kind}, {label}", np.nan) for label in labels]
            axis.bar(np.arange(len(labels)) + i * width, values, width, label=SHOWN.get(name, name))
        axis.set_xticks(np.arange(len(labels)) + 0.4, labels, rotation=15)
        axis.set_yscale("log")
        axis.set_title({"query us": "a repeated filter", "fresh filter us": "new values"}[kind])
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("median microseconds of a query (log)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="upper center", ncol=4)
    figure.tight_layout(rect=(0, 0, 1, 0.89))
    figure.savefig(file, dpi=110)


def front_figures(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The figures of the front page: the median time of a query over all filters, with new values
    (the usual case) and with repeated ones; the mean recall; the time until a store can be
    queried."""

    def of_filters(figures: dict[str, Any], kind: str) -> list[float]:
        return [figures[f"{kind}, {label}"] for label in FILTERS if label != "none"]

    return {
        name: {
            "ms, new values": median(of_filters(figures, "fresh filter us")) / 1e3,
            "ms, known values": median(of_filters(figures, "query us")) / 1e3,
            "found of the nearest ten": 10 * mean(of_filters(figures, "recall")),
            "seconds until ready": figures["ingest and build s"],
        }
        for name, figures in results.items()
        if name in SHOWN
    }


def front_cell(key: str, value: float) -> str:
    """A figure of the front page, formatted."""
    return f"{value:,.2f}" if key.startswith("ms") and value < 10 else f"{value:,.1f}"


def plot_front(results: dict[str, dict[str, Any]], file: Path) -> None:
    """Plot the figures as bars, one panel each."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "front"  # the same figures make the same file
    from matplotlib import pyplot

    figures = front_figures(results)
    names = [name for name in SHOWN if name in figures][::-1]
    titles = {
        "ms, new values": "query with a new filter, ms\n(logarithmic; shorter is better)",
        "ms, known values": "query with a repeated filter, ms\n(logarithmic; shorter is better)",
        "found of the nearest ten": "found of the ten nearest\n(longer is better)",
        "seconds until ready": "s until 50,000 records are ready\n(logarithmic; shorter is better)",
    }
    drawn, axes = pyplot.subplots(1, 4, figsize=(13, 3.4), sharey=True)
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        values = [figures[name][key] for name in names]
        colours = [
            "#0f766e" if SHOWN[name].startswith("retrieval-store") else "#b6bdc7" for name in names
        ]
        bars = axis.barh([SHOWN[name] for name in names], values, color=colours)
        axis.bar_label(bars, [front_cell(key, value) for value in values], padding=4)
        axis.set_title(title, fontsize=11)
        if "logarithmic" in title:
            axis.set_xscale("log")
            axis.set_xlim(min(values) / 3, max(values) * 6)
        else:
            axis.set_xlim(0, 12.5)
        axis.set_xticks([])
        axis.minorticks_off()
        axis.tick_params(length=0)
        for side in axis.spines.values():
            side.set_visible(False)
    drawn.tight_layout()
    drawn.savefig(file, metadata={"Date": None})


def draw(results: dict[str, dict[str, Any]], output: Path) -> None:
    """Draw the plots of a run."""
    plot_systems(results, output / "systems.png")
    if SHOWN.keys() <= results.keys():
        plot_front(results, output / "front.svg")


def measure(chosen: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """All figures of the chosen systems."""
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        prepare(Path(temporary), chosen.points, chosen.dimension, chosen.vectors)
        for name in chosen.only:
            results[name] = run(name, Path(temporary))
            subprocess.run(["rm", "-rf", str(Path(temporary) / "store")], check=True)
            print(name, json.dumps(results[name]), flush=True)
    return results


def main() -> None:
    """Run, print the table and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--vectors", help="an .npy file to take vectors from instead")
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--output", default="benchmark-results", help="folder for the results")
    parser.add_argument("--redraw", action="store_true", help="only draw the run that is there")
    chosen = parser.parse_args()
    output = Path(chosen.output)
    if chosen.redraw:
        results = json.loads((output / "systems.json").read_text())["results"]
    else:
        results = measure(chosen)
        packages = [name for peer in PEERS.values() for name in peer.packages]
        size = {"points": chosen.points, "dimension": chosen.dimension}
        save(output, "systems", results, packages, **size)
    draw(results, output)
    print(processor(), table(results), sep="\n\n")


if __name__ == "__main__":
    main()
