"""Product photos, found by words and by picture, on a contact sheet.

    python examples/product_photos.py [FOLDER] [--query TEXT] [--like PHOTO] [--under PRICE]
                                      [--kind KIND] [--sheet PATH] [--clip CHECKPOINT]

Keeps the photos of a folder in a collection: their paths, their vectors, and what a catalogue says
of them. Asks for them by words and by a photo that isn't in there, with filters on the price and
the kind, and draws what it found: each question at the left, its hits beside it, nearest first.
Run again, only photos that are new are looked at; prices are brought up to date in any case.

FOLDER has photos and, if you like, a `catalogue.csv` with the columns file, name, kind and price.
Without FOLDER a shop is made up, and its photos are drawn.

What embeds texts and pictures here is a stand-in that needs no download and is no model: of a
picture it works out from the pixels which colours the thing in front has, and which of the shapes
in this file its outline is like; of a text it knows the words for these, and nothing else. For your
own photos take `--clip`: OpenCLIP's ViT-B-32 with a checkpoint, a name or a path.

Needs: pip install "retrieval-store[standard]"; for --clip "retrieval-store[open-clip]"
"""

import argparse
import csv
import itertools
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import retrieval_store
from retrieval_store import ImageLoader, OpenCLIPEmbeddingFunction

HITS = 5
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


@dataclass(frozen=True)
class Product:
    """What a catalogue says of a photo."""

    file: str
    name: str
    kind: str = ""
    price: float | None = None

    def metadata(self) -> dict[str, Any]:
        """For the collection, without what isn't known."""
        return {key: value for key, value in vars(self).items() if value not in ("", None)}


@dataclass(frozen=True)
class Question:
    """What is asked for: by words, or by a photo."""

    text: str = ""
    photo: Path | None = None
    where: dict[str, Any] = field(default_factory=dict)

    def filters(self) -> list[str]:
        """The filters, in words."""
        kind, price = self.where.get("kind"), self.where.get("price")
        said = [f"under {price['$lt']:g} EUR"] if price else []
        return [*said, f"kind: {kind}"] if kind else said


# The collection


def catalogue(folder: Path) -> list[Product]:
    """The photos of a folder, with what its catalogue.csv says of them."""
    told: dict[str, dict[str, str]] = {}
    if (folder / "catalogue.csv").exists():
        with (folder / "catalogue.csv").open(newline="", encoding="utf-8") as file:
            told = {row["file"]: row for row in csv.DictReader(file)}
    photos = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return [_product(name, told.get(name, {})) for name in photos]


def _product(file: str, row: dict[str, str]) -> Product:
    name = row.get("name") or Path(file).stem.replace("-", " ")
    price = float(row["price"]) if row.get("price") else None
    return Product(file, name, row.get("kind", ""), price)


def index(photos: retrieval_store.Collection, folder: Path) -> None:
    """Bring the collection in step with the folder."""
    products = {one.file: one for one in catalogue(folder)}
    known = set(photos.get(include=[])["ids"])
    new, kept = sorted(products.keys() - known), sorted(products.keys() & known)
    if new:
        photos.add(
            ids=new,
            uris=[str(folder / file) for file in new],
            metadatas=[products[file].metadata() for file in new],
            show_progress=True,
        )
    if kept:  # of these no picture is loaded or embedded
        photos.update(ids=kept, metadatas=[products[file].metadata() for file in kept])
    photos.delete(ids=sorted(known - products.keys()))
    print(f"{len(products)} photos, {len(new)} of them new, {len(known - products.keys())} gone")


def ask(photos: retrieval_store.Collection, question: Question) -> dict[str, Any]:
    """The nearest photos, loaded."""
    # The collection loads photos of its folder alone (root=); the one asked with may lie anywhere.
    query: dict[str, Any] = (
        {"query_images": ImageLoader()([str(question.photo)])}
        if question.photo
        else {"query_texts": question.text}
    )
    return dict(
        photos.query(
            **query,
            n_results=HITS,
            where=question.where or None,
            include=["metadatas", "distances", "data"],
        )
    )


