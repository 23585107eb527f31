# SPDX-License-Identifier: Apache-2.0
"""The tick: one pass of observe -> diagnose -> propose -> guard -> act -> record over all experiments.

Short, idempotent, one at a time for each experiment. An exception in one experiment never stops the others; what
could not be seen is said, and nothing that depends on it is done. The deterministic pass over all experiments comes
first, and a language model is asked in the time that is left: one that hangs never delays the answer to a dead job.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ade_hpc.agent.situation import Judgement
from ade_hpc.errors import AdeError, SchedulerSilent, StoreError, SubmitUnclear
from ade_hpc.launch.plan import open_plans
from ade_hpc.metrics.collect import collect
from ade_hpc.metrics.series import Curves
from ade_hpc.model import Decision, Health
from ade_hpc.policy.diagnose import diagnose
from ade_hpc.policy.health import is_trouble
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.scheduler.base import Scheduler
from ade_hpc.spec.preferences import Preferences, check_ownership, load_preferences
from ade_hpc.spec.site import Site
from ade_hpc.store.inbox import messages
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.lease import lease
from ade_hpc.store.ledger import append, read_ledger
from ade_hpc.supervisor.act import Actor
from ade_hpc.supervisor.advice import ADVICE, advice_on, charge_late, heed
from ade_hpc.supervisor.consult import Pending, consult, open_question, open_since
from ade_hpc.supervisor.evidence import last_words
from ade_hpc.supervisor.experiment import Supervised, known_experiment, load_supervised
from ade_hpc.supervisor.observe import Look, look
from ade_hpc.supervisor.record import describe, record_tick, remember_decision
from ade_hpc.supervisor.reports import CLEAN, DEGRADED, FAILED, PERSON_NEEDED, Report, code_of, unexpected, unjudged
from ade_hpc.supervisor.tell import Tale, note_audience, tell
from ade_hpc.supervisor.think import think
from ade_hpc.supervisor.wishes import put_up, settle

MODEL_TIME_S = 240.0  # from the start of the tick; well within the lease
LEAST_MODEL_TIME_S = 5.0


def _nobody(pending: Pending) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Ticker:
    """What a tick needs from outside: the site, the schedulers, and somebody who listens to the steps.

    llm: False leaves every question open for a later tick, on a machine that can reach a model.
    holds: files whose existence pauses every experiment. leave_open: told every question that nobody is asked.
    others: the user's further experiments, which this tick leaves alone; they count for the caps of the site.
    """

    site: Site
    open_scheduler: Callable[[str], Scheduler]
    announce: Callable[[str], None]
    dry_run: bool = False
    llm: bool = True
    holds: tuple[Path, ...] = ()
    leave_open: Callable[[Pending], None] = _nobody
    others: tuple[ExperimentDir, ...] = ()

    def tick(self, folders: Sequence[ExperimentDir]) -> list[Report]:
        """One pass; a report for each experiment, in the order given."""
        if shutil.which("git") is None:
            raise StoreError("git is not on PATH: no change could be committed; install it or load its module")
        self_id, started = secrets.token_hex(4), time.monotonic()
        reports: dict[str, Report] = {}
        with ExitStack() as leases:
            supervised = [one for folder in folders if (one := self._enter(folder, leases, reports)) is not None]
            others = [one for folder in self.others if (one := known_experiment(folder)) is not None]
            seen = look(supervised, self.open_scheduler, others=others)
            passes: list[Pending | None] = []
            for one in supervised:
                passes.append(self._one(one, seen, reports, self_id))
                seen = seen.after(one)
            for pending in sorted(filter(None, passes), key=open_since):
                left = started + MODEL_TIME_S - time.monotonic()
                fresh = replace(pending, snapshot=seen.renew(pending.snapshot))
                reports[pending.one.name] = self._ask(fresh, reports[pending.one.name], self_id, left)
                seen = seen.after(pending.one)
            for one in () if self.dry_run else supervised:
                reports[one.name] = self._publish(one, reports[one.name])
            if not self.dry_run:
                reports |= _tell([reports[one.name] for one in supervised], [one.folder for one in supervised])
        return [reports[folder.name] for folder in folders]

    # --- before the look ---

    def _enter(self, folder: ExperimentDir, leases: ExitStack, reports: dict[str, Report]) -> Supervised | None:
        """Load one experiment, read its inbox and finish what an earlier process left open."""
        try:
            if not leases.enter_context(lease(folder, now=time.time())):
                reports[folder.name] = Report(folder.name, problems=("another tick is at work on it",))
                return None
            one = load_supervised(folder, self.holds)
            if one.ledger.two_writers:
                problem = f"{folder.ledger}: two writers were at work; look at it, then submit under another name"
                reports[folder.name] = Report(folder.name, problems=(problem,), code=PERSON_NEEDED)
                return None
            if self.dry_run:
                return one
            return self._settle(one, reports)
        except AdeError as error:
            reports[folder.name] = Report(folder.name, problems=(str(error),), code=error.exit_code)
        except Exception as error:  # noqa: BLE001 - one experiment must not stop the others
            reports[folder.name] = unexpected(folder.name, error)
        return None

    def _settle(self, one: Supervised, reports: dict[str, Report]) -> Supervised:
        for message in messages(one.folder):
            if message.kind == ADVICE:
                continue  # waits for its question
            append(one.folder.ledger, message.kind, {**message.data, "asked_at": message.time}, now=time.time())
            message.path.unlink(missing_ok=True)
        charge_late(one.folder, one.ledger)
        problems = self._actor(one).finish_open_plans()
        if problems:
            reports[one.name] = Report(one.name, problems=tuple(problems), code=DEGRADED)
        return load_supervised(one.folder, self.holds)

    # --- one experiment ---

    def _one(self, one: Supervised, seen: Look, reports: dict[str, Report], tick: str) -> Pending | None:
        """The deterministic pass; returns the question that it leaves open."""
        before = reports.get(one.name, Report(one.name))
        try:
            snapshot = seen.snapshot(one, _read_curves)
            if snapshot is None:
                reports[one.name] = before
                return None
            after, pending = self._pass(one, snapshot, tick)
            reports[one.name] = replace(
                after, problems=(*before.problems, *after.problems), code=max(before.code, after.code)
            )
            return pending
        except AdeError as error:
            reports[one.name] = replace(before, problems=(*before.problems, str(error)), code=error.exit_code)
        except Exception as error:  # noqa: BLE001 - one experiment must not stop the others
            reports[one.name] = unexpected(one.name, error)
        return None

    def _pass(self, one: Supervised, snapshot: Snapshot, tick: str) -> tuple[Report, Pending | None]:
        preferences = _preferences(one)
        health, findings = diagnose(snapshot, preferences)
        thought = think(snapshot, health, findings, preferences, self.site, one.ledger)
        decision, wish, pending = thought.decision, thought.wish, None
        if thought.asked is not None:
            pending = Pending(one, snapshot, health, findings, preferences, thought.asked)
        evidence = _evidence(one, snapshot, health, decision)
        report = Report(
            one.name, health, snapshot.attempt, findings, decision, problems=snapshot.degraded, evidence=evidence,
            question=pending.question.why if pending else "",
            code=code_of(
                snapshot, health, findings, decision,
                proposed=thought.proposed, waits=thought.begun or pending is not None,
            ),
        )  # fmt: skip
        if self.dry_run:
            return report, None
        note_audience(one.folder, one.ledger, preferences.notify, now=snapshot.now)
        sha256 = preferences.sha256
        record_tick(
            one.folder, snapshot, health, findings, decision, preferences_sha256=sha256, tick=tick, evidence=evidence
        )
        if pending is not None:
            open_question(pending)
        if wish is not None and decision is not None:
            settle(one.folder, wish, decision, now=snapshot.now)
        return self._act(one, snapshot, report, preferences, tick), pending

    def _ask(self, pending: Pending, report: Report, tick: str, seconds: float) -> Report:
        """Put a question to the model, in so many seconds, and carry out what the guard lets through."""
        agent, advice = pending.preferences.agent, advice_on(pending)
        if advice is None and (not self.llm or agent is None or agent.where == "laptop"):
            self.leave_open(pending)
            return report
        try:
            if advice is not None:
                return self._after(pending, report, tick, heed(pending, advice, self.site, tick=tick))
            if seconds < LEAST_MODEL_TIME_S:
                return unjudged(report, "this tick had no time left for it", DEGRADED)
            return self._after(pending, report, tick, consult(pending, self.site, tick=tick, seconds=seconds))
        except AdeError as error:
            return unjudged(report, str(error), error.exit_code)
        except Exception as error:  # noqa: BLE001 - one experiment must not stop the others
            return unexpected(report.name, error)

    def _after(self, pending: Pending, report: Report, tick: str, judgement: Judgement) -> Report:
        if judgement.outcome != "answered":
            return unjudged(report, judgement.text, DEGRADED if judgement.outcome == "failed" else PERSON_NEEDED)
        one, snapshot, decision = load_supervised(pending.one.folder), pending.snapshot, judgement.decision
        if one.attempt is None or one.attempt.number != snapshot.attempt or open_plans(one.ledger):
            return unjudged(report, "another attempt was made or begun meanwhile", CLEAN)
        if decision is not None and decision.outcome != "refuse":
            decision = pending.judge(decision.proposal, self.site)
        code = code_of(snapshot, pending.health, pending.findings, decision)
        report = replace(report, question="", decision=decision, code=max(report.code, code))
        return self._act(one, snapshot, report, pending.preferences, tick)

    def _act(self, one: Supervised, snapshot: Snapshot, report: Report, preferences: Preferences, tick: str) -> Report:
        decision = report.decision
        if decision is None:
            return report
        if decision.outcome == "propose" and decision.proposal.action != "ask":
            put_up(one.folder, read_ledger(one.folder.ledger), snapshot.attempt, decision.proposal)
        remember_decision(one.folder, snapshot.attempt, decision, now=time.time())
        if decision.outcome != "allow" or decision.proposal.action == "ask":
            return report
        actor = self._actor(one)
        try:
            if decision.proposal.action == "stop":
                actor.stop(snapshot, decision.proposal, now=snapshot.now)
                return replace(report, done="stopped")
            job_id = actor.replace_attempt(snapshot, decision.proposal, preferences, tick=tick)
        except (SubmitUnclear, SchedulerSilent) as error:
            return replace(report, problems=(*report.problems, str(error)), code=max(report.code, DEGRADED))
        except AdeError as error:
            return replace(report, problems=(*report.problems, str(error)), code=max(report.code, FAILED))
        return replace(report, done=f"resubmitted as job {job_id}: {describe(decision.proposal)}")

    def _publish(self, one: Supervised, report: Report) -> Report:
        """After everything else: a remote may be slow, and nothing that runs depends on it."""
        try:
            problem = self._actor(one).publish(now=time.time())
        except Exception as error:  # noqa: BLE001 - one experiment must not stop the others
            return unexpected(report.name, error)
        if not problem:
            return report
        return replace(report, problems=(*report.problems, problem), code=max(report.code, DEGRADED))

    def _actor(self, one: Supervised) -> Actor:
        return Actor(one, self.site, self.open_scheduler(one.scheduler), self.announce)


def _preferences(one: Supervised) -> Preferences:
    """Read at each tick from the path recorded at submit. Raises SpecError where they are wrong or not the user's."""
    path = one.experiment.preferences
    if path is None:
        return Preferences()
    check_ownership(path)
    return load_preferences(path)


