"""Is what is configured right? Settings, costs, risk, and each strategy's defaults against its own contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from grodtd.config import Config, load_config
from grodtd.domain.errors import GrodtError
from grodtd.indicators.regime import regime
from grodtd.optimize.space import Space
from grodtd.settings import load_settings
from grodtd.workflows.strategies import resolve_strategy


@dataclass(frozen=True)
class Checked:
    """One part of the configuration, and what is wrong with it; nothing, where it is right."""

    part: str
    problem: str = ""


def check_configuration(folder: Path | None, environment: str | None) -> list[Checked]:
    """Check every part of the configuration of an environment; all of it, whatever the first parts say.

    Parameters
    ----------
    folder : Path or None
        Folder with your own files. None: the defaults that ship.
    environment : str or None
        None: that of GRODT_ENVIRONMENT.
    """
    checked = [_checked("settings", lambda: load_settings(environment, folder=folder))]
    config: list[Config] = []
    checked.append(_checked("costs, instruments, risk, regime, strategies", lambda: config.append(load_config(folder))))
    if config:
        checked.append(_checked("regime", lambda: regime(**asdict(config[0].regime))))
        checked += [
            _checked(f"strategy {name}", partial(_check_strategy, config[0], name)) for name in config[0].strategies
        ]
    return checked


def _checked(part: str, check: Callable[[], object]) -> Checked:
    try:
        check()
    except GrodtError as error:
        return Checked(part, str(error))
    return Checked(part)


def _check_strategy(config: Config, name: str) -> None:
    settings = config.strategies[name]
    strategy = resolve_strategy(name)
    params = strategy.check_params(settings.params)
    strategy.indicators(params)  # indicators refuse parameters they cannot work with
    if settings.space:
        given: dict[str, float] = params._asdict()  # type: ignore[attr-defined]  # every NamedTuple has it
        fixed = {name: value for name, value in given.items() if name not in settings.space}
        Space.parse(settings.space, strategy, settings.constraints, fixed)