def questions_of(chosen: argparse.Namespace) -> list[Question]:
    """Those that were given, or some that suit the made-up shop."""
    where = {"kind": chosen.kind} if chosen.kind else {}
    where |= {"price": {"$lt": chosen.under}} if chosen.under else {}
    asked = [Question(text=text, where=where) for text in chosen.query]
    asked += [Question(photo=photo, where=where) for photo in chosen.like]
    seen = chosen.store / "asked"
    return asked or [
        Question("a red mug"),
        Question("blue shoes", where={"price": {"$lt": 90}}),
        Question("something yellow that gives light"),
        Question("pink", where={"price": {"$lt": 80}}),
        Question(photo=seen / "backpack.png"),
        Question(photo=seen / "shirt.png", where={"kind": "bottle"}),
    ]


# The contact sheet

CARD, GAP, LEFT, TOP = (200, 262), 16, 270, 104  # a card, what is between two, and the margins
INK, GREY, ACCENT, PAPER = (32, 34, 40), (116, 120, 130), (42, 98, 190), (243, 243, 246)


def draw(rows: list[tuple[Question, dict[str, Any]]], told: str) -> Image.Image:
    """A row for each question."""
    across, down = CARD[0] + GAP, CARD[1] + GAP
    size = (LEFT + HITS * across + GAP, TOP + len(rows) * down + GAP)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP + 8, 24), "Found by words and by picture", INK, _font(30))
    pen.text((GAP + 8, 66), told, GREY, _font(15))
    for row, (question, found) in enumerate(rows):
        top = TOP + row * down
        _draw_question(sheet, question, (GAP, top))
        hits = zip(found["data"][0], found["metadatas"][0], found["distances"][0], strict=True)
        for column, hit in enumerate(hits):
            _draw_hit(sheet, *hit, (LEFT + column * across, top))
    return sheet


def _draw_question(sheet: Image.Image, question: Question, corner: tuple[int, int]) -> None:
    x, y = corner
    pen = ImageDraw.Draw(sheet)
    pen.rounded_rectangle((x, y, LEFT - GAP, y + CARD[1]), 14, fill=(228, 233, 243))
    pen.text((x + 16, y + 16), "BY PICTURE" if question.photo else "BY WORDS", ACCENT, _font(13))
    if question.photo:
        picture = Image.open(question.photo).convert("RGB")
        picture.thumbnail((150, 150))
        sheet.paste(picture, (x + 16, y + 42), _rounded(picture.size, 10))
    else:
        said = textwrap.fill(f"“{question.text}”", 17)
        pen.multiline_text((x + 16, y + 44), said, INK, _font(23), spacing=8)
    left = x + 16
    for words in question.filters():
        width = int(pen.textlength(words, _font(14)))
        pen.rounded_rectangle((left, y + 218, left + width + 20, y + 246), 14, fill=ACCENT)
        pen.text((left + 10, y + 232), words, "white", _font(14), anchor="lm")
        left += width + 28


def _draw_hit(
    sheet: Image.Image, image: np.ndarray, told: dict, distance: float, corner: tuple[int, int]
) -> None:
    x, y = corner
    pen = ImageDraw.Draw(sheet)
    pen.rounded_rectangle((x, y, x + CARD[0], y + CARD[1]), 14, fill="white")
    picture = Image.fromarray(image)
    picture.thumbnail((CARD[0] - 16, CARD[0] - 16))
    sheet.paste(picture, (x + 8, y + 8), _rounded(picture.size, 10))
    pen.text((x + 12, y + 202), textwrap.shorten(told["name"], 25), INK, _font(15))
    if "price" in told:
        pen.text((x + 12, y + 250), f"{told['price']:.2f} EUR", INK, _font(18), anchor="ls")
    pen.text((x + CARD[0] - 12, y + 250), f"{1 - distance:.2f}", GREY, _font(13), anchor="rs")


def _rounded(size: tuple[int, int], radius: int) -> Image.Image:
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius, fill=255)
    return mask


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)  # Pillow's own, which has no sign for the euro


# The stand-in for a model

COLOURS = {
    "red": (206, 52, 48),
    "orange": (236, 132, 40),
    "yellow": (242, 200, 56),
    "green": (62, 138, 84),
    "blue": (52, 106, 190),
    "purple": (122, 76, 158),
    "pink": (236, 140, 170),
    "brown": (120, 78, 50),
    "white": (244, 242, 238),
    "black": (46, 46, 52),
}
# Words that the stand-in knows besides the names of colours and kinds.
ALSO = {"tee": "T-shirt", "shirt": "T-shirt", "sneaker": "shoe", "trainer": "shoe", "boot": "shoe"}
ALSO |= {"cup": "mug", "backpack": "bag", "tote": "bag", "carafe": "bottle", "flask": "bottle"}
ALSO |= {"light": "lamp", "stool": "chair", "seat": "chair", "violet": "purple", "rose": "pink"}


