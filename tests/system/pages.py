# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual pages, read as they are written (mdoc)."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted((ROOT / "packaging/man").iterdir())


def read(name):
    return (ROOT / "packaging/man" / name).read_text()


def sections(text):
    """Their headings and lines."""
    parts = re.split(r"^\.Sh (.*)\n", text, flags=re.MULTILINE)
    return list(zip(parts[1::2], (part.splitlines() for part in parts[2::2])))


def section(name, heading):
    return next(lines for found, lines in sections(read(name)) if found == heading)


def items(lines, depth=1):
    """The items of lists that are so deep: (heading, the lines below it)."""
    found, level = [], 0
    for line in lines:
        level += line.startswith(".Bl")
        if line.startswith(".It") and level == depth:
            found.append((line[4:], []))
        elif level >= depth and found and found[-1][0] == "Xo":
            found[-1] = (line[1:], [])  # what goes on in the next lines begins there
        elif level >= depth and found:
            found[-1][1].append(line)
        level -= line.startswith(".El")
    return found


def option_names(text):
    """Those in macros: Fl -name."""
    return re.findall(r"Fl -([a-z][a-z-]+)", text)


def options(lines, depth=1):
    return [name for heading, _ in items(lines, depth) for name in option_names(heading)]


def commands(name):
    """Of a page's section COMMANDS: the name of each, and the options that stand below it."""
    found = {}
    for heading, lines in items(section(name, "COMMANDS")):
        words = re.match(r"Ic ((?:[a-z]+ ?)+)", heading + " ")[1].split()
        found[" ".join(words)] = options(lines)
    return found


def keys(name):
    """Of a page of section 5: {section: {key: what stands below it}}."""
    return {re.search(r"\[(\w+)", heading)[1]: {item[3:]: lines for item, lines in items(below)}
            for heading, below in sections(read(name)) if heading.startswith("THE SECTION")}


def literals(text):
    """The blocks of text that are shown as they are."""
    return [block.replace("\\e", "\\").strip("\n")
            for block in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.MULTILINE | re.DOTALL)]


def shell_lines(text):
    """What a shell is given in these: lines behind a prompt, each with those that go on with it."""
    lines = []
    for block in literals(text):
        if not re.match(r"[$#] ", block):
            continue
        lines += [line for line in re.split(r"^[$#] ", block, flags=re.MULTILINE) if line]
    lines += [line[2:] for line in re.findall(r"^\.Dl ([$#] .*)", text, re.MULTILINE)]
    return lines
