"""The command `rtprune` for scripts that start it often: one process imports everything, and forks for each call.

Starting Python and torch takes seconds; a fork of a process that has done so takes milliseconds. :func:`serving` makes
an executable that hands its arguments, folder, environment and open files to that process, and ends with its code.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

ROOT = Path(__file__).parents[1]
# What commands import when they run
IMPORTED = [
    "matplotlib.backends.backend_svg",
    "matplotlib.pyplot",
    "scipy.stats",
    "PIL.ImageFont",
    *(f"rtprune_cli.{name}" for name in ("analysis", "bench.accuracy", "bench.glyphs", "convert", "inspection")),
    *(f"rtprune_cli.commands.{name}" for name in ("app", "display", "ending", "plan")),
]
CLIENT = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
call = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(call).to_bytes(4, "big")], [0, 1, 2])
server.sendall(call)
os._exit((server.recv(1) or b"\\1")[0])
"""


@contextmanager
def serving(command: Path) -> Iterator[None]:
    """``command`` is `rtprune` as long as this lasts."""
    address = command.with_suffix(".socket")
    command.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    command.chmod(0o755)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen([sys.executable, __file__, str(address)], env=environment, start_new_session=True)
    try:
        while not address.exists():
            assert server.poll() is None, "the process that forks has ended"
            time.sleep(0.02)
        yield
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # and calls that have not ended
        server.wait()


def serve(address: str) -> None:
    from rtprune_cli.prepare.guarded import guard
    from rtprune_cli.prepare.loader import PageLoader

    guard()._here = PageLoader()  # pages are prepared in the process itself, as where none can be started
    type(guard()).start = lambda guard: None  # type: ignore[method-assign]
    for module in IMPORTED:
        importlib.import_module(module)
    from rtprune_cli import read
    from rtprune_cli.commands.app import app

    typer.main.get_command = functools.cache(typer.main.get_command)  # the same for every call
    typer.main.get_command(app)
    list(read(str(ROOT / "samples" / "notice.pdf"), model="tiny", device="cpu", workers=0, pages=1, max_new_tokens=4))
    assert threading.active_count() == 1, "a process with threads cannot be forked"
    gc.collect()
    gc.freeze()  # a collection in a child would write to, and so copy, all of this memory
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address + ".new")
        server.listen()
        os.rename(address + ".new", address)
        while True:
            connection, _ = server.accept()
            with connection:
                if os.fork() == 0:
                    server.close()
                    answer(connection)
                reap()


def answer(connection: socket.socket) -> None:
    """One call, in a process of its own: whatever happens, it ends here with the code of the command."""
    code = 1
    try:
        size, files, _, _ = socket.recv_fds(connection, 4, 3)
        call = connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
        sys.argv, folder, environment = json.loads(call)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        from rtprune_cli.__main__ import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number in (0, 1, 2):
            os.close(number)
        connection.sendall(bytes([code]))
        os._exit(0)


def reap() -> None:
    """Take note of calls that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    serve(sys.argv[1])
