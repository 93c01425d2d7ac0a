# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual tells what there is, all of it and nothing else; its examples are ones that work."""

import os
import re
import shlex
import subprocess

import pytest

import helping
import pages
from harness import BUILD, new_key

FAMILIES = ["jitgate.1", "jitgate-request.1", "jitgate-sign.1"]
SERVER_OPTIONS = {"server", "token-file", "ca"}
USAGE = 2
CHECK_AGENT = [f"{BUILD}/jitgate-poll", "-n", "-c"]
CHECK_SERVER = [f"{BUILD}/jitgate-server", "-n", "-c"]
CONFIGURATIONS = {"jitgate-agent.conf.5": CHECK_AGENT, "jitgate-server.conf.5": CHECK_SERVER}


def run(*arguments, input="", cwd=None, **environment):
    return subprocess.run([str(argument) for argument in arguments], text=True, capture_output=True, check=False,
                          timeout=60, input=input, cwd=cwd, env={**os.environ, **environment})


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_page_is_clean(page):
    """For mandoc, and for man-db, which uses groff."""
    done = run("mandoc", "-T", "lint", "-W", "warning", page)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr
    done = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page, LC_ALL="C.UTF-8", MANWIDTH="80")
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_each_command_has_its_place():
    told = [command for page in FAMILIES for command in pages.commands(page)] + ["enroll"]
    assert sorted(told) == sorted(helping.commands())


@pytest.mark.parametrize("page", FAMILIES)
def test_each_option_of_a_command_is_told(page):
    everywhere = SERVER_OPTIONS if page == "jitgate-request.1" else set()
    for command, told in pages.commands(page).items():
        assert set(told) | everywhere == set(helping.options(command)), command


def test_options_that_commands_share_are_told():
    assert set(pages.options(pages.section("jitgate.1", "OPTIONS"))) == set(helping.shared_options())
    assert set(pages.options(pages.section("jitgate-request.1", "OPTIONS"))) == SERVER_OPTIONS
    assert set(pages.options(pages.section("jitgate-enroll.1", "OPTIONS"))) == set(helping.options("enroll"))


@pytest.mark.parametrize("name", helping.DAEMONS)
def test_options_of_the_daemons_are_told(name):
    told = set(pages.options(pages.section(f"{name}.8", "DESCRIPTION")))
    assert told == set(helping.options_in(helping.help_of(name)))


def test_commands_of_the_control_plane_are_told():
    told = pages.commands("jitgate-server.8")
    assert sorted(told) == sorted(helping.server_commands())
    for command, options in told.items():
        assert set(options) == set(helping.options_in(helping.help_of("jitgate-server", *command.split()))), command


def test_no_page_names_an_option_that_does_not_exist():
    known = set(helping.shared_options())
    for command in helping.commands():
        known |= set(helping.options(command))
    for name in helping.DAEMONS:
        known |= set(helping.options_in(helping.help_of(name)))
    for command in helping.server_commands():
        known |= set(helping.options_in(helping.help_of("jitgate-server", *command.split())))
    for page in pages.PAGES:
        assert set(pages.option_names(page.read_text())) <= known, page


def test_no_page_refers_to_one_of_ours_that_does_not_exist():
    ours = {page.name for page in pages.PAGES}
    for page in pages.PAGES:
        for name, number in re.findall(r"Xr (jitgate\S*) (\d)", page.read_text()):
            assert f"{name}.{number}" in ours, page
    for file in [pages.ROOT / "README.md", pages.ROOT / "contrib/control-plane/README.md"]:
        for name, number in re.findall(r"(jitgate[\w.-]*)\((\d)\)", file.read_text()):
            assert f"{name}.{number}" in ours, file


@pytest.mark.parametrize("page", CONFIGURATIONS)
def test_each_key_is_told(page, tmp_path):
    for section, told in pages.keys(page).items():
        name = section if section in ("agent", "feed", "server") else f"{section} x"
        assert sorted(told) == sorted(helping.keys(CONFIGURATIONS[page], name, tmp_path)), section


def test_each_key_of_clients_is_told(tmp_path):
    (tmp_path / "jitgate").mkdir()
    (tmp_path / "jitgate/client.conf").write_text("[client]\nfrobnication = 1\n")
    done = run(f"{BUILD}/jitgate", "requests", XDG_CONFIG_HOME=str(tmp_path))
    keys = re.search(r"its keys are (.*)", done.stderr)[1].replace(" and ", ", ").split(", ")
    assert sorted(pages.keys("jitgate-client.conf.5")["client"]) == sorted(keys)


@pytest.mark.parametrize("file, page", [("agent.conf.example", "jitgate-agent.conf.5"),
                                        ("contrib/control-plane/server.conf.example", "jitgate-server.conf.5")])
def test_the_example_file_has_the_same_keys(file, page):
    found, section = {}, None
    for line in (pages.ROOT / file).read_text().splitlines():
        if title := re.match(r"#?\[(\w+)", line):
            section = found.setdefault(title[1], [])
        elif key := re.match(r"#?(\w+) =", line):
            section.append(key[1])
    assert {name: sorted(keys) for name, keys in found.items()} == {
        name: sorted(keys) for name, keys in pages.keys(page).items()}


def accept(page, text, directory):
    """A configuration whose files are there."""
    keys = directory / "keys.jwks"
    keys.write_text(run(f"{BUILD}/jitgate", "key", "public", new_key(directory, "k")).stdout)
    text = re.sub(r"^jwks = .*", f"jwks = {keys}", text, flags=re.MULTILINE)
    file = directory / "examined.conf"
    file.write_text(text)
    done = run(*CONFIGURATIONS[page], file)
    # The control plane goes on to read what other lines would have named.
    assert done.returncode == 0 or (page == "jitgate-server.conf.5" and str(file) not in done.stderr), done.stderr


