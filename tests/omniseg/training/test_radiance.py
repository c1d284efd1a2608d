"""Stage 1 learns, stops in time, is reproducible, and resumes where it stopped."""

import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from omniseg import distributed
from omniseg.cameras import Cameras
from omniseg.config import Config
from omniseg.data.depth_maps import DepthMaps
from omniseg.data.images import ImageSet
from omniseg.data.photo_depth import PhotoDepth
from omniseg.distributed import Process
from omniseg.errors import InputError
from omniseg.evaluation.image_metrics import psnr
from omniseg.fields import RadianceField, Space
from omniseg.run_folder import read_tensors, write_tensors
from omniseg.training import trainer as trainer_module
from omniseg.training.losses import distortion
from omniseg.training.radiance import RadianceTrainer
from tiny_scene import ball_cameras, ball_config, ball_images, moved, see_ball


@pytest.fixture
def make(device) -> Callable[..., RadianceTrainer]:
    """Return a function that makes a trainer of the ball; options of the training by name."""

    def build(config: Config | None = None, images=None, **training) -> RadianceTrainer:
        images = ball_images() if images is None else images
        return RadianceTrainer(config or ball_config(**training), images.to(device))

    return build


def train(trainer: RadianceTrainer, steps: int | None = None) -> RadianceTrainer:
    for _ in range(steps or trainer.config.training.steps):
        trainer.step()
    return trainer


def psnr_of_unseen_view(trainer: RadianceTrainer) -> tuple[float, float]:
    """Return the PSNR over white of an unseen view, and that of the best single colour."""
    cameras = ball_cameras(5, height=0.5).to(trainer.device)[[1]]
    rays = cameras.image_rays(0)
    colour, opacity, _ = see_ball(*(r.cpu() for r in rays))
    photo = torch.where(opacity[:, None] > 0, colour, 1.0)
    rendering = trainer.renderer.render(*rays)
    return psnr(rendering.over(1.0).cpu(), photo), psnr(photo.mean(0).expand_as(photo), photo)


