"""Reader of the positions in a PLY point cloud (nerfstudio writes its sparse points as one).

Our own and not a library's: a truncated or foreign file must end in an error, never in fewer points.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from omniseg.data.image_io import read_bytes
from omniseg.errors import InputError

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ORDER = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def read_ply_points(path: Path) -> np.ndarray | None:
    """Return the finite vertex positions (n, 3) float64; None if there are none.

    Raises:
        InputError: the file is truncated, or is no PLY file whose first element is `vertex` with x, y, z.
    """
    bad = InputError(f"{path}: is not a readable PLY point cloud (truncated, or vertices without x, y, z)")
    data = read_bytes(path)
    head, found, body = data.partition(b"end_header\n")
    if not found:
        head, found, body = data.partition(b"end_header\r\n")
    lines = [line.split() for line in head.decode("ascii", "replace").splitlines()]
    if not found or not lines or lines[0] != ["ply"]:
        raise bad
    order, count, fields, elements = None, 0, [], 0
    try:
        for line in filter(None, lines[1:]):
            if line[0] == "format":
                order = _ORDER[line[1]]
            elif line[0] == "element":
                elements += 1
                if elements == 1 and line[1] == "vertex":
                    count = int(line[2])
            elif line[0] == "property" and elements == 1:
                fields.append((line[2], f"{order}{_TYPES[line[1]]}"))
        record = np.dtype(fields)
        if order is None or count < 0 or not {"x", "y", "z"} <= set(record.names or ()):
            raise bad
        if order:
            vertices = np.frombuffer(body, record, count)
            xyz = np.stack([vertices[axis].astype(np.float64) for axis in "xyz"], axis=1)
        else:
            rows = [line.split() for line in body.decode("ascii").splitlines()[:count]]
            if len(rows) < count:
                raise bad
            columns = [(record.names or ()).index(axis) for axis in "xyz"]
            xyz = np.array([[float(row[c]) for c in columns] for row in rows]).reshape(-1, 3)
    except (ValueError, KeyError, IndexError) as error:
        raise bad from error
    xyz = xyz[np.isfinite(xyz).all(1)]
    return xyz if len(xyz) else None
