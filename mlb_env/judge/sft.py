"""Trains a judge: supervised fine-tuning of a causal language model with LoRA on a training file (`sftdata.py`), after MLB's recipe.

The loss is on the answer alone. What is too long is left out and counted, never cut. The base model is a folder; the network is not used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from pydantic import Field

from ..errors import MlbError, RunError, UserError
from ..spec.base import Lang, Model
from .agreement import Pair, estimates
from .meaning import checked, fingerprint
from .reply import Ruling, read
from .sftdata import Example, read_examples

PACKAGES = ("mlb-env", "torch", "transformers", "peft", "trl", "datasets")
NOTICE = ("Research use only: no medical device, not for decisions about patients. The figures are of the validation split, dialogues of the same "
          "origin as those trained on; measure the judge on labels that it has not seen (mlb judge agree) before its verdicts count.")  # fmt: skip
IGNORED = -100  # a label without loss
REPLY = 256  # tokens of an answer while validating


class Settings(Model):
    """How to train. `targets`: the layers with an adapter, "all-linear" or names joined by commas. `max_length`: tokens of one example."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)
    dropout: float = Field(0.05, ge=0, lt=1)
    targets: str = Field("all-linear", min_length=1)
    epochs: float = Field(3, gt=0)
    learning_rate: float = Field(1e-4, gt=0)
    batch: int = Field(1, ge=1)
    accumulation: int = Field(16, ge=1)
    max_length: int = Field(8192, ge=16)
    checkpointing: bool = True
    seed: int = Field(0, ge=0, lt=2**32)


class Data(Model):
    """What was trained on. `too_long`: examples left out. `all_turns`: answers whose evidence nobody named."""

    sha256: str
    dialogues: int
    train: int
    validation: int
    met: int
    unmet: int
    langs: tuple[Lang, ...]
    too_long: int
    all_turns: int


class Figures(Model):
    """Of the validation split. `decided`: answers in which the judge would read met or unmet; accuracy and kappa are of these."""

    questions: int
    loss: float
    decided: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    kappa: float | None
    f1: float | None


class Training(Model):
    """training.json. `config_sha256`: of the base model's config.json. `prompts`: as in the names of judges, llm:MODEL@PROMPT."""

    format: Literal["mlb-judge-sft/1"] = "mlb-judge-sft/1"
    notice: str = NOTICE
    base_model: str
    config_sha256: str
    data: Data
    prompts: dict[Lang, str]
    settings: Settings
    device: str
    precision: Literal["bfloat16", "float32"]
    steps: int
    seconds: Annotated[float, Field(ge=0)]
    train_loss: float
    before: Figures | None
    after: Figures | None
    merged: bool
    versions: dict[str, str]


def train(data: Path, model: Path, out: Path, settings: Settings, *, merge: bool = False, say: Callable[[str], None] = lambda _: None) -> Training:
    """Train an adapter and write `out`: adapter/, training.json, README.md, and merged/ where asked.

    Args:
        model: folder of a causal language model with a chat template, in transformers' format.

    Raises:
        UserError: the extra is missing, or something given cannot be used; nothing has been written then.
        RunError: the memory does not do, or the loss is no number.
    """
    require()
    if out.exists():
        raise UserError(f"'{out}' is there already; name a new folder")
    if not (model / "config.json").is_file():
        raise UserError(f"'{model}' is no folder with a model (no config.json); download the model first and name its folder")
    examples = read_examples(data)
    base = _Base(model)
    say(f"{base.name}: {base.device}, {base.precision}")
    coded = [(e, base.coded(e)) for e in examples]
    longest = min(settings.max_length, base.context or settings.max_length)
    fitting = [(e, c) for e, c in coded if len(c["input_ids"]) <= longest]
    if not any(e.split == "train" for e, _ in fitting):
        shortest = min(len(c["input_ids"]) for e, c in coded if e.split == "train")
        raise UserError(f"no example fits in {longest} tokens (--max-length, or what the model takes); the shortest has {shortest}")
    if len(fitting) < len(coded):
        say(f"{len(coded) - len(fitting)} of {len(coded)} examples are longer than {longest} tokens and left out")
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"'{out}' cannot be written ({error.strerror})") from None
    try:
        return _run(base, fitting, out, settings, merge, say, Data(
            sha256=hashlib.sha256(data.read_bytes()).hexdigest(), dialogues=len({e.dialogue for e, _ in fitting}),
            train=sum(e.split == "train" for e, _ in fitting), validation=sum(e.split == "validation" for e, _ in fitting),
            met=sum(e.label == "met" for e, _ in fitting), unmet=sum(e.label == "unmet" for e, _ in fitting),
            langs=tuple(sorted({e.lang for e, _ in fitting})), too_long=len(coded) - len(fitting),
            all_turns=sum(e.evidence == "all" for e, _ in fitting),
        ))  # fmt: skip
    finally:
        if not any(out.iterdir()):
            out.rmdir()


def require() -> None:
    """Raises UserError where the extra is not installed."""
    if missing := [p for p in PACKAGES[1:] if importlib.util.find_spec(p) is None]:
        raise UserError(f"training a judge needs {', '.join(missing)}: pip install 'mlb-env[sft]'")


