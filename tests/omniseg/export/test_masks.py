"""Names of folders, and where a capture is found."""

from pathlib import Path

import pytest

from omniseg.errors import InputError
from omniseg.export.masks import find_capture, folder_names


def test_folder_names_are_safe_and_differ():
    names = ["sofa", "a/b", "a:b", "..", "  ", "sofa", "ähm 2"]
    found = folder_names(names)
    assert found == ["sofa", "a_b", "a_b 3", "selection", "selection 5", "sofa 6", "ähm 2"]
    assert len(set(found)) == len(names)


def test_a_capture_is_where_it_was_or_where_it_is_given(tmp_path: Path):
    before, now = tmp_path / "before", tmp_path / "now"
    now.mkdir()
    assert find_capture(str(now), None) == now
    assert find_capture(str(before), None) is None
    assert find_capture("", None) is None
    assert find_capture(str(before), now) == now
    with pytest.raises(InputError, match=r"^scene .*before: does not exist"):
        find_capture(str(now), before)
