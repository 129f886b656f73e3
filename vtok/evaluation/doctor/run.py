"""Runs all checks of a tokeniser."""

from collections.abc import Callable
from inspect import getdoc

from vtok.evaluation.doctor import batches, counts, frames, positions, running, training
from vtok.evaluation.doctor.case import Case
from vtok.evaluation.doctor.finding import FAILED, INFORMATION, NOT_CHECKED, OK, Defect, Finding, NotApplicable
from vtok.tokeniser import Tokeniser

Check = Callable[[Case], str | None]
# Each check, and the checks without which its result would mean nothing.
CHECKS: dict[Check, tuple[Check, ...]] = {
    counts.plan: (),
    counts.number_of_tokens: (counts.plan,),
    counts.still_clip: (counts.number_of_tokens,),
    counts.kinds: (counts.number_of_tokens,),
    running.device: (),
    counts.fields: (counts.number_of_tokens, running.device),
    running.input_unchanged: (),
    running.same_call: (running.device,),
    running.same_seed: (running.same_call,),
    batches.batch: (running.same_call, counts.kinds),
    batches.padding: (running.same_call, counts.number_of_tokens),
    batches.mixed_lengths: (batches.batch, batches.padding),
    frames.only_planned_frames: (running.same_call,),
    frames.planned_frames_matter: (running.same_call,),
    frames.key_frame: (running.same_call,),
    counts.order: (counts.fields,),
    positions.timestamps: (running.same_call, counts.fields, frames.planned_frames_matter),
    positions.places: (running.same_call, counts.fields, frames.planned_frames_matter),
    running.cache: (running.same_call,),
    running.pixel_type: (running.same_call,),
    running.half_precision: (running.same_call, counts.fields),
    training.frozen_backbone: (),
    training.gradient: (training.frozen_backbone,),
    frames.later_frames: (running.same_call, frames.planned_frames_matter),
}


def examine(make: Callable[[], Tokeniser], *, num_frames: int = 30) -> list[Finding]:
    """The findings of all checks of a tokeniser, on clips of noise.

    Args:
        make: builds the tokeniser, with the same weights in every call.
        num_frames: largest length of a usual clip, in frames; the plan is checked for other lengths too.
    """
    case = Case(make, num_frames)
    findings: list[Finding] = []
    unusable: set[Check] = set()
    for check, needed in CHECKS.items():
        failed = [name_of(one) for one in needed if one in unusable]
        reason = f"it needs {', '.join(failed)}, which failed"
        finding = skipped(check, reason) if failed else finding_of(check, case)
        if failed or finding.status == FAILED:
            unusable.add(check)
        findings.append(finding)
    return findings


def finding_of(check: Check, case: Case) -> Finding:
    """The finding of one check; any exception of the tokeniser is a finding too."""
    try:
        information = check(case)
    except NotApplicable as reason:
        return skipped(check, str(reason))
    except Defect as defect:
        return Finding(name_of(check), claim_of(check), FAILED, str(defect))
    except Exception as error:
        got = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Finding(name_of(check), claim_of(check), FAILED, str(Defect("no error", got)))
    if information is None:
        return Finding(name_of(check), claim_of(check), OK)
    return Finding(name_of(check), claim_of(check), INFORMATION, information)


def skipped(check: Check, reason: str) -> Finding:
    return Finding(name_of(check), claim_of(check), NOT_CHECKED, reason)


def name_of(check: Check) -> str:
    return check.__name__.replace("_", " ")


def claim_of(check: Check) -> str:
    return (getdoc(check) or "").rstrip(".")
