"""The options and arguments of the commands, declared once so that they mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptchain.cli import complete

ChainName = Annotated[
    str, typer.Argument(help="A chain, by name, file or version: NAME@v7.", autocompletion=complete.versions)
]
ChainNames = Annotated[
    list[str] | None,
    typer.Argument(help="Chains by name or file; without any, all of them.", autocompletion=complete.chains),
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or last.", autocompletion=complete.runs)
]
Step = Annotated[
    str | None, typer.Option("--step", metavar="STEP", help="Only this step.", autocompletion=complete.steps)
]
Text = Annotated[str | None, typer.Argument(help="The chain's only input, or the only one it requires.")]
Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]

Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "-i",
        metavar="NAME=VALUE",
        help="An input; NAME=@FILE reads a text or an image.",
        autocompletion=complete.inputs,
    ),
]
RenderedInputs = Annotated[
    list[str] | None,
    typer.Option(
        "-i",
        metavar="NAME=VALUE",
        help="With --rendered: an input, or what a step is taken to have given. NAME=@FILE reads a text or an image.",
        autocompletion=complete.inputs,
    ),
]
InputFile = Annotated[
    str | None,
    typer.Option("--input", metavar="FILE", help="A JSON or YAML file with the inputs; - is standard input."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "-m",
        "--model",
        metavar="[STEP=]MODEL",
        help="A litellm model string, local/FILE or scripted/FILE, for steps without their own or one step."
        "  [env var: PROMPTCHAIN_MODEL]",
        autocompletion=complete.step_models,
    ),
]

Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="NAME|FILE",
        help="Print this output only; with --batch, the file to write.",
        autocompletion=complete.outputs,
    ),
]
SaveRun = Annotated[Path | None, typer.Option("--save-run", metavar="FILE", help="Write the record to FILE too.")]
Batch = Annotated[Path | None, typer.Option("--batch", metavar="ROWS", help="Run every row of a .jsonl or .csv file.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="With --batch: continue the output file. Its rows stay, failed ones too.",
    ),
]
Source = Annotated[bool, typer.Option("--source", help="Ignore compiled prompts: run on the words of the chain file.")]
Locked = Annotated[
    bool, typer.Option("--locked", help="Only on compiled prompts that are fresh; exit 101 where there are none.")
]
Force = Annotated[bool, typer.Option("--force", help="Also what is fresh.")]
Filter = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="ID|NAME=VALUE",
        help="Only these examples; * stands for anything.",
        autocompletion=complete.inputs,
    ),
]
MaxErrors = Annotated[
    int,
    typer.Option("--max-errors", metavar="N", min=0, help="Stop a test when more examples than this cannot be scored."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Consent to every call of a tool that is marked `confirm`.")]
Cache = Annotated[bool, typer.Option("--cache", help="Take answers from the response cache, and keep new ones there.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Ask the models again for what was asked before.")]
Trace = Annotated[
    bool,
    typer.Option(
        "--trace", help="Send OpenTelemetry spans.  [default: where OTEL_EXPORTER_OTLP_ENDPOINT names a collector]"
    ),
]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", metavar="N", min=1, help="Model calls in flight.  [default: 16]")
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", metavar="USD", min=0, help="Stop before more US dollars are spent than this."),
]
MaxCalls = Annotated[
    int | None, typer.Option("--max-calls", metavar="N", min=0, help="Stop before more model calls than this.")
]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", metavar="N", min=0, help="Stop before more tokens than this are used.")
]
