"""Every door of the socket, with what should not come through it.  After each knock the daemon answers
as before, and nothing has appeared outside the model directory."""

import collections
import fcntl
import json
import os
import random
import re
import socket

import pytest

from conftest import Daemon, wait_until
from varlink_wire import Closed, Interface, Varlink, refused

JOBS, SERVICE = "io.ckptd.Jobs", "org.varlink.service"
INVALID = f"{SERVICE}.InvalidParameter"
MESSAGE_BYTES, MESSAGE_DEPTH, NAME_BYTES = 1 << 20, 32, 4096
TENSOR = {"name": "w", "dtype": "float32", "shape": [4]}
BEYOND_INT64 = (2**63, -2**63 - 1)  # no JSON number of ours: the connection is closed


@pytest.fixture(scope="module")
def daemon():
    with Daemon() as d:
        yield d


def tree(d):
    """Everything below the daemon's folder but what it may write: state, log, and the model directory."""
    found = []
    for folder, folders, files in os.walk(d.folder):
        folders[:] = [f for f in folders if not is_free(d, os.path.join(folder, f))]
        found += [p for p in (os.path.join(folder, f) for f in files + folders) if not is_free(d, p)]
    return sorted(found)


def is_free(d, path):
    """The model directories of these tests are called m or m-NUMBER."""
    name = os.path.relpath(path, d.models)
    return path in (str(d.state), str(d.stderr)) or re.fullmatch(r"m(-\d+)?", name)


def new_model_dir(d):
    path = d.models / f"m-{len(os.listdir(d.models))}"
    path.mkdir()
    return str(path)


