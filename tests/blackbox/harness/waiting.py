"""Waiting for a condition, never for a time that is hoped to be enough."""

import time

POLL_S = 0.01


def wait_until(condition, timeout, what):
    """Returns the first true value of condition(); fails with `what` when there is none within timeout seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout} s in vain for: {what}")
        time.sleep(POLL_S)


def stays(condition, seconds, what):
    """Fails with `what` as soon as condition() is false within the given time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"changed within {seconds} s: {what}"
        time.sleep(POLL_S)
