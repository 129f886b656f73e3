"""Reads and writes frames of video files and image folders."""
