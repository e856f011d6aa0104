"""What rejection sampling does to a policy, measured on held-out prompts; and the gates that it has to pass.

Every number is a mean over prompts, of the mean over their k candidates, with a bootstrap over prompts. Not covered:
drawing candidates (`candidates`), learning from them (`reject`), writing it all down
(`rejection_report`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from chimed_rag.evaluation.metrics.text import distinct_n
from chimed_rag.evaluation.statistics import bootstrap_means, bootstrap_ratios
from training.candidates import Group, Score
from training.gates import Gate, paired
from training.prefer import LEAST_STOPS, MOST_LONGER
from training.selection import best_of, divergence, rewarded

MEASURED = "measured.json"
LEAST_FOLLOWED = 0.2
"""Of what choosing by the judge itself would gain in the judge's eyes, choosing by the reward has to gain so much. That
the judge rises is not enough: with one of three seeds it did, by .07, under a reward that follows length."""
LEAST_DISTINCT = 0.7
"""The share of different bigrams may fall to so much of what it was."""
_Floats = NDArray[np.float64]


class Measured(BaseModel):
    """What a policy wrote to the held-out prompts; all tables have a row a prompt and a column a candidate.

    Args:
        reward, judge: scores; no judge, no scores.
        characters, stopped: length of each text, and 1 for those that ended by themselves.
        distinct: share of different bigrams of characters over all texts.
        nats, tokens: by how much each reply is likelier to this policy than to the base, and how long it is in tokens;
            empty for the base.
        reference_reward, reference_judge: scores of the references, one a prompt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward: list[list[float]]
    judge: list[list[float]]
    characters: list[list[int]]
    stopped: list[list[int]]
    distinct: float
    nats: list[list[float]]
    tokens: list[list[int]]
    reference_reward: list[float]
    reference_judge: list[float]

    def means(self, name: str) -> _Floats:
        """The mean of a table over each prompt's candidates, shape (prompts,)."""
        means: _Floats = self.table(name).mean(axis=1)
        return means

    def table(self, name: str) -> _Floats:
        """A table as an array, shape (prompts, k)."""
        return np.array(getattr(self, name), np.float64)

    @property
    def keys(self) -> _Floats:
        """What candidates are chosen by: rewards, −inf for what would not be chosen."""
        return np.where(self.table("stopped") > 0, self.table("reward"), -np.inf)


def measured(
    groups: Sequence[Group],
    reward: Score,
    judge: Score | None,
    *,
    models: tuple[str, str] | None = None,
    how: Mapping[str, Any] | None = None,
    batch: int = 16,
) -> Measured:
    """Scores what is not scored yet, and compares likelihoods.

    Args:
        groups: candidates with rewards.
        reward: scores the references.
        judge: scores both.
        models: base and policy, whose likelihoods are compared; null for none.
        how: dtype and device of these.
        batch: replies that go through them together.
    """
    k = len(groups[0].candidates)
    conversations = [group.prompt.answered(one.text) for group in groups for one in group.candidates]
    references = [group.prompt.answered(group.prompt.reference) for group in groups]
    nats: list[float] = []
    tokens: list[int] = []
    if models is not None:
        nats, tokens = _drift(groups, models, how or {}, batch)
    texts = [[one.text for one in group.candidates] for group in groups]
    return Measured(
        reward=[[rewarded(one) for one in group.candidates] for group in groups],
        judge=_rows(judge(conversations), k) if judge else [],
        characters=[[len(text) for text in row] for row in texts],
        stopped=[[int(one.finish == "stop") for one in group.candidates] for group in groups],
        distinct=distinct_n([text for row in texts for text in row], 2),
        nats=_rows(nats, k),
        tokens=_rows(tokens, k),
        reference_reward=list(reward(references)),
        reference_judge=list(judge(references)) if judge else [],
    )


def _rows(flat: Sequence[Any], k: int) -> list[list[Any]]:
    return [list(flat[begin : begin + k]) for begin in range(0, len(flat), k)]


