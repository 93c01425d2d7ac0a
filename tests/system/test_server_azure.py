# SPDX-License-Identifier: GPL-3.0-or-later
"""Azure's own client, unchanged, with only its endpoint set."""

import os
import shutil
import subprocess

import pytest

import certificates
from control_plane import Server
from harness import BUILD

HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture
def client(tmp_path):
    """A directory from which client.js finds the client."""
    directory = os.path.join(BUILD, "azure")
    reason = os.path.join(directory, "reason")
    if os.path.exists(reason):
        with open(reason, encoding="utf-8") as file:
            pytest.skip(f"Azure's client is not here: {file.read().strip()}")
    if not os.path.exists(os.path.join(directory, "installed")):
        pytest.skip("Azure's client is not here: tests/system/azure/install fetches it")
    if not shutil.which("node"):
        pytest.skip("no node")
    shutil.copy(os.path.join(HERE, "azure", "client.js"), directory)
    return os.path.join(directory, "client.js")


def test_azures_client_works_unchanged(client, tmp_path):
    tls = certificates.make(tmp_path)
    server = Server(tmp_path, tls=tls,
                    assignments=[("azure@example.org", "requester", "/")]).start()
    try:
        mine = server.token("azure@example.org", "administrator")
        reader = server.token("reader@example.org", "reader")
        ran = subprocess.run(["node", client, server.url, mine, reader], timeout=120,
                             env={**os.environ, "NODE_EXTRA_CA_CERTS": tls[2]},
                             capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert ran.stdout.count("ok ") == 5
    finally:
        server.close()
