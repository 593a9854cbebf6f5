"""Who may talk to the server: it answers its own page alone.

A page elsewhere can send requests to 127.0.0.1 from the same browser, and can point its own name at
127.0.0.1: hence the checks of Origin and Host. Beyond this machine a token is asked for.
"""

import ipaddress
import secrets
from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Refuses foreign hosts, origins and people without the token; adds headers to every answer.

    Attributes:
        names: host names that the server goes by, in small letters.
        token: that is asked for; None asks for none.
        cookie: name of the cookie that holds it, another one for each server of a machine.
    """

    def __init__(
        self, app: ASGIApp, names: Iterable[str], token: str | None = None, port: int = 0
    ) -> None:
        self.app, self.token, self.cookie = app, token, f"wsss-review-{port}"
        self.names = frozenset(name.casefold() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refuse(scope)
        await (refusal or self.app)(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_own(host):
            return PlainTextResponse("This server has another name.", 421)
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.casefold() != host.casefold()
        site = headers.get("sec-fetch-site", "none")
        # a link from elsewhere may lead to the page, and to nothing else
        linked = scope["method"] == "GET" and scope["path"] == "/"
        if foreign or (site not in ("none", "same-origin") and not linked):
            return PlainTextResponse("Another page asks.", 403)
        if self.token is None:
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if linked and _equal(given, self.token):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self.cookie, self.token, httponly=True, samesite="lax")
            return answer
        if not _equal(Request(scope).cookies.get(self.cookie, ""), self.token):
            return PlainTextResponse("Open the address with the token that the server shows.", 401)
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").casefold()
        except ValueError:
            return False
        if name in self.names:
            return True
        # an address can't be pointed elsewhere, as a name can; a token is asked for in any case
        return self.token is not None and _is_address(name)


def _equal(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
