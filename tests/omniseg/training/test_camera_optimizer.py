"""Learned corrections of camera poses and exposure."""

import math

import cv2
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from helpers import TOLERANCE
from omniseg.training.camera_optimizer import CameraOptimizer, rotation_matrix
from tiny_scene import ball_cameras


def test_rotation_matrix_is_a_rotation():
    vectors = torch.cat([torch.randn(50, 3), 1e-4 * torch.randn(5, 3), torch.zeros(1, 3)]).double()
    matrices = rotation_matrix(vectors)
    assert_close(matrices @ matrices.mT, torch.eye(3).double().expand(56, 3, 3), **TOLERANCE[torch.float64])
    assert_close(torch.linalg.det(matrices), torch.ones(56).double())
    expected = np.stack([cv2.Rodrigues(v.numpy())[0] for v in vectors])
    assert_close(matrices, torch.from_numpy(expected), **TOLERANCE[torch.float64])


def test_rotation_matrix_by_hand():
    quarter = rotation_matrix(torch.tensor([[0.0, 0.0, math.pi / 2]]))
    assert_close(quarter[0] @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), **TOLERANCE[torch.float32])


def test_rotation_matrix_gradient():
    vectors = torch.cat([torch.randn(3, 3), torch.zeros(1, 3)]).double().requires_grad_()
    assert torch.autograd.gradcheck(rotation_matrix, vectors)


def test_nothing_is_learned_by_default(device):
    optimizer = CameraOptimizer(5, poses=False, exposure=False).to(device)
    cameras, rgb = ball_cameras(5).to(device), torch.rand(7, 3, device=device)
    assert not list(optimizer.parameters())
    assert optimizer.cameras(cameras) is cameras
    assert optimizer.colour(rgb, torch.zeros(7, dtype=torch.int64, device=device)) is rgb


def test_begins_with_no_change(device):
    optimizer = CameraOptimizer(5, poses=True, exposure=True).to(device)
    cameras, rgb = ball_cameras(5).to(device), torch.rand(7, 3, device=device)
    assert_close(optimizer.cameras(cameras).c2w, cameras.c2w)
    assert_close(optimizer.colour(rgb, torch.arange(7, device=device) % 5), rgb)


def test_motion_moves_one_camera_and_not_the_mean(device):
    optimizer = CameraOptimizer(4, poses=True, exposure=False).to(device)
    cameras = ball_cameras(4).to(device)
    with torch.no_grad():
        optimizer.motions[1, 5] = 0.4
    shift = optimizer.cameras(cameras).c2w[:, :, 3] - cameras.c2w[:, :, 3]
    assert_close(shift[:, 2], torch.tensor([-0.1, 0.3, -0.1, -0.1], device=device))
    assert shift[:, :2].abs().max() < 1e-6


def test_a_motion_that_all_cameras_share_changes_nothing(device):
    optimizer = CameraOptimizer(4, poses=True, exposure=True).to(device)
    cameras = ball_cameras(4).to(device)
    with torch.no_grad():
        optimizer.motions += torch.randn(6, device=device)
        optimizer.gains += 0.7
        optimizer.offsets += 0.2
    assert_close(optimizer.cameras(cameras).c2w, cameras.c2w)
    rgb = torch.rand(4, 3, device=device)
    assert_close(optimizer.colour(rgb, torch.arange(4, device=device)), rgb)


def test_gradient_reaches_every_parameter(device):
    optimizer = CameraOptimizer(3, poses=True, exposure=True).to(device)
    cameras = optimizer.cameras(ball_cameras(3).to(device))
    views = torch.tensor([0, 1, 1], device=device)
    rays_o, rays_d = cameras.rays(views, torch.rand(3, 2, device=device) * 20)
    colour = optimizer.colour(torch.rand(3, 3, device=device), views)
    loss = (rays_o * torch.rand_like(rays_o)).sum() + (rays_d * torch.rand_like(rays_d)).sum() + colour.square().sum()
    loss.backward()
    for name, parameter in optimizer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
        assert parameter.grad.sum(0).abs().max() < 1e-4, "the mean of a correction is free"


@pytest.mark.parametrize(("gain", "offset"), [(0.5, 0.0), (0.0, 0.1)])
def test_colour_by_hand(device, gain: float, offset: float):
    optimizer = CameraOptimizer(2, poses=False, exposure=True).to(device)
    with torch.no_grad():
        optimizer.gains[0], optimizer.gains[1] = gain, -gain
        optimizer.offsets[0], optimizer.offsets[1] = offset, -offset
    rgb = torch.full((2, 3), 0.4, device=device)
    got = optimizer.colour(rgb, torch.tensor([0, 1], device=device))
    want = [0.4 * math.exp(gain) + offset, 0.4 * math.exp(-gain) - offset]
    assert_close(got, torch.tensor(want, device=device)[:, None].expand(2, 3))
