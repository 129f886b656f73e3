"""VTok with motion tokens where something happens: few for a clip that stands still, many for one that moves."""

from collections.abc import Callable

from vtok.backbone import Backbone
from vtok.common.setting_types import Count, Positive
from vtok.data.plan import ChangePlanner
from vtok.tokeniser.motion import MeanPooling, MotionPooling
from vtok.tokeniser.vtok import VTokTokeniser


class AdaptiveTokeniser(VTokTokeniser):
    """VTok with one motion token for each `change` grey levels of change, clip by clip, at the frames where it happens.

    a[t] = mean over cells of |g[t] - g[t - 1]|, t = 1 .. K - 1      g: grey levels of 16 x 16 cells of a sampled frame
    A = sum over t of a[t];   M = min(K - 1, floor(A / `change`))    motion tokens of the clip
    frame of token j:  the first at which a[1] + ... + a[t] >= j / M A, or the next one that is free

    The number of tokens is known when a clip is decoded, before the backbone, which never sees the other frames. The
    text can thus be laid out for it. A feature cache is refused: it holds no pixels. The plan gives the largest number
    of tokens, that of a clip whose frames are all kept.

    `change` sets the mean number of tokens of a data set, which `vtok calibrate` finds: exactly on the clips that it is
    calibrated on, and about the same on others. M = floor(A / `change`) is D'Hondt's method of apportionment: no other
    way to share out as many tokens has a larger least A / M.

    A moving camera, a cut or noise is change too. The number of tokens tells the language model how much a clip
    changes; a comparison with a fixed number of tokens includes this.

    Spending tokens where frames change is known from codecs and from EVS, whose budget is one for each clip. ElasticTok
    (Yan et al. 2024, arXiv 2410.08368) varies it, by encoding a clip several times until a reconstruction is good
    enough. Here it is one look at the pixels.

    Args:
        grid_size: the first frame becomes grid_size x grid_size tokens.
        stride: clip frames between two sampled frames, of which some are kept.
        change: change for which a clip has one motion token, in grey levels of 0 to 255; see `vtok calibrate`.
        motion_pooling: how a residual map becomes one vector: a MotionPooling class, or a function from the number of
            feature channels to one.
        budget: clips so long that they could make more tokens are refused; None refuses none.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
    """

    planner: ChangePlanner

    first_key = True
    # The mean number of tokens is set by `change`, which depends on the clips.
    budgeted = None

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 4,
        stride: Count = 2,
        change: Positive = 3.0,
        token_dim: Count | None = None,
        motion_pooling: Callable[[int], MotionPooling] = MeanPooling,
        budget: Count | None = None,
    ) -> None:
        super().__init__(
            backbone, grid_size=grid_size, stride=stride, token_dim=token_dim, motion_pooling=motion_pooling
        )
        self.planner = ChangePlanner(
            stride=stride, key_tokens=grid_size**2, frame_tokens=1, budget=budget, change=change
        )
