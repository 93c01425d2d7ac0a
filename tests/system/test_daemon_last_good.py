# SPDX-License-Identifier: GPL-3.0-or-later
"""A bad agent.conf at boot, when nothing stands yet: the ports stay shut, by the last good one."""

import json

import pytest

from confined import NOBODY, as_unit, give_agent
from doctor import OK, PROBLEM, doctor
from harness import BUILD, Listener, is_open
from kernel import assert_as_granted, ruleset

BAD = "[agent]\nmood = enforce\n"


@pytest.fixture
def kept(agent):
    """An agent whose state directory systemd names; the copy's path."""
    agent.environment["STATE_DIRECTORY"] = str(agent.directory / "state")
    return agent.directory / "state" / "agent.conf"


def boot(agent, config, **options):
    """The agent starts with that file where nothing is in the kernel."""
    if agent.process.poll() is None:
        agent.stop()
        agent.namespace.run("nft", "delete", "table", "inet", "jitgate")
    assert ruleset(agent.namespace).strip() == ""
    agent.config_path.write_text(config)
    agent.start(**options)


def configuration_error(agent):
    done = agent.cli("status", "--json")
    assert done.returncode == 0
    return json.loads(done.stdout).get("configurationError")


def assert_guards(world, agent):
    assert not is_open(world.stranger, world.vm.v4, 22)
    assert is_open(world.requester, world.vm.v4, 22)
    assert_as_granted(agent)


def assert_does_not_start(agent, config, message):
    boot(agent, config, wait=False)
    assert agent.process.wait(60) == 1
    assert f"jitgated: {agent.config_path}{message}" in agent.log()
    assert ruleset(agent.namespace).strip() == ""


def test_a_bad_file_at_boot_opens_nothing(world, agent, kept):
    Listener(world.vm, "0.0.0.0", 22)
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    good = agent.config_path.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    boot(agent, BAD)
    assert_guards(world, agent)
    # It is told: once in the log, in the record, by status and by doctor; the check is of the file itself.
    error = f"{agent.config_path}:2: "
    lines = [line for line in agent.log().splitlines() if error in line]
    assert len(lines) == 1 and "mend it, then systemctl reload jitgated" in lines[0]
    record = agent.audit("reload_failed")[-1]
    assert record["message"].startswith(error) and "last good" in record["reason"]
    assert configuration_error(agent) == record["message"]
    shown = agent.cli("status").stdout
    assert record["message"] in shown and "systemctl reload jitgated" in shown
    finding = doctor(agent).one("configuration")
    assert finding["verdict"] == PROBLEM and error in finding["message"] and "reload" in finding["advice"]
    checked = agent.namespace.call(f"{BUILD}/jitgated", "-n", "-c", str(agent.config_path))
    assert checked.returncode == 1 and error in checked.stderr
    # And again: what is bad is not what is kept. A reload of it changes nothing.
    boot(agent, BAD + "mood = audit\n")
    agent.reload()
    assert_guards(world, agent)
    agent.config_path.write_text(good)
    agent.reload()
    assert configuration_error(agent) is None
    assert agent.cli("status").stdout.count("reload") == 0
    assert doctor(agent).one("configuration")["verdict"] == OK
    assert_guards(world, agent)


def test_a_file_that_the_service_can_not_read(users, world, agent, kept):
    Listener(world.vm, "0.0.0.0", 22)
    give_agent(agent)
    agent.wrapper = as_unit("jitgated")
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    assert kept.stat().st_uid == NOBODY
    agent.config_path.chmod(0o600)
    boot(agent, agent.config_path.read_text())
    assert_guards(world, agent)
    assert "Permission denied" in configuration_error(agent)
    agent.config_path.chmod(0o644)
    agent.reload()
    assert configuration_error(agent) is None


def test_root_reads_what_was_kept_as_whose_it_is(users, world, agent, kept):
    """Who may write there must not have root read for them, nor write where they like."""
    Listener(world.vm, "0.0.0.0", 22)
    give_agent(agent)
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    boot(agent, BAD)
    assert_guards(world, agent)
    secret = agent.directory / "secret"
    secret.write_text(kept.read_text())
    secret.chmod(0o600)
    kept.unlink()
    kept.symlink_to(secret)
    assert_does_not_start(agent, BAD, ":2: ")


