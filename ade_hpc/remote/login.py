# SPDX-License-Identifier: Apache-2.0
"""Authenticate on an SSH connection whose host is known: keys, then what the other side asks (ssh_config(5) order).

RFC 4252 lets a server want several methods one after another: each success may name those that must still follow.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.ssh_exception import AuthenticationException, BadAuthenticationType

from ade_hpc.errors import RemoteError
from ade_hpc.remote.ask import Person
from ade_hpc.remote.config import Target

PATIENCE_S = 180.0  # for a person to find their phone
PASSWORD_TRIES = 3  # ssh_config(5), NumberOfPasswordPrompts
INTERACTIVE = "keyboard-interactive"

Prompts = Sequence[tuple[str, bool]]


def authenticate(transport: paramiko.Transport, target: Target, person: Person) -> None:
    """Raises RemoteError, with what was tried, unless the server lets us in; EOFError where the connection broke."""
    transport.auth_timeout = PATIENCE_S
    wanted = _wanted(transport, target)
    tried = []
    if "publickey" in wanted:
        for name, key in _keys(target, person):
            tried.append(name)
            try:
                wanted = transport.auth_publickey(target.user, key)
            except AuthenticationException:
                if not transport.is_active():
                    break  # too many keys for this server
                continue
            if transport.is_authenticated():
                return
            break  # this key was right, and something must follow
    if not transport.is_active() and len(tried) < 2:  # a server hangs up on its own account after several keys
        raise EOFError(f"it was closed during the login{f' with {tried[0]}' if tried else ''}")
    _ask(transport, target, person, wanted)
    if not transport.is_authenticated():
        keys = f"refused {', '.join(tried)}" if tried else "was offered no key"
        raise RemoteError(
            f"{target.host}: {target.user}@{target.address} {keys} and accepts {', '.join(wanted) or 'nothing'}; what "
            f"works for `ssh {target.host}` works here"
        )


def _wanted(transport: paramiko.Transport, target: Target) -> Sequence[str]:
    """The methods with which one may begin."""
    try:
        transport.auth_none(target.user)
    except BadAuthenticationType as error:
        return list(error.allowed_types)
    except AuthenticationException:
        pass
    return []


def _ask(transport: paramiko.Transport, target: Target, person: Person, wanted: Sequence[str]) -> None:
    """What only a person can answer: a second factor or a password."""
    try:
        if INTERACTIVE in wanted:
            wanted = _interactive(transport, target.user, person)
        if not transport.is_authenticated() and "password" in wanted:
            _password(transport, target, person)
    except AuthenticationException as error:
        raise RemoteError(f"{target.host}: did not accept the answer; try again, or try `ssh {target.host}`") from error


def _password(transport: paramiko.Transport, target: Target, person: Person) -> None:
    for left in reversed(range(PASSWORD_TRIES)):
        word = person.answer(f"{target.user}@{target.address}'s password: ", echo=False)
        try:
            transport.auth_password(target.user, word, fallback=False)
            return
        except AuthenticationException:
            if not left or not transport.is_active():
                raise


def _interactive(transport: paramiko.Transport, user: str, person: Person) -> Sequence[str]:
    """Each prompt once. Asked in this thread, so that Ctrl-C finds it and the terminal gets its echo back."""
    questions: queue.Queue[tuple[str, str, Prompts]] = queue.Queue()
    answers: queue.Queue[list[str]] = queue.Queue()

    def handler(title: str, instructions: str, prompts: Prompts) -> list[str]:
        questions.put((title, instructions, prompts))
        return answers.get()

    with ThreadPoolExecutor(1) as pool:
        attempt: Future[Any] = pool.submit(transport.auth_interactive, user, handler)
        try:
            while not attempt.done():
                try:
                    title, instructions, prompts = questions.get(timeout=0.05)
                except queue.Empty:
                    continue
                person.tell("\n".join(text for text in (title, instructions) if text.strip()))
                answers.put([person.answer(prompt, echo=echo) for prompt, echo in prompts])
        except BaseException:
            transport.close()
            answers.put([])
            raise
        left: Sequence[str] = attempt.result()
        return left


# --- keys -----------------------------------------------------------------------------------------------------------


def _keys(target: Target, person: Person) -> Iterator[tuple[str, paramiko.PKey]]:
    """As ssh does: of the agent those that the configuration names, then its others, then files."""
    agent = _agent_keys(target.agent)
    named = [blob for path in target.identities if (blob := _public(path))]
    first = [key for key in agent if key.asbytes() in named]
    others = [] if target.identities_only else [key for key in agent if key not in first]
    for key in (*first, *others):
        yield f"the agent's {key.comment or key.get_name()}", key
    held = {key.asbytes() for key in agent}
    for path in target.identities:
        if os.path.exists(path) and _public(path) not in held and (loaded := _load(path, person)):
            yield path, loaded


def _agent_keys(socket_path: str) -> list[paramiko.AgentKey]:
    """paramiko finds the agent only by the variable."""
    if not socket_path:
        return []
    os.environ["SSH_AUTH_SOCK"] = socket_path
    try:
        return list(paramiko.Agent().get_keys())
    except (paramiko.SSHException, OSError):
        return []


def _public(path: str) -> bytes | None:
    """The public half beside a private key: what an agent is asked by."""
    import base64

    try:
        return base64.b64decode(Path(f"{path}.pub").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _load(path: str, person: Person) -> paramiko.PKey | None:
    """None where the file holds no key that we can use: a key on a token, or one whose passphrase nobody can give."""
    try:
        return paramiko.PKey.from_path(path)
    except (paramiko.PasswordRequiredException, TypeError):  # TypeError: cryptography's word for "encrypted"
        if not person.attended:
            return None
    except (OSError, ValueError, paramiko.SSHException, UnsupportedAlgorithm, paramiko.pkey.UnknownKeyType):
        return None
    word: Any = person.answer(
        f"Enter passphrase for key '{path}': ", echo=False
    ).encode()  # from_path passes it on as is
    try:
        return paramiko.PKey.from_path(path, word)
    except (OSError, ValueError, paramiko.SSHException) as error:
        raise RemoteError(f"{path}: that is not its passphrase") from error
