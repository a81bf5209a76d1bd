"""Searches built with Chroma's own classes."""

import chromadb
import pytest
from chromadb.execution import expression as theirs

from retrieval_store import Search
from tests.api.test_chroma_search import ASKED, MINE, OTHER, QUERY, here, sparse  # noqa: F401

THEIRS = theirs.Knn(query=QUERY, limit=30)
SPARSELY = theirs.Knn(
    query=chromadb.SparseVector(**sparse(ASKED)), key="sparse", limit=30, default=2.0
)
SEARCHES = [
    theirs.Search().rank(THEIRS).limit(5).select_all(),
    theirs.Search().where((theirs.K("n") > 3) & (theirs.K.DOCUMENT.contains("2"))),
    theirs.Search(theirs.K.ID.is_in(["r1", "r2"]) | (theirs.K("n") == 5), THEIRS),
    theirs.Search(rank=THEIRS * 0.5 - SPARSELY / 2 + 1).limit(7, 2).select("n", theirs.K.SCORE),
    theirs.Search(rank=abs(THEIRS).exp().log().max(SPARSELY).min(0.5)).select(theirs.K.SCORE),
    theirs.Search(
        rank=theirs.Rrf(
            [
                theirs.Knn(query=QUERY, limit=30, return_rank=True),
                theirs.Knn(query=OTHER, limit=30, return_rank=True, default=70.0),
            ],
            weights=[2.0, 1.0],
            normalize=True,
        ),
        group_by=theirs.GroupBy(theirs.K("colour"), theirs.MaxK([theirs.K("n")], 2)),
        select=[theirs.K.SCORE.name],
    ),
]


@pytest.mark.parametrize("place", range(len(SEARCHES)))
def test_chromas_own_searches_mean_the_same(here, place):
    own = here.search(MINE[place])
    assert own["ids"][0]
    read = Search.from_dict(SEARCHES[place].to_dict())
    for search in (SEARCHES[place], SEARCHES[place].to_dict(), read, [read]):
        found = here.search(search)
        assert {**found, "select": None} == {**own, "select": None}
        assert sorted(found["select"][0]) == sorted(own["select"][0])


def test_chroma_reads_what_is_written_here():
    for mine in MINE:
        form = mine.to_dict()
        if form["filter"] is not None:
            assert theirs.Where.from_dict(form["filter"]).to_dict() == form["filter"]
        if form["rank"] is not None and "indices" not in str(form["rank"]):
            assert set(theirs.Rank.from_dict(form["rank"]).to_dict()) == set(form["rank"])
        assert theirs.GroupBy.from_dict(form["group_by"]).to_dict() == form["group_by"]
        assert theirs.Limit.from_dict(form["limit"]).to_dict() == form["limit"]
        selected = theirs.Select.from_dict(form["select"]).to_dict()["keys"]
        assert sorted(selected) == sorted(form["select"]["keys"])
        assert Search.from_dict(form).to_dict() == form
