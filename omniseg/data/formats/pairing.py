"""Pairs of names that differ but stand for the same photos, by the numbers in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

_MOST_IN_COMMON = 0.5
"""Largest share of equal numbers with which names may be paired by their order alone: where most numbers are equal,
but not all, a photo is missing on either side, and the order says nothing."""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts names by the numbers in them: IMG_9 before IMG_10."""
    parts = re.split(r"(\d+)", name)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)


def pair_by_numbers(
    names: Sequence[str], files: Sequence[str], *, same_numbering: bool = False
) -> dict[str, str] | None:
    """Return the file of each name, by the number in which names (and files) differ from one another.

    A number that all names share, such as a date, is not looked at. Names are paired with the files of equal numbers
    where every name has one, and either there are no other files or the numbers are too large to come from counting
    the files. Otherwise they are paired in the order of the numbers, if there are as many files and either all numbers
    differ by the same amount or most of them have no equal (a capture that was renumbered).

    Args:
        names: different names, as a pose file lists them.
        files: different paths below the folder of images.
        same_numbering: equal numbers are known to mean the same photo; other files may be left over.
    Returns:
        None where no pairing is certain.
    """
    name_of, file_of = _by_number(names), _by_number(files)
    if not name_of or not file_of:
        return None
    if name_of.keys() <= file_of.keys():
        counted = min(number[-1] for number in name_of) <= len(file_of)
        certain = same_numbering or len(name_of) == len(file_of) or not counted
        return {name: file_of[number] for number, name in name_of.items()} if certain else None
    if len(name_of) != len(file_of):
        return None
    ours, theirs = sorted(name_of), sorted(file_of)
    if len(ours[0]) != 1 or len(theirs[0]) != 1:
        return None
    offsets = {a[0] - b[0] for a, b in zip(ours, theirs)}
    if len(offsets) > 1 and len(name_of.keys() & file_of.keys()) > _MOST_IN_COMMON * len(ours):
        return None
    return {name_of[a]: file_of[b] for a, b in zip(ours, theirs)}


def _by_number(names: Sequence[str]) -> dict[tuple[int, ...], str] | None:
    """Return the names by the numbers in which they differ; None if they hold none, or two hold the same."""
    numbers = [[int(n) for n in re.findall(r"\d+", str(PurePosixPath(name).with_suffix("")))] for name in names]
    if not numbers or not numbers[0] or len({len(each) for each in numbers}) > 1:
        return None
    columns = [k for k in range(len(numbers[0])) if len({each[k] for each in numbers}) > 1] or [len(numbers[0]) - 1]
    found = {tuple(each[k] for k in columns): name for each, name in zip(numbers, names)}
    return found if len(found) == len(names) else None
