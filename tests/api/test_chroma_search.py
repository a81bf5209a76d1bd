"""`Collection.search` compared with brute force in float64, according to Chroma's documentation;
searches built with chromadb's own classes mean the same.
"""

import itertools

import numpy as np
import pytest

import retrieval_store
from retrieval_store import (
    GroupBy,
    K,
    Key,
    Knn,
    Limit,
    MaxK,
    MinK,
    Rrf,
    Search,
    SearchResult,
    Select,
    Val,
)
from retrieval_store.api.chroma.search import Grouping, group_records
from retrieval_store.errors import (
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidTypeError,
)

COUNT, DIMENSION = 60, 5
COLOURS = ["red", "green", "blue", None]
IDS = [f"r{i}" for i in range(COUNT)]
CHANCE = np.random.default_rng(7)
VECTORS = CHANCE.normal(size=(COUNT, DIMENSION)).astype(np.float32)
QUERY, OTHER = CHANCE.normal(size=(2, DIMENSION)).astype(np.float32)
WORDS = np.where(CHANCE.random((COUNT, 6)) < 0.5, CHANCE.random((COUNT, 6)), 0).astype(np.float32)
ASKED = np.array([1.0, 0.0, 0.5, 0.0, 2.0, 0.0], np.float32)


def sparse(row):
    places = np.flatnonzero(row)
    return {"indices": places.tolist(), "values": row[places].tolist()}


def metadata(i):
    colour = COLOURS[i % 4]
    return {"n": i, "half": i % 2 == 0, **({} if colour is None else {"colour": colour})}


METADATAS = [metadata(i) for i in range(COUNT)]
SPACE = {"hnsw": {"space": "l2"}, "sparse": {}}


def embedded(texts):
    return [QUERY if text == "query" else OTHER for text in texts]


def filled(client, space="l2", name="records"):
    made = client.create_collection(
        name, {"hnsw": {"space": space}, "sparse": {}}, embedding_function=embedded
    )
    documents = [f"document {i}" for i in range(COUNT)]
    made.add(IDS, VECTORS, METADATAS, documents, sparse_embeddings=list(map(sparse, WORDS)))
    return made


@pytest.fixture
def records(client):
    return filled(client)


@pytest.fixture(scope="module")
def here():
    with retrieval_store.EphemeralClient() as client:
        yield filled(client)


def far_from(query, space="l2"):
    """Distances in float64."""
    one, all_ = query.astype(np.float64), VECTORS.astype(np.float64)
    if space == "l2":
        return ((all_ - one) ** 2).sum(axis=1)
    lengths = np.linalg.norm(all_, axis=1) * np.linalg.norm(one) if space == "cosine" else 1.0
    return 1 - all_ @ one / lengths


def far_in_words():
    return 1 - WORDS.astype(np.float64) @ ASKED.astype(np.float64)


def column(far, limit, default=None, return_rank=False, among=None):
    """A Knn's score of each record, NaN for excluded ones; and which records it has found."""
    allowed = np.ones(COUNT, bool) if among is None else among
    order = [i for i in np.argsort(far, kind="stable") if allowed[i] and far[i] != 1.0][:limit]
    found = np.zeros(COUNT, bool)
    found[order] = True
    numbers = np.full(COUNT, np.nan if default is None else default)
    numbers[order] = range(len(order)) if return_rank else far[order]
    return numbers, found


