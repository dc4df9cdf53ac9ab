"""Three functions on a real sensor record, driven by the official SDK (`cognite-sdk` 8) and nothing else.

It needs a service and the variables that `kvern env` prints; `make demo` sets up both. To run it by hand:

    eval "$(kvern env)"
    python examples/drive.py
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import json
import os
import random
import secrets
import sys
import time
import zipfile
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import outliers
import show
from cognite.client import AsyncCogniteClient, ClientConfig, CogniteClient, global_config
from cognite.client.credentials import OAuthClientCredentials
from cognite.client.data_classes.functions import Function, FunctionCall, FunctionSchedule
from cognite.client.exceptions import CogniteAPIError
from show import expect, line, step

HERE = Path(__file__).parent
RECORD = "mauna-loa-co2"
OUTLIERS, TREND, QUALITY = "co2-outliers", "co2-trend", "co2-quality"
FUNCTIONS = [OUTLIERS, TREND, QUALITY]
SIGNING_KEY = secrets.token_hex(16)
REPORT_INPUT = {"file": RECORD, "range": [300, 400], "outliers": OUTLIERS}
DEPLOY_LIMIT = 15 * 60  # seconds; a first build downloads pandas, SciPy and InDSL


def config() -> ClientConfig:
    """The SDK's configuration from the variables that `kvern env` prints."""
    return ClientConfig(
        client_name="kvern-demo",
        base_url=os.environ["CDF_URL"],
        project=os.environ["CDF_PROJECT"],
        credentials=OAuthClientCredentials(
            token_url=os.environ["IDP_TOKEN_URL"],
            client_id=os.environ["IDP_CLIENT_ID"],
            client_secret=os.environ["IDP_CLIENT_SECRET"],
            scopes=os.environ["IDP_SCOPES"].split(),
        ),
    )


def connect(client: CogniteClient) -> None:
    limits = client.functions.limits()
    line(f"{client.config.base_url}, project {client.config.project}, cognite-sdk {version('cognite-sdk')}")
    line(f"runtimes {', '.join(limits.runtimes)}; a call may take {limits.timeout_minutes} minutes")
    expect(client.functions.status().status == "activated", "the service says that functions are not activated")


def upload_record(client: CogniteClient) -> list[tuple[int, float]]:
    """Put the record into the Files API, and give its points as pairs of ms since the epoch and ppm."""
    text = (HERE / "data" / "mauna-loa-co2.csv").read_bytes()
    file = client.files.upload_bytes(text, name="mauna-loa-co2.csv", external_id=RECORD, overwrite=True)
    points = []
    for row in text.decode().splitlines():
        if row[0].isdigit():
            day, value = row.split(",")
            points.append((round(datetime.fromisoformat(day + "T00:00+00:00").timestamp() * 1000), float(value)))
    line(f"file {file.id}: {len(points)} weekly means of CO2 at Mauna Loa, 1958 to 2001, with holes as measured")
    return points


def deploy(client: CogniteClient) -> dict[str, Function]:
    """Create the functions in the three ways that there are, and wait until all are ready."""
    begun = time.perf_counter()
    made = [
        client.functions.create(
            name="CO2 outliers",
            external_id=OUTLIERS,
            function_handle=outliers.handle,
            description="Points that stand out from their neighbours",
        ),
        client.functions.create(
            name="CO2 trend",
            external_id=TREND,
            folder=str(HERE / "trend"),
            skip_folder_validation=True,  # it imports InDSL, which is not installed here
        ),
    ]
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((HERE / "quality").glob("*.*")):
            archive.write(path, path.name)
    file = client.files.upload_bytes(bundle.getvalue(), name="quality.zip", external_id=QUALITY, overwrite=True)
    made.append(
        client.functions.create(
            name="CO2 quality",
            external_id=QUALITY,
            file_id=file.id,
            secrets={"signing-key": SIGNING_KEY},
        )
    )

    took: dict[int, float] = {}
    shown = ""
    while len(took) < len(made):
        functions = client.functions.retrieve_multiple(ids=[function.id for function in made])
        elapsed = time.perf_counter() - begun
        for function in functions:
            expect(function.status != "Failed", f"{function.external_id} could not be built: {function.error}")
            if function.status == "Ready":
                took.setdefault(function.id, elapsed)
        states = ", ".join(f"{function.external_id} {function.status}" for function in functions)
        if states != shown or show.TERMINAL:
            show.progress(f"{show.seconds(elapsed):>7}  {states}", last=len(took) == len(made))
        shown = states
        expect(elapsed < DEPLOY_LIMIT, f"not all functions are ready after {DEPLOY_LIMIT / 60:.0f} minutes: {states}")
        time.sleep(0.25)

    sources = ["handle in a script", "folder, requirements.txt", f"zip, file id {file.id}"]
    rows = [
        (function.external_id, source, function.status, function.runtime_version, show.seconds(took[function.id]))
        for function, source in zip(functions, sources, strict=True)
    ]
    line()
    show.table(["function", "deployed from", "status", "runs on", "ready after"], rows)
    return {function.external_id: function for function in functions}


