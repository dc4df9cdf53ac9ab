"""Which points of a sensor record stand out from their neighbours?

One `handle` in a script. `client.functions.create(function_handle=handle)` takes the source of that function alone, so
its imports stand inside it, what it needs stands in its docstring, and the types in its signature are for the reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cognite.client import CogniteClient


def handle(client: CogniteClient, data: dict) -> dict:
    """Find the outliers of a record with InDSL's two passes of Savitzky-Golay smoothing and a Bonferroni test.

    `data` holds either `points`, pairs of a time in ms since the epoch and a value, or `file`, the external id of a CSV
    file whose first column is the date and whose second is the value. `window` is the width of the smoother, in points.

    [requirements]
    indsl==8.9.0
    pandas>=3,<4
    [/requirements]
    """
    import io
    import warnings

    import pandas as pd

    warnings.filterwarnings("ignore", message="Couldn't import fluids")  # InDSL's models of equipment, not used here
    from indsl.data_quality import outliers
    from indsl.resample import resample_to_granularity
    from indsl.smooth import sg

    if "points" in data:
        times, values = zip(*data["points"], strict=True)
        record = pd.Series(values, index=pd.to_datetime(times, unit="ms"), dtype=float)
    else:
        text = client.files.download_bytes(external_id=data["file"])
        record = pd.read_csv(io.BytesIO(text), comment="#", index_col=0, parse_dates=True).iloc[:, 0]
    record.index = record.index.as_unit("ns")  # InDSL counts in nanoseconds

    # The smoother's window counts points, not days: across a hole it would bend the trend and blame the holes' rims.
    # So holes are bridged for the test, and only points that were measured are judged.
    step = record.index.to_series().diff().median()
    bridged = resample_to_granularity(record, step, "interpolation")
    window = data.get("window", 13)
    found = outliers.out_of_range(bridged, window_length=[window, window], bc_relaxation=[0.5, 1.0])
    found = found[found.index.isin(record.index)]

    # What a neighbour would have said: the trend of the record without the points that stand out.
    kept = bridged.drop(found.index)
    expected = sg(resample_to_granularity(kept, step, "interpolation"), window_length=window, polyorder=3)

    print(f"{len(found)} of {len(record)} points stand out, {record.index[0]:%Y-%m-%d} to {record.index[-1]:%Y-%m-%d}")
    return {
        "points": len(record),
        "outliers": [
            {
                "timestamp": int(time.timestamp() * 1000),
                "value": float(value),
                "expected": round(float(expected[time]), 2),
            }
            for time, value in found.items()
        ],
    }
