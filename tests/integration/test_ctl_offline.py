"""What ckptctl does without a daemon: inspect, verify, latest, check, help and its errors."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess

import pytest

BUILD = pathlib.Path(os.environ["CKPTD_BUILD"])
CKPTCTL = BUILD / "daemon/ctl/ckptctl"
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "data/golden"
SAVER = GOLDEN / "tensorflow/saver"
COMMANDS = ["status", "list", "history", "save", "latest", "inspect", "verify", "check", "reload"]
LATER = ["show", "plan", "pin", "unpin", "remove", "register", "unregister", "policy", "diff", "convert",
         "code", "health", "monitor", "wait", "pause", "resume"]


def ctl(*args, **env):
    env = {"PATH": os.environ["PATH"], "CKPTD_SOCKET": "/nonexistent/s", "TZ": "UTC", **env}
    return subprocess.run([CKPTCTL, *map(str, args)], capture_output=True, text=True, env=env, timeout=120)


def expectations():
    return sorted(p for p in GOLDEN.rglob("*.expect.json")
                  if "tensorflow" in p.parts or p.name.endswith(".safetensors.expect.json"))


def checkpoint_of(expect):
    return expect.with_name(expect.name.removesuffix(".expect.json"))


def ids(paths):
    return [str(p.relative_to(GOLDEN)).removesuffix(".expect.json") for p in paths]


@pytest.fixture
def saver(tmp_path):
    """A copy of what TensorFlow's Saver wrote: steps 10 and 20, and the state file."""
    return copy(SAVER, tmp_path / "saver")


def copy(source, to):
    shutil.copytree(source, to)
    for p in [to, *to.rglob("*")]:
        p.chmod(0o755 if p.is_dir() else 0o644)
    return to


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def verify(*args):
    r = ctl("verify", "--json", *args)
    return r.returncode, json.loads(r.stdout)


# ---- golden files ----

def test_there_are_golden_files():
    assert len(expectations()) >= 8


@pytest.mark.parametrize("expect", expectations(), ids=ids(expectations()))
def test_inspect_agrees_with_what_the_framework_wrote(expect):
    r = ctl("inspect", "--json", "--sha256", checkpoint_of(expect))
    assert r.returncode == 0, r.stderr
    out = json.loads(r.stdout)
    wanted = json.loads(expect.read_text())
    assert sorted(wanted) == sorted(t["name"] for t in out["tensors"])
    for tensor in out["tensors"]:
        want = wanted[tensor["name"]]
        assert tensor["dtype"] == want["dtype"], tensor["name"]
        assert tensor["shape"] == want["shape"], tensor["name"]
        assert tensor.get("sha256") == want.get("sha256"), tensor["name"]


@pytest.mark.parametrize("expect", expectations(), ids=ids(expectations()))
def test_verify_finds_golden_files_whole(expect):
    code, rows = verify(checkpoint_of(expect))
    assert (code, len(rows)) == (0, 1)
    assert rows[0]["whole"] is True and rows[0]["damage"] == []


def test_inspect_names_format_and_step():
    out = json.loads(ctl("inspect", "--json", SAVER / "model.ckpt-20").stdout)
    assert (out["format"], out["step"]) == ("tensorbundle", 20)
    assert "sha256" not in out["tensors"][0]
    out = json.loads(ctl("inspect", "--json", GOLDEN / "torch/m.safetensors").stdout)
    assert out["format"] == "safetensors"


def test_inspect_prints_a_table():
    r = ctl("inspect", SAVER / "model.ckpt-20")
    lines = r.stdout.splitlines()
    assert lines[0].startswith(f"{SAVER}/model.ckpt-20: tensorbundle, step 20, 4 tensors, ")
    assert lines[2].split() == ["TENSOR", "DTYPE", "SHAPE", "SIZE"]
    assert lines[3].split() == ["dnn/hiddenlayer_1/bias", "float32", "[10]", "40", "B"]
    assert not any(line != line.rstrip() for line in lines)


