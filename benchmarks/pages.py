"""Writes the figures of docs/benchmarks/*.json into the pages that show them.

    python benchmarks/pages.py

On a page of docs/ or README, the text between `<!-- figures: NAME -->` and `<!-- /figures -->` is
the result of the function NAME below. Nothing there is written by hand, and a test compares each
page with the files.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import floor
from pathlib import Path
from statistics import mean
from typing import Any

from compare import SHOWN, front_cell, front_figures, table

TOP = Path(__file__).resolve().parents[1]
RUNS = TOP / "docs" / "benchmarks"
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- /figures -->)", re.DOTALL)
Row = Mapping[str, float]


def run_of(name: str) -> dict[str, Any]:
    """A saved run of a benchmark."""
    return json.loads((RUNS / f"{name}.json").read_text())


def measured(name: str) -> str:
    """The date, machine and versions of a run."""
    run = run_of(name)
    packages = [f"{package} {version}" for package, version in run["versions"].items()]
    return ", ".join([run["date"], run["machine"], f"Python {run['python']}", *packages]) + ".\n"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def milliseconds(value: float | None) -> str:
    """A time with two significant digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.2g}"


def rounded_down(recall: float) -> str:
    """A recall, rounded down, so that it is never overstated."""
    return f"{floor(1_000 * recall) / 1_000:.3f}"


def front() -> str:
    """The figures of the front page."""
    found = front_figures(run_of("systems")["results"])
    keys = list(next(iter(found.values())))
    rows = [[SHOWN[name], *(front_cell(key, found[name][key]) for key in keys)] for name in SHOWN]
    return markdown(["", *keys], rows)


def systems() -> str:
    """All figures of all systems."""
    return table(run_of("systems")["results"]) + "\n"


MILLION = {
    "ours": "retrieval-store",
    "edge": "Qdrant Edge",
    "zvec": "zvec",
    "hnswlib": "hnswlib alone",
}


def million(file: str) -> str:
    """Each system with each of its settings: the time of a query, and its recall."""
    shares = {"None": "all", "0.7": "70 %", "0.27": "27 %", "0.12": "12 %", "0.007": "0.7 %"}
    rows = []
    for run in run_of(file)["results"]:
        settings = ", ".join(f"{name}={value}" for name, value in run["settings"].items())
        cells = []
        for share in shares:
            times = [run["queries"].get(f"{share} {kind}") for kind in ("known", "new")]
            found = " / ".join(f"{one['us']:,.0f}" for one in times if one)
            cells.append(f"{found} ({times[0]['found']:.3f})" if times[0] else "–")
        made = (run["cpu_s"], run["rss_mb"], run["disk_mb"])
        rows.append([MILLION[run["system"]], settings, *cells, *(f"{one:,.0f}" for one in made)])
    heads = ["", "settings", *shares.values(), "CPU s", "memory MB", "disk MB"]
    return markdown(heads, rows)


def hard_questions() -> str:
    """The recall of each system for each kind of question, the hardest kind for the others first:
    the mean, the worst question, and the median milliseconds."""
    runs = [run for run in run_of("recall")["results"] if run["when"] == "built"]
    others = [run for run in runs if run["system"] != "retrieval-store"]

    def found(kind: str) -> float:
        return mean(run["questions"][kind]["recall"] for run in others)

    rows = []
    for kind in sorted(runs[0]["questions"], key=found):
        questions = [run["questions"][kind] for run in runs]
        cells = [
            f"{one['recall']:.2f}, {one['least']:.1f}; {one['median ms']:.2g}" for one in questions
        ]
        rows.append([kind, *cells])
    rows.append(["ready, s", *(f"{run['ingest s'] + run['build s']:.0f}" for run in runs)])
    names = [
        run["system"] + ("" if run["settings"] == "defaults" else f", {run['settings']}")
        for run in runs
    ]
    return markdown(["recall, worst; ms", *names], rows)


