"""Maps of a collection for notebooks: its points, projected to the plane in which their vectors
vary most, drawn by an installed plotting library. Stored data may be malicious, so it is displayed
as plain text."""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from retrieval_store.base.arrays import Matrix, Metric
from retrieval_store.base.pca import places_of
from retrieval_store.base.system import cut_text, printable
from retrieval_store.base.validation import list_ids, path_of, quote
from retrieval_store.errors import InvalidArgumentError, MissingDependencyError
from retrieval_store.filters.nodes import Expression
from retrieval_store.filters.paths import PayloadPath, value_at
from retrieval_store.query.protocols import PointsBackend
from retrieval_store.query.types import Fields, PointId, Projection, ShownIds, scalar

Library: TypeAlias = Literal["embedding-atlas", "plotly", "altair", "matplotlib"]
LIBRARIES: tuple[Library, ...] = get_args(Library)
LONGEST = 100  # characters of a document
KINDS = 12  # values of a key with a colour of their own
# Okabe and Ito's colours, which those who see few colours can tell apart, and darker ones of them.
PALETTE = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8c00"),
    *("#004a73", "#8f6300", "#00634a", "#7d4a67", "#6a3d9a"),
)
GREY, NONE, OTHER = "#9a9a9a", "none", "other"


@dataclass(frozen=True, slots=True)
class MapData:
    """The points of a map. places: (n, 2), their coordinates; values: for each point the value that
    decides its colour, None if it has no value; marked: for each point whether it is highlighted;
    title: the title of the map."""

    ids: Sequence[str]
    places: Matrix
    documents: Sequence[str]
    values: Sequence[Any] | None
    marked: Sequence[bool]
    title: str
    key: str | None

    @property
    def is_numbers(self) -> bool:
        """Whether the values are numbers, and so many distinct ones that the map needs a colour
        scale."""
        known = {value for value in self.values or () if value is not None}
        numbers = all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in known
        )
        return numbers and len(known) > KINDS

    @property
    def kinds(self) -> list[str]:
        """The value of each point as text. Only the most frequent values are kept; all others
        become "other"."""
        texts = [
            NONE if value is None else printable(str(value))[:40] for value in self.values or ()
        ]
        if self.values is None:
            return ["all"] * len(self.ids)
        often = Counter(texts)
        frequent = sorted(often, key=lambda text: (-often[text], text))
        names = set(frequent if len(frequent) <= KINDS else frequent[: KINDS - 1])
        return [text if text in names else OTHER for text in texts]


@dataclass(frozen=True, slots=True)
class MapRequest:
    """Which records a map shows: the records that match a filter, or a random sample of them, drawn
    with a seed. Marked records are always shown. key: the metadata key whose values decide the
    colours."""

    matching: Expression | None
    key: str | None
    marked: ShownIds | None
    sample: int
    seed: int


def map_of(points: PointsBackend, name: str, metric: Metric, request: MapRequest) -> MapData:
    """The map of a collection's dense vectors. Raises InvalidArgumentError if no record on the map
    has the key, or if a marked id does not exist."""
    path = None if request.key is None else (request.key,)
    projection = points.project("", request.matching, request.sample, request.seed, path)
    if projection.values and all(value is None for value in projection.values):
        raise InvalidArgumentError(f"color is {quote(request.key)}, which no record drawn has")
    drawn_of = (
        ""
        if projection.total <= len(projection.ids)
        else f", {len(projection.ids):,} drawn at random"
    )
    shares = " and ".join(f"{share:.0%}" for share in projection.explained)
    if request.marked:
        projection = _with_marked(points, projection, request.marked, path, metric)
    marked = {*(request.marked or ())}
    return MapData(
        ids=[printable(str(point_id)) for point_id in projection.ids],
        places=projection.places,
        documents=_documents(points, projection.ids),
        values=projection.values,
        marked=[str(point_id) in marked for point_id in projection.ids],
        title=(
            f"{printable(name)}: {projection.total:,} points{drawn_of}; the axes hold {shares} of "
            "the variance"
        ),
        key=request.key,
    )


