"""The page of vtok demo, made with gradio."""

import html
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from vtok.common.errors import UserError
from vtok.data import Clip
from vtok.data.video.common import BadVideoError
from vtok.demo.session import DemoAnswer, DemoRun
from vtok.model.video_language_model import DESCRIBE

log = logging.getLogger(__name__)

MOST_LISTED = 500
UPLOAD_LIMIT = "100mb"
NO_CLIP = "Choose a test clip, or upload a video."
LIKELIHOODS = "Likelihood of each choice (geometric mean of its tokens' probabilities)"
# Fonts of the system: the page loads nothing from another host.
THEME = gr.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
CSS = ".caption { font-size: 0.85rem; }"


def build_page(runs: Sequence[DemoRun], clips: Sequence[Clip]) -> gr.Blocks:
    """The page: a clip and a question on the left, a column of results for each run beside it.

    Args:
        runs: loaded runs, one or more.
        clips: test clips to choose from.
    """
    page = Page(runs, clips)
    # Files of gradio's own cache are deleted after an hour.
    with gr.Blocks(title="VTok", analytics_enabled=False, delete_cache=(600, 3600), fill_width=True) as blocks:
        page.lay_out()
    # All events share one queue: see `model` below.
    return blocks.queue(default_concurrency_limit=1)


class Page:
    """Components of the page, and the functions that its buttons call."""

    def __init__(self, runs: Sequence[DemoRun], clips: Sequence[Clip]) -> None:
        self.runs = runs
        self.clips = {clip.id: clip for clip in clips[:MOST_LISTED]}

    def lay_out(self) -> None:
        """Add the components and their events to the current `gr.Blocks`."""
        understands = any(run.understands for run in self.runs)
        generates, reconstructs = (
            any(getattr(run, name) for run in self.runs) for name in ("generates", "reconstructs")
        )
        listed = [(f"{clip.id}: {clip.caption}" if clip.caption else clip.id, clip.id) for clip in self.clips.values()]
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                chosen = gr.Dropdown(listed, value=None, label="Test clip", visible=bool(listed), elem_id="clip")
                upload = gr.File(label="Or a video of your own, up to 100 MB", file_types=["video"], height=140)
                shown = video("The clip that the model sees", name="clip", height=280)
                with gr.Group(visible=understands):
                    question = gr.Textbox(label="Question", value=DESCRIBE, max_length=2000, elem_id="question")
                    choices = gr.Textbox(
                        label="Choices, one on each line (optional)", lines=3, max_length=4000, elem_id="choices"
                    )
                    with gr.Row():
                        ask = gr.Button("Ask", variant="primary", elem_id="ask")
                        describe = gr.Button("Describe", elem_id="describe")
                    explain = gr.Button("Which tokens did the answer use?", elem_id="explain")
                with gr.Group(visible=generates):
                    sentence = gr.Textbox(
                        label="Sentence to generate a video from", max_length=2000, elem_id="sentence"
                    )
                    generate = gr.Button("Generate", elem_id="generate")
                reconstruct = gr.Button(
                    "Reconstruct the clip from its tokens", visible=reconstructs, elem_id="reconstruct"
                )
            columns = [self._column(run) for run in self.runs]
        answers = gr.State(None)
        tokens, texts, bars, whys, generated, rebuilt = (list(each) for each in zip(*columns, strict=True))
        clip = [chosen, upload]
        results = [answers, *texts, *bars, *whys]
        on(chosen.input, self.choose, clip, [upload, shown, *tokens, *results, *rebuilt])
        on(upload.upload, self.take_upload, [upload], [chosen, shown, *tokens, *results, *rebuilt])
        on(ask.click, self.ask, [*clip, question, choices], results)
        on(question.submit, self.ask, [*clip, question, choices], results)
        on(describe.click, self.describe, clip, results)
        on(explain.click, self.explain, [*clip, answers], whys)
        on(generate.click, self.generate, [sentence], generated)
        on(reconstruct.click, self.reconstruct, clip, rebuilt)

    def _column(self, run: DemoRun) -> tuple[Any, ...]:
        """The components of a run's results."""
        with gr.Column(scale=2, min_width=420):
            gr.Markdown(f"### {html.escape(run.name)}")
            gr.Markdown("Where its tokens come from", elem_classes="caption")
            tokens = picture("tokens")
            answer = gr.Textbox(label="Answer", visible=run.understands, interactive=False, elem_classes="answer")
            bars = no_bars()
            gr.Markdown("Which tokens the answer used", visible=run.understands, elem_classes="caption")
            why = picture("why", visible=run.understands)
            generated = video("Generated from the sentence", name="generate", visible=run.generates)
            rebuilt = video("Reconstructed from its tokens", name="reconstruct", visible=run.reconstructs)
        return tokens, answer, bars, why, generated, rebuilt

    def choose(self, chosen: str | None, upload: str | None) -> list[Any]:
        """Show a test clip, and forget the uploaded file and earlier results."""
        return [None, *self._shown(self._clip(chosen, None))]

    def take_upload(self, upload: str | None) -> list[Any]:
        """Show an uploaded video, and forget the chosen clip and earlier results."""
        return [None, *self._shown(self._clip(None, upload))]

    def ask(self, chosen: str | None, upload: str | None, question: str, choices: str) -> list[Any]:
        """The answers of the runs to a question, the likelihoods of its choices, and no explanations yet."""
        video = self._clip(chosen, upload)
        if not question.strip():
            raise UserError("question: it is empty. Type a question, or use Describe.")
        answers = [run.answer(video, question, choices.splitlines()) if run.understands else None for run in self.runs]
        texts = [None if one is None else one.text for one in answers]
        bars = [
            gr.Label(one.likelihoods, label=LIKELIHOODS, visible=True) if one and one.likelihoods else no_bars()
            for one in answers
        ]
        return [answers, *texts, *bars, *[None] * len(self.runs)]

    def describe(self, chosen: str | None, upload: str | None) -> list[Any]:
        """The answers to the request to describe the video."""
        return self.ask(chosen, upload, DESCRIBE, "")

    def explain(self, chosen: str | None, upload: str | None, answers: list[DemoAnswer | None] | None) -> list[Any]:
        """The pictures of which tokens the answers used."""
        if answers is None:
            raise UserError("answer: there is none yet. Use Ask or Describe first.")
        video = self._clip(chosen, upload)
        pairs = zip(self.runs, answers, strict=True)
        return [None if one is None else str(run.explain(video, one)) for run, one in pairs]

    def generate(self, sentence: str) -> list[Any]:
        """Videos generated from a sentence."""
        if not sentence.strip():
            raise UserError("sentence: it is empty. Type what the video shows.")
        return [str(run.generate(sentence)) if run.generates else None for run in self.runs]

    def reconstruct(self, chosen: str | None, upload: str | None) -> list[Any]:
        """The clip, decoded from its tokens."""
        video = self._clip(chosen, upload)
        return [str(run.reconstruct(video)) if run.reconstructs else None for run in self.runs]

    def _clip(self, chosen: str | None, upload: str | None) -> str | Clip:
        if upload:
            return upload
        if chosen is None:
            raise UserError(NO_CLIP)
        return self.clips[chosen]

    def _shown(self, video: str | Clip) -> list[Any]:
        """The clip, the pictures of its tokens, and empty results."""
        pictures = [str(run.draw_clip(video)) for run in self.runs]
        empty = [None] * len(self.runs)
        return [
            str(self.runs[0].show_clip(video)),
            *pictures,
            None,
            *empty,
            *[no_bars() for _ in empty],
            *empty,
            *empty,
        ]


