"""Renders scenes to frames."""

import numpy as np

from vtok.data.sources.shapes.scene import COLOURS, DIRECTIONS, Scene, SceneObject

PAN = 0.25
ZOOM = 1.6
# Standard deviations of the noise, in levels of 256.
STANDING_NOISE, FRAME_NOISE = 5.0, 1.5


def render(scene: Scene, *, num_frames: int, size: int) -> np.ndarray:
    """Draw a scene: uint8 frames (num_frames, size, size, 3), with anti-aliased edges."""
    rng = np.random.default_rng(scene.seed)
    progress = np.linspace(0.0, 1.0, num_frames, dtype=np.float32)[:, None, None]
    axis = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    x, y = np.meshgrid(axis, axis)
    x, y, pixel = _camera_view(scene.camera, x[None], y[None], progress, 1.0 / size)
    # Copying rows of a frame is faster than copying single colours.
    row = np.tile(np.array(scene.background, dtype=np.float32), size)
    frames = np.full((num_frames, size, 3 * size), row).reshape(num_frames, size, size, 3)
    if scene.texture:
        frames += 255 * scene.texture * _texture(rng, x, y)[..., None]
    for one in scene.objects:
        centre_x, centre_y = _position(one, progress)
        distance = signed_distance(one.kind, x - centre_x, y - centre_y, one.radius)
        cover = np.clip(0.5 - distance / pixel, 0.0, 1.0).ravel()
        # The object covers few pixels.
        here = cover.nonzero()[0]
        behind = frames.reshape(-1, 3)[here]
        colour = np.array(COLOURS[one.colour], dtype=np.float32)
        frames.reshape(-1, 3)[here] = behind + cover[here, None] * (colour - behind)
    _add_noise(frames, rng)
    return np.clip(np.rint(frames, out=frames), 0, 255, out=frames).astype(np.uint8)


def _add_noise(frames: np.ndarray, rng: np.random.Generator) -> None:
    """Add noise that stays, and noise of each frame.

    The latter is a random part of one larger pattern, because drawing noise takes longer than all of the rest.
    """
    size = frames.shape[1]
    frames += STANDING_NOISE * rng.standard_normal((size, size, 3), dtype=np.float32)
    pattern = FRAME_NOISE * rng.standard_normal((2 * size, 2 * size, 3), dtype=np.float32)
    for frame, (top, left) in zip(frames, rng.integers(size + 1, size=(len(frames), 2)), strict=True):
        frame += pattern[top : top + size, left : left + size]


def _camera_view(
    camera: str | None, x: np.ndarray, y: np.ndarray, progress: np.ndarray, pixel: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World coordinates of every pixel of every frame, and the side of a pixel in the world.

    All cameras begin with the same view: the first frame does not reveal the move.
    """
    shift = {"pans left": -PAN * progress, "pans right": PAN * progress}.get(camera or "", 0.0 * progress)
    zoom = {"zooms in": ZOOM**progress, "zooms out": ZOOM**-progress}.get(camera or "", progress**0)
    return (x - 0.5) / zoom + 0.5 + shift, (y - 0.5) / zoom + 0.5, pixel / zoom


def _texture(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth pattern in world coordinates, about -1 to 1."""
    waves = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.float32)
    for _ in range(4):
        angle, frequency, phase = rng.uniform(0, np.pi), rng.uniform(1.5, 5.0), rng.uniform(0, 2 * np.pi)
        waves += np.sin(2 * np.pi * frequency * (np.cos(angle) * x + np.sin(angle) * y) + phase)
    return waves / 4


def _position(one: SceneObject, progress: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = one.start[0] + 0.0 * progress, one.start[1] + 0.0 * progress
    for number, move in enumerate(one.moves):
        part = np.clip(progress * len(one.moves) - number, 0.0, 1.0) * one.distance
        x, y = x + DIRECTIONS[move][0] * part, y + DIRECTIONS[move][1] * part
    return x, y


def signed_distance(kind: str, dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    """Signed distance to the outline, negative inside; a bound for the triangle and the cross."""
    if kind == "circle":
        return np.hypot(dx, dy) - radius
    if kind == "square":
        return np.maximum(np.abs(dx), np.abs(dy)) - 0.88 * radius
    if kind == "triangle":
        slope = np.sqrt(3.0) / 2
        return np.maximum(slope * np.abs(dx) - 0.5 * dy, dy) - 0.6 * radius
    if kind == "cross":
        arm, long = 0.34 * radius, 1.1 * radius
        across = np.maximum(np.abs(dx) - long, np.abs(dy) - arm)
        return np.minimum(across, np.maximum(np.abs(dx) - arm, np.abs(dy) - long))
    raise ValueError(f"no shape named {kind}")
