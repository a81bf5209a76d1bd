"""Collections on a Qdrant cluster, through qdrant-client's own interface.

Sharding, replication and consensus are Qdrant's. What a Collection means is kept: ids are strings,
points come in the order of first insertion, and a filter lets through exactly what it says, since
what Qdrant finds is checked here once more.
"""
