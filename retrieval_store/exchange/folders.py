"""Adds a folder of texts or images to a collection.

Texts are cut into passages, each of which says what it is about (`passages_of`).
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

from retrieval_store.api.arguments import Embed
from retrieval_store.api.collection import Collection
from retrieval_store.api.write import told_together
from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.base.tracing import progress_bar
from retrieval_store.base.validation import is_unicode, path_of, quote, whole_number
from retrieval_store.embeddings import max_tokens_of, token_count_of
from retrieval_store.embeddings._common import Count
from retrieval_store.errors import (
    DataLoaderError,
    EmbeddingFunctionError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    InvalidTypeError,
)
from retrieval_store.exchange.add import (
    Adder,
    Expected,
    Record,
    expected_by,
    known_ids,
    refuse_both,
)
from retrieval_store.exchange.formats.common import in_bounded_pieces
from retrieval_store.exchange.reports import FolderAdded, Unreadable
from retrieval_store.loaders.images import TextLoader

Kind = Literal["texts", "images"]
TEXTS = frozenset([".txt", ".md", ".rst"])
CAPTION = ".txt"
IMAGES = frozenset([".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"])
_LOOKED_UP = 1_000


def add_folder(
    collection: Collection,
    path: str | os.PathLike[str],
    *,
    kind: Kind | None = None,
    captions: bool = False,
    batch: int = 100,
    resume: bool = False,
    upsert: bool = False,
    max_bytes: int = 10_000_000,
    show_progress: bool = False,
) -> FolderAdded:
    """Add the texts (.txt, .md, .rst) and images (.png, .jpg, .jpeg, .webp, .gif, .bmp) in a folder
    and the folders in it, a record a file, embedded by the collection.

    The id is the path within the folder, which is in the metadata too, under "path". Of a text, in
    UTF-8 and of `max_bytes` at most, the document is the text; of an image the uri is its absolute
    path, which the collection's data loader loads. kind: "texts" or "images", to add only these.
    captions: a .txt beside an image, with its name but for the ending, is the image's caption, and
    no record of its own: the vector is made of the image, the document is the caption. An image
    whose caption can't be read is left out; a caption without text is none.
    Links aren't followed, and names that begin with a dot are left out. A file that can't be read,
    or has no text in it, is told in the report, with the reason, and the others are added.
    resume, upsert: as for `add_file`; without them nothing is written when an id is there already.
    """
    size = whole_number(batch, "batch", 1)
    most = whole_number(max_bytes, "max_bytes", 1)
    refuse_both(resume, upsert)
    refuse_unknown_kind(kind, captions)
    folder = path_of(path, "path")
    if not folder.is_dir():
        raise InvalidArgumentError(f"path is {str(folder)!r}, expected a folder")
    found = found_in(folder, kind, captions)
    refuse_unfit(found, expected_by(collection))
    if not (resume or upsert):
        _refuse_known(collection, found)
    return _Folder(collection, folder, found, most, resume, upsert).added(size, show_progress)


def refuse_unknown_kind(kind: Any, captions: Any) -> None:
    """The kind of files, checked."""
    if kind is not None and kind not in get_args(Kind):
        raise InvalidArgumentError(f"kind is {quote(kind)}, expected one of {get_args(Kind)}")
    if type(captions) is not bool:
        raise InvalidTypeError(f"captions is {quote(captions)}, expected a bool")
    if captions and kind == "texts":
        raise InvalidArgumentError("captions are of images, but kind is 'texts'")


@dataclass(slots=True)
class FolderFiles:
    """The files of a folder: sorted ids of those to add; the caption files of images; files that
    can't be added, and the number of others."""

    ids: list[str] = field(default_factory=list)
    captions: dict[str, str] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    others: int = 0

    @property
    def image(self) -> str | None:
        """The first image, if there is one."""
        return next(filter(is_image, self.ids), None)


def found_in(folder: Path, kind: Kind | None, captions: bool = False) -> FolderFiles:
    """What a folder holds that can be added."""
    found = FolderFiles()
    wanted = {"texts": TEXTS, "images": IMAGES, None: TEXTS | IMAGES}[kind]
    if captions:
        wanted |= {CAPTION}

    def unlisted(error: OSError) -> None:
        found.unreadable.append(Unreadable(Path(error.filename), error.strerror or str(error)))

    for place, folders, names in os.walk(folder, onerror=unlisted):
        for name in list(folders):
            if name.startswith("."):
                folders.remove(name)
                found.others += 1
            elif os.path.islink(os.path.join(place, name)):
                why = "it is a link, which isn't followed"
                found.unreadable.append(Unreadable(Path(place, name), why))
        for name in names:
            if name.startswith(".") or Path(name).suffix.lower() not in wanted:
                found.others += 1
            else:
                _take(found, folder, Path(place, name))
    if captions:
        _set_captions(found, folder, kind)
    found.ids.sort()
    return found


