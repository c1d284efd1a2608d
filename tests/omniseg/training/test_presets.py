"""Defaults follow the scene, its photos and the device."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from omniseg.config import Config
from omniseg.data.formats import read_scene
from omniseg.data.normalisation import place
from omniseg.data.scene import Scene, SceneKind
from omniseg.training.presets import preset, settings_for
from scene_files import orbit, write_colmap, write_transforms
from tiny_scene import write_ball

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    write_colmap(tmp_path, orbit(10), points=0.3 * orbit(12)[:, :, 3])
    return read_scene(tmp_path)


def larger(scene: Scene, factor: int) -> Scene:
    """The scene as if its photos had this many times the pixels a side."""
    views = []
    for view in scene.views:
        c = view.camera
        camera = replace(c, width=c.width * factor, height=c.height * factor, fx=c.fx * factor, fy=c.fy * factor)
        views.append(replace(view, camera=camera))
    return replace(scene, views=tuple(views))


def test_placement_is_taken_over(scene: Scene):
    placement = place(scene)
    marching = preset(scene, placement, CPU).marching
    assert (marching.near, marching.cascades, marching.box) == (
        placement.near,
        placement.cascades,
        placement.box,
    )


def test_table_follows_the_number_of_pixels(scene: Scene):
    sizes = [preset(larger(scene, k), place(scene), GPU).radiance.encoding for k in (1, 16, 256)]
    tables = [size.log2_table for size in sizes]
    assert tables == sorted(tables)
    assert tables[0] < tables[-1]
    assert [size.finest_resolution for size in sizes] == sorted(size.finest_resolution for size in sizes)


def test_downsampling_counts(scene: Scene):
    big = larger(scene, 64)
    full, small = (preset(big, place(scene), GPU, downsample=k) for k in (1.0, 8.0))
    assert small.downsample == 8.0
    assert small.radiance.encoding.log2_table < full.radiance.encoding.log2_table
    assert preset(big, place(scene), CPU).downsample > preset(big, place(scene), GPU).downsample >= 1


def test_a_cpu_gets_less_to_do(scene: Scene):
    cpu, gpu = (preset(scene, place(scene), device) for device in (CPU, GPU))
    assert cpu.marching.resolution <= gpu.marching.resolution
    assert cpu.marching.step > gpu.marching.step
    assert cpu.training.steps < gpu.training.steps
    assert cpu.training.samples_per_step < gpu.training.samples_per_step


@pytest.mark.parametrize("device", [CPU, GPU])
def test_far_steps_grow_only_where_there_is_a_far(scene: Scene, device: torch.device, tmp_path: Path):
    assert scene.kind in ("unbounded", "forward")
    assert preset(scene, place(scene), device).marching.cone_angle > 0
    assert preset(scene, place(scene), device, kind="replica").marching.cone_angle == 0
    ball = read_scene(write_ball(tmp_path / "ball"))
    assert ball.kind == "synthetic"
    assert preset(ball, place(ball), device).marching.cone_angle == 0


def test_held_out_views_are_kept(scene: Scene):
    assert preset(scene, place(scene), CPU, test_every=3).test_every == 3
    assert preset(scene, place(scene), CPU).test_every is None


def test_transforms_json(tmp_path: Path):
    write_transforms(tmp_path, orbit(6))
    scene = read_scene(tmp_path)
    config = preset(scene, place(scene), CPU)
    assert config.downsample == 1.0
    assert config.marching.near > 0


def test_photos_are_swept_in_all_but_captures_from_one_side(scene: Scene):
    configs = {kind: preset(scene, place(scene), CPU, kind=kind) for kind in get_args(SceneKind)}
    assert {kind: config.photo_depth.sweep for kind, config in configs.items()} == {
        "synthetic": True, "unbounded": True, "replica": True, "forward": False,
    }  # fmt: skip
    assert all(config.training.photo_depth for config in configs.values()), "points give depth"


def test_steps_on_a_cpu_follow_pixels_and_kind(scene: Scene):
    def steps(device: torch.device, factor: int, kind: SceneKind) -> int:
        big = larger(scene, factor)
        return preset(big, place(scene), device, kind=kind, downsample=1.0).training.steps

    few = [steps(CPU, 1, kind) for kind in get_args(SceneKind)]
    assert sorted(few) == [1100, 1100, 1100, 1650]
    assert steps(CPU, 1, "unbounded") == 1650
    more = [steps(CPU, factor, "synthetic") for factor in (1, 16, 32, 64, 128)]
    assert more == sorted(more)
    assert more[0] == 1100 < more[-2] <= more[-1] < 2500
    assert {steps(GPU, factor, "unbounded") for factor in (1, 64)} == {20_000}


def test_the_sample_room_trains_for_about_a_minute():
    room = settings_for("replica", CPU, n_pixels=80 * 240 * 180, longest_side=240)
    assert repr(room.training.steps) == "1100", "a whole number"


def test_rays_end_behind_surfaces_in_open_scenes_alone(scene: Scene):
    ends = {kind: preset(scene, place(scene), CPU, kind=kind).training.end_from < 1 for kind in get_args(SceneKind)}
    assert ends == {"synthetic": False, "unbounded": True, "replica": False, "forward": False}


def test_what_reaches_far_is_contracted(scene: Scene):
    def wide(cascades: int, device: torch.device, kind: SceneKind = "unbounded") -> Config:
        placement = replace(place(scene), cascades=cascades, box=(2.0 ** (cascades - 1),) * 3)
        return settings_for(kind, device, n_pixels=3e6, longest_side=240, placement=placement)

    for device in (CPU, GPU):
        assert not wide(4, device).marching.contracted
        assert not wide(6, device, "replica").marching.contracted
        far = wide(6, device).marching
        assert far.contracted
        assert (far.cascades, far.box) == (7, (64.0, 64.0, 64.0)), "farther than nearly all points"
        assert wide(8, device).marching.cascades == 8
    assert wide(6, CPU).radiance.encoding.finest_resolution < wide(4, CPU).radiance.encoding.finest_resolution
    assert wide(6, GPU).radiance.encoding == wide(4, GPU).radiance.encoding
