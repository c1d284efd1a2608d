"""Rays of a training step end soon behind what is opaque."""

from pathlib import Path

import torch

from omniseg.config import RadianceTrainingConfig
from omniseg.rendering.renderer import TrainingRendering
from omniseg.run_folder import read_tensors
from omniseg.training.radiance import RadianceTrainer
from omniseg.training.ray_ends import RayEnds
from omniseg_kernels.marching import RaySamples
from tiny_scene import SIDE, ball_config, ball_images

CONFIG = RadianceTrainingConfig(end_tile=10, end_transmittance=0.01, end_steps=2.0, end_rate=0.25)


def rendering(*weights: list[float]) -> TrainingRendering:
    """Return a rendering of rays with these weights, of samples that start at 1, 2, 3 ..., the last ray first."""
    counts = torch.tensor([len(ray) for ray in weights])
    behind = counts.flip(0).cumsum(0).flip(0) - counts  # samples of the rays that come later
    starts = torch.cat([torch.arange(1.0, len(ray) + 1) for ray in reversed(weights)])
    samples = RaySamples(
        t_starts=starts,
        t_ends=starts + 1,
        ray_indices=torch.arange(len(weights)).flip(0).repeat_interleave(counts.flip(0)).to(torch.int32),
        packed_info=torch.stack([behind, counts], dim=1).to(torch.int32),
        t_next=counts + 1.0,
        n_samples=int(counts.sum()),
    )
    flat = torch.tensor([w for ray in reversed(weights) for w in ray])
    opacity = torch.tensor([sum(ray) for ray in weights])
    return TrainingRendering(torch.zeros(len(weights), 3), opacity, opacity, samples=samples, weights=flat)


def ends() -> RayEnds:
    return RayEnds(ball_images(2), CONFIG)


def test_each_pixel_lies_in_one_tile_of_its_photo():
    index = torch.arange(2 * SIDE * SIDE)
    views = index // (SIDE * SIDE)
    found = ends().tiles(index, views)
    expected: dict[tuple[int, int, int], int] = {}
    for pixel, tile in zip(index.tolist(), found.tolist()):
        view, row, column = pixel // SIDE**2, pixel % SIDE**2 // SIDE // 10, pixel % SIDE // 10
        assert expected.setdefault((view, row, column), tile) == tile
    assert sorted(expected.values()) == list(range(len(ends().ends)))


def test_a_ray_ends_some_steps_behind_what_is_opaque():
    tiles, found = torch.tensor([3, 5, 0]), ends()
    assert found.ends.isinf().all()
    found.update(tiles, rendering([0.1, 0.9, 0.0, 0.0], [0.5, 0.4], [0.995]))
    # Opaque within [2, 3] and [1, 2], by steps of length 1; the second ray never is.
    assert found.ends[tiles].tolist() == [5.0, torch.inf, 4.0]
    assert found.ends.isfinite().sum() == 2


def test_the_end_of_a_tile_moves_slowly_nearer_and_at_once_farther():
    tile, found = torch.tensor([4]), ends()
    history = []
    far, near, clear = [0.0] * 7 + [1.0], [1.0], [0.2, 0.2]
    for ray in (far, near, near, far, clear, near):
        found.update(tile, rendering(ray))
        history.append(float(found.ends[4]))
    assert history == [11.0, 9.25, 7.9375, 11.0, torch.inf, 4.0]


def test_the_farthest_ray_of_a_tile_counts():
    found = ends()
    found.update(torch.tensor([2, 2, 7]), rendering([1.0], [0.0, 0.0, 1.0], [1.0]))
    assert (float(found.ends[2]), float(found.ends[7])) == (6.0, 4.0)
    found.update(torch.tensor([2, 2]), rendering([1.0], [0.1]))
    assert found.ends[2].isinf()


def test_no_samples():
    nothing = torch.zeros(0)
    samples = RaySamples(nothing, nothing, nothing.int(), torch.zeros(1, 2, dtype=torch.int32), torch.ones(1), 0)
    found = ends()
    found.update(
        torch.tensor([1]),
        TrainingRendering(torch.zeros(1, 3), torch.zeros(1), torch.zeros(1), samples=samples, weights=nothing),
    )
    assert found.ends.isinf().all()


def test_a_ray_is_cut_if_it_was_not_opaque_at_its_end():
    rays = rendering([1.0], [0.5], [0.5], [0.995])
    assert ends().cut(rays, torch.tensor([2.0, 2.0, 9.0, 2.0])).tolist() == [False, True, False, False]


def trainer(device, **training) -> RadianceTrainer:
    config = ball_config(**{"steps": 4, "end_from": 0.5, "end_tile": SIDE, "opacity_weight": 1.0, **training})
    return RadianceTrainer(config, ball_images(alpha=False).to(device))


def test_rays_end_only_in_the_later_part_of_the_training_and_nothing_stays_hidden(device):
    made = trainer(device)
    for late in (False, False, True):
        made.ray_ends.ends[:] = 0.5  # the box begins farther away
        assert (made.step().n_samples == 0) == late
        assert made.ray_ends.ends.isinf().all(), "no ray was opaque before its end"
    assert made.step().n_samples > 0


def test_a_ray_that_was_cut_teaches_nothing(device):
    made = trainer(device, end_from=0.0)
    made.ray_ends.ends[:] = 1.7  # within the box, before the ball
    before = {name: value.clone() for name, value in made.field.named_parameters()}
    step = made.step()
    assert step.n_samples > 0
    assert float(step.error) == 0
    assert all(torch.equal(value, before[name]) for name, value in made.field.named_parameters())
    made.step()  # whose rays have no end
    assert not any(torch.equal(value, before[name]) for name, value in made.field.named_parameters())


def test_ends_are_resumed(device, tmp_path: Path):
    made, resumed = trainer(device), trainer(device)
    made.ray_ends.ends[:] = 0.5
    made.save_resume(tmp_path)
    resumed.resume(tmp_path)
    assert (resumed.ray_ends.ends == 0.5).all()


def test_without_ends_nothing_of_them_is_kept(device, tmp_path: Path):
    made = trainer(device, end_from=1.0)
    made.save_resume(tmp_path)
    tensors, _ = read_tensors(tmp_path / made.resume_file, device)
    assert not [name for name in tensors if name.startswith("ray_ends")], "files of older versions have none either"
    trainer(device, end_from=1.0).resume(tmp_path)