def _set_captions(found: FolderFiles, folder: Path, kind: Kind | None) -> None:
    """Remove the captions from the files, and the images whose captions can't be read."""
    texts = {os.path.splitext(one)[0]: one for one in sorted(found.ids) if _is_caption(one)}
    refused = {os.path.splitext(one.path)[0] for one in found.unreadable if _is_caption(one.path)}
    ids, found.ids = found.ids, []
    for one in ids:
        stem = os.path.splitext(one)[0]
        if not is_image(one):
            continue
        if str(folder / stem) in refused:
            found.unreadable.append(Unreadable(folder / one, "its caption can't be read"))
        else:
            found.ids.append(one)
            if stem in texts:
                found.captions[one] = texts[stem]
    used = {*found.captions.values()}
    left = [one for one in ids if not is_image(one) and one not in used]
    if kind == "images":
        found.others += len(left)
    else:
        found.ids += left


def _is_caption(path: str | Path) -> bool:
    return Path(path).suffix.lower() == CAPTION


def _take(found: FolderFiles, folder: Path, path: Path) -> None:
    point_id = path.relative_to(folder).as_posix()
    why = "its name isn't valid Unicode" if not is_unicode(point_id) else _unfit(path)
    if why is None:
        found.ids.append(point_id)
    else:
        found.unreadable.append(Unreadable(path, why))


def _unfit(path: Path) -> str | None:
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISLNK(mode):
        return "it is a link, which isn't followed"
    return None if stat.S_ISREG(mode) else "it is no regular file"


def is_image(point_id: str) -> bool:
    """Whether a file name is an image's."""
    return Path(point_id).suffix.lower() in IMAGES


def refuse_unfit(found: FolderFiles, expected: Expected) -> None:
    """Raise an error for a collection that can't embed the files."""
    if not expected.embeds:
        raise EmbeddingFunctionError(
            "files of a folder are embedded, but the collection has no embedding function: pass "
            "embedding_function= when you create or get it"
        )
    image = found.image
    if image is not None and not expected.loads:
        raise InvalidArgumentError(
            f"there are images, such as {image!r}, but the collection has no data loader: pass "
            "data_loader= when you get it, or kind='texts'"
        )


def _refuse_known(collection: Collection, found: FolderFiles) -> None:
    for start in range(0, len(found.ids), _LOOKED_UP):
        some = found.ids[start : start + _LOOKED_UP]
        known = known_ids(collection, [{"id": one} for one in some])
        if known:
            raise IDAlreadyExistsError(
                f"the id {min(known)!r} is in the collection already; nothing was added. "
                "resume=True leaves out what is there, upsert=True updates it"
            )


class _Folder:
    """Adds the files of a folder."""

    def __init__(
        self,
        collection: Collection,
        folder: Path,
        found: FolderFiles,
        most: int,
        resume: bool,
        upsert: bool,
    ) -> None:
        self._collection, self._folder, self._found = collection, folder, found
        self._resume = resume
        self._adder = Adder(collection, resume, upsert)
        # A file may have become a link, or a pipe, since it was found: the loader follows none out
        # of the folder, and waits for none.
        self._texts = TextLoader(encoding="utf-8-sig", root=folder, max_bytes=most)

    def added(self, size: int, show_progress: bool) -> FolderAdded:
        """Add all files; returns the report."""
        found, adder = self._found, self._adder
        bar_of = progress_bar("adding", len(found.ids), "file", show_progress)
        with told_together(), bar_of as bar:
            for some in in_bounded_pieces(found.ids, size, self._size_of):
                for images in (False, True):
                    self._add([one for one in some if is_image(one) is images], images)
                bar.update(len(some))
        return FolderAdded(
            self._folder,
            adder.added,
            adder.updated,
            adder.skipped,
            found.others,
            tuple(found.unreadable),
        )

    def _size_of(self, point_id: str) -> int:
        with suppress(OSError):  # which reading it will tell
            return (self._folder / point_id).lstat().st_size
        return 0

    def _add(self, ids: list[str], images: bool) -> None:
        if self._resume:  # before the files are read: there may be many that are there
            known = known_ids(self._collection, [{"id": one} for one in ids])
            self._adder.skipped += len(known)
            ids = [one for one in ids if one not in known]
        records = list(self._images(ids) if images else self._documents(ids))
        for embed, some in groupby(records, _embed_choice):
            self._add_records(list(some), embed)

    def _add_records(self, records: list[Record], embed: Embed | None) -> None:
        try:
            self._adder.add(records, embed)
        except DataLoaderError:
            for record in records:
                self._add_alone(record, embed)

    def _add_alone(self, record: Record, embed: Embed | None) -> None:
        try:
            self._adder.add([record], embed)
        except DataLoaderError as error:
            self._found.unreadable.append(Unreadable(self._folder / record["id"], str(error)))

    def _documents(self, ids: list[str]) -> Iterator[Record]:
        for one in ids:
            text = self._text(one)
            if text is not None and not text.strip():
                why = "it has no text in it"
                self._found.unreadable.append(Unreadable(self._folder / one, why))
            elif text is not None:
                yield self._record(one, document=text)

    def _images(self, ids: list[str]) -> Iterator[Record]:
        for one in ids:
            caption = self._found.captions.get(one)
            text = "" if caption is None else self._text(caption)
            if text is not None:
                document = {"document": text} if text.strip() else {}
                yield self._record(one, uri=str(self._folder / one), **document)

    def _text(self, name: str) -> str | None:
        """The content of a file; None, with a report, where it can't be read."""
        path = self._folder / name
        try:
            (text,) = self._texts([str(path)])
        except DataLoaderError as error:
            self._found.unreadable.append(Unreadable(path, str(error)))
            return None
        return text

    def _record(self, point_id: str, **given: Any) -> Record:
        return {"id": point_id, "metadata": {"path": point_id}, **given}


