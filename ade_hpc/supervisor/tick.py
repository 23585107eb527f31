# SPDX-License-Identifier: Apache-2.0
"""The tick: one pass of observe -> diagnose -> propose -> guard -> act -> record over all experiments.

Short, idempotent, one at a time for each experiment. An exception in one experiment never stops the others; what
could not be seen is said, and nothing that depends on it is done.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from ade_hpc.errors import AdeError, SchedulerSilent, StoreError, SubmitUnclear
from ade_hpc.metrics.collect import collect
from ade_hpc.metrics.series import Curves
from ade_hpc.model import Decision, Finding, Health
from ade_hpc.policy.diagnose import diagnose
from ade_hpc.policy.guard import judge
from ade_hpc.policy.rules import propose
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.scheduler.base import Scheduler
from ade_hpc.spec.preferences import Preferences, check_ownership, load_preferences
from ade_hpc.spec.site import Site
from ade_hpc.store.inbox import messages
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.lease import lease
from ade_hpc.store.ledger import append
from ade_hpc.supervisor.act import Actor
from ade_hpc.supervisor.experiment import Supervised, load_supervised
from ade_hpc.supervisor.observe import Look, look
from ade_hpc.supervisor.record import describe, record_tick, remember

CLEAN, FAILED, DEGRADED, PERSON_NEEDED = 0, 1, 3, 4


@dataclass(frozen=True)
class Report:
    """What one tick has to say of one experiment. ``code`` is the exit code that this experiment asks for."""

    name: str
    health: Health = field(default_factory=lambda: Health("unknown"))
    attempt: int | None = None
    findings: tuple[Finding, ...] = ()
    decision: Decision | None = None
    done: str = ""
    problems: tuple[str, ...] = ()
    code: int = CLEAN


@dataclass(frozen=True)
class Ticker:
    """What a tick needs from outside: the site, the schedulers, and somebody who listens to the steps."""

    site: Site
    open_scheduler: Callable[[str], Scheduler]
    announce: Callable[[str], None]
    dry_run: bool = False

    def tick(self, folders: Sequence[ExperimentDir]) -> list[Report]:
        """One pass; a report for each experiment, in the order given."""
        if shutil.which("git") is None:
            raise StoreError("git is not on PATH: no change could be committed; install it or load its module")
        self_id = secrets.token_hex(4)
        reports: dict[str, Report] = {}
        with ExitStack() as leases:
            supervised = [one for folder in folders if (one := self._enter(folder, leases, reports)) is not None]
            seen = look(supervised, self.open_scheduler)
            for one in supervised:
                self._one(one, seen, reports, self_id)
        return [reports[folder.name] for folder in folders]

    # --- before the look ---

    def _enter(self, folder: ExperimentDir, leases: ExitStack, reports: dict[str, Report]) -> Supervised | None:
        """Load one experiment, read its inbox and finish what an earlier process left open."""
        try:
            if not leases.enter_context(lease(folder, now=time.time())):
                reports[folder.name] = Report(folder.name, problems=("another tick is at work on it",))
                return None
            one = load_supervised(folder)
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
            reports[folder.name] = _unexpected(folder.name, error)
        return None

    def _settle(self, one: Supervised, reports: dict[str, Report]) -> Supervised:
        for message in messages(one.folder):
            append(one.folder.ledger, message.kind, {**message.data, "asked_at": message.time}, now=time.time())
            message.path.unlink(missing_ok=True)
        problems = self._actor(one).finish_open_plans()
        if problems:
            reports[one.name] = Report(one.name, problems=tuple(problems), code=DEGRADED)
        return load_supervised(one.folder)

    # --- one experiment ---

    def _one(self, one: Supervised, seen: Look, reports: dict[str, Report], tick: str) -> None:
        before = reports.get(one.name, Report(one.name))
        try:
            snapshot = seen.snapshot(one, _read_curves)
            if snapshot is None:
                reports[one.name] = before
                return
            after = self._pass(one, snapshot, tick)
            reports[one.name] = replace(
                after, problems=(*before.problems, *after.problems), code=max(before.code, after.code)
            )
        except AdeError as error:
            reports[one.name] = replace(before, problems=(*before.problems, str(error)), code=error.exit_code)
        except Exception as error:  # noqa: BLE001 - one experiment must not stop the others
            reports[one.name] = _unexpected(one.name, error)

    def _pass(self, one: Supervised, snapshot: Snapshot, tick: str) -> Report:
        preferences = _preferences(one)
        health, findings = diagnose(snapshot, preferences)
        proposal = propose(snapshot, health, findings, preferences)
        decision = judge(proposal, snapshot, health, findings, preferences, self.site) if proposal is not None else None
        report = Report(
            one.name, health, snapshot.attempt, findings, decision, problems=snapshot.degraded,
            code=_code(snapshot, health, findings, decision),
        )  # fmt: skip
        if self.dry_run:
            return report
        sha256 = preferences.sha256
        record_tick(one.folder, snapshot, health, findings, decision, preferences_sha256=sha256, tick=tick)
        return self._act(one, snapshot, report, preferences, tick)

    def _act(self, one: Supervised, snapshot: Snapshot, report: Report, preferences: Preferences, tick: str) -> Report:
        decision = report.decision
        if decision is None:
            return report
        _remember(one, snapshot, decision)
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

    def _actor(self, one: Supervised) -> Actor:
        return Actor(one, self.site, self.open_scheduler(one.scheduler), self.announce)


def exit_code(reports: Sequence[Report]) -> int:
    """The worst that any experiment asks for: a person is needed, then degraded, then failed."""
    return max((report.code for report in reports), default=CLEAN)


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


def _code(snapshot: Snapshot, health: Health, findings: Sequence[Finding], decision: Decision | None) -> int:
    """4 where a person must look: a run that fails and nothing will be done about it."""
    if snapshot.degraded or health.verdict == "unknown":
        return DEGRADED
    acted = decision is not None and decision.outcome in ("allow", "propose") and decision.proposal.action != "ask"
    failing = any(finding.severity == "intervene" for finding in findings)
    died = health.verdict in ("lost", "stalled") or (
        health.verdict == "ended" and health.cause not in ("completed", "cancelled", "superseded")
    )
    watched_only = decision is not None and decision.outcome == "observe"
    return PERSON_NEEDED if (failing or died) and not acted and not watched_only else CLEAN


def _remember(one: Supervised, snapshot: Snapshot, decision: Decision) -> None:
    proposal = decision.proposal
    lead = {
        "allow": f"Attempt {snapshot.attempt}: {describe(proposal)}.",
        "observe": f"Attempt {snapshot.attempt}: would have done: {describe(proposal)} (mode: observe).",
        "propose": f"Attempt {snapshot.attempt}: proposes: {describe(proposal)} (waits for approval).",
        "refuse": f"Attempt {snapshot.attempt}: refused: {describe(proposal)}; {'; '.join(decision.refusals)}.",
    }[decision.outcome]
    remember(one.folder, proposal.author, f"{lead} Why: {proposal.reason}", now=snapshot.now)


def _unexpected(name: str, error: Exception) -> Report:
    """A fault of ours must not stop the other experiments, and must not look like health."""
    said = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return Report(name, problems=(f"ade-hpc failed on this experiment ({said}); please report it",), code=FAILED)
