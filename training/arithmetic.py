"""What a training step takes: parameters, bytes of a device's memory at the peak, operations a token.

Parameters, weights, gradients and optimizer states are exact sums over the tensors of a Llama or its kin. Activations
are what transformers' own code (5.23, attention by sdpa) keeps for the backward pass, counted tensor by tensor; the
peak is the largest of three moments, as what is kept shrinks linearly while gradients grow:

    when the loss is there     resident + gradients of earlier batches + activations + logits
    when backward begins       resident + gradients of earlier batches + activations + one layer at work
    when backward ends         resident + gradients + one layer at work

where resident is weights, optimizer states, other models and, under autocast, the weights' copies in bfloat16.
Operations: 6 a parameter and token (2 forward, 4 backward), 4 where weights are frozen and only gradients pass through
them (adapters themselves are left out), and causal attention; what is computed again is not counted (Narayanan et al.
2021, arXiv:2104.04473, section 5.1). The matrix that reads tokens multiplies nothing and does not count.

Not covered: memory that an allocator holds and does not use, offloading, models other than Llama's kin. Needs neither
torch nor pydantic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from chimed_rag.generation.memory import BYTES, OVERHEAD, Shape

Optimizer = Literal["adamw", "adamw_8bit", "adafactor"]
Head = Literal["words", "score"]
Tensor = tuple[int, int]
"""Rows and columns; a vector has one row."""
BLOCK = 256
"""So many numbers share a scale in torchao's 8-bit optimizer; smaller tensors are kept whole."""
LEAST_QUANTIZED = 4096


