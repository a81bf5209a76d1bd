"""Re-ranking: the order is the re-ranker's, over the hits of the same query without it."""

import numpy as np
import pytest

from retrieval_store import Rerank, TokenReranker, evaluate
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError, RerankerError
from tests.helpers import models

WORDS = ["ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine"]


def share_of_letters(query, documents):
    """How many letters of a document are in the query."""
    return [sum(letter in query for letter in one) / len(one) for one in documents]


class OfPairs:
    """A re-ranker with the interface of cross-encoders; records its pairs."""

    def __init__(self, name):
        setattr(self, name, self._score)
        self.read = []

    def _score(self, pairs):
        self.read += pairs
        return np.array([share_of_letters(query, [one]) for query, one in pairs], np.float32)


class WantsGradient:
    """Like a tensor that requires a gradient, which can't be converted to an array."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


@pytest.fixture
def trees(client):
    """Records with texts of several words, and three without a text."""
    chance = np.random.default_rng(3)
    trees = client.create_collection(
        "trees", {"hnsw": {"space": "cosine"}}, embedding_function=None
    )
    texts = [" ".join(chance.choice(WORDS, 4)) for _ in range(60)]
    trees.add(
        [f"t{i}" for i in range(60)],
        chance.normal(size=(60, 8)),
        [{"kind": int(i % 7)} for i in range(60)],
        [None if i in (5, 6, 7) else one for i, one in enumerate(texts)],
    )
    return trees


def expected(collection, query, depth, text, **given):
    """The expected result of re-ranking, by sorting the hits of the plain query: ids, scores,
    distances."""
    before = collection.query(n_results=depth, **given)
    distances = (before["distances"][0] if before["distances"] else None) or [None] * depth
    hits = zip(before["ids"][0], before["documents"][0], distances, strict=False)
    scored = [
        (one, None if doc is None else share_of_letters(text, [doc])[0], far)
        for one, doc, far in hits
    ]
    return sorted(scored, key=lambda one: (one[1] is None, -(one[1] or 0)))


@pytest.mark.parametrize("mode", ["dense", "text", "hybrid"])
def test_the_order_is_that_of_the_reranker(trees, mode):
    text, vector = "oak maple", np.ones(8)
    sources = {
        "dense": {"query_embeddings": [vector]},
        "text": {"query_texts": text, "mode": "text"},
        "hybrid": {"query_texts": text, "query_embeddings": [vector], "mode": "hybrid"},
    }[mode]
    compared = text if mode == "dense" else None
    given = {**sources, "where": {"kind": {"$ne": 3}}}
    for depth, count, offset in ((50, 10, None), (20, 20, None), (30, 4, 6)):
        wanted = expected(trees, vector, depth, text, **given)
        found = trees.query(
            n_results=count,
            offset=offset,
            rerank=Rerank(share_of_letters, depth, compared),
            **given,
        )
        window = wanted[(offset or 0) : (offset or 0) + count]
        assert found["ids"][0] == [one for one, _, _ in window]
        assert found["scores"][0] == [score for _, score, _ in window]
        if mode != "text":
            assert found["distances"][0] == [far for _, _, far in window]


def test_hits_without_a_document_come_last(trees):
    found = trees.query(
        query_embeddings=[np.ones(8)], n_results=60, rerank=Rerank(share_of_letters, query="elm")
    )
    assert set(found["ids"][0][-3:]) == {"t5", "t6", "t7"}
    assert found["scores"][0][-3:] == [None] * 3
    assert found["documents"][0][-3:] == [None] * 3
    assert (
        "documents"
        not in trees.query(query_texts="elm", mode="text", rerank=share_of_letters, include=[])[
            "included"
        ]
    )


@pytest.mark.embedded
def test_bounds_count_and_groups(trees):
    given = {"query_embeddings": [np.ones(8)], "rerank": Rerank(share_of_letters, query="elm")}
    every = trees.query(n_results=50, **given)
    bound = every["scores"][0][7]
    found = trees.query(n_results=50, min_score=bound, **given)
    assert found["ids"][0] == [
        one
        for one, score in zip(every["ids"][0], every["scores"][0], strict=True)
        if score is not None and score >= bound
    ]
    far = sorted(every["distances"][0])[20]
    near = trees.query(n_results=50, max_distance=far, **given)
    assert max(near["distances"][0]) <= far and len(near["ids"][0]) == 21
    grouped = trees.query(n_results=7, group_by="kind", include=["metadatas"], **given)
    assert sorted(one["kind"] for one in grouped["metadatas"][0]) == list(range(7))
    assert grouped["scores"][0] == sorted(
        grouped["scores"][0], key=lambda one: (one is None, -(one or 0))
    )


@pytest.mark.local
def test_several_queries_each_have_their_text(trees):
    texts = ["ash", "pine larch"]
    given = {"query_texts": texts, "mode": "text", "n_results": 3}
    both = trees.query(rerank=share_of_letters, **given)
    for text, ids in zip(texts, both["ids"], strict=True):
        assert [ids] == trees.query(rerank=share_of_letters, **{**given, "query_texts": text})[
            "ids"
        ]
    with pytest.raises(InvalidArgumentError, match="query of rerank has 1 texts, expected 2"):
        trees.query(rerank=Rerank(share_of_letters, query="ash"), **given)


@pytest.mark.embedded
@pytest.mark.parametrize("name", ["predict", "score"])
def test_cross_encoders_are_given_pairs(trees, name):
    model = OfPairs(name)
    given = {"query_texts": "oak", "mode": "text", "n_results": 3}
    assert (
        trees.query(rerank=model, **given)["ids"]
        == trees.query(rerank=share_of_letters, **given)["ids"]
    )
    assert {query for query, _ in model.read} == {"oak"}


def test_explain_and_why_show_what_moved(trees):
    given = {
        "query_texts": "oak maple",
        "mode": "text",
        "rerank": Rerank(share_of_letters, candidates=8),
        "n_results": 3,
    }
    found = trees.query(**given)["ids"][0]
    explanation = trees.explain(**given)
    (moved,) = explanation["reranked"]
    before = trees.query(query_texts="oak maple", mode="text", n_results=8)["ids"][0]
    assert [one["id"] for one in moved][:3] == found
    assert [one["after"] for one in moved] == list(range(1, 9))
    assert {one["id"]: one["before"] for one in moved} == {
        one: i + 1 for i, one in enumerate(before)
    }
    assert explanation["steps"]["rerank"] > 0

    late, unread = (
        moved[5]["id"],
        trees.query(query_texts="oak maple", mode="text", n_results=10)["ids"][0][9],
    )
    reasons = trees.why(**given, records=[found[0], late, unread])
    assert [one.found for one in reasons] == [True, False, False]
    assert reasons[0].place == 1 and reasons[0].reranked.before == before.index(found[0]) + 1
    assert reasons[1].reranked.after == 6 and reasons[1].ahead == [one["id"] for one in moved[:5]]
    for reason in reasons[1:]:  # what is advised shows the record, or has it read
        (advice,) = [one for one in reason.advice if "=" in one and "mode" not in one]
        name, value = advice.partition(": ")[2].split()[0].split("=")
        rerank = {"rerank": Rerank(share_of_letters, int(value))}
        changed = {**given, **(rerank if name == "candidates" else {name: int(value)})}
        again = trees.query(**changed)["ids"][0]
        read = trees.explain(**changed)["reranked"][0]
        assert reason.id in (again if name == "n_results" else [one["id"] for one in read])


@pytest.mark.embedded
def test_why_reports_an_empty_document(trees):
    given = {"query_embeddings": [np.ones(8)], "n_results": 1, "records": "t5"}
    for depth in (1, 60):
        (reason,) = trees.why(**given, rerank=Rerank(share_of_letters, depth, "elm"))
        assert "it has no document for the re-ranker to read" in reason.advice[0]


@pytest.mark.embedded
def test_evaluate_measures_it(trees):
    ids = trees.query(query_texts="oak", mode="text", n_results=50)["ids"][0]
    best = trees.query(query_texts="oak", mode="text", n_results=1, rerank=share_of_letters)["ids"][
        0
    ]
    assert best[0] in ids[1:]
    settings = {
        "plain": {"mode": "text"},
        "re-ranked": {"mode": "text", "rerank": share_of_letters},
    }
    reported = evaluate(trees, [{"query": "oak", "ids": best}], modes=[], settings=settings, k=1)
    recalls = [reported[one].values["recall"].tolist() for one in ("plain", "re-ranked")]
    assert recalls == [[0], [1]]


@pytest.mark.embedded
def test_impossible_settings_are_refused(trees):
    for given, error, message in [
        (
            {"rerank": "none"},
            InvalidArgumentError,
            "re-rankers of the names cross-encoder, similarity",
        ),
        ({"rerank": 7}, InvalidTypeError, "rerank is 7"),
        ({"rerank": dict}, InvalidTypeError, "rerank is <class 'dict'>"),
        (
            {"rerank": Rerank(share_of_letters, 9)},
            InvalidArgumentError,
            "candidates of rerank is 9, expected 10",
        ),
        ({"rerank": lambda q, d: [1.0]}, RerankerError, r"returned \[1.0\] \(list\) for"),
        ({"rerank": lambda q, d: ["a"] * len(d)}, RerankerError, "expected as many numbers"),
        ({"rerank": lambda q, d: [float("nan")] * len(d)}, RerankerError, "aren't finite"),
        ({"rerank": lambda q, d: [10**400] * len(d)}, RerankerError, "expected as many numbers"),
        ({"rerank": lambda q, d: [1j] * len(d)}, RerankerError, "expected as many numbers"),
        ({"rerank": lambda q, d: WantsGradient()}, RerankerError, "expected as many numbers"),
        ({"rerank": lambda q, d: [1 / 0]}, RerankerError, "rerank has failed: division by zero"),
    ]:
        with pytest.raises(error, match=message):
            trees.query(query_texts="oak", mode="text", **given)


@pytest.mark.embedded
def test_vectors_alone_have_no_text_to_compare_with(trees):
    with pytest.raises(InvalidArgumentError, match="rerank needs texts to compare"):
        trees.query(query_embeddings=[np.ones(8)], rerank=share_of_letters)


def scaled(numbers):
    """Numbers from 0 to 1."""
    return (numbers - numbers.min()) / (numbers.max() - numbers.min())


def test_a_weight_leaves_the_rest_to_the_scores_of_the_query(trees):
    given = {"query_embeddings": [np.ones(8)], "query_texts": "oak maple", "mode": "hybrid"}
    before = trees.query(n_results=50, include=["documents"], **given)
    kept = [i for i, one in enumerate(before["documents"][0]) if one]
    documents = [before["documents"][0][i] for i in kept]
    scores = np.array(before["scores"][0])[kept]
    read = np.array(share_of_letters("oak maple", documents))
    for weight in (0, 0.25, 0.5):
        found = trees.query(
            n_results=len(kept), rerank=Rerank(share_of_letters, weight=weight), **given
        )
        together = (1 - weight) * scaled(scores) + weight * scaled(read)
        order = np.argsort(-together, kind="stable")
        assert found["ids"][0] == [before["ids"][0][kept[i]] for i in order]
        assert found["scores"][0] == pytest.approx(together[order])


@pytest.mark.embedded
def test_a_reranker_declares_its_weight_and_the_caller_may_override_it(trees):
    class Modest:
        usual_weight = 0.25

        def __call__(self, query, documents):
            return share_of_letters(query, documents)

    given = {"query_texts": "oak maple", "mode": "text", "n_results": 20}
    modest = trees.query(rerank=Modest(), **given)
    assert modest["scores"] == trees.query(rerank=Rerank(Modest(), weight=0.25), **given)["scores"]
    alone = trees.query(rerank=Rerank(Modest(), weight=1), **given)
    assert alone["scores"] == trees.query(rerank=share_of_letters, **given)["scores"]
    assert alone["scores"] != modest["scores"]
    for wrong in (-0.1, 1.5, "half", True):
        with pytest.raises(InvalidArgumentError, match="weight of rerank"):
            trees.query(rerank=Rerank(share_of_letters, weight=wrong), **given)


@pytest.mark.embedded
def test_equal_scores_of_a_reranker_leave_the_order(trees):
    given = {"query_texts": "oak maple", "mode": "text", "n_results": 20}
    equal = Rerank(lambda query, documents: [3] * len(documents), weight=0.5)
    assert trees.query(rerank=equal, **given)["ids"] == trees.query(**given)["ids"]


def token_scores(query, documents):
    """The documented result of `TokenReranker`, token by token."""
    model = models.wordllama_model()

    def vectors(text):
        numbers = sorted(set(model.tokenize([text])[0].ids))
        return [model.embedding[one].astype(np.float64) for one in numbers]

    def cosine(one, other):
        return one @ other / np.linalg.norm(one) / np.linalg.norm(other)

    query_vectors = vectors(query)
    weights = np.array([np.linalg.norm(one) for one in query_vectors])
    return [
        sum(
            weight * max(cosine(one, other) for other in vectors(text))
            for one, weight in zip(query_vectors, weights, strict=True)
        )
        / weights.sum()
        for text in documents
    ]


@pytest.mark.local
def test_the_reranker_of_tokens_takes_the_nearest_of_each():
    query = "undo the last drawing"
    documents = ["Cancel the most recent stroke.", "A turtle is an animal.", query]
    scores = TokenReranker()(query, documents)
    assert scores == pytest.approx(token_scores(query, documents), abs=1e-5)
    assert scores.argmax() == 2 and scores[2] == pytest.approx(1, abs=1e-5)
    assert scores.argmin() == 1
    assert TokenReranker()("", ["text", ""]).tolist() == [0, 0]
    assert TokenReranker()(query, []).tolist() == []
    assert TokenReranker()(query, ["", query]).tolist() == pytest.approx([0, 1], abs=1e-5)


@pytest.mark.embedded
def test_the_reranker_of_tokens_is_found_by_name_and_can_be_weighted(trees):
    given = {"query_texts": "oaks and maples", "query_embeddings": [np.ones(8)], "mode": "hybrid"}
    named, made = (
        trees.query(n_results=20, rerank=one, **given)
        for one in ("tokens", Rerank(TokenReranker(), weight=0.4))
    )
    assert (named["ids"], named["scores"]) == (made["ids"], made["scores"])
    alone = trees.query(n_results=20, rerank=Rerank("tokens", weight=1), **given)
    expected = TokenReranker()("oaks and maples", alone["documents"][0])
    assert alone["scores"][0] == pytest.approx(expected)
    assert alone["scores"] != made["scores"]
