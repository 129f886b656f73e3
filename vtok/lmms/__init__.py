"""VTok runs as a model of lmms-eval (EvolvingLMMs-Lab), which brings MVBench, Video-MME, TempCompass and others.

lmms-eval finds `manifest` by the entry point `lmms_eval.models` of this package; nothing heavy is imported for it. It
is no dependency, see "Real benchmarks" in the README.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest


def manifest() -> "ModelManifest":
    """What lmms-eval is told of: the model `vtok`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="vtok", simple_class_path="vtok.lmms.model.VTokModel")
