"""A folder that an export writes: files whole or absent, and nothing of anybody else replaced."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from wsss.errors import WsssError
from wsss.files import make_folder, write_atomic, write_json

_NOTE = ".wsss_export.json"


@dataclass
class Target:
    """Where an export goes.

    A file is replaced only by the same command that wrote it: what a person changed since stays.

    Attributes:
        folder: of the files.
        overwrite: replace other files, too.
        written: file, relative to the folder → digest of what this start found or put there.
    """

    folder: Path
    overwrite: bool = False
    written: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read what an earlier start noted; the folder is made with its first file."""
        try:
            self._former = dict(json.loads((self.folder / _NOTE).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            self._former = {}

    def put(self, name: str, content: bytes | str | Iterable[bytes]) -> None:
        """Write a file, unless it is there already.

        Args:
            name: relative to the folder, with `/`.
            content: whole, or in parts.

        Raises:
            WsssError: another file is there, or it can't be written.
        """
        path = self.folder / name
        if isinstance(content, bytes | str):
            whole = content.encode() if isinstance(content, str) else content
            digest = hashlib.sha256(whole).hexdigest()
            if not self._is_there(path, name, digest):
                write_atomic(path, lambda temporary: temporary.write_bytes(whole))
            self.written[name] = digest
            return
        self._is_there(path, name, None)
        running = hashlib.sha256()

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                for part in content:
                    running.update(part)
                    file.write(part)

        write_atomic(path, write)
        self.written[name] = running.hexdigest()
        self.finish()

    def link(self, name: str, source: Path) -> None:
        """Put a file of somebody else there too: the same file where the disk can, or a copy."""
        path = self.folder / name
        if path.exists():
            return
        make_folder(path.parent)
        try:
            path.hardlink_to(source)
        except OSError:
            write_atomic(path, lambda temporary: shutil.copyfile(source, temporary))

    def finish(self) -> None:
        """Note what was written, so that the next start may replace it."""
        write_json(self.folder / _NOTE, self._former | self.written)

    def _is_there(self, path: Path, name: str, digest: str | None) -> bool:
        """Whether a file of a digest is there; another one that isn't ours is refused."""
        if not path.exists():
            return False
        found = content_of(path)
        if found == digest:
            return True
        if not self.overwrite and found != self._former.get(name):
            raise WsssError(
                f"{path} was not made by this command, or was changed since, and would be "
                "replaced; expected a folder without it: give another one (--out), or --overwrite "
                "to replace it."
            )
        return False


def content_of(path: Path) -> str:
    """Digest of a file's bytes."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            whole.update(part)
    return whole.hexdigest()
