"""Process that runs COLMAP: features, matches, mapping. `python -m omniseg.sfm.worker JOB` is started by `supervisor`.

COLMAP may hang or crash, so it never runs in the process of the user. Each line that this process prints is a JSON list
[stage, done, total]. Everything is kept in a database, so that a second start goes on where the first one ended.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pycolmap

from omniseg.data.image_io import image_header
from omniseg.sfm.config import SfmConfig
from omniseg.sfm.lifeline import end_with_parent
from omniseg.sfm.pairs import Pair, exhaustive_pairs, sequential_pairs, similar_pairs

_IMAGES_AT_ONCE, _PAIRS_AT_ONCE = 4, 50
"""Images and pairs between two reports of progress."""
_FLAT = tuple(
    int(getattr(pycolmap.TwoViewGeometryConfiguration, name)) for name in ("PLANAR", "PANORAMIC", "PLANAR_OR_PANORAMIC")
)
"""Kinds of image pairs that a homography explains."""
_SAMPLED_POINTS = 2000
"""Number of points whose parallax is measured."""


class Worker:
    """One run of COLMAP.

    Args:
        job: `images`, folder; `names` of the images in it; `groups`, indices of the images of each camera; `is_video`;
            `work`, folder of the database and of the model; `config`.
        reports: stream for the progress.
    """

    def __init__(self, job: dict[str, Any], reports: TextIO) -> None:
        self.images, self.work = Path(job["images"]), Path(job["work"])
        self.names: list[str] = job["names"]
        self.groups: list[list[int]] = job["groups"]
        self.is_video: bool = job["is_video"]
        self.config = SfmConfig(**job["config"])
        self._reports = reports

    def run(self) -> None:
        """Write the largest model as `model` and facts about the run as facts.json, both below the work folder."""
        self.extract_features()
        self.match()
        models = self.map()
        best = max(models, key=lambda model: model.num_reg_images(), default=None)
        facts = self.facts(best, sorted((model.num_reg_images() for model in models), reverse=True))
        if best is not None:
            partial = self.work / "model.partial"
            partial.mkdir(exist_ok=True)
            best.write_binary(str(partial))
        write_text(self.work / "facts.json", json.dumps(facts))
        if best is not None:
            partial.rename(self.work / "model")

    @property
    def database_path(self) -> Path:
        """Path of COLMAP's database."""
        return self.work / "database.db"

    def extract_features(self) -> None:
        """Find features. Images of a group share a camera, which begins with the focal length in their EXIF data."""
        options = pycolmap.FeatureExtractionOptions()
        options.max_image_size = self.config.image_size
        options.sift.max_num_features = self.config.max_features
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = self.config.lens
        done = 0
        self._report("features", 0, len(self.names))
        for group in self.groups:
            header = image_header(self.images / self.names[group[0]])
            longest = min(max(header.width, header.height), self.config.image_size)
            options.sift.first_octave = -1 if longest < self.config.enlarge_below else 0
            for names in _chunks([self.names[k] for k in group], _IMAGES_AT_ONCE):
                reader.existing_camera_id = self._camera_of([self.names[k] for k in group])
                pycolmap.extract_features(
                    str(self.database_path), str(self.images), names, pycolmap.CameraMode.SINGLE, reader, options
                )
                done += len(names)
                self._report("features", done, len(self.names))

    def match(self) -> None:
        """Match pairs of images and verify the matches."""
        ids = self._image_ids()
        there = [name for name in self.names if name in ids]
        pairs = self._pairs(ids, there)
        matching, verification = pycolmap.FeatureMatchingOptions(), pycolmap.TwoViewGeometryOptions()
        verification.ransac.random_seed = self.config.random_seed
        self._report("matches", 0, len(pairs))
        done = 0
        for chunk in _chunks(pairs, _PAIRS_AT_ONCE):
            listed = self.work / "pairs.txt"
            listed.write_text("".join(f"{there[a]} {there[b]}\n" for a, b in chunk))
            pairing = pycolmap.ImportedPairingOptions()
            pairing.match_list_path = str(listed)
            pycolmap.match_image_pairs(str(self.database_path), matching, pairing, verification)
            done += len(chunk)
            self._report("matches", done, len(pairs))

    def _pairs(self, ids: dict[str, int], names: list[str]) -> list[Pair]:
        how = self.config.matching
        if how == "auto" and self.is_video:
            how = "sequential"
        elif how == "auto":
            how = "exhaustive" if len(names) <= self.config.exhaustive_limit else "similar"
        if how == "exhaustive":
            return exhaustive_pairs(len(names))
        if how == "sequential":
            return sequential_pairs(len(names), self.config.overlap)
        database = pycolmap.Database.open(str(self.database_path))
        try:
            descriptors = [np.asarray(database.read_descriptors(ids[name]).data) for name in names]
        finally:
            database.close()
        return similar_pairs(descriptors, self.config.neighbours)

    def map(self) -> list[pycolmap.Reconstruction]:
        """Compute poses and points: one model for each part of the images that hangs together."""
        out = self.work / "models"
        out.mkdir(exist_ok=True)
        self._report("poses", 0, len(self.names))
        if self.config.mapper == "global":
            options = pycolmap.GlobalPipelineOptions()
            options.random_seed = self.config.random_seed
            pycolmap.calibrate_view_graph(str(self.database_path))
            found = pycolmap.global_mapping(str(self.database_path), str(self.images), str(out), options)
            return list(found.values())
        options = pycolmap.IncrementalPipelineOptions()
        options.random_seed = options.mapper.random_seed = self.config.random_seed
        options.min_model_size = 3
        done = 2

        def report() -> None:
            nonlocal done
            done += 1
            self._report("poses", min(done, len(self.names)), len(self.names))

        found = pycolmap.incremental_mapping(
            str(self.database_path), str(self.images), str(out), options, next_image_callback=report
        )
        return list(found.values())

    def facts(self, model: pycolmap.Reconstruction | None, sizes: list[int]) -> dict[str, Any]:
        """Return what a report needs; see `omniseg.sfm.report.Facts`."""
        ids = self._image_ids()
        database = pycolmap.Database.open(str(self.database_path))
        try:
            features = {name: database.num_keypoints_for_image(ids[name]) for name in ids}
            pair_ids, geometries = database.read_two_view_geometries()
        finally:
            database.close()
        minimum = pycolmap.TwoViewGeometryOptions().min_num_inliers
        partners: dict[int, int] = {}
        flat = verified = 0
        for pair_id, geometry in zip(pair_ids, geometries):
            if len(geometry.inlier_matches) >= minimum:
                verified += 1
                flat += int(geometry.config) in _FLAT
                for image in pycolmap.pair_id_to_image_pair(pair_id):
                    partners[image] = partners.get(image, 0) + 1
        registered = set() if model is None else {model.image(i).name for i in model.reg_image_ids()}
        return {
            "images": [
                {
                    "name": name,
                    "features": features.get(name, 0),
                    "partners": partners.get(ids.get(name, -1), 0),
                    "registered": name in registered,
                }
                for name in self.names
            ],
            "models": sizes,
            "points": 0 if model is None else model.num_points3D(),
            "error": 0.0 if model is None else model.compute_mean_reprojection_error(),
            "parallax": 0.0 if model is None else _parallax(model),
            "flat_pairs": flat / verified if verified else 0.0,
        }

    def _image_ids(self) -> dict[str, int]:
        database = pycolmap.Database.open(str(self.database_path))
        try:
            return {image.name: image.image_id for image in database.read_all_images()}
        finally:
            database.close()

    def _camera_of(self, names: Sequence[str]) -> int:
        """Return the id of the camera of the first of these images that is in the database, or -1."""
        database = pycolmap.Database.open(str(self.database_path))
        try:
            cameras = {image.name: image.camera_id for image in database.read_all_images()}
        finally:
            database.close()
        return next((cameras[name] for name in names if name in cameras), -1)

    def _report(self, stage: str, done: int, total: int) -> None:
        self._reports.write(json.dumps([stage, done, total]) + "\n")
        self._reports.flush()


def _parallax(model: pycolmap.Reconstruction) -> float:
    """Return the median, over points, of the largest angle in degrees between two rays that see a point."""
    points = list(model.points3D.values())
    points = points[:: max(1, len(points) // _SAMPLED_POINTS)]
    centres = {i: model.image(i).projection_center() for i in model.reg_image_ids()}
    angles = []
    for point in points:
        rays = np.stack([centres[element.image_id] for element in point.track.elements]) - point.xyz
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        angles.append(np.degrees(np.arccos(np.clip((rays @ rays.T).min(), -1, 1))))
    return float(np.median(angles)) if angles else 0.0


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place, then move it there."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def _chunks(items: Sequence[Any], size: int) -> Iterator[Any]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def main() -> None:
    """Run the job in the JSON file of the command line."""
    end_with_parent()
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever COLMAP prints is log
    Worker(json.loads(Path(sys.argv[1]).read_text()), reports).run()


if __name__ == "__main__":
    main()
