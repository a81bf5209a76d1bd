"""Other processes for tests of this interface, like those of `tests.helpers.processes`."""

import sys

from retrieval_store.qdrant import QdrantClient, models

COUNT = 20  # points of which all versions are alike
SIZE = 2
EVERY = range(COUNT)


def first_version(path):
    """A client of a store whose points all have version 0."""
    client = QdrantClient(path=path)
    client.create_collection(
        "things",
        {
            "v": models.VectorParams(size=SIZE, distance=models.Distance.EUCLID),
            "turn": models.VectorParams(size=1, distance=models.Distance.EUCLID),
        },
    )
    client.create_collection("other")
    client.create_payload_index("things", "version", models.PayloadSchemaType.INTEGER)
    client.upsert("things", [point(i, 0) for i in EVERY])
    return client


def point(point_id, version):
    return models.PointStruct(
        id=point_id, vector={"v": [version] * SIZE}, payload={"version": version}
    )


def of_version(version):
    return models.FieldCondition(key="version", match=models.MatchValue(value=version))


def becoming(version):
    """Operations that together write a new version of all points, each in a different way."""
    first, second = EVERY[: COUNT // 2], EVERY[COUNT // 2 :]
    vectors = [models.PointVectors(id=i, vector={"v": [version] * SIZE}) for i in second]
    new = models.Filter(must_not=[of_version(version)])
    return [
        models.UpsertOperation(upsert=models.PointsList(points=[point(i, version) for i in first])),
        models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=vectors)),
        models.SetPayloadOperation(
            set_payload=models.SetPayload(payload={"version": version}, filter=new)
        ),
    ]


def rewrite(path: str, first: str) -> None:
    """Write every second version from this one on, each in one batch, without end."""
    with QdrantClient(path=path) as client:
        for version in range(int(first), 10**9, 2):
            client.batch_update_points("things", becoming(version))
            print(version, flush=True)


def versions_of(client, number: int) -> tuple[set[int], int]:
    """The versions in payloads and vectors of one read, and the number of points."""
    if number % 3:
        points, _ = client.scroll("things", limit=2 * COUNT, with_vectors=True)
        points = [points]
    else:
        request = models.QueryRequest(
            query=[0.0] * SIZE, using="v", limit=2 * COUNT, with_payload=True, with_vector=True
        )
        points = [found.points for found in client.query_batch_points("things", [request] * 2)]
    versions = {one.payload["version"] for some in points for one in some}
    versions |= {number for some in points for one in some for number in one.vector["v"]}
    (count,) = {len(some) for some in points}
    return versions, count


def mixtures(client, rounds: int, least: int) -> int:
    """How many of `rounds` reads saw points of different versions. Reads more until `least`
    versions were seen."""
    found, number, seen = 0, 0, set()
    while number < rounds or len(seen) < least:
        versions, count = versions_of(client, number)
        found += len(versions) != 1 or count != COUNT
        seen |= versions
        number += 1
    return found


def turn(client, number: int) -> None:
    """Alternately a batch that writes a version of all points and moves a vector from one point to
    the next, and a switch of aliases."""
    if number % 2:
        client.update_collection_aliases(
            [
                *(_no_alias("live"), _no_alias(f"turn-{number - 2}")),
                _alias("live", "things" if number % 4 == 1 else "other"),
                _alias(f"turn-{number}", "things"),
            ]
        )
        return
    moved = [models.PointVectors(id=number // 2 % COUNT, vector={"turn": [number]})]
    client.batch_update_points(
        "things",
        [
            models.DeleteVectorsOperation(
                delete_vectors=models.DeleteVectors(vector=["turn"], filter=models.Filter())
            ),
            *becoming(number),
            models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=moved)),
        ],
    )


def _alias(name, collection):
    return models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=collection, alias_name=name)
    )


def _no_alias(name):
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name))


def take_turns(path: str, first: str) -> None:
    """Make these changes without end; prints a line for each acknowledged one."""
    with QdrantClient(path=path) as client:
        print("ready", flush=True)
        for number in range(int(first), 10**9):
            turn(client, number)
            print(number, flush=True)


def snapshots_again_and_again(path: str) -> None:
    """Take snapshots without end; prints the name of each."""
    with QdrantClient(path=path) as client:
        while True:
            print(client.create_snapshot("things").name, flush=True)


if __name__ == "__main__":
    globals()[sys.argv[2]](*sys.argv[3:])
