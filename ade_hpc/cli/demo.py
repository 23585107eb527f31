# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc demo`: the whole story on one machine, with real git, real training and the local scheduler."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ade_hpc.errors import AdeError, UsageError
from ade_hpc.launch.submit import experiment_dir, submit
from ade_hpc.metrics.collect import collect
from ade_hpc.metrics.panels import Run
from ade_hpc.metrics.plot import draw
from ade_hpc.repo.edit import set_scalar
from ade_hpc.scheduler.base import Scheduler
from ade_hpc.spec.experiment import Experiment, load_experiment
from ade_hpc.spec.preferences import load_preferences
from ade_hpc.spec.site import Site
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.ledger import read_ledger
from ade_hpc.store.records import load_attempt
from ade_hpc.supervisor.reports import Report
from ade_hpc.supervisor.tick import Ticker

TICK_EVERY_S = 2.0
GIVE_UP_AFTER_S = 300.0
TRIES = 3  # of a model that gives no answer, once the run has ended
OBJECTIVE = "accuracy/val"
SITE = Site.model_validate({"scheduler": "local", "heartbeat_interval": "1s"})


def tell(*, seed: int, observe: bool, folder: Path | None, model: str | None = None) -> None:
    """Run the story and print it; the last line is JSON. Raises AdeError where it does not come to its end.

    model: a language model that judges instead of the rule, on the endpoint that the environment names.
    """
    if model is not None and not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")):
        raise UsageError(
            "no model can be reached: set OPENAI_API_KEY, or OPENAI_BASE_URL to the /v1 address of any "
            "OpenAI-compatible server, and name the model with --model"
        )
    if importlib.util.find_spec("torch") is None:
        raise UsageError("the demo trains a real network: pip install 'ade-hpc[train]', or run scripts/demo")
    root = folder.resolve() if folder else Path(tempfile.mkdtemp(prefix="ade-demo-"))
    project = make_project(root, seed=seed, mode="observe" if observe else "auto", model=model)
    experiment = load_experiment(project / "experiment.yaml", SITE)
    say(f"a scratch project with a learning rate that is ten times too high: {project}")
    started = time.monotonic()
    run_dir = run_story(experiment, root / "registry")
    say(f"done after {time.monotonic() - started:.0f} s; what was changed, on branch ade/{experiment.name}:")
    print(git_log(project, experiment.name))
    plot = draw_attempts(run_dir, experiment)
    print(f"the curves of all attempts: {plot}")
    print(json.dumps(summary(run_dir, plot)))


def make_project(root: Path, *, seed: int, mode: str, model: str | None = None) -> Path:
    """A git repository as a user would have one: trainer, config, experiment, preferences, one commit."""
    source, project = example_files(), root / "project"
    project.mkdir(parents=True)
    for name in ("train.py", "config.yaml", "experiment.yaml"):
        shutil.copy(source / "jobs" / name, project / name)
    rewrite(project / "config.yaml", lambda text: set_scalar(text, "seed", seed))
    rewrite(project / "experiment.yaml", lambda text: text.replace("python3, train.py", f"{sys.executable}, train.py"))
    rewrite(project / "experiment.yaml", lambda text: text.replace("../preferences.md", "preferences.md"))
    preferences = (source / "preferences.md").read_text().replace("mode: auto", f"mode: {mode}")
    (project / "preferences.md").write_text(instead_of_the_rule(model, preferences) if model else preferences)
    (project / "preferences.md").chmod(0o600)
    (project / ".gitignore").write_text(".ade/\n")
    git(project, "init", "--quiet", "--initial-branch=main")
    git(project, "add", "--all")
    git(project, "-c", "user.name=Demo", "-c", "user.email=demo@localhost", "commit", "--quiet", "-m", "Train digits")
    return project


def instead_of_the_rule(model: str, preferences: str) -> str:
    """The same preferences with nobody to act but a model, which reads their prose up to where that says so."""
    name = json.dumps(model)
    block = f"```yaml\nagent: {{ask: on-finding, model: {name}, vision_model: {name}}}\n```"
    without = re.sub(r"## What to do about it.*", "", preferences, flags=re.DOTALL)
    return f"{without}## Who is asked\n\nA language model, within the bounds above.\n\n{block}\n"


