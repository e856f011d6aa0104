"""Stage `reject`: rejection sampling. The policy answers each prompt k times, and learns from the best of its answers.

    before    k candidates of each held-out prompt, scored and judged: what would choosing the best of 1, 2, … k give?
              A judge that does not rise with the reward stops the run here, before anything was spent
    a round   candidates of the training prompts (`candidates`) → one of each (`selection`) → fine-tuning (`sft`) → the
              new policy, from its files, on the held-out prompts with the same seeds (`rejection`)

Iterated as RAFT is (Dong et al. 2023, arXiv:2304.06767). The judge has to be independent of the reward: another reward
model, or a function. A reward that follows length is the case to fear: in a made-up world with an exact judge it rose
by 2.8 to 3.0 in two rounds, and the share of right facts fell by .02 to .09 (`world`, benchmarks/reject.py, 3 seeds).
Not covered: writing by a server after the first round, as it has the old weights; importance weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from chimed_rag.config import Generation
from chimed_rag.errors import InputError
from training.candidates import Group, Prompt, Score, Store, prompts_of, sample
from training.card import Point
from training.contracts import Dialogue
from training.fitting import device_name
from training.gates import Gate, conclude, judge
from training.rejection import MEASURED, Measured, best_of_gates, measured, round_gates
from training.rejection_report import Report, curve_of
from training.run import Run
from training.selection import Selection, select
from training.settings import Settings
from training.stages import Stage, StageSettings

if TYPE_CHECKING:
    from chimed_rag.generation.language_model import LanguageModel


class Server(Settings):
    """A server that speaks OpenAI's protocol and has the base's weights (`chimed_rag.generation.endpoint`).

    Args:
        url: of it, with /v1.
        model: as it lists it; null takes the only one.
        api: "chat", or "completions" for ChiMed-GPT's own form.
    """

    url: str
    model: str | None = None
    api: Literal["chat", "completions"] = "chat"


class RejectSettings(StageSettings):
    """Keys of the stage `reject`; `base` is the policy to begin with, `data` are dialogues.

    The last reply of a dialogue is the reference; of those with one prompt, the first.

    Args:
        reward: what candidates are chosen by: the folder of a reward model, or "module:function".
        judge: another such, independent of it, that must not fall; null does without, and the card says so.
        k: candidates a prompt.
        rounds: of drawing, choosing and learning.
        temperature, top_p, max_new_tokens: of drawing.
        together: candidates that are written at once.
        server: writes the base's candidates; null writes all in this process.
        selection: how candidates are chosen.
        packing: as of the stage `sft`.
        margin: by so many standard deviations may the judge's mean fall.
        most_drift: nats a token that the policy may get away from the base.
    """

    stage: Literal["reject"] = "reject"
    reward: str
    judge: str | None = None
    k: int = Field(8, ge=2)
    rounds: int = Field(1, ge=1)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(256, ge=1)
    together: int = Field(64, ge=1)
    server: Server | None = None
    selection: Selection = Selection()
    packing: bool = True
    margin: float = Field(0.1, ge=0)
    most_drift: float = Field(0.5, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> RejectSettings:
        if self.base is None:
            raise ValueError("base is missing: the policy to begin with")
        if self.data.held_out == 0:
            raise ValueError("data.held_out is 0: nothing to measure on")
        if self.server is not None and self.rounds > 1:
            raise ValueError("rounds is more than 1, and the server has the weights of the first round alone")
        if self.judge == self.reward:
            raise ValueError("judge is the reward itself; it would follow it in any case")
        return self


class Prompts(NamedTuple):
    """What is learned on and what is measured on."""

    training: list[Prompt]
    held_out: list[Prompt]


def train(settings: RejectSettings, run: Run) -> None:
    """Reads, measures, and goes through the rounds; each is judged before the next begins.

    Raises:
        InputError: no prompt is short enough, or nothing was chosen; the machine, base or judge cannot be used.
        GateError: a gate failed.
    """
    from training.preference_trainers import scorer

    second = None if settings.judge is None else scorer(settings.judge)
    work = Work(settings, run, scorer(settings.reward), second)
    prompts = work.prompts()
    if second is None:
        run.say("no judge: nothing independent says whether a higher reward is a better reply")
        run.card.description += "\n\nNo independent judge followed the reward."
    policy = Path(str(settings.base))
    before = previous = work.measure(0, policy, prompts.held_out)
    report = Report(prompts=len(prompts.held_out), k=settings.k, curve=curve_of(before))
    report.write(run)
    gates = best_of_gates(before)
    for number in range(1, settings.rounds + 1):
        judge(run, gates, settings.gates)
        groups = work.candidates(number, policy, prompts.training)
        policy = work.fit(number, policy, work.choose(number, groups, report))
        after = work.measure(number, policy, prompts.held_out)
        report.add(number, before, previous, after)
        report.write(run)
        gates, previous = _gates(settings, number, before, after), after
    run.card.scores, run.card.scores_of = report.scores(), report.said()
    conclude(run, policy, gates, settings.gates)


def _gates(settings: RejectSettings, number: int, before: Measured, after: Measured) -> list[Gate]:
    return round_gates(number, before, after, margin=settings.margin, most_drift=settings.most_drift)


class Work:
    """The steps of a run; each is a phase of it, done now or before.

    Args:
        settings: of the stage.
        run: keeps the phases.
        reward: scores what is chosen among.
        second: the judge.
    """

    def __init__(self, settings: RejectSettings, run: Run, reward: Score, second: Score | None) -> None:
        self.settings, self.run, self.reward, self.second = settings, run, reward, second
        self._how: dict[str, Any] = {
            "dtype": settings.fit.machine.weights,
            "device": device_name(settings.device),
        }

    def prompts(self) -> Prompts:
        """Those that leave room for a reply.

        Raises:
            InputError: none does.
        """
        from chimed_rag.generation.chat import Renderer
        from training.language import load_policy
        from training.sources import read_rows, split

        settings, ledger = self.settings, list[Any]()
        rows = read_rows(settings.data, Dialogue, seed=settings.seed, ledger=ledger)
        sides = split(rows, settings.data.held_out, settings.seed)
        model, tokenizer = load_policy(str(settings.base), **self._how)
        self.run.card.parameters = model.num_parameters()
        if settings.max_tokens > (context := int(model.config.max_position_embeddings)):
            raise InputError(f"max_tokens is {settings.max_tokens:,} and {settings.base} reads {context:,} at most")
        renderer = Renderer(tokenizer, stop_ids=model.generation_config.eos_token_id)
        found = Prompts(*(self._short_enough(renderer, side) for side in sides))
        self.run.data(ledger)
        return found

    def _short_enough(self, renderer: Any, dialogues: Sequence[Dialogue]) -> list[Prompt]:
        found, room = prompts_of(dialogues), self.settings.max_tokens - self.settings.max_new_tokens
        sizes = [len(renderer.prompt(prompt.messages)) for prompt in found]
        kept = [prompt for prompt, size in zip(found, sizes, strict=True) if size <= room]
        self.run.say(
            f"{len(dialogues):,} dialogues have {len(found):,} different prompts, of which {len(kept):,} leave room "
            "for a reply"
        )
        if not kept:
            raise InputError(
                f"none of {len(found):,} prompts leaves room for a reply: the shortest has {min(sizes):,} tokens, and "
                f"max_tokens ({self.settings.max_tokens:,}) less max_new_tokens ({self.settings.max_new_tokens:,}) is "
                f"{room:,}"
            )
        return kept

    def candidates(self, number: int, policy: Path, prompts: Sequence[Prompt]) -> list[Group]:
        """The scored candidates of a round."""

        def make(folder: Path) -> list[Point]:
            self._draw(f"{self.settings.seed} round {number}", policy, prompts, folder / "model")
            return []

        store = Store(self.run.phase(f"round-{number}-candidates", make))
        return [Group(prompt, store[prompt.id]) for prompt in prompts]

    def choose(self, number: int, groups: Sequence[Group], report: Report) -> list[Dialogue]:
        """What is learned from in a round.

        Raises:
            InputError: nothing was chosen.
        """
        references = None
        if self.settings.selection.policy == "best_above_reference":
            references = self.reward([group.prompt.answered(group.prompt.reference) for group in groups])
        chosen, dropped = select(groups, self.settings.selection, references=references)
        report.chosen[number] = {"prompts": len(groups), "chosen": len(chosen), **dropped}
        why = ", ".join(f"{reason} {n:,}" for reason, n in sorted(dropped.items())) or "none left out"
        self.run.say(f"round {number}: {len(chosen):,} candidates chosen for {len(groups):,} prompts ({why})")
        if not chosen:
            raise InputError(f"round {number}: no candidate was chosen ({why}); change selection, or the policy")
        self.run.card.training_pairs = len(chosen)
        return [
            Dialogue(id=one.prompt.id, source=f"round {number}", messages=one.prompt.answered(one.candidate.text))
            for one in chosen
        ]

    def fit(self, number: int, policy: Path, learned: Sequence[Dialogue]) -> Path:
        """The folder of the policy that has learned it."""
        from training.language import load_policy
        from training.sft import fit_dialogues

        def make(folder: Path) -> list[Point]:
            model, tokenizer = load_policy(policy, **self._how)
            how: dict[str, Any] = {"packing": self.settings.packing, "last_only": True}
            return fit_dialogues(model, tokenizer, learned, self.settings, folder, self.run, **how)

        return self.run.phase(f"round-{number}", make, together=True)

    def measure(self, number: int, policy: Path, prompts: Sequence[Prompt]) -> Measured:
        """What the policy after a round (0: the base) writes to the held-out prompts."""

        def make(folder: Path) -> list[Point]:
            place = folder / "model"
            # The seeds are the same after every round: what differs is the policy, not the luck.
            groups = self._draw(f"{self.settings.seed} held out", policy, prompts, place)
            models = (str(self.settings.base), str(policy)) if number else None
            batch = self.settings.fit.batch_size
            found = measured(groups, self.reward, self.second, models=models, how=self._how, batch=batch)
            (place / MEASURED).write_text(found.model_dump_json(), "utf-8")
            return []

        return Measured.model_validate_json((self.run.phase(f"held-out-{number}", make) / MEASURED).read_bytes())

    def _draw(self, draws: str, policy: Path, prompts: Sequence[Prompt], place: Path) -> list[Group]:
        of, store = self.settings, Store(place)
        how = Generation(temperature=of.temperature, top_p=of.top_p, max_new_tokens=of.max_new_tokens, seconds=None)
        with self._writer(policy) as writer:
            return sample(writer, prompts, store, k=of.k, run=draws, how=how, score=self.reward, say=self.run.say)

    @contextmanager
    def _writer(self, policy: Path) -> Iterator[LanguageModel]:
        """Who writes candidates: the server while the policy is the base, else the policy in this process."""
        writer: LanguageModel
        if (server := self.settings.server) is not None and policy == Path(str(self.settings.base)):
            from chimed_rag.generation.endpoint import EndpointGenerator

            writer = EndpointGenerator(
                server.url, model=server.model, api=server.api, concurrency=self.settings.together
            )
        else:
            from chimed_rag.generation.chimed_gpt import ChiMedGPT
            from training.language import load_policy

            model, tokenizer = load_policy(policy, **self._how)
            context = int(model.config.max_position_embeddings)
            how = Generation(context_tokens=context if context >= 256 else None)
            writer = ChiMedGPT.from_parts(
                model, tokenizer, name="policy", settings=how, max_batch=self.settings.together
            )
        try:
            yield writer
        finally:
            writer.close()


STAGE = Stage(RejectSettings, train)