def _with_marked(
    points: PointsBackend,
    projection: Projection,
    marked: ShownIds,
    path: PayloadPath | None,
    metric: Metric,
) -> Projection:
    """The projection, to which the missing marked records are added, projected to the same plane.
    Marked records without a vector are left out."""
    fields = Fields(vectors=("",), payload=path is not None)
    others = points.get(marked, None, None, 0, fields)
    known = {*map(str, others.ids)}
    if absent := [point_id for point_id in marked if point_id not in known]:
        raise InvalidArgumentError(f"mark names records that aren't there: {list_ids(absent)}")
    vectors, shown_ids = (others.vectors or {}).get(""), {*projection.ids}
    if not isinstance(vectors, np.ndarray) or vectors.shape[1] != projection.axes.shape[1]:
        return projection
    lacks = np.isnan(vectors[:, 0])
    new = [i for i, point_id in enumerate(others.ids) if point_id not in shown_ids and not lacks[i]]
    values = projection.values
    if values is not None and path is not None:
        payloads = others.payloads or [None] * len(others.ids)
        values = [*values, *(scalar(value_at(payloads[i], path)) for i in new)]
    return replace(
        projection,
        ids=[*projection.ids, *(others.ids[i] for i in new)],
        places=np.concatenate(
            [projection.places, places_of(vectors[new], projection.axes, metric == "cosine")]
        ),
        values=values,
    )


def _documents(points: PointsBackend, ids: list[PointId]) -> list[str]:
    """The beginning of the document of each point."""
    records = points.get(ids, None, None, 0, Fields(document=True))
    by_id = dict(zip(records.ids, records.documents or (), strict=True))
    texts = ((by_id.get(point_id) or "") for point_id in ids)
    return [printable(cut_text(text, LONGEST)) for text in texts]


