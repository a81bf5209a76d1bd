"""temporary"""

EVERY = object()
Path = tuple


def parse_path(key):
    return tuple(key.split("."))


def parse_filter(f, i):
    assert f is None, "no filters yet"


def facet_of(*a):
    raise NotImplementedError


def order_of(*a):
    raise NotImplementedError


def indexed_values(*a):
    return 0


def checked_index(key, schema):
    return {"data_type": getattr(schema, "value", schema)}
