# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of one grant, step by step, with measured times. contrib/lab/demo starts it."""

import json
import pathlib
import subprocess
import sys
import time

import lab

HERE = pathlib.Path(__file__).parent
GRANT_SECONDS = 12
COLOUR = sys.stdout.isatty()
STARTED = time.monotonic()
steps = 0


def style(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def step(text):
    global steps
    steps += 1
    print(f"\n{style('1', f'{steps}. {text}')}")


def say(text):
    print(f"   {text}")


def show(text):
    for line in text.rstrip().splitlines():
        print(f"     {line}")


def probe(host, seconds, interval, *options):
    """Starts to send SYN after SYN from a host; read_probe() gives what became of them."""
    process = subprocess.Popen(
        host.enter(["/usr/bin/python3", str(HERE / "probe.py"), host.vm_address, "22",
                    str(time.time() + seconds), str(interval), *options]),
        stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def read_probe(process):
    lines = process.communicate()[0].splitlines()
    return [(float(at), answer == "accepted") for at, answer in map(str.split, lines)]


def check(condition, text):
    if not condition:
        raise SystemExit(f"demo: {text}: this should not happen")


def connects(host):
    return any(accepted for _, accepted in read_probe(probe(host, 1, 0.2, "stop")))


def tell_dark(host):
    check(not connects(host), f"the {host.name} reached the port")
    say(f"{host.name:9} {host.address:14} -> port 22: {style('31', 'no answer at all')}")


def begin(play):
    step("A VM with a real sshd; a requester and a stranger who reach it over the network")
    play.start_sshd()
    for host in (play.requester, play.stranger):
        check(connects(host), f"the {host.name} can't reach sshd")
        say(f"{host.name:9} {host.address:14} -> port 22: {style('33', 'open')}  (as on any VM)")

    step("jitgated starts with this configuration")
    show(play.start_agent())
    tell_dark(play.requester)
    tell_dark(play.stranger)


def open_port(play):
    step("The control plane signs a grant: alice, from her address, for a few seconds")
    document = lab.run(
        "jitgate", "sign", "--key", str(play.path / "signing.jwk"), "--type", "grant",
        "--aud", lab.VM_ID, "--iss", "control-plane", "--sub", "alice", "--port", "22/tcp",
        "--source", play.requester.address, "--for", f"PT{GRANT_SECONDS}S",
        "--justification", "disk full, ticket 4711")
    show(document[:92] + "...")
    process = probe(play.requester, 5, 0.001, "stop")
    submitted = time.time()
    answer = play.jitgate("submit", "--json", "-", input=document)
    answered = time.time()
    first = [at for at, accepted in read_probe(process) if accepted]
    check(first, "the port did not open")
    say(f"jitgate submit: {answer.strip()}")
    say(f"first SYN accepted {style('1', f'{(first[0] - submitted) * 1000:.1f} ms')} after `jitgate submit` was started"
        f" (the command ended after {(answered - submitted) * 1000:.1f} ms)")


def log_in(play):
    step("The requester logs in; the stranger still can't")
    session = subprocess.Popen(play.ssh(play.requester, "exec sh"), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    say(f"requester $ ssh {play.user}@{play.requester.vm_address}")
    say(f"            {ask(session, 'echo logged in from ${SSH_CONNECTION%% *}')}")
    port = ask(session, "set -- $SSH_CONNECTION; echo $2")
    tell_dark(play.stranger)
    lab.wait_for(lambda: json.loads(play.jitgate("sessions", "--json")), 5, "session is listed")
    show(play.jitgate("sessions"))
    return session, port


def ask(session, command):
    session.stdin.write(command + "\n")
    session.stdin.flush()
    answer = session.stdout.readline().strip()
    check(answer, "the ssh session is dead")
    return answer


def relative(at, end):
    return f"{abs(at - end) * 1000:.1f} ms {'before' if at < end else 'after'} the end"


def end_grant(play):
    step("The grant ends by itself")
    grant = json.loads(play.jitgate("grants", "--json"))[0]
    end = time.mktime(time.strptime(grant["expires"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    say(f"it says {grant['expires']}, in {end - time.time():.1f} s: waiting")
    time.sleep(max(0, end - 0.3 - time.time()))
    attempts = read_probe(probe(play.requester, 0.5, 0.004))
    accepted = [at for at, was_accepted in attempts if was_accepted]
    refused = [at for at, was_accepted in attempts if not was_accepted]
    check(accepted and refused and max(accepted) < min(refused), "the port did not shut at once")
    say(f"last SYN accepted {relative(max(accepted), end)}, first refused "
        f"{style('1', relative(min(refused), end))}  (one was sent every 4 ms)")


def finish(play, session, port):
    step("The open ssh session goes on; a new one is refused")
    say(f"open session: {ask(session, 'echo still here, at $(date +%T)')}")
    new = subprocess.run(play.ssh(play.requester, "true"), capture_output=True, text=True)
    check(new.returncode != 0, "a new session was let in")
    say(f"new session:  {new.stderr.strip().splitlines()[-1]}")
    check(ask(session, "echo alive") == "alive", "the session died")
    session.stdin.close()
    session.wait(timeout=5)

    step("What was recorded, and who was refused")
    lab.wait_for(lambda: not json.loads(play.jitgate("sessions", "--json")), 5, "sessions end")
    show_audit(play, port)
    print()
    show(play.jitgate("denied"))
    play.stop()


def show_audit(play, port):
    """The audit log without the connections by which the demo measures."""
    lines = play.jitgate("audit", "--lines", "1000").splitlines()
    probes = [line for line in lines if " session_" in line and f" port {port} " not in line]
    show("\n".join(line for line in lines if line not in probes))
    say(f"  (and {len(probes)} records of the connections that measured the times above)")


def main():
    play = lab.Lab(sys.argv[1])
    begin(play)
    open_port(play)
    session, port = log_in(play)
    end_grant(play)
    finish(play, session, port)
    print(f"\n{style('1', f'Done in {time.monotonic() - STARTED:.0f} s.')} "
          "All of it is gone with its namespaces.")


main()
