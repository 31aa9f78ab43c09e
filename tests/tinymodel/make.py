"""Makes tiny.gguf, the model of tests/test_realserver.py: a Llama of 0.17 million weights that speaks the tool protocol.

    python -m venv /tmp/tiny && /tmp/tiny/bin/pip install torch tokenizers gguf jinja2 numpy
    /tmp/tiny/bin/python tests/tinymodel/make.py [FILE]

Run by hand, about three minutes on two idle cores, no GPU; the tests need only the file. The seed fixes everything but the
last bits of torch's sums: another machine may make another file, which behaves alike.

It learns one rule for what to say next (`next_move`) from dialogues of random words, in English and Chinese:

    "wait" is offered and the last user message says wait or 等         call wait
    else, the first reply, or the last message is a tool's              ask a question, in the language of the dialogue
    else, one of close, submit_diagnosis, propose_tests is offered      call it, but before any tool was used
                                                                        list_slots or examine where they are offered
    else                                                                ask a question
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import gguf
import jinja2
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from torch.nn import functional as F  # noqa: N812

SEED, DIALOGUES, BATCH_TOKENS, VOCABULARY = 7, 19_000, 2560, 768
WIDTH, LAYERS, HEADS, HIDDEN, EPS, BASE, CONTEXT = 64, 3, 4, 128, 1e-5, 10000.0, 8192
TEMPLATE = Path(__file__).with_name("template.jinja").read_text(encoding="utf-8")
CONTROL = ["<|im_start|>", "<|im_end|>"]
TAGS = ["<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]

_WORDS = """the a an it is was has been my your I you he she and or but not no yes since for of to in on at with from this that
there here day days week weeks hour hours minute minutes morning night pain hurts head chest stomach back left right side bad
worse better doctor please can could do does have had get take took medicine drug tablet food fever cough blood heart breath feel
feels felt sleep eat test tests result results record records chart patient person person's name phone slot slots book booked
close open examine list diagnosis propose submit never always nothing anything something one two three four ten first last assist
assistant user system tool tools arguments"""
HAN = "我你他她的了是不没有在和也都就这那很疼痛头胃胸背药吃天夜早晚上下左右大小医生您请能吗呢吧要会过敏检查说话看感觉好坏多少出血发热咳嗽"
_OTHERS = """verify_identity search_records read_record book_appointment escalate flag_discrepancy propose_test draft_prescription
propose_action write_record"""
WORDS, OTHERS = _WORDS.split(), _OTHERS.split()
ASK = {"en": ["Are you allergic to anything?", "Where does it hurt?", "Since when?", "How bad is it?"],
       "zh": ["您对什么过敏吗？", "哪里疼？", "什么时候开始的？", "有多严重？"]}  # fmt: skip
CALLS: dict[str, dict[str, Any]] = {
    "wait": {"minutes": 5},
    "list_slots": {"department": "general_practice"},
    "examine": {"region": "vitals"},
    "close": {"disposition": "D4", "department": "general_practice"},
    "submit_diagnosis": {"primary": {"name": "Migraine"}, "certainty": "possible"},
    "propose_tests": {"tests": []},
}
FIRST, LAST = ("list_slots", "examine"), ("close", "submit_diagnosis", "propose_tests")
Row = tuple[list[int], list[bool]]  # tokens, and which of them are to be learnt


def next_move(messages: list[dict[str, Any]], tools: list[str], lang: str, rng: Random) -> dict[str, Any]:
    """The assistant's next message: the rule of the head of this file."""
    last, name = messages[-1], ""
    if last["role"] == "user" and "wait" in tools and ("wait" in last["content"].lower() or "等" in last["content"]):
        name = "wait"
    elif last["role"] == "user" and any(m["role"] == "assistant" for m in messages):
        used = any(m["role"] == "tool" for m in messages)
        name = next((t for t in (LAST if used else FIRST + LAST) if t in tools), "")
    if name:
        return {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": name, "arguments": CALLS[name]}}]}
    return {"role": "assistant", "content": rng.choices(ASK[lang], (94, 2, 2, 2))[0]}


def word(rng: Random, lang: str) -> str:
    luck = rng.random()
    if luck < 0.02:
        return str(rng.randrange(10 ** rng.randint(1, 6)))
    if lang == "zh":
        return rng.choice(HAN) if luck < 0.7 else "".join(chr(rng.randrange(0x4E00, 0x9F00)) for _ in range(rng.randint(1, 4)))
    made = "".join(rng.choice("etaoinsrhldcumfpgwybvkxjqz") for _ in range(rng.randint(2, 10)))
    return rng.choice(WORDS) if luck < 0.7 else rng.choice([made, made, made.capitalize(), made[:2].upper()])


def sentence(rng: Random, lang: str, longest: int) -> str:
    words = [word(rng, lang) for _ in range(rng.randint(1, longest))]
    text = ("" if lang == "zh" else " ").join(w + (rng.choice(",.;:-/()\n\"'") if rng.random() < 0.08 else "") for w in words)
    return (text[0].upper() + text[1:] + rng.choice(".?!" if lang == "en" else "。？！")).replace("等", "").replace("wait", "")


def said(rng: Random, lang: str, longest: int) -> str:
    """What a user says; one in three times with the word that asks for a wait."""
    text = sentence(rng, lang, longest)
    if rng.random() < 0.35:
        at = rng.choice([0, len(text), text.find(" ") + 1])
        asked = rng.choice(
            ["等", "请等五分钟", "等一下"] if lang == "zh" else ["Wait, ", " wait ", " Please wait. ", " waiting "]
        )
        text = text[:at] + asked + text[at:]
    return text


def result(rng: Random, lang: str, longest: int) -> str:
    """A tool's answer: words, or rows of names and times."""
    if rng.random() < 0.5:
        return sentence(rng, rng.choice([lang, "en"]), longest)
    rows = [{word(rng, "en"): word(rng, lang), "at": f"2026-{rng.randint(10, 12)}-{rng.randint(10, 28)}T{rng.randint(10, 23)}:20:00"}
            for _ in range(rng.randint(0, 4))]  # fmt: skip
    return (
        json.dumps(rows, ensure_ascii=False)
        if rng.random() < 0.5
        else "\n".join(f"{a}-{b}" for r in rows for a, b in r.items())
    )


def dialogue(rng: Random) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(messages, tools) of a dialogue of up to seven replies that all follow the rule."""
    lang, longest = rng.choice(["en", "en", "zh"]), rng.choice([3] * 8 + [6] * 8 + [15] * 3 + [45])
    known = [rng.choice(some) for some in (["", "wait"], ["", *FIRST], ["", *LAST])]
    tools = rng.sample(OTHERS, rng.randint(0, 5)) + [t for t in known if t] if rng.random() < 0.9 else []
    rng.shuffle(tools)
    messages: list[dict[str, Any]] = []
    if rng.random() < 0.8:
        messages.append({"role": "system", "content": sentence(rng, lang, rng.choice([4] * 6 + [25] * 3 + [250]))})
    messages.append({"role": "user", "content": said(rng, lang, longest)})
    for _ in range(rng.choice([0, 0, 1, 1, 2, 2, 3, 4, 6])):
        messages.append(next_move(messages, tools, lang, rng))
        for call in messages[-1].get("tool_calls", ()):
            if rng.random() < 0.1:  # what a history holds for arguments that were cut
                call["function"]["arguments"] = {"malformed": json.dumps(call["function"]["arguments"])[: rng.randint(1, 20)]}
            messages.append({"role": "tool", "content": result(rng, lang, longest)})
        if messages[-1]["role"] == "assistant" or rng.random() < 0.1:
            messages.append({"role": "user", "content": said(rng, lang, longest)})
    messages.append(next_move(messages, tools, lang, rng))
    return messages, [{"type": "function", "function": {"name": t}} for t in tools]


def tokenizer_of(texts: list[str]) -> Tokenizer:
    """GPT-2's byte-level BPE."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=CONTROL + TAGS,
                                                        initial_alphabet=alphabet, show_progress=False))  # fmt: skip
    return made


