"""VTok as a model of lmms-eval (EvolvingLMMs-Lab), which has MVBench, Video-MME, TempCompass and other benchmarks.

lmms-eval finds `manifest` by this package's entry point `lmms_eval.models`, which imports nothing heavy. lmms-eval is
not a dependency, see "Real benchmarks" in the README.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest


def manifest() -> "ModelManifest":
    """Registers the model `vtok` with lmms-eval."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="vtok", simple_class_path="vtok.lmms.model.VTokModel")
