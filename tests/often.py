"""How often tests try what they try again and again: `scripts/test --full` sets TEST_FULL.

By default a few times, others each day: what is rarely wrong is found by the runs of some days.
"""

import os
from datetime import date
from zlib import crc32

FULL = "TEST_FULL" in os.environ
EXAMPLES = 16  # of hypothesis
# Once for all processes of a run, which may last until the next day.
DAY = int(os.environ.setdefault("TEST_TURN", str(date.today().toordinal())))


def times(few: int, many: int) -> int:
    """`many` in full runs, else `few`."""
    return many if FULL else few


def up_to(examples: int) -> int:
    """So many examples of hypothesis in full runs, else 16 at most."""
    return times(min(EXAMPLES, examples), examples)


def turn(of: int) -> int:
    """A number from 0 to `of` - 1, another each day: which share of what is left out by default is
    tried today; 0 in full runs. TEST_TURN names another day's."""
    return 0 if FULL else DAY % of


def is_turn_of(name: str, of: int) -> bool:
    """Whether a test of this name is tried today, which it is every so many days; in full runs all
    are."""
    return FULL or crc32(name.encode()) % of == DAY % of
