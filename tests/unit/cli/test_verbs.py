"""What the verbs do, print and leave with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kvern.cli.complaint import Complaint

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call, Twin

Kvern = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pump"
    made.mkdir()
    (made / "handler.py").write_text("def handle(data): return data\n")
    return made


class TestDeploy:
    def test_the_folder_gives_name_and_external_id(self, twin: Twin, kvern: Kvern, folder: Path) -> None:
        ran = kvern("deploy", str(folder))

        (function,) = twin.all.values()
        assert (function.name, function.external_id, function.status) == ("pump", "pump", "Ready")
        assert ran.code == 0
        assert ran.out.startswith("pump is Ready")
        assert ran.err.splitlines() == ["pump: Queued", "Call it: kvern call pump --data '{}'"]

    def test_what_the_build_says_is_shown_once(self, twin: Twin, kvern: Kvern, folder: Path) -> None:
        twin.build_log = ["Locked 2 packages.", "Ready."]

        ran = kvern("deploy", str(folder))

        assert ran.err.splitlines() == [
            "pump: Queued",
            "  Locked 2 packages.",
            "  Ready.",
            "Call it: kvern call pump --data '{}'",
        ]
        assert "Locked" not in kvern("deploy", str(folder), "--json").err

    def test_every_setting_reaches_the_service(self, twin: Twin, kvern: Kvern, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "secrets").write_text("key=from-file\nother=x\n")

        ran = kvern(
            *("deploy", str(folder), "--name", "Pump", "--external-id", "p-1", "--runtime", "py312", "--cpu", "0.5"),
            *(
                "--memory",
                "2",
                "--secret",
                "key=from-line",
                "--secret-file",
                str(tmp_path / "secrets"),
                "--owner",
                "me",
            ),
            *("--env", "A=1", "--env", "B=2", "--metadata", "site=north", "--description", "Pumps."),
            *("--index-url", "https://one/simple", "--extra-index-url", "https://two/simple"),
        )

        assert ran.code == 0
        (function,) = twin.all.values()
        assert function.given | {"file_id": 0} == {
            "file_id": 0,
            "function_path": "handler.py",
            "description": "Pumps.",
            "owner": "me",
            "secrets": {"key": "from-line", "other": "x"},
            "env_vars": {"A": "1", "B": "2"},
            "cpu": 0.5,
            "memory": 2.0,
            "runtime": "py312",
            "metadata": {"site": "north"},
            "index_url": "https://one/simple",
            "extra_index_urls": ["https://two/simple"],
        }
        assert twin.uploaded[0].given == {"name": "Pump.zip", "external_id": "p-1", "overwrite": True}

    def test_it_replaces_a_function_and_makes_its_schedules_again(self, twin: Twin, kvern: Kvern, folder: Path) -> None:
        old = twin.add("pump", "pump")
        twin.schedules.create(
            "nightly", cron_expression="0 2 * * *", function_id=old.id, description="x", data={"a": 1}
        )

        ran = kvern("deploy", str(folder))

        assert "replaced, 1 schedule made again" in ran.out
        assert old.id not in twin.all
        (schedule,) = twin.made_schedules.values()
        assert (schedule.name, schedule.cron_expression, schedule.description, schedule.data) == (
            *("nightly", "0 2 * * *", "x"),
            {"a": 1},
        )
        assert schedule.function_id in twin.all

    def test_schedules_that_are_made_again_keep_what_was_asked_for_and_stay_paused(
        self, twin: Twin, kvern: Kvern, folder: Path
    ) -> None:
        old = twin.add("pump", "pump")
        policies = {"timeZone": "Europe/Oslo", "missed": "last", "missedWindow": 60, "overlap": "queue"}
        rule = {"cron_expression": "0 2 * * *", "function_id": old.id}
        twin.schedules.create("careful", **rule, policies={**policies, "pausedTime": 1_600_000_000_000})
        twin.schedules.create("plain", **rule)

        assert kvern("deploy", str(folder)).code == 0

        careful, plain = twin.made_schedules.values()
        assert careful.policies == {**policies, "pausedTime": 1_700_000_000_000}
        assert plain.policies == {}
        assert old.id not in {careful.function_id, plain.function_id}

    def test_retries_and_the_soft_deadline_are_kept_unless_they_are_given(
        self, twin: Twin, kvern: Kvern, folder: Path
    ) -> None:
        def options(*flags: str) -> dict[str, Any]:
            assert kvern("deploy", str(folder), "--description", "x", *flags).code == 0
            (function,) = twin.all.values()
            assert (function.status, function.given["description"]) == ("Ready", "x")
            return twin.options.get(function.id, {})

        retries = {"attempts": 5, "delaySeconds": 0.5, "factor": 3.0, "maxDelaySeconds": 9.0, "jitter": 0.0}
        assert options() == {}
        assert options(
            *("--attempts", "5", "--retry-delay", "0.5", "--retry-factor", "3", "--retry-max-delay", "9"),
            *("--retry-jitter", "0", "--retry-on", "raised", "--retry-on", "timed out", "--soft-deadline", "20"),
        ) == {"retries": {**retries, "on": ["raised", "timed out"]}, "softDeadlineSeconds": 20}
        kept = {**retries, "attempts": 2, "on": ["crashed"]}
        assert options("--attempts", "2", "--retry-on", "crashed") == {"retries": kept, "softDeadlineSeconds": 20}
        assert options("--soft-deadline", "0") == {"retries": kept}
        assert options() == {"retries": kept}
        assert options("--attempts", "0") == {}

    @pytest.mark.parametrize("flags", [("--retry-on", "raised"), ("--attempts", "0", "--retry-delay", "1")])
    def test_flags_about_retries_need_attempts(
        self, twin: Twin, kvern: Kvern, folder: Path, flags: tuple[str, ...]
    ) -> None:
        ran = kvern("deploy", str(folder), *flags)

        assert (ran.code, twin.all) == (2, {})
        assert ran.err == "kvern: flags that begin with --retry- need --attempts of 1 or more\n"

    def test_a_failed_build_is_told_with_its_trace_and_exit_code_1(
        self, twin: Twin, kvern: Kvern, folder: Path
    ) -> None:
        twin.build = lambda function: function.fail("no such package", "line 1\nline 2")

        ran = kvern("deploy", str(folder))

        assert ran.code == 1
        assert ran.out == ""
        assert ran.err.endswith("kvern: pump could not be built: no such package\nline 1\nline 2\n")

    @pytest.mark.parametrize("wait", [(), ("--no-wait",)])
    def test_settings_that_are_refused_leave_the_old_function(
        self, twin: Twin, kvern: Kvern, folder: Path, wait: tuple[str, ...]
    ) -> None:
        old = twin.add("pump", "pump")
        twin.refuse = Complaint("Expected at most 3.0 as cpu, given 900.0")

        ran = kvern("deploy", str(folder), "--cpu", "900", *wait)

        assert (ran.code, ran.out) == (1, "")
        assert ran.err == "kvern: Expected at most 3.0 as cpu, given 900.0\n"
        assert list(twin.all) == [old.id]

    def test_a_build_that_fails_leaves_the_old_function(self, twin: Twin, kvern: Kvern, folder: Path) -> None:
        old = twin.add("pump", "pump", status="Ready")
        twin.schedules.create("nightly", cron_expression="0 2 * * *", function_id=old.id)
        twin.build = lambda function: function.fail("no such package")

        ran = kvern("deploy", str(folder))

        assert ran.code == 1
        assert ran.err.endswith(f"The function that was there stays as it is (id {old.id}).\n")
        assert list(twin.all) == [old.id]
        assert len(twin.made_schedules) == 1

    def test_without_waiting_it_says_what_is_so_far(self, twin: Twin, kvern: Kvern, folder: Path) -> None:
        ran = kvern("deploy", str(folder), "--no-wait", "--json")

        assert ran.code == 0
        assert json.loads(ran.out)["status"] == "Queued"
        assert ran.err == ""

    def test_nothing_is_sent_when_there_is_nothing_to_deploy(self, twin: Twin, kvern: Kvern, tmp_path: Path) -> None:
        ran = kvern("deploy", str(tmp_path))

        assert ran.code == 2
        assert ran.err.startswith("kvern: there is no handler.py in ")
        assert not twin.uploaded


class TestFunctions:
    def test_they_are_listed(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("Pump report", "pump", status="Ready", runtime_version="Python 3.12.1")
        twin.add("nameless", status="Failed")

        ran = kvern("functions")

        head, first, second = ran.out.splitlines()
        assert head.split("  ")[0] == "EXTERNAL ID"
        assert first.startswith("pump         Pump report  Ready   Python 3.12.1")
        assert second.startswith("-            nameless     Failed  py311")

    def test_json_has_the_names_of_the_api(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("Pump report", "pump", status="Ready")

        (function,) = json.loads(kvern("functions", "--json").out)

        assert function["externalId"] == "pump"
        assert function == json.loads(kvern("functions", "show", "pump", "--json").out)

    def test_no_function_prints_nothing_to_a_pipe(self, twin: Twin, kvern: Kvern) -> None:
        ran = kvern("functions")

        assert (ran.code, ran.out) == (0, "")
        assert "kvern deploy PATH" in ran.err

    def test_one_is_shown_with_why_it_failed(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("pump", status="Failed", error={"message": "bad", "trace": "because"})

        ran = kvern("functions", "show", "pump")

        assert "status: Failed" in ran.out.splitlines()
        assert ran.out.endswith("error: bad\nbecause\n")

    def test_deleting_several_needs_all_names_to_be_right(self, twin: Twin, kvern: Kvern) -> None:
        one, two = twin.add("one"), twin.add("two")

        assert kvern("delete", "one", "nine").code == 1
        assert len(twin.all) == 2
        ran = kvern("delete", "one", str(two.id), "one")
        assert (ran.code, ran.out) == (0, f"{one.id} is deleted\n{two.id} is deleted\n")
        assert not twin.all


class TestNames:
    def test_an_external_id_goes_before_a_name_and_a_name_before_an_id(self, twin: Twin, kvern: Kvern) -> None:
        by_id = twin.add("first")
        by_name = twin.add(str(by_id.id))
        assert json.loads(kvern("functions", "show", str(by_id.id), "--json").out)["id"] == by_name.id

        by_external_id = twin.add("third", str(by_id.id))
        assert json.loads(kvern("functions", "show", str(by_id.id), "--json").out)["id"] == by_external_id.id

    def test_a_name_that_two_have_is_refused_with_their_ids(self, twin: Twin, kvern: Kvern) -> None:
        one, two = twin.add("pump"), twin.add("pump")

        ran = kvern("call", "pump")

        assert ran.code == 1
        assert ran.err == f"kvern: 2 functions are called 'pump'; say which by its id: {one.id}, {two.id}\n"

    @pytest.mark.parametrize(("name", "hint"), [("pmup", "did you mean 'pump'?"), ("zzz", "`kvern functions` lists")])
    def test_an_unknown_name_is_refused_with_a_hint(self, twin: Twin, kvern: Kvern, name: str, hint: str) -> None:
        twin.add("Pump", "pump")

        ran = kvern("call", name)

        assert ran.code == 1
        assert hint in ran.err


class TestCall:
    def test_the_response_goes_to_stdout_and_the_log_to_stderr(self, twin: Twin, kvern: Kvern) -> None:
        def answer(call: Call, data: Any) -> None:
            def first(call: Call) -> None:
                call.lines.append("one")

            def second(call: Call) -> None:
                call.lines.append("two")
                call.finish({"got": data})

            call.script = [first, second]

        twin.answer = answer
        twin.add("pump")

        ran = kvern("call", "pump", "--data", '{"a": 1}')

        assert ran.code == 0
        assert json.loads(ran.out) == {"got": {"a": 1}}
        assert ran.err == "one\ntwo\n"

    @pytest.mark.parametrize("status", ["Failed", "Timeout"])
    def test_one_that_does_not_complete_has_exit_code_1(self, twin: Twin, kvern: Kvern, status: str) -> None:
        twin.answer = lambda call, data: call.finish(status=status, error={"message": "ValueError: no", "trace": "…"})
        twin.add("pump")

        ran = kvern("call", "pump")

        assert (ran.code, ran.out) == (1, "")
        assert ran.err.endswith(f"of 1 ended as {status}: ValueError: no\n")

    def test_json_holds_the_call_its_response_and_its_log(self, twin: Twin, kvern: Kvern) -> None:
        def answer(call: Call, data: Any) -> None:
            call.lines = ["hello"]
            call.finish([1])

        twin.answer = answer
        twin.add("pump")

        ran = kvern("call", "pump", "--json")

        document = json.loads(ran.out)
        assert (document["status"], document["response"], document["functionId"]) == ("Completed", [1], 1)
        assert document["logs"] == [{"message": "hello", "timestamp": 1_700_000_000_000}]
        assert ran.err == ""

    def test_the_same_idempotency_key_is_the_same_call(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("pump")
        twin.answer = lambda call, data: call.finish(data)

        first = kvern("call", "pump", "--data", "[1]", "--idempotency-key", "today")
        again = kvern("call", "pump", "--data", "[1]", "--idempotency-key", "today")

        assert (first.code, json.loads(first.out)) == (again.code, json.loads(again.out)) == (0, [1])
        assert len(twin.made_calls) == 1
        assert kvern("call", "pump", "--idempotency-key", "tomorrow").code == 0
        assert len(twin.made_calls) == 2

    def test_it_gives_up_after_the_timeout_and_says_how_to_go_on(self, twin: Twin, kvern: Kvern) -> None:
        twin.answer = lambda call, data: None
        twin.add("pump")

        ran = kvern("call", "pump", "--timeout", "0")

        assert (ran.code, ran.out) == (1, "")
        assert "still runs after 0 s: kvern logs 2 --follow" in ran.err

    def test_ctrl_c_leaves_the_call_and_says_how_to_find_it_again(self, twin: Twin, kvern: Kvern) -> None:
        def press(call: Call) -> None:
            raise KeyboardInterrupt

        twin.answer = lambda call, data: call.script.append(press)
        twin.add("pump")

        ran = kvern("call", "pump")

        assert (ran.code, ran.out) == (130, "")
        assert ran.err == "kvern: call 2 goes on: kvern logs 2 --follow\n"

    def test_without_waiting_stdout_is_the_id(self, twin: Twin, kvern: Kvern) -> None:
        twin.answer = lambda call, data: None
        twin.add("pump")

        assert kvern("call", "pump", "--no-wait").out == "2\n"

    def test_data_that_is_not_json_is_refused_before_anything_is_sent(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("pump")

        assert kvern("call", "pump", "--data", "{a: 1}").code == 2
        assert not twin.made_calls

    def test_calls_are_listed_newest_first_with_their_errors(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("pump")
        kvern("call", "pump")
        twin.answer = lambda call, data: call.finish(status="Failed", error={"message": "ValueError: no", "trace": ""})
        kvern("call", "pump")

        _, failed, completed = kvern("calls", "pump").out.splitlines()

        assert failed.split()[:3] == ["3", "Failed", "raised"]
        assert failed.endswith("1.5 s  -         ValueError: no")
        assert completed.split()[:3] == ["2", "Completed", "returned"]
        assert [one["id"] for one in json.loads(kvern("calls", "pump", "--status", "Failed", "--json").out)] == [3]

    def test_a_call_is_shown_with_all_its_figures(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("pump")
        twin.answer = lambda call, data: call.finish(status="Failed", error={"message": "E: no", "trace": "where"})
        kvern("call", "pump")

        shown = kvern("calls", "show", "2").out.splitlines()

        assert shown[-8:] == [
            *("verdict: raised", "queueSeconds: 0.25 s", "cpuSeconds: 1.5 s", "peakMemory: 12 MB", "cold: no"),
            *("attempt: 1", "error: E: no", "where"),
        ]
        assert json.loads(kvern("calls", "show", "2", "--json").out)["outcome"]["cpuSeconds"] == 1.5
        assert kvern("calls", "show", "99").err.startswith("kvern: no call has the id 99")

    def test_the_attempts_of_a_call_are_shown_each_with_its_figures(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("pump")
        kvern("call", "pump")
        failed = {"verdict": "raised", "queueSeconds": 0.5, "cpuSeconds": 0.1, "peakMemory": 9e6, "worker": "a/1"}
        start = 1_700_000_000_000
        twin.attempts[2] = [
            {
                "attempt": 1,
                "startTime": start,
                "endTime": start + 700,
                "outcome": failed,
                "error": {"message": "E: no"},
            },
            {"attempt": 2, "startTime": start + 5000},
        ]

        *_, empty, head, first, second = kvern("calls", "show", "2").out.splitlines()

        assert (empty, head.split()[:2]) == ("", ["ATTEMPT", "VERDICT"])
        assert first.split()[:2] == ["1", "raised"]
        assert " ".join(first.split()[4:]) == "700 ms 0.5 s - 0.1 s 9 MB a/1 E: no"
        assert second.split()[:2] == ["2", "-"]
        assert second.split()[4:] == ["-"] * 6
        assert json.loads(kvern("calls", "show", "2", "--json").out)["attempts"] == twin.attempts[2]


class TestLogs:
    @pytest.fixture
    def call(self, twin: Twin) -> Call:
        twin.add("never called")
        twin.answer = lambda call, data: None
        call = twin.call(twin.add("pump", "pump").id, {}, wait=False)
        call.lines = ["one", "two"]
        return call

    @pytest.mark.parametrize("extra", [(), ("--function", "pump")])
    def test_a_call_is_found_by_its_id_alone(self, kvern: Kvern, call: Call, extra: tuple[str, ...]) -> None:
        assert kvern("logs", str(call.id), *extra).out == "one\ntwo\n"

    def test_a_function_means_its_newest_call(self, twin: Twin, kvern: Kvern, call: Call) -> None:
        newer = twin.call(call.function_id, {}, wait=False)
        newer.lines = ["newer"]

        assert kvern("logs", "pump").out == "newer\n"

    def test_following_ends_with_the_call(self, kvern: Kvern, call: Call) -> None:
        def last(call: Call) -> None:
            call.lines.append("three")
            call.finish(status="Failed")

        call.script = [lambda call: None, last]

        ran = kvern("logs", str(call.id), "--follow")

        assert (ran.code, ran.out) == (1, "one\ntwo\nthree\n")
        assert ran.err == f"kvern: call {call.id} ended as Failed\n"

    def test_json_is_a_document_a_line(self, kvern: Kvern, call: Call) -> None:
        lines = [json.loads(line) for line in kvern("logs", str(call.id), "--json").out.splitlines()]

        assert lines == [{"message": text, "timestamp": 1_700_000_000_000} for text in ("one", "two")]

    def test_one_attempt_has_its_own_lines(self, twin: Twin, kvern: Kvern, call: Call) -> None:
        twin.attempts[call.id] = [{"lines": ["one"]}, {"lines": ["two"]}]

        assert kvern("logs", str(call.id), "--attempt", "2").out == "two\n"
        assert kvern("logs", str(call.id), "--attempt", "2", "--follow").code == 2

    def test_timestamps_stand_before_the_lines(self, kvern: Kvern, call: Call) -> None:
        assert kvern("logs", str(call.id), "--timestamps").out.splitlines()[0].endswith(" one")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("99",), "no function has the external id, the name or the id '99'"),
            (("99", "--function", "pump"), "pump has no call 99; `kvern calls pump` lists them"),
            (("never called",), "never called was never called; call it: kvern call never called"),
        ],
    )
    def test_what_is_not_there_is_said(
        self, kvern: Kvern, call: Call, arguments: tuple[str, ...], message: str
    ) -> None:
        ran = kvern("logs", *arguments)

        assert ran.code == 1
        assert message in ran.err


class TestSchedules:
    def test_one_is_made_listed_and_deleted(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("Pump", "pump")

        made = kvern("schedules", "create", "often", "* * * * *", "--function", "pump", "--data", '{"a": 1}')
        (schedule,) = twin.made_schedules.values()
        assert (made.code, made.out) == (0, f"often calls pump: Every minute (id {schedule.id})\n")
        assert schedule.data == {"a": 1}

        assert kvern("schedules").out.splitlines()[1].split("  ")[:2] == ["often", "pump"]
        assert json.loads(kvern("schedules", "--json").out)[0]["cronExpression"] == "* * * * *"

        assert kvern("schedules", "delete", "often").out == "often is deleted\n"
        assert not twin.made_schedules

    def test_only_those_of_a_function(self, twin: Twin, kvern: Kvern) -> None:
        for name in ("one", "two"):
            twin.add(name)
            kvern("schedules", "create", f"of-{name}", "* * * * *", "--function", name)

        assert [one["name"] for one in json.loads(kvern("schedules", "--function", "two", "--json").out)] == ["of-two"]

    def test_a_name_that_two_have_is_refused_with_their_ids(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("pump")
        for _ in range(2):
            kvern("schedules", "create", "often", "* * * * *", "--function", "pump")
        one, two = twin.made_schedules

        ran = kvern("schedules", "delete", "often")

        assert (ran.code, len(twin.made_schedules)) == (1, 2)
        assert f"{one}, {two}" in ran.err
        assert kvern("schedules", "delete", str(one)).code == 0
        assert list(twin.made_schedules) == [two]

    def test_policies_are_sent_when_they_are_given(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("pump")
        rule = ("* * * * *", "--function", "pump")
        kvern("schedules", "create", "plain", *rule)
        policies = ("--time-zone", "Europe/Oslo", "--missed", "last", "--missed-window", "60", "--overlap", "queue")
        assert kvern("schedules", "create", "careful", *rule, *policies).code == 0
        plain, careful = twin.made_schedules.values()
        assert plain.policies == {}
        assert careful.policies == {"timeZone": "Europe/Oslo", "missed": "last", "missedWindow": 60, "overlap": "queue"}
        assert kvern("schedules", "create", "odd", *rule, "--overlap", "maybe").code == 2

    def test_several_are_paused_and_resumed(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("pump")
        for name in ("one", "two"):
            kvern("schedules", "create", name, "* * * * *", "--function", "pump")
        one, two = twin.made_schedules.values()

        assert kvern("schedules", "pause", "one", str(two.id), "one").out == "one is paused\ntwo is paused\n"
        assert kvern("schedules", "resume", "one").out == "one is resumed\n"
        assert (one.policies, two.policies) == ({}, {"pausedTime": 1_700_000_000_000})
        for verb in ("pause", "resume"):
            assert kvern("schedules", verb).code == 2
            assert "no schedule" in kvern("schedules", verb, "three").err

    def test_how_its_times_ended(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("pump")
        kvern("schedules", "create", "often", "* * * * *", "--function", "pump")
        (schedule,) = twin.made_schedules
        twin.ticks[schedule] = []
        assert "No time of often has passed" in kvern("schedules", "ticks", "often").err

        twin.page_most = 1
        twin.ticks[schedule] = [
            {"dueTime": 180_000, "outcome": "queued", "reason": "call 7 still ran"},
            {"dueTime": 120_000, "outcome": "skipped", "reason": "the schedule is paused"},
            {"dueTime": 60_000, "outcome": "ran", "firedTime": 60_004, "callId": 7},
        ]
        _, queued, skipped, ran = kvern("schedules", "ticks", "often").out.splitlines()
        assert queued.split()[2:] == ["queued", "-", "-", "call", "7", "still", "ran"]
        assert skipped.endswith("the schedule is paused")
        assert ran.split()[2:] == ["ran", "4", "ms", "7"]
        chosen = kvern("schedules", "ticks", "often", "--outcome", "ran", "queued", "--json")
        assert [one["outcome"] for one in json.loads(chosen.out)] == ["queued", "ran"]
        assert len(json.loads(kvern("schedules", "ticks", "often", "--limit", "2", "--json").out)) == 2
        assert kvern("schedules", "ticks", "often", "--limit", "0").code == 2


class TestBuilds:
    def test_the_lock_can_be_installed_elsewhere(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("trend", "trend")

        assert kvern("lock", "trend").out == "# trend, Python 3.11.7\nsix==1.17.0 \\\n    --hash=sha256:ab\n"
        assert json.loads(kvern("lock", "trend", "--json").out)["environment"] == "e"

    def test_the_log_of_a_build(self, twin: Twin, kvern: Kvern) -> None:
        twin.build_log = ["one", "two"]
        function = twin.add("trend", "trend")
        function.fail("no")

        assert kvern("functions", "log", "trend").out == "one\ntwo\n"
        followed = kvern("functions", "log", "trend", "--follow", "--json")
        assert [json.loads(line)["message"] for line in followed.out.splitlines()] == ["one", "two"]
        assert followed.code == 1

    def test_a_service_that_keeps_no_log_of_builds(self, twin: Twin, kvern: Kvern) -> None:
        twin.add("trend", "trend").status = "Ready"

        ran = kvern("functions", "log", "trend", "--follow")

        assert ran.code == 1
        assert "keeps no logs of builds" in ran.err
