"""Recorded runs as OpenTelemetry spans: as a tree, and as a collector gets them from the real command."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

import promptchain
from promptchain import PromptChainError, RunError
from promptchain.chain import Chain, Format
from promptchain.errors import Fault
from promptchain.records import Call, Run, Status, StepRun, ToolRun
from promptchain.tracing import export, names
from promptchain.tracing.tree import Span, tree
from tests.collector import Collector
from tests.workspace import DEMO, REPLIES, Workspace

KEY = "sk-abcdefgh12345678"
STARTED = "2026-01-02T03:04:05.678Z"
BEGAN = int(datetime.fromisoformat(STARTED).timestamp() * 1000) * 1_000_000


def run_of(steps: dict[str, StepRun], **more: Any) -> Run:
    given = {"id": "01", "chain": "demo", "source": "s", "model": None, "started": STARTED, "seconds": 10.0}
    return Run.model_validate({**given, "status": Status.DONE, "steps": steps, **more})


def done(**more: Any) -> StepRun:
    return StepRun(status=Status.DONE, **{"seconds": 2.0, **more})


def inside(span: Span) -> list[str]:
    return [child.name for child in span.children]


# --- the tree


def test_times_and_names_of_a_run() -> None:
    call = Call(
        model="openai/gpt-5-mini",
        format=Format.SCHEMA,
        finish="stop",
        prompt_tokens=5,
        completion_tokens=3,
        cached_tokens=2,
        cost=0.25,
        seconds=1.0,
        started=0.75,
        max_tokens=9,
    )
    root = tree(run_of({"reply": done(started=0.5, calls=(call,))}, version=7, model="openai/gpt-5-mini"))
    assert (root.name, root.start, root.end) == ("chain demo", BEGAN, BEGAN + 10_000_000_000)
    assert (root.attributes[names.VERSION], root.attributes[names.AGENT_VERSION]) == (7, "v7")
    [step] = root.children
    assert (step.name, step.start - BEGAN, step.end - BEGAN) == ("step reply", 500_000_000, 2_500_000_000)
    [chat] = step.children
    assert (chat.name, chat.start - BEGAN, chat.end - BEGAN) == ("chat gpt-5-mini", 750_000_000, 1_750_000_000)
    assert chat.remote
    assert chat.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.output.type": "json",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "promptchain.model": "openai/gpt-5-mini",
        "promptchain.cost": 0.25,
    }


@pytest.mark.parametrize(
    ("model", "provider", "name", "remote"),
    [
        ("anthropic/claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5", True),
        ("gemini/gemini-2.5-flash", "gcp.gemini", "gemini-2.5-flash", True),
        ("bedrock/anthropic.claude-v2", "aws.bedrock", "anthropic.claude-v2", True),
        ("mistral/mistral-large-latest", "mistral_ai", "mistral-large-latest", True),
        ("openrouter/meta-llama/llama-3-70b", "openrouter", "meta-llama/llama-3-70b", True),
        ("gpt-4o", "openai", "gpt-4o", True),
        ("who/knows", "who", "who/knows", True),
        ("nobody-knows", "_OTHER", "nobody-knows", True),
        ("local/smollm2", "local", "local/smollm2", False),
        ("scripted/x.yaml", "scripted", "scripted/x.yaml", False),
    ],
)
def test_who_answers(model: str, provider: str, name: str, remote: bool) -> None:
    [chat] = tree(run_of({"a": done(calls=(Call(model=model),))})).children[0].children
    assert (chat.attributes[names.PROVIDER], chat.attributes[names.REQUEST_MODEL]) == (provider, name)
    assert (chat.name, chat.remote) == (f"chat {name}", remote)


def test_items_tools_and_the_chains_in_them() -> None:
    later = "2026-01-02T03:04:06.678Z"
    inner = run_of({"say": done(seconds=0.5)}, id="02", chain="inner", started=later, seconds=0.5)
    tool = ToolRun(name="ask", arguments={"a": KEY}, value="x", turn=2, started=0.9, seconds=0.7, run=inner)
    items = (done(started=0.1, tools=(tool,)), done(started=0.2))
    root = tree(run_of({"each": done(started=0.1, seconds=4, items=items), "sub": done(started=0.5, run=inner)}))
    each, sub = root.children
    assert (inside(each), inside(sub)) == (["item each", "item each"], ["chain inner"])
    assert [item.attributes[names.ITEM] for item in each.children] == [0, 1]
    assert each.attributes[names.ITEMS] == 2
    [call] = each.children[0].children
    assert (call.name, inside(call), inside(call.children[0])) == ("execute_tool ask", ["chain inner"], ["step say"])
    assert call.attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "ask",
        "gen_ai.tool.type": "function",
        "promptchain.turn": 2,
    }
    assert call.children[0].start == BEGAN + 1_000_000_000


def test_a_search_and_who_orders_what_it_found() -> None:
    chain = Chain.model_validate(
        {
            "name": "demo",
            "steps": {"help": {"retrieve": {"python": "tools:search", "query": "x"}}},
        }
    )
    calls = (
        Call(model="openai/text-embedding-3-small", prompt_tokens=4, seconds=0.1, purpose="embed"),
        Call(model="openai/gpt-5-mini", format=Format.JSON, finish="stop", seconds=1.0, started=1.0),
    )
    passages = [{"source": "help.md", "line": 3, "score": 0.5, "text": "secret"}]
    root = tree(run_of({"help": done(value=passages, calls=calls)}), chain, content=True)
    [step] = root.children
    assert step.attributes[names.KIND] == "retrieve"
    assert inside(step) == ["retrieval tools:search", "embeddings text-embedding-3-small", "chat gpt-5-mini"]
    search = step.children[0]
    assert search.end == step.children[2].start
    assert search.attributes[names.RETRIEVAL_TOP_K] == 4
    assert json.loads(str(search.attributes[names.DOCUMENTS])) == [{"id": "help.md:3", "score": 0.5}]


def test_what_failed_says_so() -> None:
    tries = (
        Call(model="x/y", error="slow down", seconds=0.1),
        Call(model="x/y", error=f"not JSON: {KEY}", finish="stop", started=0.2),
        Call(model="x/y", error="no such key", started=0.3),
    )
    tool = ToolRun(name="t", error="broken")
    failed = StepRun(
        status=Status.FAILED, error="no such key", fault=Fault.RATE_LIMIT, calls=tries, tools=(tool,), seconds=1
    )
    steps = {
        "a": failed,
        "b": StepRun(status=Status.BLOCKED, error="step 'a' did not give a value"),
        "c": StepRun(status=Status.SKIPPED),
        "d": StepRun(status=Status.INTERRUPTED),
        "e": StepRun(status=Status.INTERRUPTED, seconds=1),
    }
    root = tree(run_of(steps, status=Status.FAILED, error="step 'a' failed: no such key"))
    assert root.error == ("rate_limit", "step 'a' failed: no such key")
    errors = {child.name: child.error for child in root.children}
    assert errors == {
        "step a": ("rate_limit", "no such key"),
        "step b": None,
        "step c": None,
        "step e": ("interrupted", "interrupted"),
    }
    found = {span.error for span in root.children[0].children}
    assert found == {
        ("_OTHER", "slow down"),
        ("unusable_reply", "not JSON: ***"),
        ("rate_limit", "no such key"),
        ("_OTHER", "broken"),
    }


def test_an_answer_from_the_cache_took_no_time() -> None:
    call = Call(model="x/y", cached=True, seconds=9.0, cost=0.5, started=1.0, finish="stop")
    [chat] = tree(run_of({"a": done(calls=(call,))})).children[0].children
    assert chat.start == chat.end == BEGAN + 1_000_000_000
    assert chat.attributes[names.CACHED] is True
    assert names.COST not in chat.attributes


def test_what_people_wrote_is_there_only_where_it_is_asked_for() -> None:
    tool = ToolRun(name="t", arguments={"a": "WORDS"}, value=["WORDS"])
    call = Call(model="x/y", finish="stop")
    run = run_of(
        {"a": done(value="WORDS", calls=(call,), tools=(tool,))}, inputs={"a": f"WORDS {KEY}"}, outputs={"b": "WORDS"}
    )
    assert not any("WORDS" in str(span.attributes) for span in tree(run).all())
    root = tree(run, content=True)
    chat = next(span for span in root.all() if span.name.startswith("chat"))
    assert json.loads(str(chat.attributes[names.OUTPUT_MESSAGES])) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "WORDS"}], "finish_reason": "stop"}
    ]
    told = next(span for span in root.all() if span.name.startswith("execute_tool"))
    assert (told.attributes[names.TOOL_ARGUMENTS], told.attributes[names.TOOL_RESULT]) == (
        '{"a": "WORDS"}',
        '["WORDS"]',
    )
    assert (root.attributes[names.INPUTS], root.attributes[names.OUTPUTS]) == ('{"a": "WORDS ***"}', '{"b": "WORDS"}')


TIMES = st.floats(0, 100)
CALLS = st.builds(Call, model=st.just("x/y"), started=TIMES, seconds=TIMES)
STEPS = st.recursive(
    st.builds(StepRun, status=st.sampled_from(Status), started=TIMES, seconds=TIMES, calls=st.tuples(CALLS)),
    lambda inner: st.builds(
        StepRun, status=st.just(Status.DONE), started=TIMES, seconds=TIMES, items=st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), STEPS), TIMES)
def test_a_span_lies_within_the_one_above_it(steps: dict[str, StepRun], seconds: float) -> None:
    def check(span: Span) -> None:
        assert span.start <= span.end
        for child in span.children:
            assert span.start <= child.start <= child.end <= span.end
            check(child)

    check(tree(run_of(steps, seconds=seconds)))


def test_the_names_are_those_of_the_conventions() -> None:
    """As far as the released package has them: the newest are only in the conventions' own repository."""
    known = {value for value in vars(gen_ai_attributes).values() if isinstance(value, str)}
    ours = {value for value in vars(names).values() if isinstance(value, str) and value.startswith("gen_ai.")}
    assert ours - known <= {"gen_ai.retrieval.top_k", "gen_ai.agent.version"}
    operations = {member.value for member in gen_ai_attributes.GenAiOperationNameValues}
    assert {names.CHAT, names.EMBEDDINGS, names.RETRIEVAL, names.EXECUTE_TOOL, names.INVOKE_WORKFLOW} <= operations
    providers = {member.value for member in gen_ai_attributes.GenAiProviderNameValues}
    assert set(names.PROVIDERS.values()) <= providers


