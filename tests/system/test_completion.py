# SPDX-License-Identifier: GPL-3.0-or-later
"""What the shells offer behind Tab, asked of the shells themselves."""

import shutil
import subprocess

import pytest

import completing
import helping
from harness import BUILD

SHELLS = ["bash", "fish", "zsh"]


def offers(shell, line, wanted, directory):
    """Whether the shell completes the line to, or offers, just what is wanted."""
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    if shell != "zsh":
        asked = completing.ask_bash if shell == "bash" else completing.ask_fish
        assert asked(line, directory) == sorted(wanted)
    elif len(wanted) == 1:
        before = line[:-len(line.split(" ")[-1])] if line.split(" ")[-1] else line
        assert completing.complete_zsh(line, directory) == f"{before}{wanted[0]} "


def complete(*words):
    return subprocess.run([f"{BUILD}/jitgate", "complete", "--", *words], check=True, text=True,
                          capture_output=True, timeout=60).stdout.splitlines()


def candidates(*words):
    return [line.split("\t")[0] for line in complete(*words)[1:]]


def test_every_command_is_offered():
    first = {command.split()[0] for command in helping.commands()}
    assert set(candidates("")) == first | {"help"}
    assert sorted(candidates("")) == sorted(set(candidates("")))
    for command in helping.commands():
        if " " in command:
            one, two = command.split()
            assert two in candidates(one, "")


@pytest.mark.parametrize("command", helping.commands())
def test_every_option_of_a_command_is_offered(command):
    wanted = {f"--{name}" for name in helping.options(command) + helping.shared_options()}
    assert set(candidates(*command.split(), "--")) == wanted


def test_options_that_are_given_are_offered_no_more():
    assert "--reason" not in candidates("grant", "--reason", "x", "--")
    assert "--reason" not in candidates("grant", "--reason=x", "--")
    assert "--port" in candidates("grant", "--port", "22/tcp", "--")
    assert candidates("grants", "--", "--") == []


@pytest.mark.parametrize("words", [[], ["frob", ""], ["--frob", ""], ["--frob="], ["grants", "x", "y", ""],
                                   ["--socket"], ["help", ""], ["\xff"], ["x" * 9000], ["--", ""]])
def test_whatever_is_typed_nothing_is_said(words):
    done = subprocess.run([f"{BUILD}/jitgate", "complete", *words], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0 and done.stderr == b""
    assert done.stdout.startswith((b"words\n", b"files\n"))


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("line, wanted", [
    ("jitgate sess", ["sessions"]),
    ("jitgate req", ["request", "requests"]),
    ("jitgate key ", ["fingerprint", "new", "public"]),
    ("jitgate key fi", ["fingerprint"]),
    ("jitgate help key fi", ["fingerprint"]),
    ("jitgate requests rev", ["revoke"]),
    ("jitgate revoke --sess", ["--sessions"]),
    ("jitgate revoke g-1 --sessions ki", ["kill"]),
    ("jitgate sign --type re", ["revocation"]),
    ("jitgate sign --key sig", ["signing.jwk"]),
    ("jitgate key public sig", ["signing.jwk"]),
    ("jitgate audit ver", ["verify"]),
    ("jitgated --che", ["--check"]),
    ("jitgated -c sig", ["signing.jwk"]),
    ("jitgate-poll --ver", ["--version"]),
    ("jitgated --rem", ["--remove-gate"]),
    ("jitgate-server enr", ["enrollment"]),
    ("jitgate-server token rev", ["revoke"]),
    ("jitgate-server -c signing.jwk token li", ["list"]),
    ("jitgate-server token new --pri", ["--principal"]),
    ("jitgate-server token new --role req", ["requester"]),
])
def test_tab(shell, line, wanted, tmp_path):
    (tmp_path / "signing.jwk").touch()
    offers(shell, line, wanted, tmp_path)


@pytest.mark.parametrize("shell, wanted", [("bash", "kill"), ("fish", "--sessions=kill"), ("zsh", "--sessions=kill")])
def test_tab_behind_an_equals_sign(shell, wanted, tmp_path):
    offers(shell, "jitgate revoke --sessions=ki", [wanted], tmp_path)


@pytest.mark.parametrize("name", helping.DAEMONS)
@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_of_the_daemons_is_offered(shell, name, tmp_path):
    wanted = {f"--{option}" for option in helping.options_in(helping.help_of(name))}
    if shell == "zsh":
        file = completing.COMPLETIONS / "zsh" / ("_jitgated" if name == "jitgate-poll" else f"_{name}")
        assert {option for option in wanted if option in file.read_text()} == wanted
        return
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    asked = completing.ask_bash if shell == "bash" else completing.ask_fish
    assert set(asked(f"{name} --", tmp_path)) - {"token", "enrollment"} == wanted


@pytest.mark.parametrize("command", helping.server_commands())
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_every_option_of_the_control_planes_commands_is_offered(shell, command, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    asked = completing.ask_bash if shell == "bash" else completing.ask_fish
    wanted = {f"--{option}" for option in helping.options_in(helping.help_of("jitgate-server", *command.split()))}
    assert set(asked(f"jitgate-server {command} --", tmp_path)) == wanted | {"--help"}


def test_grants_and_ports_are_offered(agent):
    """What runs knows them."""
    agent.start()
    agent.grant("22/tcp", "198.51.100.7", jti="g-offered")
    socket = ["--socket", str(agent.socket_path)]
    assert complete(*socket, "revoke", "g-") == ["words", "g-offered\talice"]
    assert candidates(*socket, "explain", "198.51.100.7", "") == ["22/tcp", "53/udp"]
