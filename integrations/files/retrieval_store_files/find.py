"""Finds the files of a folder: texts, images, captions, and skipped or unreadable files."""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from retrieval_store.errors import (
    InvalidArgumentError,
    InvalidTypeError,
)
from retrieval_store_files.gitignore import GitPatterns, is_pattern
from retrieval_store_files.readers.files import (
    installed_readers,
    reader_name,
    why_no_reader,
)
from retrieval_store_files.reports import Unreadable
from retrieval_store_files.values import is_unicode, quote

FileKind = Literal["texts", "images"]
TEXTS = frozenset([".txt", ".md", ".rst"])
CAPTION = ".txt"
IN_GITIGNORE = "in .gitignore"
IMAGES = frozenset([".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"])


def refuse_unknown_kind(kind: Any, captions: Any) -> None:
    """Raise an error if `kind` names no kind of file, if `captions` isn't a bool, or if `captions`
    is set and `kind` selects only texts."""
    if kind is not None and kind not in get_args(FileKind):
        raise InvalidArgumentError(f"kind is {quote(kind)}, expected one of {get_args(FileKind)}")
    if type(captions) is not bool:
        raise InvalidTypeError(f"captions is {quote(captions)}, expected a bool")
    if captions and kind == "texts":
        raise InvalidArgumentError("captions are of images, but kind is 'texts'")


@dataclass(frozen=True, slots=True)
class FolderRules:
    """Rules that select files of a folder.

    - kind: "texts" or "images", or None for both. captions: whether a text file can be the caption
      of an image.
    - every: whether every file for which there is a reader counts as a text; otherwise only files
      with an ending in `TEXTS` count. readers: the names of the available readers. own_reader:
      whether the user has passed a function that reads all files.
    - include, exclude: patterns in the syntax of .gitignore files. gitignore: whether .gitignore
      files are obeyed.
    - links: whether links to files are followed. loads: whether the collection has a data loader
      for images.
    """

    kind: FileKind | None = None
    captions: bool = False
    every: bool = False
    own_reader: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = False
    links: bool = False
    loads: bool = True
    readers: frozenset[str] = frozenset()

    def why_not(self, path: str) -> str | None:
        """The reason why a file with this path is left out; None if it isn't left out."""
        name = path.rpartition("/")[2]
        if name.startswith("."):
            return "its name begins with a dot"
        why = self.excluded_by(path)
        if why is not None:
            return why
        ending = os.path.splitext(name)[1].lower()
        if is_image(path):
            if self.kind == "texts":
                return "an image"
            return None if self.loads else "an image, and the collection has no data loader"
        if self.kind == "images" and not (self.captions and ending == CAPTION):
            return "no image"
        if ending in TEXTS or self.own_reader:
            return None
        is_read = self.every and reader_name(path, self.readers) is not None
        return None if is_read else why_no_reader(path)

    def excluded_by(self, path: str) -> str | None:
        """The reason why `include` or `exclude` excludes the file; None if neither excludes it."""
        if self.include and not _matches(path, self.include):
            return "not in include"
        return "in exclude" if _matches(path, self.exclude) else None


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether the patterns match `path`, or a folder that contains it. If `path` is a folder, it
    ends with "/"."""
    if not patterns:
        return False
    git, parts = GitPatterns.of(patterns), path.rstrip("/").split("/")
    folders = ("/".join(parts[:i]) + "/" for i in range(1, len(parts)))
    return any(git.say(folder) for folder in folders) or bool(git.say(path))


def rules_of(
    kind: Any, captions: Any, include: Any, exclude: Any, gitignore: Any, links: Any, reader: Any
) -> FolderRules:
    """The `FolderRules` with these arguments of a call. Every file for which there is a reader
    counts as a text. Raises an error for an invalid argument."""
    refuse_unknown_kind(kind, captions)
    check_bools(gitignore=gitignore, links=links)
    patterns = _patterns(include, "include"), _patterns(exclude, "exclude")
    return FolderRules(
        kind, captions, True, reader is not None, *patterns, gitignore, links,
        readers=installed_readers(),
    )  # fmt: skip


def _patterns(argument: Any, name: str) -> tuple[str, ...]:
    patterns = (argument,) if isinstance(argument, str) else argument
    if not isinstance(patterns, list | tuple) or not all(
        isinstance(pattern, str) for pattern in patterns
    ):
        raise InvalidTypeError(f"{name} is {quote(argument)}, expected a str or a list of str")
    lines = tuple(pattern.removeprefix("./") for pattern in patterns)
    for line in lines:
        if not is_pattern(os.fsencode(line)):
            raise InvalidArgumentError(
                f"{name} has {quote(line)}, expected a pattern as in a .gitignore file"
            )
    return lines


def check_bools(**arguments: Any) -> None:
    """Raise InvalidTypeError for an argument that isn't a bool."""
    for name, value in arguments.items():
        if type(value) is not bool:
            raise InvalidTypeError(f"{name} is {quote(value)}, expected a bool")


