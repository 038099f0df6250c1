"""The daemon as a process: starting, refusing to start, stopping, options, signals."""

import os
import re
import signal
import socket
import stat
import subprocess

import pytest

from conftest import CKPTD, environment, wait_until

GOOD = "policies:\n  mine: {save_checkpoints_secs: 30, keep_checkpoint_max: 3}\n"
BAD = "memory_max: lots\npolicies:\n  mine: {keep_checkpoint_maks: 3}\n"


def run(*args):
    return subprocess.run([CKPTD, *args], capture_output=True, text=True, timeout=60,
                          env=environment())


def test_starts_and_answers(ckptd):
    d = ckptd(GOOD)
    info = d.call("org.varlink.service.GetInfo")
    assert info["vendor"] and info["version"]
    assert {"io.ckptd.Jobs", "io.ckptd.Admin"} <= set(info["interfaces"])
    status = d.call("Status")
    assert status["pid"] == d.pid
    assert status["uid"] == os.geteuid()
    assert status["n_directories"] == 0
    assert status["problems"] == []
    assert status["catalog"] == str(d.state / "catalog.sqlite")


def test_serves_its_interface_texts(ckptd):
    d = ckptd()
    for name in d.call("org.varlink.service.GetInfo")["interfaces"]:
        text = d.call("org.varlink.service.GetInterfaceDescription", {"interface": name})
        assert f"interface {name}\n" in text["description"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_socket_mode(ckptd, umask):
    d = ckptd(start=False)
    d.start(umask=umask)
    mode = d.socket.lstat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


def test_stale_socket_is_taken_over(ckptd):
    d = ckptd(start=False)
    d.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(d.socket))
    d.start()
    d.call("Status")


def test_starts_again_after_kill(ckptd):
    d = ckptd()
    d.kill()
    assert d.socket.exists()
    d.start()
    d.call("Status")


def test_what_is_no_socket_stays(ckptd):
    d = ckptd(start=False)
    d.socket.parent.mkdir()
    d.socket.write_text("precious")
    assert d.spawn().wait() == 1
    assert str(d.socket) in d.log()
    assert d.socket.read_text() == "precious"


def test_live_socket_is_refused(ckptd):
    first, second = ckptd(), ckptd(start=False)
    second.socket = first.socket
    assert second.spawn().wait() == 1
    assert str(first.pid) in second.log()
    assert str(first.socket) in second.log()
    first.call("Status")


def test_catalog_in_use_is_refused(ckptd):
    first, second = ckptd(), ckptd(start=False)
    second.state = first.state
    assert second.spawn().wait() == 1
    assert re.search(rf"\bpid {first.pid}\b", second.log())
    assert not second.socket.exists()
    first.call("Status")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_on_signal(ckptd, number):
    d = ckptd()
    with d.connect() as idle:
        idle.call("org.varlink.service.GetInfo")
        d.stop(number)
    assert not d.socket.exists()
    d.start()


def test_stop_leaves_another_daemons_socket(ckptd):
    d = ckptd()
    os.unlink(d.socket)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(d.socket))
        other.listen()
        d.stop()
        assert d.socket.exists()


def test_help_and_version():
    done = run("--help")
    assert done.returncode == 0 and done.stderr == ""
    for option in ("--config", "--state", "--socket", "--check", "--version", "--help"):
        assert option in done.stdout
    done = run("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"ckptd \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("args", [["--nonsense"], ["--config"], ["extra"], ["--socket"]])
def test_usage_errors(args):
    done = run(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "see ckptd --help" in done.stderr


def test_check(ckptd):
    d = ckptd(GOOD, start=False)
    done = run("--config", d.config, "--check")
    assert (done.returncode, done.stderr) == (0, "")
    d.write_settings(BAD)
    done = run("--config", d.config, "--check")
    assert done.returncode == 1
    assert f"{d.config}:1:13: " in done.stdout
    assert f"{d.config}:3:10: " in done.stdout
    assert "keep_checkpoint_max" in done.stdout
    assert not d.state.exists()


def test_wrong_settings_at_start(ckptd):
    """With no settings that ever loaded: every mistake, and the code that systemd does not restart on."""
    d = ckptd(BAD, start=False)
    assert d.spawn().wait() == 78
    assert f"{d.config}:1:13: " in d.log()
    assert f"{d.config}:3:10: " in d.log()
    assert not d.socket.exists()


def test_wrong_settings_after_good_ones(ckptd):
    """The last settings that loaded are used, and status says so."""
    d = ckptd(GOOD)
    d.stop()
    d.write_settings(BAD)
    d.start()
    assert f"{d.config}:1:13: " in d.log()
    problems = d.call("Status")["problems"]
    assert any("memory_max" in p["text"] or "settings" in p["text"] for p in problems)


def test_reload_by_signal(ckptd):
    d = ckptd(GOOD)
    d.write_settings(GOOD.replace("keep_checkpoint_max: 3", "keep_checkpoint_max: 2"))
    d.send_signal(signal.SIGHUP)
    wait_until(lambda: d.call("History", {"event": "reloaded"})["events"], "no reloaded event")
    d.call("Status")


def test_reload_of_wrong_settings_changes_nothing(ckptd):
    d = ckptd(GOOD)
    loaded = d.call("Status")["settings_loaded_ms"]
    d.write_settings(BAD)
    d.send_signal(signal.SIGHUP)
    d.wait_log(f"{d.config}:1:13: ")
    with d.connect() as c:
        reply = c.exchange("io.ckptd.Admin.Reload")
    assert reply.error == "io.ckptd.Admin.InvalidSettings"
    assert f"{d.config}:3:10: " in reply["mistakes"]
    assert d.call("Status")["settings_loaded_ms"] == loaded


def test_catalog_survives(ckptd):
    """A catalog that is broken is set aside; the daemon starts with a new one."""
    d = ckptd()
    d.stop()
    catalog = d.state / "catalog.sqlite"
    catalog.write_bytes(b"garbage!" * 4096)
    d.start()
    aside = [p for p in d.state.iterdir() if p.name.startswith("catalog.sqlite.broken-")]
    assert len(aside) == 1
    assert ".broken-" in d.log()


def test_newer_catalog_is_refused(ckptd):
    d = ckptd()
    d.stop()
    subprocess.run(["sqlite3", d.state / "catalog.sqlite", "PRAGMA user_version = 999"], check=True)
    before = (d.state / "catalog.sqlite").read_bytes()
    assert d.spawn().wait() == 1
    assert "999" in d.log()
    assert (d.state / "catalog.sqlite").read_bytes() == before
