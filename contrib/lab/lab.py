# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the demo, left running, and a shell on the requester's laptop. contrib/lab/play starts it."""

import os
import pathlib
import sys

import hosts

WELCOME = """
You are alice, at her laptop (198.51.100.7). Her control plane is https://plane.example; web-1 (192.0.2.10) runs jitgated,
and its port 22 is shut. Try:

  ssh web-1                                              nobody answers
  jitgate request web-1 --port 22 --for PT2M --reason "trying it out"
  ssh web-1                                              opens; stays when the two minutes are over
  jitgate requests
  vm jitgate status; vm jitgate grants; vm jitgate sessions; vm jitgate denied; vm jitgate audit
  vm nft list table inet jitgate                         the rules, as the kernel has them
  stranger ssh web-1                                     somebody else, from 203.0.113.66
  as carol jitgate activity                              the approver's view; as bob: the administrator's

`vm`, `stranger` and `plane` run a command on that host, `as PERSON` as somebody else. What the programs print is in
{path}/*.log. `help` shows this again, `exit` ends it all.
"""
# Behind the person's own: a prompt that tells where one is. bash has a help of its own.
BASHRC = """
[ ! -r ~/.bashrc ] || . ~/.bashrc
unset PROMPT_COMMAND
PS1="alice $ "
help() { PATH/bin/help; }
"""


def write_commands(lab):
    """Commands that lead to the other hosts."""
    bin_directory = lab.path / "bin"
    for host in (lab.vm, lab.stranger, lab.plane):
        name = "vm" if host is lab.vm else host.name
        pid = os.getpid() if host is lab.vm else host.holder.pid
        write(bin_directory / name, f'exec nsenter --net --target {pid} -- "$@"')
    write(bin_directory / "help", f"cat {lab.path}/welcome")
    write(bin_directory / "as", f'XDG_CONFIG_HOME={lab.path}/$1; export XDG_CONFIG_HOME; shift; exec "$@"')


def write(path: pathlib.Path, command):
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def main():
    lab = hosts.Lab(sys.argv[1])
    lab.start_sshd()
    lab.start_control_plane()
    lab.write_policy(hosts.RULE)
    lab.enroll()
    lab.start_agent()
    write_commands(lab)
    welcome = WELCOME.format(path=lab.path)
    (lab.path / "welcome").write_text(welcome)
    (lab.path / "bashrc").write_text(BASHRC.replace("PATH/", f"{lab.path}/"))
    print(welcome)
    shell = [os.environ.get("SHELL", "/bin/sh")]
    if os.path.basename(shell[0]) == "bash":
        shell += ["--rcfile", str(lab.path / "bashrc")]
    hosts.subprocess.run(lab.requester.enter(shell), env=dict(lab.environment("alice"), PS1="alice $ "), check=False)
    lab.stop()


main()
