"""Makes tiny.gguf, the model of tests/test_realserver.py: a Llama of 0.2 million weights that speaks OpenAI's tool protocol.

    python -m venv /tmp/tiny && /tmp/tiny/bin/pip install torch tokenizers gguf jinja2
    /tmp/tiny/bin/python tests/tinymodel/make.py [tests/tinymodel/tiny.gguf]

About two minutes on two cores; a CPU build of torch does. Run by hand; the tests need only the file. The seed fixes everything
but the last bits of torch's sums, so another machine may make another file that behaves alike.

What it learns is one rule for what to say next (`next_move`), over dialogues of made-up words:

    tools offered and the last user message says "wait" or 等      call wait
    the first reply, or the last message is a tool result          ask a question, in the language of the dialogue
    else, the first of these that is offered                       call it
    (before any tool result: list_slots, examine,) close, submit_diagnosis, propose_tests
    else                                                           ask a question
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
import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from torch.nn import functional as F  # noqa: N812

SEED, VOCABULARY, CONTEXT = 7, 768, 8192
WIDTH, LAYERS, HEADS, HIDDEN, EPS, BASE = 64, 3, 4, 128, 1e-5, 10000.0
DIALOGUES, BATCH_TOKENS, EPOCHS = 19000, 4096, 1
TEMPLATE = Path(__file__).with_name("template.jinja").read_text(encoding="utf-8")
CONTROL, TAGS = ["<|im_start|>", "<|im_end|>"], ["<tools>", "</tools>", "<tool_call>", "</tool_call>",
                                                 "<tool_response>", "</tool_response>"]  # fmt: skip

WORDS = ["the", "a", "an", "it", "is", "was", "has", "been", "my", "your", "I", "you", "he", "she", "and", "or", "but", "not", "no", "yes", "since", "for", "of", "to", "in", "on", "at", "with", "from", "this", "that", "there", "here", "day", "days", "week", "weeks", "hour", "hours", "minute", "minutes", "morning", "night", "pain", "hurts", "head", "chest", "stomach", "back", "left", "right", "side", "bad", "worse", "better", "doctor", "please", "can", "could", "do", "does", "have", "had", "get", "take", "took", "medicine", "drug", "tablet", "food", "fever", "cough", "blood", "heart", "breath", "feel", "feels", "felt", "sleep", "eat", "test", "tests", "result", "results", "record", "records", "chart", "patient", "person", "person's", "name", "phone", "slot", "slots", "book", "booked", "close", "open", "examine", "list", "diagnosis", "propose", "submit", "never", "always", "nothing", "anything", "something", "one", "two", "three", "four", "ten", "first", "last", "assist", "assistant", "user", "system", "tool", "tools", "arguments"]
HAN = "我你他她的了是不没有在和也都就这那很疼痛头胃胸背药吃天夜早晚上下左右大小医生您请能吗呢吧要会过敏检查说话看感觉好坏多少出血发热咳嗽"
OTHERS = ["verify_identity", "search_records", "read_record", "book_appointment", "escalate", "flag_discrepancy", "propose_test", "draft_prescription", "propose_action", "write_record"]
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
STEPS = (("list_slots", "examine"), ("close", "submit_diagnosis", "propose_tests"))


def next_move(messages: list[dict[str, Any]], tools: list[str], lang: str, rng: Random) -> dict[str, Any]:
    """The assistant's next message: the rule of the head of this file."""
    last = messages[-1]
    steps = STEPS[1:] if any(m["role"] == "tool" for m in messages) else STEPS
    name = ""
    if last["role"] == "user" and "wait" in tools and ("wait" in last["content"].lower() or "等" in last["content"]):
        name = "wait"
    elif last["role"] == "user" and any(m["role"] == "assistant" for m in messages):
        name = next((t for step in steps for t in step if t in tools), "")
    if name:
        return {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": name, "arguments": CALLS[name]}}]}
    return {"role": "assistant", "content": rng.choices(ASK[lang], (94, 2, 2, 2))[0]}


# --- dialogues --------------------------------------------------------------------------------------------------------


def word(rng: Random, lang: str) -> str:
    match rng.random():
        case r if r < 0.02:
            return str(rng.randrange(10**rng.randint(1, 6)))
        case r if lang == "zh":
            return rng.choice(HAN) if r < 0.7 else "".join(chr(rng.randrange(0x4E00, 0x9F00)) for _ in range(rng.randint(1, 4)))
        case r if r < 0.7:
            return rng.choice(WORDS)
        case _:
            made = "".join(rng.choice("etaoinsrhldcumfpgwybvkxjqz") for _ in range(rng.randint(2, 10)))
            return rng.choice([made, made, made.capitalize(), made[:2].upper()])


def sentence(rng: Random, lang: str, longest: int) -> str:
    words = [word(rng, lang) for _ in range(rng.randint(1, longest))]
    text = ("" if lang == "zh" else " ").join(w + (rng.choice(",.;:-/()\n\"'") if rng.random() < 0.08 else "") for w in words)
    return (text[0].upper() + text[1:] + rng.choice(".?!" if lang == "en" else "。？！")).replace("等", "").replace("wait", "")


def said(rng: Random, lang: str, longest: int) -> str:
    """What a user says; one in three times with the word that asks for a wait."""
    text = sentence(rng, lang, longest)
    if rng.random() < 0.35:
        at = rng.choice([0, len(text), text.find(" ") + 1])
        asked = rng.choice(["等", "请等五分钟", "等一下"] if lang == "zh" else ["Wait, ", " wait ", " Please wait. ", " waiting "])
        text = text[:at] + asked + text[at:]
    return text


def result(rng: Random, lang: str, longest: int) -> str:
    """A tool's answer: words, or JSON and times."""
    lang = rng.choice([lang, "en"])
    if rng.random() < 0.5:
        return sentence(rng, lang, longest)
    rows = [{word(rng, "en"): word(rng, lang), "at": f"2026-{rng.randint(10, 12)}-{rng.randint(10, 28)}T{rng.randint(10, 23)}:20:00"}
            for _ in range(rng.randint(0, 4))]  # fmt: skip
    return json.dumps(rows, ensure_ascii=False) if rng.random() < 0.5 else "\n".join(f"{a}-{b}" for r in rows for a, b in r.items())


def dialogue(rng: Random) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(messages, tools) of a dialogue of up to seven replies that all follow the rule."""
    lang = rng.choice(["en", "en", "zh"])
    known = [rng.choice([[], ["wait"]]), rng.choice([[], ["list_slots"], ["examine"]]), rng.choice([[], *([t] for t in STEPS[1])])]
    tools = rng.sample(OTHERS, rng.randint(0, 5)) + [t for some in known for t in some] if rng.random() < 0.9 else []
    rng.shuffle(tools)
    longest = rng.choice([3] * 8 + [6] * 8 + [15] * 3 + [45])
    messages = [{"role": "system", "content": sentence(rng, lang, rng.choice([4] * 6 + [25] * 3 + [250]))}] if rng.random() < 0.8 else []
    messages.append({"role": "user", "content": said(rng, lang, longest)})
    for _ in range(rng.choice([0, 0, 1, 1, 2, 2, 3, 4, 6])):
        messages.append(next_move(messages, tools, lang, rng))
        for call in messages[-1].get("tool_calls", ()):
            if rng.random() < 0.1:  # what is sent for arguments that were cut
                call["function"]["arguments"] = {"malformed": json.dumps(call["function"]["arguments"])[: rng.randint(1, 20)]}
            messages.append({"role": "tool", "content": result(rng, lang, longest)})
        if messages[-1]["role"] == "assistant" or rng.random() < 0.1:
            messages.append({"role": "user", "content": said(rng, lang, longest)})
    messages.append(next_move(messages, tools, lang, rng))
    return messages, [{"type": "function", "function": {"name": t}} for t in tools]


# --- tokens -----------------------------------------------------------------------------------------------------------


def renderer() -> jinja2.Template:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(TEMPLATE)


def tokenizer_of(texts: list[str]) -> Tokenizer:
    """GPT-2's byte-level BPE."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    tags = [AddedToken(t, special=t in CONTROL, normalized=False) for t in CONTROL + TAGS]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=tags, initial_alphabet=alphabet, show_progress=False)
    )
    return made


