"""Who may connect to the page, without a browser."""

import asyncio
import contextlib

import pytest

pytest.importorskip("viser", reason="pip install -e '.[viewer]'")

import websockets
from websockets.datastructures import Headers
from websockets.http11 import Request

from omniseg.viewer.page import gate as gates
from omniseg.viewer.page.gate import Gate


def status(gate: Gate, path: str = "/", host: str = "127.0.0.1:8080", **headers: str) -> int:
    """Status of the answer, 200 where the request passes."""
    answer = gate.refusal(Request(path, Headers({"Host": host, **headers})))
    return 200 if answer is None else answer.status_code


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:9000", "[::1]:8080"])
def test_this_machine_needs_no_token(host: str):
    assert status(Gate("127.0.0.1", None), host=host) == 200


def test_another_name_for_this_machine_is_refused():
    assert status(Gate("127.0.0.1", None), host="attacker.example:8080") == 403
    assert status(Gate("127.0.0.1", None), host="") == 403
    assert status(Gate("0.0.0.0", "t0ken"), "/?token=t0ken", host="gpu7:8080") == 303


def test_pages_of_other_sites_are_refused():
    gate = Gate("127.0.0.1", None)
    assert status(gate, Origin="http://127.0.0.1:8080", Upgrade="websocket") == 200
    assert status(gate, Origin="http://attacker.example", Upgrade="websocket") == 403
    assert status(gate, Origin="http://127.0.0.1:9999", Upgrade="websocket") == 403
    assert status(gate, Origin="null", Upgrade="websocket") == 403


def test_the_token_becomes_a_cookie():
    gate = Gate("0.0.0.0", "t0ken")
    answer = gate.refusal(Request("/?token=t0ken", Headers({"Host": "gpu7:8080"})))
    assert answer is not None
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert status(gate, host="gpu7:8080", Cookie=cookie.split(";")[0]) == 200


@pytest.mark.parametrize(
    "path", ["/", "/?token=", "/?token=wrong", "/?token=t0ke", "/?token=t%C3%B8ken", "/?other=t0ken"]
)
@pytest.mark.parametrize("cookie", ["", "omniseg_token=wrong", "omniseg_token=", "=;=", "omniseg_token"])
def test_without_the_token(path: str, cookie: str):
    assert status(Gate("0.0.0.0", "t0ken"), path, host="gpu7:8080", Cookie=cookie) == 401
    assert status(Gate("0.0.0.0", "t0ken"), path, host="gpu7:8080", Cookie=cookie, Upgrade="websocket") == 401


def test_a_server_that_did_not_start_through_the_gate_is_an_error():
    serve = websockets.asyncio.server.serve
    with (
        pytest.raises(RuntimeError, match="did not start its server through the gate"),
        Gate("127.0.0.1", None).installed(),
    ):
        pass
    assert websockets.asyncio.server.serve is serve


def test_a_browser_that_sends_too_much_is_cut_off(monkeypatch):
    monkeypatch.setattr(gates, "BURST_BYTES", 100_000)
    received = []

    async def handler(connection) -> None:
        async for data in connection:
            received.append(len(data))

    async def talk() -> int | None:
        gate = Gate("127.0.0.1", None)
        with gate.installed():
            server = await websockets.asyncio.server.serve(handler, "127.0.0.1", 0, process_request=lambda *_: None)
        async with server:
            port = server.sockets[0].getsockname()[1]
            async with websockets.connect(f"ws://127.0.0.1:{port}") as client:
                with contextlib.suppress(websockets.ConnectionClosed):
                    for _ in range(1000):
                        await client.send(bytes(10_000))
                        await asyncio.sleep(0)
                return client.close_code

    assert asyncio.run(talk()) == 1009
    assert 5 < len(received) < 40


def test_an_upgrade_without_the_token_is_refused_by_the_server():
    async def handler(connection) -> None:
        await connection.wait_closed()

    async def talk() -> None:
        with Gate("127.0.0.1", "t0ken").installed():
            server = await websockets.asyncio.server.serve(handler, "127.0.0.1", 0, process_request=lambda *_: None)
        async with server:
            address = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(websockets.InvalidStatus, match="401"):
                await websockets.connect(address)
            async with websockets.connect(address, additional_headers={"Cookie": "omniseg_token=t0ken"}) as client:
                await client.ping()

    asyncio.run(talk())
