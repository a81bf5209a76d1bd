"""The tables of docs/reference/routes.md match the server's routes."""

import sys

from tests.helpers import ROOT

sys.path.insert(0, str(ROOT / "scripts" / "site"))
import routes


def test_the_page_has_the_tables_of_the_server():
    text = routes.PAGE.read_text()
    assert routes.filled(text) == text, "run scripts/site/routes.py"
