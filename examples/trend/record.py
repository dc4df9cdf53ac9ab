"""Reads a record from the Files API."""

import io

import pandas as pd

SHORTEST = pd.Timedelta(days=2 * 365)


def read(client, external_id, start=None):
    """The values of a CSV file (a date, a value) as a series.

    Raises:
        ValueError: what is left from `start` on is too short for a trend beside a yearly season.
    """
    text = client.files.download_bytes(external_id=external_id)
    points = pd.read_csv(io.BytesIO(text), comment="#", index_col=0, parse_dates=True).iloc[:, 0]
    points.index = points.index.as_unit("ns")  # InDSL counts in nanoseconds
    points = points.loc[start:]
    if points.empty or points.index[-1] - points.index[0] < SHORTEST:
        raise ValueError(
            f"a trend needs two years of data at least, and from {start} on there are {len(points)} points"
        )
    return points