def _embed_choice(record: Record) -> Embed | None:
    """What to make the vector of, for a record with a picture and its caption."""
    return "uris" if "uri" in record and "document" in record else None


LONGEST = 200  # words of a passage
# Scripts without spaces have a word in one or two characters, and what has none for long, such as
# an address, many tokens.
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\s{_SPACELESS}]{{1,24}}")
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:[ \t]*(\S.*)$", re.MULTILINE)
_BETWEEN = re.compile(r"\n\s*\n")
_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*?)(?:[ \t]+#+)?\s*")
_RULE = re.compile(r"([=~^\"'*+-])\1{2,}\s*")
_FENCE = re.compile(r" {0,3}(```|~~~)")


def passages_of(
    text: str,
    longest: int = LONGEST,
    shortest: int | None = None,
    *,
    heading: str = "",
    function: Any = None,
) -> list[str]:
    """A text in passages of `shortest` to `longest` words, by its headings and paragraphs: short
    paragraphs together with those that follow, a short end with those before; those that are too
    long cut between two words. shortest: a quarter of the longest, if None.

    function: an embedding function that is to read all of each passage. Where it counts tokens
    itself (`count_tokens`) a word stands for four thirds of one, as in English, and passages have
    no more than its `max_tokens`; else the words are fewer where it reads less.

    In front of each passage stand the headings that lead to it, as "Guide > Install: Run it."; they
    are counted too. They are the lines that begin with "#" to "######", or that stand alone above a
    row of "=", "-" or the like of their length, outside of blocks of code. Where none of these is
    the first line, the given heading comes before them. A heading
    without a text is a passage of its own, a text without words is none. Front matter, a block of
    YAML between two lines of "---" at the beginning, is left out; its title is the heading where
    there is no other.
    """
    if not isinstance(text, str):
        raise InvalidTypeError(f"text is {quote(text)}, expected a str")
    most = whole_number(longest, "longest", 4)
    least = None if shortest is None else whole_number(shortest, "shortest", 1)
    if least is not None and least > most:
        raise InvalidArgumentError(f"shortest is {least}, but longest {most}")
    text, title = _without_front_matter(text.removeprefix("\ufeff"))
    cutter = _cutter(function, most, least)
    return [one for part in _parts(text, title or heading) for one in cutter.passages(*part)]


def _without_front_matter(text: str) -> tuple[str, str]:
    """The text, and the title in its front matter."""
    found = _FRONT_MATTER.match(text)
    if found is None:
        return text, ""
    title = _TITLE.search(found[1])
    return text[found.end() :], "" if title is None else title[1].strip().strip("\"'")


def _parts(text: str, heading: str) -> Iterator[tuple[list[str], list[str]]]:
    """The headings that lead to each part of a text, and its paragraphs; none for a part that only
    has sub-parts."""
    sections = _sections(text)
    path = [(0, heading)] if heading else []
    for i, (level, title, lines) in enumerate(sections):
        following = sections[i + 1][0] if i + 1 < len(sections) else 0
        paragraphs = [one.strip() for one in _BETWEEN.split("\n".join(lines)) if one.strip()]
        if title:
            path = [one for one in path if one[0] < level] + [(level, title)]
        elif following == 1 and not paragraphs:
            path = []  # the text has a heading of its own
        if paragraphs or (title and following <= level):
            yield [title for _, title in path], paragraphs


def _sections(text: str) -> list[tuple[int, str, list[str]]]:
    """Level, heading and lines of each part of a text; level 0 before the first heading."""
    sections: list[tuple[int, str, list[str]]] = [(0, "", [])]
    fence = ""  # by which a block of code is closed, in which "#" begins a comment
    rules: list[str] = []  # by which headings are underlined, the highest first
    for line in text.split("\n"):
        lines = sections[-1][2]
        mark = _FENCE.match(line)
        if mark and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        found, rule = (None, None) if fence else (_HEADING.fullmatch(line), _RULE.fullmatch(line))
        title = _take_underlined_heading(lines, line.rstrip()) if rule else ""
        if found:
            sections.append((len(found[1]), found[2], []))
        elif rule and title:
            if rule[1] not in rules:  # "-" is the second in Markdown, also where it stands alone
                rules += [rule[1]] if rules or rule[1] != "-" else ["=", "-"]
            sections.append((rules.index(rule[1]) + 1, title, []))
        else:
            lines.append(line)
    return sections


def _take_underlined_heading(lines: list[str], rule: str) -> str:
    """Remove and return the heading at the end of `lines` that a rule underlines, with a rule above
    it; "" without one."""
    *above, title = ["", "", *lines][-2:]
    is_alone = above[0].strip() in ("", rule)
    if not title.strip() or len(title.rstrip()) > len(rule) or title == rule or not is_alone:
        return ""
    del lines[-2 if above[0] == rule else -1 :]
    return title.strip()


def words_in(text: str) -> int:
    """The number of words of a text."""
    return sum(1 for _ in _WORD.finditer(text))


def _cutter(function: Any, most: int, least: int | None) -> "_Cutter":
    limit = None if function is None else max_tokens_of(function)
    count = None if limit is None else token_count_of(function)
    marks = 0
    if limit is None or count is None:
        count = _count_words
        most = most if limit is None else min(most, limit * 3 // 4)
    else:
        (marks,) = count([""])
        most = min(most * 4 // 3, limit - marks)
        least = None if least is None else least * 4 // 3
    most = max(4, most)
    return _Cutter(count, marks, most, most // 4 if least is None else min(least, most))


def _count_words(texts: list[str]) -> list[int]:
    return [*map(words_in, texts)]


@dataclass(frozen=True, slots=True)
class _Cutter:
    """Joins paragraphs to passages. Their size is what `count` returns, without the marks that a
    model puts around a text, so that joined texts are no larger than their sum and what joins them.
    most, least: size of a passage."""

    count: Count
    marks: int
    most: int
    least: int

    def passages(self, path: list[str], paragraphs: list[str]) -> list[str]:
        """The passages of paragraphs that belong together, each with the headings before it."""
        before = self._before(path)
        if not paragraphs:
            return [before]
        start = f"{before}: " if before else ""
        room = max(1, self.most - self._size(start))
        return [start + one for one in self._merged(paragraphs, room)]

    def _before(self, path: list[str]) -> str:
        """The headings in one line, without the first ones where all would take half of a
        passage."""
        while len(path) > 1 and self._size(" > ".join(path)) > self.most // 2:
            path = path[1:]
        return next((text for text, _ in self._cut(" > ".join(path), self.most // 2)), "")

    def _size(self, text: str) -> int:
        return self.count([text])[0] - self.marks

    def _merged(self, paragraphs: list[str], room: int) -> list[str]:
        between = self._size("\n\n")
        passages: list[tuple[str, int]] = []
        waiting: tuple[str, int] | None = None
        for piece, size in (one for each in paragraphs for one in self._cut(each, room)):
            if waiting and waiting[1] + between + size > room:
                passages.append(waiting)
                waiting = None
            if waiting:
                waiting = f"{waiting[0]}\n\n{piece}", waiting[1] + between + size
            else:
                waiting = piece, size
            if waiting[1] >= self.least:
                passages.append(waiting)
                waiting = None
        if waiting:
            text, size = passages[-1] if passages else ("", room)
            if size + between + waiting[1] <= room:
                passages[-1:] = [(f"{text}\n\n{waiting[0]}", room)]
            else:
                passages.append(waiting)
        return [text for text, _ in passages]

    def _cut(self, paragraph: str, room: int) -> list[tuple[str, int]]:
        """The paragraph, or pieces of it of this size, each of at least one whole word; with their
        sizes."""
        words = [*_WORD.finditer(paragraph)]
        pieces, start = [], 0
        while start < len(words):
            number = min(room, len(words) - start)
            while True:
                piece = paragraph[words[start].start() : words[start + number - 1].end()]
                size = self._size(piece)
                if size <= room or number == 1:
                    break
                number = max(1, min(number - 1, number * room // size))
            pieces.append((piece, size))
            start += number
        return pieces
