# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests of a full disk, on ext4: it keeps blocks for root, allocates late, and may go read-only by itself."""

import subprocess

import pytest

from test_daemon_disk import (Disk, test_a_full_disk, test_a_full_disk_survives_the_daemon,
                              test_space_comes_back)

__all__ = ["test_a_full_disk", "test_a_full_disk_survives_the_daemon", "test_space_comes_back"]


class Ext4(Disk):
    def __init__(self, path, image):
        self.path = path
        path.mkdir(exist_ok=True)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", image, "2M"], check=True)
        subprocess.run(["mount", "-o", "loop", image, path], check=True)


@pytest.fixture
def disk(agent, tmp_path):
    subprocess.run(["modprobe", "loop"], check=True)
    made = Ext4(agent.directory / "state", tmp_path / "disk.ext4")
    yield made
    made.close()
