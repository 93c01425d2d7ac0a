# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests use, in one place."""

from agent import (BUILD, SANITIZED, VM_ID, Agent, Varlink, VarlinkError, allowing, lasting, later,
                   new_key, port_claim, run_jitgate, sign)
from sockets import Listener, Session, Udp, connect, is_open
from world import SLOWNESS, Namespace, World, await_