def test_inspect_of_a_directory_takes_its_newest():
    assert "model.ckpt-20: " in ctl("inspect", SAVER).stdout
    assert "model.ckpt-10: " in ctl("inspect", f"{SAVER}@10").stdout
    assert ctl("inspect", f"{SAVER}@11").returncode == 1


def test_inspect_prints_values_of_numbers_and_strings():
    r = ctl("inspect", "--tensor", "global_step", SAVER / "model.ckpt-20")
    head, value = r.stdout.splitlines()
    assert head == "global_step: int64 [], 8 B" and int(value) >= 0
    r = ctl("inspect", "--tensor", "scope/part", SAVER / "model.ckpt-20")
    lines = r.stdout.splitlines()
    assert len(lines) == 21 and lines[20].startswith("[19,:] ") and len(lines[20].split()) == 5
    r = ctl("inspect", "--tensor", "s", "--json", SAVER / "model.ckpt-20")
    assert len(json.loads(r.stdout)["values"]) == 3


def test_inspect_abbreviates_large_tensors():
    r = ctl("inspect", "--tensor", "model/big/.ATTRIBUTES/VARIABLE_VALUE", GOLDEN / "tensorflow/dtypes/all-7")
    lines = r.stdout.splitlines()
    assert lines[0].startswith("model/big/.ATTRIBUTES/VARIABLE_VALUE: float32 [257,513], ")
    assert lines[2] == f"... {257 * 513 - 100} more ..."
    assert len(lines) == 4 and lines[1].startswith("[0,:] ") and lines[3].startswith("[256,:] ")


def test_values_are_the_bytes_that_the_sum_is_of():
    import struct
    path = SAVER / "model.ckpt-20"
    tensors = {t["name"]: t for t in json.loads(ctl("inspect", "--json", "--sha256", path).stdout)["tensors"]}
    values = json.loads(ctl("inspect", "--json", "--tensor", "scope/part", path).stdout)["values"]
    data = struct.pack("<80f", *values)
    assert hashlib.sha256(data).hexdigest() == tensors["scope/part"]["sha256"]


def test_inspect_of_an_unknown_tensor_or_path(tmp_path):
    r = ctl("inspect", "--tensor", "nosuch", SAVER / "model.ckpt-20")
    assert r.returncode == 1 and "holds no tensor nosuch" in r.stderr
    r = ctl("inspect", tmp_path / "nosuch")
    assert r.returncode == 1 and "no checkpoint there" in r.stderr
    r = ctl("inspect", tmp_path / "no/such")
    assert r.returncode == 1 and "No such file" in r.stderr


# ---- damage ----

def test_verify_of_a_directory_reads_every_checkpoint(saver):
    r = ctl("verify", saver)
    assert r.returncode == 0
    lines = r.stdout.splitlines()
    assert lines[0].split() == [f"{saver}@10", "whole", "774", "B"]
    assert lines[1].split() == [f"{saver}@20", "whole", "774", "B"]
    assert lines[2].startswith("2 checkpoints, 1.5 KiB read in ")
    assert lines[2].endswith(": 2 whole. A restore would take step 20.")


def test_verify_names_a_flipped_byte(saver):
    flip(saver / "model.ckpt-20.data-00000-of-00001", 200)
    r = ctl("verify", saver)
    assert r.returncode == 1
    text = " ".join(r.stdout.split())
    assert f"{saver}@20 DAMAGED" in text and f"{saver}@10 whole" in text
    assert "model.ckpt-20.data-00000-of-00001: scope/part (float32 " in text
    assert "crc32c is " in text and "the index says " in text
    assert "1 whole, 1 damaged. A restore would take step 10." in text
    quiet = ctl("verify", "--quiet", saver)
    assert quiet.returncode == 1 and "whole" not in quiet.stdout and "DAMAGED" in quiet.stdout


@pytest.mark.parametrize("name", ["model.ckpt-20.index", "model.ckpt-20.data-00000-of-00001"])
def test_verify_finds_every_flipped_byte(saver, name):
    path = saver / name
    whole = path.read_bytes()
    missed = []
    for offset in range(len(whole)):
        flip(path, offset)
        r = ctl("verify", "--quiet", saver / "model.ckpt-20")
        if r.returncode != 1 or "DAMAGED" not in r.stdout:
            missed.append((offset, r.returncode, r.stderr[:200]))
        path.write_bytes(whole)
    assert missed == []