def _drift(
    groups: Sequence[Group], models: tuple[str, str], how: Mapping[str, Any], batch: int
) -> tuple[list[float], list[int]]:
    """Of each candidate, log π(reply) − log π_base(reply) in nats, and its tokens; one model after the other."""
    from chimed_rag.generation.chat import Renderer
    from training.language import load_policy
    from training.likelihood import log_probabilities

    likely = []
    rows: list[tuple[list[int], list[int]]] = []
    for name in models:
        model, tokenizer = load_policy(name, **how)
        if not rows:
            renderer = Renderer(tokenizer, stop_ids=model.generation_config.eos_token_id)
            rows = [_split(renderer, group, n) for group in groups for n in range(len(group.candidates))]
        likely.append(log_probabilities(model, rows, batch))
        del model
    return (likely[1] - likely[0]).tolist(), [len(reply) for _, reply in rows]


def _split(renderer: Any, group: Group, n: int) -> tuple[list[int], list[int]]:
    """Tokens of the prompt and of a reply, with its stop token if it wrote one."""
    candidate = group.candidates[n]
    ids, mask = renderer.training(group.prompt.answered(candidate.text), last_only=True)
    begin, end = mask.index(True), len(mask) - mask[::-1].index(True)
    if candidate.finish != "stop" and end - begin > 1:
        end -= 1
    return ids[:begin], ids[begin:end]


# -- gates ------------------------------------------------------------------------------------------------------------


def best_of_gates(before: Measured) -> list[Gate]:
    """Whether the judge rises where the reward chooses, before anything is learned; none without a judge."""
    if not before.judge:
        return []
    n, k = before.table("judge").shape
    judged = before.table("judge")
    one, by_reward, by_judge = (
        best_of(before.keys, judged, 1),
        best_of(before.keys, judged, k),
        best_of(judged, judged, k),
    )
    followed = bootstrap_ratios({"share": by_reward - one}, by_judge - one)["share"]
    what = f"judge, best of {k} by reward"
    return [
        Gate.of(f"{what}, over any one", paired(one, by_reward), at_least=0, clear=True, n=n),
        Gate.of(
            f"{what}, share of the gain by the judge's own choice", followed, at_least=LEAST_FOLLOWED, n=n,
            detail="below that, a higher reward says little of a better reply; mend the reward model",
        ),
    ]  # fmt: skip


def round_gates(number: int, before: Measured, after: Measured, *, margin: float, most_drift: float) -> list[Gate]:
    """What a round must have reached, against the base.

    Args:
        number: of the round.
        before, after: the base, and the policy after the round.
        margin: standard deviations of the judge's scores before by which their mean may fall.
        most_drift: nats a token.
    """
    n, at = len(before.reward), f"round {number}: "
    gates = [
        Gate.of(
            f"{at}reward, change", paired(before.means("reward"), after.means("reward")), at_least=0, clear=True, n=n
        )
    ]
    if before.judge:
        allowed = margin * float(before.table("judge").std())
        change = paired(before.means("judge"), after.means("judge"))
        gates.append(Gate.of(f"{at}judge, change", change, at_least=-allowed, clear=True, n=n))
    longer = bootstrap_ratios({"ratio": after.means("characters")}, before.means("characters"))["ratio"]
    stops = bootstrap_means({"stops": after.means("stopped")})["stops"]
    distinct = after.distinct / before.distinct if before.distinct else 1.0
    nats = bootstrap_ratios({"drift": after.means("nats")}, after.means("tokens"))["drift"]
    return [
        *gates,
        Gate.of(f"{at}length, ratio to before", longer, at_most=MOST_LONGER, n=n),
        Gate.of(f"{at}stop rate", stops, at_least=LEAST_STOPS, n=n),
        Gate.of(f"{at}distinct bigrams, ratio to before", distinct, at_least=LEAST_DISTINCT, n=n),
        Gate.of(f"{at}drift, nats a token", nats, at_most=most_drift, n=n, detail=_expected(number, before)),
    ]


def _expected(number: int, before: Measured) -> str:
    k = len(before.reward[0])
    return f"the best of {k} itself is {divergence(k):.2f} nats a reply away, {number} times"
