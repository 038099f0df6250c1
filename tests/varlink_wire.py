"""A varlink client for tests: one connection, descriptors both ways, and raw bytes where a test wants them.
Also a reader of interface texts, enough of varlink's language to know every field's type."""

import array
import json
import os
import re
import socket

TIMEOUT_S = 30
FDS_MAX = 253


class VarlinkError(Exception):
    def __init__(self, error, parameters):
        super().__init__(f"{error} {json.dumps(parameters)[:500]}")
        self.error, self.parameters = error, parameters


class Closed(Exception):
    """The daemon closed the connection."""


class Reply:
    """One reply; its descriptors are closed with it unless they were taken."""

    def __init__(self, message, fds):
        self.error = message.get("error")
        self.parameters = message.get("parameters") or {}
        self.continues = message.get("continues", False)
        self.fds = fds

    def __getitem__(self, key):
        return self.parameters[key]

    def get(self, key, default=None):
        return self.parameters.get(key, default)

    def take_fd(self, index):
        fd, self.fds[index] = self.fds[index], -1
        return fd

    def close(self):
        for fd in self.fds:
            if fd >= 0:
                os.close(fd)
        self.fds = []

    __del__ = close


class Varlink:
    def __init__(self, path, timeout_s=TIMEOUT_S):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout_s)
        self.socket.connect(str(path))
        self.data, self.fds = b"", []

    def close(self):
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send_bytes(self, data, fds=()):
        """Everything in one message, the descriptors with its first byte."""
        try:
            n = socket.send_fds(self.socket, [data], list(fds)) if fds else 0
            if data[n:]:
                self.socket.sendall(data[n:])
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Closed from e

    def send(self, method, parameters=None, fds=(), **flags):
        call = {"method": method, **flags}
        if parameters is not None:
            call["parameters"] = parameters
        self.send_bytes(json.dumps(call).encode() + b"\0", fds)

    def receive(self):
        """The next reply; Closed at the end."""
        while b"\0" not in self.data:
            try:
                data, ancillary, flags, _ = self.socket.recvmsg(
                    65536, socket.CMSG_SPACE(FDS_MAX * 4))
            except ConnectionResetError as e:
                raise Closed from e
            for _, _, content in ancillary:
                fds = array.array("i")
                fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
                self.fds += fds
            assert not flags & socket.MSG_CTRUNC
            if not data:
                raise Closed
            self.data += data
        message, self.data = self.data.split(b"\0", 1)
        fds, self.fds = self.fds, []
        return Reply(json.loads(message), fds)

    def exchange(self, method, parameters=None, fds=(), **flags):
        """The reply, an error or not."""
        self.send(method, parameters, fds, **flags)
        return self.receive()

    def call(self, method, parameters=None, fds=()):
        reply = self.exchange(method, parameters, fds)
        if reply.error:
            raise VarlinkError(reply.error, reply.parameters)
        return reply

    def oneway(self, method, parameters=None, fds=()):
        self.send(method, parameters, fds, oneway=True)

    def more(self, method, parameters=None, fds=()):
        """Each reply until the last, which is one of them."""
        self.send(method, parameters, fds, more=True)
        while True:
            reply = self.receive()
            if reply.error:
                raise VarlinkError(reply.error, reply.parameters)
            yield reply
            if not reply.continues:
                return


class Interface:
    """What an interface text declares: methods {name: {field: type}} and types {name: {field: type}}.
    A type is ("string",), ("int",) …, ("array", type), ("optional", type), ("struct", fields)."""

    TOKEN = re.compile(r"\s+|#[^\n]*|->|\[\]|\[string\]|[A-Za-z][\w.-]*|[?():,]")

    def __init__(self, text):
        self.tokens = [t for t in self.TOKEN.findall(text) if not t.isspace() and t[0] != "#"]
        self.methods, self.types = {}, {}
        assert self._take() == "interface"
        self.name = self._take()
        while self.tokens:
            kind, name = self._take(), self._take()
            fields = self._fields()
            if kind == "method":
                assert self._take() == "->"
                self.methods[f"{self.name}.{name}"] = fields
                self._fields()
            elif kind == "type":
                self.types[name] = fields

    def _take(self):
        return self.tokens.pop(0)

    def _fields(self):
        fields = {}
        assert self._take() == "("
        while self.tokens[0] != ")":
            name = self._take()
            assert self._take() == ":"
            fields[name] = self._type()
            if self.tokens[0] == ",":
                self._take()
        self._take()
        return fields

    def _type(self):
        if self.tokens[0] == "(":
            return ("struct", self._fields())
        token = self._take()
        if token == "?":
            return ("optional", self._type())
        if token == "[]":
            return ("array", self._type())
        return (token,) if token in ("string", "int", "bool", "float", "object") else ("type", token)


def refused(exchange):
    """Runs an exchange that must not succeed: its error, or "closed"."""
    try:
        reply = exchange()
    except Closed:
        return "closed"
    assert reply.error, f"accepted: {reply.parameters}"
    return reply.error