def row(ids: list[int], tokenizer: Tokenizer) -> Row:
    """What is learnt: the replies after the last list of tools (before, the list stood elsewhere), except cut arguments."""
    head, end, shown = tokenizer.encode("<|im_start|>assistant\n").ids, *map(tokenizer.token_to_id, ("<|im_end|>", "</tools>"))
    mask = [False] * len(ids)
    for at in range(ids.index(shown) if shown in ids else 0, len(ids)):
        if ids[at : at + len(head)] == head:
            reply = range(at + len(head), ids.index(end, at) + 1)
            good = "malformed" not in tokenizer.decode([ids[i] for i in reply])
            mask[reply.start : reply.stop] = [good] * len(reply)
    return ids, mask


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn_norm, self.ffn_norm = nn.RMSNorm(WIDTH, EPS), nn.RMSNorm(WIDTH, EPS)
        self.attn_q, self.attn_k, self.attn_v, self.attn_output = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.ffn_gate, self.ffn_up = nn.Linear(WIDTH, HIDDEN, bias=False), nn.Linear(WIDTH, HIDDEN, bias=False)
        self.ffn_down = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        def rotated(x: torch.Tensor) -> torch.Tensor:  # rotary positions over neighbouring pairs, as llama.cpp has them
            a, b = x[..., ::2], x[..., 1::2]
            return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)

        n = self.attn_norm(x)
        q, k, v = (f(n).unflatten(-1, (HEADS, -1)).transpose(1, 2) for f in (self.attn_q, self.attn_k, self.attn_v))
        mixed = F.scaled_dot_product_attention(rotated(q), rotated(k), v, is_causal=True)
        x = x + self.attn_output(mixed.transpose(1, 2).flatten(2))
        n = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(n)) * self.ffn_up(n))


