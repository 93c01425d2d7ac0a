# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of one request, step by step, with measured times. contrib/lab/play starts it."""

import json
import pathlib
import subprocess
import sys
import time

import hosts

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


def probe(lab, host, seconds, interval, *options):
    """Starts to send SYN after SYN from a host; read_probe() gives what became of them."""
    process = subprocess.Popen(
        host.enter(["/usr/bin/python3", str(HERE / "probe.py"), lab.vm.address, "22",
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


def connects(lab, host):
    return any(accepted for _, accepted in read_probe(probe(lab, host, 1, 0.2, "stop")))


def tell_dark(lab, host):
    check(not connects(lab, host), f"the {host.name} reached the port")
    say(f"{host.name:9} {host.address:14} -> {hosts.VM_NAME} port 22: {style('31', 'no answer at all')}")


def begin(lab):
    step("A VM with a real sshd; a requester and a stranger who reach it over the network")
    lab.start_sshd()
    for host in (lab.requester, lab.stranger):
        check(connects(lab, host), f"the {host.name} can't reach sshd")
        say(f"{host.name:9} {host.address:14} -> {hosts.VM_NAME} port 22: {style('33', 'open')}  (as on any VM)")

    step("The control plane: jitgate-server, with TLS. The administrator writes a policy, as Azure's clients do")
    lab.start_control_plane()
    policy = lab.write_policy(hosts.RULE)
    say(f"bob $ curl -X PUT {hosts.URL}/subscriptions/lab/.../jitNetworkAccessPolicies/default")
    show(json.dumps(policy["properties"]["virtualMachines"][0]["ports"]))

    step("The VM joins: one command, with a token that is good once")
    say(f"{hosts.VM_NAME} # jitgate enroll {hosts.URL} --token - --trust-fingerprint SHA256:...")
    show(lab.enroll())

    step("jitgated and jitgate-poll start; the control plane's policy arrives, and the port is shut")
    lab.start_agent()
    show(lab.jitgate("status"))
    tell_dark(lab, lab.requester)
    tell_dark(lab, lab.stranger)


def request(lab):
    step("alice asks for access: checked against role and policy, signed, fetched, opened")
    command = ["jitgate", "request", hosts.VM_NAME, "--port", "22", "--for", f"PT{GRANT_SECONDS}S",
               "--reason", "disk full, ticket 4711"]
    say(f"alice $ jitgate request {hosts.VM_NAME} --port 22 --for PT{GRANT_SECONDS}S --reason \"disk full, ticket 4711\"")
    process = probe(lab, lab.requester, 8, 0.001, "stop")
    asked = time.time()
    answer = hosts.run(*lab.requester.enter(command), env=lab.environment("alice"))
    told = time.time()
    first = [at for at, accepted in read_probe(process) if accepted]
    check(first, "the port did not open")
    show(answer)
    say(f"first SYN accepted {style('1', f'{(first[0] - asked) * 1000:.1f} ms')} after `jitgate request` was started"
        f" (the command told so after {(told - asked) * 1000:.1f} ms)")


def log_in(lab):
    step("The requester logs in; the stranger still can't")
    session = subprocess.Popen(lab.requester.enter(["ssh", "-T", hosts.VM_NAME, "exec sh"]), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    say(f"alice $ ssh {hosts.VM_NAME}")
    say(f"        {ask(session, 'echo logged in from ${SSH_CONNECTION%% *}')}")
    port = ask(session, "set -- $SSH_CONNECTION; echo $2")
    tell_dark(lab, lab.stranger)
    hosts.wait_for(lambda: json.loads(lab.jitgate("sessions", "--json")), 5, "session is listed")
    show(lab.jitgate("sessions"))
    return session, port


def ask(session, command):
    session.stdin.write(command + "\n")
    session.stdin.flush()
    answer = session.stdout.readline().strip()
    check(answer, "the ssh session is dead")
    return answer


def relative(at, end):
    return f"{abs(at - end) * 1000:.1f} ms {'before' if at < end else 'after'} the end"


def end_grant(lab):
    step("The grant ends by itself")
    grant = json.loads(lab.jitgate("grants", "--json"))[0]
    end = time.mktime(time.strptime(grant["expires"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    say(f"it says {grant['expires']}, in {end - time.time():.1f} s: waiting")
    time.sleep(max(0, end - 0.3 - time.time()))
    attempts = read_probe(probe(lab, lab.requester, 0.5, 0.004))
    accepted = [at for at, was_accepted in attempts if was_accepted]
    refused = [at for at, was_accepted in attempts if not was_accepted]
    check(accepted and refused and max(accepted) < min(refused), "the port did not shut at once")
    say(f"last SYN accepted {relative(max(accepted), end)}, first refused "
        f"{style('1', relative(min(refused), end))}  (one was sent every 4 ms)")


def finish(lab, session, port):
    step("The open ssh session goes on; a new one is refused")
    say(f"open session: {ask(session, 'echo still here, at $(date +%T)')}")
    new = subprocess.run(lab.requester.enter(["ssh", "-T", hosts.VM_NAME, "true"]), capture_output=True, text=True)
    check(new.returncode != 0, "a new session was let in")
    say(f"new session:  {new.stderr.strip().splitlines()[-1]}")
    check(ask(session, "echo alive") == "alive", "the session died")
    session.stdin.close()
    session.wait(timeout=5)

    step(f"What {hosts.VM_NAME} recorded, and whom it refused")
    hosts.wait_for(lambda: not json.loads(lab.jitgate("sessions", "--json")), 5, "sessions end")
    show_audit(lab, port)
    print()
    show(lab.jitgate("denied"))

    step("The control plane's activity log: who asked, who was let in, and how it ended")
    activity(lab, port)
    lab.stop()


def show_audit(lab, port):
    """The audit log without the connections by which the demo measures."""
    lines = lab.jitgate("audit", "--lines", "1000").splitlines()
    probes = [line for line in lines if " session_" in line and f" port {port} " not in line]
    show("\n".join(line for line in lines if line not in probes))
    say(f"  (and {len(probes)} records of the connections that measured the times above)")


def activity(lab, port):
    def has_ended():
        return any("has ended" in line for line in read_activity(lab))

    hosts.wait_for(has_ended, 10, "the activity log has the grant's end")
    lines = [line for line in read_activity(lab) if "session" not in line or f" port {port} " in line]
    show("\n".join(lines))


def read_activity(lab):
    command = ["jitgate", "activity", "--lines", "1000"]
    return hosts.run(*lab.requester.enter(command), env=lab.environment("carol")).splitlines()


def main():
    lab = hosts.Lab(sys.argv[1])
    begin(lab)
    request(lab)
    session, port = log_in(lab)
    end_grant(lab)
    finish(lab, session, port)
    print(f"\n{style('1', f'Done in {time.monotonic() - STARTED:.0f} s.')} "
          "All of it is gone with its namespaces.")


main()
