"""What a language model will take of a device's memory, from its config.json alone; and what would fit if it does not.

Weights and cache are exact sums. The workspace is an estimate: what the widest step of one layer holds while all
prompts are read at once, by transformers' own code with attention that builds no matrix of scores (sdpa). Of small
models on a CPU, torch's MemTracker saw 101 % of it (Llama, one prompt), 86 % (four padded prompts), 80 % (Qwen3).
Not covered: model families other than Llama's and its kin, several GPUs, offloading, servers such as vLLM (which take
all they are given), memory that the allocator holds and does not use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from chimed_rag.errors import GeneratorError, InputError

Quantization = Literal["8bit", "4bit"]

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
OVERHEAD = 3 * GIB // 4
"""What CUDA's context and the libraries' own workspaces take before anything is loaded: 0.5 to 1 GiB, by the card."""
LEAST_CONTEXT = 512


class Shape(NamedTuple):
    """What of a config.json decides about memory."""

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    has_own_output: bool
    """Whether the output has a matrix of its own, or that of the input (tied)."""
    biases: int
    """The biases of one layer's matrices."""
    norms: int
    """The weights of one layer's norms."""

    @property
    def matrices(self) -> int:
        """The weights of one layer that are quantized: those of its seven matrices."""
        attention = 2 * self.hidden * self.head * (self.heads + self.kv_heads)
        return attention + 3 * self.hidden * self.inner

    @property
    def rows(self) -> int:
        """The rows of those matrices."""
        return self.head * (self.heads + 2 * self.kv_heads) + 2 * self.hidden + 2 * self.inner


@dataclass(frozen=True)
class Plan:
    """What a model takes, in bytes, when `batch` conversations fill a context of so many tokens."""

    shape: Shape
    dtype: str
    quantization: Quantization | None
    batch: int
    context: int
    prefill: int
    """So many tokens, of all conversations together, are read at once."""

    @property
    def parameters(self) -> int:
        """The number of weights."""
        shape = self.shape
        layer = shape.matrices + shape.biases + shape.norms
        return shape.layers * layer + shape.hidden + (1 + shape.has_own_output) * shape.vocabulary * shape.hidden

    @property
    def weights(self) -> int:
        """Of the weights; bitsandbytes quantizes the matrices of the layers, not the vocabulary's.

        8 bits: one byte a weight and a float32 scale a row. 4 bits: half a byte a weight and a float32 scale for 64 of
        them (no double quantization). As its documentation has it; not measured here.
        """
        size, quantized = BYTES[self.dtype], self.shape.layers * self.shape.matrices
        rest = (self.parameters - quantized) * size
        if self.quantization == "8bit":
            return rest + quantized + 4 * self.shape.layers * self.shape.rows
        if self.quantization == "4bit":
            return rest + quantized // 2 + quantized // 64 * 4
        return rest + quantized * size

    @property
    def cache(self) -> int:
        """Of keys and values: 2 · layers · heads · size of a head · bytes · batch · context."""
        shape = self.shape
        return 2 * shape.layers * shape.kv_heads * shape.head * BYTES[self.dtype] * self.batch * self.context

    @property
    def workspace(self) -> int:
        """Of what is computed on the way, with `OVERHEAD`.

        For each token read at once: the state, its copy, and its norm in float32; and either three inner states (gate,
        up, product) or queries, keys, values, the turned ones, keys and values repeated for each head, and the result.
        For a batch, the mask that its padding needs, once as truth and once as numbers; for the reply, four float32
        copies of the last logits.
        """
        shape, size = self.shape, BYTES[self.dtype]
        width, keys = shape.heads * shape.head, shape.kv_heads * shape.head
        repeated = 2 * width if shape.kv_heads < shape.heads else 0
        attention = 3 * width + 3 * keys + repeated
        state = shape.hidden * (2 * size + 4)
        activations = self.prefill * (state + size * max(3 * shape.inner, attention))
        together = max(1, self.prefill // self.context)
        mask = together * self.context**2 * (1 + size) if self.batch > 1 else 0
        return activations + mask + self.batch * shape.vocabulary * 16 + OVERHEAD

    @property
    def total(self) -> int:
        """Of all of it."""
        return self.weights + self.cache + self.workspace

    def fits(self, free: int) -> bool:
        """Whether so many free bytes hold it."""
        return self.total <= free

    def __str__(self) -> str:
        kind = self.dtype if self.quantization is None else f"{self.quantization}, {self.dtype}"
        lines = [
            (f"weights ({self.parameters / 1e9:.3f} billion, {kind})", self.weights),
            (f"cache ({self.batch} x {self.context} tokens)", self.cache),
            ("workspace (estimated)", self.workspace),
            ("total", self.total),
        ]
        wide = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:<{wide}} {size / GIB:8.2f} GiB" for name, size in lines)


