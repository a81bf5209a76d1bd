"""The index passes the tests that retrieval-store has for indexes."""

from retrieval_store_usearch import UsearchIndex

from retrieval_store.conformance import IndexTests


class TestUsearch(IndexTests):
    """At its usual settings."""

    index_class = UsearchIndex
