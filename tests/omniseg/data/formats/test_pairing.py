import pytest

from omniseg.data.formats.pairing import natural_key, pair_by_numbers


def test_numbers_are_sorted_as_numbers():
    names = ["b/1.png", "IMG_10.png", "IMG_9.png", "IMG_9b.png", "a.png"]
    assert sorted(names, key=natural_key) == ["IMG_9.png", "IMG_9b.png", "IMG_10.png", "a.png", "b/1.png"]


@pytest.mark.parametrize(
    ("names", "files", "want"),
    [
        # Renumbered from 0: the order of the numbers, not of the letters.
        (["IMG_9.JPG", "IMG_10.JPG", "IMG_11.JPG"], ["f2.png", "f0.png", "f1.png"], ["f0.png", "f1.png", "f2.png"]),
        (["IMG_4030.JPG", "IMG_4026.JPG"], ["image000.png", "image001.png"], ["image001.png", "image000.png"]),
        # The same numbers under another prefix; a date that all share does not count.
        (["20240101_7.jpg", "20240101_8.jpg"], ["8.jpg", "7.jpg"], ["7.jpg", "8.jpg"]),
        (["IMG_4026.JPG", "IMG_4030.JPG"], ["p4030.png", "p4028.png", "p4026.png"], ["p4026.png", "p4030.png"]),
        # Shifted by one.
        (["a1.png", "a2.png", "a3.png"], ["b0.png", "b1.png", "b2.png"], ["b0.png", "b1.png", "b2.png"]),
        # Two numbers that vary.
        (["c1_f1.png", "c1_f2.png", "c2_f1.png"], ["1-1.png", "2-1.png", "1-2.png"], ["1-1.png", "1-2.png", "2-1.png"]),
        (["one7.png"], ["other7.png"], ["other7.png"]),
    ],
)
def test_certain_pairs(names, files, want):
    assert pair_by_numbers(names, files) == dict(zip(names, want))


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["a.png", "b.png"], ["x.png", "y.png"]),  # no numbers
        (["a1.png", "a2.png"], ["b1.png", "b2.png", "b3.png"]),  # b may count from 1 what a counts from 0
        (["a100.png", "a200.png"], ["b1.png", "b2.png", "b3.png"]),  # one photo has no pose: which?
        (["a1.png", "a2.png", "a4.png"], ["b1.png", "b2.png", "b3.png"]),  # photo 3 has no pose, 4 is missing
        (["a1.png", "b1.png"], ["x1.png", "x2.png"]),  # the same number twice
        (["c1_f1.png", "c2_f3.png"], ["1.png", "2.png"]),  # two numbers against one
        ([], []),
    ],
)
def test_nothing_that_is_not_certain(names, files):
    assert pair_by_numbers(names, files) is None


def test_left_over_files_are_fine_where_the_numbering_is_known():
    names, files = ["depth0.png", "depth2.png"], ["rgb0.jpg", "rgb1.jpg", "rgb2.jpg"]
    assert pair_by_numbers(names, files) is None
    assert pair_by_numbers(names, files, same_numbering=True) == {"depth0.png": "rgb0.jpg", "depth2.png": "rgb2.jpg"}