def large() -> str:
    """The costs of the largest measured collection."""
    found = run_of("large")["results"]
    queries, opened = found["queries"], found["after opening"]
    rows = [
        ["points added a second", f"{[*found['as it grows'].values()][-1]['points/s']:,.0f}"],
        ["codes made and recall measured, minutes", f"{found['optimize s'] / 60:.1f}"],
        ["open and count, ms", f"{opened['open and count ms']:,.0f}"],
        ["first query, ms", f"{opened['first ms']:,.0f}"],
        [
            "first filter on a key of numbers, s",
            f"{opened['first filter of numbers ms'] / 1e3:.1f}",
        ],
        ["first filter on a key of words, s", f"{opened['first filter of words ms'] / 1e3:.1f}"],
        ["own memory, MB", f"{opened['own MB']:,.0f}"],
        ["on disk, MB", f"{found['disk MB']:,.0f}"],
        ["a query of all, exactly, ms", f"{queries['exact ms']:.0f}"],
    ]
    for name, value in queries.items():
        share = name.removesuffix("% ms")
        if share != name:
            recall = queries[f"{share}% recall"]
            rows.append(
                [f"a query of {float(share):g} %, ms (recall)", f"{value:.1f} ({recall:.2f})"]
            )
    return markdown(["", f"{found['points']:,} × {found['dimension']}"], rows)


def hard_summary() -> str:
    """Each system over all kinds of hard questions, ordered by recall: the recall of its worst kind
    and of its worst question, and the median time of its slowest kind."""
    rows = []
    for run in run_of("recall")["results"]:
        if run["when"] == "built":
            name = SHOWN.get(run["system"], run["system"])
            if run["settings"] != "defaults":
                name += f", {run['settings']}"
            kinds = run["questions"].values()
            recall = rounded_down(worst_recall(run))
            least = min(kind["least"] for kind in kinds)
            slowest = milliseconds(max(kind["median ms"] for kind in kinds))
            ready = f"{run['ingest s'] + run['build s']:.0f}"
            rows.append([name, recall, f"{least:.1f}", slowest, ready])
    heads = [
        "",
        "recall, worst kind",
        "recall, worst question",
        "ms, slowest kind",
        "s until ready",
    ]
    return markdown(heads, sorted(rows, key=lambda row: row[1]))


def worst_recall(run: Mapping[str, Any]) -> float:
    """A system's mean recall for its worst kind of hard questions."""
    return min(kind["recall"] for kind in run["questions"].values())


def held_recall() -> str:
    """The worst recall in one sentence for the front page: this store's, and the best of the
    others."""
    runs = [run for run in run_of("recall")["results"] if run["when"] == "built"]
    ours = next(worst_recall(run) for run in runs if run["system"] == "retrieval-store")
    others = max(worst_recall(run) for run in runs if run["system"] != "retrieval-store")
    kinds = len(runs[0]["questions"])
    return (
        f"Of the hardest of {kinds} kinds of questions, it finds {rounded_down(ours)} of the true\n"
        f"neighbours; hnswlib, Qdrant Edge and zvec find {rounded_down(others)} at best\n"
        "([benchmarks](docs/benchmarks.md#what-does-it-find-of-hard-questions)).\n"
    )


OF_A_MILLION = "1 million × 256"


def largest() -> str:
    """The size of the largest measured collection."""
    found = run_of("large")["results"]
    return f"{found['points'] // 1_000_000} million × {found['dimension']}"


def scale_rows() -> list[dict[str, Any]]:
    """The costs of large collections with default settings, the slowest first: milliseconds of an
    unfiltered query and of the slowest filtered one, the lowest recall, CPU seconds until ready,
    and MB on disk."""
    rows = []
    for run in run_of("million")["results"]:
        if not run["settings"] and run["system"] != "hnswlib":
            times = [query["us"] / 1e3 for query in run["queries"].values()]
            row = {"of": OF_A_MILLION, "store": MILLION[run["system"]], "times": times}
            recall = min(query["found"] for query in run["queries"].values())
            rows.append(row | {"recall": recall, "cpu": run["cpu_s"], "disk": run["disk_mb"]})
    found = run_of("large")["results"]
    times = [value for name, value in found["queries"].items() if name.endswith("% ms")]
    recall = min(value for name, value in found["queries"].items() if name.endswith("recall"))
    row = {"of": largest(), "store": MILLION["ours"], "times": times, "recall": recall}
    rows.append(row | {"cpu": None, "disk": found["disk MB"]})
    return sorted(rows, key=lambda row: -row["times"][0])