COMPANIONS = {
    "certificate": "key = /k", "key": "certificate = /c", "tls_certificate": "tls_key = /k",
    "tls_key": "tls_certificate = /c", "listen": "url = https://jit.example.org\ntls_key = /k\ntls_certificate = /c",
    "kind": "url = https://jit.example.org"}
REQUIRED = {"port": ["number = 22"],
            "issuer": ["issuer = https://id.example.org", "audience = jitgate", "jwks = /keys"],
            "assignment": ["principal = alice", "role = reader", "scope = /"]}


@pytest.mark.parametrize("page", CONFIGURATIONS)
def test_the_example_of_each_key_is_accepted(page, tmp_path):
    for section, told in pages.keys(page).items():
        for key, lines in told.items():
            examples = [line[4:] for line in lines if line.startswith(".Dl ")]
            assert len(examples) == 1 and examples[0].startswith(f"{key} = "), key
            besides = [line for line in REQUIRED.get(section, []) if not line.startswith(f"{key} =")
                       and not (key == "group" and line.startswith("principal"))]
            title = f"[{section} x]" if section in REQUIRED else f"[{section}]"
            accept(page, "\n".join([title, *besides, examples[0], COMPANIONS.get(key, "")]) + "\n", tmp_path)


@pytest.mark.parametrize("page", CONFIGURATIONS)
def test_each_configuration_that_is_shown_is_accepted(page, tmp_path):
    shown = [block for block in pages.literals(pages.read(page)) if re.match(r"\[\w+( \w+)?\]\n", block)]
    assert shown
    for block in shown:
        accept(page, block + "\n", tmp_path)


def test_each_code_of_a_refusal_is_told():
    source = (pages.ROOT / "agent/common/refusal.c").read_text()
    codes = set(re.findall(r'\[REFUSAL_\w+\] = "(\w+)"', source)) - {"none"}
    told = {heading[3:] for heading, _ in pages.items(pages.section("jitgate-documents.7", "REFUSALS"))}
    assert told == codes


def test_each_type_of_record_is_told():
    source = (pages.ROOT / "agent/daemon/io.jitgate.Agent.varlink").read_text()
    types = re.search(r"# One audit record. type: ((?:[\w, ]+\n# ?)+[\w, ]*)", source)[1]
    text = "\n".join(pages.section("jitgated.8", "THE AUDIT LOG"))
    assert set(re.findall(r"^\.Ql (\w+_\w+)", text, re.MULTILINE)) == set(re.findall(r"\w+_\w+", types))


def test_the_catalog_explains_each_type_of_record():
    """journalctl --catalog finds it by the message id that the daemon sends."""
    source = (pages.ROOT / "agent/daemon/audit.c").read_text()
    sent = re.findall(r'"([0-9a-f]{32})"', source)
    explained = re.findall(r"(?m)^-- ([0-9a-f]{32})$", (pages.ROOT / "packaging/systemd/jitgate.catalog").read_text())
    assert sent and sorted(explained) == sorted(set(sent)) == sorted(sent)


@pytest.mark.parametrize("kind, number", [("grant", 0), ("revocation", 1), ("policy", 2)])
def test_the_claims_that_are_shown_are_ones(kind, number, tmp_path):
    claims = [block for block in pages.literals(pages.read("jitgate-documents.7")) if block.startswith('{"iss"')]
    done = run(f"{BUILD}/jitgate", "sign", "--key", new_key(tmp_path, "k"), "--type", kind, "-", input=claims[number])
    assert done.returncode == 0, done.stderr


def invocations(line):
    """What of a shell's line runs a program of ours: their words, without redirections."""
    lexer = shlex.shlex(line.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words, found = [], []
    for word in [*lexer, ";"]:
        if set(word) <= set("();<>|&"):
            words.append(None if set(word) & set("<>") else ";")
        else:
            words.append(word)
    while words:
        end = words.index(";")
        command, words = words[:end], words[end + 1:]
        while None in command:
            at = command.index(None)
            command = command[:at] + command[at + 2:]
        ours = [i for i, word in enumerate(command) if word in ["jitgate", *helping.DAEMONS]]
        if ours and (ours[0] == 0 or "=" in command[0] or command[0] in ("sudo", "ssh", "xargs")):
            found.append(command[ours[0]:] + ["one"] * (command[0] == "xargs"))
    return found


def examples():
    found = [(page.name, line) for page in pages.PAGES for line in pages.shell_lines(page.read_text())]
    for command in helping.commands():
        found.append((f"{command} --help", helping.help_of("jitgate", *command.split()).split("\nExample:\n")[1]))
    return [(source, invocation) for source, line in found for invocation in invocations(line)]


def test_what_examples_say_is_understood(tmp_path):
    """Nothing that they need is here; but none is answered with how it should have been written."""
    joined = tmp_path / "joined.conf"
    joined.write_text("[feed]\nurl = http://127.0.0.1:1\n")
    found = examples()
    for source, (name, *words) in found:
        if words[:1] == ["enroll"]:
            words += ["--config", joined if "--update-trust" in words else tmp_path / "agent.conf"]
        if name == "jitgate-server" and "-c" not in words:
            words = ["-c", tmp_path / "none.conf", *words]
        done = run(f"{BUILD}/{name}", *words, cwd=tmp_path, JITGATE_SERVER="http://127.0.0.1:1", JITGATE_TOKEN="x",
                   XDG_CONFIG_HOME=str(tmp_path))
        assert done.returncode != USAGE, (source, words, done.stderr)
    told = {" ".join(words[:2]) for _, (name, *words) in found if name == "jitgate"}
    for command in helping.commands():
        assert any(f"{words} ".startswith(f"{command} ") for words in told), command
