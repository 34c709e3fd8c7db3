"""What the process goes by: its configuration, the policy that this names, and what the command line says instead."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ringfence.decision.policy import Policy
from ringfence.decision.policy_file import write
from ringfence.service import control_protocol as say
from ringfence.service.configuration.configuration import Configuration
from ringfence.service.configuration.file import ConfigurationFile, load
from ringfence.service.configuration.rights import Rights
from ringfence.service.policy_source import Loaded, loaded
from ringfence.service.rights import Roster


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says; it wins over the file. ``required``: that there is no ``config`` file is an error.

    ``policy`` is a policy's file. ``read_group`` may look, besides whom the configuration lets look. ``sources`` are to
    be followed, and no others (None: those of the configuration); ``watches_host``: this machine's, unless either says.
    """

    config: Path | None = None
    required: bool = True
    policy: str | None = None
    read_group: str | None = None
    sources: tuple[str, ...] | None = None
    watches_host: bool = False


@dataclass(frozen=True, slots=True)
class InForce:
    """What holds now."""

    file: ConfigurationFile
    configuration: Configuration
    policy: Loaded
    roster: Roster
    policy_is_named: bool = True

    def without_policy(self, otherwise: Policy) -> InForce:
        """The same with another policy to hold where neither the command line nor the configuration names one."""
        return self if self.policy_is_named else replace(self, policy=loaded(None, otherwise))


def in_force(asked: Asked, otherwise: Policy) -> InForce:
    """Load the files. ``otherwise`` is the policy where neither the command line nor the configuration names one.

    Raises SourceError if a file cannot be read, ConfigurationError or PolicyError with all that is wrong with one.
    """
    file = load(asked.config, required=asked.required)
    configuration = file.configuration
    if asked.read_group is not None:
        configuration = msgspec.structs.replace(configuration, rights=_with(configuration.rights, asked.read_group))
    if asked.sources is not None:
        sources = configuration.sources.overridden(asked.sources)
        configuration = msgspec.structs.replace(configuration, sources=sources)
    elif asked.watches_host and ("sources", "host") not in file.lines and not configuration.sources.any:
        sources = msgspec.structs.replace(configuration.sources, host=True)
        configuration = msgspec.structs.replace(configuration, sources=sources)
    is_named = not (asked.policy is None and file.policy is None and file.policy_path is None)
    policy = _policy(asked, file, otherwise)
    return InForce(file, configuration, policy, Roster.of(configuration.rights), policy_is_named=is_named)


def _with(rights: Rights, reading_group: str) -> Rights:
    read = msgspec.structs.replace(rights.read, groups=(*rights.read.groups, reading_group))
    return msgspec.structs.replace(rights, read=read)


def _policy(asked: Asked, file: ConfigurationFile, otherwise: Policy) -> Loaded:
    if asked.policy is None and file.policy is not None:
        return Loaded(file.policy, write(file.policy.policy))
    return loaded(asked.policy or file.policy_path, otherwise)


def in_words(reply: say.Reloaded) -> str:
    """What loading the files again has changed, a line each."""
    policy = "a new one applies from now on" if reply.policy_changed else "as before"
    lines = [
        f"configuration {reply.configuration} ({reply.configuration_digest}) is in force",
        f"policy {reply.policy} ({reply.policy_digest}): {policy}",
        *(f"{key}: changed, holds at once" for key in reply.at_once),
        *(f"{key}: changed, holds at the next start only (systemctl restart ringfence)" for key in reply.at_restart),
        *(f"[rights] names {each}: not known on this machine" for each in reply.unknown),
    ]
    return "\n  ".join(lines)
