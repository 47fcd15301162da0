"""Being stopped, by Ctrl-C or by a batch system, without leaving anything half done."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# prctl(2): the signal that a process gets when its parent ends
_PR_SET_PDEATHSIG = 1


class Stopped(BaseException):
    """The process was told to end; derived as KeyboardInterrupt is, to pass handlers.

    Attributes:
        signal: Which signal said so.
    """

    def __init__(self, number: int):
        self.signal = signal.Signals(number)
        super().__init__(self.signal.name)

    @property
    def exit_status(self) -> int:
        """What shells make of a process that a signal ended."""
        return 128 + self.signal


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Raise Stopped in the main thread when Ctrl-C or SIGTERM arrives.

    What unwinds then removes files and processes; further signals do not interrupt it.
    """

    owner = os.getpid()

    def stop(number: int, _) -> None:
        if os.getpid() != owner:
            # A worker that was forked and has not reached begin_worker
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif _held.depth:
            _held.arrived = number
        else:
            _stop_once(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A signal that the parent has set to be ignored (nohup, a shell's &) stays ignored
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = [n for n, handler in before.items() if handler != signal.SIG_IGN]
    try:
        for number in taken:
            signal.signal(number, stop)
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number] or signal.SIG_DFL)


@dataclasses.dataclass
class _Held:
    """How often uninterrupted was entered, and the signal that came meanwhile."""

    depth: int = 0
    arrived: int | None = None


# Masking signals would not do: those of a process reach any of its threads
_held = _Held()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Within stoppable, hold back Stopped for a few calls that belong together."""
    _held.depth += 1
    try:
        yield
    finally:
        _held.depth -= 1
        if _held.arrived is not None and not _held.depth:
            number, _held.arrived = _held.arrived, None
            _stop_once(number)


def _stop_once(number: int) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)


def begin_worker() -> None:
    """Leave it to the parent to be interrupted, and end when it ends.

    To be called first in a worker process. Ctrl-C reaches every process of a terminal,
    and each would print a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
