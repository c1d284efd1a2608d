"""Poses of photos or of a video: from a folder or file to a capture that the readers know.

OUT/images/          the photos, upright, or the sharpest frames of the video
OUT/sparse/0/        COLMAP's model
OUT/poses.json       the report, and what it was made of
OUT/poses.partial/   work of a run that has not ended: the same command goes on with it

The model is moved into place as a whole, after the images and the report.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omniseg.data.formats import READERS
from omniseg.data.formats.folders import read_json
from omniseg.errors import BadArgument, InputError
from omniseg.files import require_writable, write_atomic
from omniseg.sfm import supervisor
from omniseg.sfm.config import SfmConfig
from omniseg.sfm.report import Facts, PoseReport, judge
from omniseg.sfm.source import LEAST_IMAGES, Images, Source, find_source, prepare_images

IMAGES, MODEL, REPORT, WORK = "images", "sparse/0", "poses.json", "poses.partial"

_log = logging.getLogger("omniseg")


def estimate_poses(
    source: str | Path,
    out: str | Path | None = None,
    *,
    frames: int | None = None,
    config: SfmConfig | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> PoseReport:
    """Estimate the poses of photos or of a video, and write them as a capture.

    What is there already is not made again; a run that was interrupted goes on.

    Args:
        source: folder of photos, or a video.
        out: folder of the capture; None: the parent of a folder `images`, else scenes/NAME.
        frames: most images: the sharpest of as many equal windows. None: all photos, 100 frames of a video.
        config: settings.
        overwrite: replace poses in `out`.
        progress: show progress bars.
    Raises:
        InputError: a file does not open, fewer than half of the images can be registered, pycolmap is missing, hangs
            or crashes, or `out` holds something else.
    """
    config = SfmConfig() if config is None else config
    if frames is not None and frames < LEAST_IMAGES:
        raise BadArgument("frames", f"expected at least {LEAST_IMAGES}, got {frames}")
    found = find_source(Path(source))
    folder = found.default_folder if out is None else Path(out)
    capture = _Capture(folder, found, frames, config)
    if not overwrite and (report := capture.finished()):
        _log.info("%s: has poses already; omniseg run_colmap --overwrite makes them again", folder)
        return report
    supervisor.require_pycolmap()
    require_writable(folder)
    capture.check_target(overwrite=overwrite)
    images = capture.prepare(progress=progress)
    if not capture.has_new_model:
        _log.info("%s: %d images, %s", folder, len(images.names), _cameras(images))
        capture.run_colmap(images, progress=progress)
    report = capture.judge(images)
    capture.publish(report)
    return report


def find_report(folder: Path) -> PoseReport | None:
    """Read the report in the folder of a capture; None where its poses were not estimated here."""
    path = folder / REPORT
    if not path.is_file():
        return None
    try:
        return PoseReport.from_dict(folder, read_json(path)["report"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: is no report of this version; make the poses again with --overwrite") from error


@dataclass(frozen=True)
class _Capture:
    """A capture in the making."""

    folder: Path
    source: Source
    frames: int | None
    config: SfmConfig

    @property
    def work(self) -> Path:
        return self.folder / WORK

    @property
    def in_place(self) -> bool:
        """True if the photos lie where the capture has its images."""
        images = self.folder / IMAGES
        return self.source.kind == "photos" and images.is_dir() and images.samefile(self.source.path)

    @property
    def has_new_model(self) -> bool:
        return (self.work / "model").is_dir()

    @property
    def images(self) -> Path:
        """Folder of the images during the work: their own, until all is ready to be moved into place."""
        new = self.work / IMAGES
        return new if new.is_dir() else self.folder / IMAGES

    def origin(self) -> dict[str, Any]:
        """Return what decides about the images."""
        return {"files": self.source.fingerprint(), "frames": self.frames}

    def settings(self) -> dict[str, Any]:
        """Return what decides about images and features, which an unfinished run may go on with."""
        config = self.config
        return {
            **self.origin(),
            "features": [config.lens, config.image_size, config.enlarge_below, config.max_features],
        }

    def finished(self) -> PoseReport | None:
        """Return the report of poses that were made here of the same photos.

        Raises:
            InputError: there are others.
        """
        if not any(reader.detect(self.folder) for reader in READERS.values() if self.folder.is_dir()):
            return None
        report = find_report(self.folder)
        if report is None:
            raise InputError(
                f"{self.folder}: holds poses that were not made here; use them as they are, choose "
                "another folder, or replace them with: omniseg run_colmap --overwrite"
            )
        if read_json(self.folder / REPORT).get("origin") != self.origin():
            raise InputError(
                f"{self.folder}: holds poses of other photos or frames; choose another folder, or replace them "
                "with: omniseg run_colmap --overwrite"
            )
        return report

    def check_target(self, *, overwrite: bool) -> None:
        """Raise `InputError` if images that are not ours would be replaced."""
        images = self.folder / IMAGES
        known = overwrite or self.in_place or (self.folder / REPORT).is_file() or (self.work / "images.json").is_file()
        if not known and images.is_dir() and any(images.iterdir()):
            raise InputError(f"{images}: holds other images; choose another folder, or replace them with --overwrite")

    def prepare(self, *, progress: bool) -> Images:
        """Return the images, and write them unless an unfinished run has done so."""
        record = self.work / "images.json"
        if record.is_file():
            known = read_json(record)
            if known.get("settings") == self.settings():
                _log.info("%s: goes on with an unfinished run", self.folder)
                groups = tuple(map(tuple, known["groups"]))
                return Images(tuple(known["names"]), tuple(known["sharpness"]), groups, known["sideways"])
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        if self.in_place:
            images = prepare_images(self.source, self.folder / IMAGES, self.frames, progress=progress)
        else:
            partial = self.work / "images.partial"
            images = prepare_images(self.source, partial, self.frames, progress=progress)
            partial.rename(self.work / IMAGES)
        text = json.dumps({"settings": self.settings(), **asdict(images)})
        write_atomic(record, lambda temporary: temporary.write_text(text))
        return images

    def run_colmap(self, images: Images, *, progress: bool) -> None:
        """Run COLMAP into the work folder."""
        shutil.rmtree(self.work / "model.partial", ignore_errors=True)
        shutil.rmtree(self.work / "models", ignore_errors=True)
        job = {
            "images": str(self.images.resolve()),
            "names": images.names,
            "groups": images.groups,
            "is_video": self.source.kind == "video",
            "work": str(self.work.resolve()),
            "config": asdict(self.config),
        }
        supervisor.run_worker(job, self.work, stall_seconds=self.config.stall_seconds, progress=progress)

    def judge(self, images: Images) -> PoseReport:
        """Judge the new model; a refused one is removed, while features and matches stay."""
        facts = Facts.from_dict(read_json(self.work / "facts.json"))
        sharpness = dict(zip(images.names, images.sharpness))
        try:
            return judge(self.folder, facts, sharpness, is_video=self.source.kind == "video", sideways=images.sideways)
        except InputError:
            shutil.rmtree(self.work / "model", ignore_errors=True)
            raise

    def publish(self, report: PoseReport) -> None:
        """Move images, report and model into place, the model last."""
        old = self.work / "old"
        old.mkdir(exist_ok=True)
        if (self.folder / MODEL).is_dir():
            shutil.rmtree(old / "model", ignore_errors=True)
            (self.folder / MODEL).rename(old / "model")
        if (self.work / IMAGES).is_dir():
            if (self.folder / IMAGES).is_dir():
                shutil.rmtree(old / IMAGES, ignore_errors=True)
                (self.folder / IMAGES).rename(old / IMAGES)
            (self.work / IMAGES).rename(self.folder / IMAGES)
        text = json.dumps(
            {"origin": self.origin(), "settings": asdict(self.config), "report": report.to_dict()}, indent=1
        )
        write_atomic(self.folder / REPORT, lambda temporary: temporary.write_text(text + "\n"))
        (self.folder / MODEL).parent.mkdir(exist_ok=True)
        (self.work / "model").rename(self.folder / MODEL)
        shutil.rmtree(self.work)


def _cameras(images: Images) -> str:
    n = len(images.groups)
    return "one camera" if n == 1 else f"{n} cameras (photos of different size, lens or zoom)"
