"""What ckptctl prints of a daemon's answers, to the column, and how it tells errors.

A small varlink server of ours gives fixed answers, so that every output and every error can be had."""

import json
import os
import pathlib
import socket
import subprocess
import threading
import time

import pytest

CKPTCTL = pathlib.Path(os.environ["CKPTD_BUILD"]) / "daemon/ctl/ckptctl"
DAY_MS = 86_400_000
T0 = 1795270712000  # 2026-11-21 14:18:32 UTC


class Daemon:
    """Answers each method with what is set; records the calls."""

    def __init__(self, path):
        self.path, self.answers, self.calls = str(path), {}, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        data = b""
        while chunk := connection.recv(65536):
            data += chunk
            while b"\0" in data:
                message, data = data.split(b"\0", 1)
                self._answer(connection, json.loads(message))
        connection.close()

    def _answer(self, connection, call):
        self.calls.append(call)
        name = call["method"].rsplit(".", 1)[1]
        answer = self.answers.get(name, {"error": "org.varlink.service.MethodNotFound",
                                         "parameters": {"method": call["method"]}})
        for reply in answer if isinstance(answer, list) else [answer]:
            if reply == "close":
                connection.shutdown(socket.SHUT_RDWR)
                return
            connection.sendall(json.dumps(reply).encode() + b"\0")

    def close(self):
        self.listener.close()


@pytest.fixture
def daemon(tmp_path):
    d = Daemon(tmp_path / "s")
    yield d
    d.close()


def ctl(daemon, *args):
    return subprocess.run([CKPTCTL, "--socket", daemon.path, *args], capture_output=True, text=True,
                          timeout=60, env={"PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C"})


def directory(path, **more):
    return {"path": path, "policy": "normal", "state": "ok", "checkpoints": 5, "bytes": 12698,
            **more}


STATUS = {
    "version": "1.0.0", "host": "gpu-17", "instance": "ckptd@alice", "pid": 1432, "uid": 0,
    "up_ms": 12 * DAY_MS + 5000, "settings": "/etc/ckptd/ckptd.yaml + 2 in policies.d",
    "settings_loaded_ms": T0, "catalog": "/var/lib/ckptd/catalog.sqlite",
    "catalog_bytes": 41 << 20, "n_directories": 4, "n_checkpoints": 233,
    "memory_used": 174590420992, "memory_max": 256 << 30, "memory_setting": "50%", "slots": 20,
    "writing": 1,
    "directories": [
        directory("/srv/models/iris", job="pid:20117", ranks=1, step=7283, steps_per_second=2.12,
                  unsaved_ms=195000, next_save_ms=405000),
        directory("/srv/models/llm-7b", policy="long", job="slurm:88231", ranks=8, step=185831,
                  steps_per_second=2.4, unsaved_ms=632000, saving="writing", progress=0.634),
        directory("/srv/models/old-bert"),
        directory("/srv/models/sweeps/vit-l", policy="sweep", job="slurm:88240", ranks=1, step=3995,
                  steps_per_second=0.52, unsaved_ms=1914000, retry_ms=242000),
    ],
    "disks": [
        {"path": "/srv/models", "type": "nfs4", "free": 2638827906662, "usable": 2638827906662,
         "biggest_save": 83966610637},
        {"path": "/srv/models/sweeps", "type": "ext4", "free": 12025908428, "usable": 1288490189,
         "biggest_save": 3328599654},
    ],
    "problems": [
        {"subject": "/srv/models/sweeps/vit-l",
         "text": "saves fail since 14:05:41 (4 in a row), 31m 54s of training unsaved\n"
                 "No space in /srv/models/sweeps: 3.1 GiB needed, 1.2 GiB usable (free less disk_reserve).",
         "advice": "What could go: ckptctl plan /srv/models/sweeps/vit-l"},
        {"subject": "/srv/models/old-bert", "text": "retention held since 2026-11-20 10:02:11"},
    ],
}

