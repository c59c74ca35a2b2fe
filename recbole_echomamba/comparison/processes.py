"""Run one training in a new process."""

from __future__ import annotations

from multiprocessing import get_context

from recbole_echomamba.experiment import run
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.signals import children_ignore_sigint, end_with_parent
from recbole_echomamba.system.terminal import is_verbose


def run_in_subprocess(name: str, **arguments) -> None:
    """Call :func:`.experiment.run` in a new process, which has its own log and its own peak of memory.

    The first Ctrl-C ends the run after the current batch, a second one ends it at once.

    Args:
        name: the run in words, for an error message.
        arguments: the keyword arguments of :func:`.experiment.run`.

    Raises:
        UserError: the run failed by something that the user can change, or its process was killed.
        KeyboardInterrupt: the run was interrupted.
        RuntimeError: the run failed by a bug; its traceback is on stderr.
    """
    arguments = {"verbose": is_verbose(), **arguments}
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run_and_send_error, args=(sender, arguments))
    with children_ignore_sigint():
        process.start()
    sender.close()
    try:
        error = receiver.recv()
        process.join()
    except EOFError:
        raise UserError(
            f"{name}: its process was killed, perhaps because memory ran out; free some, or lower train_batch_size"
        ) from None
    except KeyboardInterrupt:
        process.terminate()
        try:
            process.join()
        except KeyboardInterrupt:
            process.kill()
        raise
    if error is not None:
        raise error


def _run_and_send_error(sender, arguments: dict) -> None:
    """In the new process: call :func:`.experiment.run`, then send its exception, or ``None`` when there was none."""
    end_with_parent()
    try:
        run(**arguments)
    except (UserError, KeyboardInterrupt) as error:
        sender.send(error)
    except Exception as error:
        # Not every exception can be pickled. Its traceback is printed here, when this process ends.
        sender.send(RuntimeError(f"{type(error).__name__}: {error}"))
        raise
    else:
        sender.send(None)
