"""The queue that Huey's consumer and its client share."""

import os

from huey import SqliteHuey

queue = SqliteHuey("bench", filename=os.environ["BENCH_DATABASE"], fsync=True)


@queue.task()
def echo(data):
    return data
