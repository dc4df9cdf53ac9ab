"""The synchronous API, written by `kvern.client.derive` from `kvern.client.api`."""