# --- the command


def traced(workspace: Workspace, collector: Collector, *words: str, code: int = 0, **env: str) -> None:
    done = workspace.run(*words, env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **env})
    assert done.code == code, done
    assert "warning" not in done.err


def test_chain_run_sends_its_trace(demo: Workspace) -> None:
    with Collector() as collector:
        before = time.time_ns()
        traced(demo, collector, "run", "demo", "hi")
        after = time.time_ns()
    [record] = demo.records()
    chat = f"chat scripted/{demo.root}/demo.script.yaml"
    assert collector.tree() == [
        "chain demo",
        *(
            path
            for name in record["steps"]
            for path in (f"chain demo > step {name}", f"chain demo > step {name} > {chat}")
        ),
    ]
    root = collector.named("chain demo")
    assert before - 1_000_000 <= root.start <= root.end <= after
    assert root.end - root.start == round(record["seconds"] * 1e9)
    step = collector.named("step draft")
    assert step.start == root.start + round(record["steps"]["draft"]["started"] * 1e9)
    assert {span.trace for span in collector.spans} == {root.trace}
    assert {span.service for span in collector.spans} == {"promptchain"}
    assert {name: root.attributes[name] for name in (names.RUN, names.VERSION, names.CALLS, names.STATUS)} == {
        names.RUN: record["id"],
        names.VERSION: 1,
        names.CALLS: 3,
        names.STATUS: "done",
    }
    said = [span for span in collector.spans if span.name == chat]
    assert sorted(span.attributes[names.OUTPUT_TOKENS] for span in said) == [1, 3, 5]
    assert all(span.kind == 1 and span.attributes[names.FINISH_REASONS] == ["stop"] for span in said)
    assert "on its way" not in str(collector.spans)