def no_bars() -> gr.Label:
    return gr.Label(None, label=LIKELIHOODS, show_heading=False, visible=False)


def picture(name: str, *, visible: bool = True) -> gr.Image:
    # Gradio's label and buttons would cover the corners of the picture, and its share button sends it to another host.
    return gr.Image(
        type="filepath", interactive=False, show_label=False, buttons=[], visible=visible, elem_classes=name
    )


def video(label: str, *, name: str, visible: bool = True, height: int | None = None) -> gr.Video:
    return gr.Video(
        label=label, interactive=False, visible=visible, height=height, autoplay=True, loop=True, buttons=["download"],
        elem_classes=name,
    )  # fmt: skip


def on(event: Callable[..., Any], function: Callable[..., list[Any]], inputs: list[Any], outputs: list[Any]) -> None:
    """Call a function of the page at an event, one at a time over all events."""
    # A number of outputs of 1 is a value for gradio, not a list.
    event(
        lambda *given: unwrapped(function, given, len(outputs)),
        inputs, outputs, concurrency_id="model", concurrency_limit=1, show_progress="full",
    )  # fmt: skip


def unwrapped(function: Callable[..., list[Any]], given: tuple[Any, ...], number: int) -> Any:
    """The results of a function; a mistake of the user's is shown on the page.

    Raises:
        gr.Error: the message of a UserError, or for our own mistakes where to look.
    """
    try:
        results = function(*given)
    except BadVideoError as error:
        # The folder of an uploaded file says nothing to its owner.
        message = f"{Path(error.path).name}: {error.reason}."
    except UserError as error:
        message = str(error)
    except Exception as error:
        log.exception("The request failed.")
        message = f"The request failed ({type(error).__name__}). Look at the terminal of vtok demo for the reason."
    else:
        return results[0] if number == 1 else results
    raise gr.Error(html.escape(message), duration=None, print_exception=False)
