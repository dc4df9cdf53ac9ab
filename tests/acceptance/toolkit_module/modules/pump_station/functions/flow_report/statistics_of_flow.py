def mean(flows):
    known = [flow for flow in flows if flow is not None]
    return sum(known) / len(known) if known else None