def test_what_was_last_good_follows_the_file(world, agent, kept):
    """A reload is kept, and so is that it is enforced for good: nothing of the file that is not in force."""
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(mode="audit")
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    before = kept.stat().st_ino
    agent.reload()
    assert kept.stat().st_ino == before  # it was the same
    agent.configure(max_grants=99)
    agent.reload()
    assert "max_grants = 99" in kept.read_text()
    assert "mode = audit" in kept.read_text()
    agent.configure(max_grants=77)  # not yet reloaded
    assert agent.cli("enforce", "--confirm-within", "PT1M").returncode == 0
    done = agent.cli("confirm")
    assert done.returncode == 0, done
    assert "max_grants = 99" in kept.read_text() and "max_grants = 77" in agent.config_path.read_text()
    boot(agent, BAD)
    assert_guards(world, agent)
    assert agent.call("Status")["mode"] == "enforce"
    # The file counts again once it can be read.
    agent.configure(mode="audit")
    agent.reload()
    boot(agent, BAD)
    assert agent.call("Status")["mode"] == "audit"


def test_a_command_that_dies_before_it_writes_the_file(world, agent, kept):
    """It asks the agent first: the file does not say enforce yet, and then goes bad."""
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(mode="audit")
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    agent.call("Enforce")
    boot(agent, BAD)
    assert_guards(world, agent)


def test_a_trial_is_not_what_was_last_good(world, agent, kept):
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(mode="audit")
    agent.start()
    assert agent.cli("enforce", "--confirm-within", "PT1M").returncode == 0
    assert not is_open(world.stranger, world.vm.v4, 22)
    agent.stop()
    (agent.directory / "run" / "trial").unlink()  # as a reboot does
    agent.namespace.run("nft", "delete", "table", "inet", "jitgate")
    boot(agent, BAD)
    assert agent.call("Status")["mode"] == "audit"
    assert is_open(world.stranger, world.vm.v4, 22)


def test_without_one_it_does_not_start(agent, kept):
    agent.config_path.write_text(BAD)
    agent.start(wait=False)
    assert agent.process.wait(60) == 1
    assert f"jitgated: {agent.config_path}:2: " in agent.log()
    assert ruleset(agent.namespace).strip() == "" and not kept.exists()


def test_one_of_another_version(world, agent, kept):
    """What this one does not know, or can't read, is passed over: the gate stands by the rest."""
    Listener(world.vm, "0.0.0.0", 22)
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    other = kept.read_text().replace("[agent]\n", "[agent]\nmood = 1\non_stop = sleep\n")
    kept.write_text(other + "[future]\nnumber = 1\n")
    boot(agent, BAD)
    assert_guards(world, agent)
    passed_over = [line for line in agent.log().splitlines() if "passed over: " in line]
    assert len(passed_over) == 4, passed_over  # the section, and what is in it
    assert '"mood"' in passed_over[0] and "on_stop" in passed_over[1] and "[future]" in passed_over[2]


@pytest.mark.parametrize("spoil", [
    lambda text: "", lambda text: text + "\0",
    lambda text: text.replace("agent.conf", "other.conf", 1), lambda text: text.split("\n", 1)[1],
    lambda text: text.replace("enforce", "enforced", 1), lambda text: text + "#" * 300000],
    ids=["empty", "nul", "of another", "of none", "of no mode", "long"])
def test_one_that_is_not_whole_or_of_another_file_is_none(agent, kept, spoil):
    agent.start()
    kept.write_text(spoil(kept.read_text()))
    assert_does_not_start(agent, BAD, ":2: ")


def test_a_file_that_was_taken_away_is_not_put_back(agent, kept):
    agent.start()
    agent.stop()
    agent.namespace.run("nft", "delete", "table", "inet", "jitgate")
    agent.config_path.unlink()
    agent.start(wait=False)
    assert agent.process.wait(60) == 1
    assert ruleset(agent.namespace).strip() == ""


def test_a_bad_trust_file_beside_it(world, agent, kept):
    """Shut, and nobody's signature counts, until both are mended."""
    Listener(world.vm, "0.0.0.0", 22)
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    good, trust = agent.config_path.read_text(), agent.trust_path.read_text()
    agent.trust_path.write_text("{")
    boot(agent, BAD)
    assert not is_open(world.requester, world.vm.v4, 22)
    agent.trust_path.write_text(trust)
    agent.config_path.write_text(good)
    agent.reload()
    assert_guards(world, agent)


def test_a_disk_that_takes_no_copy_stops_nothing(agent, kept):
    kept.mkdir(parents=True)
    agent.start()
    assert "can't keep a copy" in agent.log()
    assert agent.call("Status")["gate"]["installed"]
