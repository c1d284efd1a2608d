"""The room: names, labels of points and exact distances."""

import torch

from omniseg_sample_scenes.builder import LEVELS
from scene_labels import label_points


def test_names_are_unique_and_their_parents_exist(room):
    for fine, coarse in zip(LEVELS, [*LEVELS[1:], None]):
        entries = room.names[fine]
        assert sorted(entries) == list(range(1, len(entries) + 1))
        assert len({entry.name for entry in entries.values()}) == len(entries)
        assert all(
            (entry.parent in room.names[coarse]) if coarse else entry.parent is None for entry in entries.values()
        )
        assert set(room.ids[fine].tolist()) == set(entries)


def test_furniture_is_made_of_parts(room):
    parts = {entry.name: entry.parent for entry in room.names["part"].values()}
    objects = {entry.name: entry.parent for entry in room.names["object"].values()}
    table = parts["dining table: top"]
    assert all(parts[f"dining table: leg {k}"] == table for k in (1, 2, 3, 4))
    assert len({objects[name] for name in ("dining table", "chair 1", "chair 4", "fruit bowl")}) == 1
    assert objects["sofa"] == objects["rug"] != objects["dining table"]


def test_distance_is_that_of_a_solid_by_hand(room):
    found = label_points(room, torch.tensor([[2.0, -0.3, 0.05], [0.0, -0.3, 2.5], [0.0, 0.0, -0.02], [9.0, 0.0, 1.0]]))
    names = [room.names["part"][i].name for i in found.labels["part"].tolist()]
    assert names == ["floor: floor", "ceiling: ceiling", "floor: floor", "walls: east wall"]
    # The slabs around the room are 0.1 m thick.
    torch.testing.assert_close(found.distance.cpu(), torch.tensor([0.05, 0.1, -0.02, 6.2]), rtol=0, atol=1e-5)


def test_distance_never_grows_faster_than_the_point_moves(room):
    points = torch.rand(4000, 3) * torch.tensor([5.4, 4.4, 2.6]) - torch.tensor([2.7, 2.2, 0.0])
    step = 0.03 * torch.nn.functional.normalize(torch.randn(4000, 3), dim=1)
    change = label_points(room, points + step).distance - label_points(room, points).distance
    assert change.abs().max() < 0.03 + 1e-4
