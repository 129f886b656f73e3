"""The command line: `vtok VERB [key=value ...]`; `python train.py ...` is `vtok train ...`."""

import logging
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

from vtok.common.errors import UserError, to_user_error

USAGE = """\
VTok: compare ways of turning a video into tokens for a multimodal language model.

  vtok train [GROUP=OPTION ...] [KEY=VALUE ...]   train, evaluate, write a run folder    (vtok train --help)
"""
FOOTER = """
`vtok VERB --help` shows more. `run` is a run folder, or latest: the newest run that finished or was stopped."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    verb, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    return exit_code(lambda: run_verb(verb, rest))


def run_script(function: Callable[..., Any], argv: Sequence[str] | None = None) -> int:
    """Run a script's function with the KEY=VALUE of the command line, like a verb; returns the exit code."""
    from vtok.cli.dispatch import run_function

    return exit_code(lambda: run_function(function, sys.argv[1:] if argv is None else argv))


def exit_code(command: Callable[[], int]) -> int:
    """Run a command as the only one of this process; a UserError is printed to stderr as one line."""
    configure_process()
    try:
        code = command()
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of the output has closed it (`| head`). Python would write the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        refusal = to_user_error(error)
        if refusal is None:
            raise
        print(f"error: {refusal}", file=sys.stderr)
        return 1


def configure_process() -> None:
    """Set environment and logging of a process: that of a command, or one that a launcher starts for a sweep's job."""
    # Without this, tokenizers prints a long warning when processes are forked to decode videos.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Progress bars of loading and uploading fill a log file. transformers uses huggingface_hub's setting, diffusers
    # has its own (vtok.decoder.pretrained).
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # If it is installed, other libraries import it, and it logs about kernels that are not used here.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # Hydra logs on several lines why a class cannot be imported; the error that follows says the same.
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)
    # joblib sets a start method that processes started by its workers do not know.
    if multiprocessing.get_start_method() not in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method(None, force=True)


def run_verb(verb: str, argv: Sequence[str]) -> int:
    """Find a verb and run it."""
    if verb == "train":
        return train(list(argv))
    from vtok.cli.dispatch import run_command, verb_in, verbs

    if verb in ("-h", "--help", "help"):
        print(USAGE + "".join(f"  vtok {name:<18}{one.summary}\n" for name, one in verbs().items()) + FOOTER)
        return 0
    if (found := verb_in([verb, *argv])) is not None:
        return run_command(*found)
    words = [name.partition(" ")[2] for name in verbs() if name.startswith(f"{verb} ")]
    if words:
        raise UserError(f"vtok {' '.join([verb, *argv[:1]])}: unknown verb. Use vtok {verb} {' | '.join(words)}.")
    raise UserError(f"{verb}: unknown verb. Use {', '.join(('train', *verbs()))}.")


def train(argv: list[str]) -> int:
    """Check the run or the sweep, then run Hydra's command line."""
    import hydra
    from hydra._internal.utils import get_args_parser

    from vtok.common.overrides import quoted
    from vtok.common.paths import conf_dir, unwritable_reason
    from vtok.common.stopping import passing_on_sigterm
    from vtok.config import register
    from vtok.config.compose import hydra_overrides
    from vtok.config.jobs import check_jobs
    from vtok.config.source import SCHEME

    # Flags may be placed between overrides, which Hydra's own parser does not accept.
    parser = get_args_parser()
    parser.error = refuse_flag  # type: ignore[method-assign]
    arguments = parser.parse_intermixed_args(argv)
    flags = list(argv)
    for item in arguments.overrides:
        flags.remove(item)
    folder = Path(arguments.config_dir).resolve() if arguments.config_dir else None
    if folder is not None:
        if not folder.is_dir():
            raise UserError(f"--config-dir {arguments.config_dir}: there is no such folder. Use a folder of groups.")
        # DeclaredConfigSource adds the defaults that classes declare; Hydra's own source does not.
        place = quoted(f"{SCHEME}://{folder}")
        arguments.overrides.append(f"hydra.searchpath=[{place}]")
        flags = without_option(flags, "--config-dir", "-cd")
    arguments.overrides = hydra_overrides(arguments.overrides)
    argv = [*arguments.overrides, *flags]
    if arguments.help:
        from vtok.config.help import help_text

        print(help_text(arguments.overrides))
        return 0
    register()
    only_prints = (arguments.hydra_help, arguments.cfg, arguments.info, arguments.shell_completion)
    # A primary configuration of the user's own is checked when it is composed.
    other_config = arguments.config_name or arguments.config_path
    multirun = False
    if not any(only_prints) and not other_config:
        from vtok.common.weights import check_available
        from vtok.config.weights import weights_of_run

        multirun = check_jobs(
            arguments.overrides,
            multirun=arguments.multirun,
            config_dir=folder,
            before_planning=lambda configs: check_available(
                one for config in configs for one in weights_of_run(config)
            ),
        )
    if multirun:
        argv = [*resume_sweep(arguments.overrides), *argv]
    for item in arguments.overrides:
        key, _, value = item.partition("=")
        if (
            key in ("hydra.run.dir", "hydra.sweep.dir")
            and "${" not in value
            and (reason := unwritable_reason(Path(value)))
        ):
            raise UserError(f"{key}={value}: the folder cannot be written ({reason}). Use another folder.")
    sys.argv = ["vtok train", *argv]
    with passing_on_sigterm() if multirun else nullcontext():
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()
    return 0


