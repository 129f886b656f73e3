"""Frames of video files and image folders."""