class Picture:
    """A PNG picture that notebooks display. data: the bytes of the PNG."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def save(self, path: Any) -> Path:
        """Write the PNG to a file."""
        target = path_of(path, "path")
        target.write_bytes(self.data)
        return target

    def _repr_png_(self) -> bytes:
        return self.data


def draw_map(data: MapData, library: Any = None) -> Any:
    """Draw the map with a library, or with the first library that is installed. Returns an object
    of that library, which notebooks display. Raises InvalidArgumentError for an unknown library,
    and MissingDependencyError if the library, or any library at all, is not installed."""
    if library is not None and library not in LIBRARIES:
        raise InvalidArgumentError(f"library is {quote(library)}, expected one of {LIBRARIES}")
    for name in LIBRARIES if library is None else (library,):
        if all(find_spec(module) is not None for module in _NEEDED[name]):
            return _DRAW[name](data)
    needed = library or "embedding-atlas, plotly, altair or matplotlib"
    raise MissingDependencyError(f"a map needs {needed}: pip install {library or 'plotly'}")


def _by_atlas(data: MapData) -> Any:
    import pandas
    from embedding_atlas.widget import EmbeddingAtlasWidget

    frame = pandas.DataFrame(atlas_columns(data))
    return EmbeddingAtlasWidget(frame, x="x", y="y", text="document")


def atlas_columns(data: MapData) -> dict[str, Any]:
    """The table that embedding-atlas shows, by column."""
    columns: dict[str, Any] = {
        "id": data.ids,
        "document": data.documents,
        "x": data.places[:, 0],
        "y": data.places[:, 1],
        "marked": list(data.marked),
    }
    if data.key is not None:
        name = f"metadata.{data.key}" if data.key in columns else data.key
        columns[name] = list(data.values or ()) if data.is_numbers else data.kinds
    return columns


def _by_plotly(data: MapData) -> Any:
    from plotly import graph_objects

    figure = graph_objects.Figure()
    hover = [
        f"{escape(point_id)}<br>{escape(text)}"
        for point_id, text in zip(data.ids, data.documents, strict=True)
    ]

    def add(point_indices: Sequence[int], name: str, marker: Mapping[str, Any]) -> None:
        indices = list(point_indices)
        figure.add_trace(
            graph_objects.Scattergl(
                x=data.places[indices, 0],
                y=data.places[indices, 1],
                mode="markers",
                name=escape(name),
                text=[hover[i] for i in indices],
                hoverinfo="text",
                marker={"size": 5, "opacity": 0.8, **marker},
            )
        )

    if data.is_numbers:
        numbers = [float("nan") if value is None else value for value in data.values or ()]
        scale = {"color": numbers, "colorscale": "Viridis", "showscale": True}
        add(range(len(data.ids)), data.key or "", scale)
    else:
        kinds = _by_kind(data)
        for kind, color in _colours(kinds).items():
            add(kinds[kind], kind, {"color": color})
    if any(data.marked):
        ring = {"size": 12, "color": "rgba(0,0,0,0)", "line": {"width": 2, "color": "#d00000"}}
        add([i for i, is_marked in enumerate(data.marked) if is_marked], "marked", ring)
    legend = {"orientation": "h"}  # beside it there may be no room
    figure.update_layout(
        title=escape(data.title), template="plotly_white", height=650, legend=legend
    )
    figure.update_yaxes(scaleanchor="x")
    return figure


def _by_altair(data: MapData) -> Any:
    import altair

    kinds = data.values if data.is_numbers else data.kinds
    rows = [
        {"id": point_id, "document": text, "x": x, "y": y, "value": kind, "marked": bool(marked)}
        for point_id, text, (x, y), kind, marked in zip(
            data.ids, data.documents, data.places.tolist(), kinds or (), data.marked, strict=True
        )
    ]
    shades = {} if data.is_numbers else _colours(_by_kind(data))
    color_encoding = altair.Color(
        "value",
        type="quantitative" if data.is_numbers else "nominal",
        title=data.key or "",
        scale=altair.Scale(scheme="viridis")
        if data.is_numbers
        else altair.Scale(domain=[*shades], range=[*shades.values()]),
        legend=altair.Undefined if data.key else None,
    )
    axes = {
        name: altair.X(name, type="quantitative", axis=None)
        if name == "x"
        else altair.Y(name, type="quantitative", axis=None)
        for name in ("x", "y")
    }
    chart = altair.Chart(altair.InlineData(values=rows), title=data.title)
    return (
        chart.mark_circle(size=20)
        .encode(
            **axes,
            color=color_encoding,
            tooltip=[altair.Tooltip(name, type="nominal") for name in ("id", "document")],
            size=altair.condition("datum.marked", altair.value(120), altair.value(20)),
        )
        .properties(width=700, height=550)
        .interactive()
    )


def _by_matplotlib(data: MapData) -> Picture:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    x, y = data.places[:, 0], data.places[:, 1]
    if data.is_numbers:
        numbers = [float("nan") if value is None else value for value in data.values or ()]
        points = axes.scatter(x, y, c=numbers, s=8, cmap="viridis", linewidths=0)
        figure.colorbar(points, ax=axes, label=_plain(data.key or ""))
    else:
        kinds = _by_kind(data)
        for kind, color in _colours(kinds).items():
            indices, label = kinds[kind], _plain(kind)
            axes.scatter(x[indices], y[indices], s=8, color=color, label=label, linewidths=0)
        if data.key is not None and data.ids:
            axes.legend(title=_plain(data.key), markerscale=2)
    for i, is_marked in enumerate(data.marked):
        if is_marked:
            axes.annotate(
                _plain(data.ids[i]), (x[i], y[i]), (8, 4), textcoords="offset points", fontsize=8
            )
            axes.scatter(x[i], y[i], s=90, facecolors="none", edgecolors="#d00000")
    axes.set_title(_plain(data.title), fontsize=10)
    axes.set_aspect("equal", "datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Picture(file.getvalue())


def _plain(text: str) -> str:
    """The text, with an escaped $, by which matplotlib recognizes formulas."""
    return text.replace("$", r"\$")


def _by_kind(data: MapData) -> dict[str, list[int]]:
    """The indices of the points by kind, the most frequent kind first."""
    indices: dict[str, list[int]] = {}
    for i, kind in enumerate(data.kinds):
        indices.setdefault(kind, []).append(i)
    last = [NONE, OTHER]
    return dict(sorted(indices.items(), key=lambda item: (item[0] in last, -len(item[1]))))


def _colours(kinds: Iterable[str]) -> dict[str, str]:
    """The colour of each kind. Grey is for points without a value, and for "other"."""
    colours = iter(PALETTE)
    return {kind: GREY if kind in (NONE, OTHER) else next(colours) for kind in kinds}


_DRAW: Mapping[Library, Callable[[MapData], Any]] = {
    "embedding-atlas": _by_atlas,
    "plotly": _by_plotly,
    "altair": _by_altair,
    "matplotlib": _by_matplotlib,
}
_NEEDED: Mapping[Library, Sequence[str]] = {
    "embedding-atlas": ("embedding_atlas", "anywidget", "pandas"),
    "plotly": ("plotly",),
    "altair": ("altair",),
    "matplotlib": ("matplotlib",),
}
