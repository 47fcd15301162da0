"""Being stopped, by Ctrl-C or by a batch system, without leaving anything half done."""

from __future__ import annotations

import contextlib
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

    def stop(number: int, _) -> None:
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

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


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals back for a few system calls that belong together."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