def example_files() -> Path:
    """The top of the checkout, where the example trainer lies."""
    top = Path(__file__).parents[2]
    if not (top / "jobs" / "train.py").is_file():
        raise UsageError("the demo's trainer is not installed with the package: run scripts/demo in a checkout")
    return top


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


def run_story(experiment: Experiment, registry: Path) -> ExperimentDir:
    """Submit, then tick until a run has ended that needs nothing more."""
    from ade_hpc.launch.schedulers import open_scheduler

    scheduler: Scheduler = open_scheduler("local", SITE)
    number, job_id = submit(experiment, SITE, scheduler, registry, allow_dirty=False, announce=_quiet)
    say(f"attempt {number} is job {job_id}; from now on only ticks act")
    run_dir = experiment_dir(experiment)
    ticker = Ticker(SITE, lambda kind: scheduler, _quiet)
    until, last, stuck = time.monotonic() + GIVE_UP_AFTER_S, "", 0
    while time.monotonic() < until:
        report = ticker.tick([run_dir])[0]
        last = _tell_news(report, last)
        if is_over(report):
            return run_dir
        stuck = stuck + 1 if report.health.verdict == "ended" and report.problems else 0
        if stuck == TRIES:
            raise AdeError(f"the demo can't go on: {report.problems[-1]} (run folder: {run_dir.path})")
        time.sleep(TICK_EVERY_S)
    raise AdeError(f"the demo did not come to its end in {GIVE_UP_AFTER_S:.0f} s; look into {run_dir.path}")


def is_over(report: Report) -> bool:
    """The process has ended and the tick did not start another one."""
    return report.health.verdict == "ended" and not report.done and not report.problems


def _tell_news(report: Report, last: str) -> str:
    from ade_hpc.cli.tables import sentence

    news = sentence(report)
    if news != last:
        say(news)
    return news


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def _quiet(step: str) -> None:
    """The demo tells the story, not the steps."""


def git(project: Path, *arguments: str) -> str:
    answer = subprocess.run(
        ["git", *arguments], cwd=project, check=False, capture_output=True, text=True, timeout=60, env=_git_env()
    )
    if answer.returncode:
        raise AdeError(f"git {arguments[0]} failed: {answer.stderr.strip()}")
    return answer.stdout


def _git_env() -> dict[str, str]:
    """The user's own hooks, templates and signing have no part in a scratch repository."""
    return {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def git_log(project: Path, name: str) -> str:
    return git(project, "log", "--no-color", "--patch", "--unified=0", "--format=%h %s%n%n%b", f"main..ade/{name}")


def draw_attempts(run_dir: ExperimentDir, experiment: Experiment) -> Path:
    """One picture of all attempts in the same panels."""
    preferences = load_preferences(experiment.root / "preferences.md")
    runs = [_run(run_dir, attempt) for attempt in run_dir.attempts()]
    plot = run_dir.plots / "attempts.png"
    target = preferences.objective.target if preferences.objective else None
    draw(
        runs,
        plot,
        objective=OBJECTIVE,
        thresholds={OBJECTIVE: target} if target is not None else {},
        title=f"{run_dir.name}: {len(runs)} attempts",
    )
    return plot


def _run(run_dir: ExperimentDir, attempt: AttemptDir) -> Run:
    record = load_attempt(attempt)
    resumed = record.parent.step if record and record.parent else None
    return Run(f"attempt {attempt.number}", collect(attempt.starts(), None), resumed)


def summary(run_dir: ExperimentDir, plot: Path) -> dict[str, Any]:
    """What the story came to. ``accuracy`` is the last one that the last attempt logged."""
    attempts = run_dir.attempts()
    series = collect(attempts[-1].starts(), None).series[OBJECTIVE]
    commits = {record.commit for attempt in attempts if (record := load_attempt(attempt)) is not None}
    changed = [entry for entry in read_ledger(run_dir.ledger).of_kind("intent") if entry.data.get("changes")]
    return {
        "attempts": len(attempts),
        "accuracy": round(float(series.values[-1]), 4),
        "commits": len(commits) - 1 if changed else 0,
        "run_dir": str(run_dir.path),
        "plot": str(plot),
    }
