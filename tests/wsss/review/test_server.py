"""The server: what it answers, whom it refuses, and what is on the command line."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra `review`")

from starlette.middleware import Middleware
from starlette.testclient import TestClient

from tests.wsss.review.conftest import SIZE
from tests.wsss.review.serving import served
from tests.wsss.review.test_edits import click
from wsss.config import RunConfig
from wsss.errors import WsssError
from wsss.review import run as command
from wsss.review import server
from wsss.review.guard import Guard
from wsss.review.run import LOCAL, address_of, choose_token, engine_of, listen, names_of
from wsss.review.session import Session

TOKEN = "a-token-of-some-length"


def client_of(session: Session, token: str | None = None, host: str = "127.0.0.1") -> TestClient:
    guard = Middleware(Guard, names=names_of(host), token=token)
    return TestClient(server.make_app(session, guard), base_url="http://localhost:8765")


@pytest.fixture
def client(session: Session) -> Iterator[TestClient]:
    with client_of(session) as client:
        yield client


def work(**more: Any) -> dict[str, Any]:
    return {"id": "sub/b", "version": 0, "who": "ada", "actions": [], **more}


def labels(answer: Any) -> Any:
    size = int(answer.headers["x-height"]), int(answer.headers["x-width"])
    return np.frombuffer(answer.content, np.uint8).reshape(size)


def test_page_and_all_of_its_files_are_served_with_headers(client: TestClient) -> None:
    for path in ("/", "/page/main.js", "/page/style.css", "/page/icon.svg"):
        answer = client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "text/javascript" in client.get("/page/main.js").headers["content-type"]


def test_page_loads_nothing_from_elsewhere() -> None:
    for name in server.page_files():
        text = (server.PAGE / name).read_text()
        text = text.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
        assert "//cdn" not in text and "http:" not in text and "https:" not in text
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "eval(" not in text


def test_queue_item_and_pictures_are_served(client: TestClient) -> None:
    assert [row["id"] for row in client.get("/api/queue").json()] == ["c", "a", "sub/b"]
    item = client.get("/api/item", params={"id": "sub/b"}).json()
    assert (item["width"], item["height"], item["given"]) == (SIZE[1], SIZE[0], [1, 2])
    for path in ("/api/image", "/api/thumbnail"):
        answer = client.get(path, params={"id": "sub/b"})
        assert answer.content[:2] == b"\xff\xd8"


def test_mask_is_sent_as_labels_and_work_is_kept(client: TestClient, session: Session) -> None:
    answer = client.post("/api/mask", json=work(actions=[click(2, 10, 2)]))
    assert answer.headers["x-version"] == "1"
    np.testing.assert_array_equal(
        labels(answer), session.mask("sub/b", session.store.get("sub/b").actions)
    )
    assert labels(answer)[10, 2] == 2


def test_mask_can_be_asked_for_without_keeping_anything(client: TestClient) -> None:
    assert client.post("/api/mask", json=work(keep=False)).headers["x-version"] == "0"
    assert client.get("/api/item", params={"id": "sub/b"}).json()["state"] == "new"


def test_decision_is_answered_with_the_row(client: TestClient, session: Session) -> None:
    row = client.post("/api/decide", json=work(decision="accepted", seconds=1)).json()
    assert (row["state"], row["version"], row["who"]) == ("accepted", 1, "ada")
    assert session.layout.trusted("sub/b").is_file()
    assert client.get("/api/changes?since=0").json()["rows"] == [row]


def test_conflict_says_who_and_when(client: TestClient) -> None:
    client.post("/api/decide", json=work(decision="accepted"))
    for path, more in (("/api/mask", {}), ("/api/decide", {"decision": "rejected"})):
        answer = client.post(path, json=work(who="bob", **more))
        assert answer.status_code == 409
        assert (answer.json()["who"], answer.json()["version"]) == ("ada", 1)


@pytest.mark.parametrize("id_", ["", "A", "../a", "/etc/passwd", "images/a.png", "sub\\b", "a\0"])
def test_id_that_the_run_lacks_is_not_found(client: TestClient, id_: str) -> None:
    for path in ("item", "image", "thumbnail"):
        assert client.get(f"/api/{path}", params={"id": id_}).status_code == 404
    for path, more in (("mask", {}), ("decide", {"decision": "accepted"})):
        assert client.post(f"/api/{path}", json=work(id=id_, **more)).status_code == 404


def test_path_of_a_file_is_not_found(client: TestClient) -> None:
    for path in ("/page/../server.py", "/page/%2e%2e/server.py", "/run/config.yaml", "/api"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (work(actions=[click(2, 10, 9)]), 422),
        (work(actions=[click(99, 10, 1)]), 422),
        (work(actions=[{"kind": "shell"}]), 400),
        (work(version="first"), 400),
        (work(path="/etc/passwd"), 400),
        ([], 400),
    ],
)
def test_wrong_requests_get_a_sentence(client: TestClient, body: Any, status: int) -> None:
    answer = client.post("/api/mask", json=body)
    assert answer.status_code == status
    assert answer.json()["error"].endswith(".")


def test_form_of_another_page_is_no_json(client: TestClient) -> None:
    answer = client.post(
        "/api/decide", content=json.dumps(work()), headers={"Content-Type": "text/plain"}
    )
    assert answer.status_code == 422


def test_endless_request_is_cut_off(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_BYTES", 1000)
    answer = client.post("/api/mask", json=work(who="x" * 2000))
    assert answer.status_code == 422 and "holds more than" in answer.json()["error"]


def test_full_disk_gets_a_sentence(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wsss.review.store.make_folder", full)
    answer = client.post("/api/decide", json=work(decision="accepted"))
    assert answer.status_code == 507 and "No space left" in answer.json()["error"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "192.168.1.7:8765", "", "localhost.evil.example"]
)
def test_foreign_host_is_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/api/queue"):
        assert client.get(path, headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:1", "LOCALHOST", "[::1]:8765"])
def test_own_host_is_answered_at_any_port(client: TestClient, host: str) -> None:
    assert client.get("/api/about", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_foreign_origin_is_refused(
    client: TestClient, session: Session, headers: dict[str, str]
) -> None:
    body = work(decision="accepted")
    assert client.post("/api/decide", json=body, headers=headers).status_code == 403
    assert client.get("/api/queue", headers=headers).status_code == 403
    assert not session.layout.trusted("sub/b").exists()


def test_own_origin_and_a_link_to_the_page_are_answered(client: TestClient) -> None:
    own = {"Origin": "http://localhost:8765", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/prepare", json={"id": "a"}, headers=own).status_code == 204
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_token_is_asked_for_and_becomes_a_cookie(session: Session) -> None:
    client = client_of(session, TOKEN, "0.0.0.0")
    assert client.get("/").status_code == 401
    assert client.get("/api/queue", params={"token": TOKEN}).status_code == 401
    assert client.get("/", params={"token": "wrong"}).status_code == 401
    answer = client.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert client.get("/api/queue").status_code == 200
    wrong = {"Cookie": "wsss-review-0=wrong"}
    assert client_of(session, TOKEN).get("/api/queue", headers=wrong).status_code == 401


def test_with_a_token_addresses_are_own_and_foreign_names_are_not(session: Session) -> None:
    client = client_of(session, TOKEN, "0.0.0.0")
    client.get("/", params={"token": TOKEN})
    own = {"Cookie": f"wsss-review-0={TOKEN}"}
    assert client.get("/api/about", headers={**own, "Host": "10.0.0.3:8765"}).status_code == 200
    assert (
        client.get("/api/about", headers={**own, "Host": socket.gethostname()}).status_code == 200
    )
    assert client.get("/api/about", headers={**own, "Host": "evil.example"}).status_code == 421


def test_choose_token_makes_one_beyond_this_machine_alone() -> None:
    assert all(choose_token(host, None) is None for host in LOCAL)
    made = choose_token("0.0.0.0", None)
    assert made is not None and len(made) >= 32 and made != choose_token("0.0.0.0", None)
    assert choose_token("127.0.0.1", TOKEN) == TOKEN
    with pytest.raises(WsssError, match="--token has 5"):
        choose_token("0.0.0.0", "short")


def test_address_has_the_token_and_a_name_that_can_be_opened() -> None:
    assert address_of("127.0.0.1", 80, None) == "http://127.0.0.1:80/"
    assert address_of("::1", 80, None) == "http://[::1]:80/"
    assert address_of("0.0.0.0", 80, "t") == f"http://{socket.gethostname()}:80/?token=t"


def test_listen_names_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        with pytest.raises(WsssError, match=f"port {port}"):
            listen("127.0.0.1", port)


def test_engine_of_a_run_without_classifier_is_refused(finished: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(WsssError, match="train-cls"):
        engine_of(finished.model_copy(update={"run": tmp_path}), ())


def test_missing_extra_is_named(finished: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wsss.review.server", None)
    monkeypatch.delattr("wsss.review.server", raising=False)
    with pytest.raises(WsssError, match=r"wsss\[review\]"):
        command.run(finished)


def test_run_serves_masks_of_the_runs_classifier(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[tuple[Session, Any]] = []

    def serve(session: Session, bound: socket.socket, *_: Any) -> None:
        sessions.append((session, bound.getsockname()))

    monkeypatch.setattr(server, "serve", serve)
    assert command.run(run, port=0) == run.run / "trusted"
    ((session, address),) = sessions
    assert address[0] == "127.0.0.1"
    assert len(session.order) == 12 == len(session.scores)
    client = client_of(session)
    id_ = session.order[0]
    tag = client.get("/api/item", params={"id": id_}).json()["given"][0]
    answer = client.post("/api/mask", json=work(id=id_, actions=[click(32, 32, tag)]))
    assert labels(answer).shape == (64, 64) and labels(answer)[32, 32] == tag
    about = client.get("/api/about").json()
    assert about["classes"][0]["name"] == "background"
    session.desk.close()


def test_serve_answers_until_it_is_stopped(session: Session) -> None:
    with served(session) as address, urllib.request.urlopen(f"{address}api/about") as answer:
        assert json.load(answer)["run"] == "run"


@pytest.mark.slow
def test_killed_server_loses_nothing(run: RunConfig) -> None:
    with started(run.run) as (address, process):
        id_, tag = next((r["id"], r["tags"][0]) for r in ask(f"{address}api/queue") if r["tags"])
        body = work(id=id_, actions=[click(32, 32, tag)])
        ask(f"{address}api/mask", body)
        ask(f"{address}api/decide", {**body, "version": 1, "decision": "accepted"})
        ask(f"{address}api/mask", {**body, "version": 2, "actions": []})
        process.kill()
        process.wait()
    saved = (run.run / "trusted" / f"{id_}.png").read_bytes()
    with started(run.run) as (address, process):
        item = ask(f"{address}api/item?id={id_}")
        assert (item["version"], item["state"], item["changed"]) == (3, "accepted", True)
        assert (run.run / "trusted" / f"{id_}.png").read_bytes() == saved
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@contextmanager
def started(root: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """`wsss review` as a process of its own, and its address."""
    code = "from wsss.cli import main; main()"
    command = [sys.executable, "-c", code, "review", str(root), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://\S+", line):
                yield found[0], process
                break
        process.kill()


def ask(address: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
    return json.loads(text) if answer.headers["Content-Type"] == "application/json" else text
