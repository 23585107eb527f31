# SPDX-License-Identifier: Apache-2.0
"""Push ``ade/<experiment>`` to the remote that experiment.yaml names: that branch only, never by force."""

from __future__ import annotations

from ade_hpc.errors import RepoError
from ade_hpc.repo.branch import tip
from ade_hpc.repo.project import Project, decoded, printable

# Nobody sits at a terminal to type a password, and ssh would wait for one.
_UNATTENDED = {"GIT_ASKPASS": "true", "SSH_ASKPASS": "true", "SSH_ASKPASS_REQUIRE": "never"}


def push_branch(project: Project, experiment: str, remote: str) -> bool:
    """Bring the remote's branch up to ours; False where it is there already or we have no branch.

    A push that is refused is tried again after a fetch: what we thought the remote had may be old. Raises RepoError
    where the remote can't be reached, or where its branch has commits that ours lacks.
    """
    ours = tip(project, experiment)
    if ours is None or _known(project, experiment, remote) == ours:
        return False
    try:
        _push(project, experiment, remote)
    except RepoError as refused:
        theirs = _fetch(project, experiment, remote, refused)
        if theirs == ours:
            return True
        if theirs is not None and project.git("rev-list", "--max-count=1", theirs, f"^{ours}"):
            raise RepoError(
                f"{remote} has commits on ade/{experiment} that are not here: it was not pushed; look at "
                f"`git log {remote}/ade/{experiment}`"
            ) from None
        _push(project, experiment, remote)
    return True


def try_push(project: Project, experiment: str, remote: str) -> None:
    """Ask the remote whether it would take the branch, and send nothing. Raises RepoError where it would not."""
    _push(project, experiment, remote, "--dry-run", what=tip(project, experiment) or "HEAD")


def _push(project: Project, experiment: str, remote: str, *more: str, what: str = "") -> None:
    ref = f"refs/heads/ade/{experiment}"
    try:
        project.git(
            "push", "--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no", "--no-force",
            *more, "--", remote, f"{what or ref}:{ref}", env=_UNATTENDED,
        )  # fmt: skip
    except RepoError as error:
        raise RepoError(f"ade/{experiment} could not be pushed to {remote}: {printable(str(error))[:300]}") from None


def _fetch(project: Project, experiment: str, remote: str, refused: RepoError) -> str | None:
    """What the remote's branch is now, None where it has none. Raises ``refused`` where the remote doesn't answer."""
    refspec = f"+refs/heads/ade/{experiment}:{_tracking(experiment, remote)}"
    try:
        if not project.git("ls-remote", "--heads", "--", remote, f"refs/heads/ade/{experiment}", env=_UNATTENDED):
            return None
        project.git(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", "--", remote, refspec,
            env=_UNATTENDED,
        )  # fmt: skip
    except RepoError:
        raise refused from None
    return _known(project, experiment, remote)


def _known(project: Project, experiment: str, remote: str) -> str | None:
    """The remote's branch as of the last push or fetch."""
    found = decoded(project.git("for-each-ref", "--format=%(objectname)", _tracking(experiment, remote)))
    return found.split("\n")[0] or None


def _tracking(experiment: str, remote: str) -> str:
    return f"refs/remotes/{remote}/ade/{experiment}"
