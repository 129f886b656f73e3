"""The question as queries, for tokenisers whose tokens depend on it."""

from torch import Tensor, nn

from vtok.tokeniser import Tokeniser


class QuestionEncoder(nn.Module):
    """A query for each word of a question: a linear function of its normalised input embedding.

    Embeddings are normalised because those of a language model are small, and of different sizes in different ones.

    Args:
        width: width D of the language model's embeddings.
        query_dim: width C of the queries, that of the backbone's features.
    """

    def __init__(self, *, width: int, query_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, query_dim)

    def forward(self, words: Tensor) -> Tensor:
        """Embeddings (B, N, D) -> queries (B, N, C)."""
        return self.project(self.norm(words.float()))


def question_encoder_of(tokeniser: Tokeniser, *, width: int) -> QuestionEncoder | None:
    """The encoder of the questions that a tokeniser reads; None if it reads none."""
    if not tokeniser.reads_question:
        return None
    return QuestionEncoder(width=width, query_dim=tokeniser.backbone.feature_dim)
