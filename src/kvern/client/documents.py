"""Resources as text: JSON, and YAML without a YAML package."""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

# Strings of these characters, starting with a letter, are YAML plain scalars in every context that is written here.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./@-]*(?: [A-Za-z0-9_./@-]+)*")
_RESERVED = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"])


def dump_json(value: Any, indent: int | None = None) -> str:
    """The value as JSON; NumPy numbers, decimals and resources are understood.

    Raises:
        ValueError: for NaN and infinities, which JSON has no word for (contract 1.4).
        TypeError: for what is no JSON value.
    """
    separators = (",", ":") if indent is None else None
    try:
        return json.dumps(value, default=_plain, separators=separators, indent=indent, allow_nan=False)
    except ValueError as error:
        if "Out of range float" in str(error):
            raise ValueError(
                "Out of range float values are not JSON compliant: the data holds NaN or infinity"
            ) from None
        raise


def shown_json(value: Any) -> str:
    """The value as JSON for people: indented, and never an error."""
    return json.dumps(value, default=_plain_or_text, indent=4)


def _plain(value: Any) -> Any:
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) or type(value).__name__ == "Decimal":
        return float(value)
    dump = getattr(value, "dump", None)
    if callable(dump) and type(value).__module__.startswith("kvern.client"):
        return dump(camel_case=True)
    raise TypeError(f"Expected JSON values, got {type(value).__name__}: {value!r}")


def _plain_or_text(value: Any) -> Any:
    try:
        return _plain(value)
    except TypeError:
        return str(value)


def load_text(text: str) -> Any:
    """The value that a JSON text holds, or a YAML text when the package PyYAML is installed.

    Raises:
        CogniteImportError: when the text is no JSON and PyYAML is not installed.
    """
    try:
        return json.loads(text)
    except ValueError:
        from kvern.client.optional import optional_import

        return optional_import("yaml", package="pyyaml").safe_load(text)


def load_mapping(resource: Mapping[str, Any] | str) -> dict[str, Any]:
    """A dictionary given as such, or as JSON or YAML text. Raises `TypeError` for anything else."""
    loaded = load_text(resource) if isinstance(resource, str) else cast("Any", resource)
    if not isinstance(loaded, dict):
        raise TypeError(f"Expected a dictionary, or one as JSON or YAML text, got {type(loaded).__name__}")
    return cast("dict[str, Any]", loaded)


def load_sequence(resource: Sequence[Mapping[str, Any]] | str) -> list[dict[str, Any]]:
    """A list given as such, or as JSON or YAML text. Raises `TypeError` for anything else."""
    loaded = load_text(resource) if isinstance(resource, str) else cast("Any", resource)
    if not isinstance(loaded, Sequence) or isinstance(loaded, (str, bytes)):
        raise TypeError(f"Expected a list of dictionaries, or one as JSON or YAML text, got {type(loaded).__name__}")
    return list(cast("Sequence[dict[str, Any]]", loaded))


def dump_yaml(value: Any) -> str:
    """The value as block-style YAML; keys keep their order."""
    plain = json.loads(json.dumps(value, default=_plain))
    if isinstance(plain, (dict, list)) and plain:
        return "\n".join(_lines(cast("Any", plain), 0)) + "\n"
    return _scalar(plain) + "\n"


def _lines(value: dict[str, Any] | list[Any], depth: int) -> Iterator[str]:
    margin = "  " * depth
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                yield f"{margin}{_scalar(key)}:"
                # A list stands level with its key, as is usual; a mapping one step in.
                yield from _lines(cast("Any", item), depth if isinstance(item, list) else depth + 1)
            else:
                yield f"{margin}{_scalar(key)}: {_scalar(item)}"
        return
    for item in value:
        if isinstance(item, (dict, list)) and item:
            first, *rest = _lines(cast("Any", item), depth + 1)
            yield f"{margin}- {first[len(margin) + 2 :]}"
            yield from rest
        else:
            yield f"{margin}- {_scalar(item)}"


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
            return value
        return _quoted(value)
    return "[]" if value == [] else "{}" if value == {} else str(value)


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    # YAML 1.1 reads 1e-05 as a string: its floats have a point.
    return text if "." in text or "e" not in text else text.replace("e", ".0e")


def _quoted(value: str) -> str:
    characters: list[str] = []
    for character in value:
        if character in '"\\':
            characters.append("\\" + character)
        elif character == "\n":
            characters.append("\\n")
        elif character == "\t":
            characters.append("\\t")
        elif character.isprintable() and character != "\ufeff":
            characters.append(character)
        else:
            code = ord(character)
            characters.append(
                f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
            )
    return '"' + "".join(characters) + '"'
