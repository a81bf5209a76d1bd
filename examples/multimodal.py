"""Find images by image: photos cut into tiles, asked for with tiles that the store hasn't seen.

    python examples/multimodal.py [--sheet contact-sheet.png] [--clip CHECKPOINT] [FOLDER]

Needs scikit-learn, for its photos of a temple and of a flower. Images are embedded by their colours
and edges, which needs no download; with `--clip` by OpenCLIP's ViT-B-32 and your checkpoint, a name
or a path. The tiles are files; the store keeps their uris and loads them when asked to. Draws a
contact sheet: each query at the left, its hits beside it.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

import retrieval_store
from retrieval_store import ImageLoader, OpenCLIPEmbeddingFunction

TILE, HITS = 80, 5


@retrieval_store.register_embedding_function("colours-and-edges")
class ColoursAndEdges:
    """A histogram of colours and one of the directions of edges, of length 1."""

    def settings(self) -> dict:
        """There are none."""
        return {}

    def __call__(self, input: list[np.ndarray]) -> np.ndarray:
        return np.stack([self._vector(np.asarray(image, np.float32)) for image in input])

    @staticmethod
    def _vector(image: np.ndarray) -> np.ndarray:
        steps = (image // 64).reshape(-1, 3).astype(int) @ [16, 4, 1]
        colours = np.bincount(steps, minlength=64)
        down, right = np.gradient(image.mean(axis=2))
        angles = ((np.arctan2(down, right) + np.pi) / (2 * np.pi) * 8).astype(int) % 8
        edges = np.bincount(angles.ravel(), np.hypot(down, right).ravel(), 8)
        parts = [np.sqrt(part / max(part.sum(), 1e-9)) for part in (colours, edges)]
        vector = np.concatenate(parts)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def tiles(folder: Path) -> dict[str, list[Path]]:
    """The photos, cut into files; by photo."""
    cut: dict[str, list[Path]] = {}
    photos = load_sample_images()
    for name, photo in zip(photos.filenames, photos.images, strict=True):
        kind = Path(name).stem
        for top in range(0, photo.shape[0] - TILE + 1, TILE):
            for left in range(0, photo.shape[1] - TILE + 1, TILE):
                file = folder / f"{kind}-{top}-{left}.png"
                Image.fromarray(photo[top : top + TILE, left : left + TILE]).save(file)
                cut.setdefault(kind, []).append(file)
    return cut


def draw(rows: list[tuple[str, list[str]]], target: Path) -> None:
    """The contact sheet: a row for each query, its image at the left."""
    step = TILE + 10
    sheet = Image.new("RGB", (step * (HITS + 1) + 30, step * len(rows) + 30), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((10, 8), "query", fill="black")
    pen.text((step + 40, 8), "nearest first", fill="black")
    for row, (query, hits) in enumerate(rows):
        for column, uri in enumerate([query, *hits]):
            place = (10 + column * step + (20 if column else 0), 25 + row * step)
            sheet.paste(Image.open(uri), place)
    sheet.save(target)


def main() -> None:
    """Cut, index, ask, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="multimodal", help="for tiles and the store")
    parser.add_argument("--sheet", default="contact-sheet.png", help="the picture to draw")
    parser.add_argument("--clip", help="a checkpoint of OpenCLIP's ViT-B-32")
    chosen = parser.parse_args()
    folder = Path(chosen.folder)
    (folder / "tiles").mkdir(parents=True, exist_ok=True)
    cut = tiles(folder / "tiles")
    queries = [file for files in cut.values() for file in files[8 :: len(files) // 3]]
    known = [file for files in cut.values() for file in files if file not in queries]
    embed = OpenCLIPEmbeddingFunction("ViT-B-32", chosen.clip) if chosen.clip else ColoursAndEdges()
    with retrieval_store.Client(folder / "store") as client:
        images = client.get_or_create_collection(
            "tiles",
            configuration={"hnsw": {"space": "cosine"}},
            embedding_function=embed,
            data_loader=ImageLoader(root=folder),
        )
        images.upsert(
            ids=[file.stem for file in known],
            uris=[str(file) for file in known],
            metadatas=[{"photo": file.stem.split("-")[0]} for file in known],
            show_progress=True,
        )
        rows, right = [], 0
        for query in queries:
            found = images.query(
                query_uris=str(query), n_results=HITS, include=["uris", "metadatas"]
            )
            photo = query.stem.split("-")[0]
            same = sum(metadata["photo"] == photo for metadata in found["metadatas"][0])
            print(f"{query.stem}: {same} of {HITS} from the same photo")
            right += same
            rows.append((str(query), found["uris"][0]))
        first = images.get(limit=1, include=["data", "uris"])
        print(f"{first['uris'][0]} is loaded as an array of {first['data'][0].shape}")
    print(f"{right / (HITS * len(queries)):.0%} of the hits are from the right photo")
    draw(rows, Path(chosen.sheet))
    print(f"Contact sheet: {chosen.sheet}")


if __name__ == "__main__":
    main()
