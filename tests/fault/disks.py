"""Disks for fault tests: file systems of their own on loop devices, made and mounted as root."""

import os
import subprocess

MIB = 1024 * 1024
MKFS = {"ext4": ["mkfs.ext4", "-q", "-F", "-m", "0"], "xfs": ["mkfs.xfs", "-q", "-f"],
        "btrfs": ["mkfs.btrfs", "-q", "-f"]}
LEAST_MIB = {"ext4": 64, "xfs": 320, "btrfs": 256}  # what mkfs accepts; the image is sparse


def call(*args):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.args}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def mount(*args):
    call("mount", *args)


def unmount(path, *args):
    call("umount", *args, path)


class Disk:
    """A file system of its own, mounted at `path` until close()."""

    def __init__(self, folder, kind, mib=None, mkfs=(), options="", sector=512):
        self.path, self.image, self.loop = folder / "disk", folder / "image", None
        self.path.mkdir(parents=True)
        if kind == "tmpfs":
            mount("-t", "tmpfs", "-o", f"size={mib or 64}m", "tmpfs", self.path)
            return
        with open(self.image, "wb") as f:
            f.truncate((mib or LEAST_MIB[kind]) * MIB)
        self.loop = call("losetup", "--find", "--show", "--sector-size", sector, self.image)
        try:
            call(*MKFS[kind], *mkfs, self.loop)
            self.mount(options)
        except AssertionError:
            self.close()
            raise

    def mount(self, options=""):
        mount(*(["-o", options] if options else []), self.loop, self.path)

    def fill(self, leave=0):
        """Another program takes the space, all but `leave` bytes."""
        free = self.free()
        with open(self.path / "filler", "ab", buffering=0) as f:
            block = b"\0" * (64 * 1024)
            while free > leave:
                try:
                    n = f.write(block[:min(len(block), free - leave)])
                except OSError:
                    break
                free -= n
            os.fsync(f.fileno())

    def empty(self):
        (self.path / "filler").unlink()
        call("sync", "-f", self.path)

    def free(self):
        s = os.statvfs(self.path)
        return s.f_bavail * s.f_frsize

    def close(self):
        while subprocess.run(["umount", self.path], capture_output=True).returncode == 0:
            pass
        subprocess.run(["umount", "--recursive", "--lazy", self.path], capture_output=True)
        if self.loop:
            call("losetup", "--detach", self.loop)
        self.image.unlink(missing_ok=True)