def call(client: CogniteClient, external_id: str, data: dict) -> tuple[FunctionCall, float]:
    """Call and wait; the call must complete. Gives the call and the time in s that it took the caller."""
    begun = time.perf_counter()
    done = client.functions.call(external_id=external_id, data=data)
    took = time.perf_counter() - begun
    if done.status != "Completed":
        show.log(done.get_logs().to_text().splitlines())
    expect(done.status == "Completed", f"call {done.id} of {external_id} ended as {done.status}: {done.error}")
    return done, took


def find_outliers(client: CogniteClient, points: list[tuple[int, float]]) -> None:
    """The record as it was measured, and again with twelve faults of 3 ppm planted in it."""
    done, took = call(client, OUTLIERS, {"file": RECORD})
    found = done.get_response()["outliers"]
    show.log(done.get_logs().to_text().splitlines())
    rows = [(f"{at(point['timestamp']):%Y-%m-%d}", point["value"], point["expected"]) for point in found]
    show.table(["week", "measured", "expected"], rows)
    line(f"call {done.id}, {done.status}, {show.seconds(took)}")
    expect(0 < len(found) < 20, f"{len(found)} outliers in the clean record")

    chance = random.Random(1958)
    faulty, planted = list(points), set()
    for number, index in enumerate(sorted(chance.sample(range(len(points)), 12))):
        moment, value = points[index]
        faulty[index] = (moment, round(value + (3 if number % 2 else -3), 1))
        planted.add(moment)
    done, took = call(client, OUTLIERS, {"points": faulty})
    found_at = {point["timestamp"] for point in done.get_response()["outliers"]}
    hits, wrong = len(planted & found_at), len(found_at - planted)
    line(
        f"12 faults of 3 ppm planted: {hits} found, {wrong} points blamed wrongly. Call {done.id}, {show.seconds(took)}"
    )
    expect(hits == 12 and wrong == 0, "not exactly the planted faults were found")


def draw_trend(client: CogniteClient) -> None:
    done, took = call(client, TREND, {"file": RECORD})
    show.log(done.get_logs().to_text().splitlines())
    answer = done.get_response()
    line()
    show.plot([(point["year"], point["level"]) for point in answer["trend"]], "ppm")
    growth = ", ".join(f"{decade} {value}" for decade, value in answer["growthPerYear"].items())
    line(f"growth, ppm a year: {growth}")
    season = answer["season"]
    line(f"season: highest in {season['highest']}, lowest in {season['lowest']}, {season['swing']} ppm between")
    longest = answer["gaps"]["longest"]
    line(f"{answer['gaps']['count']} gaps, {answer['gaps']['missing']} weeks missing; the longest {longest['missing']}")
    line(f"call {done.id}, {done.status}, {show.seconds(took)}")
    expect(season["highest"] == "May" and longest["missing"] == 18, "the trend's answer is not that of this record")


def check_quality(client: CogniteClient) -> None:
    done, took = call(client, QUALITY, REPORT_INPUT)
    answer = done.get_response()
    rows = [
        (finding["check"], "ok" if finding["ok"] else "look", finding["text"])
        for finding in answer["report"]["findings"]
    ]
    show.table(["check", "", "finding"], rows)
    signed = json.dumps(answer["report"], sort_keys=True).encode()
    signature = hmac.new(SIGNING_KEY.encode(), signed, hashlib.sha256).hexdigest()
    expect(hmac.compare_digest(signature, answer["signature"]), "the report's signature does not fit the secret")
    line(f"signed with the function's secret: {signature[:16]}… is right")
    asked = client.functions.calls.list(function_external_id=OUTLIERS, limit=1)[0]
    expect(asked.start_time >= done.start_time, f"{QUALITY} did not call {OUTLIERS}")
    line(f"call {done.id} made call {asked.id} of {OUTLIERS} through its client; {done.status}, {show.seconds(took)}")


