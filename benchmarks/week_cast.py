# SPDX-License-Identifier: Apache-2.0
"""Who takes part in the week: experiments of every kind, each a project in git with wishes of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.project import make_project

HEALTHY, TOO_HOT = 0.05, 0.5
STEP_S = 0.2
LONG = 100_000  # steps: longer than any week
LIVE_CAP, SUBMISSIONS_CAP = 12, 60
TOKENS_A_DAY = 30_000
GITCONFIG = "[user]\n\tname = A Researcher\n\temail = researcher@example.org\n[init]\n\tdefaultBranch = main\n"

PREFERENCES = """# What I want

Get the accuracy up. When the loss explodes, lower the learning rate.

```yaml
objective: {{tag: accuracy/val, goal: max, target: 0.97}}
tunables: {{optimizer.lr: {{min: 1.0e-4, max: 1.0, max_factor: 20, tag: lr}}}}
limits: {limits}
{more}
```
"""
RULE = "rules: [{name: diverged, when: [nan, diverging], do: {scale: {optimizer.lr: 0.1}, resume: last-healthy}}]"
AGENT = "agent: {ask: on-finding, model: scripted}"


@dataclass(frozen=True)
class Member:
    """One experiment. lr: above 0.1 its loss explodes after ``hot_from`` steps. slurm: fields of experiment.yaml.

    late: it is submitted only once the site's cap of live attempts lets it in.
    """

    name: str
    slurm: Mapping[str, Any] = field(default_factory=dict)
    lr: float = HEALTHY
    hot_from: int = 150
    config: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    more: str = RULE
    late: bool = False

    @property
    def bounds(self) -> dict[str, Any]:
        return {"mode": "auto", "max_attempts": 8, "cooldown": "5s", "gpu_hours": 4.0, **self.limits}


CAST = (
    Member("steady"),
    Member("explodes", lr=TOO_HOT, hot_from=200),
    Member("side-explodes", {"partition": "side"}, lr=TOO_HOT, hot_from=500),
    Member("spot", {"partition": "spot"}),
    Member("spotkill", {"partition": "spotkill"}),
    Member("requeues", {"time": "4"}),
    Member("times-out", {"time": "3", "sbatch": {"no-requeue": True}}),
    Member("crashes", config={"exit_at": 300, "exit_with": 3}),
    Member("asks-a-model", {"partition": "spot"}, lr=TOO_HOT, more=AGENT, limits={"llm_tokens_per_day": TOKENS_A_DAY}),
    Member("few-attempts", limits={"max_attempts": 2}),
    Member("short", config={"steps": 1500}, late=True),
    Member("few-hours", {"time": "6", "sbatch": {"no-requeue": True}}, limits={"gpu_hours": 0.15}, late=True),
    Member("only-proposes", lr=TOO_HOT, limits={"mode": "propose"}, late=True),
    Member("only-watches", lr=TOO_HOT, limits={"mode": "observe"}, late=True),
)


def write_project(member: Member, root: Path) -> Path:
    """Its folder with git repository, trainer and the three files; returns experiment.yaml."""
    resources = {"partition": "main", "time": "15", "mem": "200M", "cpus_per_task": 1, "gpus_per_node": 1}
    config = {"optimizer": {"lr": member.lr}, "steps": LONG, "hot_from": member.hot_from, "step_s": STEP_S}
    project = make_project(
        root / member.name,
        kind="slurm",
        experiment={"name": member.name, **resources, **member.slurm},
        config={**config, **member.config},
    )
    limits = yaml.safe_dump(member.bounds, default_flow_style=True).strip()
    project.write("preferences.md", PREFERENCES.format(limits=limits, more=member.more))
    project.commit("what I want")
    return project.path / "experiment.yaml"


def write_site(root: Path, llm_url: str) -> Path:
    """The site file of the week: short timers, two caps that will be reached, and a price for the model."""
    settings = {
        "runs_dir": str(root / "runs"),
        "heartbeat_interval": "3s",
        "slurm_timeout": "20s",
        "max_live_attempts": LIVE_CAP,
        "max_submissions_per_hour": SUBMISSIONS_CAP,
        "llm": {"base_url": llm_url, "prices": {"scripted": {"input": 1.0, "output": 10.0}}},
    }
    path = root / "site.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path
