# SPDX-License-Identifier: GPL-3.0-or-later
"""contrib/run-command: its examples, as they stand there, bring a document to the agent through each cloud's command line."""

import json
import os
import pathlib
import re
import shlex
import subprocess

import pytest

from harness import BUILD, SLOWNESS

README = pathlib.Path(__file__).resolve().parents[2] / "contrib" / "run-command" / "README.md"
# Stands for a cloud's program: says what it was called with.
STUB = """#!/usr/bin/python3
import json, sys
with open({calls!r}, "a") as file:
    print(json.dumps(sys.argv), file=file)
print("the-id")
"""


def after(call, option):
    return call[call.index(option) + 1]


def azure(call):
    return after(call, "--scripts")


def aws(call):
    (script,) = json.loads(after(call, "--parameters"))["commands"]
    return script


def oracle(call):
    json.loads(after(call, "--target"))
    return json.loads(after(call, "--content"))["source"]["text"]


def example(program):
    """The block of the README that calls it; nobody waits."""
    (found,) = [block for block in re.findall(r"^```sh\n(.*?)^```$", README.read_text(), re.M | re.S)
                if re.search(rf"\b{program} ", block)]
    return found.replace("sleep 3\n", "")


def carry(tmp_path, program, script_of, document):
    """The script that a cloud would have a machine run."""
    calls = tmp_path / "calls"
    stub = tmp_path / "bin" / program
    stub.parent.mkdir(exist_ok=True)
    stub.write_text(STUB.format(calls=str(calls)))
    stub.chmod(0o755)
    (tmp_path / "grant.jws").write_text(document + "\n")
    calls.unlink(missing_ok=True)
    subprocess.run(["sh", "-euc", example(program)], check=True, cwd=tmp_path, timeout=30 * SLOWNESS,
                   capture_output=True, env={**os.environ, "PATH": f"{stub.parent}:{os.environ['PATH']}",
                                             "COMPARTMENT": "c", "INSTANCE": "i"})
    return script_of([json.loads(line) for line in calls.read_text().splitlines()][0])


def run_there(agent, tmp_path, script):
    """Where it is run, `jitgate` is the agent's."""
    program = tmp_path / "there" / "jitgate"
    program.parent.mkdir(exist_ok=True)
    command = shlex.join([os.path.abspath(f"{BUILD}/jitgate"), "--socket", str(agent.socket_path)])
    program.write_text(f"#!/bin/sh\nexec {command} \"$@\"\n")
    program.chmod(0o755)
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=30 * SLOWNESS,
                          env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"})


@pytest.mark.parametrize("program,script_of", [("az", azure), ("aws", aws), ("oci", oracle)])
def test_what_a_cloud_hands_over_is_the_document(agent, tmp_path, program, script_of):
    agent.start()
    for jti, aud, code in ("g", None, 0), ("h", "another-vm", 1):
        document = agent.sign_grant("22/tcp", "192.0.2.7", jti=jti, **({"aud": aud} if aud else {}))
        done = run_there(agent, tmp_path, carry(tmp_path, program, script_of, document))
        line, *rest = done.stdout.splitlines()
        answer = json.loads(line)
        # Azure tells no exit code: the script prints it.
        if program == "az":
            assert rest == [f"exit {code}"]
        else:
            assert rest == [] and done.returncode == code
        if code == 0:
            assert answer == {"kind": "grant", "id": jti, "state": "active", "durable": True}
        else:
            assert (answer["error"], answer["code"]) == ("refused", "wrong_audience") and answer["message"]
    assert [grant["id"] for grant in agent.call("ListGrants")["grants"]] == ["g"]


def test_a_document_that_is_folded_for_a_console(agent, tmp_path):
    """The README's two commands, and the longest line that a console takes."""
    text = README.read_text()
    fold, unfold = re.search(r"`(fold [^`]*)`", text).group(1), re.search(r"`(tr [^`]*)`", text).group(1)
    agent.start()
    prefixes = [f"192.0.2.{n}" for n in range(64)]
    document = agent.sign_grant("22/tcp", prefixes, jti="g", justification="x" * 1000)
    (tmp_path / "grant.jws").write_text(document + "\n")
    (tmp_path / "g").write_bytes(subprocess.run(["sh", "-c", fold], cwd=tmp_path, check=True, capture_output=True).stdout)
    assert max(map(len, (tmp_path / "g").read_text().splitlines())) <= 4095
    assert run_there(agent, tmp_path, f"cd {tmp_path} && {unfold}").returncode == 0
    assert [grant["id"] for grant in agent.call("ListGrants")["grants"]] == ["g"]