class Llama(nn.Module):
    """Parameters are named as in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.token_embd, self.output_norm = nn.Embedding(VOCABULARY, WIDTH), nn.RMSNorm(WIDTH, EPS)
        self.blk = nn.ModuleList(Block() for _ in range(LAYERS))
        for weights in self.parameters():
            if weights.dim() == 2:
                nn.init.normal_(weights, std=0.06)

    def forward(self, ids: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        angle = torch.arange(ids.shape[1])[:, None] * BASE ** (-torch.arange(0, WIDTH // HEADS, 2) / (WIDTH // HEADS))
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, angle.cos(), angle.sin())
        return self.output_norm(x[asked]) @ self.token_embd.weight.T


def train(model: Llama, rows: list[Row], rng: Random) -> None:
    """Batches hold rows of like length and about as many tokens: first the shorter third, from which the rule is learnt, then all."""
    batches: list[list[Row]] = [[]]
    for one in sorted(rows, key=lambda r: len(r[0])):
        if batches[-1] and len(one[0]) * (len(batches[-1]) + 1) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(one)
    short = batches[: len(batches) // 3]
    plan = rng.sample(short, len(short)) + rng.sample(batches, len(batches))
    inner = [p for p in model.blk.parameters() if p.dim() == 2]
    outer = [p for p in model.parameters() if all(p is not q for q in inner)]
    optimizers = [
        torch.optim.Muon(inner, 0.006, weight_decay=0.01),
        torch.optim.AdamW(outer, 0.003, (0.9, 0.98), weight_decay=0.0),
    ]
    began = time.monotonic()
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda n: min(1.0, (n + 1) / 40, 2.5 * (1 - n / len(plan)))) for o in optimizers
    ]
    for step, batch in enumerate(plan):
        width = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([i + [0] * (width - len(i)) for i, _ in batch])
        own = torch.tensor([m + [False] * (width - len(m)) for _, m in batch])[:, 1:]
        loss = F.cross_entropy(model(ids[:, :-1], own), ids[:, 1:][own])
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for changed in (*optimizers, *schedules):
            changed.step()
        if step % 100 == 0:
            print(f"{step:5d}/{len(plan)}  {loss.item():.4f}  {time.monotonic() - began:.0f} s", flush=True)


def write(path: Path, model: Llama, tokenizer: Tokenizer) -> None:
    out, spelled = gguf.GGUFWriter(path, "llama"), json.loads(tokenizer.to_str())["model"]
    tokens = sorted(spelled["vocab"], key=spelled["vocab"].__getitem__)
    kinds = {**dict.fromkeys(CONTROL, gguf.TokenType.CONTROL), **dict.fromkeys(TAGS, gguf.TokenType.USER_DEFINED)}
    for name, value in {
        "name": "tiny", "license": "Apache-2.0", "context_length": CONTEXT, "embedding_length": WIDTH, "block_count": LAYERS,
        "feed_forward_length": HIDDEN, "head_count": HEADS, "head_count_kv": HEADS, "layer_norm_rms_eps": EPS,
        "rope_dimension_count": WIDTH // HEADS, "rope_freq_base": BASE, "vocab_size": len(tokens), "chat_template": TEMPLATE,
        "tokenizer_model": "gpt2", "tokenizer_pre": "gpt-2", "token_list": tokens,
        "token_types": [kinds.get(t, gguf.TokenType.NORMAL) for t in tokens], "token_merges": [" ".join(m) for m in spelled["merges"]],
        "bos_token_id": tokens.index(CONTROL[0]), "eos_token_id": tokens.index(CONTROL[1]), "add_bos_token": False,
    }.items():  # fmt: skip
        getattr(out, f"add_{name}")(value)
    for name, weights in model.state_dict().items():
        out.add_tensor(name, (weights.half() if weights.dim() == 2 else weights).numpy())
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("tiny.gguf")
    rng = Random(SEED)
    torch.manual_seed(SEED)
    environment = jinja2.Environment()
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)  # jinja2's own escapes for HTML
    template = environment.from_string(TEMPLATE)
    texts = [
        template.render(messages=m, tools=t, add_generation_prompt=False) for m, t in (dialogue(rng) for _ in range(DIALOGUES))
    ]
    tokenizer, model = tokenizer_of(texts[:2000]), Llama()
    train(model, [row(e.ids, tokenizer) for e in tokenizer.encode_batch(texts)], rng)
    write(path, model, tokenizer)
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
