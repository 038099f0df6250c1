"""The real daemon, started, asked and stopped; nothing here waits by sleeping for a fixed time."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from varlink_wire import Varlink

BUILD = pathlib.Path(os.environ.get("CKPTD_BUILD", "build/asan")).absolute()
CKPTD = BUILD / "daemon/ckptd"
CKPTCTL = BUILD / "daemon/ctl/ckptctl"
IRIS = BUILD / "lib/client/examples/iris"
START_S = 180
STOP_S = 180
POLL_S = 0.01
SANITIZERS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:")


def wait_until(condition, what, timeout_s=START_S):
    """Polls until condition() gives something true, and returns that."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"timed out: {what() if callable(what) else what}"
        time.sleep(POLL_S)


def environment(**more):
    kept = ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LD_LIBRARY_PATH")
    return {"TZ": "UTC", "LC_ALL": "C", **{k: os.environ[k] for k in kept if k in os.environ},
            **more}


class Daemon:
    """A ckptd with a folder of its own: settings, state, socket, log, and `models` for its jobs."""

    def __init__(self, settings="", policies=None, env=None):
        # Not pytest's folder: a socket's name has 107 bytes at most.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ckptd-"))
        self.config = self.folder / "etc/ckptd.yaml"
        self.state = self.folder / "state"
        self.socket = self.folder / "run/ckptd.sock"
        self.stderr = self.folder / "log"
        self.models = self.folder / "models"
        self.config.parent.mkdir()
        self.models.mkdir()
        self.env = environment(**(env or {}))
        self.process = None
        self.write_settings(settings)
        for name, text in (policies or {}).items():
            (self.config.parent / "policies.d").mkdir(exist_ok=True)
            (self.config.parent / "policies.d" / name).write_text(text)

    def write_settings(self, text):
        self.config.write_text(text)

    def command(self, *args):
        return [CKPTD, "--config", self.config, "--state", self.state, "--socket", self.socket,
                *args]

    def spawn(self, *args, **popen):
        """Starts it and waits for nothing."""
        assert self.process is None
        with open(self.stderr, "ab") as log:
            self.process = subprocess.Popen(self.command(*args), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=self.env, **popen)
        return self

    def start(self, *args, **popen):
        self.spawn(*args, **popen)
        wait_until(self._answers, f"ckptd does not answer:\n{self.log()}")
        return self

    def _answers(self):
        code = self.process.poll()
        assert code is None, f"ckptd ended with {code}:\n{self.log()}"
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    @property
    def pid(self):
        return self.process.pid

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def send_signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout_s=STOP_S):
        """Its exit code, once it has ended by itself."""
        code = self.process.wait(timeout_s)
        self.process = None
        return code

    def stop(self, number=signal.SIGTERM):
        """A clean stop: code 0, nothing found by a sanitizer."""
        if self.process is None:
            return
        self.send_signal(number)
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        assert code == 0, f"ckptd ended with {code}:\n{self.log()}"
        self.check_log()

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self, settings=None):
        self.stop()
        if settings is not None:
            self.write_settings(settings)
        return self.start()

    def log(self):
        return self.stderr.read_text(errors="replace") if self.stderr.exists() else ""

    def check_log(self):
        found = [s for s in SANITIZERS if s in self.log()]
        assert not found, f"{found}:\n{self.log()}"

    def wait_log(self, text, timeout_s=START_S):
        wait_until(lambda: text in self.log(), f"no {text!r} in the log", timeout_s)

    def connect(self, **options):
        return Varlink(self.socket, **options)

    def call(self, method, parameters=None, fds=()):
        """One call on a connection of its own.  A name without a dot is of io.ckptd.Admin."""
        with self.connect() as connection:
            return connection.call(method if "." in method else f"io.ckptd.Admin.{method}",
                                   parameters, fds)

    def ctl(self, *args, check=False, timeout_s=120):
        done = subprocess.run([CKPTCTL, "--socket", self.socket, *map(str, args)], text=True,
                              capture_output=True, timeout=timeout_s, env=self.env)
        assert not any(s in done.stderr for s in SANITIZERS), done.stderr
        assert not check or done.returncode == 0, f"{done.args}: {done.stdout}{done.stderr}"
        return done

    def iris(self, *args, **popen):
        """The C example as a job of this daemon; a Popen with its output in pipes."""
        env = {**self.env, "CKPTD_SOCKET": str(self.socket), **popen.pop("env", {})}
        return subprocess.Popen([IRIS, *map(str, args)], text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env, **popen)

    def n_fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def close(self):
        try:
            self.stop()
        finally:
            self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if kind:
            self.kill()
        self.close()


@pytest.fixture
def ckptd(request):
    """ckptd(settings) starts a daemon; ckptd(settings, start=False) only makes it ready.  All are
    stopped in the end, and must have had nothing for the sanitizers."""
    daemons = []

    def make(settings="", start=True, **options):
        d = Daemon(settings, **options)
        daemons.append(d)
        return d.start() if start else d

    yield make
    errors = []
    for d in daemons:
        try:
            d.close()
        except (AssertionError, subprocess.TimeoutExpired) as e:
            errors.append(str(e))
    assert not errors, "\n".join(errors)
