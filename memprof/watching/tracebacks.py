"""Exceptions that pass what memprof has put around PyMDP's methods look as if it were not there."""

from __future__ import annotations


def leave_out(error: BaseException) -> None:
    """Take the frame of the function that has just caught it out of its traceback; to be raised
    again by a bare `raise`, which adds none."""
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
