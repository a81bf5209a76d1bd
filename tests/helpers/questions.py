"""Queries of one step, for tests that query the points of a store."""

from retrieval_store.query.query import NearestDense, NearestSparse, Query, QueryStep


def nearest_to(space, vectors, k, expression=None, prefetch=(), **how):
    """The k nearest to each vector; matrices for spaces with several vectors per point."""
    return QueryStep(NearestDense(space, vectors, **how), k, expression, prefetch)


def by_sparse(space, vectors, k, expression=None):
    """The k best for each sparse vector."""
    return QueryStep(NearestSparse(space, vectors), k, expression)


def search(points, step, fields):
    """The hits of each query of one step."""
    return points.ask(Query((step,), fields))
