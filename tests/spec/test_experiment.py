# SPDX-License-Identifier: Apache-2.0
"""experiment.yaml: each field right, each field wrong, merged with the site and stored without loss."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ade_hpc.errors import Problem, SpecError
from ade_hpc.spec.experiment import Experiment, load_experiment, read_experiment
from ade_hpc.spec.experiment_fields import experiment_name
from ade_hpc.spec.site import Site

Load = Callable[..., Experiment]
Write = Callable[..., Path]

FULL = """
    name: digits.v2
    command: [python, train.py, --config, "{config}", --epochs, 10, "{resume}"]
    partition: gpu
    account: "12345"
    qos: high
    time: 1:30:00
    nodes: 2
    ntasks_per_node: 1
    gpus_per_node: a100:4
    gres: shard:1
    cpus_per_task: 8
    mem: 64G
    constraint: "[rack1|rack2]"
    exclude: [n1, "n[3-4]"]
    reservation: course
    sbatch: {mail_type: END, no-requeue: true, nice: 100, begin: 2026-12-01}
    skip: [mem, ntasks_per_node]
    setup: [module load cuda, source venv/bin/activate]
    image: images/trainer.sif
    binds: [data:/data, "/scratch:/scratch:rw", {source: ~/x, target: /x}]
    env: {OMP_NUM_THREADS: 08, DEBUG: yes, LR: 0.10, EMPTY: ""}
    pass_env: [WANDB_API_KEY]
    config: ./conf/config.yaml
    preferences: wishes.md
    tensorboard: runs/tb
    checkpoint: {pattern: "checkpoint-{step}", resume: "--resume {path} -n 2", signal: usr1, complete: metadata.json}
    code: [train.py, src/]
    runs_dir: ~/runs
    push: origin
    signal_delay: 2m
    stall_floor: 10m
