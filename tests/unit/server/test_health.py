"""`/health` and `/ready` mean something, and `/metrics` shows to everybody only what is theirs."""

from __future__ import annotations

import asyncio
import shutil
from collections import namedtuple
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.unit.fakes import PROJECT, plant, until
from tests.unit.server.conftest import HOST, Web, error_of

from kvern.server.app import build_app
from kvern.service import readiness
from kvern.service.projects import Projects, read_projects

Webs = Callable[..., AbstractAsyncContextManager[Web]]


@pytest.fixture(autouse=True)
def every_question_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_AGAIN", 0.0)


async def anonymous(web: Web, path: str) -> httpx2.Response:
    return await web.get(path, headers={"authorization": None})


async def test_a_service_that_runs_is_alive_and_ready(web: Web) -> None:
    health, ready = await anonymous(web, "//health"), await anonymous(web, "//ready")
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reasons": {}})
    assert ready.headers["cache-control"] == "no-store"


async def test_a_service_that_has_not_begun_is_not_ready(tmp_path: Path) -> None:
    async with plant(tmp_path / "data", begin=False) as p:
        web = Web(p)
        async with web.http:
            ready = await anonymous(web, "//ready")
            assert (await anonymous(web, "//health")).status_code == 200
            assert ready.status_code == 503
            assert ready.json() == {"status": "not ready", "reasons": {"service": "it is starting"}}


async def test_draining_is_told_at_once_while_calls_still_run(web: Web) -> None:
    function = await web.p.function()
    web.p.engine.holding = True
    live = await web.p.call(function)
    await web.p.began(live)
    stopping = asyncio.create_task(web.p.service.stop(drain=60))
    await asyncio.sleep(0)

    ready = await anonymous(web, "//ready")
    assert (ready.status_code, ready.json()["reasons"]) == (503, {"service": "it is draining"})
    assert not live.ended.done()
    assert (await anonymous(web, "//health")).status_code == 200
    web.p.engine.end(live.record.id)
    await stopping


async def test_a_database_that_refuses_writes_is_told_without_its_words(web: Web) -> None:
    web.p.store.refusing = True
    ready = await anonymous(web, "//ready")
    assert (await anonymous(web, "//health")).status_code == 200, "a new start would not help"
    web.p.store.refusing = False
    assert (ready.status_code, ready.json()["reasons"]) == (503, {"database": "it refuses writes"})
    assert (await anonymous(web, "//ready")).status_code == 200


async def test_a_database_that_hangs_is_told_within_the_bound(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "WRITE_SECONDS", 0.01)
    monkeypatch.setattr(readiness, "ALIVE_SECONDS", 0.01)
    with web.p.store.closed():
        ready = await anonymous(web, "//ready")
        health = await anonymous(web, "//health")
        assert (ready.status_code, ready.json()["reasons"]) == (503, {"database": "a write took longer than 0.01 s"})
        assert (health.status_code, health.json()["status"]) == (503, "failing")
        assert "journal" in health.json()["reason"]
        waiting = web.p.store.waiting
        for _ in range(5):
            await anonymous(web, "//ready")
        assert web.p.store.waiting == waiting, "those who ask share one probe"


async def test_a_disk_without_room_is_told(webs: Webs, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    async with webs(disk_free_mb=300) as web:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 299_000_000, 299_000_000))
        ready = await anonymous(web, "//ready")
        assert ready.json()["reasons"] == {"disk": "299 MB are free, and 300 MB are expected"}
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 300_000_000, 300_000_000))
        assert (await anonymous(web, "//ready")).status_code == 200


async def test_a_part_that_others_look_after_can_say_what_is_wrong(web: Web) -> None:
    said: list[str | None] = ["it was stopped"]
    web.p.service.readiness.check("engine", lambda: said[0])
    assert (await anonymous(web, "//ready")).json()["reasons"] == {"engine": "it was stopped"}
    said[0] = None
    assert (await anonymous(web, "//ready")).status_code == 200


