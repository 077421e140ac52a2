"""What the commands do with profiles: write one, check it, make an environment for its runs."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace

from workbench import report
from workbench.choosing import Chooser
from workbench.cli import EXIT_FAILED, EXIT_OK
from workbench.config import Config, config_path
from workbench.headless_output import print_json, say
from workbench.init import initialise, set_python
from workbench.model.profile import ClusterProfile
from workbench.plain import plain
from workbench.ports import Prompter
from workbench.services import Services


async def init(config: Config, arguments: argparse.Namespace, prompter: Prompter) -> int:
    """Write a profile; it is not of the services, for its place is in no configuration yet."""
    known = config.profiles.get(arguments.name)
    kind = arguments.connection or (known.connection if known else "asyncssh")
    described = replace(
        known or ClusterProfile(arguments.name),
        connection=kind,
        host="" if kind == "local" else arguments.host or (known.host if known else "") or arguments.name,
        ssh_config="" if kind == "local" else arguments.ssh_config or (known.ssh_config if known else ""),
    )
    asking = not arguments.yes and sys.stdin.isatty()
    written = await initialise(described, prompter, asking=asking, sure=arguments.yes)
    if arguments.json:
        print_json(asdict(written))
    else:
        state = "has the profile" if written.changed else "had the profile as it is already"
        say(f"{written.path} {state}; `mace-workbench doctor {written.name}` checks it.")
        print(written.path)
    return EXIT_OK


async def _create_environment(services: Services, arguments: argparse.Namespace) -> int:
    """Make an environment for runs, its progress on standard error; prints the line for the profile."""
    environment = await services.environment(
        arguments.profile, arguments.create_env, arguments.base, arguments.requirement
    )
    if arguments.dry_run:
        print("\n".join(map(plain, environment.script.splitlines())))
        return EXIT_OK
    await services.create_environment(arguments.profile, environment, say)
    print(f'python = "{plain(environment.python)}"')
    name = arguments.profile or services.profiles()[0]
    chooser = Chooser(asking=sys.stdin.isatty())
    set_python(config_path(), name, environment.python, chooser, sure=arguments.yes)
    return EXIT_OK


async def doctor(services: Services, arguments: argparse.Namespace) -> int:
    """Say what a profile has and lacks; or make the environment that it lacks."""
    if arguments.create_env is not None:
        return await _create_environment(services, arguments)
    findings = await services.examine(arguments.profile)
    if arguments.json:
        print_json([asdict(finding) for finding in findings])
    else:
        print(report.findings_text(findings))
    return EXIT_OK if all(finding.good for finding in findings) else EXIT_FAILED
