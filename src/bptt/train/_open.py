"""Taking up a run folder: a new run, an old one at its last checkpoint, or a refusal that changes nothing."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..detach import Detach
from ..tasks import Task
from . import _folder, _state
from ._config import Config
from ._environment import Environment, differences, environment
from ._errors import AnotherRunError, EnvironmentChangedError, RunError
from ._metrics import Log
from ._optimizer import build_optimizer
from ._replica import Replica
from ._run import Run

# These are part of the environment, or change no result.
_NOT_INPUTS = ("threads", "precision", "backend", "checkpoint_seconds")
# States from before there were these have none; at 0 nothing depends on them.
_IF_SET = ("watch_every", "paths_every")


def check_spec(folder: Path, spec: Mapping[str, Any]) -> None:
    """Refuse a folder that holds another run."""
    if not (folder / _folder.SPEC).exists():
        return
    page = _folder.read_spec(folder)
    if page["hash"] != _folder.spec_hash(spec):
        then, now = _flat(page["spec"]), _flat(spec)
        changed = "; ".join(differences(then, now))
        raise AnotherRunError(f"{folder} holds another run; its spec differs: {changed}")


def open_run(replica: Replica, accept_environment: bool, *, stacked: bool) -> Run:
    """The run of a folder whose spec has been checked, at its newest good checkpoint or at its start.

    Args:
        replica: the run.
        accept_environment: go on under another environment.
        stacked: whether it is computed together with others, which rounds differently.
    """
    folder, model, config, spec = replica.path, replica.model, replica.config, replica.spec
    identity = _folder.spec_hash(spec)
    inputs = _inputs(replica.task, config, replica.detach)
    here = environment(config, replica.device) | ({"replicas": "stacked"} if stacked else {})
    state = _state.load(folder, identity)
    if state is None:
        _refuse_lost_state(folder)
        environments = [here]
    else:
        _refuse_other_inputs(folder, state["inputs"], inputs)
        environments = _environments(folder, state, here, accept_environment)
    if state is None or not state["step"] or not (folder / _folder.SPEC).exists():
        _folder.write_spec(folder, spec, environments[0], replica.command)
    run = Run(
        folder=folder,
        model=model,
        optimizer=build_optimizer(model.parameters(), config),
        spec=identity,
        inputs=inputs,
        environments=environments,
        log=Log(folder / _folder.METRICS, None if state is None else state["metrics"]),
        flow=Log(folder / _folder.FLOW, None if state is None else state["flow"])
        if config.watch_every
        else None,
    )
    if state is None:
        run.save()
    else:
        run.restore(state)
    (folder / _folder.FAILED).unlink(missing_ok=True)
    return run


def _inputs(task: Task, config: Config, detach: Detach | None) -> dict[str, Any]:
    settings = {
        key: value
        for key, value in asdict(config).items()
        if key not in _NOT_INPUTS and (value or key not in _IF_SET)
    }
    return {"task": task.fingerprint(), "detach": repr(detach), **settings}


def _refuse_other_inputs(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = differences(then, now)
    if changed:
        raise RunError(f"{folder} was started with other inputs under the same spec: " + "; ".join(changed))


def _refuse_lost_state(folder: Path) -> None:
    metrics = folder / _folder.METRICS
    if metrics.exists() and metrics.stat().st_size:
        raise RunError(
            f"{folder} holds {_folder.METRICS} but neither {_state.NAME} nor {_state.PREVIOUS}; "
            "put one of them back, or delete the folder to start the run over"
        )


def _environments(folder: Path, state: _state.State, here: Environment, accept: bool) -> list[Environment]:
    if not state["step"]:
        return [here]  # nothing has been computed elsewhere
    before: list[Environment] = state["environments"]
    changed = differences(before[-1], here)
    if not changed:
        return before
    if not accept:
        raise EnvironmentChangedError(folder, changed)
    return [*before, here]


def _flat(spec: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in spec.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + str(key)] = value
    return flat
