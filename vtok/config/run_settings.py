"""The settings that belong to no component."""

from dataclasses import dataclass, field

from vtok.common.setting_types import Seed


@dataclass(frozen=True)
class Resume:
    """The run to resume.

    Args:
        path: run folder, or auto: the newest unfinished run with the same configuration; resume=PATH is short for it.
        allow: keys that may differ from that run's, such as [optimiser.lr,data]; new values hold from the next step.
    """

    path: str | None = None
    allow: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run that belong to no component.

    Args:
        seed: random seed of the run.
        name: name of the run in MLflow; null: made from the overrides.
        resume: run to resume.
        optimise: validation metric of summary.json that a search optimises (hydra/sweeper=optuna).
        outputs: folder of runs, sweeps, synthetic data and the MLflow store.
        allowed_targets: packages of your own whose components are built, such as [mylab].
    """

    seed: Seed = 0
    name: str | None = None
    resume: Resume = field(default_factory=Resume)
    optimise: str | None = None
    outputs: str = "outputs"
    allowed_targets: list[str] = field(default_factory=list)
