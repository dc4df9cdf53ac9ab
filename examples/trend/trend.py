"""Splits a seasonal record into a slow trend and a yearly swing."""

import numpy as np
import pandas as pd
from indsl.resample import resample_to_granularity
from indsl.smooth import sg

MONTH = pd.Timedelta(days=28)
MONTHS_A_YEAR = 13
DAYS_A_YEAR = 365.25


def on_even_grid(points):
    """Four-week means; InDSL bridges what is missing."""
    return resample_to_granularity(points, MONTH, "mean")


def without_season(even):
    """The trend: the level of a line through the year around each point, in which the season cancels out.

    The first and the last half year are left out: no whole year lies around their points.
    """
    half = MONTHS_A_YEAR // 2
    return sg(even, window_length=MONTHS_A_YEAR, polyorder=1).iloc[half:-half]


def yearly(level):
    """The trend's mean of each whole year."""
    years = level.groupby(level.index.year)
    return {int(year): round(float(part.mean()), 2) for year, part in years if len(part) >= MONTHS_A_YEAR - 1}


def growth_by_decade(level):
    """The trend's slope in units a year, for every decade that it covers whole."""
    growth = {}
    for decade in range(level.index[0].year // 10 * 10, level.index[-1].year + 1, 10):
        part = level[str(decade) : str(decade + 9)]
        if len(part) < MONTHS_A_YEAR * 9.5:
            continue
        years = (part.index - part.index[0]) / pd.Timedelta(days=DAYS_A_YEAR)
        growth[f"{decade}s"] = round(float(np.polyfit(years, part, 1)[0]), 2)
    return growth


def season(even, level):
    """The mean distance from the trend in each month: where it is highest and lowest, and the swing between."""
    distance = (even - level).groupby(even.index.month).mean()  # no value, so not counted, where there is no trend
    return {
        "highest": pd.Timestamp(2000, int(distance.idxmax()), 1).month_name(),
        "lowest": pd.Timestamp(2000, int(distance.idxmin()), 1).month_name(),
        "swing": round(float(distance.max() - distance.min()), 2),
    }
