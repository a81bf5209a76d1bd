"""The tables of docs/reference/routes.md are those of the server."""

import re
import sys

import pytest

from tests.helpers import ROOT

sys.path.insert(0, str(ROOT / "scripts" / "site"))
import routes

from retrieval_store_server.http.bodies import CLOSED, DIFFERENCES
from retrieval_store_server.http.routes import ROUTES


def test_the_page_has_the_tables_of_the_server():
    text = routes.PAGE.read_text()
    assert routes.filled(text) == text, "run scripts/site/routes.py"


@pytest.mark.parametrize("changed", [("| any |", "| none |"), ("or more", "or less")])
def test_a_table_that_is_changed_by_hand_is_noticed(changed):
    text = routes.PAGE.read_text()
    assert routes.filled(text.replace(*changed)) == text != text.replace(*changed)


def test_every_route_and_every_difference_stands_there_once():
    text = routes.PAGE.read_text()
    shown = re.findall(r"^\| ([A-Z]+) \| `([^`]+)` \|", text, re.MULTILINE)
    assert sorted(shown) == sorted((route.method, route.path) for route in ROUTES)
    rows = text.partition("| read here |")[2].partition("<!--")[0].strip().splitlines()[1:]
    assert len(rows) == len(DIFFERENCES) + len(CLOSED)


def test_no_table_of_the_page_is_written_by_hand():
    text = routes.BLOCK.sub("", routes.PAGE.read_text())
    assert not re.search(r"^\|", text, re.MULTILINE)
