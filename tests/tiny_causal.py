"""A causal language model of a few hundred KB with random weights, made here: for training that needs no download and no GPU.

    python tests/tiny_causal.py make FOLDER DATA     a chat model in transformers' format; its tokenizer is made from a training file
    python tests/tiny_causal.py serve FOLDER         serves one over OpenAI's chat completions, on the port that it prints

A process of its own for each: the tests turn warnings into errors, and the libraries have many.

The weights are wide (`initializer_range`): an adapter cannot move logits far that the frozen last layer keeps small.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPECIAL = ["<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]


def make(folder: Path, texts: Sequence[str], vocabulary: int = 1200) -> None:
    """Write the model."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>", chat_template=TEMPLATE)
    fast.save_pretrained(str(folder))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=4096, initializer_range=0.3, eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(str(folder))


def serve(folder: str) -> None:
    """Answer chat completions with transformers' generate, one at a time, greedily."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            tokens = tokenizer.apply_chat_template(asked["messages"], add_generation_prompt=True, return_dict=True, return_tensors="pt")
            length = tokens["input_ids"].shape[1]
            with torch.no_grad():
                made = model.generate(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], max_new_tokens=min(64, asked["max_tokens"]),
                                      do_sample=False)  # fmt: skip
            text = tokenizer.decode(made[0][length:], skip_special_tokens=True)
            answer = {
                "id": "x", "object": "chat.completion", "created": 1, "model": asked["model"],
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": length, "completion_tokens": int(made.shape[1]) - length, "total_tokens": int(made.shape[1])},
            }  # fmt: skip
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        lines = Path(sys.argv[3]).read_text(encoding="utf-8").splitlines()
        make(Path(sys.argv[2]), [m["content"] for line in lines for m in json.loads(line)["messages"]])
