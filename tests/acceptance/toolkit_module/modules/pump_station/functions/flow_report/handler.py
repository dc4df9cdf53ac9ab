"""The flow of the pumps, summed up."""

import os
import time

import inflection
from statistics_of_flow import mean


def handle(data, client, secrets, function_call_info):
    time.sleep(0.4)  # longer than an answer is held back, so that who waits for it has to ask again
    flows = data.get("flows", {})
    print(inflection.pluralize("value") + ":", len(flows))
    return {
        "mean": mean(flows.values()),
        "unit": os.environ["UNIT"],
        "project": client.config.project,
        "key_length": len(secrets["api-key"]),
        "info": sorted(function_call_info),
    }
