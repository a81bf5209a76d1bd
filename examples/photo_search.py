"""Search photos in the browser, by words or by a similar photo.

    python examples/photo_search.py [FOLDER] [--clip] [--port 8010]

The program keeps a collection in step with the images of a folder, and serves a page. Type what the
photos should show, or click a photo to see similar ones. With --clip, an OpenCLIP model embeds
photos and words (the first run downloads some 600 MB). Without --clip, a function replaces it that
knows nine colours and their names, so try "red". Without FOLDER, the program paints some pictures.

Needs: pip install . ./integrations/files, and for --clip also ".[open-clip]"
"""

import argparse
import html
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import numpy as np
from PIL import Image, ImageColor, ImageDraw

import retrieval_store
from retrieval_store_files import sync_folder

SHOWN = 12
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "grey", "black")
PAGE = """<!doctype html><meta charset="utf-8"><title>Photos</title><style>
body {{ font: 16px sans-serif; margin: 2em auto; max-width: 60em }}
input {{ font: inherit; padding: .4em; width: 24em }}
figure {{ display: inline-block; margin: .5em; width: 13em }} img {{ width: 100% }}
</style><h1>Photos</h1><form><input name="q" value="{asked}" aria-label="words" autofocus></form>
<p>{said}</p>{photos}"""
PHOTO = """<figure><a href="/?like={name}"><img src="/photo?id={name}" alt="{label}"></a>
<figcaption>{label}</figcaption></figure>"""


def colours(input: list) -> np.ndarray:
    """(n, 9) for n texts and images: how much of each colour an image has, or a text names."""
    palette = np.array([ImageColor.getrgb(name) for name in COLOURS], np.float32)
    rows = []
    for one in input:
        if isinstance(one, str):
            rows.append([float(name in one.lower().split()) for name in COLOURS])
        else:
            pixels = one[::4, ::4].reshape(-1, 1, 3).astype(np.float32)
            nearest = np.square(pixels - palette).sum(axis=2).argmin(axis=1)
            rows.append(np.bincount(nearest, minlength=len(COLOURS)) / len(pixels))
    return np.array(rows, np.float32)


class Handler(BaseHTTPRequestHandler):
    """Serves the page and the photos."""

    photos: retrieval_store.Collection

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        given = {name: values[0] for name, values in parse_qs(address.query).items()}
        body, kind = b"", "text/html; charset=utf-8"
        if address.path == "/photo":
            found = self.photos.get(ids=given.get("id", "none"), include=["uris"])["uris"]
            body, kind = b"".join(Path(uri).read_bytes() for uri in found), "image/*"
        elif address.path == "/":
            body = page(self.photos, given).encode()
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)


def page(photos: retrieval_store.Collection, given: dict[str, str]) -> str:
    """The page for a query: `q` (words), or `like` (the id of a photo)."""
    asked, said = given.get("q", ""), f"{photos.count()} photos"
    if given.get("like") in photos:
        ids, said = photos.query(like=[given["like"]], n_results=SHOWN)["ids"][0], given["like"]
    elif asked:
        ids = photos.query(query_texts=asked, n_results=SHOWN)["ids"][0]
    else:
        ids = photos.get(limit=SHOWN)["ids"]
    shown = (PHOTO.format(name=quote(one), label=html.escape(Path(one).stem)) for one in ids)
    return PAGE.format(asked=html.escape(asked), said=html.escape(said), photos="".join(shown))


def paint(folder: Path) -> None:
    """Paint a shape of each colour on two backgrounds, unless the folder has files."""
    if not folder.exists():
        folder.mkdir(parents=True)
        for name in COLOURS[:6]:
            for what, ground in (("ball", "white"), ("box", "grey")):
                image = Image.new("RGB", (320, 240), ground)
                draw = ImageDraw.Draw(image)
                shape = draw.ellipse if what == "ball" else draw.rectangle
                shape([60, 30, 260, 210], fill=name)
                image.save(folder / f"{name}-{what}.png")


def main() -> None:
    """Sync the folder, then serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="of images; painted if left out")
    parser.add_argument("--clip", action="store_true", help="embed with OpenCLIP")
    parser.add_argument("--port", type=int, default=8010, help="0: any that is free")
    chosen = parser.parse_args()
    folder = (chosen.folder or Path("painted_photos")).resolve()
    if chosen.folder is None:
        paint(folder)
    embed = retrieval_store.OpenCLIPEmbeddingFunction() if chosen.clip else colours
    with retrieval_store.Client("photo_store") as client:
        photos = client.get_or_create_collection(
            "photos", embedding_function=embed, data_loader=retrieval_store.ImageLoader(root=folder)
        )
        print(sync_folder(photos, folder, kind="images"))
        Handler.photos = photos
        with ThreadingHTTPServer(("127.0.0.1", chosen.port), Handler) as server:
            print(f"http://127.0.0.1:{server.server_port}", flush=True)
            server.serve_forever()


if __name__ == "__main__":
    main()
