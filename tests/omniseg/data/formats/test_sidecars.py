"""Masks and labels beside the photos belong to views by the name of any of their files."""

import numpy as np
import pytest

from omniseg.data.formats import read_scene
from omniseg.data.formats.sidecars import unmatched_hierarchy
from omniseg.errors import InputError
from omniseg.masks.patches import refuse_unmatched_masks
from scene_files import orbit, sideways, write_colmap, write_image, write_images, write_llff, write_transforms


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_published_llff(root) -> None:
    """Write LLFF's published layout: photos under their own names, renumbered small ones that are trained on."""
    names = [f"IMG_{i}.png" for i in (4026, 4027, 4030)]
    write_colmap(root, orbit(3), names=names)
    write_images(root / "images_4", [f"image{i:03d}.png" for i in range(3)], width=6, height=4)


def test_masks_named_after_the_small_photos(tmp_path):
    write_published_llff(tmp_path)
    masks = [tmp_path / "sam" / f"image{i:03d}.npz" for i in range(3)]
    touch(*masks)
    write_image(tmp_path / "labels" / "object" / "image002.png")
    views = read_scene(tmp_path).views
    assert [view.name for view in views] == ["IMG_4026", "IMG_4027", "IMG_4030"]
    assert [view.images[4].name for view in views] == [f"image{i:03d}.png" for i in range(3)]
    assert [view.hierarchy_path for view in views] == masks
    assert views[2].label_paths == {"object": tmp_path / "labels" / "object" / "image002.png"}


def test_a_views_own_name_comes_first(tmp_path):
    write_published_llff(tmp_path)
    touch(tmp_path / "sam" / "image000.npz", tmp_path / "sam" / "IMG_4026.npz")
    assert read_scene(tmp_path).views[0].hierarchy_path == tmp_path / "sam" / "IMG_4026.npz"


def test_the_name_of_another_view_is_not_taken(tmp_path):
    # The small photo of image001 is called as the large photo of image000.
    write_llff(tmp_path, sideways(3))
    write_images(tmp_path / "images_4", ["im.png", "image000.png", "image001.png"], width=6, height=4)
    touch(tmp_path / "sam" / "image000.npz")
    assert [view.hierarchy_path is not None for view in read_scene(tmp_path).views] == [True, False, False]


def test_masks_named_after_the_small_photos_of_poses_bounds(tmp_path):
    write_llff(tmp_path, sideways(3))
    write_images(tmp_path / "images_4", [f"small_{i}.png" for i in range(3)], width=6, height=4)
    touch(tmp_path / "sam" / "small_1.npz")
    assert read_scene(tmp_path).views[1].hierarchy_path == tmp_path / "sam" / "small_1.npz"


@pytest.mark.parametrize("folder", ["sam_4", "sam4", "sam", "results/sam", "sam_vit_h"])
def test_folders_of_masks(tmp_path, folder):
    write_transforms(tmp_path, orbit(2))
    touch(tmp_path / folder / "0001.npz", tmp_path / "samples" / "0000.npz")
    assert [view.hierarchy_path for view in read_scene(tmp_path).views] == [None, tmp_path / folder / "0001.npz"]
    touch(tmp_path / "sam" / "0001.npz")
    assert read_scene(tmp_path).views[1].hierarchy_path == tmp_path / "sam" / "0001.npz"


def test_masks_of_which_none_fits_a_view_are_an_error(tmp_path):
    write_transforms(tmp_path, orbit(2))
    refuse_unmatched_masks(read_scene(tmp_path))
    touch(tmp_path / "sam_4" / "frame_1.npz")
    assert unmatched_hierarchy(tmp_path) == tmp_path / "sam_4" / "frame_1.npz"
    scene = read_scene(tmp_path)  # which must open, so that masks can be made again
    with pytest.raises(InputError, match=r"sam_4/frame_1.npz: is a mask hierarchy, but .* \(such as 0000.npz\)"):
        refuse_unmatched_masks(scene)
    touch(tmp_path / "sam" / "0001.npz")
    refuse_unmatched_masks(read_scene(tmp_path))


def test_poses_of_renumbered_photos(tmp_path):
    write_published_llff(tmp_path)
    np.testing.assert_allclose([view.c2w for view in read_scene(tmp_path).views], orbit(3), atol=1e-12)
