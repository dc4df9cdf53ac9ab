"""Resources as tables: pandas data frames (when pandas is installed) and HTML for notebooks (always)."""

# pyright: reportUnknownParameterType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (pandas is optional: without it its types are not known)
from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, cast

from kvern.client.casing import to_camel_case
from kvern.client.optional import optional_import
from kvern.client.redaction import redacted
from kvern.client.times import TIME_ATTRIBUTES, ms_to_datetime, shown_with_dates

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]

_NULLABLE = (
    "data_set_id",
    "end_time",
    "last_updated_time",
    "schedule_id",
    "scheduled_time",
    "session_id",
    "start_time",
)
_NULLABLE_COLUMNS = frozenset(_NULLABLE) | {to_camel_case(name) for name in _NULLABLE}
_SHOWN_ROWS = 60
_SHOWN_CHARACTERS = 200


def list_frame(
    rows: Sequence[dict[str, Any]], expand_metadata: bool, metadata_prefix: str, convert_timestamps: bool
) -> pandas.DataFrame:
    """One row a resource. Raises `CogniteImportError` without pandas."""
    pd = optional_import("pandas")
    frame = pd.DataFrame(list(rows))
    for column in frame.columns.intersection(sorted(_NULLABLE_COLUMNS)):
        frame[column] = frame[column].astype("Int64")
    if convert_timestamps:
        for column in frame.columns.intersection(sorted(TIME_ATTRIBUTES)):
            frame[column] = pd.to_datetime(frame[column], unit="ms")
            if int(pd.__version__.split(".")[0]) > 2:
                frame[column] = frame[column].astype("datetime64[ms]")
    if expand_metadata and "metadata" in frame.columns:
        metadata = frame.pop("metadata").dropna()
        expanded = pd.DataFrame(metadata.tolist(), index=metadata.index).add_prefix(metadata_prefix)
        frame = frame.join(expanded)
    return frame


def item_frame(row: dict[str, Any], ignore: list[str] | None, **options: Any) -> pandas.DataFrame:
    """One row a field, in a column `value`. Raises `CogniteImportError` without pandas."""
    kept = {key: value for key, value in row.items() if key not in (ignore or ())}
    # As objects, so that the values keep their Python types.
    return list_frame([kept], **options).astype(object).iloc[0].rename("value").to_frame()


def plain_item_frame(
    row: dict[str, Any], ignore: list[str] | None, expand_metadata: bool, metadata_prefix: str, convert_timestamps: bool
) -> pandas.DataFrame:
    """The same for a resource that has no list of its own."""
    pd = optional_import("pandas")
    kept = {key: value for key, value in row.items() if key not in (ignore or ())}
    if convert_timestamps:
        for key in TIME_ATTRIBUTES.intersection(kept):
            kept[key] = pd.Timestamp(ms_to_datetime(kept[key]).replace(tzinfo=None))
    if expand_metadata and isinstance(kept.get("metadata"), dict):
        metadata = cast("dict[str, Any]", kept.pop("metadata"))
        kept.update({f"{metadata_prefix}{key}": value for key, value in metadata.items()})
    return pd.Series(kept).to_frame(name="value")


def item_html(row: dict[str, Any]) -> str:
    """A table of one row a field."""
    shown = shown_with_dates(redacted(row))
    body = "".join(f"<tr><th>{escape(key)}</th><td>{_cell(value)}</td></tr>" for key, value in shown.items())
    return f"<table><thead><tr><th></th><th>value</th></tr></thead><tbody>{body}</tbody></table>"


def list_html(rows: Sequence[dict[str, Any]]) -> str:
    """A table of one row a resource, at most 60 of them."""
    shown = [shown_with_dates(redacted(row)) for row in rows[:_SHOWN_ROWS]]
    columns = list(dict.fromkeys(key for row in shown for key in row))
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr><th>{number}</th>" + "".join(f"<td>{_cell(row.get(column))}</td>" for column in columns) + "</tr>"
        for number, row in enumerate(shown)
    )
    rest = f"<p>… and {len(rows) - _SHOWN_ROWS} more</p>" if len(rows) > _SHOWN_ROWS else ""
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return escape(text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…")