def not_built() -> list[list[str]]:
    """Rows of the stores that weren't built with the largest collection's vectors. The CPU seconds
    are those of fewer vectors, in proportion to the number of vectors: at least so many, because
    inserting into a graph takes longer as the graph grows."""
    fewer = run_of("clusters")
    times = run_of("large")["points"] / fewer["count"]
    rows = []
    for run in fewer["results"]:
        if run["system"] != "ours" and not run["settings"]:
            seconds = f"over {run['cpu_s'] * times:,.0f}, not built"
            rows.append([largest(), MILLION[run["system"]], "", "", "", seconds, ""])
    return rows


def scale() -> str:
    """The costs of large collections as a table."""
    rows = not_built() + [
        [
            row["of"],
            row["store"],
            milliseconds(row["times"][0]),
            milliseconds(max(row["times"][1:])),
            rounded_down(row["recall"]),
            "–" if row["cpu"] is None else f"{row['cpu']:,.0f}",
            f"{row['disk'] / 1e3:.1f}",
        ]
        for row in scale_rows()
    ]
    heads = ["ms, all", "ms, slowest filter", "recall, lowest", "CPU s until ready", "GB on disk"]
    return markdown(["vectors", "", *heads], rows)


def ends() -> str:
    """The costs of large collections in sentences for the front page, those of this store first."""
    rows = sorted(scale_rows(), key=lambda row: row["store"] != MILLION["ours"])
    lines = ["Time grows with the number of vectors; a query takes\n\n"]
    for row in rows:
        times = f"{milliseconds(min(row['times']))} to {milliseconds(max(row['times']))} ms"
        lines.append(
            f"- {row['of']}, {row['store']}: {times}, recall {rounded_down(row['recall'])}\n"
        )
    return "".join(lines)


def exactly() -> str:
    """The time of an exact search of the largest collection."""
    found = run_of("large")["results"]
    vectors = f"{found['points'] // 1_000_000} million vectors of {found['dimension']} numbers"
    taken = f"{found['queries']['exact ms']:.0f} ms"
    return f"An exact search of {vectors} [takes {taken}](measurements.md#ten-million).\n"


def cores_soon() -> str:
    """The times of queries in each second after an ingest: unfiltered, and filtered."""
    rows = []
    for cores, parts in run_of("cores")["results"].items():
        found = parts["soon"]
        seconds = found["ms, plain and filtered, and CPU s of maintenance, by second"]
        cells = [f"{milliseconds(all_of)} / {milliseconds(some)}" for all_of, some, _ in seconds]
        added = f"{found['added s']:.0f} s, then {found['made after s']:.0f} s"
        rows.append([f"{cores}, {found['points']:,}", added, ", ".join(cells)])
    return markdown(["", "added, all made", "ms of a query, by second"], rows)


def cores_threads() -> str:
    """Queries per second by this many threads and processes."""
    rows = []
    for cores, parts in run_of("cores")["results"].items():
        for part in ("threads", "threads of all"):
            for share in ("all", "12 %") if part in parts else ():
                found = parts[part][share]
                cells = [f"{found[f'{n} threads']:,}" for n in (1, 2, 4, 16)]
                name = f"{cores}, {parts[part]['points']:,}, {share}"
                rows.append([name, *cells, f"{found[cores.replace('ors', 'es')]:,}"])
    heads = "1 thread", "2", "4", "16", "a process for each processor"
    return markdown(["", *heads], rows)


