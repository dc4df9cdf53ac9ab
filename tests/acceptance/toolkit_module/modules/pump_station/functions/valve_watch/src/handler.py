"""Fails when a valve is stuck, so that the one on watch is told."""


def handle(data):
    stuck = data.get("stuck", ["V-101"])
    if stuck:
        raise ValueError(f"stuck: {', '.join(stuck)}")
    return "all valves move"