"""


@pytest.fixture
def full(write: Write) -> Experiment:
    write("optimizer: {lr: 1.0}", "conf/config.yaml")
    write("prose", "wishes.md")
    write("", "train.py")
    write("", "src/model.py")
    return load_experiment(write(FULL), Site())


def test_every_field_is_understood(full: Experiment, tmp_path: Path) -> None:
    assert full.source == tmp_path / "experiment.yaml"
    assert full.command == ("python", "train.py", "--config", "{config}", "--epochs", "10", "{resume}")
    assert full.request({}).time_limit_s == 5400
    assert full.request({}).gpus == 8
    assert full.env == {"OMP_NUM_THREADS": "08", "DEBUG": "yes", "LR": "0.10", "EMPTY": ""}
    assert full.image == tmp_path / "images" / "trainer.sif"
    assert [(str(bind.source), bind.target, bind.writable) for bind in full.binds] == [
        (f"{tmp_path}/data", "/data", False),
        ("/scratch", "/scratch", True),
        (f"{Path.home()}/x", "/x", False),
    ]
    assert full.config == "conf/config.yaml"
    assert full.code == ("train.py", "src")
    assert full.runs_dir == Path.home() / "runs"
    assert full.checkpoint is not None
    assert full.checkpoint.resume == ("--resume", "{path}", "-n", "2")
    assert full.checkpoint.signal == "SIGUSR1"
    assert full.signal_delay_s == 120
    assert full.stall_floor_s == 600
    assert full.setup == ("module load cuda", "source venv/bin/activate")
    assert full.skip == ("mem", "ntasks-per-node")


def test_directives_are_sbatch_long_options_in_a_stable_order(full: Experiment) -> None:
    assert list(full.directives().items()) == [
        ("partition", "gpu"),
        ("account", "12345"),
        ("qos", "high"),
        ("time", "1:30:00"),
        ("nodes", 2),
        ("ntasks-per-node", 1),
        ("gpus-per-node", "a100:4"),
        ("gres", "shard:1"),
        ("cpus-per-task", 8),
        ("mem", "64G"),
        ("constraint", "[rack1|rack2]"),
        ("exclude", "n1,n[3-4]"),
        ("reservation", "course"),
        ("mail-type", "END"),
        ("no-requeue", True),
        ("nice", 100),
        ("begin", "2026-12-01"),
    ]


def test_stored_as_json_and_read_back_nothing_is_lost(full: Experiment, load: Load) -> None:
    for experiment in (full, load()):
        stored = json.loads(json.dumps(experiment.to_json()))
        assert Experiment.from_json(stored) == experiment
        assert Experiment.from_json(stored).to_json() == experiment.to_json()


def test_it_is_restored_where_the_path_would_be_refused_in_a_file_or_is_gone(write: Write, tmp_path: Path) -> None:
    experiment = load_experiment(write("name: a\ncommand: x", "$odd: dir/experiment.yaml"), Site())
    experiment.source.unlink()
    assert Experiment.from_json(experiment.to_json()) == experiment


@pytest.mark.parametrize("damage", [{"name": 5}, {"unknown": 1}, {"command": []}, {"binds": "x"}])
def test_a_damaged_stored_experiment_is_one_error(load: Load, damage: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="can't be read by this version"):
        Experiment.from_json({**load().to_json(), **damage})


# --- each field wrong in turn -----------------------------------------------------------------------------------

WRONG = [
    # (lines after name and command, line of the problem, words of its message)
    ("partition: 5", 3, 'must be text, not a number (5): put it in quotes, "5"'),
    ("partition: ''", 3, "must not be empty"),
    ("partition: [a, b]", 3, "must be text, not a list"),
    ("account: 12345", 3, 'put it in quotes, "12345"'),
    ("qos: yes", 3, 'put it in quotes, "yes"'),
    ("time: 1h", 3, "must be a Slurm time"),
    ("time: 1.5", 3, "must be a Slurm time"),
    ("time: true", 3, "must be a Slurm time"),
    ("time: 1:2:3:4", 3, "must be a Slurm time"),
    ("nodes: 0", 3, "must be at least 1, not 0"),
    ("nodes: '2'", 3, "must be a whole number, not text"),
    ("nodes: 1.5", 3, "must be a whole number"),
    ("nodes: true", 3, "must be a whole number"),
    ("ntasks_per_node: -1", 3, "at least 1"),
    ("gpus_per_node: a100", 3, "TYPE:NUMBER"),
    ("gpus_per_node: -1", 3, "number of GPUs"),
    ("gres: 4", 3, "must be text"),
    ("cpus_per_task: 0", 3, "at least 1"),
    ("mem: 16GB", 3, "such as 16G"),
    ("mem: 1.5G", 3, "such as 16G"),
    ("constraint: {a: b}", 3, "must be text, not a mapping"),
    ('constraint: "a\\nb"', 3, "one line"),
    ("exclude: [1, 2]", 3, "must be text, not a list"),
    ("reservation: 1", 3, "must be text"),
    ("partitoin: gpu", 3, "unknown key `partitoin`; did you mean `partition`?"),
    ("resources: {time: 1}", 3, "at the top level"),
    ("zzz: gpu", 3, "known are account, "),
    ("source: x", 3, "unknown key `source`"),
    ("sbatch: [a]", 3, "must be a mapping"),
    ("sbatch:\n  mail-type: END\n  time: 3", 5, "write `time:` beside `sbatch:`"),
    ("sbatch:\n  job-name: x", 4, "belongs to ade-hpc"),
    ("sbatch:\n  export: ALL", 4, "allow-list"),
    ("sbatch: {p: gpu}", 3, "no long option"),
    ("sbatch: {mail-type: null}", 3, "has no value"),
    ("sbatch: {requeue: false}", 3, "has no value"),
    ("sbatch: {nice: 1.5}", 3, "must be text, a whole number"),
    ('sbatch: {comment: "a\\n#SBATCH --x"}', 3, "one line"),
    ("sbatch: {mail-type: END, mail_type: FAIL}", 3, "twice"),
    ("skip: mem", 3, "must be a list"),
    ("skip: [-m]", 3, "no long option"),
    ("setup: module load x", 3, "must be a list"),
    ("setup:\n  - module load x\n  - '#SBATCH --x'", 5, "use `sbatch:`"),
    ("setup: [export T=ghp_0123456789abcdef]", 3, "looks like a key"),
    ("image: 5", 3, "must be a path, not a number (5)"),
    ("image: docker://alpine", 3, "apptainer pull"),
    ("image: $HOME/x.sif", 3, "begin it with ~"),
    ("image: ~nobody-of-that-name/x.sif", 3, "no home folder"),
    ("image: x.sif\nbinds: [/data]", 4, "SOURCE:TARGET"),
    ("image: x.sif\nbinds: ['/data:/data:xx']", 4, "SOURCE:TARGET"),
    ("image: x.sif\nbinds: [/data:data]", 4, "absolute path in the container"),
    ("image: x.sif\nbinds: ['/data:/']", 4, "absolute path in the container"),
    ("image: x.sif\nbinds: [{source: /data}]", 4, "`binds[0].target` is missing"),
    ("image: x.sif\nbinds: [{source: /d, target: /d, writeable: true}]", 4, "did you mean `writable`?"),
    ("image: x.sif\nbinds: [{source: /d, target: /d, writable: 1}]", 4, "must be true or false"),
    ("image: x.sif\nbinds:\n  - /a:/data\n  - /b:/data", 6, "bound twice"),
    ("env: [A=1]", 3, "must be a mapping"),
    ("env: {A-B: x}", 3, "name of an environment variable"),
    ("env: {A: [x]}", 3, "must be text"),
    ("env: {ADE_CONFIG: x}", 3, "belongs to ade-hpc"),
    ("setup: export T=sk-proj-0123456789", 3, "must be a list, not text"),
    ("env: {A: }", 3, 'write "" for an empty one'),
    ("env:\n  A: x\n  HF_TOKEN: x", 5, "pass_env"),
    ("env: {openai_api_key: x}", 3, "pass_env"),
    ("env: {DB_PASSWORD: x}", 3, "pass_env"),
    ("env: {A: sk-proj-0123456789abcdef}", 3, "pass_env"),
    ("env: {A: Bearer hf_0123456789abcdef}", 3, "pass_env"),
    ("env: {A: AKIA0123456789ABCDEF}", 3, "pass_env"),
    ("env: {A: xoxb-0123456789}", 3, "pass_env"),
    ("pass_env: WANDB_API_KEY", 3, "must be a list"),
    ("pass_env: [A=1]", 3, "name of an environment variable"),
    ("config: /etc/passwd", 3, "relative path"),
    ("config: ../config.yaml", 3, "relative path"),
    ("config: nothing.yaml", 3, "there is no file"),
    ("config: link.yaml", 3, "leads out of this folder"),
    ("preferences: nothing.md", 3, "there is no file"),
    ("tensorboard: runs", 3, "needs an `image`"),
    ("checkpoint: step-{step}.pt", 3, "must be a mapping"),
    ("checkpoint: {signal: USR1}", 3, "`checkpoint.pattern` is missing"),
    ("checkpoint: {pattern: 'a-{epoch}.pt'}", 3, "only {step}"),
    ("checkpoint: {pattern: '*.pt'}", 3, "only {step}"),
    ("checkpoint: {pattern: '{step}-{step}'}", 3, "once"),
    ("checkpoint: {pattern: ../x.pt}", 3, "relative path"),
    ("checkpoint:\n  pattern: x.pt\n  resume: --resume", 5, "must hold {path}"),
    ("checkpoint: {pattern: x.pt, resume: []}", 3, "must name"),
    ("checkpoint: {pattern: x.pt, signal: KILL}", 3, "can't be caught"),
    ("checkpoint: {pattern: x.pt, signal: SIGFOO}", 3, "name of a signal"),
    ("checkpoint: {pattern: x.pt, signal: 10}", 3, "must be text"),
    ("checkpoint: {pattern: x.pt, complete: /x}", 3, "relative path"),
    ("checkpoint: {patern: x.pt, pattern: x.pt}", 3, "did you mean `pattern`?"),
    ("code: src", 3, "must be a list"),
    ("code: [../src]", 3, "relative path"),
    ("code: [nothing]", 3, "there is no"),
    ("runs_dir: $SCRATCH/ade", 3, "begin it with ~"),
    ("push: https://user:pw@host/x.git", 3, "git remote"),
    ("push: --mirror", 3, "git remote"),
    ("push: true", 3, "must be text"),
    ("signal_delay: 90", 3, "with its unit"),
    ("signal_delay: 0s", 3, "between 1s and 18h"),
    ("stall_floor: 0s", 3, "between 1s and 24h"),
    ("signal_delay: 20h", 3, "between 1s and 18h"),
    ("signal_delay: 0:01:30", 3, "must be a duration"),
    ("signal_delay_s: 90s", 3, "did you mean `signal_delay`?"),
    ("mem: 1G\nsbatch: {mem-per-cpu: 1G}", 3, "keep one"),
    ("time: 10\nmem: 1G\ntime: 20", 5, "`time` is given twice, in lines 3 and 5"),
    ("time: 10\n\tmem: 1G", 4, "a tab"),
    ("env: {A: !env HOME}", 3, "tag"),
]


@pytest.mark.parametrize(("text", "line", "words"), WRONG, ids=[case[0] for case in WRONG])
def test_one_wrong_field_is_one_problem_at_its_line(write: Write, text: str, line: int, words: str) -> None:
    outside = write("a: 1", "../config-elsewhere.yaml")
    path = write(f"name: digits\ncommand: python train.py\n{text}\n")
    (path.parent / "link.yaml").symlink_to(outside)
    with pytest.raises(SpecError) as caught:
        load_experiment(path, Site())
    (problem,) = caught.value.problems
    assert problem.line == line
    assert words in problem.message
    assert not any(secret in problem.message for secret in ("sk-proj", "hf_0", "AKIA0", "xoxb-", "ghp_0"))


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("command: x", 1, "`name` is missing"),
        ("name: digits", 1, "`command` is missing"),
        ("name: 5\ncommand: x", 1, "must be text"),
        ("name: digits\ncommand: ''", 2, "must name a program"),
        ("name: digits\ncommand: []", 2, "must name a program"),
        ("name: digits\ncommand: 5", 2, "must be a list"),
        ("name: digits\ncommand: python 'train.py", 2, "mend the quotes"),
        ("name: digits\ncommand: [python, {config}]", 2, 'put it in quotes, "{config}"'),
        ("name: digits\ncommand: [python, '--x={resume}']", 2, "an argument of its own"),
        ("name: digits\ncommand: [python, [a]]", 2, "`command[1]`: must be text"),
        ("- name: digits", 1, "must hold `key: value` lines, not a list"),
        ("just words", 1, "must hold `key: value` lines, not text"),
        ("# nothing\n", 1, "must hold `key: value` lines, not nothing"),
    ],
)
def test_without_a_name_or_a_command_there_is_no_experiment(write: Write, text: str, line: int, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_experiment(write(text), Site())
    (problem,) = caught.value.problems
    assert problem.line == line
    assert words in problem.message


@pytest.mark.parametrize("name", ["a", "digits-2.v3_x", "0" * 41])
def test_names_that_are_safe_everywhere(name: str) -> None:
    assert experiment_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "a..b", "a.lock", "a.", "a/b", "a b", "a\n", "é", "0" * 42, "a;b", "~"]
)
def test_names_that_are_not(name: str) -> None:
    with pytest.raises(ValueError, match="must"):
        experiment_name(name)


def test_every_problem_of_a_file_is_found_at_once_also_between_fields(write: Write) -> None:
    path = write("""
        name: a/b
        nodes: none
        tensorboard: runs
        config: nothing.yaml
        env: {TOKEN: x}
        nodes: 2
        binds: [{source: /a, traget: /b}]
    """)
    with pytest.raises(SpecError) as caught:
        load_experiment(path, Site())
    found = [(problem.line, problem.message.split()[0]) for problem in caught.value.problems]
    assert found == [
        (1, "`name`:"),
        (1, "`command`"),
        (2, "`nodes`:"),
        (3, "`tensorboard`"),
        (4, "`config`:"),
        (5, "`env.TOKEN`:"),
        (6, "the"),
        (7, "`binds[0].target`"),
        (7, "unknown"),
    ]
    assert "\n" in str(caught.value)
    assert f"{path}:2: " in str(caught.value)


# --- details that people stumble over ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30", 1800),
        ("'30'", 1800),
        ("1:00:00", 3600),
        ("24:00:00", 86400),
        ("'24:00:00'", 86400),
        ("90:30", 5430),
        ("2-12", 216000),
        ("2-12:30", 217800),
        ("2-12:30:15", 217815),
        ("0", None),
        ("UNLIMITED", None),
    ],
)
def test_slurm_times_mean_what_slurm_says(load: Load, written: str, seconds: float | None) -> None:
    experiment = load(f"time: {written}")
    assert experiment.time == written.strip("'")
    assert experiment.request({}).time_limit_s == seconds


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("", 0),
        ("gpus_per_node: 2", 2),
        ("nodes: 3\ngpus_per_node: a100:2", 6),
        ("nodes: 2\ngres: gpu:a100:4,shard:9", 8),
        ("gres: gpu", 1),
        ("gres: gpu:a100", 1),
        ("nodes: 2\nsbatch: {gpus: 5}", 5),
        ("nodes: 2\nntasks_per_node: 4\nsbatch: {gpus-per-task: 1}", 8),
    ],
)
def test_gpus_are_counted_over_all_nodes(load: Load, text: str, gpus: int) -> None:
    assert load(text).request({}).gpus == gpus


def test_a_command_is_split_as_a_shell_would_and_other_braces_stay(load: Load, write: Write) -> None:
    path = write("""
        name: a
        command: torchrun train.py 'a b' {config} model={size} {params} {"x":1} ${HOME}
    """)
    assert load_experiment(path, Site()).command == (
        *("torchrun", "train.py", "a b", "{config}", "model={size}", "{params}", "{x:1}", "${HOME}"),
    )


def test_a_misspelt_placeholder_is_a_warning_that_names_the_right_one(write: Write) -> None:
    path = write("name: a\ncommand: x {checkpoint} {configs} {size}")
    warnings = [problem for problem in read_experiment(path, Site()).problems if problem.warning]
    assert [problem.message.rpartition("; ")[2] for problem in warnings] == [
        "did you mean {checkpoints}?",
        "did you mean {config}?",
    ]
    assert load_experiment(path, Site()).name == "a"


def test_half_an_hour_written_as_30_minutes_and_0_seconds_is_a_warning(write: Write) -> None:
    (problem,) = read_experiment(write("name: a\ncommand: x\ntime: 4:00"), Site()).problems
    assert problem.warning
    assert "write 4:00:00 for hours" in problem.message


def test_innocent_names_and_values_are_no_secrets(load: Load) -> None:
    env = {"TOKENIZERS_PARALLELISM": "false", "MAX_TOKENS": "5", "DATA": "/data/hf_models_v2", "X": "task-12345678"}
    assert load(f"env: {json.dumps(env)}").env == env


def test_preferences_beside_the_file_are_the_default_and_null_means_none(load: Load, write: Write) -> None:
    assert load().preferences is None
    beside = write("prose", "preferences.md")
    assert load().preferences == beside
    assert load("preferences: null").preferences is None


def test_a_relative_path_to_the_file_makes_absolute_paths(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("name: a\ncommand: x", "sub/experiment.yaml")
    monkeypatch.chdir(path.parent)
    experiment = load_experiment(Path(os.pardir) / "sub" / "experiment.yaml", Site())
    assert experiment.source == path
    assert experiment.runs_dir == path.parent / ".ade"


# --- the site below ---------------------------------------------------------------------------------------------


def site(**fields: object) -> Site:
    return Site.model_validate(fields)


def test_site_defaults_count_only_where_the_file_says_nothing(load: Load) -> None:
    below = site(
        defaults={"partition": "batch", "time": "60", "account": "lab"}, sbatch={"mail-type": "NONE", "nice": 5}
    )
    experiment = load("time: 10\naccount: null\nsbatch: {mail_type: END}", site=below)
    assert experiment.directives() == {"partition": "batch", "time": "10", "mail-type": "END", "nice": 5}


def test_lines_of_the_site_come_first(load: Load) -> None:
    below = site(setup=("module purge",), skip=("gres",))
    experiment = load("setup: [module load x]\nskip: [mem, gres]", site=below)
    assert experiment.setup == ("module purge", "module load x")
    assert experiment.skip == ("gres", "mem")


def test_one_way_to_ask_for_memory_drops_the_sites_other_way(load: Load) -> None:
    assert load("sbatch: {mem-per-cpu: 1G}", site=site(defaults={"mem": "8G"})).directives() == {"mem-per-cpu": "1G"}
    assert load("mem: 2G", site=site(sbatch={"mem-per-cpu": "1G"})).directives() == {"mem": "2G"}


def test_the_run_folder_is_the_files_then_the_sites_then_beside_the_file(load: Load, tmp_path: Path) -> None:
    below = Site().model_copy(update={"runs_dir": Path("/scratch/ade")})
    assert load().runs_dir == tmp_path / ".ade"
    assert load(site=below).runs_dir == Path("/scratch/ade")
    assert load("runs_dir: mine", site=below).runs_dir == tmp_path / "mine"


def problems_of(path: Path) -> tuple[Problem, ...]:
    return read_experiment(path, Site()).problems


def test_an_image_or_a_bind_that_is_not_here_is_a_warning(write: Write) -> None:
    found = problems_of(write("name: a\ncommand: x\nimage: no.sif\nbinds: [/nowhere-at-all:/data]"))
    assert [(problem.line, problem.warning) for problem in found] == [(3, True), (4, True)]