def cores_calls() -> str:
    """The times of calls that read all points, and how many processors they use."""
    found = {cores: parts["calls"] for cores, parts in run_of("cores")["results"].items()}
    names = [name for name in next(iter(found.values())) if name != "points"]

    def cell(one: Mapping[str, float]) -> str:
        taken = f"{one['s']:.1f} s" if one["s"] >= 1 else f"{milliseconds(1e3 * one['s'])} ms"
        return f"{taken} ({one['processors']:.1f})"

    rows = [[name, *(cell(calls[name]) for calls in found.values())] for name in names]
    heads = [f"{cores}, {calls['points']:,}" for cores, calls in found.items()]
    return markdown(["", *heads], rows)


def cores_embedding() -> str:
    """Texts embedded per second by a model alone, and by `add`."""
    rows = []
    for parts in run_of("cores")["results"].values():
        for size, found in parts.get("embedding", {}).items():
            if isinstance(found, dict):
                alone, ours = found["the model alone"], found["add"]
                label = f"{parts['embedding']['on']}, {size}"
                rows.append([label, f"{alone:,}", f"{ours:,}", f"{ours / alone:.2f}"])
    return markdown(["texts a second", "the model alone", "`add`", "of it"], rows)


def chosen(part: str, rows: Mapping[str, str]) -> str:
    """The chosen rows of a part of `growth`, named by calls, in milliseconds."""
    found = run_of("growth")["results"][part]
    columns = list(dict.fromkeys(column for row in found.values() for column in row))
    cells = [
        [label, *(milliseconds(found[name].get(c)) for c in columns)]
        for name, label in rows.items()
    ]
    return markdown(["ms", *columns], cells)


CALLS = {
    "get by id": "`get` by id",
    "get, limit 10": "`get(limit=10)`",
    "get, a page in the middle": "the same, from the middle",
    "get, rare value": "`get` by a value that five points have",
    "get, $regex": "`get` by a new `$regex`",
    "get, the same $regex": "… that was used before",
    "get, $contains": "`get` by a new `$contains`",
    "query": "`query`",
    "query, 27 %": "… under a filter of 27 % that was used before",
    "query, new filter": "… that is new",
    "query, text": "`query`, text",
}
WRITES = {
    "first filter on a key": "the first filter on a key",
    "add": "`add` of one",
    "upsert": "`upsert` of one",
    "update metadata": "`update` of one's metadata",
    "delete": "`delete` of one",
    "close": "`close`",
}
THREADS = ("get by id", "query", "query, 27 %", "query, text")


def growth_points() -> str:
    """The cost of calls by the number of points."""
    return chosen("points", CALLS | WRITES)


def growth_calls() -> str:
    """The calls that most programs make."""
    names = ("get by id", "query", "query, 27 %", "query, new filter", "query, text")
    return chosen("points", {name: CALLS[name] for name in names} | {"add": WRITES["add"]})


def growth_writes() -> str:
    """The cost of reads after a write."""
    read = ("get by id", "get, limit 10", "query", "query, 27 %", "query, text")
    return chosen("writes", {name: CALLS[name] for name in read})


def growth_collections() -> str:
    """The cost of calls by the number of collections."""
    return chosen("collections", {name: CALLS[name] for name in THREADS})


def growth_threads() -> str:
    """The cost of calls made by several threads."""
    sizes = ("7,000 points", "100,000 points")
    return chosen(
        "threads",
        {
            f"{size}: {name}": f"{CALLS[name].lstrip('… ')}, {size}"
            for name in THREADS
            for size in sizes
        },
    )


def qdrant_calls() -> str:
    """Calls of Qdrant's client here and in its local mode, without and with payload indexes."""
    found = run_of("qdrant_front")["results"]
    upsert = {"upsert, a batch of 1,000": _renamed(found["upsert"])}
    rows = []
    for label, part in {
        "": upsert | found["without payload indexes"],
        ", with payload indexes": found["with payload indexes"],
    }.items():
        for call, row in part.items():
            ours, theirs = row["ours, us"], row["local mode, us"]
            ratio = row["local mode / ours"]
            rows.append([call + label, f"{ours:,.0f}", f"{theirs:,.0f}", milliseconds(ratio)])
    return markdown(["call, µs", "ours", "local mode", "local mode / ours"], rows)


