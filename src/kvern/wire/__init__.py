"""The contract's types: the one place that knows camelCase.

Every body that crosses the HTTP edge is a struct here, with its constraints; validation, and the published
description of the API, come from these and from nothing else.
"""
