"""Training jobs for tests: drill under control, and what the daemon says of their directories."""

import json
import re
import subprocess
import threading

from conftest import BUILD, wait_until

DRILL = BUILD / "tests/integration/drill"
WAIT_S = 60


class Job:
    """A drill that does what it is told, line by line; every byte that it restores is checked by itself."""

    def __init__(self, daemon, directory, *args, attached=True, **options):
        more = [part for key, value in options.items()
                for part in ([f"--{key.replace('_', '-')}"] if value is True
                             else [f"--{key.replace('_', '-')}", str(value)])]
        self.process = subprocess.Popen(
            [DRILL, "--socket", daemon.socket, "--dir", directory, "--follow", *map(str, args), *more],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=daemon.env)
        self.lines, self.seen, self.ended, self.is_ready = [], 0, False, False
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if attached:
            self.expect("attached")

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
        self.ended = True

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        return "\n".join(self.lines)

    def expect(self, start):
        """Waits for a line that begins so, after those that were asked for before; returns it."""
        def look():
            for i in range(self.seen, len(self.lines)):
                if self.lines[i].startswith(start):
                    self.seen = i + 1
                    return self.lines[i]
            assert not self.ended, f"no line {start!r}:\n{self.output()}"
            return None
        return wait_until(look, f"no line {start!r} of the job:\n{self.output()}", WAIT_S)

    def begin(self, command):
        if not self.is_ready:
            self.expect("ready")
            self.is_ready = True
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def end(self):
        """What the command under way has printed."""
        first = self.seen
        self.expect("done")
        return self.lines[first:self.seen - 1]

    def do(self, command):
        self.begin(command)
        return self.end()

    def train(self, step):
        return self.do(f"train {step}")

    def finish(self):
        """No more commands: the job finishes and ends.  Its exit code."""
        self.process.stdin.close()
        code = self.process.wait(WAIT_S)
        self.reader.join(WAIT_S)
        self.process.stdout.close()
        return code

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT_S)
        self.reader.join(WAIT_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()


def run(daemon, directory, *args, **options):
    """A job that does nothing more than attach and restore: its exit code and lines."""
    with Job(daemon, directory, *args, attached=False, **options) as job:
        code = job.finish()
        return code, job.lines


def policy(model_dirs="", **values):
    """Settings with these values in policy normal, and nothing else due."""
    values = {"save_on_start": False, "save_on_end": False, "save_checkpoints_secs": "1d", **values}
    if "save_checkpoints_steps" in values and "secs" not in values:
        values.pop("save_checkpoints_secs")
    secs = values.pop("secs", None)
    if secs:
        values["save_checkpoints_secs"] = secs
    text = ", ".join(f"{key}: {'null' if value is None else json.dumps(value)}"
                     for key, value in values.items())
    return f"policies:\n  normal: {{{text}}}\n{model_dirs}"


def entry(daemon, directory):
    """The directory's line of status."""
    found = [d for d in daemon.call("Status")["directories"] if d["path"] == str(directory)]
    return found[0] if found else {}


def attached(daemon, directory):
    return "job" in entry(daemon, directory)


def save_at(daemon, job, directory, step):
    """Trains to a step at which the daemon has said it wants a save, and waits for that."""
    wait_until(lambda: entry(daemon, directory).get("next_save_step") == step,
               f"step {step} is not announced: {entry(daemon, directory)}\n{daemon.log()}")
    assert f"handed {step}" in job.train(step)
    assert job.do(f"wait {step}") == [f"published {step}"]


def save(job):
    """Saves at the job's own wish, and waits until it is published; the step."""
    lines = job.do("save")
    assert lines and lines[0].startswith("handed "), lines
    step = int(lines[0].split()[1])
    assert job.do(f"wait {step}") == [f"published {step}"]
    return step


def checkpoints(daemon, directory):
    """What list shows, newest first."""
    return json.loads(daemon.ctl("list", directory, "--json", check=True).stdout)


def steps(daemon, directory, state="whole"):
    return [c["step"] for c in checkpoints(daemon, directory) if c["state"] == state]


def wait_steps(daemon, directory, expected):
    """Until eviction has come to an end."""
    wait_until(lambda: steps(daemon, directory) == expected,
               f"not {expected}: {checkpoints(daemon, directory)}\n{daemon.log()}")


def history(daemon, directory, event=None):
    args = ["--event", event] if event else []
    return json.loads(daemon.ctl("history", directory, "--json", *args, check=True).stdout)


def details(daemon, directory, event):
    return [e["detail"] for e in history(daemon, directory, event)]


def state_file(directory):
    """(newest, all) as the `checkpoint` state file names them; None when there is none."""
    path = directory / "checkpoint"
    if not path.exists():
        return None
    text = path.read_text()
    newest = re.search(r'^model_checkpoint_path: "(.*)"$', text, re.M)
    return newest.group(1), re.findall(r'^all_model_checkpoint_paths: "(.*)"$', text, re.M)


def wait_state_file(directory, expected):
    wait_until(lambda: state_file(directory) == expected, f"state file: {state_file(directory)}")


def names(directory):
    """Checkpoint files, as they lie there."""
    return sorted(p.name for p in directory.iterdir() if p.name not in (".ckptd", "checkpoint"))


def flip(path, at=None):
    """One byte of a file changed, in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 0xff
    path.write_bytes(data)