def _renamed(row: Row) -> dict[str, float]:
    return {name.replace(", us a batch of 1,000", ", us"): value for name, value in row.items()}


def qdrant_kinds() -> str:
    """The times of other kinds of queries beside plain ones, and of the same query through other
    interfaces."""
    found = run_of("qdrant_front")["results"]
    rows = []
    for call, row in (found["by three doors"] | found["beside a plain query"]).items():
        for name, ratio in row.items():
            if name.startswith("ours / "):
                other = name.removeprefix("ours / ")
                cells = (f"{row['ours, us']:,.0f}", f"{row[f'{other}, us']:,.0f}", f"{ratio:.2f}")
                rows.append([call, other, *cells])
    return markdown(["query", "beside", "µs", "of the other", "ratio"], rows)


def quality() -> str:
    """nDCG@10 by setting, averaged over seeds, with plain words and (in brackets) with English
    stems. The best values with plain words are bold."""
    modes = ("text", "dense", "hybrid", "rrf")
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in run_of("quality")["results"]:
        runs.setdefault((run["task"], run["model"]), []).append(run)
    rows = []
    for (task, model), found in sorted(
        runs.items(), key=lambda pair: (pair[0][0].lower(), pair[0][1])
    ):
        plain, english = (
            {mode: mean(run[mode][0] for run in found if run["words"] == words) for mode in modes}
            for words in ("plain", "English")
        )
        cells = [
            f"**{plain[mode]:.3f}**" if plain[mode] == max(plain.values()) else f"{plain[mode]:.3f}"
            for mode in modes
        ]
        cells = [
            cell if mode == "dense" else f"{cell} ({english[mode]:.3f})"
            for mode, cell in zip(modes, cells, strict=True)
        ]
        ratios = [
            f"{found['hybrid'] / max(found['text'], found['dense']):.2f}"
            for found in (plain, english)
        ]
        rows.append([task, model, *cells, f"{ratios[0]} ({ratios[1]})"])
    heads = ["task", "model", "text", "dense", "hybrid", "hybrid, rrf", "hybrid / better side"]
    return markdown(heads, rows)


def models() -> str:
    """The quality of each text model by vectors alone, and its cost."""
    names, words = ("wordllama", "minilm int8"), run_of("embedding")["words"]
    found: dict[str, dict[str, list[float]]] = {}
    for run in run_of("quality")["results"]:
        if run["words"] == "plain":
            found.setdefault(run["task"], {}).setdefault(run["model"], []).append(run["dense"][0])
    rows = [
        [f"nDCG@10: {task}"]
        + [f"{mean(found[task][name]):.3f}" if name in found[task] else "" for name in names]
        for task in ("Python", "WordNet", "Cranfield")
    ]
    taken = run_of("embedding")["results"]
    for label, of in {
        f"chunks of {words} words a second": "chunks/s",
        "memory of the process, at most, MB": "peak MB",
        "first query of a process, ms": "first query, ms",
        "later queries, ms": "later queries, ms",
    }.items():
        rows.append([label, *(f"{taken[name][of]:,}" for name in names)])
    return markdown(["", *names], rows)


def server_times() -> str:
    """The time of each part of a request, beside the same calls in process."""
    found = run_of("server")["results"]
    names = {
        "health": "`/healthz`: the loop alone",
        "readiness": "`/readyz`: a thread besides",
        "count": "a count",
        "count in process": "the same in process",
        "query": "a query",
        "query in process": "the same in process",
        "Edge's query in process": "Qdrant Edge's, in process",
        "gRPC health": "gRPC's stub, `HealthCheck`: the loop alone",
        "gRPC count": "gRPC's stub, a count",
        "gRPC query": "gRPC's stub, a query",
        "query by qdrant-client": "qdrant-client, a query over HTTP",
        "gRPC query by qdrant-client": "qdrant-client, a query over gRPC",
    }
    rows = [
        [shown, *(f"{one['us'][name]:,}" for one in found.values())]
        for name, shown in names.items()
    ]
    return markdown(["median, µs", *found], rows)


