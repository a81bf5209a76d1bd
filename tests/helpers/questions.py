"""Questions of one step, for tests that ask the points of a store."""

from retrieval_store.query.query import NearestDense, NearestSparse, Query, QueryStep


def nearest_to(space, vectors, k, expression=None, prefetch=(), **how):
    """The k nearest to each of some vectors, or matrices where points have several vectors."""
    return QueryStep(NearestDense(space, vectors, **how), k, expression, prefetch)


def by_sparse(space, vectors, k, expression=None):
    """The k best for each of some sparse vectors."""
    return QueryStep(NearestSparse(space, vectors), k, expression)


def search(points, step, fields):
    """The hits of each query of one step."""
    return points.ask(Query((step,), fields))