def check(collection, rank, scores, found, **others):
    """The search returns the records to which any Knn gives a score, least first."""
    known = [i for i in range(COUNT) if found[i] and not np.isnan(scores[i])]
    expected = sorted(known, key=lambda i: scores[i])
    result = collection.search(Search(rank=rank, select=[K.SCORE], **others))
    np.testing.assert_allclose(result["scores"][0], scores[expected], rtol=1e-5, atol=1e-6)
    by_id = dict(zip(result["ids"][0], result["scores"][0], strict=True))
    assert set(by_id) == {IDS[i] for i in expected}
    for i in expected:
        assert by_id[IDS[i]] == pytest.approx(scores[i], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("space", ["l2", "ip", "cosine"])
def test_a_knn_is_what_query_finds_with_its_distances(client, space):
    records = filled(client, space)
    where = {"n": {"$gte": 20}}
    for query in ("query", QUERY, QUERY.tolist(), QUERY.astype(np.float64)):
        search = Search().where(where).rank(Knn(query, limit=30)).limit(4, offset=3)
        result = records.search(search.select(K.DOCUMENT, K.SCORE, "n"))
        same = records.query(QUERY, n_results=4, offset=3, where=where)
        assert result["ids"] == same["ids"] and result["documents"] == same["documents"]
        assert result["scores"] == same["distances"]
        assert result["metadatas"] == [[{"n": one["n"]} for one in same["metadatas"][0]]]
    limited = records.search(Search(rank=Knn(QUERY, limit=3), select=["#score"], limit=10))
    far = np.sort(far_from(QUERY, space))[:3]
    np.testing.assert_allclose(limited["scores"][0], far, rtol=1e-5, atol=1e-6)
    assert len(records.search(Search(rank=Knn(QUERY)))["ids"][0]) == 16  # as Chroma's limit


def test_records_count_that_any_knn_has_found_and_each_without_a_default(records):
    near, away = far_from(QUERY), far_from(OTHER)
    words, places = far_in_words(), sparse(ASKED)
    for first, second in itertools.product((None, 9.0), (None, 5.0)):
        rank = Knn(QUERY, limit=20, default=first) * 0.75 + Knn(OTHER, limit=25, default=second)
        one, found = column(near, 20, first)
        two, found_too = column(away, 25, second)
        check(records, rank, 0.75 * one + two, found | found_too)
        mixed = Knn(QUERY, limit=20, default=first) - Knn(places, "sparse", 15, second)
        two, found_too = column(words, 15, second)
        check(records, mixed, one - two, found | found_too)


def test_arithmetic_of_ranks(records):
    (a, found), (b, too) = column(far_from(QUERY), 40), column(far_from(OTHER), 40)
    one, two = Knn(QUERY, limit=40), Knn(OTHER, limit=40)
    both = found & too
    for rank, scores in [
        (2 - one / 4, 2 - a / 4),
        (1 / (one + 1), 1 / (a + 1)),
        (abs(-one), a),
        ((one - 5).abs(), np.abs(a - 5)),
        (one.log(), np.log(a)),
        ((-one).exp(), np.exp(-a)),
        (one.min(3).max(0.5), np.clip(a, 0.5, 3)),
    ]:
        check(records, rank, scores, found)
    for rank, scores in [
        (one + two + 1, a + b + 1),
        (one * two * Val(2), a * b * 2),
        (one.max(two), np.maximum(a, b)),
        (two.min(one).min(1.5), np.minimum(np.minimum(a, b), 1.5)),
        (one / two - two, a / b - b),
    ]:
        check(records, rank, scores, both)
    with pytest.raises(InvalidArgumentError, match="isn't a number"):
        records.search(Search(rank=(one - 1_000).log()))


def test_reciprocal_ranks_are_fused(records):
    near, words = far_from(QUERY), far_in_words()
    for weights, normalize, default in [
        (None, False, None),
        ([2.0, 1.0], False, 100.0),
        ([3, 1], True, 40),
    ]:
        ranks = [
            Knn("query", limit=30, default=default, return_rank=True),
            Knn(sparse(ASKED), K("sparse"), 20, default, return_rank=True),
        ]
        one, found = column(near, 30, default, return_rank=True)
        two, too = column(words, 20, default, return_rank=True)
        w, v = [1.0, 1.0] if weights is None else weights
        w, v = (w / (w + v), v / (w + v)) if normalize else (w, v)
        rank = Rrf(ranks, k=30, weights=weights, normalize=normalize)
        check(records, rank, -(w / (30 + one) + v / (30 + two)), found | too)


def test_conditions(records):
    cases = [
        (K("n") > 50, lambda i: i > 50),
        ((K("n") >= 10) & (K("n") < 14) & (K("half") == True), lambda i: i in (10, 12)),  # noqa: E712
        ((K("n") <= 1) | (K("n") == 7), lambda i: i in (0, 1, 7)),
        ((K("colour") != "red") & (K("n") < 5), lambda i: i in (1, 2, 3)),
        (K("n").is_in([3, 4]), lambda i: i in (3, 4)),
        (K("n").not_in(range(3, COUNT)), lambda i: i < 3),
        (K.DOCUMENT.contains("document 5"), lambda i: i == 5 or 50 <= i < 60),
        (K.DOCUMENT.not_contains("document"), lambda i: False),
        (K.DOCUMENT.regex(r"document [12]$"), lambda i: i in (1, 2)),
        (K.DOCUMENT.not_regex(r"\d\d"), lambda i: i < 10),
        (K("colour").contains("e") & (K("n") < 5), lambda i: i in (0, 1, 2, 4)),
        (K("colour").regex("^r") & (K("n") < 5), lambda i: i in (0, 4)),
        (K.ID == "r4", lambda i: i == 4),
        (K.ID.is_in(["r4", "r5"]) | (K("n") == 9), lambda i: i in (4, 5, 9)),
        (K.ID.not_in(["r4"]) & (K("n") < 6), lambda i: i in (0, 1, 2, 3, 5)),
        ((K.ID != "r0") & K("n").is_in([0, 1]), lambda i: i == 1),
        ({"#id": "r8"}, lambda i: i == 8),
    ]
    for where, is_allowed in cases:
        among = np.array([is_allowed(i) for i in range(COUNT)])
        everything = records.search(Search(where=where))
        assert everything["ids"] == [[IDS[i] for i in np.flatnonzero(among)]], where
        scores, found = column(far_from(QUERY), 8, among=among)
        check(records, Knn(QUERY, limit=8), scores, found, where=where)


def test_groups(here):
    far = far_from(QUERY)
    nearest = [int(i) for i in np.argsort(far)[:40]]
    knn = Knn(QUERY, limit=40)

    def found(keys, aggregate, **others):
        search = Search(rank=knn, group_by=GroupBy(keys, aggregate), **others)
        return [int(one[1:]) for one in here.search(search)["ids"][0]]

    def expected(kind, order, size):
        groups = {}
        for i in nearest:
            groups.setdefault(kind(i), []).append(i)
        kept = [i for some in groups.values() for i in sorted(some, key=order)[:size]]
        return sorted(kept, key=lambda i: far[i])

    def colour(i):
        return METADATAS[i].get("colour")

    def both(i):
        return colour(i), METADATAS[i]["half"]

    assert found(K("colour"), MinK(K.SCORE, 2)) == expected(colour, lambda i: far[i], 2)
    assert found("colour", MaxK("n", 3)) == expected(colour, lambda i: -i, 3)
    same = [{"a": 1, "b": [2]}, {"b": [2], "a": 1}, {"a": 1, "b": [3]}, 10**16, 1e16, True, 1]
    payloads = [{"key": value} for value in same]
    grouping = Grouping(("key",), ("#score",), 1, True)
    assert group_records(grouping, payloads, np.arange(7.0)) == [0, 2, 3, 5, 6]
    assert found([K("colour"), "half"], MinK(K("n"), 1)) == expected(both, lambda i: i, 1)
    by_two = expected(lambda i: METADATAS[i]["half"], lambda i: (colour(i) or "", far[i]), 4)
    assert found("half", MinK(["colour", K.SCORE], 4)) == by_two
    window = found("colour", MinK(K.SCORE, 2), limit=Limit(offset=2, limit=3))
    assert window == expected(colour, lambda i: far[i], 2)[2:5]


def test_only_selected_fields_are_shown(here):
    knn = Knn(QUERY, limit=2)
    nothing = here.search(Search(rank=knn))
    assert isinstance(nothing, SearchResult)
    for name in ("documents", "embeddings", "metadatas", "scores"):
        assert nothing[name] == [None]
    assert nothing.rows() == [[{"id": one} for one in nothing["ids"][0]]]
    ((row, _),) = here.search(Search(rank=knn).select_all()).rows()
    i = IDS.index(row["id"])
    assert row["document"] == f"document {i}" and row["metadata"] == METADATAS[i]
    assert row["embedding"] == VECTORS[i].tolist()
    assert row["score"] == pytest.approx(far_from(QUERY)[i], rel=1e-5)
    some = here.search(Search(rank=knn, select=Select({K("n"), "missing"})))
    assert all([*one] == ["n"] for one in some["metadatas"][0])
    assert sorted(some["select"][0]) == ["missing", "n"]
    page = here.search(Search().limit(2, 1).select(K.SCORE, K.DOCUMENT))
    assert page["ids"] == [["r1", "r2"]] and page["scores"] == [None]


def test_several_searches_are_answered_each_with_one_call_of_the_model(client):
    calls = []

    def counted(texts):
        calls.append(texts)
        return [[len(text), 0] for text in texts]

    made = client.create_collection("counted", embedding_function=counted)
    made.add(list("abc"), [[1, 0], [2, 0], [3, 0]], documents=["1", "2", "3"])
    calls.clear()
    searches = [
        Search().rank(Knn("x")).limit(1),
        Search().limit(1, 2),
        Search().rank(Knn("xx") + Knn("xxx")).select(K.DOCUMENT).limit(1),
    ]
    found = made.search(searches)
    assert found["ids"] == [["a"], ["c"], ["b"]] and found["documents"] == [None, None, ["2"]]
    assert found["select"] == [[], [], ["#document"]]
    assert calls == [["x", "xx", "xxx"]]


def test_nothing_is_found_in_an_empty_collection(collection):
    rank = Knn([1.0, 2.0]) + Knn([2.0, 1.0], default=1.0)
    found = collection.search([Search(), Search(rank=rank).select_all()])
    assert found["ids"] == [[], []] and found["scores"] == [None, []]


MINE = [
    Search().rank(Knn(QUERY, limit=30)).limit(5).select_all(),
    Search().where((K("n") > 3) & (K.DOCUMENT.contains("2"))),
    Search(K.ID.is_in(["r1", "r2"]) | (K("n") == 5), Knn(QUERY, limit=30)),
    Search(rank=Knn(QUERY, limit=30) * 0.5 - Knn(sparse(ASKED), "sparse", 30, 2.0) / 2 + 1)
    .limit(7, 2)
    .select("n", K.SCORE),
    Search(
        rank=abs(Knn(QUERY, limit=30))
        .exp()
        .log()
        .max(Knn(sparse(ASKED), "sparse", 30, 2.0))
        .min(0.5)
    ).select(K.SCORE),
    Search(
        rank=Rrf(
            [Knn(QUERY, limit=30, return_rank=True), Knn(OTHER, K.EMBEDDING, 30, 70.0, True)],
            weights=[2.0, 1.0],
            normalize=True,
        ),
        group_by=GroupBy(Key("colour"), MaxK([Key("n")], 2)),
        select=[K.SCORE],
    ),
]


@pytest.mark.parametrize("search", MINE)
def test_a_search_is_the_same_written_and_read(here, search):
    own = here.search(search)
    assert own["ids"][0]
    read = Search.from_dict(search.to_dict())
    assert read.to_dict() == search.to_dict()
    assert here.search([read]) == here.search(search.to_dict()) == own


def deep(levels):
    rank = Knn(QUERY)
    for _ in range(levels):
        rank = rank.abs()
    return rank


@pytest.mark.parametrize(
    ("search", "kind", "named"),
    [
        (7, InvalidTypeError, "searches is 7"),
        ([], InvalidArgumentError, "searches is empty"),
        ([Search(), "x"], InvalidTypeError, r"searches\[1\] is 'x'"),
        ({"where": {}}, InvalidArgumentError, "search has the key 'where'.*filter"),
        (Search(rank=Val(1)), InvalidArgumentError, "rank has no Knn"),
        (Search(rank={"$knn": {}}), InvalidTypeError, r"rank\['\$knn'\] is .* with a query"),
        (Search(rank={"$power": [1]}), InvalidArgumentError, r"rank\['\$power'\].*\$knn"),
        (Search(rank={"$sum": 3}), InvalidTypeError, r"rank\['\$sum'\] is 3"),
        (Search(rank={"$sub": {"left": {}}}), InvalidTypeError, "left and right"),
        (Search(rank=Knn(QUERY, limit=0)), InvalidArgumentError, r"\['limit'\] is 0"),
        (Search(rank=1 + Knn(QUERY, default="x")), InvalidTypeError, r"\['default'\] is 'x'"),
        (Search(rank=Knn(VECTORS[:2])), InvalidArgumentError, "has 2 vectors, expected one"),
        (Search(rank=Knn(QUERY, key=K.DOCUMENT)), InvalidArgumentError, "'#document'"),
        (Search(rank=Knn("text", key="sparse")), InvalidTypeError, "no function.*embed_query"),
        (Search(rank=Knn(sparse(ASKED))), InvalidArgumentError, "is a sparse vector"),
        (
            Search(rank=Knn(sparse(ASKED), "one") + Knn(sparse(ASKED), "two")),
            InvalidArgumentError,
            "one, two, but a collection has one kind of sparse vectors",
        ),
        (Search(rank=deep(300)), InvalidArgumentError, "deeper than 200"),
        (Search(K.SCORE > 1), InvalidFilterError, "'#score'.*known only"),
        (Search({"#id": {"$gt": "a"}}), InvalidFilterError, r"'\$gt'"),
        (Search({"n": {"$about": 1}}), InvalidFilterError, r"\$about"),
        (Search(group_by=GroupBy("n", MinK("n", 1))), InvalidArgumentError, "goes with rank"),
        (
            Search(rank=Knn(QUERY), group_by=GroupBy("n", MinK("n", 0))),
            InvalidArgumentError,
            r"\['k'\] is 0",
        ),
        (
            Search(rank=Knn(QUERY), group_by=GroupBy(K.SCORE, MinK("n", 1))),
            InvalidArgumentError,
            "has K.SCORE",
        ),
        (Search(select=["#vector"]), InvalidArgumentError, "select has '#vector'"),
    ],
)
def test_impossible_searches_are_refused_by_their_place(here, search, kind, named):
    with pytest.raises(kind, match=named):
        here.search(search)


def test_unwritable_expressions_are_refused_at_once(client):
    for make, named in [
        (lambda: Rrf([]), "ranks is empty"),
        (lambda: Rrf([Knn("x")], k=0), "k is 0"),
        (lambda: Rrf([Knn("x")], weights=[1, 2]), "weights has 2 numbers, expected 1"),
        (lambda: Rrf([Knn("x")], weights=[-1]), r"weights\[0\] is -1"),
        (lambda: Rrf([Knn("x")], weights=[0], normalize=True), "all 0"),
        (lambda: Knn("x") + "y", "combined with 'y'"),
        (lambda: (K("a") > 1) & {"b": 1}, "combined with"),
        (lambda: Search(limit=0), "is 0"),
        (lambda: Search().limit(5, offset=-1), "is -1"),
        (lambda: Search(where="x"), "where is 'x'"),
        (lambda: Search(group_by={"keys": ["a"]}), "expected keys and aggregate"),
        (lambda: K(""), "expected a metadata key"),
        (lambda: Search(select=[""]), "a key is ''"),
    ]:
        with pytest.raises(InvalidArgumentError, match=named):
            make()
    plain = client.create_collection("plain", embedding_function=None)
    plain.add("a", [[1, 2]])
    with pytest.raises(InvalidArgumentError, match="no sparse vectors"):
        plain.search(Search(rank=Knn(sparse(ASKED), "sparse_embedding")))
    with pytest.raises(EmbeddingFunctionError, match="without an embedding function"):
        plain.search(Search(rank=Knn("text")))


async def test_an_event_loop_awaits_it():
    async with retrieval_store.AsyncClient() as client:
        made = await client.create_collection("a-few", embedding_function=None)
        await made.add(["a", "b"], [[0, 0], [1, 1]])
        found = await made.search(Search(rank=Knn([1, 1]), select=[K.SCORE]))
        assert (found["ids"], found["scores"]) == ([["b", "a"]], [[0.0, 2.0]])
