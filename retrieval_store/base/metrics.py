"""How far vectors are apart, what scores are made of it, and the ways to fuse rankings by name."""

from typing import Literal, TypeAlias, get_args

import numpy as np

from retrieval_store.base.arrays import Floats

Metric: TypeAlias = Literal["l2", "ip", "cosine", "l1"]
METRICS: tuple[Metric, ...] = get_args(Metric)
LESS_IS_BETTER = ("l2", "l1")  # of a server's scores: these are distances
Fusion: TypeAlias = Literal["rrf", "weighted", "adaptive"]
FusionKind: TypeAlias = Fusion | Literal["server_rrf", "dbsf"]  # see `ranking.fused`
RRF_K = 60


def similarity_of(distances: Floats, metric: Metric) -> Floats:
    """Greater is nearer: the cosine or the dot product; of squared L2 and of L1 the negative."""
    return -distances if metric in LESS_IS_BETTER else 1.0 - distances


def server_scores_of(similar: Floats, metric: Metric) -> Floats:
    """The scores that a Qdrant server gives for similarities: the L2 and the L1 distance, and all
    others as they are."""
    if metric == "l2":
        return np.sqrt(np.abs(similar))
    return np.abs(similar) if metric == "l1" else similar