def refuse_flag(message: str) -> NoReturn:
    """Raise UserError for flags that Hydra's parser cannot read."""
    raise UserError(f"{message}. Use KEY=VALUE, GROUP=OPTION, or a flag that vtok train --hydra-help lists.")


def without_option(flags: Sequence[str], *names: str) -> list[str]:
    """Flags without an option and its value, given as NAME VALUE or NAME=VALUE."""
    left, skip = [], False
    for flag in flags:
        if not skip and not flag.startswith(tuple(f"{name}=" for name in names)) and flag not in names:
            left.append(flag)
        skip = not skip and flag in names
    return left


def resume_sweep(overrides: Sequence[str]) -> list[str]:
    """The override that resumes the same sweep if it was interrupted before; else none."""
    from vtok.common.overrides import override
    from vtok.config import compose
    from vtok.runs.sweep_folder import unfinished_sweep

    if any(item.startswith("hydra.sweep.dir=") for item in overrides):
        return []
    outputs = compose([item for item in overrides if item.startswith("outputs=")]).outputs
    found = unfinished_sweep(overrides, outputs)
    if found is None:
        return []
    print(f"resuming the sweep in {found}; finished runs are not repeated. Set hydra.sweep.dir=FOLDER for a new sweep.")
    return [override("hydra.sweep.dir", str(found))]


def job(config) -> float | None:
    """Run one job of Hydra, which is one run.

    In a sweep the other jobs continue after a failed job, and a job that has finished in its folder is not repeated.

    Returns:
        The metric that `optimise` names, for sweepers that search.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException
    from hydra.types import RunMode

    from vtok.config.compose import complete
    from vtok.runs.folder import open_run, shown, status_of, write_status
    from vtok.training import train as train_run
    from vtok.training.resume import MAY_CHANGE_IN_SWEEP, can_resume, metrics_of_finished
    from vtok.training.run_log import Stopped

    configure_process()
    settings = HydraConfig.get()
    run_dir = Path(settings.runtime.output_dir)
    overrides = list(settings.overrides.task)
    in_sweep = settings.mode == RunMode.MULTIRUN
    # With hydra.job.chdir the working directory is the run folder; paths count from where the command was started.
    os.chdir(settings.runtime.cwd)
    try:
        complete(config, overrides)
        if in_sweep and (metrics := metrics_of_finished(run_dir, config)) is not None:
            print(f"{shown(run_dir)} has already finished")
            return optimised_metric(config, metrics)
        if in_sweep and can_resume(run_dir, config, may_change=MAY_CHANGE_IN_SWEEP):
            config.resume.path = str(run_dir)
        metrics = train_run(
            config,
            run_dir=run_dir,
            overrides=overrides,
            sweep_dir=Path(settings.sweep.dir) if in_sweep else None,
        )
        return optimised_metric(config, metrics)
    except (UserError, OSError) as reason:
        error = to_user_error(reason) if isinstance(reason, OSError) else reason
        if error is None:
            raise
        if not in_sweep:
            sys.exit(f"error: {error}")
        print(f"error: {error}", file=sys.stderr)
        if isinstance(reason, UserError) and status_of(run_dir) is None:
            open_run(run_dir, config, overrides)
            write_status(run_dir, "failed", None)
        # Hydra prints its own exceptions at the end of the sweep without a traceback.
        raise CompactHydraException(f"the job in {shown(run_dir)} failed: {error}") from error
    except Stopped as stop:
        print(stop, file=sys.stderr)
        sys.exit(128 + stop.signal)
    finally:
        # Hydra creates the folder even if the run fails before it starts, or is resumed in another folder.
        if run_dir.is_dir() and not any(run_dir.iterdir()):
            run_dir.rmdir()


def optimised_metric(config, metrics) -> float | None:
    """The metric that `optimise` names; exits if it is unknown or not finite, since all other jobs would fail too."""
    from vtok.config.compose import one_of

    if config.optimise is None:
        return None
    if config.optimise not in metrics:
        sys.exit(f"error: optimise={config.optimise}: unknown metric. {one_of(config.optimise, list(metrics))}")
    value = float(metrics[config.optimise])
    if not math.isfinite(value):
        sys.exit(
            f"error: optimise={config.optimise}: the metric is {value}, which cannot be optimised. Use another metric."
        )
    return value


if __name__ == "__main__":
    sys.exit(main())
