"""Where Ringfence keeps its journal and its configuration, and where it listens."""

from __future__ import annotations

import os
from pathlib import Path

import click

JOURNAL = "journal.sqlite"
SOCKET = "control.sock"
CONFIG = "ringfence.toml"


def default_state_dir() -> Path:
    """``RINGFENCE_STATE_DIR``, else /var/lib/ringfence for root, else $XDG_STATE_HOME/ringfence."""
    given = os.environ.get("RINGFENCE_STATE_DIR")
    if given:
        return Path(given)
    if os.geteuid() == 0:
        return Path("/var/lib/ringfence")
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "ringfence"


state_dir_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_state_dir,
    show_default="$RINGFENCE_STATE_DIR, /var/lib/ringfence for root, ~/.local/state/ringfence",
    help="Where the journal lies.",
)


def socket_path(state_dir: Path, given: Path | None) -> Path:
    """The control socket: as told, else ``RINGFENCE_SOCKET``, else in the state directory."""
    if given is not None:
        return given
    named = os.environ.get("RINGFENCE_SOCKET")
    return Path(named) if named else state_dir / SOCKET


socket_option = click.option(
    "--socket",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The service's control socket.  [default: $RINGFENCE_SOCKET, control.sock in the state directory]",
)


def default_config() -> Path:
    """``RINGFENCE_CONFIG``, else in /etc/ringfence for root, else in $XDG_CONFIG_HOME/ringfence.

    The service's own user is not root: its unit sets the variable.
    """
    given = os.environ.get("RINGFENCE_CONFIG")
    if given:
        return Path(given)
    if os.geteuid() == 0:
        return Path("/etc/ringfence") / CONFIG
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "ringfence" / CONFIG


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration's file. Without one, every key has its default.  "
    "[default: $RINGFENCE_CONFIG, /etc/ringfence/ringfence.toml for root, ~/.config/ringfence/ringfence.toml]",
)
