"""Who may talk to the server: those who know its token, from its own pages."""

from __future__ import annotations

import ipaddress
import json
import secrets
import socket
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
HEADER = b"x-sam2-token"
# Of every answer: pages use nothing from elsewhere, and nobody frames or guesses.
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """ASGI middleware: lets requests with the token through, and puts `HEADERS` on every answer."""

    def __init__(self, app: Any, token: str, host: str, port: int) -> None:
        self._app, self._token, self._host, self._port = app, token, host, port

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = dict(scope["headers"])

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in given]
                if b"cache-control" not in given:
                    extra.append((b"cache-control", b"no-store"))
                if scope.get("sam2_set_cookie"):
                    extra.append((b"set-cookie", self._cookie().encode()))
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        refused = self._refusal(scope, headers)
        if refused is None:
            await self._app(scope, receive, answer)
        else:
            await _send_error(answer, *refused)

    def _refusal(self, scope: Any, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        """Why a request is not answered; None where it is."""
        host = headers.get(b"host", b"").decode("latin-1")
        if not is_own_host(host, self._host, self._port):
            return 421, f"this server does not answer for {host!r}; open the address that it printed"
        by_header = self._is_token(headers.get(HEADER, b"").decode("latin-1"))
        if scope["method"] not in ("GET", "HEAD"):
            origin = headers.get(b"origin")
            own = f"{scope.get('scheme', 'http')}://{host}"
            if origin is None and not by_header:
                return 403, "a request that changes something needs an Origin, or the token as X-Sam2-Token"
            if origin is not None and origin.decode("latin-1") != own:
                return 403, "this request comes from another page; only this server's own may change things"
        if by_header or self._is_token(_cookie_of(headers, self.cookie_name)):
            return None
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["method"] == "GET" and scope["path"] == "/" and self._is_token(asked):
            scope["sam2_set_cookie"] = True
            return None
        return 401, "open the address that the server printed when it was started: it holds the token"

    @property
    def cookie_name(self) -> str:
        """Of this server alone: cookies do not tell ports apart."""
        return f"sam2_token_{self._port}"

    def _cookie(self) -> str:
        return f"{self.cookie_name}={self._token}; Path=/; HttpOnly; SameSite=Strict"

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode("latin-1", "replace"), self._token.encode())


def is_own_host(text: str, bound: str, port: int) -> bool:
    """May a request name this host? Names that resolve to us by somebody else's will may not."""
    name, _, number = text.rpartition(":") if text.rpartition(":")[2].isdigit() else (text, "", "80")
    name = name.strip("[]").lower()
    if number != str(port):
        return False
    if bound in LOOPBACK:
        return name in LOOPBACK
    if name in LOOPBACK or name == bound.lower():
        return True
    return bound in ("0.0.0.0", "::") and (_is_address(name) or name in _own_names())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _own_names() -> Iterable[str]:
    return {socket.gethostname().lower(), socket.getfqdn().lower()}


def _cookie_of(headers: dict[bytes, bytes], name: str) -> str:
    try:
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


async def _send_error(send: Any, status: int, message: str) -> None:
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
