"""Ray: eight actors, a call goes to each in turn; nothing is kept."""

import itertools
import os

import closed_loop

os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
import ray

ray.init(num_cpus=8, include_dashboard=False, logging_level="ERROR", log_to_driver=False)


@ray.remote(num_cpus=1)
class Echo:
    def call(self, data):
        return data


actors = itertools.cycle([Echo.remote() for _ in range(8)])
try:
    closed_loop.serve(lambda data: ray.get(next(actors).call.remote(data)))
finally:
    ray.shutdown()
