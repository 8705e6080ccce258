"""A server that we started ends with us, however we end: real processes, killed for real."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gptoss_bench.engines import supervisor
from gptoss_bench.engines.process import ServerProcess, free_port
from gptoss_client.errors import UsageError
from serving import PATIENCE_S, below, command_of, script, wait_until, wait_until_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

# A server with a worker in a session of its own whose parent is gone, as daemons have them.
FAMILY = """
import os, signal, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
print("up", flush=True)
time.sleep(600)
"""
OWNER = """
import sys, time
from pathlib import Path
from gptoss_bench.engines.process import ServerProcess
server = ServerProcess([sys.executable, "-c", sys.argv[2]], Path(sys.argv[1]))
while b"up" not in Path(sys.argv[1]).read_bytes():
    time.sleep(0.02)
print("ready", flush=True)
time.sleep(600)
"""


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "server.log"


@pytest.fixture
def family(log: Path):
    """A running ServerProcess with a grandchild."""
    server = ServerProcess([sys.executable, "-c", FAMILY], log)
    wait_until(lambda: b"up" in log.read_bytes(), "the family was up")
    yield server
    server.stop_now()


def test_killing_the_owner_takes_the_server_and_its_grandchildren_along(log):
    with script(OWNER, log, FAMILY) as owner:
        assert owner.stdout.readline() == "ready\n"
        processes = below(owner.pid, least=3)  # leash, server, worker
        owner.send_signal(signal.SIGKILL)
        wait_until_gone(processes)


def test_a_fork_of_the_owner_does_not_keep_the_server_alive(log):
    forking = OWNER.replace('print("ready"', 'import os; os.fork() or time.sleep(600); print("ready"')
    with script(forking, log, FAMILY) as owner:
        assert owner.stdout.readline() == "ready\n"
        processes = below(owner.pid, least=4)
        copy = next(process for process in processes if "import ServerProcess" in command_of(process))
        owner.send_signal(signal.SIGKILL)
        try:
            wait_until_gone([process for process in processes if process != copy])
        finally:
            kill(copy)


def test_stop_ends_all_of_them_and_can_be_called_twice(family):
    processes = below(family._supervisor.pid, least=2)
    asyncio.run(family.stop())
    wait_until_gone(processes)
    asyncio.run(family.stop())
    assert family.exit_code == 128 + signal.SIGTERM


def test_a_killed_leash_does_not_leave_the_server(family):
    server = below(family._supervisor.pid, least=2)[0]
    worker = below(family._supervisor.pid, least=2)[1:]
    family._supervisor.send_signal(signal.SIGKILL)
    try:
        wait_until_gone([server])
    finally:
        for process in worker:
            kill(process)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_leash_ends_them(family, number):
    processes = below(family._supervisor.pid, least=2)
    family._supervisor.send_signal(number)
    wait_until_gone(processes)


@pytest.mark.parametrize(
    ("manner", "grace_s", "number"), [("stubborn", 0.5, signal.SIGKILL), ("obedient", 3600, signal.SIGTERM)]
)
def test_only_who_does_not_heed_the_request_is_killed(manner, grace_s, number):
    """With an hour of grace, an obedient family that left anything uncollected would hold this test up."""
    call = f"sys.exit(supervisor.run(sys.argv[1:], grace_s={grace_s}))"
    source = f"import sys; from gptoss_bench.engines import supervisor; {call}"
    command = [sys.executable, "-c", source, sys.executable, "-c", FAMILY, manner]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout.readline() == "up\n"
        processes = below(held.pid, least=2)
        held.stdin.close()
        assert held.wait(PATIENCE_S) == 128 + number
        wait_until_gone(processes)


def test_exit_code_and_last_words_are_reported(log):
    log.parent.mkdir()
    log.write_text("of an earlier server\n")
    server = ServerProcess(["sh", "-c", "echo one; echo ----; echo two >&2; exit 7"], log)
    wait_until(lambda: server.exit_code is not None, "the command ended")
    assert server.exit_code == 7
    assert server.last_lines() == "one | two"


def test_a_program_that_is_not_there_is_named(log):
    server = ServerProcess(["no-such-server", "--port", "1"], log)
    wait_until(lambda: server.exit_code is not None, "the supervisor ended")
    assert server.exit_code == 127
    assert server.last_lines() == "cannot start no-such-server: No such file or directory"


def test_a_command_without_a_word_wrote_nothing(log):
    server = ServerProcess(["true"], log)
    wait_until(lambda: server.exit_code is not None, "the command ended")
    assert (server.exit_code, server.last_lines()) == (0, "it wrote nothing")


def test_the_key_is_not_handed_to_a_server(log, monkeypatch):
    monkeypatch.setenv("GPTOSS_API_KEY", "sk-secret")
    server = ServerProcess(["sh", "-c", 'echo "$MARK and ${GPTOSS_API_KEY:-no key}"'], log, {"MARK": "given"})
    wait_until(lambda: server.exit_code is not None, "the command ended")
    assert server.last_lines() == "given and no key"


def test_a_log_that_cannot_be_written_is_bad_usage(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write to the server's log"):
        ServerProcess(["true"], tmp_path / "file" / "server.log")


def test_the_leash_without_a_command_says_how_it_is_used():
    ended = subprocess.run([sys.executable, supervisor.__file__], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage:")


def test_a_free_port_is_held():
    with free_port() as port, socket.socket() as server:
        with pytest.raises(OSError, match="in use"):
            server.bind(("127.0.0.1", port))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()
        socket.create_connection(("127.0.0.1", port)).close()
