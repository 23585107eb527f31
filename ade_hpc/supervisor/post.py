# SPDX-License-Identifier: Apache-2.0
"""Post: hand one message over, by the site's mail program or by apprise, each in a process of its own and in time.

An address of apprise may hold a password: it goes to that process through a pipe, and no message of ours repeats it.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from email.message import EmailMessage

from ade_hpc.errors import SchedulerError, SchedulerSilent, StoreError
from ade_hpc.metrics.text import printable
from ade_hpc.scheduler.environment import clean_env
from ade_hpc.scheduler.run import run
from ade_hpc.spec.preference_fields import Notify
from ade_hpc.store.files import read_secret

SEND_S = 30.0
DAEMONS = "/usr/sbin:/sbin:/usr/lib"  # where sendmail lies, and where a user's PATH may not lead
PASSED_ON = frozenset("http_proxy https_proxy all_proxy no_proxy ssl_cert_file ssl_cert_dir requests_ca_bundle".split())


def send(target: Notify, title: str, text: str, environ: Mapping[str, str]) -> str:
    """Why it could not be handed over, one sentence; empty where it was."""
    env = _env(environ)
    try:
        if target.mail:
            return _mail(target.mail, title, text, env)
        return _apprise(address_of(target, environ), title, text, env)
    except SchedulerSilent:
        return f"no answer within {SEND_S:.0f} s"
    except (SchedulerError, StoreError) as error:
        return str(error)


def address_of(target: Notify, environ: Mapping[str, str]) -> str:
    """The address of apprise that a target stands for. Raises StoreError, which never repeats it."""
    if target.file is not None:
        address, where = read_secret(target.file), str(target.file)
    else:
        address, where = environ.get(target.env or "", "").strip(), f"the variable {target.env}"
    if not address:
        raise StoreError(f"{where} is empty or not set; a scheduled tick sees files only")
    return address


def mail_program(environ: Mapping[str, str]) -> str | None:
    """Of this machine: sendmail, else mail."""
    path = f"{_env(environ)['PATH']}:{DAEMONS}"
    return shutil.which("sendmail", path=path) or shutil.which("mail", path=path)


def _mail(address: str, title: str, text: str, env: Mapping[str, str]) -> str:
    program = mail_program(env)
    if program is None:
        return "neither sendmail nor mail is on PATH"
    if program.endswith("sendmail"):
        argv, data = [program, "-i", "--", address], _letter(address, title, text)
    else:
        argv, data = [program, "-s", title, address], text.encode()
    done = run(argv, timeout=SEND_S, env=env, data=data)
    return f"{program} ended with {done.returncode}: {printable(done.words, 200)}" if done.returncode else ""


def _letter(address: str, title: str, text: str) -> bytes:
    letter = EmailMessage()
    letter["To"], letter["Subject"], letter["Auto-Submitted"] = address, title, "auto-generated"  # RFC 3834
    letter.set_content(text + "\n")
    return letter.as_bytes()


def _apprise(address: str, title: str, text: str, env: Mapping[str, str]) -> str:
    """The child says one sentence of our own making; what apprise itself says may hold the address."""
    argv = [sys.executable, "-P", "-m", "ade_hpc.supervisor.deliver"]
    message = json.dumps({"address": address, "title": title, "text": text})
    done = run(argv, timeout=SEND_S, env=env, data=message.encode())
    return "" if done.returncode == 0 else printable(done.stdout.strip(), 200) or "apprise broke off"


def _env(environ: Mapping[str, str]) -> dict[str, str]:
    """The allow-list of every call of ours, and what leads out of a site."""
    return {**clean_env(environ), **{key: value for key, value in environ.items() if key.lower() in PASSED_ON}}