class Memory(NamedTuple):
    """Of one device, in bytes."""

    device: str
    total: int
    free: int


def plan(
    config: Mapping[str, Any],
    *,
    dtype: str = "bfloat16",
    quantization: Quantization | None = None,
    batch: int = 1,
    context: int = 4096,
    prefill: int | None = None,
) -> Plan:
    """What a model will take.

    Args:
        config: what its config.json holds.
        dtype: of weights and cache: bfloat16, float16 or float32.
        quantization: "8bit" or "4bit", by bitsandbytes.
        batch: conversations at once.
        context: tokens of each, prompt and reply together.
        prefill: so many tokens are read at once; None reads all prompts of the batch in one step.

    Raises:
        GeneratorError: the model is of another family, or its config.json lacks a number.
        InputError: no such dtype or quantization, or a number below 1.
    """
    if dtype not in BYTES:
        raise InputError(f"unknown dtype {dtype!r}; there are: {', '.join(BYTES)}")
    if quantization not in (None, "8bit", "4bit"):
        raise InputError(f"unknown quantization {quantization!r}; there are: 8bit, 4bit")
    if min(batch, context, 1 if prefill is None else prefill) < 1:
        raise InputError("batch, context and prefill are at least 1")
    return Plan(_shape(config), dtype, quantization, batch, context, min(prefill or batch * context, batch * context))


def advice(needed: Plan, free: int) -> str:
    """What is missing and what would fit into so many free bytes, each with its size; empty if `needed` fits."""
    if needed.fits(free):
        return ""
    kinds: tuple[Quantization | None, ...] = (needed.quantization, "8bit", "4bit")
    ways = [_shrunk(replace(needed, quantization=kind), free) for kind in dict.fromkeys(kinds)]
    fitting = [_difference(needed, way) for way in ways if way is not None]
    fitting.append("a server that holds it elsewhere (generator='http://HOST:8000/v1')")
    return (
        f"{needed.total / GIB:.1f} GiB are needed and {free / GIB:.1f} GiB are free; what fits: {', or '.join(fitting)}"
    )


def free_memory() -> list[Memory]:
    """The memory of each GPU that torch sees, and last, on Linux, of the machine ("cpu")."""
    found: list[Memory] = []
    try:
        import torch
    except ModuleNotFoundError:
        pass
    else:
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            found.append(Memory(f"cuda:{number}", total, free))
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return found
    sizes = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return [*found, Memory("cpu", sizes["MemTotal"], sizes["MemAvailable"])]


def _shape(config: Mapping[str, Any]) -> Shape:
    family = config.get("model_type")
    if family not in FAMILIES:
        raise GeneratorError(
            f"the memory of a {family} model cannot be planned; of these it can: {', '.join(FAMILIES)}"
        )

    def number(key: str, default: int | None = None) -> int:
        value = config.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or value < 1:
            raise GeneratorError(f"config.json: {key} is {value!r}, not a number of at least 1")
        return value

    hidden, inner, heads = (number(key) for key in ("hidden_size", "intermediate_size", "num_attention_heads"))
    kv_heads = number("num_key_value_heads", heads if family == "llama" else None)
    head = number("head_dim", None if family == "qwen3" else hidden // heads)
    queries, keys = heads * head, kv_heads * head
    inputs = queries + 2 * keys
    biases = inputs if family == "qwen2" else (inputs + hidden) * bool(config.get("attention_bias"))
    biases += (2 * inner + hidden) * bool(config.get("mlp_bias"))
    return Shape(
        layers=number("num_hidden_layers"), hidden=hidden, inner=inner, heads=heads, kv_heads=kv_heads, head=head,
        vocabulary=number("vocab_size"), has_own_output=not config.get("tie_word_embeddings", False), biases=biases,
        norms=2 * hidden + 2 * head * (family == "qwen3"),
    )  # fmt: skip


def _shrunk(needed: Plan, free: int) -> Plan | None:
    """The plan with so few conversations at once, and then so short a context, that it fits; None if nothing does."""
    batch, context = needed.batch, needed.context
    while True:
        smaller = replace(needed, batch=batch, context=context, prefill=min(needed.prefill, batch * context))
        if smaller.fits(free):
            return smaller
        if batch > 1:
            batch //= 2
        elif context // 2 >= LEAST_CONTEXT:
            context //= 2
        else:
            return None


def _difference(needed: Plan, way: Plan) -> str:
    names = {"quantization": "quantization", "batch": "max_batch", "context": "context_tokens"}
    changes = [
        f"{said}={getattr(way, name)!r}" for name, said in names.items() if getattr(way, name) != getattr(needed, name)
    ]
    return f"{', '.join(changes)} ({way.total / GIB:.1f} GiB)"
