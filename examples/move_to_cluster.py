"""Move a running application from a directory to a Qdrant cluster, with a short pause.

    python examples/move_to_cluster.py [--url https://qdrant.example:6333] [--api-key KEY]

The application writes into a directory all the time. The program copies its collection meanwhile.
Then it pauses the application, copies the latest changes, and compares the answers of both stores.
The application continues on the cluster with the same code. Without --url, qdrant-client's store in
memory replaces the cluster.

Needs: pip install . ./integrations/cluster
"""

import argparse
import tempfile
import threading
import time
from contextlib import AbstractContextManager

import qdrant_client

import retrieval_store

NOTES = [
    "Prune the roses in March.",
    "The bank raised its interest rates.",
    "Let green tea draw for two minutes.",
    "The train to the coast leaves at nine.",
]
QUESTIONS = ["garden work", "money", "a hot drink", "travelling"]


class Application:
    """Writes a note every few milliseconds, and answers questions. It doesn't know which store it
    uses."""

    def __init__(self, client: retrieval_store.Client) -> None:
        self._client, self._resting = client, threading.Lock()
        self.written = 0

    @property
    def notes(self) -> retrieval_store.Collection:
        """The collection in the current store."""
        return self._client.get_or_create_collection("notes", embedding_function="wordllama")

    def write(self, ends: threading.Event) -> None:
        """Write until the end."""
        while not ends.wait(0.01):
            with self._resting:
                text = f"Entry {self.written} of the log."
                self.notes.upsert(ids=f"log-{self.written}", documents=text)
                self.written += 1

    def pause(self) -> AbstractContextManager[bool]:
        """A context manager: nothing is written in its `with` block."""
        return self._resting

    def go_on_with(self, client: retrieval_store.Client) -> None:
        """Use another store from now on."""
        self._client = client


def answers(client: retrieval_store.Client) -> list[list[str]]:
    """The ids that each question finds in a collection."""
    notes = client.get_collection("notes")
    return notes.query(query_texts=QUESTIONS, n_results=3, include=[])["ids"]


def move(
    application: Application, here: retrieval_store.Client, there: retrieval_store.Client
) -> None:
    """Copy while the application writes. Then pause it, copy the last writes, and let it continue
    on the other store."""
    start = time.perf_counter()
    here.copy_to(there)
    print(f"copied in {time.perf_counter() - start:.2f} s, while it wrote")
    with application.pause():
        start = time.perf_counter()
        here.copy_to(there)  # copies only later writes
        counts = [one.get_collection("notes").count() for one in (here, there)]
        assert counts[0] == counts[1] and answers(here) == answers(there)
        application.go_on_with(there)
        print(f"paused for {time.perf_counter() - start:.2f} s; {counts[1]} notes on both sides")


def main() -> None:
    """Write, move, and check that nothing is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="of the cluster")
    parser.add_argument("--api-key", help="of the cluster")
    chosen = parser.parse_args()
    cluster = {"location": ":memory:"} if chosen.url is None else {"url": chosen.url}
    qdrant = qdrant_client.QdrantClient(**cluster, api_key=chosen.api_key)
    with (
        tempfile.TemporaryDirectory() as folder,
        retrieval_store.Client(folder) as here,
        retrieval_store.Client(qdrant_client=qdrant) as there,
    ):
        application, ends = Application(here), threading.Event()
        application.notes.upsert(ids=[f"note-{i}" for i in range(len(NOTES))], documents=NOTES)
        writing = threading.Thread(target=application.write, args=(ends,))
        writing.start()
        move(application, here, there)
        moved = application.written
        while application.written < moved + 10:
            time.sleep(0.01)
        ends.set()
        writing.join()
        held, left = there.get_collection("notes").count(), here.get_collection("notes").count()
        print(f"{held} notes on the cluster, {left} in the directory; nothing was lost")
        assert held == application.written + len(NOTES)
    qdrant.close()


if __name__ == "__main__":
    main()
