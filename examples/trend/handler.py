"""The long trend of a seasonal sensor record: gaps, an even grid, trend, growth by decade, the season's swing."""

import logging

import gaps
import record
import trend

log = logging.getLogger("trend")
log.setLevel(logging.INFO)


def handle(client, data, function_call_info):
    """Describe the record in the CSV file `data["file"]`, from the date `data["start"]` on if there is one."""
    log.info("call %s reads the file %s", function_call_info["call_id"], data["file"])
    points = record.read(client, data["file"], start=data.get("start"))

    holes = gaps.find(points)
    longest = max(holes, key=lambda hole: hole.missing, default=None)
    if longest:
        log.warning("%d gaps; the longest has no data from %s to %s", len(holes), longest.start, longest.end)

    even = trend.on_even_grid(points)
    level = trend.without_season(even)
    growth = trend.growth_by_decade(level)
    log.info("%d weekly points became %d four-week means", len(points), len(even))
    return {
        "points": len(points),
        "gaps": {
            "count": len(holes),
            "missing": sum(hole.missing for hole in holes),
            "longest": longest and longest.as_dict(),
        },
        "trend": [{"year": year, "level": value} for year, value in trend.yearly(level).items()],
        "growthPerYear": growth,
        "season": trend.season(even, level),
    }
