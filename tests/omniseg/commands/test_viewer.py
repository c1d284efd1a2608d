"""viewer.py: the real page in a real browser, which clicks, drags, downloads and uploads, and input it refuses."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from command_line import Run, load
from helpers import ROOT
from learned_ball import learned_ball, write_run
from omniseg.run_folder import fingerprint
from omniseg.selection.selections import load_selections

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
pytest.importorskip("viser", reason="pip install -e '.[viewer]'")

WIDTH, HEIGHT, PANEL = 760, 420, 330
"""Size of the browser's window, and of the controls at its right, pixels."""
BALL, BESIDE = (215, 210), (12, 405)
"""Pixels of the picture."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Server:
    """The command as a process of its own, until `stop`."""

    def __init__(self, run: Path, *options: str) -> None:
        command = [sys.executable, str(ROOT / "apps" / "viewer.py"), str(run), "--port", "0", "--device", "cpu"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [*command, "--render-width", "120", *options], env=environment, stdout=pipe, stderr=pipe, text=True
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        found = re.search(r"http://127.0.0.1:(\d+)(\S*)", self.said)
        if found is None:
            pytest.fail(f"no address: {self.said} {self.stop()}")
        self.address, self.port = found[0], int(found[1])
        self.said += self.process.stdout.readline()

    def stop(self) -> tuple[str, str]:
        """Interrupt it, and return what it said."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"Ctrl-C did not end it: {self.process.communicate()}")