def test_a_run_that_fails_sends_its_trace_too(demo: Workspace) -> None:
    demo.chain(replies=[REPLIES[0], {"contains": "Draft for", "error": "authentication"}])
    with Collector() as collector:
        demo.run(
            "run", "demo", "hi", "--trace", env={"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces"}
        )
    root, step = collector.named("chain demo"), collector.named("step draft")
    assert (root.status, step.status, collector.named("step check").status) == (2, 2, 0)
    assert step.attributes["error.type"] == "authentication"
    assert root.description.startswith("step 'draft' failed: ")


def test_chains_in_chains_tools_and_searches(demo: Workspace) -> None:
    demo.write(
        "tools.py",
        'def find(word: str) -> str:\n    """Find."""\n    return word * 2\n'
        "def search(query: str, top_k: int) -> list[str]:\n    return [query]\n",
    )
    demo.chain(
        "model: MODEL\ninputs: {t: string}\nsteps: {say: {prompt: 'Speak of {{ t }}'}}",
        name="inner",
        replies=[{"contains": "Speak", "reply": "of it"}],
    )
    text = """
    model: MODEL
    inputs: {t: string}
    steps:
      help: {retrieve: {python: "tools:search", query: "{{ t }}"}}
      inner: {chain: inner, inputs: {t: "{{ help[0].text }}"}}
      tool: {prompt: "Look up {{ inner.say }}", tools: [{python: "tools:find"}]}
    """
    asked = '{"tool": "find", "arguments": {"word": "x"}}'
    replies = [{"contains": "find gave", "reply": '{"answer": "found"}'}, {"contains": "Look up", "reply": asked}]
    demo.chain(text, name="outer", replies=replies)
    with Collector() as collector:
        traced(demo, collector, "run", "outer", "cats", OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="true")
    paths = collector.tree()
    outer = f"chat scripted/{demo.root}/outer.script.yaml"
    assert "chain outer > step help > retrieval tools:search" in paths
    assert f"chain outer > step inner > chain inner > step say > chat scripted/{demo.root}/inner.script.yaml" in paths
    assert [path for path in paths if "step tool >" in path] == [
        f"chain outer > step tool > {outer}",
        "chain outer > step tool > execute_tool find",
        f"chain outer > step tool > {outer}",
    ]
    assert collector.named("execute_tool find").attributes[names.TOOL_RESULT] == '"xx"'
    kinds = {span.attributes.get(names.KIND) for span in collector.spans if span.name.startswith("step ")}
    assert kinds == {"retrieve", "chain", "prompt"}


