# SPDX-License-Identifier: Apache-2.0
"""Act: the only room with side effects on cluster and git. What comes here has passed the guard."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ade_hpc.errors import AdeError, RepoError, SchedulerSilent, StoreError, SubmitUnclear
from ade_hpc.launch.launcher import Launcher
from ade_hpc.launch.lineage import next_attempt
from ade_hpc.launch.parent import best, last_healthy
from ade_hpc.launch.plan import OpenPlan, Plan, fact, new_token, open_plans
from ade_hpc.model import Proposal
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.repo.branch import open_project, tip
from ade_hpc.repo.push import push_branch
from ade_hpc.scheduler.base import Scheduler
from ade_hpc.spec.preferences import Preferences
from ade_hpc.spec.request import as_options
from ade_hpc.spec.site import Site
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.ledger import append, read_ledger
from ade_hpc.store.records import ParentRecord, load_attempt, supersede, superseded_by
from ade_hpc.supervisor.experiment import Supervised

NODE_LIST = re.compile(r"(?:[^,\[]|\[[^]]*\])+")  # a comma between brackets parts no nodes: n[1,3]


@dataclass(frozen=True)
class Actor:
    """Carries out decisions on one experiment."""

    one: Supervised
    site: Site
    scheduler: Scheduler
    announce: Callable[[str], None]

    def replace_attempt(self, snapshot: Snapshot, proposal: Proposal, preferences: Preferences, *, tick: str) -> str:
        """A new attempt in place of the current one; returns its job id. See Launcher for the order of things."""
        self._refuse_if_paused()
        current = self.one.folder.attempt(snapshot.attempt)
        record = load_attempt(current)
        if record is None:
            raise StoreError(f"{current.record}: is missing or damaged; nothing was changed")
        number = next_attempt(self.one.folder)
        finding = proposal.finding
        plan = Plan(
            attempt=number,
            token=new_token(self.one.name, number),
            scheduler=self.one.scheduler,
            author=proposal.author,
            reason=proposal.reason,
            base=tip(open_project(self.one.experiment.root), self.one.name),
            source=record.commit,
            changes=proposal.changes,
            resume=proposal.resume,
            parent=self._parent(current, snapshot, proposal, preferences),
            replaces=snapshot.attempt,
            directives=self._directives(snapshot, proposal),
            trailers={"Ade-Tick": tick, **({"Ade-Finding": f"{finding.kind} in {finding.tag}"} if finding else {})},
        )
        launcher = self.launcher()
        launcher.begin(plan)
        return launcher.carry_out(plan)

    def finish_open_plans(self) -> list[str]:
        """Finish what was cut off; returns what could not be finished yet, one sentence each."""
        if paused_by := self.one.paused_by():
            begun = (open_plan.plan.attempt for open_plan in open_plans(self.one.ledger))
            return [f"attempt {attempt} was begun and waits: paused by {paused_by}" for attempt in begun]
        return [problem for open_plan in open_plans(self.one.ledger) if (problem := self._finish(open_plan))]

    def publish(self, *, now: float) -> str:
        """Push the experiment's branch where a remote is named; returns what went wrong, empty where nothing did.

        What runs does not depend on it, so a remote that is away delays nothing: the next tick tries again.
        """
        remote, ledger = self.one.experiment.push, self.one.folder.ledger
        if remote == "never":
            return ""
        try:
            if push_branch(open_project(self.one.experiment.root), self.one.name, remote):
                append(ledger, "pushed", {"remote": remote}, now=now)
        except RepoError as error:
            return str(error)
        return ""

    def stop(self, snapshot: Snapshot, proposal: Proposal, *, now: float) -> None:
        """End the experiment: tombstone, scancel, fact. It stays ended until a person submits it again."""
        self._refuse_if_paused()
        attempt = self.one.folder.attempt(snapshot.attempt)
        append(self.one.folder.ledger, "stop", {"attempt": snapshot.attempt, "author": proposal.author}, now=now)
        supersede(attempt, proposal.author)
        job = self.launcher().job_of(snapshot.attempt)
        if job is not None:
            self.scheduler.cancel(job)
        append(self.one.folder.ledger, "stopped", {"attempt": snapshot.attempt, "reason": proposal.reason}, now=now)

    def launcher(self) -> Launcher:
        return Launcher(self.one.folder, self.one.experiment, self.site, self.scheduler, self.announce)

    def _refuse_if_paused(self) -> None:
        """The guard has looked, but a model may have thought for minutes since: a HOLD counts at once."""
        if paused_by := self.one.paused_by():
            raise AdeError(f"paused by {paused_by} just now: nothing was changed")

    def _finish(self, open_plan: OpenPlan) -> str:
        plan = open_plan.plan
        cancelled = superseded_by(self.one.folder.attempt(plan.attempt)) == "cancel"
        try:
            job_id = self.launcher().carry_out(plan)
            if cancelled and (job := self.launcher().job_of(plan.attempt)) is not None:
                self.scheduler.cancel(job)
            return "" if job_id else f"attempt {plan.attempt} has no job"
        except (SubmitUnclear, SchedulerSilent) as error:
            return str(error)
        except AdeError as error:
            refused = fact(read_ledger(self.one.folder.ledger), "refused", plan.attempt)
            return f"attempt {plan.attempt} {'was given up' if refused else 'is not finished yet'}: {error}"

    def _directives(self, snapshot: Snapshot, proposal: Proposal) -> dict[str, str | int | bool]:
        """What the current attempt asks of Slurm beyond its experiment, and what the proposal adds to that.

        Nodes on which several experiments died are kept out, whoever proposes.
        """
        before, asked = self.one.plan(snapshot.attempt).directives, as_options(proposal.resources)
        asked["exclude"] = ",".join(dict.fromkeys(self._kept_out(before, snapshot, proposal)))
        return {name: value for name, value in {**before, **asked}.items() if name != "exclude" or value}

    def _kept_out(self, before: Mapping[str, object], snapshot: Snapshot, proposal: Proposal) -> list[str]:
        """Nodes: the experiment's own, and those that we keep out, unless Slurm has just refused what we asked for:
        they may be all that there are."""
        own = str(self.one.experiment.exclude or "")
        ours = [str(before.get("exclude") or ""), *proposal.exclude_nodes, *snapshot.past.suspects]
        named = ",".join([own, *([] if snapshot.past.refusals else ours)])
        return [node for node in NODE_LIST.findall(named) if node]

    def _parent(
        self, current: AttemptDir, snapshot: Snapshot, proposal: Proposal, preferences: Preferences
    ) -> ParentRecord | None:
        checkpoint = self.one.experiment.checkpoint
        if checkpoint is None or proposal.resume == "none":
            return None
        if proposal.resume == "best" and preferences.objective is not None:
            series = snapshot.curves.series.get(preferences.objective.tag)
            if series is not None and len(series):
                return best(current, checkpoint.pattern, checkpoint.complete, series, preferences.objective.goal)
        onset = proposal.finding.onset if proposal.finding else None
        found = last_healthy(current, checkpoint.pattern, checkpoint.complete, onset)
        return replace(found, weights_only=True) if found and proposal.resume == "weights" else found
