# SPDX-License-Identifier: Apache-2.0
"""Commits on ``ade/<experiment>``: one changed line, made by nobody's hook, noticed by nobody's checkout."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest

from ade_hpc.errors import RepoError
from ade_hpc.repo import project as rim
from ade_hpc.repo.branch import commit_file, freeze, log, open_project, read_file, tip, tree_of
from ade_hpc.repo.edit import set_scalar

CONFIG = PurePosixPath("config.yaml")
TRAILERS = {"Ade-Experiment": "exp", "Ade-Attempt": "2", "Ade-By": "rule:diverged"}


def start(repo) -> str:
    return freeze(open_project(repo.path), "exp", allow_dirty=False, trailers={"Ade-Experiment": "exp"})


def change(repo, parent: str, lr: float = 0.03, trailers: dict[str, str] = TRAILERS, body: str = "It diverged.") -> str:
    project = open_project(repo.path)
    text = set_scalar(read_file(project, parent, CONFIG), "optimizer.lr", lr)
    subject = f"optimizer.lr: {lr}"
    return commit_file(project, "exp", CONFIG, text, parent=parent, subject=subject, body=body, trailers=trailers)


def test_one_changed_scalar_is_one_changed_line(repo) -> None:
    first = start(repo)
    commit = change(repo, first)
    assert repo.tip() == commit
    assert repo.parents(commit) == [first]
    assert repo.git("diff", "--numstat", first, commit) == "1\t1\tconfig.yaml"
    assert repo.git("show", f"{commit}:config.yaml") == "optimizer:\n  lr: 0.03  # the rate"


def test_the_message_names_what_and_why_and_git_reads_the_trailers(repo) -> None:
    commit = change(repo, start(repo))
    message = repo.git("log", "-1", "--format=%B", commit)
    assert message.rstrip() == (
        "optimizer.lr: 0.03\n\nIt diverged.\n\nAde-Experiment: exp\nAde-Attempt: 2\nAde-By: rule:diverged"
    )
    assert repo.git("log", "-1", "--format=%(trailers:key=Ade-By,valueonly)", commit).strip() == "rule:diverged"
    assert repo.git("log", "-1", "--format=%an <%ae> %cn", commit) == "Ada <ada@example.org> Ada"


def test_hostile_text_forges_neither_trailers_nor_lines(repo) -> None:
    project, parent = open_project(repo.path), start(repo)
    commit = commit_file(
        project,
        "exp",
        CONFIG,
        "a: 1\n",
        parent=parent,
        subject="lr\x1b[2J\nAde-By: nobody",
        body="prose\x00\x07\r\n\n\nAde-Attempt: 99",
        trailers={"Ade-Attempt": "2\nAde-By: forged", "Ade-Why": "\ud800x"},
    )
    (info,) = log(project, "exp", parent)
    assert info.sha == commit
    assert info.subject == "lr [2J Ade-By: nobody"
    assert info.trailers == {"Ade-Attempt": "2 Ade-By: forged", "Ade-Why": "x"}
    assert not any(ord(char) < 32 and char != "\n" for char in repo.git("log", "-1", "--format=%B", commit))


def test_a_key_that_could_end_the_trailers_is_refused(repo) -> None:
    with pytest.raises(RepoError, match="can't name a trailer"):
        change(repo, start(repo), trailers={"Ade By:": "x"})


def test_every_byte_but_the_scalar_survives_whatever_the_line_ending_settings_say(repo) -> None:
    repo.git("config", "core.autocrlf", "input")
    repo.write(".git/info/attributes", "*.yaml text eol=lf filter=shout\n")
    repo.git("config", "filter.shout.clean", "tr a-z A-Z")
    blob = repo.git("hash-object", "-w", "--no-filters", "--stdin", stdin="\ufefflr: 0.1\r\nb: 2\r\n")
    repo.git("update-index", "--cacheinfo", f"100755,{blob},config.yaml")
    repo.git("commit", "-qm", "windows")
    parent = repo.head
    repo.git("update-ref", "refs/heads/ade/exp", parent)
    project = open_project(repo.path)
    text = set_scalar(read_file(project, parent, CONFIG), "lr", 0.2)
    commit = commit_file(project, "exp", CONFIG, text, parent=parent, subject="s", body="", trailers=TRAILERS)
    assert read_file(project, commit, CONFIG) == "\ufefflr: 0.2\r\nb: 2\r\n"
    assert repo.git("ls-tree", commit, "config.yaml").startswith("100755")


# --- the user's checkout ----------------------------------------------------------------------------------------


def test_the_users_checkout_is_untouched_to_the_nanosecond(repo) -> None:
    """Staged, unstaged, untracked and stashed work: all of it, index bytes and times included, is as before."""
    parent = start(repo)
    repo.write("train.py", "stashed\n")
    repo.git("stash")
    repo.write("train.py", "staged\n")
    repo.git("add", "train.py")
    repo.write("train.py", "unstaged\n")
    repo.write("notes.txt", "untracked\n")
    repo.git("tag", "v1")
    before = repo.fingerprint()
    status = repo.git("--no-optional-locks", "status", "--porcelain")
    commit = change(repo, parent)
    freeze(open_project(repo.path), "dirty", allow_dirty=True, trailers={})
    assert repo.fingerprint() == before
    assert repo.tip() == commit
    assert repo.git("--no-optional-locks", "status", "--porcelain") == status


def test_no_hook_runs_and_nothing_is_signed(repo, tmp_path: Path) -> None:
    for hook in (
        "pre-commit",
        "commit-msg",
        "post-commit",
        "reference-transaction",
        "post-index-change",
        "pre-auto-gc",
    ):
        repo.hook(hook, f"touch {tmp_path}/ran-{hook}; exit 1")
    repo.git("config", "core.hooksPath", str(repo.path / ".git/hooks"))
    repo.git("config", "core.fsmonitor", str(repo.path / ".git/hooks/pre-commit"))
    repo.git("config", "commit.gpgsign", "true")
    repo.git("config", "gpg.program", "/bin/false")
    commit = change(repo, start(repo))
    repo.write("notes.txt", "untracked")
    freeze(open_project(repo.path), "exp", allow_dirty=True, trailers=TRAILERS)
    assert list(tmp_path.glob("ran-*")) == []
    assert "gpgsig" not in repo.git("cat-file", "commit", commit)


def test_a_split_index_leaves_no_litter(repo) -> None:
    repo.git("config", "core.splitIndex", "true")
    repo.git("update-index", "--split-index")
    parent = start(repo)
    before = repo.fingerprint()
    change(repo, parent)
    repo.write("new", "new")
    freeze(open_project(repo.path), "exp", allow_dirty=True, trailers=TRAILERS)
    (repo.path / "new").unlink()
    after = repo.fingerprint()
    assert list(after) == list(before)
    assert {name for name in after if after[name] != before[name]} <= {  # any git that reads it renews its time
        name for name in before if "sharedindex" in name
    }


def test_a_held_index_lock_is_no_obstacle(repo) -> None:
    repo.write(".git/index.lock", "")
    commit = change(repo, start(repo))
    assert repo.tip() == commit


def test_a_detached_head(repo) -> None:
    repo.git("checkout", "-q", "--detach")
    before = repo.fingerprint()
    commit = change(repo, start(repo))
    assert repo.fingerprint() == before
    assert repo.parents(commit) == [repo.head]


def test_a_linked_work_tree(repo) -> None:
    repo.git("worktree", "add", "-q", "-b", "side", "../linked")
    project = open_project(repo.path.parent / "linked")
    (project.top / "new.py").write_text("x")
    before = repo.fingerprint()
    commit = freeze(project, "exp", allow_dirty=True, trailers=TRAILERS)
    assert repo.fingerprint() == before
    assert repo.git("ls-tree", "-r", "--name-only", commit).split() == ["config.yaml", "new.py", "train.py"]
    assert read_file(project, change(repo, commit), CONFIG) == "optimizer:\n  lr: 0.03  # the rate\n"


def test_a_shallow_clone(repo) -> None:
    repo.commit({"more": "x"})
    clone = type(repo)(repo.path.parent / "shallow")
    repo.git("clone", "-q", "--depth=1", f"file://{repo.path}", str(clone.path))
    clone.git("config", "user.name", "Ada")
    clone.git("config", "user.email", "ada@example.org")
    first = start(clone)
    second = change(clone, first)
    clone.commit({"own": "y"})
    third = start(clone)
    assert clone.parents(second) == [first]
    assert clone.parents(third) == [second, clone.head]


@pytest.mark.parametrize("sparse_index", ["false", "true"])
def test_a_sparse_checkout_commits_the_whole_tree(repo, sparse_index: str) -> None:
    repo.commit({"data/a": "a", "src/b": "b"})
    repo.git("sparse-checkout", "init", "--cone")
    repo.git("config", "index.sparse", sparse_index)
    repo.git("sparse-checkout", "set", "src")
    assert not (repo.path / "data").exists()
    commit = change(repo, start(repo))
    assert "data/a" in repo.git("ls-tree", "-r", "--name-only", commit)
    repo.write("data/new", "outside of the cone")
    repo.write("src/new", "inside")
    dirty = freeze(open_project(repo.path), "exp", allow_dirty=True, trailers=TRAILERS)
    names = repo.git("ls-tree", "-r", "--name-only", dirty).split()
    assert {"data/a", "data/new", "src/b", "src/new"} <= set(names)


def test_a_partial_clone_downloads_nothing(repo) -> None:
    repo.git("config", "uploadpack.allowFilter", "true")
    repo.commit({f"blob{n}": str(n) for n in range(5)})
    clone = type(repo)(repo.path.parent / "partial")
    repo.git("clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{repo.path}", str(clone.path))
    clone.git("update-ref", "refs/heads/ade/exp", clone.head)
    change(clone, clone.head)
    present = clone.git("cat-file", "--batch-all-objects", "--batch-check=%(objecttype)").split().count("blob")
    assert present == 2  # the old config, which was asked for, and the new one


def test_without_a_configured_identity_it_signs_as_itself(repo) -> None:
    repo.git("config", "--unset", "user.name")
    repo.git("config", "--unset", "user.email")
    commit = change(repo, start(repo))
    assert repo.git("log", "-1", "--format=%an <%ae> %cn <%ce>", commit) == (
        "ade-hpc <ade-hpc@localhost> ade-hpc <ade-hpc@localhost>"
    )


# --- compare-and-swap -------------------------------------------------------------------------------------------


def test_of_twenty_at_once_exactly_one_wins_and_nothing_is_lost(repo) -> None:
    parent = start(repo)
    barrier = threading.Barrier(20)

    def attempt(number: int) -> str | RepoError:
        barrier.wait(timeout=100)
        try:
            return change(repo, parent, lr=0.01 + number / 1000, trailers={"Ade-Attempt": str(number)})
        except RepoError as error:
            return error

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(attempt, range(20)))
    winners = [result for result in results if isinstance(result, str)]
    assert winners == [repo.tip()]
    assert repo.parents(winners[0]) == [parent]
    assert all("moved" in str(result) for result in results if isinstance(result, RepoError))


def test_twenty_recoveries_of_one_commit_make_one_commit(repo) -> None:
    parent = start(repo)
    barrier = threading.Barrier(20)

    def attempt(_: int) -> str:
        barrier.wait(timeout=100)
        return change(repo, parent)

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(attempt, range(20))) == {repo.tip()}
    assert repo.parents(repo.tip()) == [parent]


def test_a_branch_that_another_git_holds_for_a_moment_is_waited_for(repo) -> None:
    parent = start(repo)
    lock = repo.write(".git/refs/heads/ade/exp.lock", "")
    done = threading.Timer(0.7, lock.unlink)
    done.start()
    assert change(repo, parent) == repo.tip()
    done.join()


def test_a_repeated_commit_is_the_same_commit(repo) -> None:
    parent = start(repo)
    commit = change(repo, parent)
    assert change(repo, parent) == commit
    assert repo.tip() == commit


def test_another_commit_on_the_same_parent_is_refused(repo) -> None:
    parent = start(repo)
    commit = change(repo, parent)
    with pytest.raises(RepoError, match=f"ade/exp has moved on from {parent[:12]} to {commit[:12]}"):
        change(repo, parent, trailers={**TRAILERS, "Ade-Attempt": "3"})
    assert repo.tip() == commit


def test_a_deleted_branch_is_not_made_again(repo) -> None:
    parent = start(repo)
    repo.git("branch", "-D", "ade/exp")
    with pytest.raises(RepoError, match="there is no branch ade/exp"):
        change(repo, parent)


def test_the_branch_has_a_reflog(repo) -> None:
    change(repo, start(repo))
    assert "ade-hpc: optimizer.lr: 0.03" in repo.git("reflog", "ade/exp")


# --- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda repo: repo.git("branch", "ade"), "the branch `ade` is in the way"),
        (lambda repo: repo.git("branch", "ade/exp/old"), "the branch `ade/exp/old` is in the way"),
        (lambda repo: repo.write(".git/refs/heads/ade/exp.lock", ""), r"another git holds .*/ade/exp\.lock"),
        (
            lambda repo: repo.git("symbolic-ref", "refs/heads/ade/exp", "refs/heads/main"),
            "only stands for refs/heads/main",
        ),
    ],
)
def test_a_branch_that_can_not_be_made(
    repo, prepare: Callable[..., object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(rim._CONFIG, "core.filesRefLockTimeout", "100")
    old = repo.head
    prepare(repo)
    repo.write("new", "new")
    with pytest.raises(RepoError, match=said):
        freeze(open_project(repo.path), "exp", allow_dirty=True, trailers=TRAILERS)
    assert repo.head == old


def test_a_branch_that_somebody_has_checked_out_stays_under_their_feet(repo) -> None:
    parent = start(repo)
    repo.git("worktree", "add", "-q", "../looking", "ade/exp")
    with pytest.raises(RepoError, match=r"ade/exp is checked out in .*/looking: `git switch`"):
        change(repo, parent)
    assert repo.tip() == parent


@pytest.mark.parametrize(
    ("path", "said"),
    [("no.yaml", "no.yaml is not in commit"), ("folder", "is a folder"), ("link.yaml", "is a symbolic link")],
)
def test_what_is_no_file_of_the_commit(repo, path: str, said: str) -> None:
    (repo.path / "link.yaml").symlink_to("config.yaml")
    repo.commit({"folder/x": "x"})
    project, parent = open_project(repo.path), start(repo)
    with pytest.raises(RepoError, match=said):
        read_file(project, parent, PurePosixPath(path))
    with pytest.raises(RepoError, match=said):
        commit_file(
            project, "exp", PurePosixPath(path), "a: 1\n", parent=parent, subject="s", body="", trailers=TRAILERS
        )


def test_a_change_that_changes_nothing_is_refused(repo) -> None:
    with pytest.raises(RepoError, match="nothing to commit"):
        change(repo, start(repo), lr=0.1)


def test_text_that_is_no_utf8_is_refused(repo) -> None:
    repo.commit({"config.yaml": b"name: caf\xe9\n"})
    with pytest.raises(RepoError, match=r"config.yaml in .* is not UTF-8"):
        read_file(open_project(repo.path), repo.head, CONFIG)


@pytest.mark.parametrize("commit", ["main", "--all", "0" * 39, "HEAD~1"])
def test_only_full_ids_are_taken_for_commits(repo, commit: str) -> None:
    with pytest.raises(RepoError, match="is not the full id of a commit"):
        tree_of(open_project(repo.path), commit)


def test_a_commit_that_is_gone(repo) -> None:
    with pytest.raises(RepoError, match="lacks a commit of this experiment"):
        tree_of(open_project(repo.path), "1" * 40)


def test_a_replaced_object_deceives_nobody(repo) -> None:
    first = start(repo)
    other = repo.commit({"config.yaml": "optimizer:\n  lr: 9.0\n"})
    repo.git("replace", first, other)
    assert "lr: 0.1" in read_file(open_project(repo.path), first, CONFIG)


# --- log --------------------------------------------------------------------------------------------------------


def test_log_tells_the_experiments_own_story_newest_first(repo) -> None:
    project = open_project(repo.path)
    assert tip(project, "exp") is None
    assert log(project, "exp") == []
    first = start(repo)
    second = change(repo, first)
    repo.commit({"own.py": "the user's"})
    third = start(repo)
    assert [(info.sha, info.subject) for info in log(project, "exp", first)] == [
        (third, "ade-hpc: freeze exp"),
        (second, "optimizer.lr: 0.03"),
    ]
    assert log(project, "exp", first)[1].trailers == TRAILERS
    assert len(log(project, "exp")) == 3
