"""The gate of the page: who may connect, and how much a connection may send."""

from __future__ import annotations

import hmac
import http
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import websockets.asyncio.server
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Data

MAX_MESSAGE_BYTES = 2 << 20
"""Limit of one message from a browser."""
BURST_BYTES, BYTES_PER_SECOND = 8 << 20, 200_000
"""Bytes that a browser may send at once, and per second in the long run; a dragged mouse sends 5 kB per second."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_COOKIE = "omniseg_token"


class Gate:
    """Answers requests that may not pass.

    A browser that shows the token in the address gets it as a cookie, and is sent on to the address without it.
    Pages of other sites cannot connect: their `Origin` is not the address of this page. A page of this machine
    alone is not reachable by another name either (DNS rebinding).

    Attributes:
        host: address that the page binds to.
        token: to be shown by every visitor; None: nobody needs one.
    """

    def __init__(self, host: str, token: str | None) -> None:
        self.host, self.token = host, token

    def refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that may not pass, None for one that may."""
        address = request.headers.get("Host", "")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != address:
            return _answer(http.HTTPStatus.FORBIDDEN, "Pages of other sites cannot connect to this one.")
        if is_loopback(self.host) and not is_loopback(urlsplit(f"//{address}").hostname or ""):
            return _answer(http.HTTPStatus.FORBIDDEN, "This page has the address localhost or 127.0.0.1.")
        if self.token is None:
            return None
        parts = urlsplit(request.path)
        for shown in parse_qs(parts.query).get("token", []):
            if self._is_token(shown):
                cookie = f"{_COOKIE}={shown}; Path=/; HttpOnly; SameSite=Lax"
                return _answer(http.HTTPStatus.SEE_OTHER, "", Location=parts.path or "/", Set_Cookie=cookie)
        if self._is_token(_cookie(request.headers.get("Cookie", ""))):
            return None
        return _answer(
            http.HTTPStatus.UNAUTHORIZED, "Open the whole address that omniseg viewer printed, with its token."
        )

    def _is_token(self, shown: str) -> bool:
        return hmac.compare_digest(shown.encode(), (self.token or "").encode())

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Put the gate in front of the one web server that is started meanwhile.

        viser offers no place for it, so `websockets.asyncio.server.serve`, which it calls, is replaced.

        Raises:
            RuntimeError: no web server was started through it; nothing must be served then.
        """
        serve, installed = websockets.asyncio.server.serve, []

        def guarded(handler: Any, *address: Any, process_request: Callable[..., Any], **options: Any) -> Any:
            def check(connection: ServerConnection, request: Request) -> Any:
                return self.refusal(request) or process_request(connection, request)

            installed.append(handler)
            options |= {"max_size": MAX_MESSAGE_BYTES, "create_connection": _BoundedConnection}
            return serve(handler, *address, process_request=check, **options)

        websockets.asyncio.server.serve = guarded
        try:
            yield
        finally:
            websockets.asyncio.server.serve = serve
        if len(installed) != 1:
            raise RuntimeError("viser did not start its server through the gate; install the version in pyproject.toml")


def is_loopback(host: str) -> bool:
    """Return whether an address is reachable from this machine alone."""
    return host in _LOOPBACK


class _BoundedConnection(ServerConnection):
    """A connection that ends when the browser sends too much: viser keeps parts of uploads until all are there."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._left, self._filled = float(BURST_BYTES), time.monotonic()

    async def recv(self, *args: Any, **options: Any) -> Data:
        data = await super().recv(*args, **options)
        now = time.monotonic()
        self._left = min(self._left + (now - self._filled) * BYTES_PER_SECOND, BURST_BYTES) - len(data)
        self._filled = now
        if self._left < 0:
            await self.close(1009, "too much data")
        return data


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(_COOKIE)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


def _answer(status: http.HTTPStatus, text: str, **headers: str) -> Response:
    body = text.encode()
    fields = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body)), "Connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, status.phrase, Headers(fields), body)