def test_a_batch_a_test_and_a_replay_send_a_trace_for_each_run(demo: Workspace) -> None:
    demo.write("rows.jsonl", '{"message": "a"}\n{"message": "b"}\n')
    with Collector() as collector:
        traced(demo, collector, "run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl")
        assert len({span.trace for span in collector.spans}) == 2
        collector.spans.clear()
        traced(demo, collector, "replay", "last", "--from", "check")
        assert names.REPLAY_OF in collector.named("chain demo").attributes
        collector.spans.clear()
        demo.write("chains/rows.jsonl", '{"id": "one", "message": "a"}\n{"id": "two", "message": "b"}\n')
        demo.chain(DEMO + "test: {dataset: rows.jsonl, assert: [{step: intent, type: equals, value: card}]}\n")
        traced(demo, collector, "test", "demo", "--trace")
        roots = [span for span in collector.spans if span.name == "chain demo"]
        assert sorted(span.attributes[names.EXAMPLE] for span in roots) == ["one", "two"]


def test_more_spans_than_a_queue_usually_holds(demo: Workspace) -> None:
    demo.write("rows.jsonl", "".join(f'{{"message": "{number}"}}\n' for number in range(320)))
    with Collector() as collector:
        traced(demo, collector, "run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl")
    assert len(collector.spans) == 320 * 7


def test_a_caller_that_is_traced_is_above_it(demo: Workspace) -> None:
    trace_id, span_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with Collector() as collector:
        traced(
            demo, collector, "run", "demo", "hi", TRACEPARENT=f"00-{trace_id}-{span_id}-01", OTEL_SERVICE_NAME="mine"
        )
    root = collector.named("chain demo")
    assert (root.trace, root.parent, root.service) == (trace_id, span_id, "mine")


@pytest.mark.parametrize(
    "off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}]
)
def test_what_switches_it_off(demo: Workspace, off: dict[str, str]) -> None:
    with Collector() as collector:
        words = ["run", "demo", "hi"] + (["--trace"] if "OTEL_EXPORTER_OTLP_ENDPOINT" not in off else [])
        traced(demo, collector, *words, **off)
    assert collector.requests == 0


@pytest.fixture
def dead_port() -> str:
    """An address at which nothing listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("wanted", [[], ["--trace"]])
def test_a_dead_collector_costs_two_seconds_and_a_line(demo: Workspace, dead_port: str, wanted: list[str]) -> None:
    url = dead_port
    began = time.monotonic()
    demo.run("run", "demo", "hi")
    usual = time.monotonic() - began
    began = time.monotonic()
    done = demo.run("run", "demo", "hi", "-o", "reply", *wanted, env={"OTEL_EXPORTER_OTLP_ENDPOINT": url})
    assert (done.code, done.out) == (0, "All is well.\n")
    assert done.err == f"warning: the trace could not be sent to {url}: Connection refused\n"
    assert time.monotonic() - began - usual < 30


def test_a_collector_that_hangs_or_refuses(demo: Workspace) -> None:
    with Collector(delay=30) as collector:
        done = demo.run("run", "demo", "hi", env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert (done.code, done.err) == (
        0,
        f"warning: the trace could not be sent to {collector.url}: it did not answer within 2 s\n",
    )
    with Collector(status=400) as collector:
        done = demo.run("run", "demo", "hi", env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert (done.code, done.err) == (0, f"warning: the trace could not be sent to {collector.url}: 400 Bad Request\n")


def test_what_is_lost_is_told(demo: Workspace) -> None:
    demo.write("rows.jsonl", "".join(f'{{"message": "{number}"}}\n' for number in range(200)))
    words = ["run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl"]
    small = {"OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
    with Collector(delay=0.05) as collector:
        done = demo.run(*words, env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **small})
    assert done.code == 0
    assert done.err.endswith("\nwarning: the trace is not whole: the collector was too slow for it\n")


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "sent by http/protobuf, not by grpc"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, ": Connection refused"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"}, "could not be sent to localhost:4318: "),
        ({"OTEL_BSP_SCHEDULE_DELAY": "-1"}, "cannot be sent: "),
    ],
)
def test_settings_that_cannot_be_used(demo: Workspace, env: dict[str, str], says: str) -> None:
    url = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **env}
    done = demo.run("run", "demo", "hi", "-o", "reply", env=url)
    assert (done.code, done.out) == (0, "All is well.\n")
    assert done.err.startswith("warning: "), done
    assert says in done.err
    assert done.err.count("\n") == 1


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry.sdk"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
sys.argv = ["chain", *sys.argv[1:]]
from promptchain.cli import main
main()
"""


