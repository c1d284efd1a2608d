"""Stage 2 separates halves and whole, leaves the geometry as it is, and resumes where it stopped."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from omniseg.config import Config
from omniseg.errors import InputError
from omniseg.fields import FeatureField, Space
from omniseg.masks.hierarchy import MaskHierarchy
from omniseg.masks.patches import ViewPatches
from omniseg.rendering.renderer import Renderer
from omniseg.training import features as feature_trainer_module
from omniseg.training.features import FeatureTrainer
from omniseg.training.radiance import RadianceTrainer
from tiny_scene import SIDE, ball_config, ball_hierarchy, ball_images, ball_labels, ball_patches


@pytest.fixture(scope="module")
def renderer(device) -> Renderer:
    """Train the ball and return its renderer."""
    torch.set_num_threads(1)
    trainer = RadianceTrainer(ball_config(steps=80), ball_images(depth=True).to(device))
    for _ in range(80):
        trainer.step()
    return trainer.renderer


@pytest.fixture
def make(device, renderer) -> Callable[..., FeatureTrainer]:
    """Return a function that makes a trainer of the ball's features; options of the training by name."""

    def build(patches=None, **training) -> FeatureTrainer:
        config = ball_config()
        config = replace(config, feature_training=replace(config.feature_training, **training))
        return FeatureTrainer(config, (patches or ball_patches()).to(device), renderer)

    return build


def train(trainer: FeatureTrainer, steps: int) -> FeatureTrainer:
    for _ in range(steps):
        trainer.step()
    return trainer


def features(trainer: FeatureTrainer, view: int = 2) -> torch.Tensor:
    out = trainer.renderer.render_image(trainer.sampler.patches.cameras, view, colour=False, features=True)
    assert out.features is not None
    return F.normalize(out.features, dim=1).cpu()


