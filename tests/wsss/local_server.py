"""A server on 127.0.0.1 that knows HTTP Range and can break off in the middle."""

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from PIL import Image

from wsss.data.download import Archive


class Site:
    """What the server serves, what it was asked, and how it misbehaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []  # (path, Range header)
        self.break_after: list[int] = []  # of the next answers: bytes sent before hanging up
        self.ranges = True
        self.from_zero = False  # answers a range with 206, but from the first byte on
        self.url = ""

    def put(self, path: str, body: bytes) -> Archive:
        """Serve a file; returns what to ask for."""
        self.files[path] = body
        return Archive(self.url + path, path[1:], hashlib.md5(body).hexdigest())


def jpeg() -> bytes:
    """An image of 6×4 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4)).save(buffer, "JPEG")
    return buffer.getvalue()


@contextmanager
def serve() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            site.asked.append((self.path, wanted))
            body = site.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start = 0
            match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
            if match and site.ranges:
                start = 0 if site.from_zero else int(match[1])
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            stop = start + site.break_after.pop(0) if site.break_after else len(body)
            self.wfile.write(body[start:stop])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
