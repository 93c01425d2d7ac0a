# SPDX-License-Identifier: GPL-3.0-or-later
"""What the programs say of themselves: their commands, their options, the keys of their configurations."""

import re
import subprocess

from agent import BUILD

DAEMONS = ["jitgated", "jitgate-poll", "jitgate-server"]


def help_of(*words):
    return subprocess.run([f"{BUILD}/{words[0]}", *words[1:], "--help"], check=True, text=True,
                          capture_output=True, timeout=60).stdout


def commands():
    """Of jitgate: names of one word or two."""
    part = help_of("jitgate").split("\nCommands:\n")[1].split("\n\n")[0]
    return [re.match(r"  (\S+(?: \S+)?)  ", line)[1] for line in part.splitlines()]


def server_commands():
    return re.findall(r"jitgate-server \[-c FILE\] (\w+ \w+)", help_of("jitgate-server"))


def options_in(text):
    """Names of the options that a help lists, each at the begin of a line; a usage line that goes on stands deeper."""
    return re.findall(r"^ {2,6}(?:-\w, )?--([a-z-]+)", text, re.MULTILINE)


def options(command):
    """Those of a command of jitgate, without those of every command."""
    return options_in(help_of("jitgate", *command.split()).split("\nOptions of every command:")[0])


def shared_options():
    return options_in(help_of("jitgate"))


def keys(program, section, directory):
    """The keys of a section: what is wrong with another one names them."""
    file = directory / "unknown.conf"
    file.write_text(f"[{section}]\nfrobnication = 1\n")
    done = subprocess.run([*program, file], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done
    named = re.search(r'has no key "frobnication": its keys are (.*)', done.stderr)[1]
    return re.findall(r"\w+", named.replace(" and ", " "))
