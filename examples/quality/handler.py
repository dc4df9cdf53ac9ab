"""A signed data-quality report of a sensor record."""

import hashlib
import hmac
import io
import json

import checks
import pandas as pd


def handle(client, data, secrets, function_call_info):
    """Run every check on the CSV file `data["file"]` and sign the report with the secret `signing-key`.

    `data["range"]` holds the lowest and the highest value that the sensor can give; `data["outliers"]` is the external
    id of the function that finds outliers.
    """
    text = client.files.download_bytes(external_id=data["file"])
    record = pd.read_csv(io.BytesIO(text), comment="#", index_col=0, parse_dates=True).iloc[:, 0]
    record.index = record.index.as_unit("ns")  # InDSL counts in nanoseconds

    findings = [
        checks.completeness(record),
        checks.longest_gap(record),
        checks.stuck(record),
        checks.in_range(record, *data["range"]),
        outliers(client, data["outliers"], data["file"], len(record)),
    ]
    for finding in findings:
        print("ok  " if finding["ok"] else "LOOK", finding["check"], "-", finding["text"])

    report = {
        "file": data["file"],
        "from": f"{record.index[0]:%Y-%m-%d}",
        "to": f"{record.index[-1]:%Y-%m-%d}",
        "findings": findings,
        "madeBy": function_call_info,
    }
    signed = json.dumps(report, sort_keys=True).encode()
    return {
        "report": report,
        "signature": hmac.new(secrets["signing-key"].encode(), signed, hashlib.sha256).hexdigest(),
    }


def outliers(client, function, file, points):
    """Ask another function, by its external id, which points stand out."""
    call = client.functions.call(external_id=function, data={"file": file})
    if call.status != "Completed":
        return checks.finding("outliers", False, f"call {call.id} of {function} ended as {call.status}")
    found = call.get_response()["outliers"]
    furthest = max((abs(point["value"] - point["expected"]) for point in found), default=0.0)
    text = f"{len(found)} points, at most {furthest:.1f} from what their neighbours say"
    return checks.finding("outliers", len(found) < 0.01 * points, text)
