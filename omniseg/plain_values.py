"""Dataclasses from the plain values of YAML and JSON, which have neither tuples nor dataclasses."""

from dataclasses import is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints


def from_plain(kind: Any, value: Any, where: str = "") -> Any:
    """Convert a plain value to the type of a field; fields of a dataclass that it lacks get their defaults.

    Args:
        kind: a dataclass, tuple, union, Literal or simple type.
        value: dictionaries, lists, numbers, strings, None.
        where: names of the fields that lead to it, for messages.
    Raises:
        ValueError, TypeError: a field is unknown, or a value is not of its type.
    """
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        hints, found = get_type_hints(kind), set(map(str, value))
        unknown = sorted(found - hints.keys())
        if unknown:
            raise ValueError(f"unknown fields: {', '.join(_join(where, name) for name in unknown)}")
        return kind(
            **{name: from_plain(hints[name], value[name], _join(where, name)) for name in hints if name in value}
        )
    if get_origin(kind) is tuple and isinstance(value, list):
        kinds = get_args(kind)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        if len(kinds) == len(value):
            return tuple(from_plain(item_kind, item, where) for item_kind, item in zip(kinds, value))
    if not _is_instance(kind, value):
        expected = kind.__name__ if isinstance(kind, type) else str(kind).removeprefix("typing.")
        raise ValueError(f"{where or 'file'}: expected {expected}, got {value!r}")
    return value


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _is_instance(kind: Any, value: object) -> bool:
    """Return whether a value is of a simple type, a union or a Literal; an int passes for a float."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(value, bool):  # also an int to Python
        return kind is bool
    return get_origin(kind) is not tuple and isinstance(value, (int, float) if kind is float else kind)
