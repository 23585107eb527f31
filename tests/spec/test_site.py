# SPDX-License-Identifier: Apache-2.0
"""site.yaml: where it is looked for, each field right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ade_hpc.errors import SpecError
from ade_hpc.spec.site import Site, load_site

Write = Callable[..., Path]


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    site = load_site({"XDG_CONFIG_HOME": str(tmp_path)})
    assert site == Site()
    assert (site.max_live_attempts, site.max_submissions_per_hour) == (8, 12)
    assert (site.heartbeat_interval_s, site.slurm_timeout_s) == (30, 45)
    assert (site.scheduler, site.container, site.runs_dir) == ("slurm", None, None)


def test_it_is_found_by_name_then_in_the_xdg_folder_then_in_the_home_folder(write: Write, tmp_path: Path) -> None:
    write("max_live_attempts: 3", "home/.config/ade-hpc/site.yaml")
    write("max_live_attempts: 2", "xdg/ade-hpc/site.yaml")
    named = write("max_live_attempts: 1", "my-site.yaml")
    env = {"HOME": f"{tmp_path}/home"}
    assert load_site(env).max_live_attempts == 3
    env["XDG_CONFIG_HOME"] = f"{tmp_path}/xdg"
    assert load_site(env).max_live_attempts == 2
    assert load_site({**env, "ADE_SITE": ""}).max_live_attempts == 2
    assert load_site({**env, "ADE_SITE": str(named)}).max_live_attempts == 1


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="does not exist"):
        load_site({"ADE_SITE": str(tmp_path / "nothing.yaml")})


def test_every_field_is_understood(write: Write) -> None:
    path = write("""
        defaults: {partition: gpu, time: 1:00:00}
        sbatch: {mail_type: END}
        skip: [mem]
        setup: [module purge]
        runs_dir: $SCRATCH/${USER}/ade
        max_live_attempts: 4
        max_submissions_per_hour: 5
        heartbeat_interval: 10s
        slurm_timeout: 1m
        scheduler: local
        container: /opt/apptainer/bin/apptainer
        schedule: {qos: workflow, constraint: cron}
    """)
    site = load_site({"ADE_SITE": str(path), "SCRATCH": "/scratch", "USER": "ada"})
    assert (site.defaults.partition, site.defaults.time) == ("gpu", "1:00:00")
    assert site.sbatch == {"mail-type": "END"}
    assert site.runs_dir == Path("/scratch/ada/ade")
    assert (site.heartbeat_interval_s, site.slurm_timeout_s) == (10, 60)
    assert site.container == "/opt/apptainer/bin/apptainer"
    assert (site.schedule.qos, site.schedule.constraint, site.schedule.time) == ("workflow", "cron", "00:10:00")


def test_a_file_of_comments_only_changes_nothing(write: Write) -> None:
    assert load_site({"ADE_SITE": str(write("# later\n"))}) == Site()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("defaults: gpu", "must be a mapping"),
        ("defaults: {partitions: gpu}", "did you mean `partition`?"),
        ("defaults: {nodes: 0}", "`defaults.nodes`: must be at least 1"),
        ("defaults: {name: x}", "unknown key `defaults.name`"),
        ("sbatch: {array: 1-3}", "belongs to ade-hpc"),
        ("skip: mem", "must be a list"),
        ("setup: [5]", "must be text"),
        ("runs_dir: scratch", "absolute path"),
        ("runs_dir: $NOWHERE/ade", "$NOWHERE is not set"),
        ("runs_dir: 5", "must be a path"),
        ("max_live_attempts: 0", "at least 1"),
        ("max_live_attempts: many", "must be a whole number"),
        ("max_submissions_per_hour: 0", "at least 1"),
        ("heartbeat_interval: 30", "with its unit"),
        ("heartbeat_interval: 0.1s", "between 1s and 1h"),
        ("slurm_timeout: 2h", "between 1s and 1h"),
        ("scheduler: pbs", "known are slurm, local"),
        ("container: bin/apptainer", "absolute path"),
        ("schedule: {time: soon}", "Slurm time"),
        ("container: true", 'put it in quotes, "true"'),
        ("max_live_attempt: 1", "did you mean `max_live_attempts`?"),
        ("heartbeat_interval_s: 1", "did you mean `heartbeat_interval`?"),
        ("skip: [mem]\nskip: [mem]", "given twice"),
        ("skip:\n\t- mem", "a tab"),
        ("- skip", "must hold `key: value` lines"),
        ("skip: !!python/tuple [mem]", "tag"),
    ],
)
def test_one_wrong_field_is_one_problem_at_its_line(write: Write, text: str, words: str) -> None:
    path = write(text)
    with pytest.raises(SpecError) as caught:
        load_site({"ADE_SITE": str(path)})
    (problem,) = caught.value.problems
    assert words in problem.message
    assert problem.line == text.count("\n") + 1