def samples(text: str) -> dict[str, float]:
    """Every line but the comments, by what stands before its value."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_calls_builds_and_requests_are_counted(web: Web) -> None:
    function = await web.p.function()
    await web.call(function)
    await web.get("/functions/4711")
    await web.get("/nowhere")

    shown = samples((await web.get("//metrics")).text)
    assert shown[f'kvern_calls_accepted_total{{project="{PROJECT}"}}'] == 1
    ended = f'kvern_calls_ended_total{{project="{PROJECT}",status="Completed",verdict="returned"}}'
    assert shown[ended] == 1
    assert shown[f'kvern_call_queue_seconds_count{{project="{PROJECT}"}}'] == 1
    assert shown['kvern_builds_ended_total{status="Ready"}'] == 1
    assert shown[f'kvern_functions{{project="{PROJECT}",status="Ready"}}'] == 1
    assert shown['kvern_http_requests_total{method="GET",route="/functions/{function_id}",status="404"}'] == 1
    assert shown['kvern_http_requests_total{method="GET",route="none",status="404"}'] == 1
    assert shown['kvern_http_requests_total{method="POST",route="/functions/{function_id}/call",status="201"}'] == 1
    assert shown["kvern_http_requests_running"] == 1
    assert shown["kvern_disk_free_bytes"] > 0
    assert not [name for name in shown if "4711" in name]


async def test_due_times_are_counted_with_their_lag(web: Web) -> None:
    await web.p.schedule(await web.p.function())
    await web.p.clock.advance(60_000)
    name = f'kvern_ticks_total{{outcome="ran",project="{PROJECT}"}}'
    other = f'kvern_ticks_total{{project="{PROJECT}",outcome="ran"}}'
    metrics = web.p.service.metrics
    await until(lambda: {name, other} & samples(metrics.text().decode()).keys())
    shown = samples(metrics.text().decode())
    assert shown["kvern_schedule_lag_seconds_count"] == 1
    assert shown["kvern_schedule_lag_seconds_sum"] < 1


async def test_calls_that_run_are_shown_while_they_do(web: Web) -> None:
    function = await web.p.function()
    web.p.engine.holding = True
    live = await web.p.call(function)
    name = f'kvern_calls{{project="{PROJECT}"}}'
    assert samples((await web.get("//metrics")).text)[name] == 1
    web.p.engine.end(live.record.id)
    await until(live.ended.done)
    assert samples((await web.get("//metrics")).text)[name] == 0


async def test_the_metrics_need_a_token_that_may_read_a_project(web: Web) -> None:
    error_of(await anonymous(web, "//metrics"), 401)
    web.token = await web.as_client("functionsAcl:READ", "functionsAcl:RUN")
    assert "projectsAcl:READ" in error_of(await web.get("//metrics"), 403)["message"]
    web.token = await web.as_client("projectsAcl:READ")
    answer = await web.get("//metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")


@pytest.fixture
def two_projects(tmp_path: Path) -> Projects:
    file = tmp_path / "kvern.toml"
    file.write_text("[projects.rival]\n")
    return read_projects(file, PROJECT)


async def test_no_client_sees_the_name_of_another_project(tmp_path: Path, two_projects: Projects) -> None:
    async with plant(tmp_path / "data", projects=two_projects) as p:
        theirs = await p.service.clients.add("rival", "theirs")
        token = p.service.issuer.client_token(p.service.clients.authenticate(theirs))
        await p.ended(await p.function())
        transport = httpx2.ASGITransport(build_app(p.service))
        async with httpx2.AsyncClient(transport=transport, base_url=HOST) as http:

            async def page(token: str) -> Any:
                return (await http.get("/metrics", headers={"authorization": f"Bearer {token}"})).text

            ours, rivals = await page(p.token), await page(token)
    assert 'kvern_sessions{project="plant"}' in ours
    assert "rival" not in ours
    assert 'kvern_sessions{project="rival"}' in rivals
    assert "plant" not in rivals
    assert "kvern_builds_ended_total" in rivals
    both = p.service.metrics.text().decode()
    assert 'project="plant"' in both
    assert 'project="rival"' in both