def strangers(d):
    """The daemon's descriptors, without what it keeps of a directory that it knows and of a job whose
    process (this one) lives on: what came through the socket must not stay."""
    kept = (str(d.models / "m"), "/memfd:ckpt", "anon_inode:[pidfd]")
    links = collections.Counter()
    for fd in os.listdir(f"/proc/{d.pid}/fd"):
        try:
            link = os.readlink(f"/proc/{d.pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        # Sockets and pipes have numbers of their own.
        if not link.startswith(kept):
            links[link.split(":")[0]] += 1
    return links


def check_unharmed(d, pid, before, foreign):
    assert d.is_alive(), d.log()
    assert d.pid == pid
    assert d.call(f"{SERVICE}.GetInfo")["vendor"] == "ckptd"
    assert tree(d) == before
    wait_until(lambda: not strangers(d) - foreign, lambda: f"left open: {strangers(d) - foreign}")
    assert d.n_fds() < 500
    d.check_log()


@pytest.fixture(autouse=True)
def unharmed(daemon):
    state = (daemon.pid, tree(daemon), strangers(daemon))
    yield
    try:
        check_unharmed(daemon, *state)
    except (AssertionError, OSError):
        # The tests to come get a daemon that is well.
        daemon.kill()
        daemon.stderr.unlink()
        daemon.start()
        raise


def attach(d, **more):
    return {"model_dir": str(d.models / "m"), **more}


# ---- bytes that are no message ----

NO_MESSAGES = {
    "nothing": b"\0",
    "spaces": b"   \0",
    "word": b"hello\0",
    "http": b"GET / HTTP/1.1\r\n\r\n\0",
    "number": b"5\0",
    "string": b'"io.ckptd.Jobs.Step"\0',
    "array": b'[{"method":"org.varlink.service.GetInfo"}]\0',
    "no method": b"{}\0",
    "null method": b'{"method":null}\0',
    "number as method": b'{"method":5}\0',
    "trailing junk": b'{"method":"org.varlink.service.GetInfo"}x\0',
    "two objects": b'{"method":"org.varlink.service.GetInfo"}{}\0',
    "twice the same key": b'{"method":"a.b.C","method":"org.varlink.service.GetInfo"}\0',
    "unterminated": b'{"method":"org.varlink.service.GetInfo"\0',
    "single quotes": b"{'method':'org.varlink.service.GetInfo'}\0",
    "latin-1": b'{"method":"org.varlink.service.GetInfo","parameters":{"a":"\xe9"}}\0',
    "overlong utf-8": b'{"method":"org.varlink.service.GetInfo","parameters":{"a":"\xc0\xaf"}}\0',
    "lone surrogate": b'{"method":"org.varlink.service.GetInfo","parameters":{"a":"\\ud800"}}\0',
    "control character": b'{"method":"org.varlink.service.GetInfo","parameters":{"a":"\x01"}}\0',
    "NaN": b'{"method":"org.varlink.service.GetInfo","parameters":{"a":NaN}}\0',
    "too large a number": b'{"method":"io.ckptd.Jobs.Step","parameters":{"step":9223372036854775808}}\0',
    "infinite number": b'{"method":"io.ckptd.Jobs.Step","parameters":{"step":1e999}}\0',
    "parameters no object": b'{"method":"org.varlink.service.GetInfo","parameters":[]}\0',
    "flag no boolean": b'{"method":"org.varlink.service.GetInfo","more":1}\0',
    "two flags": b'{"method":"org.varlink.service.GetInfo","more":true,"oneway":true}\0',
    "unknown member": b'{"method":"org.varlink.service.GetInfo","colour":"red"}\0',
    "random": bytes(random.Random(1).randrange(1, 256) for _ in range(4000)) + b"\0",
}


@pytest.mark.parametrize("data", NO_MESSAGES.values(), ids=NO_MESSAGES.keys())
def test_no_message(daemon, data):
    with daemon.connect() as c:
        c.send_bytes(data)
        with pytest.raises(Closed):
            c.receive()


@pytest.mark.parametrize("data", [b"", b"{", b'{"method":"org.varlink.service.GetInfo"}', b"\xff"])
def test_half_a_message(daemon, data):
    with daemon.connect() as c:
        c.send_bytes(data)
        assert daemon.call(f"{SERVICE}.GetInfo")
    with daemon.connect() as c:
        c.send_bytes(data)
        c.socket.shutdown(socket.SHUT_WR)
        with pytest.raises(Closed):
            c.receive()


def test_byte_by_byte(daemon):
    with daemon.connect() as c:
        for b in b'{"method":"org.varlink.service.GetInfo"}\0':
            c.send_bytes(bytes([b]))
        assert c.receive()["vendor"] == "ckptd"


def too_large(d, data):
    with d.connect() as c:
        try:
            c.send_bytes(data)
        except Closed:
            pass
        return refused(c.receive)


@pytest.mark.parametrize("n", [MESSAGE_BYTES + 1, 8 * MESSAGE_BYTES])
def test_huge_message(daemon, n):
    padding = b"x" * n
    assert too_large(daemon, b'{"method":"' + padding + b'"}\0') in ("io.ckptd.TooLarge", "closed")
    assert too_large(daemon, padding) in ("io.ckptd.TooLarge", "closed")


@pytest.mark.parametrize("depth", [MESSAGE_DEPTH + 1, 1000, 200000])
@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_message(daemon, depth, opening, closing):
    inner = opening * depth + b"1" + closing * depth
    data = b'{"method":"org.varlink.service.GetInfo","parameters":{"a":' + inner + b"}}\0"
    assert too_large(daemon, data) in ("io.ckptd.TooLarge", "closed")


def test_largest_message_passes(daemon):
    call = {"method": f"{SERVICE}.GetInterfaceDescription", "parameters": {"interface": ""}}
    room = MESSAGE_BYTES - len(json.dumps(call)) - 2
    call["parameters"]["interface"] = "x" * room
    with daemon.connect() as c:
        c.send_bytes(json.dumps(call).encode() + b"\0")
        assert c.receive().error == f"{SERVICE}.InterfaceNotFound"


def test_mutated_messages(daemon):
    """A good call with a few bytes changed: a reply or the end, never anything else."""
    chance = random.Random(20240611)
    good = json.dumps({"method": f"{JOBS}.Attach", "parameters": attach(
        daemon, manifest=[TENSOR], read_only=True, rank=0, world_size=1)}).encode()
    for _ in range(400):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.choice(b'\x01\x7f\xff"{}[]:,0-e\\')
        # No other directory than ours may be named.
        if bytes(str(daemon.models / "m").encode()) not in bytes(data):
            continue
        with daemon.connect() as c:
            c.send_bytes(bytes(data) + b"\0")
            try:
                c.receive()
            except Closed:
                pass


# ---- wrong calls ----

@pytest.mark.parametrize("method, error", [
    ("io.ckptd.Jobs.Nonsense", "MethodNotFound"),
    ("io.ckptd.Jobs.attach", "MethodNotFound"),
    ("io.ckptd.Jobs.", "MethodNotFound"),
    ("org.varlink.service.Nonsense", "MethodNotFound"),
    ("io.ckptd.Nonsense.Attach", "InterfaceNotFound"),
    ("Attach", "InterfaceNotFound"),
    ("", "InterfaceNotFound"),
    (".", "InterfaceNotFound"),
    ("../../etc/passwd", "InterfaceNotFound"),
    ("x" * 100000, "InterfaceNotFound"),
])
def test_unknown_method(daemon, method, error):
    with daemon.connect() as c:
        assert c.exchange(method).error == f"{SERVICE}.{error}"
        # The connection lives on.
        assert c.call(f"{SERVICE}.GetInfo")


def test_oneway_never_answers(daemon):
    with daemon.connect() as c:
        c.oneway("io.ckptd.Jobs.Nonsense")
        c.oneway("io.ckptd.Jobs.Step", {"step": "wrong"})
        c.oneway("io.ckptd.Jobs.HandOff", {"step": 1})
        assert c.call(f"{SERVICE}.GetInfo")["vendor"] == "ckptd"


def test_upgrade_is_refused(daemon):
    with daemon.connect() as c:
        assert c.exchange(f"{SERVICE}.GetInfo", upgrade=True).error == f"{SERVICE}.MethodNotImplemented"


WRONG = {
    "string": [5, True, 1.5, [], {}],
    "int": ["5", True, 1.5, [], {}, *BEYOND_INT64],
    "bool": [0, 1, "true", [], {}],
    "float": ["1", True, [], {}],
    "object": [5, "x", [], True],
    "array": [5, "x", {}, True],
    "type": [5, "x", [], True],
}
VALID = {"string": "x", "int": 0, "bool": False, "float": 1.0, "object": {}, "array": []}


def wrong_values(kind):
    """null is the same as absent, which only a field that is not optional may not be."""
    if kind[0] == "optional":
        return [v for v in wrong_values(kind[1]) if v is not None]
    if kind[0] == "array":
        return WRONG["array"] + [[v] for v in WRONG[kind[1][0]]] + [None]
    return WRONG[kind[0]] + [None]


def valid_value(d, field, kind):
    return str(d.models / "m") if field == "model_dir" else VALID.get(kind[0], {})


def interfaces(d):
    for name in d.call(f"{SERVICE}.GetInfo")["interfaces"]:
        text = d.call(f"{SERVICE}.GetInterfaceDescription", {"interface": name})["description"]
        yield Interface(text)


def knock(d, method, parameters, field, value):
    """Only `field` is wrong: the reply names it, and the connection lives on.  What is wrong, or None."""
    where = f"{method}({field}: {json.dumps(value)})"
    with d.connect() as c:
        try:
            reply = c.exchange(method, parameters)
        except Closed:
            closes = value in BEYOND_INT64 or value in [[v] for v in BEYOND_INT64]
            return None if closes else f"{where}: closed"
        except TimeoutError:
            return f"{where}: no answer"
        # A manifest may come in a memory file too: what is wrong inside is told the same way.
        inside = field == "manifest" and reply.error in (f"{JOBS}.Mismatch", f"{JOBS}.WrongState")
        if not inside and reply.error != INVALID:
            return f"{where}: {reply.error}"
        if not inside and not reply["parameter"].startswith(field):
            return f"{where}: blames {reply['parameter']}"
        if not inside:
            assert c.call(f"{SERVICE}.GetInfo")
    return None


def required(d, fields):
    return {f: valid_value(d, f, k) for f, k in fields.items() if k[0] != "optional"}


def test_wrong_types_of_every_field(daemon):
    """Every field of every method, as the served texts declare them."""
    found = [knock(daemon, method, {**required(daemon, fields), field: value}, field, value)
             for interface in interfaces(daemon)
             for method, fields in interface.methods.items()
             for field, kind in fields.items()
             for value in wrong_values(kind)]
    assert len(found) > 200
    assert not list(filter(None, found))


def test_unknown_parameter_of_every_method(daemon):
    found = [knock(daemon, method, {**required(daemon, fields), "nonsense": 1}, "nonsense", 1)
             for interface in interfaces(daemon)
             for method, fields in interface.methods.items()]
    assert not list(filter(None, found))


TENSORS = {
    "no name": {"dtype": "float32", "shape": [4]},
    "no dtype": {"name": "w", "shape": [4]},
    "no shape": {"name": "w", "dtype": "float32"},
    "unknown dtype": {**TENSOR, "dtype": "float12"},
    "empty dtype": {**TENSOR, "dtype": ""},
    "negative shape": {**TENSOR, "shape": [-1]},
    "huge shape": {**TENSOR, "shape": [2**62, 2**62]},
    "more than may be": {**TENSOR, "shape": [2**50]},
    "256 dimensions": {**TENSOR, "shape": [1] * 256},
    "text as shape": {**TENSOR, "shape": "4"},
    "text in shape": {**TENSOR, "shape": ["4"]},
    "fraction in shape": {**TENSOR, "shape": [4.5]},
    "number as name": {**TENSOR, "name": 5},
    "empty name": {**TENSOR, "name": ""},
    "long name": {**TENSOR, "name": "x" * (NAME_BYTES + 1)},
    "slice nonsense": {**TENSOR, "slice": "nonsense"},
    "slice out of range": {**TENSOR, "slice": "4 0,9"},
    "slice overflow": {**TENSOR, "slice": "9223372036854775807 9223372036854775807,1"},
    "unknown member": {**TENSOR, "colour": "red"},
}


@pytest.mark.parametrize("tensor", TENSORS.values(), ids=TENSORS.keys())
def test_bad_tensor(daemon, tensor):
    with daemon.connect() as c:
        assert refused(lambda: c.exchange(f"{JOBS}.Attach", attach(daemon, manifest=[tensor])))


def test_bad_manifests(daemon):
    for manifest in ([TENSOR, TENSOR], [{**TENSOR, "slice": "4 0,3"}, {**TENSOR, "slice": "4 1,3"}]):
        with daemon.connect() as c:
            assert refused(lambda m=manifest: c.exchange(f"{JOBS}.Attach", attach(daemon, manifest=m)))


@pytest.mark.parametrize("more", [
    {"rank": -1}, {"rank": 1}, {"rank": 2**62, "world_size": 2, "job": "j"},
    {"world_size": 0}, {"world_size": -1}, {"world_size": 2**40, "job": "j"},
    {"world_size": 2},  # no job
    {"manifest": None, "manifest_fd": 0}, {"manifest": None, "manifest_fd": -1},
], ids=json.dumps)
def test_bad_attach(daemon, more):
    with daemon.connect() as c:
        assert refused(lambda: c.exchange(f"{JOBS}.Attach",
                                          attach(daemon, **{"manifest": [TENSOR], **more})))


@pytest.mark.parametrize("more", [
    {"policy_values": {"nonsense": 1}, "policy": ""}, {"policy": "nonsense"},
    {"attach": 1, "page_fd": 0}, {"attach": 1, "page_fd": -1}, {"attach": -1, "page_fd": 2**62},
    {"attach": 1, "slot_fds": [0, 1]}, {"attach": 1, "slot_fds": [0] * 1000},
    {"attach": 1, "layout_fd": 2**62}, {"model_dir_fd": 0}, {"model_dir_fd": -1}, {"pid_fd": 0},
], ids=lambda more: json.dumps(more)[:50])
def test_odd_attach(daemon, more):
    """Descriptors that did not come, policies that nobody knows: refused, or done without."""
    with daemon.connect() as c:
        assert c.exchange(f"{JOBS}.Attach", attach(daemon, manifest=[TENSOR], **more))


@pytest.mark.parametrize("method", ["Describe", "Piece", "Step", "Commit", "Restore",
                                    "Restored", "Wait", "Finish", "Detach"])
def test_before_attach(daemon, method):
    good = {"Step": {"step": 1}, "Commit": {"step": 1, "path": "x"},
            "Piece": {"step": 1, "asked": 0, "offset": 0, "bytes": 0, "last": True},
            "Restored": {"step": 1}, "Wait": {"attach": 12345}, "Finish": {"step": 1}}
    with daemon.connect() as c:
        assert refused(lambda: c.exchange(f"{JOBS}.{method}", good.get(method, {})))
        assert c.call(f"{SERVICE}.GetInfo")


def test_attach_twice(daemon):
    with daemon.connect() as c:
        c.call(f"{JOBS}.Attach", attach(daemon, manifest=[TENSOR]))
        assert c.exchange(f"{JOBS}.Attach", attach(daemon, manifest=[TENSOR])).error == \
            f"{JOBS}.WrongState"
        for step in (-1, -2**63):
            for method in ("Step", "Finish", "Restored"):
                assert refused(lambda m=method, s=step: c.exchange(f"{JOBS}.{m}", {"step": s}))
        for piece in ({"offset": 2**62}, {"bytes": 2**62}, {"offset": -1}, {"bytes": -1}):
            p = {"step": 1, "asked": 0, "offset": 0, "bytes": 16, "last": True, **piece}
            assert refused(lambda q=p: c.exchange(f"{JOBS}.Piece", q))
        c.call(f"{JOBS}.Detach")


# ---- names ----

NAMES = {
    "up": "../escape", "far up": "../../../../../../tmp/escape", "absolute": "/tmp/ckptd-escape/x",
    "slash": "a/b", "dot": ".", "dots": "..", "empty": "", "NUL": "a\0b", "newline": "a\nFORGED b",
    "escape": "a\x1b[31mb", "4 KiB": "x" * 4096, "ours": ".ckptd", "temporary": ".ckptd-tmp-1-x",
    "percent": "%s%n%s%n", "brace": "{nonsense}", "format": "{step:999999999d}", "-option": "-rf",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_names(daemon, name):
    """As a tensor, as a job, as a policy, as a checkpoint's name, as what was committed or is restored."""
    for more in ({"manifest": [{**TENSOR, "name": name}]}, {"job": name, "manifest": [TENSOR]},
                 {"policy": name}, {"policy_values": {"checkpoint_name": name}},
                 {"policy_values": {name: name}}, {"command": name}):
        with daemon.connect() as c:
            try:
                c.exchange(f"{JOBS}.Attach", attach(daemon, **more))
            except Closed:
                assert "\0" in name
    with daemon.connect() as c:
        c.call(f"{JOBS}.Attach", attach(daemon))
        assert refused(lambda: c.exchange(f"{JOBS}.Commit", {"step": 7, "path": name}))
    for method, parameters in (("Latest", {}), ("ReportDamage", {"path": name}), ("List", {}),
                               ("History", {}), ("Save", {})):
        with daemon.connect() as c:
            try:
                c.exchange(f"io.ckptd.Admin.{method}",
                           {"model_dir": str(daemon.models / "m"), **parameters})
            except Closed:
                assert "\0" in name
    assert not any(line.startswith("FORGED") for line in daemon.log().splitlines())
    assert not os.path.exists("/tmp/ckptd-escape") and not os.path.exists("/tmp/escape")


@pytest.mark.parametrize("name", ["", "relative", "../m", "/nonexistent/a/b", "/dev/null", "/proc/self/fd",
                                  "/" + "x" * 4096, "/a\0b"])
def test_model_dir_names(daemon, name):
    with daemon.connect() as c:
        assert refused(lambda: c.exchange(f"{JOBS}.Attach", {"model_dir": name}))


def test_restore_of_strange_paths(daemon):
    """Neither hangs on a fifo nor reads a device; links do not lead out."""
    strange = daemon.models / "m"
    strange.mkdir(exist_ok=True)
    os.mkfifo(strange / "fifo")
    os.symlink("/etc/passwd", strange / "link.safetensors")
    os.symlink(strange / "loop", strange / "loop")
    (strange / "empty.safetensors").write_bytes(b"")
    (strange / "short.safetensors").write_bytes(b"\xff" * 8)
    (strange / "bad-1.index").write_bytes(b"garbage" * 1000)
    try:
        for path in (strange / "fifo", strange / "link.safetensors", strange / "loop",
                     strange / "empty.safetensors", strange / "short.safetensors",
                     strange / "bad-1", "/dev/zero", "/dev/tty", "/proc/kmsg", "/etc/passwd", "",
                     "fifo", "../m", "x" * 4096):
            with daemon.connect() as c:
                c.call(f"{JOBS}.Attach", attach(daemon, manifest=[TENSOR]))
                assert refused(lambda p=path: c.exchange(f"{JOBS}.Restore", {"path": str(p)}))
    finally:
        for p in strange.iterdir():
            if not p.is_dir():
                p.unlink()


# ---- descriptors ----

def sealed(data):
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd


def unsealed(data):
    fd = os.memfd_create("test", os.MFD_CLOEXEC)
    os.write(fd, data)
    return fd


def a_pipe():
    a, b = os.pipe()
    os.close(b)
    return a


def open_pipe(kept):
    a, b = os.pipe()
    kept.append(b)
    return a


FOREIGN = {
    "pipe": lambda kept: a_pipe(),
    "pipe without end": open_pipe,
    "folder": lambda kept: os.open("/proc", os.O_RDONLY),
    "path only": lambda kept: os.open("/etc/passwd", os.O_PATH),
    "null": lambda kept: os.open("/dev/null", os.O_RDWR),
    "zero": lambda kept: os.open("/dev/zero", os.O_RDWR),
    "file": lambda kept: os.open("/etc/passwd", os.O_RDONLY),
    "socket": lambda kept: socket.socket(socket.AF_UNIX).detach(),
    "unsealed": lambda kept: unsealed(b"\0" * 8192),
    "unsealed, empty": lambda kept: unsealed(b""),
    "sealed, empty": lambda kept: sealed(b""),
    "sealed, short": lambda kept: sealed(b"\0" * 16),
    "sealed, garbage": lambda kept: sealed(b"\xff" * 8192),
    "sealed, no manifest": lambda kept: sealed(b'{"a":[' + b"[" * 100000),
    "pidfd": lambda kept: os.pidfd_open(1),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("field", ["manifest_fd", "page_fd", "layout_fd", "model_dir_fd", "pid_fd"])
def test_foreign_descriptor(daemon, field, name):
    """Nothing but a manifest is refused for certain: the daemon may do without the others."""
    kept = []
    fd = FOREIGN[name](kept)
    more = {} if field == "manifest_fd" else {"manifest": [TENSOR]}
    if field in ("page_fd", "layout_fd"):
        more["attach"] = 12345
    with daemon.connect() as c:
        try:
            reply = c.exchange(f"{JOBS}.Attach", attach(
                daemon, **more, **{field: 0, "model_dir": new_model_dir(daemon)}), [fd])
            assert reply.error or field != "manifest_fd"
        except Closed:
            pass
    for k in [fd, *kept]:
        os.close(k)


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_slots(daemon, name):
    kept = []
    fds = [FOREIGN[name](kept) for _ in range(4)]
    with daemon.connect() as c:
        try:
            c.exchange(f"{JOBS}.Attach", attach(daemon, manifest=[TENSOR], attach=7, page_fd=0,
                                                slot_fds=[1, 2], layout_fd=3), fds)
        except Closed:
            pass
    for k in fds + kept:
        os.close(k)


def test_memory_that_shrinks(daemon):
    """What was accepted unsealed is cut under the daemon's feet: no SIGBUS."""
    fds = [unsealed(b"\0" * 8192) for _ in range(4)]
    with daemon.connect() as c:
        c.exchange(f"{JOBS}.Attach", attach(daemon, manifest=[TENSOR], attach=7, page_fd=0,
                                            slot_fds=[1, 2], layout_fd=3), fds)
        for fd in fds:
            os.ftruncate(fd, 0)
        c.oneway(f"{JOBS}.HandOff", {"step": 1, "forced": True})
        c.exchange(f"{JOBS}.Step", {"step": 2})
        assert c.call(f"{SERVICE}.GetInfo")
    for fd in fds:
        os.close(fd)


def test_descriptors_nobody_asked_for(daemon):
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(253)]
    for n in (1, 16, 253):
        with daemon.connect() as c:
            assert c.call(f"{SERVICE}.GetInfo", fds=fds[:n])["vendor"] == "ckptd"
    with daemon.connect() as c:  # two messages in a chunk with descriptors
        c.send_bytes(b'{"method":"org.varlink.service.GetInfo"}\0' * 2, fds[:2])
        with pytest.raises(Closed):
            while True:
                c.receive()
    with daemon.connect() as c:  # with half a message, and then the end
        c.send_bytes(b'{"method":', fds[:5])
    for fd in fds:
        os.close(fd)


# ---- many, and slow ones ----

def test_slow_reader(daemon):
    """Thousands of answers that nobody reads: others are served, memory stays within its limit."""
    call = json.dumps({"method": f"{SERVICE}.GetInterfaceDescription",
                       "parameters": {"interface": JOBS}}).encode() + b"\0"
    with daemon.connect() as slow:
        slow.socket.setblocking(False)
        sent = 0
        while sent < 64 << 20:
            try:
                sent += slow.socket.send(call * 100)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                break
        assert daemon.call(f"{SERVICE}.GetInfo")
        with open(f"/proc/{daemon.pid}/statm") as f:
            resident = int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        assert resident < 1 << 30
        slow.socket.settimeout(60)
        for _ in range(20):
            assert "interface io.ckptd.Jobs" in slow.receive()["description"]


def test_pipelined_calls(daemon):
    with daemon.connect() as c:
        c.send_bytes(b'{"method":"org.varlink.service.GetInfo"}\0' * 500)
        for _ in range(500):
            assert c.receive()["vendor"] == "ckptd"


def test_thousand_connections(daemon):
    connections = []
    try:
        for _ in range(1000):
            connections.append(Varlink(daemon.socket))
        for c in connections[::100]:
            assert c.call(f"{SERVICE}.GetInfo")
        assert daemon.call(f"{SERVICE}.GetInfo")
    finally:
        for c in connections:
            c.close()


def test_readers_in_numbers(daemon):
    (daemon.models / "m").mkdir(exist_ok=True)
    connections = [Varlink(daemon.socket) for _ in range(100)]
    for c in connections:
        c.call(f"{JOBS}.Attach", attach(daemon, read_only=True))
    for c in connections:
        c.close()


def test_hang_up_at_any_moment(daemon):
    data = json.dumps({"method": f"{JOBS}.Attach",
                       "parameters": attach(daemon, manifest=[TENSOR])}).encode() + b"\0"
    for n in range(0, len(data) + 1, 7):
        with daemon.connect() as c:
            c.send_bytes(data[:n])
    for _ in range(50):
        with daemon.connect() as c:
            c.send_bytes(data)
