"""`wsss review`: check the run, load its classifier, serve the page until it is stopped."""

import getpass
import secrets
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss.config import RunConfig
from wsss.data.open import open_stage
from wsss.data.scores import read_scores
from wsss.engine.runtime import start
from wsss.errors import WsssError
from wsss.models.clicks import OpenImage
from wsss.models.trained import load_classifier
from wsss.review.calibration import Calibration, tune_command
from wsss.review.desk import Engine, OpenEngine
from wsss.review.session import Session
from wsss.run.state import Run, open_run

PORT = 8765
LOCAL = ("127.0.0.1", "localhost", "::1")
SHORTEST_TOKEN = 16


def run(
    config: RunConfig,
    host: str = LOCAL[0],
    port: int = PORT,
    token: str | None = None,
    browser: bool = False,
) -> Path:
    """Serve the page until it is interrupted; returns the folder of accepted masks.

    Args:
        config: of the run, or of one of its rounds.
        host: address to listen on.
        port: to listen on; 0 takes a free one.
        token: that the page asks for; beyond this machine one is made where none is given.
        browser: open the page.

    Raises:
        WsssError: the extra is missing, the run has no classifier, or the address is taken.
    """
    try:
        from wsss.review import server
    except ModuleNotFoundError as error:
        raise WsssError(
            f"wsss review needs {error.name}, which isn't installed: pip install 'wsss[review]'."
        ) from None
    token = choose_token(host, token)
    run = Run(config.run)
    tagged, _ = open_stage(config.data, config.seed, "pseudo_masks")
    folder = run.pseudo_masks
    engine = engine_of(config, tagged.class_names)
    session = Session(run, tagged, read_scores(folder), engine, _user(), config.data.background)

    before = config.model_copy()

    def renew() -> str:
        tuned = open_run(run.root)
        if tuned.pseudo_masks == before.pseudo_masks:
            return "Nothing better was found on your accepted masks: all masks stay as they are."
        before.pseudo_masks = tuned.pseudo_masks
        session.renew(read_scores(folder), engine_of(tuned, tagged.class_names))
        return "The masks that nobody accepted were made again by what your accepted masks chose."

    if config.round == 1:  # later rounds' masks are a segmenter's
        log = run.review_journal.with_name("calibration.log")
        session.calibration = Calibration(tune_command(run.root), log, renew)
    with listen(host, port) as bound:
        port = bound.getsockname()[1]
        address = address_of(host, port, token)
        print(f"review  {len(tagged)} images at {address}", file=sys.stderr)
        print("review  Ctrl-C stops it; everything is kept as you work", file=sys.stderr)
        if browser:
            webbrowser.open(address)
        server.serve(session, bound, names_of(host), token)
    return run.trusted_masks


def choose_token(host: str, token: str | None) -> str | None:
    """The token to ask for: that given, or beyond this machine a new one.

    Raises:
        WsssError: it is too short.
    """
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise WsssError(
            f"--token has {len(token)} characters; expected {SHORTEST_TOKEN} at least, because "
            "whoever guesses it changes your masks: leave it out to have one made."
        )
    return token or (None if host in LOCAL else secrets.token_urlsafe(24))


def names_of(host: str) -> tuple[str, ...]:
    """Names that the server is asked for by."""
    return LOCAL if host in LOCAL else (*LOCAL, host, socket.gethostname())


def address_of(host: str, port: int, token: str | None) -> str:
    """What to open in a browser."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    place = f"[{name}]" if ":" in name else name
    return f"http://{place}:{port}/" + (f"?token={token}" if token else "")


def listen(host: str, port: int) -> socket.socket:
    """A socket to serve from.

    Raises:
        WsssError: there is no such address here, or another program listens there.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise WsssError(
            f"Nothing can listen at {host}, port {port} ({error.strerror or error}): give another "
            "--port, 0 for a free one, or another --host."
        ) from None


def engine_of(config: RunConfig, class_names: Sequence[str]) -> OpenEngine:
    """What makes masks of clicks, by the classifier of a run.

    Raises:
        WsssError: the run has none, or one of other classes.
    """
    # later rounds have no classifier of their own
    first = Run.of_round(config, 1)
    first.require("train_cls")
    runtime = start(config.runtime, config.seed)
    model = load_classifier(first.model("train_cls"), runtime.device, class_names)
    settings, data = config.pseudo_masks, config.data
    levels = settings.levels_by_value(class_names)

    def open_engine(image: NDArray[np.uint8], tags: Sequence[int]) -> Engine:
        where = runtime.device
        return OpenImage(
            model,
            image,
            tags,
            settings,
            where,
            data.max_side,
            background=data.background,
            levels=levels,
        )

    return open_engine


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without users
        return ""
