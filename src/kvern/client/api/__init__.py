"""The asynchronous API, one file a resource; the synchronous one in `kvern.client.sync` is derived from it."""
