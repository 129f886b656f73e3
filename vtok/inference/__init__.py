"""Uses a trained run on videos: loads its model, reads a clip like the training clips, answers a question."""