@pytest.mark.parametrize("name", ["model.ckpt-20.index", "model.ckpt-20.data-00000-of-00001"])
@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_verify_finds_truncated_files(saver, name, cut):
    path = saver / name
    path.write_bytes(path.read_bytes()[:cut])
    code, rows = verify(saver / "model.ckpt-20")
    assert code == 1 and rows[0]["whole"] is False
    assert any(name in line for line in rows[0]["damage"])


def test_verify_finds_a_missing_data_file(saver):
    (saver / "model.ckpt-20.data-00000-of-00001").unlink()
    code, rows = verify(saver)
    assert code == 1
    assert [r["whole"] for r in rows] == [True, False]
    assert any("model.ckpt-20.data-00000-of-00001" in line for line in rows[1]["damage"])


def test_verify_finds_a_missing_index(saver):
    (saver / "model.ckpt-20.index").unlink()
    code, rows = verify(saver / "model.ckpt-20")
    assert code == 1 and rows[0]["whole"] is False
    assert rows[0]["damage"] == ["model.ckpt-20.index: missing"]


def test_verify_finds_swapped_files(tmp_path):
    d = copy(GOLDEN / "tensorflow/estimator", tmp_path / "estimator")
    a, b = (d / f"model.ckpt-{step}.data-00000-of-00001" for step in (80, 100))
    a_bytes, b_bytes = a.read_bytes(), b.read_bytes()
    assert a_bytes != b_bytes and len(a_bytes) == len(b_bytes)
    a.write_bytes(b_bytes)
    b.write_bytes(a_bytes)
    code, rows = verify(d)
    assert code == 1
    assert {pathlib.Path(r["path"]).name: r["whole"] for r in rows} == {
        "model.ckpt-60": True, "model.ckpt-80": False, "model.ckpt-100": False}


def test_verify_finds_a_shard_of_another_checkpoint(tmp_path):
    d = copy(GOLDEN / "tensorflow/shards", tmp_path / "shards")
    shards = sorted(d.glob("*.data-*"))
    shards[0].write_bytes(shards[1].read_bytes()[:shards[0].stat().st_size])
    code, rows = verify(d / "model.ckpt-5")
    assert code == 1 and any(shards[0].name in line for line in rows[0]["damage"])


def test_verify_of_several_paths_and_of_none(saver):
    code, rows = verify(saver / "model.ckpt-10", f"{saver}@20", "/nonexistent/dir/x")
    assert code == 1 and [r["path"] for r in rows] == [f"{saver}/model.ckpt-10", f"{saver}/model.ckpt-20"]
    assert ctl("verify").returncode == 2


def test_verify_passes_by_files_of_other_programs(saver):
    (saver / "faiss.index").write_bytes(b"IxF2" + bytes(200))
    (saver / ".ckptd-tmp-1.index").write_bytes(b"half")
    (saver / "d.index").mkdir()
    code, rows = verify(saver)
    assert code == 0 and len(rows) == 2


def test_verify_follows_records(saver):
    records = saver / ".ckptd/checkpoints"
    records.mkdir(parents=True)
    write_record(records, "model.ckpt-30", 30, 3, "whole")
    write_record(records, "model.ckpt-40", 40, 4, "publishing")
    (records / "broken.json").write_text("{")
    code, rows = verify(saver)
    assert code == 1
    assert {pathlib.Path(r["path"]).name: r["whole"] for r in rows} == {
        "model.ckpt-10": True, "model.ckpt-20": True, "model.ckpt-30": False}


def test_damage_in_safetensors_structure_is_found(tmp_path):
    path = tmp_path / "m.safetensors"
    whole = (GOLDEN / "torch/m.safetensors").read_bytes()
    for data in [whole[:-1], whole[:7], b"\xff" * 8 + whole[8:], whole.replace(b"F32", b"F33", 1)]:
        path.write_bytes(data)
        assert verify(path)[0] == 1
        assert ctl("inspect", path).returncode == 1


