"""The files of prompts that vtok generate reads, and the names of the videos that it makes of them."""

from collections.abc import Sequence
from pathlib import Path

from vtok.common.errors import UserError
from vtok.common.foreign_files import parse_json, read_text
from vtok.common.paths import LONGEST_NAME

SAMPLES = 5
# Bytes, less what a file that is not whole yet has before its name.
LONGEST = LONGEST_NAME - len(".partial-")


def wanted_videos(path: Path, samples: int | None) -> list[tuple[str, str]]:
    """(file name, prompt) of each video that a file of prompts asks for.

    - a text file: 000.mp4, 001.mp4, ... one a line; blank lines and those that begin with # are none.
    - a .json file, a list of objects with `prompt_en`, as `VBench_full_info.json` is: PROMPT-0.mp4, PROMPT-1.mp4, ...,
      `samples` of each prompt (5 where None), under which VBench looks for them (Huang et al. 2024, `prompts/README.md`
      of Vchitect/VBench). A prompt that is listed under several dimensions is one prompt.

    Raises:
        UserError: the file cannot be read, holds no prompt, or one of which no file name can be made; or `samples` were
            said of a text file.
    """
    try:
        text = read_text(path)
    except UserError as error:
        raise UserError(f"prompts={path}: {error}") from error
    if path.suffix.lower() == ".json":
        prompts = parse_vbench(text, path)
        return [(name_of(prompt, index, path), prompt) for prompt in prompts for index in range(samples or SAMPLES)]
    if samples is not None:
        raise UserError(f"samples={samples}: of a text file each line is one video; samples are of prompts=FILE.json.")
    lines = [line.strip() for line in text.splitlines()]
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise UserError(f"prompts={path}: the file holds no prompt; write one a line.")
    digits = max(3, len(str(len(prompts) - 1)))
    return [(f"{number:0{digits}}.mp4", prompt) for number, prompt in enumerate(prompts)]


def parse_vbench(text: str, path: Path) -> Sequence[str]:
    """The prompts of VBench's list, each once, in its order; raises UserError where it is no such list."""
    try:
        rows = parse_json(text)
    except ValueError as error:
        raise UserError(f"prompts={path}: {error}.") from error
    listed = rows if isinstance(rows, list) else []
    given = [row.get("prompt_en") if isinstance(row, dict) else None for row in listed]
    prompts = [prompt for prompt in given if isinstance(prompt, str) and prompt.strip()]
    if not prompts or len(prompts) < len(given):
        raise UserError(
            f'prompts={path}: a .json file is a list of objects with "prompt_en", as VBench_full_info.json is; write '
            "other prompts into a text file, one a line."
        )
    return list(dict.fromkeys(prompts))


def name_of(prompt: str, index: int, path: Path) -> str:
    """The name that VBench looks for; raises UserError where there can be no file of that name."""
    name = f"{prompt}-{index}.mp4"
    if "/" in prompt or not prompt.isprintable() or len(name.encode()) > LONGEST:
        raise UserError(
            f"prompts={path}: VBench names videos by their prompt, and {prompt!r} makes no file name (a line, at most "
            f"{LONGEST} bytes with -{index}.mp4, without a /); shorten it, or write prompts into a text file."
        )
    return name