def test_without_the_package(demo: Workspace) -> None:
    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", WITHOUT, "run", "demo", "hi", "-o", "reply", *words]
        return subprocess.run(
            line, cwd=demo.root, env={**os.environ, **env}, capture_output=True, text=True, timeout=300
        )

    asked = run("--trace")
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr == "error: tracing needs the package opentelemetry\n  hint: pip install 'promptchain[trace]'\n"
    assert demo.records() == []
    only_set = run(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert (only_set.returncode, only_set.stdout) == (0, "All is well.\n")
    said = "warning: nothing is traced: tracing needs the package opentelemetry; pip install 'promptchain[trace]'\n"
    assert only_set.stderr == said


def test_nothing_of_it_is_loaded_when_it_is_off(demo: Workspace) -> None:
    code = (
        "import os, sys\n"
        "def leave(status, end=os._exit):\n"
        "    print([name for name in sys.modules if 'opentelemetry' in name], file=sys.stderr, flush=True)\n"
        "    end(status)\n"
        "os._exit = leave\n"
        "sys.argv = ['chain', 'run', 'demo', 'hi', '--stream']\n"
        "from promptchain.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=demo.root, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "[]\n")


# --- the Python API


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What a process that has a tracer provider of its own exports."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


def test_runs_from_code_are_below_the_callers_span(demo: Workspace, spans: InMemorySpanExporter) -> None:
    chain = promptchain.load("demo", trace=True)

    async def many() -> None:
        with trace.get_tracer("mine").start_as_current_span("request"):
            await asyncio.gather(chain.arun(message="a"), chain.arun(message="b"))
            async for _ in chain.stream(message="c"):
                pass

    asyncio.run(many())
    found = spans.get_finished_spans()
    request = next(span for span in found if span.name == "request")
    roots = [span for span in found if span.name == "chain demo"]
    assert len(roots) == 3
    assert all(span.parent and request.context and span.parent.span_id == request.context.span_id for span in roots)
    assert all((span.start_time or 0) >= (request.start_time or 0) - 1_000_000 for span in roots)
    assert sum(span.name == "step draft" for span in found) == 3


def test_a_run_that_fails_from_code_is_traced(demo: Workspace, spans: InMemorySpanExporter) -> None:
    demo.chain(replies=[REPLIES[0], {"contains": "Draft for", "error": "authentication"}])
    with pytest.raises(RunError):
        promptchain.load("demo", trace=True).run(message="a")
    root = next(span for span in spans.get_finished_spans() if span.name == "chain demo")
    assert root.status.status_code is trace.StatusCode.ERROR


def test_without_a_provider_code_sends_to_the_collector(demo: Workspace) -> None:
    code = "import promptchain; promptchain.load('demo', trace=True).run(message='hi')"
    with Collector() as collector:
        env = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        line = [sys.executable, "-c", code]
        done = subprocess.run(line, cwd=demo.root, env=env, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert collector.named("chain demo").status == 0
    assert len(collector.spans) == 7


def test_what_code_cannot_have(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(PromptChainError, match="http/protobuf"):
        promptchain.load("demo", trace=True)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert promptchain.load("demo", trace=True).run(message="hi").status == "done"


def test_a_package_of_which_half_is_there() -> None:
    assert not export._is_installed("opentelemetry.exporter.nothing.here")
    assert not export._is_installed("nothing_here.at_all")


def test_the_extra_is_declared() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert "\ntrace = [" in text
