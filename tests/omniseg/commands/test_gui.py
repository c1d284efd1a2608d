"""gui.py: the real window on a virtual display, its mouse and keys sent by xdotool, and input it refuses."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from command_line import Run, content, load
from helpers import ROOT
from learned_ball import learned_ball, write_run
from omniseg.run_folder import fingerprint, load_model
from omniseg.selection.selections import Selections, load_selections
from omniseg.selection.session import SegmentationSession
from omniseg.viewer import display as display_checks
from omniseg.viewer import window
from omniseg.viewer.orbit_camera import OrbitCamera

WIDTH, HEIGHT, COLUMN = 640, 600, 336
CLICK, BESIDE = (160, 310), (3, 3)
"""Pixels of the picture, which begins beside the controls."""


class Hand:
    """Holds the mouse and the keyboard of a display with one window on it."""

    def __init__(self, display: str, run: Path, folder: Path) -> None:
        self.run, self._environment = run, {**os.environ, "DISPLAY": display, "PYTHONPATH": str(ROOT)}
        size = ["--width", str(WIDTH), "--height", str(HEIGHT), "--render-width", "152"]
        command = [sys.executable, str(ROOT / "apps" / "gui.py"), str(run), *size, "--device", "cpu"]
        pipe = subprocess.PIPE
        self.gui = subprocess.Popen(command, cwd=folder, env=self._environment, stdout=pipe, stderr=pipe, text=True)

    def does(self, *words: object) -> str:
        """Run xdotool and wait: GGUI mixes up the order of events that arrive at once."""
        command = ["xdotool", *map(str, words)]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True)
        time.sleep(0.25)
        return done.stdout

    def finds_the_window(self) -> None:
        self.waits_for(lambda: self.does("search", "--name", "OmniSeg3D"), 60)
        self._window = self.does("search", "--name", "OmniSeg3D").split()[0]

    def points(self, x: float, y: float) -> None:
        """Move the mouse to a pixel of the picture."""
        self.does("mousemove", "--window", self._window, COLUMN + x, y)

    def presses(self, *keys: str) -> None:
        for key in keys:
            self.does("key", key)

    def screenshot(self) -> torch.Tensor:
        path = self.run / "screenshots" / f"{len(list((self.run / 'screenshots').glob('*.png'))):04d}.png"
        self.presses("p")
        self.waits_for(path.exists)
        return torch.from_numpy(cv2.imread(str(path)))

    def saved(self) -> Selections:
        """Save by key and read what was saved."""
        path = self.run / "selections.json"
        path.unlink(missing_ok=True)
        self.presses("ctrl+s")
        self.waits_for(path.exists)
        return load_selections(path, fingerprint(self.run), 8)

    def waits_for(self, what: Callable[[], object], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not what():
            if self.gui.poll() is not None:
                pytest.fail(f"the window is gone: {self.gui.communicate()}")
            if time.monotonic() > end:
                pytest.fail("it did not happen in time")
            time.sleep(0.05)


@pytest.fixture
def display() -> Iterator[str]:
    missing = [name for name in ("Xvfb", "xdotool") if shutil.which(name) is None]
    if missing or not display_checks._vulkan_has_device():
        pytest.skip("needs a virtual display: apt-get install xvfb mesa-vulkan-drivers xdotool")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1000x700x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as number:
        yield f":{number.readline().strip()}"
    server.terminate()
    server.wait(10)


@pytest.fixture(scope="module")
def _ball_run(device, tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("gui") / "run", learned_ball(device))


@pytest.fixture
def ball_run(_ball_run: Path, tmp_path: Path) -> Path:
    """A run with features, that of the learned ball."""
    return Path(shutil.copytree(_ball_run, tmp_path / "run"))


@pytest.fixture
def hand(display: str, ball_run: Path, tmp_path: Path) -> Iterator[Hand]:
    folder = tmp_path / "here"
    folder.mkdir()
    hand = Hand(display, Path("../run"), folder)
    hand.run = ball_run
    yield hand
    if hand.gui.poll() is None:
        hand.gui.kill()
    hand.gui.communicate()


def sharp(hand: Hand) -> torch.Tensor:
    """The picture when it no longer becomes finer."""
    before, after = hand.screenshot(), hand.screenshot()
    for _ in range(40):
        if after.equal(before):
            break
        before, after = after, hand.screenshot()
    return after


@pytest.mark.slow
def test_a_window_from_its_first_picture_to_its_end(hand: Hand, ball_run: Path, tmp_path: Path, device):
    hand.finds_the_window()
    hand.points(*BESIDE)
    first = sharp(hand)
    assert first.shape == (HEIGHT, WIDTH - COLUMN, 3)
    assert first[HEIGHT // 2, 100:200].float().std() > 5, "a ball is no blank picture"

    model = load_model(ball_run, device)
    direct = SegmentationSession(model, fingerprint(ball_run))
    camera = OrbitCamera.from_viewpoint(model.viewpoints.cameras)
    view = direct.look(camera.cameras(152, round(152 * HEIGHT / (WIDTH - COLUMN))))
    direct.click(CLICK[0] * view.width / (WIDTH - COLUMN), CLICK[1] * view.height / HEIGHT)
    (wanted,) = direct.current.clicks

    hand.points(*CLICK)
    hand.does("click", 1)
    hand.points(*BESIDE)
    selection = hand.saved().current
    (click,) = selection.clicks
    assert click.accept
    assert click.position == pytest.approx(wanted.position, abs=1e-3)
    assert click.feature == pytest.approx(wanted.feature, abs=1e-3)
    # The threshold is that of the view at that moment, which may not have been sharp yet.
    same, either = (op(selection.mask(view), direct.mask()).sum() for op in (np.logical_and, np.logical_or))
    assert same > 0.9 * either
    marked = hand.screenshot()
    rows, columns = (marked != first).any(2).nonzero(as_tuple=True)
    assert rows.min() < CLICK[1] < rows.max()
    assert columns.min() < CLICK[0] < columns.max()

    hand.points(*CLICK)
    hand.does("click", 3)
    hand.does("click", 4)
    hand.does("click", 5)
    assert [click.accept for click in hand.saved().current.clicks] == [True, False]
    hand.presses("ctrl+z", "u")
    assert not hand.saved().current.clicks
    hand.presses("y")
    assert hand.saved().current.clicks == (click,)

    before = sharp(hand)
    hand.does("mousedown", 1)
    hand.points(CLICK[0] + 60, CLICK[1])
    hand.does("mouseup", 1)
    assert (sharp(hand) != before).any(), "a drag turns the scene"
    assert hand.saved().current.clicks == (click,), "and selects nothing"

    hand.presses("Escape")
    out, err = hand.gui.communicate(timeout=20)
    assert hand.gui.returncode == 0, err
    assert f"wrote {ball_run / 'selections.json'}" in out
    assert "Traceback" not in err
    assert list((tmp_path / "here").iterdir()) == [], "nothing is left where it was started"
    assert not [name for name in content(ball_run) if "imgui" in name]


def test_without_a_display(command: Run, ball_run: Path, monkeypatch):
    load("gui")
    for name, words in ((None, "DISPLAY is not set"), (":6789", "the display :6789 does not answer")):
        monkeypatch.delenv("DISPLAY", raising=False)
        if name:
            monkeypatch.setenv("DISPLAY", name)
        command("gui", ball_run).refused(words, "xvfb-run", "omniseg segment")


def test_without_vulkan(command: Run, ball_run: Path, monkeypatch):
    monkeypatch.setattr(display_checks, "_display_answers", lambda: True)
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nowhere")
    monkeypatch.setenv("VK_DRIVER_FILES", "/nowhere")
    command("gui", ball_run).refused("apt-get install", "mesa-vulkan-drivers", "omniseg segment")


def test_a_run_without_features_and_sizes_too_small_are_refused(command: Run, run: Path, monkeypatch):
    gui = load("gui")
    monkeypatch.setattr(gui, "check_display", lambda: None)
    command("gui", run).refused("has no features yet", "--stage features")
    command("gui", "nowhere").refused("nowhere")
    command("gui", run, "--width", "100").refused("--width: expected at least 640, got 100")
    command("gui", run, "--render-width", "0").refused("--render-width: expected at least 16, got 0")


def test_a_window_that_does_not_open(command: Run, ball_run: Path, monkeypatch):
    gui = load("gui")

    def fails(*_, **__):
        raise RuntimeError("Vulkan must be available")

    monkeypatch.setattr(gui, "check_display", lambda: None)
    monkeypatch.setattr(window.ti.ui, "Window", fails)
    before = Path.cwd()
    command("gui", ball_run).refused("no window can be opened", "omniseg segment")
    assert Path.cwd() == before
