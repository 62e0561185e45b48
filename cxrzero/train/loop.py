"""The training loop, top to bottom. It does not know how a batch is drawn, a gradient made, a bundle written.

prepare ─► for each batch: rate ─► gradient ─► step ─► average ─► metrics ─► (validate) ─► (save) ─► (finish) ─► export
"""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cxrzero.display.counts import counted
from cxrzero.errors import OutputError, ReaderGoneError, TrainingError, WriteError
from cxrzero.files import cannot_write
from cxrzero.registry.trainingrun import RUN_JSON
from cxrzero.train.data.batches import Batch, step_seed
from cxrzero.train.distributed import World, join
from cxrzero.train.finish import asked, finish
from cxrzero.train.interrupt import Interrupt
from cxrzero.train.material import Material
from cxrzero.train.measure import metricslog
from cxrzero.train.measure.curves import write_curves
from cxrzero.train.measure.validation import Validation
from cxrzero.train.measure.verdict import judge
from cxrzero.train.model import checkpoint
from cxrzero.train.model.export import export_run
from cxrzero.train.model.weights import train_mode
from cxrzero.train.options import TrainOptions
from cxrzero.train.prepare import prepare
from cxrzero.train.progress import OnProgress, Progress
from cxrzero.train.provenance import public_validation
from cxrzero.train.runfolder import RunFolder
from cxrzero.train.state import Best, TrainingState
from cxrzero.train.step.backward import Encoders, backward
from cxrzero.train.step.optimise import clip_gradients, make_average, make_optimiser, rate_at, set_rate
from cxrzero.train.step.repeatable import in_any_order, repeatable

MAX_SKIPPED = 5  # steps whose loss was not finite
SPEED_STEPS = 20  # over which images/s is taken


def run(options: TrainOptions, on_progress: OnProgress | None = None, resume: bool = False) -> Path:
    """See `cxrzero.train.train` and `cxrzero.train.resume`."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    with join(options.device) as world:
        report = on_progress if on_progress is not None and world.main else lambda _: None
        folder = RunFolder(options.out)
        try:
            with repeatable(world.device):
                material = prepare(options, folder, world, report, resume)
                with Interrupt() as interrupt:
                    _Trainer(material, report, interrupt).fit()
            if world.main:
                report(Progress("export", material.steps, material.steps, options.epochs))
                verdict = judge(metricslog.read(folder.path))
                export_run(
                    folder,
                    material.start,
                    options,
                    verdict.learned,
                    lambda text: report(Progress("note", message=text)),
                )
                write_curves(folder.path, verdict.lines)
                for line in verdict.lines:
                    report(Progress("note", message=line))
            world.wait()
        except torch.OutOfMemoryError as error:
            raise TrainingError(_too_large(options, folder, world)) from error
        except ReaderGoneError:  # nobody hears of the progress, nor of its end
            raise
        except (WriteError, OSError) as error:  # a full disk, say, wherever it is met
            said = cannot_write(error.filename or folder.path, error) if isinstance(error, OSError) else error
            advice = f"What was saved is kept; make room, then continue with --resume {folder.path}"
            raise OutputError(f"{said}. {advice}") from error
        finally:
            folder.release()
    return options.out


def _too_large(options: TrainOptions, folder: RunFolder, world: World) -> str:
    share = options.micro_batch or math.ceil(options.batch_size / world.size)
    advice = f"give --micro-batch {max(1, share // 2)}, which computes the same loss in parts"
    if share == 1:
        advice = "train a smaller model or smaller images, or with --device cpu"
    elif (folder.path / RUN_JSON).exists():
        advice = f"continue with --resume {folder.path} --micro-batch {max(1, share // 2)}: the same loss in parts"
    images = counted(share, "image in one pass is", "images in one pass are")
    return f"{images} more than fits into the memory of {world.device}; {advice}"


@dataclass(frozen=True)
class _Stepped:
    """One optimiser step: the loss, the gradient's norm before clipping, and whether it was taken."""

    loss: float
    norm: float
    taken: bool