async def by_decade(points: list[tuple[int, float]]) -> None:
    """Four calls at the same time through the asynchronous client."""
    client = AsyncCogniteClient(config())
    decades = {year: [p for p in points if year <= at(p[0]).year < year + 10] for year in (1960, 1970, 1980, 1990)}

    async def one(year: int) -> tuple[object, ...]:
        begun = time.perf_counter()
        done = await client.functions.call(external_id=OUTLIERS, data={"points": decades[year]})
        took = time.perf_counter() - begun
        expect(done.status == "Completed", f"call {done.id} ended as {done.status}: {done.error}")
        answer = await done.get_response_async()
        return f"{year}s", done.id, answer["points"], len(answer["outliers"]), show.seconds(took)

    show.table(["decade", "call", "points", "stand out", "took"], await asyncio.gather(*map(one, decades)))


def fail(client: CogniteClient) -> None:
    """A call that cannot work: half a year is too short for a trend."""
    done = client.functions.call(external_id=TREND, data={"file": RECORD, "start": "2001-06-01"})
    expect(done.status == "Failed", f"call {done.id} should have failed, and ended as {done.status}")
    error = done.error["message"] if isinstance(done.error, dict) else done.error
    line(f"call {done.id}, {done.status}: {error}")
    lines = done.get_logs().to_text().splitlines()
    show.log(lines)
    expect(any("Traceback" in text for text in lines), "the traceback is not in the log")
    expect(any("record.py" in text for text in lines), "the traceback does not name the handler's own file")
    expect(done.get_response() is None, "a call that failed has a response")


def make_schedule(client: CogniteClient, function: Function) -> FunctionSchedule:
    schedule = client.functions.schedules.create(
        name="quality, every minute", cron_expression="* * * * *", function_id=function.id, data=REPORT_INPUT
    )
    line(f"schedule {schedule.id} of {QUALITY}: {schedule.cron_expression} ({schedule.when})")
    expect(schedule.get_input_data() == REPORT_INPUT, "the schedule's input is not what was given")
    return schedule


def see_it_fire(client: CogniteClient, schedule: FunctionSchedule) -> None:
    until = time.monotonic() + 90
    while True:
        calls = client.functions.calls.list(function_external_id=QUALITY, schedule_id=schedule.id)
        done = next((one for one in calls if one.status != "Running"), None)
        if done:
            break
        wait = "a call runs" if calls else f"the next minute begins in {60 - datetime.now().second} s"
        expect(time.monotonic() < until, "the schedule did not fire within 90 s")
        if show.TERMINAL:
            show.progress(wait)
        time.sleep(0.5)
    late = done.start_time - done.scheduled_time
    show.progress(
        f"due {at(done.scheduled_time):%H:%M:%S}, begun {late} ms later: call {done.id}, {done.status}", last=True
    )
    show.log(done.get_logs().to_text().splitlines())
    expect(done.status == "Completed", f"the scheduled call ended as {done.status}: {done.error}")
    by = done.get_response()["report"]["madeBy"]
    expect(by.get("schedule_id") == schedule.id, f"the handler was not told of its schedule: {by}")


def clean_up(client: CogniteClient) -> None:
    """Delete everything that this script makes; functions take their schedules along."""
    known = client.functions.retrieve_multiple(external_ids=FUNCTIONS, ignore_unknown_ids=True)
    if known:
        client.functions.delete(id=[function.id for function in known])
    client.files.delete(external_id=[*FUNCTIONS, RECORD], ignore_unknown_ids=True)


def at(moment: int) -> datetime:
    """A time in ms since the epoch, which may lie before it."""
    return datetime.fromtimestamp(moment / 1000, tz=timezone.utc)


def main() -> int:
    global_config.disable_pypi_version_check = True
    client = CogniteClient(config())
    begun = time.perf_counter()
    try:
        with step("Connect with the official SDK"):
            connect(client)
            clean_up(client)
        with step("Upload a sensor record"):
            points = upload_record(client)
        with step("Deploy three functions and build what they need"):
            functions = deploy(client)
        with step("Make a schedule"):
            schedule = make_schedule(client, functions[QUALITY])
        with step("Outliers: a call with a file, a call with points"):
            find_outliers(client, points)
        with step("Trend: the log, the response"):
            draw_trend(client)
        with step("Data quality: a function with a secret calls another function"):
            check_quality(client)
        with step("Four calls at once, asynchronous client"):
            asyncio.run(by_decade(points))
        with step("A call that fails"):
            fail(client)
        with step("The schedule fires"):
            see_it_fire(client, schedule)
        with step("Clean up"):
            clean_up(client)
            expect(not client.functions.list(external_id_prefix="co2-"), "functions are left")
            expect(not client.functions.schedules.list(name=schedule.name), "the schedule is left")
            line("functions, schedule and files are deleted")
    except (show.Unexpected, CogniteAPIError) as problem:
        print(f"\nNot as it should be: {problem}", file=sys.stderr)
        return 1
    print(f"\nAll as it should be, in {show.seconds(time.perf_counter() - begun)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