@retrieval_store.register_embedding_function("colours-and-shapes")
class ColoursAndShapes(retrieval_store.EmbeddingFunction):
    """Which of the colours, and which of the kinds of shapes, a picture shows or a text names."""

    def settings(self) -> dict:
        """There are none."""
        return {}

    def default_space(self) -> str:
        """What counts is the direction."""
        return "cosine"

    def __call__(self, input: list) -> np.ndarray:
        """(n, 17) for n texts and images: ten colours, seven kinds, which weigh a little more."""
        pairs = [_named(one) if isinstance(one, str) else _seen(one) for one in input]
        colours = _unit([colours for colours, _ in pairs]) @ _alike_colours()
        return np.hstack([_unit(colours), 1.2 * _unit([kinds for _, kinds in pairs])])


def _unit(amounts: list[np.ndarray] | np.ndarray) -> np.ndarray:
    vectors = np.asarray(amounts, np.float32) + 1e-3  # so that what knows nothing has a length too
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _alike_colours() -> np.ndarray:
    """(10, 10): orange is a little red, too."""
    colours = _opponent(np.array(list(COLOURS.values())))
    return np.exp(-(np.linalg.norm(colours[:, None] - colours[None], axis=2) ** 2) / 60**2)


def known_words(text: str) -> list[str]:
    """Those that name a colour or a kind."""
    known = {name.lower(): name for name in (*COLOURS, *DESIGNS)} | ALSO
    words = [word.removesuffix("s") for word in re.findall(r"[a-z-]+", text.lower())]
    return [known[word] for word in words if word in known]


def _named(text: str) -> tuple[np.ndarray, np.ndarray]:
    words = known_words(text)
    colours, kinds = ([words.count(one) for one in names] for names in (COLOURS, DESIGNS))
    return np.array(colours), np.array(kinds)


