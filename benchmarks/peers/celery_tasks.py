"""The application that Celery's workers and its client share."""

import os

from celery import Celery

BROKER = os.environ["BENCH_BROKER"]
app = Celery("bench", broker=BROKER, backend=BROKER)
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)


@app.task
def echo(data):
    return data