# ---- latest ----

def write_record(records, name, step, sequence, state):
    (records / f"{name}.json").write_text(json.dumps({
        "name": name, "step": step, "sequence": sequence, "run": 1, "save_id": sequence, "state": state,
        "origin": "saved", "format": "tensorbundle", "published_ms": 0, "bytes": 774,
        "files": [{"name": f"{name}.data-00000-of-00001", "bytes": 383},
                  {"name": f"{name}.index", "bytes": 391}]}))


def test_latest_without_records_follows_the_state_file(saver):
    assert ctl("latest", saver).stdout == f"{saver}/model.ckpt-20\n"
    (saver / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-10"\n')
    assert ctl("latest", saver).stdout == f"{saver}/model.ckpt-10\n"


def test_latest_without_state_file_takes_the_highest_step(saver):
    (saver / "checkpoint").unlink()
    assert ctl("latest", saver).stdout == f"{saver}/model.ckpt-20\n"
    (saver / "checkpoint").write_text("nonsense {")
    assert json.loads(ctl("latest", "--json", saver).stdout) == {"step": 20,
                                                                "path": f"{saver}/model.ckpt-20"}


def test_latest_goes_by_sequence_where_there_are_records(saver):
    records = saver / ".ckptd/checkpoints"
    records.mkdir(parents=True)
    write_record(records, "model.ckpt-10", 10, 8, "whole")
    write_record(records, "model.ckpt-20", 20, 7, "whole")
    assert ctl("latest", saver).stdout == f"{saver}/model.ckpt-10\n"
    write_record(records, "model.ckpt-10", 10, 8, "damaged")
    assert ctl("latest", saver).stdout == f"{saver}/model.ckpt-20\n"
    write_record(records, "model.ckpt-20", 20, 7, "superseded")
    assert ctl("latest", saver).returncode == 4


def test_latest_passes_over_what_is_not_whole(saver):
    (saver / "model.ckpt-20.data-00000-of-00001").unlink()
    assert ctl("latest", saver).stdout == f"{saver}/model.ckpt-10\n"
    (saver / "model.ckpt-10.index").write_bytes(b"")
    r = ctl("latest", saver)
    assert (r.stdout, r.returncode) == ("", 4) and "none is whole" in r.stderr


def test_latest_tells_never_any_from_cannot_tell(tmp_path):
    r = ctl("latest", tmp_path)
    assert (r.stdout, r.returncode) == ("", 1)
    r = ctl("latest", tmp_path / "nosuch")
    assert (r.stdout, r.returncode) == ("", 3)


# ---- help, usage, no daemon ----

@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    r = ctl(command, "--help")
    assert r.returncode == 0 and r.stderr == ""
    assert r.stdout.startswith(f"Usage: ckptctl {command}") and "--socket PATH" in r.stdout
    assert ctl("-h", command).stdout == r.stdout


def test_help_lists_the_commands():
    r = ctl("--help")
    assert r.returncode == 0
    for command in COMMANDS:
        assert f"\n  {command}" in r.stdout


def test_nothing_to_do_is_a_usage_error():
    r = ctl()
    assert r.returncode == 2 and r.stdout == "" and "Usage:" in r.stderr


@pytest.mark.parametrize("typed, kin", [("prune", "plan"), ("forget", "plan"), ("rm", "remove"),
                                        ("ls", "list"), ("log", "history"), ("verfy", "verify")])
def test_an_unknown_command_names_its_kin(typed, kin):
    r = ctl(typed)
    assert r.returncode == 2 and f"unknown command {typed}; did you mean {kin}?" in r.stderr


@pytest.mark.parametrize("command", LATER)
def test_commands_of_later_versions_say_so(command):
    r = ctl(command)
    assert r.returncode == 2 and f"{command}: not in this version" in r.stderr


@pytest.mark.parametrize("args", [
    ("list", "--nosuch"), ("list", "-x"), ("list", "a", "b"), ("--socket",), ("--json=yes", "list"),
    ("history", "--limit", "0"), ("history", "--since", "soon"), ("save", "--timeout", "-1", "d"),
    ("latest",), ("inspect",), ("check", "--json"), ("reload", "now"), ("nosuch",)])
def test_usage_errors_exit_2(args):
    r = ctl(*args)
    assert r.returncode == 2 and r.stdout == "" and r.stderr.startswith("ckptctl: ")


@pytest.mark.parametrize("args", [("status",), ("list",), ("list", "/"), ("history",), ("reload",),
                                  ("save", "--all")])
def test_no_daemon_names_the_places_and_exits_3(args, tmp_path):
    r = ctl(*args, CKPTD_SOCKET="", XDG_RUNTIME_DIR=str(tmp_path))
    if r.returncode != 3:
        pytest.skip("a ckptd runs on this machine")
    lines = r.stderr.splitlines()
    assert r.stdout == "" and lines[0] == "ckptctl: no ckptd answers. Tried:"
    assert lines[1].startswith(f"    {tmp_path}/ckptd/ckptd.sock ") and "user instance" in lines[1]
    assert lines[-3].split() == ["/run/ckptd/ckptd.sock", "system", "instance", "no", "such", "file"]
    assert lines[-2:] == [
        "Start one: ckptd &",
        "Elsewhere: --socket PATH or CKPTD_SOCKET. Work without one: check, latest, inspect, verify."]


def test_no_daemon_at_the_given_place_says_how_to_start_one_there():
    for args, env in ((["--socket", "/nowhere/s"], {}), ([], {"CKPTD_SOCKET": "/nowhere/s"})):
        r = ctl(*args, "list", **env)
        assert r.returncode == 3 and "\nStart one there: ckptd --socket /nowhere/s &\n" in r.stderr


def test_help_is_a_command_too():
    assert ctl("help").stdout == ctl("--help").stdout
    r = ctl("help", "check")
    assert (r.returncode, r.stdout) == (0, ctl("check", "--help").stdout)
    assert "--json" not in r.stdout and "--json" in ctl("help", "list").stdout
    assert ctl("help", "nosuch").returncode == 2


def test_complaints_name_the_program_once_and_the_command():
    assert ctl("--nosuch").stderr.splitlines()[0] == "ckptctl: unknown option --nosuch"
    assert ctl("list", "--nosuch").stderr.splitlines()[0] == "ckptctl: list: unknown option --nosuch"
    r = ctl("history", "--event", "foo")
    assert r.returncode == 2 and "unknown event foo; known: asked, saved, " in r.stderr


def test_inspect_names_the_whole_path_of_a_strange_file():
    assert "/etc/passwd: neither" in ctl("inspect", "/etc/passwd").stderr


def test_version_without_a_daemon():
    r = ctl("--version")
    assert r.returncode == 0 and r.stdout.startswith("ckptctl ") and "none answers" in r.stdout


def test_output_that_cannot_be_written_is_a_failure():
    with open("/dev/full", "w") as full:
        r = subprocess.run([CKPTCTL, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert r.returncode == 1 and "No space left" in r.stderr


@pytest.mark.skipif(not (BUILD / "daemon/ckptd").exists(), reason="the daemon is not built")
def test_check_passes_on_what_the_daemon_says(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("log_level: info\n")
    bad.write_text("log_levle: info\n")
    assert ctl("check", good).returncode == 0
    r = ctl("check", bad)
    assert r.returncode == 1 and f"{bad}:1:1: " in r.stdout + r.stderr


@pytest.mark.parametrize("place", ["ctl/ckptctl", "ckptctl"])
def test_check_runs_the_daemon_beside_it(tmp_path, place):
    own = tmp_path / place
    own.parent.mkdir(exist_ok=True)
    shutil.copy(CKPTCTL, own)
    daemon = tmp_path / "ckptd"
    daemon.write_text('#!/bin/sh\necho "$@"\necho mistake >&2\nexit 1\n')
    daemon.chmod(0o755)
    r = subprocess.run([own, "check", "a.yaml"], capture_output=True, text=True)
    assert (r.returncode, r.stdout, r.stderr) == (1, "--check --config a.yaml\n", "mistake\n")
    assert subprocess.run([own, "check"], capture_output=True, text=True).stdout == "--check\n"
