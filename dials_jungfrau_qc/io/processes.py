"""Work that is shared by processes, none of which outlives the program."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from typing import Any, TypeVar

import numpy as np

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.interruption import begin_worker

Result = TypeVar("Result")

WORKER_DIED = "a process died, perhaps for lack of memory: try a smaller nproc"

# Where workers are copies of the running process, memory can be shared with them
FORKS = sys.platform == "linux"

# What a worker works on, in a worker process
_work: list[tuple] = []


def shared_zeros(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An array of zeros that this process and workers it starts later write to together.

    Only where FORKS; elsewhere workers get copies.
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64))
    memory = mmap.mmap(-1, max(1, size * dtype.itemsize))
    return np.frombuffer(memory, dtype, size).reshape(shape)


def shared_lock() -> Any:
    """A lock between this process and workers that it starts later."""
    return multiprocessing.get_context("fork" if FORKS else None).Lock()


def run_in_processes(
    function: Callable[..., Result],
    items: Sequence[tuple],
    nproc: int,
    done: Callable[[int], object] = lambda index: None,
    fold: Callable[[Result, Result], Result] | None = None,
) -> list[Result]:
    """Call a function with each of several tuples of arguments.

    The workers have the arguments from their start, by fork where there is one. A queue
    would block for ever when it is full and its reader dies (Python before 3.12).

    Args:
        function: A function of a module.
        items: The arguments of each call.
        nproc: Number of processes.
        done: Called with the index of each item when it is done, in order.
        fold: Puts two results together, so that no more than two are ever held.

    Returns:
        The results, in the order of the items; only one with fold.

    Raises:
        InputError: A process died.
    """
    with _process_pool(nproc, (function, items)) as executor:
        waiting = deque(executor.submit(_call, index) for index in range(len(items)))
        return collect(waiting, done, fold)


@contextlib.contextmanager
def in_background(*data: Any) -> Iterator[Callable[..., Future]]:
    """Have a process do one thing after the other while the body of the with goes on.

    It has the data from its start, as the workers of run_in_processes have theirs. What a
    call raises is raised when its result is asked for, or else at the end of the body.
    If the body raises, the process is ended, whatever it is at.

    Args:
        data: What all calls need, which may be large.

    Yields:
        submit(function, *args), which has the process call a function of a module with
        the data and the arguments, and gives a future of the result.

    Raises:
        InputError: The process died.
    """
    futures: list[Future] = []
    died = "a process died, perhaps for lack of memory"
    with _process_pool(1, data, died) as executor:

        def submit(function: Callable, *args: Any) -> Future:
            futures.append(executor.submit(_call_with_data, function, args))
            return futures[-1]

        yield submit
        for future in futures:
            future.result()


def collect(
    waiting: deque[Future],
    done: Callable[[int], object],
    fold: Callable[[Result, Result], Result] | None,
) -> list[Result]:
    """Take results as they come, in order.

    Args:
        waiting: The futures, which are taken out: a future that is kept keeps its result.
        done: Called with the number of each.
        fold: Puts two results together, if given.

    Returns:
        The results, or the one that they were put together to.
    """
    results: list[Result] = []
    for index in range(len(waiting)):
        result = waiting.popleft().result()
        if fold and results:
            result = fold(results.pop(), result)
        results.append(result)
        del result
        done(index)
    return results


def _begin(work: tuple) -> None:
    begin_worker()
    _work.append(work)


def _call(index: int) -> Any:
    function, items = _work[-1]
    return function(*items[index])


def _call_with_data(function: Callable[..., Result], args: tuple) -> Result:
    return function(*_work[-1], *args)


@contextlib.contextmanager
def _process_pool(
    nproc: int, work: tuple, died: str = WORKER_DIED
) -> Iterator[ProcessPoolExecutor]:
    """Processes that start at once where the system can copy the running one.

    Left by an exception they are ended, whatever they are at. That one of them died is
    told in the words of died.
    """
    method = "fork" if FORKS else None
    executor = ProcessPoolExecutor(
        nproc,
        multiprocessing.get_context(method),
        initializer=_begin,
        initargs=(work,),
    )
    others = set(multiprocessing.active_children())
    try:
        yield executor
    except BaseException as e:
        for worker in set(multiprocessing.active_children()) - others:
            # SIGTERM would be lost on one that Python is just forking
            worker.kill()
        if isinstance(e, BrokenExecutor):
            raise InputError(died) from e
        raise
    finally:
        executor.shutdown(cancel_futures=True)
