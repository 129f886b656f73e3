"""The command line: `vtok VERB [key=value ...]`; `python train.py ...` is `vtok train ...`."""

import logging
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from vtok.common.errors import UserError, refusal_of

USAGE = """\
VTok: compare ways of turning a video into tokens for a multimodal language model.

  vtok train [GROUP=OPTION ...] [KEY=VALUE ...]   train, evaluate, write a run folder    (vtok train --help)
"""
FOOTER = """
`vtok VERB --help` says more. `run` is a run folder, or latest: the newest run that finished or was stopped."""
# What were verbs of two words, `vtok benchmark ...`: one is a verb, the others are scripts of a checkout.
BENCHMARKS = {
    "cost": "vtok cost",
    "decode": "python benchmarks/decode.py in a checkout",
    "train": "python benchmarks/train.py in a checkout",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    verb, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    return exit_code(lambda: carry_out(verb, rest))


def run_script(function: Callable[..., Any], argv: Sequence[str] | None = None) -> int:
    """Run a function of a script with the KEY=VALUE of the command line, as a verb is run; returns the exit code."""
    from vtok.cli.dispatch import run_function

    return exit_code(lambda: run_function(function, sys.argv[1:] if argv is None else argv))


def exit_code(command: Callable[[], int]) -> int:
    """Run a command as all there is in this process. A user's mistake is reported in one sentence on stderr."""
    settle_process()
    try:
        code = command()
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output has read enough (`| head`). Python would try to write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        refusal = refusal_of(error)
        if refusal is None:
            raise
        print(f"error: {refusal}", file=sys.stderr)
        return 1


def settle_process() -> None:
    """What holds for the process of a command, and for those that a launcher starts for the jobs of a sweep."""
    # The text tokeniser's threads and the forked processes that decode do not go together; it says so at length.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Bars of what is loaded and uploaded fill a log line upon line. transformers goes by huggingface_hub's setting,
    # diffusers has one of its own (vtok.decoder.pretrained).
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Where it is installed, other libraries import it, and it then tells of kernels that nothing here asks for.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # It logs, on several lines, why a class cannot be imported; the error that follows says so as well.
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)
    # joblib's processes have a way of starting others that is unknown to those others.
    if multiprocessing.get_start_method() not in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method(None, force=True)


def carry_out(verb: str, argv: Sequence[str]) -> int:
    """Find a verb and run it."""
    if verb == "train":
        return train(list(argv))
    from vtok.cli.dispatch import run_command, verb_in, verbs

    if verb in ("-h", "--help", "help"):
        print(USAGE + "".join(f"  vtok {name:<18}{one.summary}\n" for name, one in verbs().items()) + FOOTER)
        return 0
    if (found := verb_in([verb, *argv])) is not None:
        return run_command(*found)
    if verb == "benchmark":
        names = [BENCHMARKS[name] for name in argv[:1] if name in BENCHMARKS] or BENCHMARKS.values()
        raise UserError(f"vtok {' '.join([verb, *argv[:1]])}: this command has moved. Use {', or '.join(names)}.")
    words = [name.partition(" ")[2] for name in verbs() if name.startswith(f"{verb} ")]
    if words:
        raise UserError(f"vtok {' '.join([verb, *argv[:1]])}: unknown verb. Use vtok {verb} {' | '.join(words)}.")
    raise UserError(f"{verb}: unknown verb. Use {', '.join(('train', *verbs()))}.")


def train(argv: list[str]) -> int:
    """Hydra's command line, after a check of what it would run."""
    import hydra
    from hydra._internal.utils import get_args_parser

    from vtok.common.overrides import quoted
    from vtok.common.paths import conf_dir, unwritable
    from vtok.config import register
    from vtok.config.compose import spelled_out
    from vtok.config.jobs import check_jobs
    from vtok.config.source import SCHEME

    # Flags may stand between overrides; Hydra's own reading of the line below does not take that.
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
        # Hydra's own source of files does not know what classes declare.
        place = quoted(f"{SCHEME}://{folder}")
        arguments.overrides.append(f"hydra.searchpath=[{place}]")
        flags = without_option(flags, "--config-dir", "-cd")
    arguments.overrides = spelled_out(arguments.overrides)
    argv = [*arguments.overrides, *flags]
    if arguments.help:
        from vtok.config.help import help_text

        print(help_text(arguments.overrides))
        return 0
    register()
    looks = (arguments.hydra_help, arguments.cfg, arguments.info, arguments.shell_completion)
    # Another primary configuration is checked when it is composed.
    another = arguments.config_name or arguments.config_path
    multirun = False
    if not any(looks) and not another:
        from vtok.common.weights import refuse_absent
        from vtok.config.weights import weights_of_run

        multirun = check_jobs(
            arguments.overrides,
            multirun=arguments.multirun,
            config_dir=folder,
            before_planning=lambda configs: refuse_absent(one for config in configs for one in weights_of_run(config)),
        )
    if multirun:
        argv = [*go_on(arguments.overrides), *argv]
    for item in arguments.overrides:
        key, _, value = item.partition("=")
        if key in ("hydra.run.dir", "hydra.sweep.dir") and "${" not in value and (reason := unwritable(Path(value))):
            raise UserError(f"{key}={value}: nothing can be written there, as {reason}. Set another folder.")
    sys.argv = ["vtok train", *argv]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()
    return 0