@dataclass(frozen=True)
class Step:
    """One training step on one device.

    Args:
        shape: of the model.
        rows: conversations or texts that go through together.
        length: tokens of each.
        accumulate: of such batches a step of the optimizer.
        dtype: of the weights: float32 or bfloat16.
        autocast: compute in bfloat16 while weights are float32.
        optimizer: as `launch.Machine` names it.
        rank: of adapters that are trained in place of the weights; None trains the weights.
        checkpointing: keep what goes into each layer alone.
        devices: that weights, gradients and optimizer states are spread over.
        head: what stands at the end: the words, or a reward model's score.
        chunk: logits of so many tokens are there at once; None, of all.
        others: bytes of frozen models beside it (a reference, a reward model).
        cuda: whether CUDA's own share of memory counts.
    """

    shape: Shape
    rows: int
    length: int
    accumulate: int = 1
    dtype: str = "float32"
    autocast: bool = False
    optimizer: Optimizer = "adamw"
    rank: int | None = None
    checkpointing: bool = False
    devices: int = 1
    head: Head = "words"
    chunk: int | None = None
    others: int = 0
    cuda: bool = False

    # -- numbers of weights -----------------------------------------------------------------------------------------

    def layer(self) -> list[Tensor]:
        """The matrices of one layer, as rows and columns: queries, keys, values, output, gate, up, down."""
        s = self.shape
        width, keys = s.heads * s.head, s.kv_heads * s.head
        attention = [(width, s.hidden), (keys, s.hidden), (keys, s.hidden), (s.hidden, width)]
        return [*attention, (s.inner, s.hidden), (s.inner, s.hidden), (s.hidden, s.inner)]

    def tensors(self) -> Iterator[Tensor]:
        """All weights."""
        s = self.shape
        yield s.vocabulary, s.hidden
        for _ in range(s.layers):
            yield from self.layer()
            yield from [(1, s.hidden)] * 2
            yield from [(1, n) for n in (s.norms - 2 * s.hidden, s.biases) if n]
        yield 1, s.hidden
        if self.head == "score":
            yield 1, s.hidden
        elif s.has_own_output:
            yield s.vocabulary, s.hidden

    def trained(self) -> Iterator[Tensor]:
        """The tensors that the optimizer moves."""
        if self.rank is None:
            yield from self.tensors()
            return
        for _ in range(self.shape.layers):
            for rows, columns in self.layer():
                yield self.rank, columns
                yield rows, self.rank
        if self.head == "score":
            yield 1, self.shape.hidden

    @property
    def parameters(self) -> int:
        """All weights of the model, without adapters."""
        return sum(rows * columns for rows, columns in self.tensors())

    @property
    def trainable(self) -> int:
        """The weights that the optimizer moves."""
        return sum(rows * columns for rows, columns in self.trained())

    @property
    def multiplied(self) -> int:
        """The weights that multiply something: all matrices but the one that reads tokens."""
        s = self.shape
        ends = 1 if self.head == "score" else s.vocabulary
        return s.layers * s.matrices + ends * s.hidden

    # -- bytes of one device ----------------------------------------------------------------------------------------

    @property
    def element(self) -> int:
        """Bytes of a weight."""
        return BYTES[self.dtype]

    @property
    def trained_element(self) -> int:
        """Bytes of a trained number: peft keeps adapters in float32."""
        return self.element if self.rank is None else 4

    @property
    def weights(self) -> int:
        """Of the weights, and of the adapters beside them."""
        adapters = 0 if self.rank is None else self.trainable * 4
        return (self.parameters * self.element + adapters) // self.devices

    @property
    def gradients(self) -> int:
        """Of all gradients."""
        return self.trainable * self.trained_element // self.devices

    @property
    def optimizer_states(self) -> int:
        """What the optimizer remembers.

        AdamW: two numbers a weight, in its precision. Its 8-bit form (of torchao, read and not run): two bytes, and a
        float32 scale for `BLOCK` of each. Adafactor: a float32 for each row and column of a matrix, and for each number
        of a vector.
        """
        return sum(self._remembered(one) for one in self.trained()) // self.devices

    def _remembered(self, tensor: Tensor) -> int:
        rows, columns = tensor
        size = rows * columns
        if self.optimizer == "adafactor":
            return 4 * (rows + columns) if rows > 1 else 4 * size
        if self.optimizer == "adamw_8bit" and size >= LEAST_QUANTIZED and size % BLOCK == 0:
            return 2 * (size + 4 * size // BLOCK)
        return 2 * size * self.trained_element

    @property
    def gathered(self) -> int:
        """Where weights are spread over devices: those of two layers, or of the words, that are whole at a time."""
        if self.devices == 1:
            return 0
        s = self.shape
        return max(2 * (s.matrices + s.norms), 2 * s.vocabulary * s.hidden) * self.element

    @property
    def copies(self) -> int:
        """Under autocast, the matrices in bfloat16, kept until the step's end."""
        if not self.autocast or self.dtype != "float32":
            return 0
        return 2 * self.multiplied // self.devices

    @property
    def tokens(self) -> int:
        """That go through together."""
        return self.rows * self.length

    @property
    def computed(self) -> int:
        """Bytes of a number on the way."""
        return 2 if self.autocast else self.element

    @property
    def layer_kept(self) -> int:
        """What one layer keeps for its backward pass, by the token.

        Of the two norms what comes in, as float32, and where their weights are trained the normed state; what goes into
        the matrices, of which autocast makes a copy for each; queries, keys, values and the attention's result, with a
        float32 a head; gate, its activation, up, and their product. Frozen matrices keep nothing; adapters of float32
        beside weights of bfloat16 keep a copy of what goes into each.
        """
        s = self.shape
        width, keys = s.heads * s.head, s.kv_heads * s.head
        entering = 5 * s.hidden if self.autocast else 2 * s.hidden
        inner = self.computed * (2 * width + 2 * keys + 3 * s.inner) + 4 * s.heads + 8 * s.hidden
        if self.rank is None:
            inner += 2 * s.hidden * self.element + self.computed * (entering + s.inner)
        elif self.dtype == "float32":
            inner += self.computed * (entering + s.inner + 7 * self.rank)
        else:
            inner += (2 if self.autocast else 4) * (5 * s.hidden + width + s.inner + 7 * self.rank)
        return self.tokens * inner

    @property
    def activations(self) -> int:
        """What all layers keep."""
        s = self.shape
        if not self.checkpointing:
            return s.layers * self.layer_kept
        return s.layers * self.tokens * s.hidden * self.element

    @property
    def at_work(self) -> int:
        """What one layer's backward pass needs besides: gradients of its widest step, and the layer computed again."""
        again = self.layer_kept if self.checkpointing else 0
        return again + self.tokens * self.computed * 2 * self.shape.inner

    @property
    def logits(self) -> int:
        """In float32 their logarithmic softmax, its gradient and the logits' own, which are there together."""
        if self.head == "score":
            return self.rows * 12
        return min(self.chunk or self.tokens, self.tokens) * self.shape.vocabulary * 12

    @property
    def resident(self) -> int:
        """What is there from the first step's end to the last's."""
        mine = self.weights + self.optimizer_states + self.copies + self.gathered
        return mine + self.others + (OVERHEAD if self.cuda else 0)

    @property
    def peak(self) -> int:
        """The most bytes of a device at any moment."""
        earlier = self.gradients if self.accumulate > 1 else 0
        at_the_loss = earlier + self.activations + self.logits
        at_the_top = earlier + self.activations + self.at_work  # the last layer's backward, all before it still kept
        at_the_end = self.gradients + self.activations // self.shape.layers + self.at_work
        return self.resident + max(at_the_loss, at_the_top, at_the_end)

    # -- operations -------------------------------------------------------------------------------------------------

    @property
    def matrix_operations(self) -> int:
        """Of one token in the matrices, forward and backward, nothing computed again: 6N, or 4N with adapters."""
        return (6 if self.rank is None else 4) * self.multiplied

    @property
    def operations(self) -> int:
        """Of one token, with causal attention.

        A token meets length / 2 others; 2 products of 2 operations forward, and 4 backward.
        """
        width = self.shape.heads * self.shape.head
        return self.matrix_operations + 6 * self.length * width * self.shape.layers
