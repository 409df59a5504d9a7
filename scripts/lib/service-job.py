"""Tells what a job may do, a line each: run as a job by `service-story`, which compares what it says under the unit with
what it says under one that locks nothing in."""

import ctypes
import mmap
import os
import socket
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)


def tell(name, value):
    print(f"{name}: {value}")


def attempt(name, deed):
    try:
        tell(name, deed())
    except OSError as error:
        tell(name, f"errno {error.errno}")


def call(number, *arguments):
    """A system call by its number of x86-64."""
    ctypes.set_errno(0)
    outcome = libc.syscall(number, *arguments)
    return f"errno {ctypes.get_errno()}" if outcome < 0 else "fine"


def written_code(code):
    """Executes what it has just written, as compilers at run time do."""
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    area = mmap.mmap(-1, 4096, flags=private, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    area.write(code)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    return ctypes.CFUNCTYPE(ctypes.c_int)(start)()


def in_a_child(deed):
    """What `deed` returns, or by which signal it dies."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(deed() & 0x7F)
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def set_user_id():
    with open("/tmp/program", "w") as program:
        os.fchmod(program.fileno(), 0o4755)
    return oct(stat.S_IMODE(os.stat("/tmp/program").st_mode))


def family(number):
    socket.socket(number, socket.SOCK_RAW if number == 17 else socket.SOCK_STREAM).close()
    return "fine"


with open("/proc/self/status") as status:
    for line in status:
        # Filters of the unit's come on top of the job's: how many there are is not compared.
        if line.startswith(("Cap", "NoNewPrivs", "Seccomp:", "Groups")):
            tell("status", " ".join(line.split()))
tell("umask", oct(os.umask(0o22)))
attempt("written code", lambda: written_code(b"\xb8\x2a\x00\x00\x00\xc3"))
# getpid of 32-bit x86: mov eax, 20; int 0x80; neg eax; ret
attempt("other calls", lambda: in_a_child(lambda: written_code(b"\xb8\x14\x00\x00\x00\xcd\x80\xf7\xd8\xc3")))
attempt("set-user-id", set_user_id)
attempt("null", lambda: open("/dev/null", "w").write("x"))
for path in ("/etc/hosts", "/proc/self/mounts", "/dev/shm", "/tmp", "/"):
    attempt(path, lambda: oct(os.stat(path).st_mode) + (" read" if os.access(path, os.R_OK) else ""))
attempt("hosts", lambda: len(open("/etc/hosts").read()))
for number in (1, 2, 10, 16, 17, 38, 40):
    attempt(f"family {number}", lambda: family(number))
attempt("real time", lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)))
for persona in (0x0, 0x8, 0x20000, 0x40000, 0x400000):
    attempt(f"personality {persona:#x}", lambda: call(135, persona))
for number in range(0, 470):
    # What is refused before it is looked at: nonsense for arguments, and nothing that waits, ends or leaves the process.
    if number in map(int, sys.argv[1:]):
        attempt(f"call {number}", lambda: call(number, -1, -1, -1, -1, -1, -1))
