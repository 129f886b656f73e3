"""Reads the prompts of vtok generate from a file, and names their videos."""

from collections.abc import Sequence
from pathlib import Path

from vtok.common.errors import UserError
from vtok.common.foreign_files import parse_json, read_text
from vtok.common.paths import LONGEST_NAME

VBENCH_SAMPLES = 5
# Largest length of a file name in bytes; a file that is being written has a prefix.
MAX_NAME_BYTES = LONGEST_NAME - len(".partial-")


def requested_videos(path: Path, samples: int | None) -> list[tuple[str, str]]:
    """(file name, prompt) of each video that a file of prompts asks for.

    - A text file: one prompt on each line, for 000.mp4, 001.mp4, ...; blank lines and lines that start with # are
      skipped.
    - A .json file, a list of objects with `prompt_en` such as `VBench_full_info.json`: `samples` videos of each prompt
      (None: 5), PROMPT-0.mp4, PROMPT-1.mp4, ... These are the names that VBench expects (Huang et al. 2024,
      `prompts/README.md` of Vchitect/VBench). A prompt that is listed under several dimensions counts once.

    Raises:
        UserError: if the file cannot be read or holds no prompt, a prompt cannot be a file name, or `samples` is set
            for a text file.
    """
    try:
        text = read_text(path)
    except UserError as error:
        raise UserError(f"prompts={path}: {error}") from error
    if path.suffix.lower() == ".json":
        prompts = parse_vbench(text, path)
        return [
            (vbench_name(prompt, index, path), prompt)
            for prompt in prompts
            for index in range(samples or VBENCH_SAMPLES)
        ]
    if samples is not None:
        raise UserError(
            f"samples={samples}: each line of a text file makes one video. Use samples only with prompts=FILE.json."
        )
    lines = [line.strip() for line in text.splitlines()]
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise UserError(f"prompts={path}: the file holds no prompt. Write one prompt on each line.")
    digits = max(3, len(str(len(prompts) - 1)))
    return [(f"{number:0{digits}}.mp4", prompt) for number, prompt in enumerate(prompts)]


def parse_vbench(text: str, path: Path) -> Sequence[str]:
    """The prompts of VBench's list, in its order and without repetition; raises UserError if it is not such a list."""
    try:
        rows = parse_json(text)
    except ValueError as error:
        raise UserError(f"prompts={path}: {error}. Use a valid JSON file.") from error
    listed = rows if isinstance(rows, list) else []
    given = [row.get("prompt_en") if isinstance(row, dict) else None for row in listed]
    prompts = [prompt for prompt in given if isinstance(prompt, str) and prompt.strip()]
    if not prompts or len(prompts) < len(given):
        raise UserError(
            f'prompts={path}: a .json file must be a list of objects with "prompt_en", such as VBench_full_info.json. '
            "Write other prompts into a text file, one on each line."
        )
    return list(dict.fromkeys(prompts))


def vbench_name(prompt: str, index: int, path: Path) -> str:
    """The file name that VBench expects; raises UserError if no file can have it."""
    name = f"{prompt}-{index}.mp4"
    if "/" in prompt or not prompt.isprintable() or len(name.encode()) > MAX_NAME_BYTES:
        raise UserError(
            f"prompts={path}: VBench names videos by their prompt, and {prompt!r} cannot be a file name (one line, at "
            f"most {MAX_NAME_BYTES} bytes with -{index}.mp4, without /). Use a shorter prompt, or a text file."
        )
    return name
