"""What to set instead of names that other projects have and this one has not."""

STEPS = "Training length is in steps: set trainer.max_steps."
# By key.
KEYS = {name: STEPS for name in ("epochs", "max_epochs", "num_epochs", "num_train_epochs")}
# By option.
OPTIONS = {
    "backbone=dinov2": "For DINOv2 set backbone=vision backbone.weights=facebook/dinov2-base.",
    "backbone=dinov3": "For DINOv3 set backbone=vision backbone.weights=facebook/dinov3-vitb16-pretrain-lvd1689m.",
    "backbone=siglip": "For SigLIP set backbone=vision backbone.weights=google/siglip-base-patch16-224.",
}
