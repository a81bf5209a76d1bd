"""Questions of one step, for tests that ask the points of a store."""

from retrieval_store.query.query import Near, Question, Sparse, Step


def nearest_to(space, vectors, k, expression=None, prefetch=(), **how):
    """The k nearest to each of some vectors, or matrices where points have several vectors."""
    return Step(Near(space, vectors, **how), k, expression, prefetch)


def by_sparse(space, vectors, k, expression=None):
    """The k best for each of some sparse vectors."""
    return Step(Sparse(space, vectors), k, expression)


def search(points, step, fields):
    """The hits of each query of one step."""
    return points.ask(Question((step,), fields))
