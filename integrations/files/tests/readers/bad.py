"""Readers that misbehave."""

import ctypes
import os
import socket
import sqlite3
import subprocess
import time


def loops(data, name):
    while True:
        pass


def sleeps(data, name):
    time.sleep(3_600)


def hoards(data, name):
    return "x" * (10 * len(b"".join([os.urandom(1 << 20) for _ in range(5_000)])))


def crashes(data, name):
    ctypes.string_at(0)


def exits(data, name):
    os._exit(0)


def babbles(data, name):
    print("no answer")
    os.write(1, b"nor this")
    return "said"


def talks_for_ever(data, name):
    return "x" * 120_000_000


def connects(data, name):
    socket.create_connection(("127.0.0.1", int(data)), timeout=5)


def looks_up(data, name):
    socket.getaddrinfo("example.com", 80)


def runs(data, name):
    subprocess.run(["touch", data.decode()], check=False)


def shells(data, name):
    os.system(f"touch {data.decode()}")


def writes(data, name):
    with open(data.decode(), "w") as file:
        file.write("x")


def writes_low(data, name):
    os.open(data.decode(), os.O_CREAT | os.O_WRONLY)


def removes(data, name):
    os.unlink(data.decode())


def changes_mode(data, name):
    os.chmod(data.decode(), 0o777)


def changes_owner(data, name):
    os.chown(data.decode(), 1, 1)


def changes_times(data, name):
    os.utime(data.decode(), (1, 1))


def sets_attribute(data, name):
    os.setxattr(data.decode(), "user.x", b"y")


def makes_database(data, name):
    sqlite3.connect(data.decode() + ".sqlite").execute("CREATE TABLE t (x)")


def returns_odd(data, name):
    return 7


def half(data, name):
    return "a\udfff"
