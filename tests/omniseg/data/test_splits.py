from dataclasses import replace

import pytest

from omniseg.data.formats import read_scene
from omniseg.data.splits import split_views
from omniseg.errors import InputError
from scene_files import orbit, write_colmap, write_transforms


@pytest.fixture
def scene(tmp_path):
    write_transforms(tmp_path, orbit(10))
    return read_scene(tmp_path)


def with_splits(scene, splits):
    return replace(scene, views=tuple(replace(v, split=s) for v, s in zip(scene.views, splits)))


def test_every_eighth_is_held_out_by_default(scene):
    splits = split_views(scene)
    assert splits.test == (0, 8)
    assert splits.train == (1, 2, 3, 4, 5, 6, 7, 9)
    assert splits.val == ()
    assert split_views(scene, 5).test == (0, 5)


def test_none_held_out(scene):
    splits = split_views(scene, 0)
    assert (len(splits.train), splits.test) == (10, ())
    with pytest.raises(InputError, match=r"no view is held out for testing.*--test-every"):
        splits.require_test(scene)


def test_given_splits(scene):
    given = with_splits(scene, ["train"] * 5 + ["val", "val", "test", None, None])
    splits = split_views(given)
    assert (splits.train, splits.val, splits.test) == ((0, 1, 2, 3, 4), (5, 6), (7,))
    assert splits.require_test(given) == (7,)
    assert len(split_views(given, 8).train) == 8  # overridden: all views are used


def test_val_serves_as_test(scene):
    splits = split_views(with_splits(scene, ["train"] * 8 + ["val"] * 2))
    assert (splits.val, splits.test) == ((), (8, 9))


def test_nothing_to_train_on(scene):
    with pytest.raises(InputError, match="no view is left to train on"):
        split_views(with_splits(scene, ["test"] * 10))


def test_a_single_view_is_trained_on(tmp_path):
    write_transforms(tmp_path, orbit(1))
    assert split_views(read_scene(tmp_path)).train == (0,)


@pytest.mark.parametrize("every", [1, -3])
def test_bad_arguments(scene, every):
    with pytest.raises(ValueError, match="test_every"):
        split_views(scene, every)


def test_views_may_be_held_out_by_name(scene):
    splits = split_views(with_splits(scene, ["train"] * 9 + ["test"]), test_views=("0007", "0002.png"))
    assert (splits.train, splits.val, splits.test) == ((0, 1, 3, 4, 5, 6, 8, 9), (), (2, 7))
    with pytest.raises(InputError, match="test_views 0099: a name that no view has; there are 0000, 0001, 0002"):
        split_views(scene, test_views=("0099",))
    with pytest.raises(InputError, match="none is left to train on"):
        split_views(scene, test_views=tuple(view.name for view in scene.views))


def test_names_of_several_views_are_refused(tmp_path):
    write_colmap(tmp_path, orbit(3), names=["left/a.png", "right/a.png", "right/b.png"])
    scene = read_scene(tmp_path)
    assert split_views(scene, test_views=("right/a", "b")).test == (1, 2)
    with pytest.raises(InputError, match="test_views a: a name that several views have"):
        split_views(scene, test_views=("a",))
