"""Checks of field values."""


def require(ok: bool, name: str, expected: str, got: object) -> None:
    """Raise `ValueError` that names a field unless `ok`."""
    if not ok:
        raise ValueError(f"{name}: expected {expected}, got {got}")
