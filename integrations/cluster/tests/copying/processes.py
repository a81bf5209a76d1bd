"""Other processes that copy, and write meanwhile; each prints a line for what has happened."""

import sys
from pathlib import Path

import retrieval_store
from tests.helpers.copies import by_points


def copy(source: str, target: str, how: str) -> None:
    """Copy a store to a directory, or a URL; by "points" also where files could be copied."""
    if how == "points":
        by_points(page=50)
    there = {"url": target} if target.startswith("http") else {"path": target}
    with retrieval_store.Client(Path(source)) as ours, retrieval_store.Client(**there) as other:
        print("ready", flush=True)
        for copied in ours.copy_to(other):
            print(copied.name, copied.points, flush=True)


def write_without_end(path: str) -> None:
    """Insert, change and delete; a line after each operation."""
    with retrieval_store.Client(path) as client:
        things = client.get_collection("things", embedding_function=None)
        for turn in range(10**9):
            things.upsert([f"n{turn % 700}"], [[turn, 1.0]], [{"turn": turn}])
            if turn % 3 == 0:
                things.delete([f"p{turn // 3}"])
            if turn % 5 == 0:
                things.update(
                    [f"p{1500 + turn % 100}"], documents=f"turn {turn}", embeddings=[[turn, 2]]
                )
            print(turn, flush=True)


if __name__ == "__main__":
    globals()[sys.argv[2]](*sys.argv[3:])