class Visitor:
    """A person with a browser, who sees the page and moves the mouse."""

    def __init__(self, browser, address: str) -> None:
        self.page = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, accept_downloads=True, reduced_motion="reduce"
        ).new_page()
        self.foreign: list[str] = []
        self.page.on("request", lambda request: self._note(request.url))
        self.opens(address)

    def _note(self, url: str) -> None:
        if not url.startswith(("data:", "blob:", "http://127.0.0.1:", "ws://127.0.0.1:")):
            self.foreign.append(url)

    def opens(self, address: str) -> None:
        self.page.goto(address)
        self.page.wait_for_selector("#message", timeout=30_000)
        self.waits_for(lambda: self.picture().std() > 5, "the first picture")
        # viser says that this browser draws without a GPU; the note lies over the picture.
        note = self.page.locator(".mantine-Notification-closeButton")
        if note.count():
            note.first.click()
            note.wait_for(state="detached")

    def picture(self) -> np.ndarray:
        """The picture as it is on the screen, without its upper part, which notifications lie over."""
        data = self.page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH - PANEL, "height": HEIGHT})
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(np.int16)[150:]

    def sharp(self) -> np.ndarray:
        """The picture when it no longer changes."""
        before, since = self.picture(), time.monotonic()
        while time.monotonic() - since < 1.0:
            self.page.wait_for_timeout(150)
            after = self.picture()
            if np.abs(after - before).max() > 8:
                before, since = after, time.monotonic()
        return before

    def message(self) -> str:
        return self.page.locator("#message").inner_text()

    def selections(self) -> str:
        return " ".join(self.page.locator("#selections").inner_text().split())

    def reads(self, words: str) -> str:
        """Wait for a message that holds a regular expression, and return it."""
        self.waits_for(lambda: re.search(words, self.message()), words)
        return self.message()

    def waits_for(self, what: Callable[[], object], name: str, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not what():
            if time.monotonic() > end:
                pytest.fail(f"{name}: did not happen; the page says {self.message()!r}")
            self.page.wait_for_timeout(100)

    def clicks(self, x: float, y: float, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.down(key)
        self.page.mouse.click(x, y)
        for key in keys:
            self.page.keyboard.up(key)

    def drags(self, *points: tuple[float, float]) -> None:
        self.page.mouse.move(*points[0])
        self.page.wait_for_timeout(200)
        self.page.mouse.down()
        for point in points[1:]:
            self.page.wait_for_timeout(120)
            self.page.mouse.move(*point, steps=4)
        self.page.wait_for_timeout(200)
        self.page.mouse.up()

    def downloads(self, button: str, folder: Path) -> Path:
        with self.page.expect_download(timeout=60_000) as download:
            self.page.get_by_role("button", name=button).click()
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()


def pixels(message: str) -> int:
    found = re.search(r"(\d+) pixels", message)
    assert found, message
    return int(found[1])


@pytest.fixture(scope="module")
def ball_run(device, tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("page") / "run", learned_ball(device))


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Return a browser that draws without a GPU: one of the system, else playwright's own."""
    # Software rendering is named, since a machine without a GPU may not fall back on it.
    options = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with playwright.sync_playwright() as driver:
        own = driver.chromium.executable_path
        for path in filter(None, (*map(shutil.which, BROWSERS), own if Path(own).exists() else None)):
            try:
                started = driver.chromium.launch(executable_path=path, args=options)
            except playwright.Error:  # Ubuntu's chromium-browser only says that it is a snap
                continue
            yield started
            started.close()
            return
        pytest.skip("needs a browser: apt-get install chromium, or else: playwright install chromium")


@pytest.fixture(scope="module")
def server(ball_run: Path, browser) -> Iterator[Server]:
    server = Server(ball_run)
    yield server
    out, err = server.stop()
    assert server.process.returncode == 0, err
    assert "Traceback" not in out + err
    assert "viser" not in out + err, "its banner names an address of its own"


@pytest.fixture
def visitor(browser, server: Server) -> Iterator[Visitor]:
    visitor = Visitor(browser, server.address)
    yield visitor
    assert visitor.foreign == [], "the page needs nothing from the internet"
    visitor.page.context.close()


@pytest.mark.slow
def test_clicks_levels_and_undo(visitor: Visitor):
    before = visitor.sharp()
    visitor.clicks(*BALL)
    visitor.reads(r"selection 1: \d+ pixels at threshold .* level \d of 0 to \d")
    assert "1 click" in visitor.selections()
    tinted = np.abs(visitor.sharp() - before).max(2) > 20
    row, column = BALL[1] - 150, BALL[0]
    assert tinted[row - 30 : row + 30, column - 30 : column + 30].mean() > 0.5, "the mask is seen where the click was"
    assert not tinted[-20:, :20].any()

    for key, (smaller, larger) in {"PageDown": (1, 0), "PageUp": (0, 1)}.items():
        before_key = visitor.message()
        visitor.page.keyboard.press(key)
        visitor.waits_for(lambda before=before_key: visitor.message() != before, "another level")
        sizes = [pixels(before_key), pixels(visitor.message())]
        assert sizes[larger] > 1.2 * sizes[smaller]
    large = visitor.message()

    visitor.clicks(BALL[0] - 70, BALL[1], "Shift")
    visitor.waits_for(lambda: "2 clicks" in visitor.selections(), "a rejected click")
    assert pixels(visitor.message()) < pixels(large)
    visitor.page.keyboard.press("u")
    assert pixels(visitor.reads("undone")) == pixels(large)
    assert "1 click" in visitor.selections()
    visitor.page.get_by_role("button", name="Redo").click()
    visitor.waits_for(lambda: "2 clicks" in visitor.selections(), "redo")


@pytest.mark.slow
def test_what_cannot_be_done_is_said_beside_the_picture(visitor: Visitor):
    visitor.clicks(*BESIDE)
    visitor.page.get_by_text("Not done").wait_for(timeout=20_000)
    assert "nothing is there" in visitor.message()
    assert "0 clicks" in visitor.selections()
    visitor.clicks(*BALL)
    visitor.reads("selection 1: ")
    visitor.page.get_by_text("Not done").wait_for(state="detached", timeout=20_000)


@pytest.mark.slow
def test_box_stroke_and_drag(visitor: Visitor):
    visitor.page.mouse.move(*BALL)
    visitor.page.keyboard.press("b")
    visitor.reads("drag a box")
    before = visitor.sharp()
    visitor.drags((BALL[0] - 100, BALL[1] - 100), BALL, (BALL[0] + 100, BALL[1] + 100))
    visitor.reads(r"selection 1: \d+ pixels")
    visitor.page.keyboard.press("t")
    visitor.reads("drag a stroke")
    visitor.page.keyboard.press("c")
    visitor.reads("cleared")
    assert np.abs(visitor.sharp() - before).mean() < 2, "neither has moved the camera"
    visitor.drags((BALL[0] - 50, BALL[1] - 20), BALL, (BALL[0] + 50, BALL[1] + 20))
    visitor.waits_for(lambda: re.search(r"[3-9] clicks|\d\d clicks", visitor.selections()), "a stroke")
    visitor.page.keyboard.press("t")
    visitor.reads("click on something")
    visitor.page.keyboard.press("c")
    visitor.reads("cleared")
    visitor.page.wait_for_timeout(500)
    visitor.drags(BALL, (BALL[0] + 60, BALL[1]))
    assert np.abs(visitor.sharp() - before).mean() > 2, "a drag turns the scene"
    assert "0 clicks" in visitor.selections()


@pytest.mark.slow
def test_segments_are_taken_by_a_click(visitor: Visitor):
    visitor.tab("View")
    visitor.page.get_by_role("button", name="Segment everything").click()
    visitor.reads("automatic segments, level 3")
    visitor.sharp()
    visitor.clicks(*BALL)
    visitor.reads(r"segment \d+ of level 3, \d+% alike; selection 1: \d+ pixels")
    visitor.clicks(BALL[0] - 70, BALL[1])
    visitor.reads(r"segment \d+ of level 3, \d+% alike; selection 2: \d+ pixels")


@pytest.mark.slow
def test_downloads_open_and_an_upload_comes_back(visitor: Visitor, ball_run: Path, tmp_path: Path):
    visitor.sharp()
    visitor.clicks(*BALL)
    count = pixels(visitor.reads(r"selection 1: \d+ pixels"))
    visitor.tab("Files")
    file = visitor.downloads("Selections as .json", tmp_path)
    saved = load_selections(file, fingerprint(ball_run), 8)
    assert [click.accept for click in saved.current.clicks] == [True]

    with zipfile.ZipFile(visitor.downloads("Masks and cut-outs", tmp_path)) as archive:
        names = archive.namelist()
        assert "selections.json" in names
        mask, cut = (
            cv2.imdecode(np.frombuffer(archive.read(f"{kind}/selection 1/view.png"), np.uint8), cv2.IMREAD_UNCHANGED)
            for kind in ("masks", "cutouts")
        )
    assert (mask > 0).sum() == pytest.approx(count, rel=0.02)
    assert (cut[..., 3] == mask).all()

    mesh = visitor.downloads("PLY mesh", tmp_path).read_bytes()
    assert mesh.startswith(b"ply")
    assert int(re.search(rb"element face (\d+)", mesh)[1]) > 100
    points = visitor.downloads("points", tmp_path).read_bytes()
    assert int(re.search(rb"element vertex (\d+)", points)[1]) > 50

    for button in ("Save", "Load"):
        visitor.page.get_by_role("button", name=button, exact=True).click()
        visitor.reads("saved run/selections.json" if button == "Save" else "1 selections from run/selections.json")
    (ball_run / "selections.json").unlink()

    visitor.page.keyboard.press("c")
    visitor.reads("cleared")
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.get_by_role("button", name="Selections from .json").click()
    chooser.value.set_files(file)
    assert pixels(visitor.reads("loaded 1 selection from selections.json")) == pytest.approx(count, rel=0.02)
    foreign = tmp_path / "foreign.json"
    foreign.write_text(json.dumps({**json.loads(file.read_text()), "features": "another"}))
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.get_by_role("button", name="Selections from .json").click()
    chooser.value.set_files(foreign)
    visitor.reads("^foreign.json: was made with another feature field")


@pytest.mark.slow
def test_visitors_do_not_disturb_each_other_and_find_their_work_again(browser, server: Server, visitor: Visitor):
    visitor.sharp()
    visitor.clicks(*BALL)
    message = visitor.reads("selection 1: ")
    picture = visitor.sharp()
    other = Visitor(browser, server.address)
    assert "0 clicks" in other.selections()
    other.sharp()
    other.drags(BALL, (BALL[0] + 60, BALL[1]))
    other.clicks(BALL[0] - 40, BALL[1])
    other.reads("selection 1: ")
    other.page.keyboard.press("n")
    other.reads("new selection")
    other.page.context.close()
    assert np.abs(visitor.sharp() - picture).mean() < 1
    assert visitor.message() == message
    assert visitor.selections() == "selection 1 1 click"

    visitor.opens(server.address)
    visitor.reads("welcome back")
    assert visitor.selections() == "selection 1 1 click"
    assert np.abs(visitor.sharp() - picture).mean() < 2


@pytest.mark.slow
def test_shared_selections_behind_a_token(browser, ball_run: Path):
    server = Server(ball_run, "--shared", "--token", "sesame1")
    assert server.address.endswith("/?token=sesame1")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/")
    assert refused.value.code == 401
    one, two = Visitor(browser, server.address), Visitor(browser, server.address)
    assert "token" not in one.page.url
    before = two.sharp()
    one.sharp()
    one.clicks(*BALL)
    one.reads("selection 1: ")
    two.waits_for(lambda: "1 click" in two.selections(), "a shared click")
    assert np.abs(two.sharp() - before).mean() > 1
    two.page.mouse.move(*BALL)
    two.page.keyboard.press("u")
    two.reads("undone")
    one.waits_for(lambda: "0 clicks" in one.selections(), "a shared undo")
    for visitor in (one, two):
        visitor.page.context.close()
    out, err = server.stop()
    assert "Traceback" not in out + err
    assert f"ssh -L {server.port}:127.0.0.1:{server.port}" in server.said


def test_input_that_is_refused(command: Run, run: Path, ball_run: Path):
    command("viewer", run).refused("has no features yet", "--stage features")
    command("viewer", "nowhere").refused("nowhere")
    command("viewer", ball_run, "--render-width", "3").refused("--render-width: expected at least 16, got 3")
    command("viewer", ball_run, "--token", "a b").refused("--token: expected letters and digits")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command("viewer", ball_run, "--port", port).refused(f"--port {port}: cannot be listened on", "give another")
    command("viewer", ball_run, "--port", "99999").refused("--port: expected 0 to 65535, got 99999")


def test_without_viser(command: Run, ball_run: Path, monkeypatch):
    load("viewer")
    for name in [name for name in sys.modules if name.startswith("omniseg.viewer.page")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "viser", None)
    command("viewer", ball_run).refused("the page needs viser", "pip install 'omniseg3d[viewer]'")
