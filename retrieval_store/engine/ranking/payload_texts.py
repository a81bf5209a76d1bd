"""BM25 over the texts that payloads have at a path, by the tokens that an index of texts keeps.

score = Σ idf(t) · f · (k1 + 1) / (f + k1 · (1 - b + b · |d| / avg|d|)) over the tokens t of the
query, each once; f: how often t stands in the text; idf(t) = ln(1 + (N - n + ½) / (n + ½)) for N
points with any token, n of them with t. Robertson and Zaragoza, "The probabilistic relevance
framework" (2009). Lengths of 8,192 tokens and more are rounded down to 13 leading bits, as servers
keep them.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from retrieval_store.base.arrays import Bools, Floats, Ints
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.fusion import Ranking
from retrieval_store.engine.filtering.columns import current_columns
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.engine.filtering.token_segments import TokenSegment
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.filters.columns import TokensAt
from retrieval_store.filters.nodes import Expression
from retrieval_store.query.query import PayloadText

LENGTH_BITS = 13


@dataclass(frozen=True, slots=True)
class _Part:
    """The texts of one segment: of rows, which of its texts, how long each text is."""

    segment: TokenSegment
    rows: Ints
    texts: Ints
    lengths: Ints

    def often(self, token: str) -> Ints:
        """(rows,) how often the text of each row has a token."""
        number = self.segment.numbers.get(token)
        if number is None:
            return np.zeros(len(self.rows), np.int64)
        places = np.flatnonzero(self.segment.codes == number)
        texts = np.searchsorted(self.segment.starts, places, "right") - 1
        counts = np.bincount(texts, minlength=len(self.segment.starts) - 1)
        return counts[self.texts]


def rank_payload_texts(
    view: SearchView, scoring: PayloadText, expression: Expression | None
) -> Ranking:
    """The rows that have any of the tokens, among those that the expression allows, ascending, and
    their scores."""
    parts = list(_parts(view, scoring.at))
    corpus = allowed_by(view, scoring.corpus).mask
    known = [part.rows if corpus is None else part.rows[corpus[part.rows]] for part in parts]
    count = sum(map(len, known))
    total = sum(int(p.lengths[_within(p.rows, corpus)].sum()) for p in parts)
    average = max(total / count, 1e-9) if count else 1.0
    scores = [np.zeros(len(part.rows)) for part in parts]
    for token in dict.fromkeys(scoring.tokens):
        often = [part.often(token) for part in parts]
        holders = 0
        for f, part in zip(often, parts, strict=True):
            holders += int(np.count_nonzero(f[_within(part.rows, corpus)]))
        idf = float(np.log1p((count - holders + 0.5) / (holders + 0.5)))
        for score, f, part in zip(scores, often, parts, strict=True):
            damping = scoring.k1 * (1 - scoring.b + scoring.b * part.lengths / average)
            np.add(score, idf * f * (scoring.k1 + 1) / (f + damping), out=score)
    return _allowed(view, expression, parts, scores)


def _within(rows: Ints, mask: Bools | None) -> Bools | slice:
    return slice(None) if mask is None else mask[rows]


def _allowed(
    view: SearchView,
    expression: Expression | None,
    parts: Sequence[_Part],
    scores: Sequence[Floats],
) -> tuple[Ints, Floats]:
    rows = np.concatenate([np.empty(0, np.int64), *(part.rows for part in parts)])
    found = np.concatenate([np.empty(0), *scores])
    mask = allowed_by(view, expression).mask
    good = found > 0 if mask is None else (found > 0) & mask[rows]
    rows, found = rows[good], found[good]
    order = np.argsort(rows)
    return rows[order], found[order]


def _parts(view: SearchView, at: TokensAt) -> Sequence[_Part]:
    """The living rows of each segment of the column that have any token."""
    column: Any = current_columns(view, [at])[at]
    parts = []
    for segment, above in zip(column.segments, column.above(), strict=True):
        tokens = cast(TokenSegment, segment)
        sizes = np.diff(tokens.starts)[tokens.text_of]
        good = (sizes > 0) & (tokens.owners < len(view.state.alive))
        good[good] = view.state.alive[tokens.owners[good]]
        if above is not None:
            good &= ~np.isin(tokens.owners, above)
        parts.append(
            _Part(tokens, tokens.owners[good], tokens.text_of[good], _rounded(sizes[good]))
        )
    return parts


def _rounded(lengths: Ints) -> Ints:
    bits = np.zeros(len(lengths), np.int64)
    long = lengths >= 1 << LENGTH_BITS
    bits[long] = np.floor(np.log2(lengths[long])).astype(np.int64) + 1 - LENGTH_BITS
    return lengths >> bits << bits
