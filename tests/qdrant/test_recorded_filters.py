"""Filters, facets and orders find what a real server has found, without and with indexes."""

from collections import Counter

import pytest

from tests.qdrant.replaying import replayed

ASKED = {
    "filters": 880,
    "filters, keyword index": 96,
    "filters, integer index": 96,
    "filters, float index": 96,
    "filters, bool index": 96,
    "filters, geo index": 96,
    "filters, datetime index": 96,
    "filters, uuid index": 96,
    "filters, text index": 100,
    "text index": 780,
    "large integers": 42,
}


@pytest.mark.parametrize("recording", ["a", "b"])
def test_filters_find_what_a_real_server_found(recording):
    asked = Counter()
    for line, part, agrees in replayed(recording):
        asked[part] += 1
        assert agrees, f"line {line}, {part}"
    assert asked == ASKED
