"""Points of depth images, and their visibility in other views, for the tests of the sample scenes."""

import numpy as np


def unproject(camera, pose, depth):
    """Return the (H, W, 3) points in the room at the pixel centres."""
    y, x = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    local = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones_like(x)], -1)
    return local * depth[..., None] @ pose[:, :3].T + pose[:, 3]


def seen_from(camera, pose, depth, points, tolerance):
    """Return which of (n, 3) points a camera sees (by the depth of 3 x 3 pixels around), and their rows and columns."""
    x, y, z = ((points - pose[:, 3]) @ pose[:, :3]).T
    z = np.where(z > 0.05, z, np.nan)
    with np.errstate(invalid="ignore"):
        column = np.floor(x / z * camera.fx + camera.cx)
        row = np.floor(y / z * camera.fy + camera.cy)
        inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    column, row = (np.where(inside, k, 0).astype(int) for k in (column, row))
    near = np.stack([np.roll(depth, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    return inside & (np.abs(near[:, row, column] - z).min(0) < tolerance), row, column
