"""Division of views into those to train on and those held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omniseg.data.scene import Scene, View
from omniseg.errors import BadArgument, InputError

DEFAULT_TEST_EVERY = 8
"""Every 8th view is held out where neither the user nor the format says otherwise (as in LLFF and mip-NeRF 360)."""


@dataclass(frozen=True)
class Splits:
    """Views to train on, to validate on and to test on: sorted, disjoint indices into `Scene.views`."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]

    def require_test(self, scene: Scene) -> tuple[int, ...]:
        """Return the test views.

        Raises:
            InputError: there are none.
        """
        if not self.test:
            raise InputError(
                f"{scene.root}: no view is held out for testing; "
                f"train with --test-every {DEFAULT_TEST_EVERY}, or name test views in the scene"
            )
        return self.test


def split_views(scene: Scene, test_every: int | None = None, test_views: Sequence[str] = ()) -> Splits:
    """Divide the views of a scene into splits.

    Args:
        scene: its views are sorted by name.
        test_every: hold out views 0, k, 2k...; 0: none. None follows the format, or else holds out every 8th. If the
            format has splits, views outside them are not used, and "val" becomes the test split if there is no "test".
        test_views: hold out these views instead, by their names or those of their files; all others are trained on.
    Raises:
        ValueError: `test_every` is negative or 1.
        InputError: no view is left to train on, or a name is that of no view, or of several.
    """
    if test_views:
        return _named(scene, test_views)
    if test_every is not None and (test_every < 0 or test_every == 1):
        raise ValueError(f"test_every: expected 0 (none) or at least 2, got {test_every}")
    given = {name: [i for i, v in enumerate(scene.views) if v.split == name] for name in ("train", "val", "test")}
    if test_every is None and any(given.values()):
        if not given["test"]:
            given["test"], given["val"] = given["val"], []
        splits = Splits(tuple(given["train"]), tuple(given["val"]), tuple(given["test"]))
    else:
        k = DEFAULT_TEST_EVERY if test_every is None else test_every
        n = len(scene.views)
        test = range(0, n, k) if k and n > 1 else range(0)
        splits = Splits(tuple(i for i in range(n) if i not in test), (), tuple(test))
    if not splits.train:
        raise InputError(f"{scene.root}: no view is left to train on; the scene's split names none as `train`")
    return splits


def _named(scene: Scene, names: Sequence[str]) -> Splits:
    test = set()
    for name in names:
        found = [i for i, view in enumerate(scene.views) if view.name == name]
        found = found or [i for i, view in enumerate(scene.views) if name in _file_names(view)]
        if len(found) != 1:
            known = ", ".join(view.name for view in scene.views[:3])
            what = "several views have" if found else f"no view has; there are {known}, ..."
            raise BadArgument("test_views", f"a name that {what}", name)
        test |= set(found)
    train = tuple(i for i in range(len(scene.views)) if i not in test)
    if not train:
        raise BadArgument("test_views", "names all views, so that none is left to train on")
    return Splits(train, (), tuple(sorted(test)))


def _file_names(view: View) -> set[str]:
    return {name for path in view.images.values() for name in (path.name, path.stem)}
