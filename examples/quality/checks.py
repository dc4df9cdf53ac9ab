"""The checks of the report. Each takes a record and answers what it found and whether that is well."""

from indsl.data_quality.completeness import calculate_completeness, find_period
from indsl.detect import unchanged_signal_detector


def finding(check, ok, text):
    """One line of the report."""
    return {"check": check, "ok": bool(ok), "text": text}


def completeness(record, least=0.95):
    """How many of the samples that the sampling period promises are there."""
    share = calculate_completeness(record, record.index[0], record.index[-1], find_period(record))
    return finding("completeness", share >= least, f"{share:.1%} of the samples are there")


def longest_gap(record, most_days=56):
    """The longest time without a sample."""
    waits = record.index.to_series().diff()
    end, longest = waits.idxmax(), waits.max()
    return finding("longest gap", longest.days <= most_days, f"{longest.days} days without data until {end:%Y-%m-%d}")


def stuck(record, samples=4):
    """Where the sensor gave the same value several times in a row."""
    period = record.index.to_series().diff().median()
    steps = unchanged_signal_detector(record, duration=(samples - 1) * period, min_nr_data_points=samples)
    starts = [f"{time:%Y-%m-%d}" for time in steps[(steps == 1) & (steps.shift(fill_value=0) == 0)].index]
    where = f", from {', '.join(starts)}" if starts else ""
    return finding(
        "stuck value", not starts, f"{len(starts)} times one value {samples} samples or more in a row{where}"
    )


def in_range(record, lowest, highest):
    """Whether all values are ones that the sensor can give."""
    outside = int(((record < lowest) | (record > highest)).sum())
    text = f"{record.min():g} to {record.max():g}; {outside} outside {lowest:g} to {highest:g}"
    return finding("range", outside == 0, text)