STATUS_TEXT = """\
ckptd 1.0.0 on gpu-17, ckptd@alice, pid 1432 (user root), up 12 days
Settings  /etc/ckptd/ckptd.yaml + 2 in policies.d, loaded 2026-11-21 14:18:32
Catalog   /var/lib/ckptd/catalog.sqlite, 41.0 MiB: 4 directories, 233 checkpoints
Memory    162.6 of 256.0 GiB in 20 slots (memory_max: 50%)
Writing   1 save

DIRECTORY                 POLICY  JOB          RANKS    STEP  STEPS/S  UNSAVED  NEXT SAVE
/srv/models/iris          normal  pid:20117        1    7283     2.12   3m 15s  in 6m 45s
/srv/models/llm-7b        long    slurm:88231      8  185831     2.40  10m 32s  now, 63% written
/srv/models/old-bert      normal  -                -       -        -        -  -
/srv/models/sweeps/vit-l  sweep   slurm:88240      1    3995     0.52  31m 54s  retry in 4m 2s

FILE SYSTEM         TYPE      FREE   USABLE  BIGGEST SAVE  ROOM FOR
/srv/models         nfs4   2.4 TiB  2.4 TiB      78.2 GiB  31 saves
/srv/models/sweeps  ext4  11.2 GiB  1.2 GiB       3.1 GiB  none

Problems: 2
/srv/models/sweeps/vit-l: saves fail since 14:05:41 (4 in a row), 31m 54s of training unsaved
    No space in /srv/models/sweeps: 3.1 GiB needed, 1.2 GiB usable (free less disk_reserve).
    What could go: ckptctl plan /srv/models/sweeps/vit-l
/srv/models/old-bert: retention held since 2026-11-20 10:02:11
"""


def test_status_is_as_the_manual_shows_it(daemon):
    daemon.answers["Status"] = {"parameters": STATUS}
    r = ctl(daemon, "status")
    assert (r.stdout, r.stderr, r.returncode) == (STATUS_TEXT, "", 0)


def test_status_json_has_bytes_and_utc(daemon):
    daemon.answers["Status"] = {"parameters": STATUS}
    out = json.loads(ctl(daemon, "status", "--json").stdout)
    assert out["settings_loaded"] == "2026-11-21T14:18:32.000Z"
    assert out["memory_used"] == STATUS["memory_used"]
    assert out["directories"][0]["unsaved_ms"] == 195000
    assert "unsaved_ms" not in out["directories"][2]
    assert out["disks"][1]["usable"] == 1288490189
    assert out["problems"][0]["advice"].startswith("What could go")


def test_next_save_by_steps_and_an_idle_daemon(daemon):
    status = dict(STATUS, disks=[], problems=[], settings=None, directories=[
        directory("/a", job="pid:1", next_save_step=4000),
        directory("/b", job="pid:2", next_save_step=4000, next_save_ms=60000),
        directory("/c", job="pid:3", saving="due: 10m"),
    ])
    daemon.answers["Status"] = {"parameters": status}
    out = ctl(daemon, "status").stdout
    assert "Settings  no file: the defaults, loaded" in out
    for text in ("at step 4000\n", "in 1m 0s or at step 4000\n", "  now\n", "Problems: none\n"):
        assert text in out
    assert "FILE SYSTEM" not in out


def test_list_of_directories(daemon):
    daemon.answers["List"] = {"parameters": {"directories": [
        directory("/srv/models/iris", newest_step=6870, newest_published_ms=T0 - 13000),
        directory("/srv/models/old-bert", state="held", checkpoints=0, bytes=0),
    ]}}
    r = ctl(daemon, "list")
    assert r.stdout == """\
DIRECTORY             CHECKPOINTS      SIZE  NEWEST  PUBLISHED            POLICY  STATE
/srv/models/iris                5  12.4 KiB    6870  2026-11-21 14:18:19  normal  ok
/srv/models/old-bert            0       0 B       -  -                    normal  held
2 directories, 5 checkpoints, 12.4 KiB
"""
    assert daemon.calls[-1].get("parameters", {}) == {}
    rows = json.loads(ctl(daemon, "--json", "list").stdout)
    assert rows[0]["newest_published"] == "2026-11-21T14:18:19.000Z"


def test_list_of_checkpoints(daemon, tmp_path):
    daemon.answers["List"] = {"parameters": {
        "directories": [directory(str(tmp_path), policy="long", job="slurm:88231", ranks=8)],
        "checkpoints": [
            {"step": 184320, "path": "/m/c-184320", "state": "whole", "bytes": 83966610637,
             "published_ms": T0, "sequence": 2, "run": 1, "origin": "saved",
             "kept_by": ["newest 1/3", "best 1/2"]},
            {"step": 171355, "path": "/m/c-171355", "state": "damaged", "bytes": 83966610637,
             "published_ms": T0, "sequence": 1, "run": 1, "origin": "saved",
             "kept_by": ["damaged: remove it by hand"]},
        ],
        "note": "step 185757 is being written (63%)"}}
    r = ctl(daemon, "list", str(tmp_path), "--all")
    assert r.stdout == f"""\
{tmp_path}: policy long, job slurm:88231 attached, 8 ranks

  STEP  PUBLISHED                SIZE  STATE    KEPT BY
184320  2026-11-21 14:18:32  78.2 GiB  whole    newest 1/3, best 1/2
171355  2026-11-21 14:18:32  78.2 GiB  damaged  damaged: remove it by hand
2 checkpoints, 156.4 GiB; step 185757 is being written (63%)
"""
    assert daemon.calls[-1]["parameters"] == {"model_dir": str(tmp_path), "all": True}
    rows = json.loads(ctl(daemon, "list", str(tmp_path), "--json").stdout)
    assert rows[0] == {"step": 184320, "path": "/m/c-184320", "published": "2026-11-21T14:18:32.000Z",
                       "bytes": 83966610637, "state": "whole", "kept_by": ["newest 1/3", "best 1/2"],
                       "sequence": 2, "run": 1, "origin": "saved"}


