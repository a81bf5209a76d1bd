"""Exported files can be imported again."""

import json

import retrieval_store
from retrieval_store_files import add_file, export_csv
from tests.cli.test_refusals import folder, made  # noqa: F401 (fixtures)
from tests.helpers.terminals import run


def test_lines_are_printed_and_commas_come_in_again(folder):
    done = run("export", "store", "things", "-", cwd=folder)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["a", "b", "c"]
    assert run("export", "store", "things", "arrays/", cwd=folder).returncode == 0
    assert (folder / "arrays" / "embeddings.npy").exists()
    assert b"3 records" in run("export", "store", "things", "out.csv", cwd=folder).stdout
    assert b"added 3" in run("add", "store", "again", "out.csv", cwd=folder).stdout
    with retrieval_store.Client(folder / "store") as client:
        odd = client.create_collection("odd", {"sparse": {}}, embedding_function=None)
        odd.add(
            ["1", 'q"', "n\r\nl"], [[0.1, 1e-30], [2, 3], [-0.0, 5]],
            [{"a": [1, {"b": None}], "n": 2**63}, {}, None], [' "x",\r\ny ', None, "ü"],
            sparse_embeddings=[{"indices": [1], "values": [0.5]}, None, None],
        )  # fmt: skip
        export_csv(odd, folder / "odd.csv")
        wanted = list(odd.iterate(10, include=["documents", "metadatas", "embeddings", "uris"]))
        again = client.create_collection("odder", {"sparse": {}}, embedding_function=None)
        assert add_file(again, folder / "odd.csv").added == 3
        for one, other in zip(wanted, again.iterate(10, include=["documents", "metadatas",
                              "embeddings", "uris"]), strict=True):  # fmt: skip
            assert one.pop("embedding").tobytes() == other.pop("embedding").tobytes()
            assert one == other
