# SPDX-License-Identifier: GPL-3.0-or-later
"""For a conftest: values that tests measured are told at the end of the run."""

import pytest

_measured = {}


@pytest.fixture
def measure():
    """measure(what, value)."""
    return lambda what, value: _measured.setdefault(what, []).append(str(value))


def pytest_terminal_summary(terminalreporter):
    for what, values in _measured.items():
        terminalreporter.write_line(f"measured: {what}: {', '.join(values)}")
