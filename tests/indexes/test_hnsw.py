"""Files of hnswlib, changed so that a careless reader would crash."""

import subprocess
import sys

import numpy as np
import pytest

from retrieval_store.indexes.hnsw import HEADER, HNSWIndex
from tests.helpers import ROOT
from tests.helpers.indexed import DIMENSION, SMALL, cloud

HOSTILE = """
import random, sys, warnings
from pathlib import Path
from tests.indexes.test_hnsw import DIMENSION, HNSWIndex, SMALL, cloud, tamper
source, rounds = Path(sys.argv[1]), int(sys.argv[2])
refused = used = 0
for number in range(rounds):
    file = source.with_name("tampered")
    file.write_bytes(tamper(bytearray(source.read_bytes()), random.Random(number)))
    index = HNSWIndex(DIMENSION, "l2", SMALL["hnsw"])
    try:
        index.load(file, 1_000)
    except ValueError:
        refused += 1
        continue
    used += 1
    index.search(cloud(20, number), 50)
    index.add(cloud(20, number))
print(refused, used)
"""


def tamper(data, moves):
    """One of many ways to change a file so that it may crash a careless reader."""
    element = 4 * (2 * 8 + 1) + 4 * DIMENSION + 8
    level0 = HEADER.itemsize + moves.randrange(1_000) * element
    upper = HEADER.itemsize + 1_000 * element
    place = moves.choice(
        [
            moves.randrange(0, HEADER.itemsize, 4),
            level0 + 4 * moves.randrange(17),
            level0 + element - 8,
            moves.randrange(upper, len(data) - 4),
        ]
    )
    value = moves.choice([0, 1, 999, 1_000, 2**31, 2**32 - 1, moves.randrange(2**32)])
    data[place : place + 4] = value.to_bytes(4, "little")
    return data if moves.random() < 0.8 else data[: moves.randrange(len(data))]


@pytest.mark.parametrize("count", [1, 7, 1_000])
@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_saved_graphs_are_loaded_unchanged(tmp_path, metric, count):
    saved, loaded = (HNSWIndex(DIMENSION, metric, SMALL["hnsw"]) for _ in range(2))
    saved.add(cloud(count))
    saved.save(tmp_path / "saved")
    loaded.load(tmp_path / "saved", count)
    loaded.save(tmp_path / "again")
    files = [(tmp_path / name).read_bytes()[HEADER.itemsize :] for name in ("saved", "again")]
    assert files[0] == files[1]
    assert loaded.holds(0, cloud(count)).all()
    answers = [index.search(cloud(20, 1), 10) for index in (saved, loaded)]
    assert np.array_equal(answers[0], answers[1])
    loaded.add(cloud(500, 2))
    numbers, _ = loaded.search(cloud(500, 2), 1)
    assert metric == "ip" or np.mean(numbers[:, 0] == np.arange(count, count + 500)) > 0.85


@pytest.mark.property
def test_no_file_crashes_the_process(tmp_path):
    index = HNSWIndex(DIMENSION, "l2", SMALL["hnsw"])
    index.add(cloud(1_000))
    index.save(tmp_path / "saved")
    command = [sys.executable, "-c", HOSTILE, str(tmp_path / "saved"), "400"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2_000:]
    refused, used = map(int, done.stdout.split())
    assert refused > 200
    assert used > 20  # changed numbers that lead nowhere else may stay