def test_the_directory_is_sent_absolute_with_links_resolved(daemon, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    daemon.answers["List"] = {"error": "io.ckptd.Admin.NoSuchDirectory",
                              "parameters": {"model_dir": "/x"}}
    r = subprocess.run([CKPTCTL, "--socket", daemon.path, "list", "link"], cwd=tmp_path,
                       capture_output=True, text=True)
    assert daemon.calls[-1]["parameters"]["model_dir"] == str(tmp_path / "real")
    assert (r.returncode, r.stderr) == (1, "ckptctl: /x: not a registered directory: no job has "
                                        "attached here yet; known ones: ckptctl list\n")


def test_history(daemon, tmp_path):
    daemon.answers["History"] = {"parameters": {"events": [
        {"id": 1, "time_ms": T0, "event": "saved", "directory": "/m", "step": 179993,
         "detail": "due: 10m; job lost 0.29s; durable in 49s; 78.2 GiB"},
        {"id": 2, "time_ms": T0 + 1000, "event": "reloaded", "detail": "by root (uid 0)"},
    ]}}
    r = ctl(daemon, "history", str(tmp_path), "--since", "2026-11-21 14:00", "--event", "saved", "--limit=7")
    assert r.stdout == """\
TIME                 EVENT       STEP  DETAIL
2026-11-21 14:18:32  saved     179993  due: 10m; job lost 0.29s; durable in 49s; 78.2 GiB
2026-11-21 14:18:33  reloaded       -  by root (uid 0)
"""
    assert daemon.calls[-1]["parameters"] == {"model_dir": str(tmp_path), "event": "saved", "limit": 7,
                                              "since_ms": 1795269600000}
    assert ctl(daemon, "history").stdout.splitlines()[0].split() == [
        "TIME", "DIRECTORY", "EVENT", "STEP", "DETAIL"]
    rows = json.loads(ctl(daemon, "history", "--json").stdout)
    assert rows[1] == {"id": 2, "time": "2026-11-21T14:18:33.000Z", "event": "reloaded",
                       "detail": "by root (uid 0)"}


def test_save_waits_through_progress(daemon, tmp_path):
    daemon.answers["Save"] = [
        {"parameters": {"n_asked": 1, "progress": 0.2}, "continues": True},
        {"parameters": {"n_asked": 1, "progress": 0.9}, "continues": True},
        {"parameters": {"n_asked": 1, "step": 40, "path": "/m/model.ckpt-40"}},
    ]
    r = ctl(daemon, "save", str(tmp_path), "--wait", "--timeout", "30s")
    assert (r.stdout, r.stderr, r.returncode) == ("saved step 40: /m/model.ckpt-40\n", "", 0)
    assert daemon.calls[-1] == {"method": "io.ckptd.Admin.Save", "more": True,
                                "parameters": {"model_dir": str(tmp_path), "wait": True}}


def test_save_without_waiting_asks_only(daemon, tmp_path):
    daemon.answers["Save"] = {"parameters": {"n_asked": 1}}
    r = ctl(daemon, "save", str(tmp_path))
    assert (r.stdout, r.returncode) == (f"asked for a save: {tmp_path}\n", 0)
    assert daemon.calls[-1]["parameters"] == {"model_dir": str(tmp_path)}
    assert ctl(daemon, "save", "--all").stdout == "asked 1 job\n"
    assert daemon.calls[-1]["parameters"] == {"all": True}


def test_save_of_several_goes_on_after_one_fails(daemon, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    daemon.answers["Save"] = {"error": "io.ckptd.Admin.NoJob", "parameters": {"model_dir": "/m"}}
    r = ctl(daemon, "save", str(tmp_path / "a"), str(tmp_path / "b"))
    assert r.returncode == 1
    assert r.stderr == "ckptctl: /m: no job is attached\n" * 2
    assert len(daemon.calls) == 2


def test_save_that_is_not_published_in_time_exits_5(daemon, tmp_path):
    daemon.answers["Save"] = [{"parameters": {"n_asked": 1, "progress": 0.1}, "continues": True}]
    start = time.monotonic()
    r = ctl(daemon, "save", str(tmp_path), "--wait", "--timeout", "0.3s")
    assert r.returncode == 5 and "not published in time" in r.stderr
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("args", [("save",), ("save", "--all", "/x"), ("save", "/x", "--timeout", "3s")])
def test_save_wants_to_know_what(daemon, args):
    assert ctl(daemon, *args).returncode == 2
    assert daemon.calls == []


def test_latest_asks_the_daemon_first(daemon, tmp_path):
    daemon.answers["Latest"] = {"parameters": {"found": True, "step": 7, "path": "/m/c-7"}}
    assert ctl(daemon, "latest", str(tmp_path)).stdout == "/m/c-7\n"
    assert json.loads(ctl(daemon, "latest", "--json", str(tmp_path)).stdout) == {"step": 7,
                                                                              "path": "/m/c-7"}
    daemon.answers["Latest"] = {"parameters": {"found": False}}
    r = ctl(daemon, "latest", str(tmp_path))
    assert (r.stdout, r.returncode) == ("", 1)
    daemon.answers["Latest"] = {"error": "io.ckptd.Admin.NoneWhole", "parameters": {"message": "no"}}
    assert ctl(daemon, "latest", str(tmp_path)).returncode == 4


def test_latest_of_a_directory_unknown_to_the_daemon(daemon, tmp_path):
    daemon.answers["Latest"] = {"error": "io.ckptd.Admin.NoSuchDirectory",
                                "parameters": {"model_dir": "/x"}}
    assert ctl(daemon, "latest", str(tmp_path / "later")).returncode == 1
    (tmp_path / "file").write_text("")
    assert ctl(daemon, "latest", str(tmp_path / "file")).returncode == 3


def test_reload(daemon):
    daemon.answers["Reload"] = {"parameters": {"changes": ["/m: keep_checkpoint_max 5 -> 3"]}}
    assert ctl(daemon, "reload").stdout == "/m: keep_checkpoint_max 5 -> 3\n"
    daemon.answers["Reload"] = {"parameters": {"changes": []}}
    assert ctl(daemon, "reload").stdout == "Read anew; nothing has changed.\n"
    daemon.answers["Reload"] = {"error": "io.ckptd.Admin.InvalidSettings",
                                "parameters": {"mistakes": "/e/c.yaml:5:13: bad\n/e/c.yaml:6:1: worse"}}
    r = ctl(daemon, "reload")
    assert r.returncode == 1 and r.stdout == ""
    assert r.stderr.splitlines()[1:] == ["/e/c.yaml:5:13: bad", "/e/c.yaml:6:1: worse"]


def test_verify_tells_the_daemon_of_damage(daemon, tmp_path):
    (tmp_path / "m-3.safetensors").write_bytes(b"\xff" * 8)
    daemon.answers["ReportDamage"] = {"parameters": {"damaged": True}}
    r = ctl(daemon, "verify", str(tmp_path / "m-3.safetensors"))
    assert r.returncode == 1
    assert daemon.calls[-1]["method"] == "io.ckptd.Admin.ReportDamage"
    assert daemon.calls[-1]["parameters"]["model_dir"] == str(tmp_path)
    assert "told ckptd" in r.stdout


@pytest.mark.parametrize("error, parameters, text", [
    ("org.varlink.service.PermissionDenied", {}, "permission denied"),
    ("org.varlink.service.MethodNotFound", {"method": "X"}, "its version is another"),
    ("io.ckptd.Admin.Failed", {"errno": 5, "message": "I/O error on /m"}, "I/O error on /m"),
    ("io.ckptd.Admin.Failed", {}, "?"),
    ("com.example.Other", {}, "com.example.Other"),
])
def test_errors_are_told_and_exit_1(daemon, error, parameters, text):
    daemon.answers["Reload"] = {"error": error, "parameters": parameters}
    r = ctl(daemon, "reload")
    assert r.returncode == 1 and text in r.stderr and r.stdout == ""


def test_a_daemon_that_hangs_up(daemon):
    daemon.answers["Status"] = ["close"]
    r = ctl(daemon, "status")
    assert (r.returncode, r.stderr) == (1, "ckptctl: the daemon closed the connection\n")


def test_version_of_both(daemon):
    daemon.answers["GetInfo"] = {"parameters": {"vendor": "", "product": "", "version": "9.8.7", "url": "",
                                                "interfaces": []}}
    lines = ctl(daemon, "--version").stdout.splitlines()
    assert lines[0].startswith("ckptctl ") and lines[1] == "ckptd 9.8.7"
