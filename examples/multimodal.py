"""Texts and images in one collection: find images by text, and images by image.

    python examples/multimodal.py [--sheet contact-sheet.png] [--clip CHECKPOINT] [FOLDER]

Paints some landscapes, keeps them beside their captions, and asks for them by words and by pictures
that the store hasn't seen. What embeds both is a toy that knows colours and their names, so that
nothing is downloaded; with `--clip` it is OpenCLIP's ViT-B-32 with your checkpoint, a name or a
path. The store keeps the uris of the images, and loads them when asked to. Draws a contact sheet:
each query at the left, its hits beside it.
"""

import argparse
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

import retrieval_store
from retrieval_store import ImageLoader, OpenCLIPEmbeddingFunction

WIDTH, HEIGHT, HITS, EACH = 120, 80, 4, 6
COLOURS = {
    "red": (200, 40, 40),
    "orange": (240, 140, 50),
    "yellow": (235, 210, 90),
    "green": (60, 130, 60),
    "blue": (70, 130, 210),
    "purple": (120, 70, 150),
    "white": (240, 240, 245),
    "grey": (150, 150, 155),
    "black": (20, 20, 35),
}
# Of each a sky, a ground, what stands on it, a caption and a question.
SCENES = {
    "evening": ("orange", "blue", None, "An orange sky, a blue sea.", "orange sky, blue sea"),
    "meadow": ("blue", "green", "red", "Red poppies in green, blue sky.", "something red on green"),
    "snow": ("grey", "white", "green", "Green firs, white snow, grey air.", "white snow, grey sky"),
    "desert": ("blue", "yellow", None, "Yellow dunes, a blue sky.", "blue above yellow"),
    "night": ("black", "purple", "white", "White lights, purple hills.", "lights in a black night"),
}


@retrieval_store.register_embedding_function("colours-and-their-names")
class ColoursAndTheirNames(retrieval_store.EmbeddingFunction):
    """How much there is of each colour in an image, or in what a text names."""

    def settings(self) -> dict:
        """There are none."""
        return {}

    def default_space(self) -> str:
        """Vectors have a length of 1."""
        return "cosine"

    def __call__(self, input: list) -> np.ndarray:
        """(n, 9) for n texts and images."""
        amounts = [_named(one) if isinstance(one, str) else _painted(one) for one in input]
        vectors = np.sqrt(np.array(amounts, np.float32) + 1e-6)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _named(text: str) -> list[float]:
    words = text.lower().replace(",", " ").replace(".", " ").split()
    return [float(words.count(name)) for name in COLOURS]


def _painted(image: np.ndarray) -> np.ndarray:
    pixels = image.reshape(-1, 1, 3).astype(np.float32)
    nearest = np.abs(pixels - np.array(list(COLOURS.values()), np.float32)).sum(axis=2).argmin(1)
    return np.bincount(nearest, minlength=len(COLOURS)) / len(pixels)


def paint(scene: str, number: int) -> Image.Image:
    """One of many landscapes of a kind."""
    sky, ground, things, *_ = SCENES[scene]
    random = np.random.default_rng([number, *scene.encode()])
    image = Image.new("RGB", (WIDTH, HEIGHT), COLOURS[sky])
    pen = ImageDraw.Draw(image)
    horizon = HEIGHT * random.uniform(0.4, 0.6)
    edge = [(x, horizon + 6 * np.sin(x / random.uniform(14, 18))) for x in range(0, WIDTH + 10, 10)]
    pen.polygon([*edge, (WIDTH, HEIGHT), (0, HEIGHT)], fill=COLOURS[ground])
    for _ in range(12 if things else 0):
        x, y = random.uniform(0, WIDTH), random.uniform(horizon + 8, HEIGHT)
        pen.ellipse([x - 4, y - 4, x + 4, y + 4], fill=COLOURS[things])
    return image.filter(ImageFilter.GaussianBlur(1))


def draw(rows: list[tuple[str, list[str]]], target: Path) -> None:
    """The contact sheet: a row for each query, a text or an image, at the left."""
    across, down = WIDTH + 10, HEIGHT + 10
    sheet = Image.new("RGB", (across * (HITS + 1) + 30, down * len(rows) + 30), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((10, 8), "query", fill="black")
    pen.text((across + 30, 8), "nearest first", fill="black")
    for row, (query, hits) in enumerate(rows):
        top = 25 + row * down
        if Path(query).suffix == ".png":
            sheet.paste(Image.open(query), (10, top))
        else:
            pen.multiline_text((14, top + 25), textwrap.fill(query, 18), fill="black")
        for column, uri in enumerate(hits):
            sheet.paste(Image.open(uri), (30 + across * (column + 1), top))
    sheet.save(target)


def main() -> None:
    """Paint, index, ask, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="multimodal", help="for images and the store")
    parser.add_argument("--sheet", default="contact-sheet.png", help="the picture to draw")
    parser.add_argument("--clip", help="a checkpoint of OpenCLIP's ViT-B-32")
    chosen = parser.parse_args()
    folder = Path(chosen.folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    files = {
        scene: [folder / "images" / f"{scene}-{i}.png" for i in range(EACH)] for scene in SCENES
    }
    for scene, paintings in files.items():
        for i, file in enumerate(paintings):
            paint(scene, i).save(file)
    clip = chosen.clip
    embed = OpenCLIPEmbeddingFunction("ViT-B-32", clip) if clip else ColoursAndTheirNames()
    with retrieval_store.Client(folder / "store") as client:
        scenery = client.get_or_create_collection(
            "scenery", embedding_function=embed, data_loader=ImageLoader(root=folder)
        )
        known = [(scene, file) for scene, paintings in files.items() for file in paintings[1:]]
        scenery.upsert(
            ids=[file.stem for _, file in known],
            uris=[str(file) for _, file in known],
            metadatas=[{"kind": "image", "scene": scene} for scene, _ in known],
            show_progress=True,
        )
        scenery.upsert(
            ids=[f"caption of {scene}" for scene in SCENES],
            documents=[caption for *_, caption, _ in SCENES.values()],
            metadatas=[{"kind": "caption", "scene": scene} for scene in SCENES],
        )
        rows, right = [], 0
        for scene, (*_, question) in SCENES.items():
            for query in ({"query_texts": question}, {"query_uris": str(files[scene][0])}):
                found = scenery.query(
                    **query,
                    n_results=HITS,
                    where={"kind": "image"},
                    include=["uris", "metadatas"],
                )
                same = sum(one["scene"] == scene for one in found["metadatas"][0])
                print(f"{next(iter(query.values()))}: {same} of {HITS} show the {scene}")
                right += same
                rows.append((next(iter(query.values())), found["uris"][0]))
        caption = scenery.query(
            query_uris=str(files["snow"][0]), n_results=1, where={"kind": "caption"}
        )
        print(f"The caption nearest to {files['snow'][0].name}: {caption['documents'][0][0]}")
        first = scenery.get(limit=1, include=["data", "uris"])
        print(f"{first['uris'][0]} is loaded as an array of {first['data'][0].shape}")
    print(f"{right / (HITS * len(rows)):.0%} of the hits show the right scene")
    draw(rows, Path(chosen.sheet))
    print(f"Contact sheet: {chosen.sheet}")


if __name__ == "__main__":
    main()