@dataclass(slots=True)
class FolderFiles:
    """The files of a folder. ids: the sorted paths, within the folder, of the files to add;
    captions: the caption file of each image that has one; unreadable: files that can't be added,
    with the reasons; left_out: skipped files, with the reasons."""

    ids: list[str] = field(default_factory=list)
    captions: dict[str, str] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    left_out: list[Unreadable] = field(default_factory=list)

    @property
    def image(self) -> str | None:
        """The path of the first image to add; None if there is no image."""
        return next(filter(is_image, self.ids), None)


def find_files(folder: Path, rules: FolderRules) -> FolderFiles:
    """Find the files in a folder that can be added. The result also lists the skipped and
    unreadable files, each with the reason."""
    files = FolderFiles()
    ignored = _Ignored(folder) if rules.gitignore else None

    def unlisted(error: OSError) -> None:
        files.unreadable.append(Unreadable(Path(error.filename), error.strerror or str(error)))

    for place, folders, names in os.walk(folder, onerror=unlisted):
        if ignored:
            ignored.enter(place, names)
        below = os.path.relpath(place, folder).replace(os.sep, "/")
        below = "" if below == "." else f"{below}/"
        for name in list(folders):
            path = Path(place, name)
            why_not = _why_not_enter(path, folder, rules, ignored)
            if why_not is not None:
                folders.remove(name)
                files.left_out.append(Unreadable(path, why_not))
            elif os.path.islink(path):
                why = "it is a link, which isn't followed"
                files.unreadable.append(Unreadable(path, why))
        for name in names:
            why_not = rules.why_not(below + name)
            if why_not is None and ignored and ignored.names(Path(place, name), False):
                why_not = IN_GITIGNORE
            if why_not is None:
                _take(files, Path(place, name), below + name, rules.links)
            else:
                files.left_out.append(Unreadable(Path(place, name), why_not))
    if rules.captions:
        _set_captions(files, folder, rules.kind)
    files.ids.sort()
    return files


def _why_not_enter(
    path: Path, folder: Path, rules: FolderRules, ignored: "_Ignored | None"
) -> str | None:
    if path.name.startswith("."):
        return "its name begins with a dot"
    if _matches(f"{path.relative_to(folder).as_posix()}/", rules.exclude):
        return "in exclude"
    return IN_GITIGNORE if ignored and ignored.names(path, True) else None


class _Ignored:
    """The patterns of all .gitignore files in a folder and its subfolders. They are stored by the
    folder that contains the .gitignore file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._specs: dict[Path, GitPatterns] = {}

    def enter(self, place: str, names: list[str]) -> None:
        if ".gitignore" in names:
            with suppress(OSError):
                content = Path(place, ".gitignore").read_bytes()
                self._specs[Path(place)] = GitPatterns.from_content(content)

    def names(self, path: Path, is_folder: bool) -> bool:
        """Whether .gitignore files exclude a path. If several files have a matching pattern, the
        one in the innermost folder counts."""
        for place in path.parents:
            spec = self._specs.get(place)
            if spec is not None:
                name = path.relative_to(place).as_posix() + ("/" if is_folder else "")
                is_named = spec.say(name)
                if is_named is not None:
                    return is_named
            if place == self._folder:
                break
        return False


def _set_captions(files: FolderFiles, folder: Path, kind: FileKind | None) -> None:
    """Move captions out of the list of files to add, and assign each caption to its image. An image
    whose caption can't be read becomes unreadable too. If only images are wanted, other captions
    are skipped."""
    texts = {
        os.path.splitext(caption)[0]: caption
        for caption in sorted(files.ids)
        if _is_caption(caption)
    }
    refused = {
        os.path.splitext(file.path)[0] for file in files.unreadable if _is_caption(file.path)
    }
    ids, files.ids = files.ids, []
    for point_id in ids:
        stem = os.path.splitext(point_id)[0]
        if not is_image(point_id):
            continue
        if str(folder / stem) in refused:
            files.unreadable.append(Unreadable(folder / point_id, "its caption can't be read"))
        else:
            files.ids.append(point_id)
            if stem in texts:
                files.captions[point_id] = texts[stem]
    used = {*files.captions.values()}
    left = [point_id for point_id in ids if not is_image(point_id) and point_id not in used]
    if kind == "images":
        files.left_out += [
            Unreadable(folder / point_id, "no caption of an image") for point_id in left
        ]
    else:
        files.ids += left


def _is_caption(path: str | Path) -> bool:
    return os.path.splitext(path)[1].lower() == CAPTION


def _take(files: FolderFiles, path: Path, point_id: str, links: bool) -> None:
    why = "its name isn't valid Unicode" if not is_unicode(point_id) else _unfit(path, links)
    if why is None:
        files.ids.append(point_id)
    else:
        files.unreadable.append(Unreadable(path, why))


def _unfit(path: Path, links: bool) -> str | None:
    try:
        mode = (path.stat() if links else path.lstat()).st_mode
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISLNK(mode):
        return "it is a link, which isn't followed"
    return None if stat.S_ISREG(mode) else "it is no regular file"


def is_image(point_id: str) -> bool:
    """Whether the file name ends with the ending of an image, such as ".png"."""
    return os.path.splitext(point_id)[1].lower() in IMAGES
