"""Parts of several processes."""

from hypothesis import given
from hypothesis import strategies as st

from omniseg.share import Share


@given(n=st.integers(0, 100), world_size=st.integers(1, 9))
def test_parts_cover_everything_once_and_are_alike(n: int, world_size: int):
    parts = [Share(rank, rank, world_size).part(n) for rank in range(world_size)]
    assert [k for part in parts for k in range(n)[part]] == list(range(n))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_alone_the_part_is_everything():
    assert Share().part(7) == slice(0, 7)