def supervised(ids: list[int], tokenizer: Tokenizer) -> list[bool]:
    """Which tokens are the assistant's own, its <|im_end|> included; calls whose arguments were cut are no example."""
    end = tokenizer.token_to_id(CONTROL[1])
    head = tokenizer.encode("<|im_start|>assistant\n").ids
    shown = tokenizer.token_to_id("</tools>")
    mask, at = [False] * len(ids), ids.index(shown) if shown in ids else 0
    while at < len(ids):
        if ids[at : at + len(head)] == head:
            first, at = at + len(head), ids.index(end, at) + 1
            good = "malformed" not in tokenizer.decode(ids[first:at])
            mask[first:at] = [good] * (at - first)
        else:
            at += 1
    return mask


# --- the model --------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn_norm, self.ffn_norm = nn.RMSNorm(WIDTH, EPS), nn.RMSNorm(WIDTH, EPS)
        self.attn_q, self.attn_k, self.attn_v, self.attn_output = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.ffn_gate, self.ffn_up = nn.Linear(WIDTH, HIDDEN, bias=False), nn.Linear(WIDTH, HIDDEN, bias=False)
        self.ffn_down = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        n = self.attn_norm(x)
        q, k, v = (f(n).unflatten(-1, (HEADS, -1)).transpose(1, 2) for f in (self.attn_q, self.attn_k, self.attn_v))
        mixed = F.scaled_dot_product_attention(rotated(q, turn), rotated(k, turn), v, is_causal=True)
        x = x + self.attn_output(mixed.transpose(1, 2).flatten(2))
        n = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(n)) * self.ffn_up(n))


