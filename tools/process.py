"""Runs one program with a time limit, and sees to it that nothing of it is left running."""

import os
import resource
import signal
import subprocess
import time
from dataclasses import dataclass

NOT_STARTED = 127  # as a shell says it


@dataclass
class Outcome:
    exit_code: int | None  # None: it ran out of time; negative: killed by that signal
    left_running: bool  # a process of its group outlived it (and was killed)
    seconds: float

    def describe(self):
        if self.exit_code is None:
            return f"ran out of time after {self.seconds:.0f} s"
        if self.exit_code < 0:
            return f"was killed by {signal.Signals(-self.exit_code).name}"
        if self.left_running:
            return "left a process running"
        return f"exit code {self.exit_code}"


def _kill_group(group):
    try:
        os.killpg(group, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


def _group_outlives(group, grace_s):
    """Waits up to grace_s for a process group to be gone: what is dying already may take its time."""
    end = time.monotonic() + grace_s
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        if time.monotonic() >= end:
            return True
        time.sleep(0.02)


def run(command, output_path, timeout_s, environment=None, data_limit_bytes=None, cwd=None):
    """stdout and stderr go to the file output_path, so a process that keeps them open cannot hold us up."""

    def limit_data():
        resource.setrlimit(resource.RLIMIT_DATA, (data_limit_bytes, data_limit_bytes))

    start = time.monotonic()
    with open(output_path, "wb") as output:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=cwd,
                start_new_session=True,
                preexec_fn=limit_data if data_limit_bytes else None,
            )
        except OSError as error:
            output.write(f"{error}\n".encode())
            return Outcome(NOT_STARTED, False, 0.0)
        try:
            exit_code = child.wait(timeout_s)
            left_running = _group_outlives(child.pid, grace_s=2)
        except subprocess.TimeoutExpired:
            exit_code, left_running = None, False
        finally:
            _kill_group(child.pid)
            child.wait()
    return Outcome(exit_code, left_running, time.monotonic() - start)
