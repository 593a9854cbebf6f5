"""Gets one large file whole: resumed where it broke off, checked by its MD5."""

import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from wsss.errors import WsssError

_CHUNK = 1 << 18
_PATIENCE = 60  # seconds without a byte until a connection counts as broken
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class Archive:
    """A file to get.

    Attributes:
        url: where from.
        filename: its name on disk.
        md5: of the whole file, in hexadecimal digits.
    """

    url: str
    filename: str
    md5: str


class _CutOffError(ConnectionError):
    """The connection ended before the file did."""


def download(
    archive: Archive,
    folder: Path,
    *,
    attempts: int = 5,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Path:
    """Gets `archive` into `folder`, unless it lies there whole.

    Bytes go to `<filename>.part`, which a broken transfer and a killed process leave behind and the
    next attempt goes on with (HTTP Range); the file takes its name when its MD5 is right.

    Args:
        archive: what to get.
        folder: where to; made if need be.
        attempts: how often to go on after a broken connection.
        progress: called with bytes so far and bytes in all, None where the server does not say.

    Returns:
        The file.

    Raises:
        WsssError: no connection, refused by the server, wrong checksum.
    """
    from torchvision.datasets.utils import check_integrity  # slow to import

    whole, part = folder / archive.filename, folder / f"{archive.filename}.part"
    if check_integrity(whole, archive.md5):
        return whole
    folder.mkdir(parents=True, exist_ok=True)
    _fetch_all(archive, part, attempts, progress)
    if not check_integrity(part, archive.md5):
        size = part.stat().st_size
        part.unlink()
        raise WsssError(
            f"{archive.url} gave {size} bytes whose MD5 is not {archive.md5}; expected the archive "
            "as it was published: try again (the bytes were removed), or name another mirror."
        )
    part.replace(whole)
    return whole


def download_shown(archive: Archive, folder: Path) -> Path:
    """`download` with a bar on stderr."""
    columns = (*Progress.get_default_columns()[:2], DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(archive.filename, total=None)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        return download(archive, folder, progress=show)


def _fetch_all(
    archive: Archive, part: Path, attempts: int, progress: Callable[[int, int | None], None]
) -> None:
    for attempt in range(1, attempts + 1):
        try:
            return _fetch(archive.url, part, progress)
        except urllib.error.HTTPError as error:
            # nothing lies behind the bytes we have: whole, or of another file
            if error.code == 416:
                return None
            raise WsssError(
                f"{archive.url} answered {error.code} {error.reason}; expected the archive: check "
                "the address, or name another mirror."
            ) from error
        except (*_BROKEN, ssl.SSLError) as error:
            if attempt == attempts:
                size = part.stat().st_size if part.exists() else 0
                raise WsssError(
                    f"The transfer of {archive.url} broke off ({getattr(error, 'reason', error)}); "
                    f"{size} bytes are kept: run the same command again, and it resumes there."
                ) from error
    return None


def _fetch(url: str, part: Path, progress: Callable[[int, int | None], None]) -> None:
    """One connection: appends to `part` what it lacks."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "wsss", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
        resumed = answer.status == 206 and _starts_at(answer.headers, have)
        done = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with part.open("ab" if resumed else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
    if total is not None and done < total:
        raise _CutOffError(f"after {done} of {total} bytes")


def _starts_at(headers: http.client.HTTPMessage, offset: int) -> bool:
    match = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return match is not None and int(match[1]) == offset
