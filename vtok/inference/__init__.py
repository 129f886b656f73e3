"""A trained run used on videos: its model loaded, a clip read as its training clips were, a question answered."""
