# SPDX-License-Identifier: Apache-2.0
"""A snapshot holds the committed tree, all of it and nothing else, and no later edit reaches it."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ade_hpc.errors import RepoError
from ade_hpc.repo import snapshot
from ade_hpc.repo.branch import open_project
from ade_hpc.repo.snapshot import SnapshotInfo, materialise

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 7\n"


def take(repo, target: Path, *code: str, folder: str = ".") -> SnapshotInfo:
    return materialise(open_project(repo.path / folder), repo.head, target, code=code)


def contents(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_the_committed_tree_and_nothing_else(repo, tmp_path: Path) -> None:
    (repo.path / "run.sh").write_text("#!/bin/sh\n")
    (repo.path / "run.sh").chmod(0o755)
    (repo.path / "link.py").symlink_to("train.py")
    repo.commit({"src/deep/mod.py": "x = 1\n", "odd name\n": "odd"})
    repo.write("train.py", "edited after the commit\n")
    repo.write("untracked", "x")
    before = repo.fingerprint()
    info = take(repo, tmp_path / "code")
    assert repo.fingerprint() == before
    assert contents(tmp_path / "code") == [
        "config.yaml", "link.py", "odd name\n", "run.sh", "src/deep/mod.py", "train.py",
    ]  # fmt: skip
    assert (tmp_path / "code/train.py").read_text() == "print('training')\n"
    assert os.readlink(tmp_path / "code/link.py") == "train.py"
    assert os.access(tmp_path / "code/run.sh", os.X_OK)
    size = sum(
        path.lstat().st_size for path in (tmp_path / "code").rglob("*") if path.is_file() and not path.is_symlink()
    )
    assert info == SnapshotInfo(tree=repo.tree("HEAD"), files=6, bytes=size)
    assert list(tmp_path.glob(".code-*")) == []


def test_files_are_read_only_and_the_folder_can_be_deleted(repo, tmp_path: Path) -> None:
    repo.commit({"src/mod.py": "x"})
    take(repo, tmp_path / "code")
    assert all(path.stat().st_mode & 0o222 == 0 for path in (tmp_path / "code").rglob("*") if path.is_file())
    assert all(path.stat().st_mode & 0o700 == 0o700 for path in (tmp_path / "code").rglob("*") if path.is_dir())
    shutil.rmtree(tmp_path / "code")


def test_export_attributes_have_no_effect(repo, tmp_path: Path) -> None:
    repo.commit({".gitattributes": "secret.py export-ignore\nversion.py export-subst\n", "secret.py": "needed\n"})
    repo.commit({"version.py": "v = '$Format:%H$'\n"})
    take(repo, tmp_path / "code")
    assert (tmp_path / "code/secret.py").read_text() == "needed\n"
    assert (tmp_path / "code/version.py").read_text() == "v = '$Format:%H$'\n"


def test_line_endings_are_those_of_a_checkout_by_the_committed_attributes(repo, tmp_path: Path) -> None:
    repo.commit({".gitattributes": "*.bat text eol=crlf\n", "a.bat": "one\ntwo\n", "sub/b.bat": "x\n"})
    repo.write(".gitattributes", "*.bat -text\n")  # an edit that is not committed does not count
    take(repo, tmp_path / "code")
    assert (tmp_path / "code/a.bat").read_bytes() == b"one\r\ntwo\r\n"
    take(repo, tmp_path / "part", "sub")  # nor does it matter that `code:` leaves the attributes out
    assert (tmp_path / "part/sub/b.bat").read_bytes() == b"x\r\n"


def test_no_hook_runs(repo, tmp_path: Path) -> None:
    for hook in ("post-checkout", "post-index-change", "reference-transaction"):
        repo.hook(hook, f"touch {tmp_path}/ran; exit 1")
    take(repo, tmp_path / "code")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["detached", "linked", "shallow", "sparse", "bare-main"])
def test_every_kind_of_work_tree(repo, tmp_path: Path, kind: str) -> None:
    repo.commit({"data/a": "a", "src/b": "b"})
    where = repo.path
    if kind == "detached":
        repo.git("checkout", "-q", "--detach")
    elif kind == "linked":
        repo.git("worktree", "add", "-q", "--detach", "../linked")
        where = repo.path.parent / "linked"
    elif kind == "bare-main":
        repo.git("clone", "-q", "--bare", str(repo.path), "../bare.git")
        where = repo.path.parent / "linked"
        type(repo)(repo.path.parent / "bare.git").git("worktree", "add", "-q", "--detach", str(where))
    elif kind == "shallow":
        where = repo.path.parent / "shallow"
        repo.git("clone", "-q", "--depth=1", f"file://{repo.path}", str(where))
    else:
        repo.git("sparse-checkout", "set", "--cone", "src")
    materialise(open_project(where), repo.head, tmp_path / "code")
    assert contents(tmp_path / "code") == ["config.yaml", "data/a", "src/b", "train.py"]


def test_a_partial_clone_fetches_what_it_needs(repo, tmp_path: Path) -> None:
    repo.git("config", "uploadpack.allowFilter", "true")
    repo.git("clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{repo.path}", "../partial")
    materialise(open_project(repo.path.parent / "partial"), repo.head, tmp_path / "code")
    assert contents(tmp_path / "code") == ["config.yaml", "train.py"]


# --- there already ----------------------------------------------------------------------------------------------


def test_a_complete_snapshot_is_kept(repo, tmp_path: Path) -> None:
    first = take(repo, tmp_path / "code")
    (tmp_path / "code/__pycache__").mkdir()
    inode = (tmp_path / "code/train.py").stat().st_ino
    assert take(repo, tmp_path / "code") == first
    assert (tmp_path / "code/train.py").stat().st_ino == inode


def test_an_incomplete_one_is_not_taken_for_complete(repo, tmp_path: Path) -> None:
    take(repo, tmp_path / "code")
    (tmp_path / "code/train.py").unlink()
    with pytest.raises(RepoError, match=r"lacks train\.py: delete the folder"):
        take(repo, tmp_path / "code")


def test_an_empty_folder_is_filled(repo, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    assert take(repo, tmp_path / "code").files == 2


def test_several_at_once_end_with_one_complete_snapshot(repo, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        infos = set(pool.map(lambda _: take(repo, tmp_path / "code"), range(6)))
    assert len(infos) == 1
    assert contents(tmp_path / "code") == ["config.yaml", "train.py"]
    assert list(tmp_path.glob(".code-*")) == []


@pytest.mark.parametrize("target", ["missing/code", "file"])
def test_a_place_that_can_not_be_written(repo, tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RepoError, match=r"snapshot .* can't be written"):
        take(repo, tmp_path / target)
    assert list(tmp_path.glob(".*")) == []


# --- code: ------------------------------------------------------------------------------------------------------


def test_code_limits_the_snapshot_to_paths_of_the_project(repo, tmp_path: Path) -> None:
    repo.commit({"exps/one/run.py": "1", "exps/one/lib/a.py": "a", "exps/two/run.py": "2", "common/c.py": "c"})
    info = take(repo, tmp_path / "code", "run.py", "lib/", "../../common", folder="exps/one")
    assert contents(tmp_path / "code") == ["common/c.py", "exps/one/lib/a.py", "exps/one/run.py"]
    assert info.files == 3
    assert info.tree == repo.tree("HEAD")
    take(repo, tmp_path / "whole", ".", folder="exps/one")
    assert contents(tmp_path / "whole") == ["exps/one/lib/a.py", "exps/one/run.py"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("librarry", r"`librarry` under `code:` is not in the commit"),
        ("trai", "is not in the commit"),
        ("../outside", "lies outside of the repository"),
        ("/etc", "lies outside of the repository"),
    ],
)
def test_a_wrong_name_under_code(repo, tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(RepoError, match=said):
        take(repo, tmp_path / "code", name)


# --- refusals ---------------------------------------------------------------------------------------------------


def refused(repo, tmp_path: Path, said: str) -> None:
    with pytest.raises(RepoError, match=said):
        take(repo, tmp_path / "code")
    assert not (tmp_path / "code").exists()
    assert list(tmp_path.glob(".code-*")) == []


def test_a_submodule_is_refused_unless_code_leaves_it_out(repo, make_repo, tmp_path: Path) -> None:
    library = make_repo("library", {"a.py": "a"})
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.path), "third/lib")
    repo.commit()
    refused(repo, tmp_path, r"submodules can't be frozen \(third/lib\): commit their files")
    assert take(repo, tmp_path / "code", "train.py").files == 1


@pytest.mark.parametrize(
    ("name", "to"), [("link", "/etc/passwd"), ("link", "../outside"), ("sub/link", "../../outside"), ("up", "..")]
)
def test_a_link_that_leaves_the_tree_is_refused(repo, tmp_path: Path, name: str, to: str) -> None:
    (repo.path / name).parent.mkdir(exist_ok=True)
    (repo.path / name).symlink_to(to)
    repo.commit()
    refused(repo, tmp_path, rf"symbolic links that leave the repository can't be frozen \({name}\)")


def test_a_link_that_leaves_the_tree_by_way_of_another_link(repo, tmp_path: Path) -> None:
    (repo.path / "a/b").mkdir(parents=True)
    (repo.path / "a/b/here").symlink_to("..")
    (repo.path / "x").symlink_to("a/b/here/../..")  # reads like `a`, leads above the top
    repo.commit()
    refused(repo, tmp_path, r"leave the repository can't be frozen \(x\)")


def test_a_link_to_something_that_code_leaves_out_may_dangle(repo, tmp_path: Path) -> None:
    (repo.path / "data").symlink_to("elsewhere/in/the/tree")
    (repo.path / "loop").symlink_to("loop")
    repo.commit()
    assert take(repo, tmp_path / "code").files == 4


def test_an_lfs_pointer_is_refused(repo, tmp_path: Path) -> None:
    repo.commit({"weights/model.bin": POINTER})
    refused(repo, tmp_path, r"only pointers into Git LFS \(weights/model.bin\): install git-lfs and run `git lfs pull`")


def test_an_lfs_filter_that_fails_is_explained(repo, tmp_path: Path) -> None:
    repo.commit({"weights/model.bin": POINTER, ".gitattributes": "*.bin filter=lfs\n"})
    repo.git("config", "filter.lfs.smudge", "git-lfs-is-not-installed smudge -- %f")
    repo.git("config", "filter.lfs.required", "true")
    refused(repo, tmp_path, r"kept in Git LFS and git-lfs failed: install it")


def test_an_lfs_filter_that_works_gives_the_content(repo, tmp_path: Path) -> None:
    """git-lfs' contract, played by a script that can tell, as git-lfs does, which repository it works for."""
    repo.commit({"weights/model.bin": POINTER, ".gitattributes": "*.bin filter=lfs\n"})
    smudge = repo.write(
        ".git/smudge", '#!/bin/sh\ncat >/dev/null\nprintf "from %s" "$(git rev-parse --absolute-git-dir)"\n'
    )
    smudge.chmod(0o755)
    repo.git("config", "filter.lfs.smudge", str(smudge))
    repo.git("config", "filter.lfs.required", "true")
    take(repo, tmp_path / "code")
    assert (tmp_path / "code/weights/model.bin").read_text() == f"from {repo.path}/.git"


