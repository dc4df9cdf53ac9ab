"""Finds where a record has no data."""

from dataclasses import dataclass

from indsl.data_quality import gaps_identification_threshold


@dataclass
class Gap:
    """The last date before a hole, the first after it, and how many samples are missing between them."""

    start: str
    end: str
    missing: int

    def as_dict(self):
        return {"start": self.start, "end": self.end, "missing": self.missing}


def find(points):
    """All gaps of a record, in order: wherever the next sample comes later than one sampling period."""
    period = points.index.to_series().diff().median()
    steps = gaps_identification_threshold(points, time_delta=period)

    # InDSL answers with a line that is 1 inside a gap and merges neighbours, so the samples inside it cut it up again.
    found = []
    inside = steps.reindex(points.index, method="ffill").to_numpy()
    for before, after, is_gap in zip(points.index[:-1], points.index[1:], inside[:-1], strict=True):
        if is_gap:
            found.append(Gap(f"{before:%Y-%m-%d}", f"{after:%Y-%m-%d}", round((after - before) / period) - 1))
    return found
