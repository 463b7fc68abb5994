"""Which model each step runs on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from promptchain.chain import Chain, PromptStep
from promptchain.errors import UsageError


@dataclass(frozen=True)
class Models:
    """Which model each step runs on.

    steps: for single steps, before all else. default: in place of the chain's model. last: where nothing names one.
    """

    default: str | None = None
    steps: Mapping[str, str] = field(default_factory=dict)
    last: str | None = None

    def of_chain(self, chain: Chain) -> str | None:
        """The model of the steps that have none of their own."""
        return self.default or chain.model or self.last

    def of(self, name: str, step: PromptStep, chain: Chain) -> str | None:
        return self.steps.get(name) or step.model or self.of_chain(chain)

    def by_step(self, chain: Chain) -> dict[str, str]:
        """The model of each prompt step that has one."""
        prompts = {name: step for name, step in chain.steps.items() if isinstance(step, PromptStep)}
        return {name: model for name, step in prompts.items() if (model := self.of(name, step, chain))}

    def of_lock(self, chain: Chain) -> str | None:
        """The model under which a lock has the prompts of the chain: that of the steps that have none of their own;
        where all have one, that of the first."""
        return self.of_chain(chain) or next(iter(self.by_step(chain).values()), None)


def is_of_step(word: str) -> bool:
    """Whether a model is named for one step: `STEP=MODEL`; `org/a=b` is a model's name."""
    step, sign, _ = word.partition("=")
    return bool(sign) and "/" not in step


def parse_models(given: Iterable[str], default: str | None) -> Models:
    """`MODEL` for the whole chain and `STEP=MODEL` for one step. Raises UsageError."""
    whole: str | None = None
    steps: dict[str, str] = {}
    for word in given:
        step, _, model = word.partition("=")
        if not word.strip():
            raise UsageError("--model names no model", hint="for example --model local/smollm2")
        if is_of_step(word):
            if not model:
                raise UsageError(f"--model {word} names no model", hint=f"for example --model {step}=local/smollm2")
            if step in steps:
                raise UsageError(f"--model is given twice for step '{step}': {steps[step]} and {model}")
            steps[step] = model
        elif whole is not None:
            hint = "give one model, and for single steps STEP=MODEL"
            raise UsageError(f"--model is given twice: {whole} and {word}", hint=hint)
        else:
            whole = word
    return Models(default=whole, steps=steps, last=default)
