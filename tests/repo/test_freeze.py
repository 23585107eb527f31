# SPDX-License-Identifier: Apache-2.0
"""What is submitted is a commit: HEAD, or, when asked, the files as they lie there; the branch only moves forward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest

from ade_hpc.errors import RepoError
from ade_hpc.repo import worktree
from ade_hpc.repo.branch import commit_file, freeze, open_project

TRAILERS = {"Ade-Experiment": "exp"}


def frozen(repo, *, allow_dirty: bool = False, exclude: Sequence[Path] = ()) -> str:
    return freeze(open_project(repo.path), "exp", allow_dirty=allow_dirty, trailers=TRAILERS, exclude=exclude)


def agent_commit(repo, parent: str) -> str:
    path = PurePosixPath("config.yaml")
    project = open_project(repo.path)
    return commit_file(project, "exp", path, "lr: 1\n", parent=parent, subject="lr", body="", trailers={"Ade-A": "1"})


def files(repo, commit: str) -> dict[str, str]:
    names = repo.git("ls-tree", "-r", "--name-only", commit).split("\n")
    return {name: repo.git("show", f"{commit}:{name}") for name in names}


def is_forward(repo, old: str, new: str) -> bool:
    return repo.git("merge-base", old, new) == old


def test_the_first_time_the_branch_is_head_itself(repo) -> None:
    assert frozen(repo) == repo.head == repo.tip()


def test_twice_the_same_is_once(repo) -> None:
    assert frozen(repo) == frozen(repo)


def test_a_branch_behind_head_is_forwarded(repo) -> None:
    frozen(repo)
    repo.commit({"train.py": "new\n"})
    assert frozen(repo) == repo.head


def test_a_branch_that_the_agent_moved_gets_heads_tree_with_both_parents(repo) -> None:
    agent = agent_commit(repo, frozen(repo))
    commit = frozen(repo)
    assert repo.parents(commit) == [agent, repo.head]
    assert repo.tree(commit) == repo.tree(repo.head)
    assert is_forward(repo, agent, commit)
    assert frozen(repo) == commit  # and again: nothing to add


def test_diverged_from_the_users_branch(repo) -> None:
    agent = agent_commit(repo, frozen(repo))
    repo.commit({"train.py": "new\n"})
    commit = frozen(repo)
    assert repo.parents(commit) == [agent, repo.head]
    assert files(repo, commit)["train.py"] == "new"
    assert repo.git("log", "-1", "--format=%(trailers:key=Ade-Experiment,valueonly)", commit).strip() == "exp"


@pytest.mark.parametrize("how", ["unstaged", "staged", "untracked", "deleted", "mode"])
def test_a_dirty_tree_is_refused_with_what_to_do(repo, how: str) -> None:
    if how == "untracked":
        repo.write("lib/new.py", "x")
    elif how == "deleted":
        (repo.path / "train.py").unlink()
    elif how == "mode":
        (repo.path / "train.py").chmod(0o755)
    else:
        repo.write("train.py", "new\n")
    if how == "staged":
        repo.git("add", "train.py")
    name = "lib/" if how == "untracked" else "train.py"
    with pytest.raises(RepoError, match=rf"not be in the run \({name}\): commit them, or submit with --allow-dirty"):
        frozen(repo)
    assert "ade/exp" not in repo.git("branch")


def test_only_the_first_few_files_are_named(repo) -> None:
    for number in range(9):
        repo.write(f"f{number}", "x")
    with pytest.raises(RepoError, match=r"\(f0, f1, f2, f3, f4 and 4 more\)"):
        frozen(repo)


def test_hidden_by_the_users_settings_but_still_missing_from_the_run(repo) -> None:
    repo.git("config", "status.showUntrackedFiles", "no")
    repo.write("new.py", "x")
    with pytest.raises(RepoError, match=r"new\.py"):
        frozen(repo)


def test_ignored_files_are_no_dirt(repo) -> None:
    repo.commit({".gitignore": "*.log\n"})
    repo.write("big.log", "x")
    assert frozen(repo) == repo.head


def test_allow_dirty_commits_the_files_as_they_lie_there(repo) -> None:
    repo.commit({".gitignore": "*.log\n", "gone.py": "x", "swap": "file", "dir/old": "x", "link": "file"})
    repo.write("train.py", "staged\n")
    repo.git("add", "train.py")
    repo.write("train.py", "final\n")
    repo.write("lib/deep/new.py", "new\n")
    repo.write("with space\n.txt", "odd\n")
    repo.write("noise.log", "ignored")
    repo.write("intended", "to add")
    repo.git("add", "-N", "intended")
    (repo.path / "gone.py").unlink()
    (repo.path / "swap").unlink()
    repo.write("swap/inner", "now a folder")
    (repo.path / "dir/old").unlink()
    (repo.path / "dir").rmdir()
    (repo.path / "dir").symlink_to("lib")
    (repo.path / "link").unlink()
    (repo.path / "link").symlink_to("train.py")
    before = repo.fingerprint()

    commit = frozen(repo, allow_dirty=True)

    assert repo.fingerprint() == before
    assert repo.parents(commit) == [repo.head]
    index = repo.path.parent / "index"  # what `git add -A` would make of it, in an index that is not the user's
    index.write_bytes((repo.path / ".git/index").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_INDEX_FILE", str(index))
        repo.git("add", "-A")
        assert repo.git("write-tree") == repo.tree(commit)


def test_allow_dirty_applies_the_users_filters(repo) -> None:
    repo.commit({".gitattributes": "*.txt text\n"})
    repo.write("a.txt", "one\r\ntwo\r\n")
    commit = frozen(repo, allow_dirty=True)
    assert repo.git("cat-file", "-s", f"{commit}:a.txt") == "8"


def test_allow_dirty_on_a_branch_that_has_moved_keeps_both_parents(repo) -> None:
    agent = agent_commit(repo, frozen(repo))
    repo.write("new.py", "x")
    commit = frozen(repo, allow_dirty=True)
    assert repo.parents(commit) == [agent, repo.head]
    assert frozen(repo, allow_dirty=True) == commit


def test_allow_dirty_on_a_clean_tree_is_head(repo) -> None:
    assert frozen(repo, allow_dirty=True) == repo.head


def test_a_change_within_the_same_second_and_size_is_seen(repo) -> None:
    """Git tells changed files by size and time; the copy of the index must not make a fresh change look old."""
    for number in range(10):
        repo.commit({"train.py": f"x = {number}\n"})
        repo.write("train.py", f"y = {number}\n")
        with pytest.raises(RepoError, match=r"train\.py"):
            frozen(repo)


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("where", [".ade", "runs/deep/.ade"])
def test_the_runs_neither_count_as_dirt_nor_get_committed(repo, where: str, ignored: bool) -> None:
    runs = repo.path / where
    if ignored:
        repo.commit({".gitignore": ".ade/\n"})
    repo.write(f"{where}/exp/ledger.jsonl", "{}")
    assert frozen(repo, exclude=[runs]) == repo.head
    repo.write("new.py", "x")
    commit = frozen(repo, allow_dirty=True, exclude=[runs, Path("/elsewhere")])
    assert "new.py" in files(repo, commit)
    assert not any(".ade" in name for name in files(repo, commit))


def test_runs_at_the_top_of_the_work_tree_are_refused(repo) -> None:
    with pytest.raises(RepoError, match="can't lie at the top of the work tree"):
        frozen(repo, exclude=[repo.path])


def test_a_project_below_the_runs_is_fine(repo) -> None:
    assert frozen(repo, exclude=[repo.path.parent]) == repo.head


def test_no_commit_yet(make_repo) -> None:
    with pytest.raises(RepoError, match="has no commit yet: commit your project first"):
        frozen(make_repo())


def test_the_midst_of_a_merge(repo) -> None:
    repo.git("checkout", "-qb", "side")
    repo.commit({"train.py": "side\n"})
    repo.git("checkout", "-q", "main")
    repo.commit({"train.py": "main\n"})
    with pytest.raises(AssertionError, match="git"):
        repo.git("merge", "side")
    with pytest.raises(RepoError, match=r"train\.py: in the midst of a merge"):
        frozen(repo, allow_dirty=True)


def test_a_repository_within_the_repository(repo, make_repo) -> None:
    make_repo("project/nested", {"a": "a"})
    with pytest.raises(RepoError, match="nested/: a git repository of its own"):
        frozen(repo, allow_dirty=True)


def test_a_data_set_is_not_committed_unasked(repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worktree, "MAX_BYTES", 1000)
    repo.write("data/big.bin", b"x" * 1001)
    with pytest.raises(RepoError, match=r"too much to commit unasked \(data/big.bin\)"):
        frozen(repo, allow_dirty=True)
    monkeypatch.setattr(worktree, "MAX_FILES", 3)
    for number in range(4):
        repo.write(f"data/{number}", "x")
    with pytest.raises(RepoError, match="5 uncommitted files"):
        frozen(repo, allow_dirty=True)


def test_a_commit_that_lost_the_race_says_so(repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody moves the branch between our look and our move: git's compare-and-swap decides, and we say it."""
    from ade_hpc.repo import branch

    stolen = repo.commit({"theirs": "x"})
    repo.git("reset", "-q", "--hard", "HEAD~1")
    honest = branch.tree_of

    def thief(project, commit):
        repo.git("update-ref", "refs/heads/ade/exp", stolen)
        return honest(project, commit)

    frozen(repo)
    repo.write("new", "x")
    monkeypatch.setattr(branch, "tree_of", thief)
    with pytest.raises(RepoError, match="ade/exp was moved by somebody else at the same time"):
        frozen(repo, allow_dirty=True)
    assert repo.tip() == stolen