class _Trainer:
    def __init__(self, material: Material, report: OnProgress, interrupt: Interrupt) -> None:
        self._material, self._report, self._interrupt = material, report, interrupt
        self._options, self._world, self._folder = material.options, material.world, material.folder
        model = material.start.model.to(self._world.device)
        self._state = TrainingState(
            model, make_optimiser(model, self._options), make_average(model, self._options.ema_decay)
        )
        bf16 = self._options.precision == "bf16"
        self._encoders = Encoders(model, material.prepare_pixels, self._world.device, bf16)
        self._times: deque[float] = deque(maxlen=SPEED_STEPS + 1)
        self._saved_at = time.monotonic()

    def fit(self) -> None:
        """Train from where the last checkpoint stopped to the end."""
        keep = self._restore()
        with _log(self._material, keep, self._state.step) as log:
            self._times.append(time.monotonic())
            train_mode(self._state.model, self._options.freeze)
            if self._state.step == 0:
                self._measure(log)  # what the start can do already, for comparison
            for batch in self._material.batches.starting_at(self._state.step):
                if self._exhausted():
                    break
                self._take(batch, log)
                validated = self._state.step in self._material.validation_steps
                if validated:
                    self._validate(log)
                self._save_if_due(log, due=validated)
            if self._exhausted():
                fruitless = counted(self._state.stale, "validation")
                self._note(f"Stopped early at step {self._state.step:,}: {fruitless} in a row brought nothing better.")
            if asked(self._options) and log is not None:
                self._finish(log)

    def _take(self, batch: Batch, log: metricslog.MetricsLog | None) -> None:
        state, options = self._state, self._options
        rate = rate_at(batch.step, self._material.steps, self._material.lr, options)
        set_rate(state.optimiser, rate)
        stepped = in_any_order(lambda: self._step(batch), self._note)
        if not stepped.taken:
            self._skip(batch, stepped)
        state.step = batch.step + 1
        self._times.append(time.monotonic())
        speed = (len(self._times) - 1) * options.batch_size / max(1e-9, self._times[-1] - self._times[0])
        epoch = state.step // self._material.batches.steps_per_epoch
        if log is not None:
            log.write(
                {
                    "step": state.step,
                    "epoch": epoch,
                    "loss": stepped.loss if stepped.taken else None,
                    "lr": rate,
                    "logit_scale": state.model.logit_scale.exp().item(),
                    "gradient_norm": stepped.norm if stepped.taken else None,
                    "images_per_second": round(speed, 1),
                }
            )
        left = (self._material.steps - state.step) * options.batch_size / speed
        self._report(Progress("step", state.step, self._material.steps, epoch, stepped.loss, speed, left))

    def _step(self, batch: Batch) -> _Stepped:
        state, options = self._state, self._options
        torch.manual_seed(step_seed(options.seed, batch.step, self._world.rank))
        state.optimiser.zero_grad(set_to_none=True)
        statistics = [buffer.clone() for buffer in state.model.buffers()]
        taken = False
        try:
            loss = backward(self._encoders, batch, self._world, options.micro_batch, options.loss).item()
            norm = clip_gradients(state.model, options.grad_clip) if math.isfinite(loss) else math.nan
            taken = math.isfinite(norm)
        finally:
            if not taken:  # the forward pass counted the batch in the running statistics: NaN would stay for ever
                for buffer, before in zip(state.model.buffers(), statistics, strict=True):
                    buffer.copy_(before)
        if not taken:
            return _Stepped(loss, norm, False)
        state.optimiser.step()
        with torch.no_grad():
            state.model.logit_scale.clamp_(0, math.log(options.max_logit_scale))
        if state.averaged is not None:
            state.averaged.update_parameters(state.model)
        return _Stepped(loss, norm, True)

    def _skip(self, batch: Batch, stepped: _Stepped) -> None:
        """A step whose loss or gradient is not finite changes nothing; its files are kept; too many end the run."""
        self._state.skipped += 1
        what = f"the loss {stepped.loss}" if not math.isfinite(stepped.loss) else f"the gradient norm {stepped.norm}"
        place = f"nonfinite-{batch.step:08}.json in the run folder names its images"
        if self._world.main:
            names = [self._material.pairs.images[i] for i in batch.images]
            self._folder.note_nonfinite(batch.step, stepped.loss, names)
        if self._state.skipped > MAX_SKIPPED:
            raise TrainingError(
                f"step {batch.step} has {what}, and {MAX_SKIPPED} steps were skipped for the same reason; lower --lr, "
                f"or look at the images: {place}"
            )
        self._note(f"Step {batch.step:,} has {what} and was skipped; {place}.")

    def _note(self, message: str) -> None:
        self._report(Progress("note", message=message))

    def _validate(self, log: metricslog.MetricsLog | None) -> None:
        """Measure, and keep the weights if they are among the best."""
        self._world.spread_buffers(self._state.model)
        found, step = self._measure(log), self._state.step
        # Without anything to measure on, the newest is the best.
        score = found.score if found.score is not None else float(step)
        best = Best(step, f"best-{step:08}.pt", score, public_validation(found.to_dict()))
        kept = self._state.note(best, max(self._options.keep, self._options.ensemble))
        if kept and log is not None:
            checkpoint.save(self._folder.checkpoint(best.file), self._material.weights(self._state, found))

    def _measure(self, log: metricslog.MetricsLog | None) -> Validation:
        """Measure in the first process alone; all learn of it."""
        found = self._world.from_main(self._material.validator(self._state.result) if self._world.main else None)
        assert isinstance(found, Validation)
        self._tell(found, log)
        return found

    def _tell(self, found: Validation, log: metricslog.MetricsLog | None, **facts: Any) -> None:
        """Log what was measured, with more facts, and report it."""
        step, total = self._state.step, self._material.steps
        epoch = step // self._material.batches.steps_per_epoch
        measured = {} if found.score is None else {"validation": found.to_dict()}
        if log is not None and (measured or facts):
            log.write({"step": step, "epoch": epoch, **facts, **measured})
        if measured:
            self._report(
                Progress(
                    "validate",
                    step,
                    total,
                    epoch,
                    auroc=_auroc(found),
                    recall=found.recall,
                    recall_chance=found.luck.chance if found.luck else None,
                )
            )

    def _finish(self, log: metricslog.MetricsLog) -> None:
        """Change the checkpoints that will be exported; the other processes go ahead and wait."""
        options = " and ".join(f"--{name}" for name in asked(self._options))
        self._note(f"The films of {options} go through the image encoder.")
        model = copy.deepcopy(self._state.result)
        for place, best in enumerate(self._state.best[: max(1, self._options.ensemble)]):
            finished = finish(model, self._folder.checkpoint(best.file), self._material, self._pause)
            if place == 0:
                for sentence in finished.sentences():
                    self._note(sentence)
                self._tell(finished.validation, log, **finished.numbers())

    def _pause(self) -> None:
        if self._interrupt.requested:
            self._stop()

    def _stop(self) -> None:
        self._note(f"Saved step {self._state.step:,}. Go on with: cxrzero train --resume {self._folder.path}")
        raise KeyboardInterrupt

    def _save_if_due(self, log: metricslog.MetricsLog | None, due: bool) -> None:
        options, waited = self._options, time.monotonic() - self._saved_at
        due = due or (options.save_every is not None and self._state.step % options.save_every == 0)
        if not self._world.any(due or self._interrupt.requested or waited > 60 * options.save_minutes):
            return
        self._world.spread_buffers(self._state.model)
        if log is not None:
            checkpoint.save(self._folder.last, self._state.to_dict() | {"metrics_bytes": log.position()})
            self._folder.drop_checkpoints({best.file for best in self._state.best})
        self._saved_at = time.monotonic()
        if self._world.any(self._interrupt.requested):
            self._stop()

    def _exhausted(self) -> bool:
        return self._options.patience is not None and self._state.stale >= self._options.patience

    def _restore(self) -> int:
        """Go back to the last checkpoint, if there is one; bytes of the metrics that belong to it."""
        if not self._folder.last.exists():
            return 0
        saved = checkpoint.load(self._folder.last)
        keep = int(saved.pop("metrics_bytes"))
        self._state.restore(saved)
        self._world.wait()
        if self._world.main:
            self._folder.drop_checkpoints({best.file for best in self._state.best})
        return keep


class _NoLog:
    """Keep no log, in the processes that do not write."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def _log(material: Material, keep: int, step: int) -> metricslog.MetricsLog | _NoLog:
    return metricslog.MetricsLog(material.folder.path, keep, step) if material.world.main else _NoLog()


def _auroc(found: Validation) -> tuple[float, float, float] | None:
    if found.auroc is not None or found.statement_auroc is None:
        return found.auroc
    return (found.statement_auroc, float("nan"), float("nan"))