class _Base:
    """The base model and its tokenizer."""

    def __init__(self, folder: Path) -> None:
        # both are read at the first import: without them trl reports every start to its makers, and a folder's gaps are looked for on the hub
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        with _plain(f"the model in '{folder}' cannot be used"):
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer

            self.name = folder.resolve().name
            self.config_sha256 = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            if self.tokenizer.chat_template is None:
                raise UserError(f"the model in '{folder}' has no chat template, so it cannot be served as a judge; take one made for chat")
            if self.tokenizer.eos_token is None:
                raise UserError(f"the tokenizer in '{folder}' has no end-of-sequence token; a judge could not end its answer")
            if self.tokenizer.pad_token is None:
                self.tokenizer.pad_token = self.tokenizer.eos_token
            cuda = torch.cuda.is_available()
            self.precision: Literal["bfloat16", "float32"] = "bfloat16" if cuda and torch.cuda.is_bf16_supported() else "float32"
            self.device: str = torch.cuda.get_device_name(0) if cuda else "CPU"
            self.model: Any = AutoModelForCausalLM.from_pretrained(str(folder), local_files_only=True, dtype=getattr(torch, self.precision))
            self.context: int | None = getattr(self.model.config, "max_position_embeddings", None)

    def asked(self, example: Example) -> list[int]:
        """The tokens of the question, up to where the model answers: what an OpenAI-compatible server makes of it."""
        return self._template([m.model_dump() for m in example.messages[:-1]], begin=True)

    def coded(self, example: Example) -> dict[str, list[int]]:
        """The tokens of an example, and which of them the loss is on: the answer with its end.

        Raises:
            UserError: the chat template takes no system message, or changes the question once it is answered.
        """
        asked = self.asked(example)
        whole = self._template([m.model_dump() for m in example.messages], begin=False)
        if whole[: len(asked)] != asked:
            raise UserError("the model's chat template words a question differently once it is answered; a judge cannot be trained with it")
        if self.tokenizer.eos_token_id not in whole[len(asked) :]:
            whole = [*whole, self.tokenizer.eos_token_id]
        return {"input_ids": whole, "labels": [IGNORED] * len(asked) + whole[len(asked) :]}

    def _template(self, messages: list[dict[str, str]], *, begin: bool) -> list[int]:
        with _plain("the model's chat template refuses the judge's messages"):
            made = self.tokenizer.apply_chat_template(messages, add_generation_prompt=begin, tokenize=True, return_dict=True)
        return list(made["input_ids"])

    def answer(self, model: Any, example: Example) -> str:
        """What a model answers at temperature 0."""
        import torch
        from transformers import GenerationConfig

        asked = self.asked(example)
        ends = model.generation_config.eos_token_id
        ends = {self.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends] if ends is not None else [])}
        how = GenerationConfig(max_new_tokens=REPLY, do_sample=False, eos_token_id=sorted(ends), pad_token_id=self.tokenizer.pad_token_id)
        tokens = torch.tensor([asked], device=model.device)
        with torch.no_grad():
            made = model.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), generation_config=how)
        return str(self.tokenizer.decode(made[0][len(asked) :], skip_special_tokens=True))


def _run(
    base: _Base, fitting: Sequence[tuple[Example, dict[str, list[int]]]], out: Path, settings: Settings, merge: bool,
    say: Callable[[str], None], data: Data,
) -> Training:  # fmt: skip
    from transformers import set_seed

    set_seed(settings.seed)  # of the adapter's first weights
    kept = [e for e, _ in fitting if e.split == "validation"]
    with TemporaryDirectory() as scratch, _plain("the training failed", RunError):
        trainer = _trainer(base, fitting, scratch, settings, say)
        before = _measured(base, trainer, kept)
        if before is not None:
            say(f"before   {_worded(before)}")
        started = time.monotonic()
        done = trainer.train()
        seconds = round(time.monotonic() - started, 1)
        if not math.isfinite(done.training_loss):
            raise RunError("the training diverged (the loss is no number); try a smaller --learning-rate")
        trainer.model.save_pretrained(str(out / "adapter"))
        base.tokenizer.save_pretrained(str(out / "adapter"))
        after = _measured(base, trainer, kept)
        if after is not None:
            say(f"after    {_worded(after)}")
        made = Training(
            base_model=base.name, config_sha256=base.config_sha256, data=data, prompts={lang: fingerprint(lang) for lang in data.langs}, settings=settings,
            device=base.device, precision=base.precision, steps=done.global_step, seconds=seconds, train_loss=round(done.training_loss, 6),
            before=before, after=after, merged=merge, versions=_versions(),
        )  # fmt: skip
        folders = [out, out / "adapter"]
        if merge:
            trainer.model.merge_and_unload().save_pretrained(str(out / "merged"))
            base.tokenizer.save_pretrained(str(out / "merged"))
            folders.append(out / "merged")
    for folder in folders:
        _write(folder / "README.md", card(made))
    _write(out / "training.json", json.dumps(made.model_dump(mode="json"), ensure_ascii=False, indent=1) + "\n")  # last: what is there is whole
    return made


