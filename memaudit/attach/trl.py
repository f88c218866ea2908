"""Trainings by TRL, or by transformers' own `Trainer`: a callback, and the examples that its batches hold.

Neither library is needed before something is attached.
"""

from collections.abc import Mapping
from typing import Any

from memaudit.attach.foreign import foreign
from memaudit.attach.reward import wrap_reward
from memaudit.attach.watch import Watch
from memaudit.backends.huggingface import Transformers
from memaudit.errors import BadInput

__all__ = ["audit_callback", "note_examples", "wrap_reward"]

_IDS = "memaudit_ids"  # under which a batch's ids travel


def audit_callback(watch: Watch, *, batch: int = 16) -> Any:
    """A `TrainerCallback` that looks at the model before the first step, after every so many, and after the last.

    Only the main process asks, `batch` probes at once; the others wait for it. The model is in eval mode meanwhile and
    is left as it was, and so is the state of every generator of random numbers. A training that goes on from a
    checkpoint goes on with its audit. When the training ends the documents are written.

    Raises BadInput where there is no transformers; when the training starts, where the trainer has no tokenizer or the
    model is divided among processes.
    """

    class AuditCallback(foreign("transformers", "memaudit[hf]").TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if state.is_world_process_zero:
                _check(args, given["model"])
                watch.begin(self._backend(**given), state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if not state.is_world_process_zero:
                return
            watch.note()
            if watch.due(state.global_step):
                # Behind the last step the best model may be brought back; this one is to be known whole.
                watch.look(
                    self._backend(**given), state.global_step, whole=state.global_step >= state.max_steps
                )

        def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if not state.is_world_process_zero:
                return
            best = state.best_global_step if args.load_best_model_at_end else None
            watch.look(self._backend(**given), best or state.global_step, whole=True)
            watch.finish()

        def _backend(self, *, model: Any, processing_class: Any, **_: Any) -> Transformers:
            # A processor of images and text has a tokenizer inside.
            tokenizer = getattr(processing_class, "tokenizer", processing_class)
            if tokenizer is None:
                raise BadInput("expected a trainer with a tokenizer, got none: set its `processing_class`")
            name = getattr(model.config, "_name_or_path", None) or "live"
            return Transformers(model, tokenizer, batch=batch, name=name)

    return AuditCallback()


def _check(args: Any, model: Any) -> None:
    divided = any(hasattr(p, "ds_id") or hasattr(p, "device_mesh") for p in model.parameters())
    if args.fsdp or divided:
        raise BadInput(
            "expected a model that each process holds whole, got one that is divided among them (FSDP, ZeRO-3): leave "
            "the callback out, save checkpoints, and put them to `memaudit audit`"
        )


def note_examples(trainer: Any, watch: Watch, columns: Mapping[str, str]) -> None:
    """Record from the batches that a trainer consumes which examples were shown, when and in which role.

    `columns` says in which column of the training set the ids stand, by role: ``{"target": "id"}`` in SFT,
    ``{"preferred": "chosen_id", "rejected": "rejected_id"}`` in DPO; they are those of the probes. For trainers whose
    batches are made of rows (SFT without packing, DPO, ...), and not for those that roll out. To be called once, before
    training.

    Raises BadInput where the trainer has no such column, or would throw it away.
    """
    if hasattr(trainer, "reward_funcs"):
        raise BadInput(
            "expected a trainer whose batches are made of rows, got one that rolls out: wrap its reward, and the "
            "journal tells which prompts were given"
        )
    there = trainer.train_dataset.column_names
    if missing := [column for column in columns.values() if column not in there]:
        raise BadInput(
            f"expected a column {missing[0]} in the training set, got {', '.join(there)}: add the ids of the "
            "examples, and do not pack"
        )
    if trainer.args.remove_unused_columns:
        raise BadInput(
            "expected a trainer that leaves the columns alone, got one that removes them: set "
            "remove_unused_columns=False"
        )
    collate, load, train = trainer.data_collator, trainer.get_train_dataloader, trainer.training_step

    def named(examples: list[dict[str, Any]]) -> Any:
        batch = collate(examples)
        batch[_IDS] = {role: [str(e[column]) for e in examples] for role, column in columns.items()}
        return batch

    def get_train_dataloader() -> Any:
        trainer.data_collator = (
            named  # for training alone: an evaluation's batches go to the model as they are
        )
        try:
            return load()
        finally:
            trainer.data_collator = collate

    def training_step(model: Any, inputs: Any, *more: Any, **options: Any) -> Any:
        shown = inputs.pop(_IDS)
        if trainer.accelerator.num_processes > 1:
            parts = foreign("accelerate.utils", "accelerate").gather_object([shown])
            shown = {role: [name for part in parts for name in part[role]] for role in columns}
        if trainer.is_world_process_zero():
            for role, ids in shown.items():
                watch.shown(trainer.state.global_step, role, ids)
        return train(model, inputs, *more, **options)

    trainer.get_train_dataloader, trainer.training_step = get_train_dataloader, training_step