def server_rates() -> str:
    """Queries per second, times of uploads, and times of health checks under load."""
    found = run_of("server")["results"]
    rows = [
        [
            f"{connections} at once, {workers}",
            *(f"{one[key][connections]:,}" for one in found.values()),
        ]
        for workers, key in (
            ("one worker", "one worker, a second"),
            ("two workers", "two workers, a second"),
        )
        for connections in next(iter(found.values()))[key]
    ]
    rows += [
        [shown, *(str(one["upload"][name]) for one in found.values())]
        for name, shown in (
            ("HTTP ms", "an upload of 1,000 points, ms"),
            ("gRPC ms", "the same over gRPC, ms"),
            ("path= ms", "the same with `path=`, ms"),
        )
    ]
    load = "health under load, p99 ms"
    rows.append(
        ["`/healthz` under load, 99 % within ms", *(str(one[load]) for one in found.values())]
    )
    return markdown(["queries a second, unless it says otherwise", *found], rows)


def served() -> str:
    """The cost of calls of a served store, beside the same calls on a directory."""
    found = run_of("served")["results"]
    names = next(iter(found.values()))
    rows = [[call, *(f"{one[name]:,}" for name in names)] for call, one in found.items()]
    return markdown(["median, ms", *names], rows)


def ticking_gaps() -> str:
    """How long an event loop is blocked."""
    found = run_of("ticking")["results"]["gaps"]
    return markdown(["meanwhile", "ms"], [[what, f"{gap:.0f}"] for what, gap in found.items()])


def ticking_queries() -> str:
    """How many queries an event loop completes, beside threads."""
    found = run_of("ticking")["results"]["queries"]
    rows = [
        [kind, tasks, f"{one['awaited']:,}", f"{one['threads']:,}", f"{one['ratio']:.2f}"]
        for kind, by_tasks in found.items()
        for tasks, one in by_tasks.items()
    ]
    return markdown(["store", "tasks", "awaited", "by threads", "ratio"], rows)


def reranking() -> str:
    """nDCG@10 with and without re-ranking."""
    rows = []
    for run in run_of("reranking")["results"]:
        mean, low, high = run["ndcg"]
        depth = f"the best {run['reranked']} by MiniLM" if run["reranked"] else "no"
        found = f"{mean:.3f} ({low:.3f} to {high:.3f})"
        rows.append([run["task"], run["model"], run["mode"], depth, found])
    heads = ["task", "embedded by", "mode", "re-ranked", "nDCG@10 (95 % interval)"]
    return markdown(heads, rows)


def looking() -> str:
    """The cost of looking into a large store."""
    found = run_of("looking")["results"]
    rows = [[call, *(f"{one[name]:,.0f}" for name in one)] for call, one in found.items()]
    return markdown(["milliseconds", "the first time", "again"], rows)


def sizing() -> str:
    """The needs of a collection by its number of points."""
    return table(run_of("sizing")["results"]) + "\n"


def tenants() -> str:
    """The costs of one collection per tenant, and of one collection with a filter."""
    return table(run_of("tenants")["results"]) + "\n"


WHERE = {
    "disk": "a directory",
    "memory": "memory",
    "served": "a server of two processes, over HTTP",
    "grpc": "a server of two processes, over gRPC",
    "cluster": "a cluster, for which Qdrant's engine in a server for tests stands",
}


