"""Recall with default settings, on real embeddings of real text, under filters of any
selectivity."""

import ast
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest

import retrieval_store
from retrieval_store.embeddings.wordllama import WordLlamaEmbedding
from tests.helpers.tuned import tuned, use_index

POINTS, QUERIES, K = 6_000, 100, 10
SHARES = (1.0, 0.27, 0.01)

pytestmark = pytest.mark.models


def lines_of_python() -> list[str]:
    """Distinct lines of the language reference and of the standard library's docstrings, until
    there are enough; reading all takes long."""
    lines = dict.fromkeys(long_lines(topics.values()))
    for file in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if len(lines) >= POINTS + QUERIES:
            break
        if not {"site-packages", "test", "tests"} & {*file.parts}:
            lines |= dict.fromkeys(long_lines(docstrings(file)))
    return list(lines)


def docstrings(file: Path) -> list[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    found = [ast.get_docstring(n) for n in ast.walk(tree) if isinstance(n, kinds)]
    return [text for text in found if text]


def long_lines(texts: Iterable[str]) -> list[str]:
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return [line for line in lines if len(line) > 30]


@pytest.fixture(scope="module")
def searched():
    """A collection with its index, its vectors, queries, and a number from 0 to 1 for each point."""
    random = np.random.default_rng(1)
    lines = lines_of_python()
    random.shuffle(lines)
    assert len(lines) >= POINTS + QUERIES
    embed = WordLlamaEmbedding()
    vectors = np.concatenate(
        [embed(lines[i : i + 1_000]) for i in range(0, POINTS + QUERIES, 1_000)]
    )[: POINTS + QUERIES]
    shares = random.random(POINTS)
    with pytest.MonkeyPatch.context() as patch, retrieval_store.Client() as client:
        use_index(patch)
        tuned(patch, index_worth=1)
        things = client.create_collection(
            "lines", {"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        things.add(
            ids=[str(i) for i in range(POINTS)],
            embeddings=vectors[:POINTS],
            metadatas=[{"share": share, "topic": i % 7} for i, share in enumerate(shares.tolist())],
        )
        things.optimize()
        yield things, vectors[:POINTS], vectors[POINTS:], shares


def similarities(vectors, queries):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ unit.T


def recall(found, similarity, mask):
    """The share of hits at least as near as the k-th true one; ties count."""
    allowed = np.where(mask, similarity, -np.inf)
    k = min(K, int(mask.sum()))
    last = -np.partition(-allowed, k - 1, axis=1)[:, k - 1]
    hits = 0
    for i, ids in enumerate(found):
        places = np.array([int(j) for j in ids])
        assert len(places) == k
        assert mask[places].all()
        hits += int((similarity[i, places] >= last[i] - 1e-6).sum())
    return hits / (k * len(found))


@pytest.mark.parametrize("share", SHARES)
def test_recall_is_at_least_99_percent_under_filters_of_any_share(searched, share):
    things, vectors, queries, shares = searched
    mask = shares < share
    where = None if share == 1 else {"share": {"$lt": share}}
    if share == 1:
        assert {p["method"] for p in things.explain(query_embeddings=queries)["plans"]} == {
            "over-fetch"
        }
    similarity = similarities(vectors, queries)
    found = [things.query(query_embeddings=q, where=where, n_results=K)["ids"][0] for q in queries]
    assert recall(found, similarity, mask) >= 0.99
    # All at once, and with a filter that comes again, other ways are taken to the same end.
    together = things.query(query_embeddings=queries, where=where, n_results=K)["ids"]
    assert recall(together, similarity, mask) >= 0.99


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_recall_is_as_good_when_the_filter_names_a_region(searched, share):
    """The matching points lie together, near some queries and far from others."""
    things, vectors, queries, _ = searched
    direction = vectors[17] / np.linalg.norm(vectors[17])
    along = similarities(vectors, direction[None])[0]
    mask = along >= np.quantile(along, 1 - share)
    inside = np.flatnonzero(mask)
    things.update(ids=[str(i) for i in inside], metadatas=[{f"region {share}": True}] * len(inside))
    where = {f"region {share}": True}
    found = [things.query(query_embeddings=q, where=where, n_results=K)["ids"][0] for q in queries]
    assert recall(found, similarities(vectors, queries), mask) >= 0.99
