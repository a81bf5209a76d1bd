"""What tests of several rooms share."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the project: tests that run as programs start there
PATIENCE = 120  # seconds after which something hangs, on however busy a machine