def rehearsed(run: str = "rehearsal") -> str:
    """Each rehearsed store: its records, steps, how many were right, and minutes."""
    rows = []
    for name, steps in run_of(run)["results"].items():
        shape, place, size = name.split("-")
        right = sum(step["outcome"] == "passed" for step in steps.values())
        minutes = sum(step["seconds"] for step in steps.values()) / 60
        row = [shape, WHERE[place], f"{int(size):,}", str(len(steps)), str(right), f"{minutes:.1f}"]
        rows.append(row)
    table = markdown(["shape", "where", "records", "steps", "right", "minutes"], rows)
    others: dict[str, list[str]] = {"failed": [], "skipped": [], "passed": []}
    for name, steps in run_of(run)["results"].items():
        for step, outcome in steps.items():
            shown = f"{step.partition('.')[2].replace('_', ' ')} ({name.rpartition('-')[0]})"
            others[outcome["outcome"]].append(shown)
    for title, kind in (("Not right", "failed"), ("Not made", "skipped")):
        if others[kind]:
            table += f"\n{title}: {', '.join(others[kind])}.\n"
    return table


def steps() -> str:
    """The rehearsed steps by kind."""
    kinds: dict[str, dict[str, None]] = {}
    for own in run_of("rehearsal")["results"].values():
        for step in own:
            kind, _, name = step.partition(".")
            kinds.setdefault(kind, {})[name.replace("_", " ")] = None
    return markdown(["", "steps"], [[kind, ", ".join(names)] for kind, names in kinds.items()])


LOCATIONS = {
    "directory": "in a directory",
    "served": "served",
    "nodes": "three nodes, two copies",
    "node": "one node",
    "client": "the same, by qdrant-client",
}


def places(points: str) -> str:
    """The cost of the same calls on each kind of store with this many points."""
    run = run_of("places")["results"][points]
    names = [name for name in LOCATIONS if name in run]
    calls = dict.fromkeys(call for name in names for call in run[name])
    rows = [[call, *(milliseconds(run[name].get(call)) for name in names)] for call in calls]
    return markdown([f"{int(points):,}", *(LOCATIONS[name] for name in names)], rows)


TABLES: dict[str, Callable[[], str]] = {
    "front": front,
    "systems": systems,
    "million": partial(million, "million"),
    "clusters": partial(million, "clusters"),
    "hard-questions": hard_questions,
    "large": large,
    "hard-summary": hard_summary,
    "held-recall": held_recall,
    "scale": scale,
    "ends": ends,
    "exactly": exactly,
    "cores-soon": cores_soon,
    "cores-threads": cores_threads,
    "cores-calls": cores_calls,
    "cores-embedding": cores_embedding,
    "growth-points": growth_points,
    "growth-calls": growth_calls,
    "growth-writes": growth_writes,
    "growth-collections": growth_collections,
    "growth-threads": growth_threads,
    "qdrant-calls": qdrant_calls,
    "qdrant-kinds": qdrant_kinds,
    "quality": quality,
    "models": models,
    "server-times": server_times,
    "server-rates": server_rates,
    "served": served,
    "ticking-gaps": ticking_gaps,
    "ticking-queries": ticking_queries,
    "reranking": reranking,
    "looking": looking,
    "sizing": sizing,
    "tenants": tenants,
    "rehearsed": rehearsed,
    "rehearsed-16": partial(rehearsed, "rehearsal_16"),
    "rehearsed-full": partial(rehearsed, "rehearsal_full"),
    "steps": steps,
    **{f"places-{points}": partial(places, points) for points in ("10000", "100000")},
}


def filled(text: str) -> str:
    """A page whose blocks contain the current figures."""

    def block(found: re.Match[str]) -> str:
        name = found[2]
        figures = measured(name.removeprefix("run-")) if name.startswith("run-") else TABLES[name]()
        return f"{found[1]}\n{figures}\n{found[3]}"

    return BLOCK.sub(block, text)


def main() -> None:
    """Write the figures into all pages."""
    for page in PAGES:
        text = page.read_text()
        if (new := filled(text)) != text:
            page.write_text(new)
            print("figures of", page.relative_to(TOP))


if __name__ == "__main__":
    main()