def tensors(trainer: RadianceTrainer) -> dict[str, torch.Tensor]:
    models = {"field": trainer.field, "grid": trainer.grid, "camera_optimizer": trainer.camera_optimizer}
    return {f"{name}.{k}": v.clone() for name, m in models.items() for k, v in m.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def on_cpu(device: torch.device) -> None:
    if device.type != "cpu":
        pytest.skip("on a GPU atomic additions come in any order, so bits differ")


def test_learns_an_unseen_view(make):
    trainer = train(make(steps=80, background="random"))
    got, single_colour = psnr_of_unseen_view(trainer)
    assert got > single_colour + 4
    assert trainer.grid.bits.count_nonzero() < trainer.grid.bits.numel(), "no space was found empty"


def test_same_seed_same_tensors(make, device):
    on_cpu(device)
    first, again = (tensors(train(make(), 20)) for _ in range(2))
    assert same(first, again)


def test_a_trainer_seeds_its_field_and_keeps_the_random_state_of_the_program(make, device):
    torch.manual_seed(99)
    state = torch.get_rng_state()
    started = make(replace(ball_config(), seed=7)).field.state_dict()
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(7)
    expected = RadianceField(ball_config().radiance, Space.from_config(ball_config().marching)).to(device).state_dict()
    assert same(dict(started), dict(expected))


CHANGES = {
    "training": {
        "lr_floor": 1.0, "adam_betas": (0.8, 0.9), "adam_eps": 1e-3, "fill": 0.5, "initial_samples_per_ray": 16,
        "min_rays": 300, "max_rays": 80, "max_rays_change": 1.1, "ramp": 0.5, "coarseness": 1.0, "grid_every": 5,
        "grid_warmup_every": 3, "grid_warmup_steps": 2, "correction_lr": 0.5, "end_from": 1.0, "end_tile": 5,
        "end_transmittance": 0.1, "end_steps": 1.0, "end_rate": 0.9,
    },
    "marching": {"occupancy_decay": 0.1, "occupancy_stride": 2, "frustum_margin": 0.0},
    "radiance": {"table_init": 1e-2, "sh_degree": 2, "log_density_bias": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("section", CHANGES)
def test_every_number_of_the_configuration_counts(make, device, section: str):
    on_cpu(device)
    schedule = {"steps": 12, "grid_every": 4, "grid_warmup_every": 2, "grid_warmup_steps": 4}
    # Any ray counts as opaque soon, so that ends matter in 12 steps.
    ends = {"end_from": 0.1, "end_transmittance": 0.9, "end_tile": 3}
    config = ball_config(**schedule, **ends, samples_per_step=2048, refine_poses=True)

    def trained(config: Config) -> dict[str, torch.Tensor]:
        trainer = train(make(config, ball_images(3)))
        return {**tensors(trainer), "n_rays": torch.tensor(trainer.progress.n_rays)}

    before = trained(config)
    for name, value in CHANGES[section].items():
        changed = replace(config, **{section: replace(getattr(config, section), **{name: value})})
        after = trained(changed)
        alike = all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(before.values(), after.values()))
        assert not alike, f"{section}.{name} changes nothing"


def test_other_seed_other_tensors(make):
    config = ball_config()
    first, other = (tensors(train(make(replace(config, seed=seed)), 2)) for seed in (0, 1))
    assert not torch.equal(first["field.table"], other["field.table"])


@pytest.mark.parametrize("stop", [5, 16, 33])
def test_resume_goes_on_bit_for_bit(make, device, tmp_path: Path, stop: int):
    on_cpu(device)
    everything = {"refine_poses": True, "exposure": True, "background": "random", "distortion_weight": 1e-3}
    images = ball_images(depth=True)
    straight = train(make(images=images, **everything), 40)

    begun = train(make(images=images, **everything), stop)
    begun.save_resume(tmp_path)
    resumed = make(images=images, **everything)
    resumed.resume(tmp_path)
    assert resumed.progress == begun.progress
    train(resumed, 40 - stop)

    assert same(tensors(straight), tensors(resumed))
    assert straight.progress.n_rays == resumed.progress.n_rays


def test_resume_before_the_first_step(make, device, tmp_path: Path):
    on_cpu(device)
    make().save_resume(tmp_path)
    resumed = make()
    resumed.resume(tmp_path)
    assert same(tensors(train(make(), 3)), tensors(train(resumed, 3)))


def test_resume_may_be_longer_and_from_elsewhere(make, tmp_path: Path):
    config = ball_config()
    train(make(config), 2).save_resume(tmp_path)
    longer = replace(config, scene="/moved", seconds=3.0, training=replace(config.training, steps=99))
    trainer = make(longer)
    trainer.resume(tmp_path)
    assert trainer.progress.step == 2


def as_an_older_version_saved_it(run: Path) -> None:
    """Rewrite the resume file of stage 1 without some fields that older versions lacked."""
    path = run / RadianceTrainer.resume_file
    tensors, state = read_tensors(path, torch.device("cpu"))
    for name in ("lr_floor", "coarseness"):
        del state["config"]["training"][name]
    del state["config"]["marching"]["occupancy_decay"]
    state["config"]["feature_training"]["form"] = "ranked"
    del state["config"]["feature_training"]["loss"]
    write_tensors(path, tensors, state)


def test_resume_of_an_older_version(make, device, tmp_path: Path):
    begun = train(make(), 2)
    begun.save_resume(tmp_path)
    as_an_older_version_saved_it(tmp_path)
    resumed = make()
    resumed.resume(tmp_path)
    assert same(tensors(begun), tensors(resumed))
    with pytest.raises(InputError, match=r"other values of training\.coarseness;"):
        make(coarseness=2.0).resume(tmp_path)


@pytest.mark.parametrize("config", [{"flavour": 1}, {"training": {"lr": "fast"}}, None])
def test_resume_refuses_a_foreign_configuration(make, tmp_path: Path, config: object):
    train(make(), 1).save_resume(tmp_path)
    path = tmp_path / RadianceTrainer.resume_file
    tensors, state = read_tensors(path, torch.device("cpu"))
    write_tensors(path, tensors, {**state, "config": config})
    with pytest.raises(InputError, match=r"radiance\.safetensors: not a checkpoint of this version"):
        make().resume(tmp_path)


def test_fewer_rays_than_processes_are_refused(make, monkeypatch):
    monkeypatch.setattr(distributed, "process", lambda: Process(0, 0, 8, 8))
    with pytest.raises(InputError, match=r"--training\.min-rays: expected at least 1 for each of 8 processes, got 7"):
        make(min_rays=7)


def test_resume_refuses_another_configuration(make, tmp_path: Path):
    train(make(), 1).save_resume(tmp_path)
    with pytest.raises(InputError, match=r"resume.radiance\.safetensors.*other values of training\.lr"):
        make(lr=0.5).resume(tmp_path)


def test_resume_refuses_other_views(make, tmp_path: Path):
    train(make(refine_poses=True), 1).save_resume(tmp_path)
    with pytest.raises(InputError, match="not a checkpoint"):
        make(images=ball_images(5), refine_poses=True).resume(tmp_path)


def test_interrupt_in_the_middle_of_a_step(make, device, tmp_path: Path, monkeypatch):
    trainer = make()
    calls = []
    sample = trainer.sampler.sample

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return sample(*args)

    monkeypatch.setattr(trainer.sampler, "sample", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(save=lambda: trainer.save_resume(tmp_path), progress=False)
    resumed = make()
    resumed.resume(tmp_path)
    assert resumed.progress.step == 5
    assert same(tensors(resumed), tensors(trainer))
    resumed.run(save=lambda: None, progress=False)
    if device.type == "cpu":
        assert same(tensors(resumed), tensors(train(make())))


class Clock:
    """Clock that goes on by a tenth of a second at every reading."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 0.1
        return self.now


def test_seconds_end_the_training(make, monkeypatch):
    monkeypatch.setattr(trainer_module.time, "perf_counter", Clock())
    trainer = make(replace(ball_config(), seconds=2.0))
    saved = []
    trainer.run(save=lambda: saved.append(trainer.progress.step), progress=False)
    assert trainer.done == 1
    assert 2.0 <= trainer.progress.seconds < 2.2
    assert 5 < trainer.progress.step <= 20
    assert saved == [trainer.progress.step], "saved once, at the end"


def test_saves_now_and_then_and_reports(make, monkeypatch):
    monkeypatch.setattr(trainer_module.time, "perf_counter", Clock())
    trainer = make(steps=30)
    saved, reports = [], []
    trainer.run(
        save=lambda: saved.append(trainer.progress.step),
        save_every=1.0,
        report=lambda step, figures: reports.append((step, figures)),
        progress=False,
    )
    assert len(saved) > 2
    assert saved[-1] == 30
    assert saved == sorted(saved)
    assert reports[-1][0] == 30
    assert reports[-1][1].keys() >= {"psnr", "loss", "rays_per_second", "n_rays", "n_samples"}
    assert all(math.isfinite(v) for _, figures in reports for v in figures.values())


def test_writing_is_not_training(make, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(trainer_module.time, "perf_counter", clock)

    def slow_disk() -> None:
        clock.now += 50.0

    trainer = make(steps=30)
    trainer.run(save=slow_disk, save_every=1.0, progress=False)
    assert trainer.progress.seconds < 10


def test_a_finished_training_only_saves(make):
    trainer = train(make(steps=2))
    saved = []
    trainer.run(save=lambda: saved.append(1), progress=False)
    assert (trainer.progress.step, len(saved)) == (2, 1)


def test_learning_rate_falls_to_a_thirtieth(make):
    trainer = make(steps=10, lr=0.03)
    rates = []
    for _ in range(10):
        trainer.step()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.03)
    assert rates == sorted(rates, reverse=True)
    trainer.progress.step = 10
    trainer.step()
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


def test_samples_of_a_step_stay_near_the_target(make):
    trainer = make()
    counts = [trainer.step().n_samples for _ in range(60)]
    settled = counts[25:]  # the number of rays adapts one step after an update of the grid
    assert statistics.median(settled) == pytest.approx(8192, rel=0.05)
    assert statistics.mean(settled) == pytest.approx(8192, rel=0.15)


def test_the_grid_is_updated_more_often_in_its_warmup(make, monkeypatch):
    trainer, looked = make(steps=1000), []
    update = trainer.grid.update

    def note(*args):
        looked.append(trainer.progress.step)
        update(*args)

    monkeypatch.setattr(trainer.grid, "update", note)
    for step in (0, 15, 16, 31, 32, 240, 256, 272, 288):
        trainer.progress.step = step
        trainer.step()
    assert looked == [16, 32, 240, 256, 288]


def test_depth_supervision_makes_depth_right(make):
    def error(weight: float) -> float:
        trainer = train(make(images=ball_images(depth=True), depth_weight=weight))
        rays = ball_cameras().to(trainer.device)[[3]].image_rays(0)
        _, _, distance = see_ball(*(r.cpu() for r in rays))
        known = distance > 0
        found = trainer.renderer.render(*rays).depth.cpu()
        return float((found - distance)[known].square().mean())

    assert error(0.3) < 0.5 * error(0.0)


@pytest.mark.parametrize("background", ["random", "white", "black"])
@pytest.mark.parametrize("alpha", [True, False])
def test_every_background_learns(make, background, alpha):
    trainer = make(images=ball_images(alpha=alpha), background=background)
    errors = [float(trainer.step().error) for _ in range(60)]
    assert sum(errors[-5:]) < 0.7 * sum(errors[:5])


def test_random_background_tells_what_is_transparent(make):
    trainer = train(make(background="random", steps=80))
    rays = ball_cameras().to(trainer.device)[[0]].image_rays(0)
    _, inside, _ = see_ball(*(r.cpu() for r in rays))
    opacity = trainer.renderer.render(*rays).opacity.cpu()
    assert opacity[inside > 0].mean() > 0.8
    assert opacity[inside == 0].mean() < 0.2


def angle(a: Cameras, b: Cameras) -> float:
    """Return the mean angle between cameras in degrees, without the rotation that all of them share."""
    between = (a.c2w[:, :, :3] @ b.c2w[:, :, :3].mT).double()
    u, _, v = torch.linalg.svd(between.mean(0))
    between = between @ (u @ v).mT
    trace = between.diagonal(dim1=1, dim2=2).sum(1)
    return float(((trace - 1) / 2).clamp(-1, 1).acos().mean().rad2deg())


def test_pose_refinement_turns_cameras_back(make, device):
    truth = ball_cameras(10)
    believed = moved(truth, degrees=2.5)
    trainer = train(make(images=ball_images(10, believed=believed), refine_poses=True))
    with torch.no_grad():
        found = trainer.camera_optimizer.cameras(believed.to(device)).to("cpu")
    assert angle(found, truth) < 0.85 * angle(believed, truth)


def test_poses_stay_unless_asked(make):
    assert not list(make().camera_optimizer.parameters())


def test_exposure_finds_the_gains(make):
    # Each photo twice, once darker, which colour that depends on the direction cannot explain.
    images, n = ball_images(6, alpha=False), 6
    images = replace(
        images,
        pixels=torch.cat([(images.pixels.float() * 0.7).round().byte(), images.pixels]),
        offsets=torch.cat([images.offsets[:-1], images.offsets + len(images.pixels)]),
        sizes=images.sizes.repeat(2, 1),
        cameras=images.cameras[[*range(n), *range(n)]],
        names=tuple(map(str, range(2 * n))),
    )
    plain, exposed = (train(make(images=images, background="random", exposure=on)) for on in (False, True))
    grey = torch.full((2 * n, 3), 0.5, device=exposed.device)
    seen = exposed.camera_optimizer.colour(grey, torch.arange(2 * n, device=exposed.device)).detach()
    assert float((seen[:n] / seen[n:]).mean()) == pytest.approx(0.7, abs=0.15)
    errors = [sum(float(t.step().error) for _ in range(5)) for t in (plain, exposed)]
    assert errors[1] < 0.7 * errors[0]


def test_distortion_loss_makes_weights_compact(make):
    def compactness(weight: float) -> float:
        trainer = train(make(distortion_weight=weight))
        rays = ball_cameras().to(trainer.device).image_rays(0)
        jitter = torch.rand(len(rays[0]), generator=trainer.generator, device=trainer.device)
        return float(distortion(trainer.renderer.train(*rays, jitter=jitter)).detach())

    assert compactness(0.5) < 0.8 * compactness(0.0)


def photo_depth(images: ImageSet, factor: float, near: float = 0.2) -> PhotoDepth:
    """Return the true depths, times a factor, as if they were estimated."""
    assert images.depths is not None
    depths = (images.depths.cpu().float() * factor).half()
    maps = DepthMaps(images.names, depths, images.sizes.cpu(), images.cameras.intrinsics.cpu())
    return PhotoDepth(maps, coverage=0.5, look_coverage=0.5, texture=0.75, near=near, seconds=1.0)


def test_estimated_depth_pulls_at_first_and_no_longer_after_its_fade(device):
    """A wrong depth changes the first steps, and no step from the middle of the training on."""
    images = ball_images(depth=True).to(device)
    plain = replace(images, depths=None)
    right, wrong = photo_depth(images, 1.0), photo_depth(images, 0.7)

    def loss(depth: PhotoDepth, done: float) -> float:
        trainer = RadianceTrainer(ball_config(steps=100), plain, photo_depth=depth)
        trainer.progress.step = round(done * 100)
        return float(trainer.step().loss)

    assert loss(wrong, 0.0) > loss(right, 0.0) + 1e-3
    assert loss(wrong, 0.5) == loss(right, 0.5)


def test_matter_before_the_nearest_depth_costs_on_rays_without_depth(device):
    images = ball_images(depth=True).to(device)
    plain = replace(images, depths=None)

    def loss(nearest: float) -> float:
        unknown = photo_depth(images, 0.0, nearest)
        return float(RadianceTrainer(ball_config(steps=100), plain, photo_depth=unknown).step().loss)

    assert loss(2.0) > loss(0.0)


def test_milestones_are_called_once_when_the_training_has_come_that_far(device):
    trainer = RadianceTrainer(ball_config(steps=10), ball_images().to(device))
    seen = []
    milestones = {at: lambda at=at: seen.append((at, trainer.progress.step)) for at in (0.2, 0.5)}
    trainer.run(save=lambda: None, milestones=milestones, progress=False)
    assert seen == [(0.2, 2), (0.5, 5)]
