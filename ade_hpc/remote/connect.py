# SPDX-License-Identifier: Apache-2.0
"""Choose the transport: an open ControlMaster if there is one, else a connection of our own."""

from __future__ import annotations

import os

from ade_hpc.remote.over_openssh import OpenSshTransport, is_open
from ade_hpc.remote.settings import settings_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ade_hpc.remote.transport import Transport


def connect(host: str, *, attended: bool | None = None) -> Transport:
    """A connection to ``host`` (an alias, or user@host), for a ``with`` block.

    attended: whether a person may be asked for a second factor; default: where there is a terminal.
    Raises HostSilent where there is no connection, RemoteError where the host is not trusted or does not let us in.
    """
    settings = settings_of(host)
    if is_open(settings.one("controlpath")):
        return OpenSshTransport(host, settings)
    from ade_hpc.remote.config import target
    from ade_hpc.remote.over_paramiko import ParamikoTransport

    return ParamikoTransport(target(host, settings, os.environ), attended=attended)