def rotated(x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotary positions over neighbouring pairs, as llama.cpp has them."""
    a, b, (cos, sin) = x[..., ::2], x[..., 1::2], turn
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Llama(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.token_embd, self.output_norm = nn.Embedding(vocabulary, WIDTH), nn.RMSNorm(WIDTH, EPS)
        self.blk = nn.ModuleList(Block() for _ in range(LAYERS))
        for weights in self.parameters():
            if weights.dim() == 2:
                nn.init.normal_(weights, std=0.06)

    def forward(self, ids: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        rate = BASE ** (-torch.arange(0, WIDTH // HEADS, 2) / (WIDTH // HEADS))
        angle = torch.arange(ids.shape[1])[:, None] * rate
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, (angle.cos(), angle.sin()))
        return self.output_norm(x[asked]) @ self.token_embd.weight.T


def batches(rows: list[tuple[list[int], list[bool]]], rng: Random) -> list[list[tuple[list[int], list[bool]]]]:
    """Rows of like length together, each batch of about as many tokens: first the short ones, then all."""
    made: list[list[tuple[list[int], list[bool]]]] = [[]]
    for row in sorted(rows, key=lambda r: len(r[0])):
        if made[-1] and len(row[0]) * (len(made[-1]) + 1) > BATCH_TOKENS:
            made.append([])
        made[-1].append(row)
    short = made[: len(made) // 3]
    return rng.sample(short, len(short)) + rng.sample(made, len(made))


def train(model: Llama, rows: list[tuple[list[int], list[bool]]], rng: Random) -> None:
    plan = [batch for _ in range(EPOCHS) for batch in batches(rows, rng)]
    inner = [p for p in model.blk.parameters() if p.dim() == 2]
    outer = [p for p in model.parameters() if all(p is not q for q in inner)]
    optimizers = [torch.optim.Muon(inner, 0.02, weight_decay=0.01), torch.optim.AdamW(outer, 4e-3, (0.9, 0.98), weight_decay=0.0)]
    rates = [o.param_groups[0]["lr"] for o in optimizers]
    began = time.monotonic()
    for step, batch in enumerate(plan):
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 40, 2.5 * (1 - step / len(plan)))
        width = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([i + [0] * (width - len(i)) for i, _ in batch])
        own = torch.tensor([m + [False] * (width - len(m)) for _, m in batch])
        loss = F.cross_entropy(model(ids[:, :-1], own[:, 1:]), ids[:, 1:][own[:, 1:]])
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        if step % 50 == 0 or step == len(plan) - 1:
            print(f"{step:5d}/{len(plan)}  {loss.item():.4f}  {time.monotonic() - began:.0f} s", flush=True)


# --- the file ---------------------------------------------------------------------------------------------------------


def write(path: Path, model: Llama, tokenizer: Tokenizer) -> None:
    out = gguf.GGUFWriter(path, "llama")
    out.add_name("tiny")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(HIDDEN)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(EPS)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_rope_freq_base(BASE)
    spelled = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(spelled["vocab"], key=spelled["vocab"].__getitem__)
    kinds = {**dict.fromkeys(CONTROL, gguf.TokenType.CONTROL), **dict.fromkeys(TAGS, gguf.TokenType.USER_DEFINED)}
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types([kinds.get(t, gguf.TokenType.NORMAL) for t in tokens])
    out.add_token_merges([" ".join(pair) for pair in spelled["merges"]])
    out.add_bos_token_id(tokens.index("<|im_start|>"))
    out.add_eos_token_id(tokens.index("<|im_end|>"))
    out.add_add_bos_token(False)
    out.add_chat_template(TEMPLATE)
    for name, weights in model.state_dict().items():
        out.add_tensor(name, weights.numpy().astype(np.float16 if weights.dim() == 2 else np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("tiny.gguf")
    rng = Random(SEED)
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    template = renderer()
    texts = [template.render(messages=m, tools=t) for m, t in (dialogue(rng) for _ in range(DIALOGUES))]
    tokenizer = tokenizer_of(texts[:2000])
    rows = [(e.ids, supervised(e.ids, tokenizer)) for e in tokenizer.encode_batch(texts)]
    model = Llama(tokenizer.get_vocab_size())
    print(f"{sum(p.numel() for p in model.parameters())} weights, {sum(len(i) for i, _ in rows)} tokens, longest {max(len(i) for i, _ in rows)}")
    train(model, rows, rng)
    write(path, model, tokenizer)
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
