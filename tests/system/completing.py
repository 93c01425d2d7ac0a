# SPDX-License-Identifier: GPL-3.0-or-later
"""Real shells, asked what their completion offers for a command line."""

import os
import pathlib
import pty
import select
import shlex
import subprocess
import time

from agent import BUILD, allowing

COMPLETIONS = pathlib.Path(__file__).parents[2] / "packaging/completions"

# As readline does it: "=" and ":" are words, too.
BASH = """
. /usr/share/bash-completion/bash_completion
. "$1"
COMP_TYPE=9 COMP_LINE=$2 COMP_POINT=${#2}
mapfile -t COMP_WORDS < <(grep -oE '[=:]+|[^[:space:]=:]+' <<<"$COMP_LINE")
[[ $COMP_LINE != *' ' ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { :; }
name=${COMP_WORDS[0]}
function=$(complete -p "$name" | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function" "$name" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
((${#COMPREPLY[@]} == 0)) || printf '%s\\n' "${COMPREPLY[@]}"
"""

# The line as it is once Tab has been pressed.
ZSH = """
PS1= ; PS2= ; unsetopt beep zle_bracketed_paste 2>/dev/null
fpath=({directory} $fpath)
autoload -U compinit; compinit -u -D
tell() {{ print -r -- "$BUFFER" >{answer}.new; mv {answer}.new {answer} }}
zle -N tell; bindkey '^X^Y' tell
cd {home}; print READY
"""


def environment(directory):
    return {"PATH": f"{BUILD}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory), "TERM": "xterm", "LC_ALL": "C.UTF-8"}


def run(arguments, directory):
    done = subprocess.run(arguments, cwd=directory, env=environment(directory), timeout=allowing(20), text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert done.stderr == "", done.stderr
    return done.stdout.splitlines()


def ask_bash(line, directory):
    name = line.split()[0]
    script = COMPLETIONS / "bash" / ("jitgated" if name == "jitgate-poll" else name)
    return sorted(run(["bash", "--norc", "-c", BASH, "bash", str(script), line], directory))


def ask_fish(line, directory):
    script = f"set fish_complete_path {COMPLETIONS}/fish; complete -C {shlex.quote(line)}"
    return sorted(answer.split("\t")[0] for answer in run(["fish", "-N", "-c", script], directory))


def read_until(terminal, wanted):
    text, deadline = b"", time.monotonic() + allowing(20)
    while wanted not in text:
        assert time.monotonic() < deadline and select.select([terminal], [], [], allowing(20))[0], text
        text += os.read(terminal, 4096)


def complete_zsh(line, directory):
    """The line after Tab: zsh tells only what is unique."""
    answer = directory / "answer"
    answer.unlink(missing_ok=True)
    process, terminal = pty.fork()
    if process == 0:
        os.execve("/usr/bin/zsh", ["zsh", "-f", "-i"], environment(directory))
    try:
        os.write(terminal, b"".join(part.encode() + b"\n" for part in ZSH.format(
            directory=COMPLETIONS / "zsh", answer=answer, home=directory).strip().splitlines()))
        read_until(terminal, b"\nREADY")
        os.write(terminal, line.encode() + b"\t\x18\x19")
        deadline = time.monotonic() + allowing(20)
        while not answer.exists():
            assert time.monotonic() < deadline
            if select.select([terminal], [], [], 0.02)[0]:
                os.read(terminal, 4096)
        return answer.read_text().rstrip("\n")
    finally:
        os.close(terminal)
        os.kill(process, 9)
        os.waitpid(process, 0)