def test_a_filter_that_makes_much_of_little_is_measured_after(
    repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "MAX_BYTES", 10_000)
    repo.commit({"model.bin": "x", ".gitattributes": "*.bin filter=blow\n"})
    repo.git("config", "filter.blow.smudge", "head -c 20000 /dev/zero")
    refused(repo, tmp_path, r"holds 4 files of 0\.0 MB \(model\.bin 0\.0 MB in 1, ")


def test_too_many_files_name_the_biggest_folders_and_the_way_out(repo, tmp_path: Path) -> None:
    blob = repo.git("hash-object", "-w", "train.py")
    entries = (f"100644 {blob}\tdata/{number % 7}/{number}.txt\n" for number in range(5001))
    repo.git("update-index", "--add", "--index-info", stdin="".join(entries))
    repo.git("commit", "-qm", "many")
    refused(repo, tmp_path, r"holds 5,003 files of .* \(data/ 0\.1 MB in 5,001, .*`code:` in experiment.yaml")
    assert take(repo, tmp_path / "code", "train.py", "config.yaml").files == 2
    assert take(repo, tmp_path / "much", "data").files == 5001


def test_too_many_bytes(repo, tmp_path: Path) -> None:
    repo.commit({"data/big.bin": bytes(100_000_001), "small.bin": bytes(3_000_000)})
    refused(repo, tmp_path, r"4 files of 103\.0 MB \(data/ 100\.0 MB in 1, small\.bin 3\.0 MB in 1, ")


@pytest.mark.parametrize("commit", ["main", "1" * 40])
def test_a_commit_that_is_none(repo, tmp_path: Path, commit: str) -> None:
    with pytest.raises(RepoError, match=r"full id of a commit|lacks a commit"):
        materialise(open_project(repo.path), commit, tmp_path / "code")