def tensors(trainer: FeatureTrainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.features.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_trainer_seeds_its_field_and_keeps_the_random_state_of_the_program(make, device):
    torch.manual_seed(99)
    state, config = torch.get_rng_state(), ball_config()
    started = tensors(make())
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(config.seed)
    expected = FeatureField(config.features, Space.from_config(config.marching)).to(device).state_dict()
    assert same(started, dict(expected))


@pytest.mark.parametrize(("loss", "divisor"), [("ranking", 2.0), ("paper", 20.0)])
def test_halves_are_told_apart(make, loss, divisor):
    trainer = train(make(loss=loss, level_divisor=divisor, loss_weight=1.5), 60)
    part = torch.from_numpy(ball_labels()[2]["part"].reshape(-1))
    found = features(trainer)
    left, right = found[part == 1].mean(0), found[part == 2].mean(0)
    nearer_left = found @ left > found @ right
    assert nearer_left[part == 1].float().mean() > 0.9
    assert nearer_left[part == 2].float().mean() < 0.1


def test_rendered_features_come_to_unit_length(make):
    def deviation(weight: float) -> float:
        trainer = train(make(norm_weight=weight, loss_weight=1e-3), 80)
        out = trainer.renderer.render_image(trainer.sampler.patches.cameras, 2, colour=False, features=True)
        assert out.features is not None
        return float((out.features.norm(dim=1)[out.opacity > 0.9] - 1).abs().mean())

    assert deviation(100.0) < 0.15 < deviation(0.0)


def test_geometry_and_colour_stay_bit_for_bit(make, renderer):
    modules = {"field": renderer.field, "grid": renderer.grid}
    before = {f"{n}.{k}": v.clone() for n, m in modules.items() for k, v in m.state_dict().items()}
    cameras = ball_patches(1).cameras.to(next(renderer.field.parameters()).device)
    picture = renderer.render_image(cameras, 0).rgb
    renderer.field.zero_grad(set_to_none=True)
    train(make(), 5)
    after = {f"{n}.{k}": v for n, m in modules.items() for k, v in m.state_dict().items()}
    assert same(before, after)
    assert all(parameter.grad is None for parameter in renderer.field.parameters()), "nothing was even asked of it"
    assert torch.equal(renderer.render_image(cameras, 0).rgb, picture)


def test_same_seed_same_tensors(make, device):
    if device.type != "cpu":
        pytest.skip("on a GPU atomic additions come in any order, so bits differ")
    assert same(tensors(train(make(), 8)), tensors(train(make(), 8)))


def test_cached_samples_are_those_that_would_be_found_anew(make, monkeypatch):
    cached = train(make(), 6)
    monkeypatch.setattr(feature_trainer_module, "_CACHED_PIXELS", 0)
    anew = train(make(), 6)
    assert not anew._cache
    assert cached._cache
    found = [trainer.step() for trainer in (cached, anew)]
    assert found[0].n_samples == pytest.approx(found[1].n_samples, abs=3)  # where weights are on the edge
    assert float(found[0].loss) == pytest.approx(float(found[1].loss), rel=0.02)


@pytest.mark.parametrize("stop", [0, 1, 7])
def test_resume_goes_on_bit_for_bit(make, device, tmp_path: Path, stop: int):
    if device.type != "cpu":
        pytest.skip("on a GPU atomic additions come in any order, so bits differ")
    begun = train(make(), stop)
    begun.save_resume(tmp_path)
    resumed = make()
    resumed.resume(tmp_path)
    assert resumed.progress == begun.progress
    assert same(tensors(train(resumed, 12 - stop)), tensors(train(make(), 12)))


def test_resume_refuses_another_configuration(make, tmp_path: Path):
    make().save_resume(tmp_path)
    with pytest.raises(InputError, match=r"other values of feature_training\.level_divisor"):
        make(level_divisor=3.0).resume(tmp_path)
    make(steps=99).resume(tmp_path)


def test_every_number_of_the_configuration_counts(make, device):
    if device.type != "cpu":
        pytest.skip("on a GPU atomic additions come in any order, so bits differ")
    base = {"steps": 4, "loss": "paper"}
    before = tensors(train(make(**base), 4))
    for name, value in {
        "lr_floor": 1.0, "adam_betas": (0.8, 0.9), "adam_eps": 1e-3, "loss": "ranking", "loss_weight": 0.1,
        "norm_weight": 1.0, "level_divisor": 3.0, "temperature_range": (0.5, 0.6), "min_pixels": 30,
    }.items():  # fmt: skip
        assert not same(before, tensors(train(make(**{**base, name: value}), 4))), f"{name} changes nothing"


def test_runs_to_the_end_and_reports(make):
    trainer, saved, reports = make(steps=5), [], []
    trainer.run(save=lambda: saved.append(1), report=lambda step, figures: reports.append(figures), progress=False)
    assert trainer.done == 1
    assert saved == [1]
    assert reports[-1].keys() >= {"contrastive", "loss", "n_rays", "n_samples"}


def test_a_single_patch_teaches_nothing_and_breaks_nothing(make):
    patches = ball_patches(1)
    ball = ball_hierarchy(ball_labels(1)[0])
    whole = MaskHierarchy((ball.indices > 0).astype(np.int16), np.array([[0, 0], [0, 1]], np.uint8))
    whole = replace(patches, views=(ViewPatches.from_hierarchy(whole),))
    report = make(whole).step()
    assert float(report.error) == pytest.approx(0, abs=1e-6)
    assert report.loss.isfinite()


def test_too_few_pixels_of_every_patch(make):
    trainer = make(min_pixels=10_000)
    before = tensors(trainer)
    report = trainer.step()
    assert float(report.loss) == 0
    assert same(before, tensors(trainer))


def test_two_thousand_patches(make):
    patches = ball_patches(1)
    each = np.arange(SIDE * SIDE, dtype=np.int16).reshape(SIDE, SIDE)
    many = replace(patches, views=(ViewPatches.from_hierarchy(MaskHierarchy(each, np.eye(2000, dtype=np.uint8))),))
    report = make(many, min_pixels=1, rays_per_step=512).step()
    assert report.loss.isfinite()


def test_configuration_is_checked():
    config = Config().feature_training
    for name, value in (("steps", 0), ("level_divisor", 0.5), ("min_pixels", 0), ("lr", 0.0)):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            replace(config, **{name: value})
    with pytest.raises(ValueError, match="min_weight: expected"):
        replace(Config().features, min_weight=1.0)