def _trainer(
    base: _Base, fitting: Sequence[tuple[Example, dict[str, list[int]]]], scratch: str, settings: Settings, say: Callable[[str], None]
) -> Any:  # fmt: skip
    """trl's trainer with the adapter in place."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Telling(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                say(f"step {state.global_step} of {state.max_steps}: loss {float(logs['loss']):.4f}")

    parts = {split: [c for e, c in fitting if e.split == split] for split in ("train", "validation")}
    targets: Any = settings.targets if settings.targets == "all-linear" else [t.strip() for t in settings.targets.split(",")]
    trainer = SFTTrainer(
        model=base.model, processing_class=base.tokenizer, train_dataset=Dataset.from_list(parts["train"]),
        eval_dataset=Dataset.from_list(parts["validation"]) if parts["validation"] else None,
        peft_config=LoraConfig(r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets, task_type="CAUSAL_LM"),
        args=SFTConfig(
            output_dir=scratch, save_strategy="no", eval_strategy="no", report_to="none", logging_steps=max(1, _steps(parts["train"], settings) // 20),
            disable_tqdm=True, num_train_epochs=settings.epochs, learning_rate=settings.learning_rate, lr_scheduler_type="cosine", warmup_steps=0.03,
            per_device_train_batch_size=settings.batch, per_device_eval_batch_size=settings.batch, gradient_accumulation_steps=settings.accumulation,
            gradient_checkpointing=settings.checkpointing, bf16=base.precision == "bfloat16", seed=settings.seed, data_seed=settings.seed,
            max_length=None, packing=False, dataloader_pin_memory=torch.cuda.is_available(),
        ),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Telling())
    return trainer


def _steps(examples: Sequence[object], settings: Settings) -> int:
    return math.ceil(len(examples) / (settings.batch * settings.accumulation) * settings.epochs)


def _measured(base: _Base, trainer: Any, kept: Sequence[Example]) -> Figures | None:
    """The validation split, asked and read as the judge of meaning does it, but once only."""
    if not kept:
        return None
    loss = float(trainer.evaluate()["eval_loss"])
    model = trainer.model
    model.eval()
    pairs: list[Pair] = []
    for example in kept:
        found = checked(read(base.answer(model, example)), example.turns, example.kind)
        if isinstance(found, Ruling) and found.verdict != "not_applicable":
            pairs.append(Pair(example.dialogue, example.label == "met", found.verdict == "met"))
    figures = estimates(pairs)
    accuracy = figures["accuracy"]
    return Figures(questions=len(kept), loss=round(loss, 6), decided=len(pairs), accuracy=accuracy.value, accuracy_low=accuracy.low,
                   accuracy_high=accuracy.high, kappa=figures["kappa"].value, f1=figures["F1"].value)  # fmt: skip


def _worded(found: Figures) -> str:
    accuracy, kappa = ("–" if v is None else f"{v:.3f}" for v in (found.accuracy, found.kappa))
    return f"validation loss {found.loss:.4f}; {found.decided} of {found.questions} decided, accuracy {accuracy}, kappa {kappa}"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def card(made: Training) -> str:
    """The model card."""
    data, how = made.data, made.settings
    validated = "No validation split was kept." if made.after is None or made.before is None else (
        f"- before training: {_worded(made.before)}\n- after training: {_worded(made.after)}")  # fmt: skip
    return f"""# A judge of medical dialogues, fine-tuned from {made.base_model}

{made.notice}

LoRA adapter trained with `mlb judge sft` for the judge `llm:MODEL` of mlb-env: one criterion a call, answered with one JSON object.

- data: {data.train} examples trained on, {data.validation} kept for validation, from {data.dialogues} dialogues ({', '.join(data.langs)}); {data.met} met, {data.unmet} unmet;
  {data.too_long} left out as too long; {data.all_turns} with all turns as evidence because nobody named any; sha256 of the file {data.sha256}
- prompts: {', '.join(f'{lang} {digest}' for lang, digest in made.prompts.items())}
- LoRA: rank {how.rank}, alpha {how.alpha:g}, dropout {how.dropout:g}, {how.targets}
- training: {how.epochs:g} epochs ({made.steps} steps), learning rate {how.learning_rate:g}, batch {how.batch} x {how.accumulation}, seed {how.seed}, {made.precision} on {made.device}

Validation:

{validated}

The labels are met and unmet only: the judge has not learned to say that a criterion does not apply.
Versions: {', '.join(f'{name} {number}' for name, number in made.versions.items())}
"""


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise RunError(f"'{path}' cannot be written ({error.strerror})") from None


@contextmanager
def _plain(what: str, kind: type[MlbError] = UserError) -> Iterator[None]:
    """What the libraries raise, as one sentence: they raise anything, for a broken file as for an unknown architecture."""
    try:
        yield
    except (MlbError, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "out of memory" in str(error).lower():
            raise RunError(f"{what}: the memory does not do; smaller --batch or --max-length, or a smaller model ({first})") from error
        raise (UserError if isinstance(error, ValueError) else kind)(f"{what}: {first}") from error
