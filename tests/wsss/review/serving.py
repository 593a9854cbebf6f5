"""A server in a thread, and a browser to look at it with."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wsss.review.run import LOCAL, listen
from wsss.review.session import Session


@contextmanager
def served(session: Session, port: int = 0, token: str | None = None) -> Iterator[str]:
    """The address of a session on this machine; it is stopped as Ctrl-C stops it."""
    from wsss.review.server import make_server

    with listen("127.0.0.1", port) as bound:
        port = bound.getsockname()[1]
        server = make_server(session, port, LOCAL, token)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.should_exit = True
            thread.join(20)
            session.close()
        assert not thread.is_alive()


CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")


@contextmanager
def open_browser() -> Iterator[Any]:
    """A browser without a window; tests are skipped where there is none."""
    library = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    found = [path for path in CHROMIUM if Path(path).exists()]
    if not found:
        pytest.skip("needs chromium, as Debian's package installs it in /usr/bin")
    with library.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=found[0], args=["--no-sandbox"])
        yield browser
        browser.close()
