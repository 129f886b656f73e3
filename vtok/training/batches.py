"""The training batches of a run, new or resumed."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import DataLoader

from vtok.common.distributed import rank, world_size
from vtok.common.errors import UserError
from vtok.data import Clip, ClipDataset, DataSource, LoaderSettings
from vtok.data.worker import ignore_stop_signals, start_method
from vtok.decoder import Decoder
from vtok.model import VideoLanguageModel
from vtok.model.batch import Batch
from vtok.training.loop import Start
from vtok.training.sequences import ReturnErrors, make_collate
from vtok.training.trainer import Trainer


def training_batches(
    *,
    trainer: Trainer,
    model: VideoLanguageModel,
    source: DataSource,
    loader: LoaderSettings,
    clips: Sequence[Clip],
    seed: int,
    start: Start,
) -> Iterator[Batch]:
    """Endless batches for this process, beginning with the one after `start`.

    Raises:
        UserError: a mistake that a worker process found.
    """
    target = model.decoder.target if model.decodes and isinstance(model.decoder, Decoder) else None
    reader = source.reader(model.tokeniser.planner.for_training(), target, seed=seed)
    collate = make_collate(
        model,
        questions_per_clip=trainer.questions_per_clip,
        yes_no_share=trainer.yes_no_share,
        seed=seed,
    )
    dataset = ClipDataset(
        clips,
        reader,
        seed=seed,
        replace_bad=True,
        reject_reason=collate.text_error,
        keep_bytes=0 if source.is_augmented else loader.memory_mb * 10**6 // max(1, loader.num_workers),
    )
    batches = DataLoader(
        ReturnErrors(dataset),
        batch_size=loader.batch_size,
        sampler=source.sampler(seed=seed, start=start.samples // world_size(), rank=rank(), world_size=world_size()),
        num_workers=loader.num_workers,
        collate_fn=collate,
        worker_init_fn=ignore_stop_signals,
        multiprocessing_context=start_method(loader.num_workers),
        pin_memory=trainer.uses_gpu,
        # Its own generator: the loader must not use up the run's random numbers.
        generator=torch.Generator().manual_seed(seed),
    )
    for batch in batches:
        if isinstance(batch, UserError):
            raise batch
        yield batch
