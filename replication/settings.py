"""Settings: plain mappings (from YAML and the command line) checked into frozen, typed objects.

Every default lives in `conf/`; the dataclasses that describe settings have none, so a value that is
missing, unknown or of the wrong type is reported by its full name.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class InputError(Exception):
    """The user's input or configuration is wrong. One line that names the setting, file or row; exit code 2."""


def typed(cls: type[T], mapping: object, where: str) -> T:
    """Build the frozen dataclass `cls` from `mapping`, which stands at `where` in the configuration ("" is the top).

    Raises:
        InputError: an unknown or missing key, or a value of another type than the field's annotation.
    """
    assert dataclasses.is_dataclass(cls)
    if not isinstance(mapping, Mapping):
        raise InputError(f"{where}: expected a group of settings, got {mapping!r}")
    hints = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    unknown = sorted(str(key) for key in mapping if key not in names)
    if unknown:
        raise InputError(f"{_at(where, unknown[0])}: unknown setting (known here: {', '.join(names)})")
    missing = [name for name in names if name not in mapping]
    if missing:
        raise InputError(f"{_at(where, missing[0])}: setting is missing")
    values = {name: _convert(mapping[name], hints[name], _at(where, name)) for name in names}
    return cls(**values)


def require(condition: bool, message: str) -> None:
    """Raise InputError(message) unless `condition` holds."""
    if not condition:
        raise InputError(message)


def _at(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _convert(value: object, hint: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, where)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool) is not any(isinstance(a, bool) for a in arguments):
            raise InputError(f"{where}: expected one of {', '.join(map(str, arguments))}; got {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise InputError(f"{where}: expected a list, got {value!r}")
        return tuple(_convert(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: expected a mapping, got {value!r}")
        return {str(key): _convert(item, arguments[1], _at(where, key)) for key, item in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return typed(hint, value, where)
    return _convert_scalar(value, hint, where)


def _convert_union(value: object, options: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in options:
        return None
    rest = [option for option in options if option is not type(None)]
    assert len(rest) == 1, f"{where}: only `X | None` is supported"
    return _convert(value, rest[0], where)


def _convert_scalar(value: object, hint: Any, where: str) -> Any:
    expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    assert hint in expected, f"{where}: unsupported annotation {hint!r}"
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    wrong_type = not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool)
    if wrong_type or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(f"{where}: expected {expected[hint]}, got {value!r}")
    return value
