"""Become a user whom permissions bind."""

import os


def drop_privileges() -> None:
    """Nobody, if this is root; otherwise no change."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    assert os.geteuid() != 0