def _seen(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much there is of each colour in front, and how alike the outline is to each kind's."""
    front = foreground(image)
    pixels, named = _opponent(image[front]), _opponent(np.array(list(COLOURS.values())))
    nearest = np.linalg.norm(pixels[:, None] - named[None], axis=2).argmin(1)
    vivid = 5 + np.abs(pixels[:, :2]).sum(1)  # pale patterns and grey parts count less
    amounts = np.bincount(nearest, vivid, minlength=len(COLOURS)) / max(vivid.sum(), 1)
    mine = outline(front)
    alike = [max((mine & one).sum() / (mine | one).sum() for one in own) for own in outlines()]
    return amounts**2, np.array(alike) ** 8  # what there is most of counts most


def _opponent(rgb: np.ndarray) -> np.ndarray:
    """(n, 3): red against green, yellow against blue, and light, which counts less, since shadows
    change it too."""
    red, green, blue = np.asarray(rgb, np.float32).T
    return np.stack([red - green, (red + green) / 2 - blue, (red + green + blue) / 4], axis=1)


def foreground(image: np.ndarray) -> np.ndarray:
    """(height, width) bool: what is of another colour than the margins of its row, or lighter, or
    much darker; shadows are a little darker."""
    pixels = image.astype(np.float32)
    behind = (pixels[:, :3].mean(1) + pixels[:, -3:].mean(1)) / 2
    more = pixels - behind[:, None]
    return (np.ptp(more, axis=2) > 20) | (more.max(2) > 8) | (more.max(2) < -50)


def outline(front: np.ndarray) -> np.ndarray:
    """(32, 32) bool: the foreground, as large as it gets in a square."""
    rows, columns = front.any(1).nonzero()[0], front.any(0).nonzero()[0]
    if not len(rows):
        return np.ones((32, 32), bool)
    cut = Image.fromarray(front[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    square = Image.new("1", (max(cut.size), max(cut.size)))
    square.paste(cut, ((square.width - cut.width) // 2, (square.height - cut.height) // 2))
    return np.asarray(square.resize((32, 32)))


@cache
def outlines() -> list[list[np.ndarray]]:
    """Of each kind the outlines of its designs."""
    return [
        [outline(foreground(np.asarray(photo(kind, design, "green")))) for design in designs]
        for kind, designs in DESIGNS.items()
    ]


# The made-up shop, and how its photos are drawn

SIZE, FINE = 200, 2  # of a photo, and how much larger it is drawn, so that edges become smooth
# What things are drawn of: parts from back to front, each a tone, a verb of `Pen`, and its numbers
# on a square of 100 by 100. "own" is the colour of the product.
DESIGNS = {
    "mug": {
        "mug": """
            own ring 71,56 16,17 6
            own blob 26,30 74,30 74,80 70,87 30,87 26,80
            deep oval 50,31 24,5""",
        "cup": """
            pale oval 50,84 36,4
            own ring 77,53 11,11 5
            own curve 22,40 22,40 78,40 78,40 75,66 62,82 38,82 25,66
            deep oval 50,40 28,5""",
    },
    "T-shirt": {
        "T-shirt": """
            own blob 36,17 64,17 92,32 83,49 72,43 73,88 27,88 28,43 17,49 8,32
            deep oval 50,17 13,6""",
        "shirt": """
            own blob 38,13 62,13 78,21 95,78 83,82 72,46 72,88 28,88 28,46 17,82 5,78 22,21
            deep oval 50,13 11,5""",
    },
    "shoe": {
        "trainer": """
            own curve 9,36 9,36 18,36 30,45 42,33 48,33 63,52 88,60 95,72 94,78 9,78 9,78
            pale blob 7,74 96,74 93,83 10,83
            pale bar 46,45 57,40 2.5
            pale bar 52,52 63,46 2.5
            pale bar 59,58 70,52 2.5""",
        "boot": """
            own curve 24,12 24,12 54,12 54,12 53,52 66,58 86,63 91,76 90,81 24,81 24,81
            deep blob 22,78 92,78 92,86 54,86 51,83 42,83 40,89 22,89
            deep bar 25,20 53,20 3""",
    },
    "bag": {
        "tote bag": """
            own ring 50,40 16,27 4
            own blob 20,40 80,40 86,88 14,88
            deep bar 20,46 80,46 1.5""",
        "backpack": """
            deep ring 50,16 9,9 4
            own curve 24,88 24,88 22,40 30,15 50,12 70,15 78,40 76,88 76,88
            own blob 30,56 70,56 70,82 30,82
            deep bar 31,62 69,62 2
            deep bar 28,38 72,38 1.5""",
    },
    "lamp": {
        "table lamp": """
            metal blob 47,44 53,44 53,86 47,86
            metal oval 50,86 17,4
            own blob 37,12 63,12 80,52 20,52
            glow oval 50,52 29,4""",
        "desk lamp": """
            own oval 40,86 20,4
            metal bar 40,85 26,54 4
            metal bar 26,54 60,26 4
            own curve 50,20 50,20 58,13 70,18 86,46 86,46 54,50 54,50
            glow oval 70,48 15,4""",
    },
    "bottle": {
        "flask": """
            metal blob 41,7 59,7 59,20 41,20
            own curve 43,18 57,18 58,26 67,36 67,46 67,84 64,90 36,90 33,84 33,46 33,36 42,26""",
        "carafe": """
            own curve 41,10 41,10 59,10 59,10 56,34 76,62 72,90 72,90 28,90 28,90 24,62 44,34
            deep oval 50,11 9,2.5""",
    },
    "chair": {
        "chair": """
            wood bar 32,60 28,91 4
            wood bar 68,60 72,91 4
            wood bar 37,64 37,85 3
            wood bar 63,64 63,85 3
            deep bar 38,46 38,58 4
            deep bar 62,46 62,58 4
            own blob 30,10 70,10 67,48 33,48
            own blob 27,56 73,56 76,66 24,66""",
        "stool": """
            wood bar 37,40 25,90 4
            wood bar 63,40 75,90 4
            wood bar 50,40 50,91 4
            wood bar 32,70 68,70 3
            own blob 25,30 75,30 77,42 23,42""",
    },
}
# The shop has each design in four colours, from this price on.
STOCK = {
    "mug": (9, "red blue yellow white"),
    "T-shirt": (19, "pink green black orange"),
    "shoe": (59, "blue red brown white"),
    "bag": (39, "brown green purple pink"),
    "lamp": (29, "yellow black orange red"),
    "bottle": (14, "green blue orange purple"),
    "chair": (69, "blue white pink yellow"),
}
PATTERNS = ("", "", "striped", "dotted")


def shop() -> Iterator[tuple[Product, tuple[str, str, str, str]]]:
    """Products, and what `photo` takes to draw each."""
    random = np.random.default_rng(7)
    for kind, designs in DESIGNS.items():
        cheapest, colours = STOCK[kind]
        for design, colour in itertools.product(designs, colours.split()):
            pattern = PATTERNS[int(random.integers(len(PATTERNS)))]
            price = round(cheapest * random.uniform(1, 2.2)) + 0.9
            name = " ".join(filter(None, [colour, pattern, design]))
            product = Product(f"{name.replace(' ', '-')}.png", name.title(), kind, price)
            yield product, (kind, design, colour, pattern)


def open_shop(folder: Path, asked: Path) -> None:
    """Draw its photos, and two to ask with, unless they are there."""
    if (folder / "catalogue.csv").exists():  # it is written last
        return
    folder.mkdir(parents=True, exist_ok=True)
    asked.mkdir(parents=True, exist_ok=True)
    stock = list(shop())
    for product, drawn in stock:
        photo(*drawn).save(folder / product.file)
    photo("bag", "backpack", "green", "dotted").save(asked / "backpack.png")
    photo("T-shirt", "shirt", "orange", "dotted").save(asked / "shirt.png")
    with (folder / "catalogue.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["file", "name", "kind", "price"])
        writer.writeheader()
        writer.writerows(vars(product) for product, _ in stock)


class Pen:
    """Draws the outline of one part, white on black, on a square of 100 by 100."""

    def __init__(self) -> None:
        self.mask = Image.new("L", (SIZE * FINE, SIZE * FINE))
        self._draw = ImageDraw.Draw(self.mask)
        self._scale = SIZE * FINE / 100

    def oval(self, x: float, y: float, across: float, down: float) -> None:
        """An ellipse about x, y."""
        corners = np.array([x - across, y - down, x + across, y + down]) * self._scale
        self._draw.ellipse(list(corners), fill=255)

    def ring(self, x: float, y: float, across: float, down: float, width: float) -> None:
        """The rim of one."""
        corners = np.array([x - across, y - down, x + across, y + down]) * self._scale
        self._draw.ellipse(list(corners), outline=255, width=round(width * self._scale))

    def bar(self, x: float, y: float, to_x: float, to_y: float, width: float) -> None:
        """A line with round ends."""
        ends = np.array([x, y, to_x, to_y]) * self._scale
        self._draw.line(list(ends), fill=255, width=round(width * self._scale))
        for end in ((x, y), (to_x, to_y)):
            self.oval(*end, width / 2, width / 2)

    def blob(self, *points: float) -> None:
        """A polygon with corners that are rounded a little."""
        self._smooth(points, 0.1)

    def curve(self, *points: float) -> None:
        """A polygon with corners that are rounded as far as can be, but where a point is there
        twice."""
        self._smooth(points, 0.25)

    def _smooth(self, numbers: tuple[float, ...], share: float) -> None:
        """Chaikin's way: corners are cut off, and then the corners that come of it."""
        points = np.array(numbers).reshape(-1, 2) * self._scale
        for cut in (share, 0.25, 0.25, 0.25):
            after = np.roll(points, -1, axis=0)
            both = [points + cut * (after - points), after - cut * (after - points)]
            points = np.stack(both, axis=1).reshape(-1, 2)
        self._draw.polygon([tuple(point) for point in points], fill=255)


def photo(kind: str, design: str, colour: str, pattern: str = "") -> Image.Image:
    """A thing in a studio."""
    own = np.array(COLOURS[colour], float)
    tones = {"own": own, "deep": own * 0.6, "pale": own * 0.25 + 185}
    tones |= {"wood": (186, 140, 92), "metal": (150, 156, 164), "glow": (255, 236, 170)}
    canvas = _studio()
    for line in DESIGNS[kind][design].strip().splitlines():
        tone, verb, *numbers = line.replace(",", " ").split()
        pen = Pen()
        getattr(pen, verb)(*map(float, numbers))
        part = np.asarray(pen.mask, float)[..., None] / 255
        paint = np.broadcast_to(np.array(tones[tone], float), canvas.shape)
        if tone == "own" and pattern and verb in ("blob", "curve"):
            paint = np.where(_pattern(pattern), paint * 0.35 + 160, paint)
        canvas = canvas * (1 - part) + paint * _light(pen.mask) * part
    drawn = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    return drawn.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


@cache
def _studio() -> np.ndarray:
    """A wall, and a soft shadow on the floor."""
    side = SIZE * FINE
    wall = np.array([214, 221, 228]) - 15 * np.linspace(0, 1, side)[:, None, None]
    shadow = Pen()
    shadow.oval(50, 89, 34, 4)
    dark = np.asarray(shadow.mask.filter(ImageFilter.GaussianBlur(side / 40)), float) / 255
    return np.broadcast_to(wall, (side, side, 3)) * (1 - 0.2 * dark[..., None])


def _light(mask: Image.Image) -> np.ndarray:
    """How much light falls on each pixel of a part: its blurred outline is taken for its height,
    and what slopes to the top left is bright."""
    side = mask.width
    height = np.asarray(mask.filter(ImageFilter.GaussianBlur(side / 28)), float) / 255
    down, right = np.gradient(height)
    return (1 + (right + 1.2 * down) * side / 50)[..., None]


@cache
def _pattern(name: str) -> np.ndarray:
    """(side, side, 1) bool: where it is pale."""
    y, x = np.mgrid[: SIZE * FINE, : SIZE * FINE] * (100 / SIZE / FINE)
    dots = (x % 10 - 5) ** 2 + ((y + 5 * (x // 10 % 2)) % 10 - 5) ** 2 < 5
    return (y % 10 < 4 if name == "striped" else dots)[..., None]


# The command


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="of photos; a shop's if left out")
    parser.add_argument("--query", action="append", default=[], metavar="TEXT")
    parser.add_argument("--like", action="append", default=[], type=Path, metavar="PHOTO")
    parser.add_argument("--under", type=float, metavar="PRICE", help="only what costs less")
    parser.add_argument("--kind", help="only things of this kind")
    parser.add_argument("--sheet", type=Path, default=Path("contact_sheet.png"))
    parser.add_argument("--clip", metavar="CHECKPOINT", help="of OpenCLIP's ViT-B-32")
    parser.add_argument("--store", type=Path, default=Path("product_store"), help="its directory")
    chosen = parser.parse_args()
    if chosen.folder and not (chosen.query or chosen.like):
        parser.error(
            "say what to look for: --query TEXT or --like PHOTO, each as often as you like"
        )
    for path in [*chosen.like, *filter(None, [chosen.folder])]:
        if not path.exists():
            parser.error(f"{path} isn't there")
    return chosen


def report(question: Question, found: dict[str, Any], knows_all: bool) -> None:
    """Print what was found."""
    asked = question.photo.name if question.photo else question.text
    print(f"\n? {', '.join([asked, *question.filters()])}")
    if question.text and not knows_all and not known_words(question.text):
        print("  (the stand-in knows none of these words)")
    for one in found["metadatas"][0]:
        print(f"  {one['name']}" + (f", {one['price']:.2f} EUR" if "price" in one else ""))


def main() -> None:
    """Index, ask, draw."""
    chosen = arguments()
    folder = (chosen.folder or chosen.store / "photos").resolve()
    if chosen.folder is None:
        open_shop(folder, chosen.store / "asked")
    clip = chosen.clip
    embed = OpenCLIPEmbeddingFunction("ViT-B-32", clip) if clip else ColoursAndShapes()
    with retrieval_store.Client(chosen.store / "collections") as client:
        photos = client.get_or_create_collection(
            "photos-clip" if clip else "photos",  # vectors of two models don't mix
            embedding_function=embed,
            data_loader=ImageLoader(root=folder),
        )
        index(photos, folder)
        rows = [(question, ask(photos, question)) for question in questions_of(chosen)]
        told = f"{photos.count()} photos, embedded by {'OpenCLIP' if clip else 'a stand-in'}"
    for question, found in rows:
        report(question, found, knows_all=bool(clip))
    sheet = draw(rows, told)
    sheet.save(chosen.sheet)
    print(f"\nContact sheet: {chosen.sheet}, {sheet.width} x {sheet.height}")


if __name__ == "__main__":
    main()