def _read_curves(one: Supervised, attempt: AttemptDir) -> Curves:
    """What the attempt has logged so far; only the bytes that are new since the last tick are read."""
    return collect(attempt.starts(), one.folder.curves / attempt.path.name)


def _evidence(one: Supervised, snapshot: Snapshot, health: Health, decision: Decision | None) -> tuple[str, ...]:
    """What a person wants to read first who is asked about a job that has ended."""
    asked = decision is not None and decision.proposal.action == "ask"
    if not asked or health.verdict != "ended" or not is_trouble(health):
        return ()
    return last_words(one.folder.attempt(snapshot.attempt), snapshot)


def _tell(reports: Sequence[Report], folders: Sequence[ExperimentDir]) -> dict[str, Report]:
    """Last of all, and whatever fails in it only makes the tick degraded."""
    tales = [
        Tale(folder, report.code in (FAILED, PERSON_NEEDED), report.problems)
        for folder, report in zip(folders, reports, strict=True)
    ]
    try:
        failed = tell(tales, os.environ)
    except Exception as error:  # noqa: BLE001 - nothing that runs depends on who hears of it
        failed = {report.name: [f"nobody could be told ({type(error).__name__}: {error})"] for report in reports}
    return {
        report.name: replace(report, problems=(*report.problems, *failed[report.name]), code=max(report.code, DEGRADED))
        for report in reports
        if report.name in failed
    }
