"""Which file systems a store can't be trusted to: those of a network, for their locks."""

import warnings
from pathlib import Path

NETWORK_TYPES = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "9p",
        "ceph",
        "glusterfs",
        "lustre",
        "gpfs",
        "fuse.sshfs",
        "fuse.glusterfs",
    ]
)
MOUNTS = Path("/proc/self/mounts")


def warn_of_network(path: Path) -> None:
    """Warn when the path is known to lie on a network file system; where the system doesn't tell,
    say nothing."""
    try:
        mounts = MOUNTS.read_text()
    except OSError:
        return
    kind = file_system_of(path.resolve(), mounts)
    if kind in NETWORK_TYPES:
        warnings.warn(
            f"{path} lies on a network file system ({kind}), whose locks and syncs don't keep the "
            "store's promises: use a local disk",
            stacklevel=2,
        )


def file_system_of(path: Path, mounts: str) -> str | None:
    """The type of the file system that holds the path, by a table of mounts as in /proc/mounts."""
    best, kind = -1, None
    for line in mounts.splitlines():
        _, place, found, *_ = [*line.split(), "", "", ""]
        mounted = Path(place.replace("\\040", " "))  # how the table writes a space
        if path.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), found
    return kind