def refuse_flag(message: str) -> NoReturn:
    """Raise UserError for flags that Hydra's parser cannot read."""
    raise UserError(f"{message}. Flags are listed by: vtok train --hydra-help; all else is KEY=VALUE or GROUP=OPTION.")


def without_option(flags: Sequence[str], *names: str) -> list[str]:
    """Flags without an option and its value, whether they stand apart or as NAME=VALUE."""
    left, skip = [], False
    for flag in flags:
        if not skip and not flag.startswith(tuple(f"{name}=" for name in names)) and flag not in names:
            left.append(flag)
        skip = not skip and flag in names
    return left


def go_on(overrides: Sequence[str]) -> list[str]:
    """Where the same sweep was cut off, the override that has it go on there; else none."""
    from vtok.common.overrides import override
    from vtok.config import compose
    from vtok.runs.sweep_folder import sweep_to_go_on_with

    if any(item.startswith("hydra.sweep.dir=") for item in overrides):
        return []
    outputs = compose([item for item in overrides if item.startswith("outputs=")]).outputs
    found = sweep_to_go_on_with(overrides, outputs)
    if found is None:
        return []
    print(f"going on with the sweep in {found}, whose finished runs stay; for a new one say hydra.sweep.dir=FOLDER")
    return [override("hydra.sweep.dir", str(found))]


def job(config) -> float | None:
    """One job of Hydra's: a run.

    In a sweep a failed job leaves the others to go on, and one that has finished in its folder is not repeated.

    Returns:
        The figure that `optimise` names, for sweepers that search.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException
    from hydra.types import RunMode

    from vtok.config.compose import complete
    from vtok.runs.folder import open_run, shown, status_of, write_status
    from vtok.training import train as train_run
    from vtok.training.resume import figures_of_finished, goes_on
    from vtok.training.run_log import Stopped

    settle_process()
    settings = HydraConfig.get()
    run_dir = Path(settings.runtime.output_dir)
    overrides = list(settings.overrides.task)
    in_sweep = settings.mode == RunMode.MULTIRUN
    # With hydra.job.chdir Hydra is in the run folder by now; paths count from where the command was given.
    os.chdir(settings.runtime.cwd)
    try:
        complete(config, overrides)
        if in_sweep and (figures := figures_of_finished(run_dir, config)) is not None:
            print(f"{shown(run_dir)} has finished before")
            return optimised(config, figures)
        if in_sweep and goes_on(run_dir, config):
            config.resume.path = str(run_dir)
        figures = train_run(
            config,
            run_dir=run_dir,
            overrides=overrides,
            sweep_dir=Path(settings.sweep.dir) if in_sweep else None,
        )
        return optimised(config, figures)
    except (UserError, OSError) as reason:
        error = refusal_of(reason) if isinstance(reason, OSError) else reason
        if error is None:
            raise
        if not in_sweep:
            sys.exit(f"error: {error}")
        print(f"error: {error}", file=sys.stderr)
        if isinstance(reason, UserError) and status_of(run_dir) is None:
            open_run(run_dir, config, overrides)
            write_status(run_dir, "failed", None)
        # Of Hydra's own kind, which it prints at the end of the sweep without a traceback.
        raise CompactHydraException(f"the job in {shown(run_dir)} failed: {error}") from error
    except Stopped as stop:
        print(stop, file=sys.stderr)
        sys.exit(128 + stop.signal)
    finally:
        # Hydra makes the folder before it is known whether the run comes to anything, or goes on in another one.
        if run_dir.is_dir() and not any(run_dir.iterdir()):
            run_dir.rmdir()


def optimised(config, figures) -> float | None:
    """The figure that `optimise` names; exits where there is none of that name, as every further job would fail so.

    NaN, which is less than nothing and more than nothing, is no figure that a search could go by.
    """
    from vtok.config.compose import one_of

    if config.optimise is None:
        return None
    if config.optimise not in figures:
        sys.exit(
            f"error: optimise={config.optimise}: no figure has that name. {one_of(config.optimise, list(figures))}"
        )
    value = float(figures[config.optimise])
    if not math.isfinite(value):
        sys.exit(f"error: optimise={config.optimise}: the figure is {value}, which no search can go by.")
    return value


if __name__ == "__main__":
    sys.exit(main())
