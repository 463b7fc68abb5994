"""The names of spans and attributes: the one place that has them.

`gen_ai.*` is of OpenTelemetry's semantic conventions for generative AI (still in development; as of v0.1.0 of
https://github.com/open-telemetry/semantic-conventions-genai, where the registry moved from the general conventions at
v1.41): `provider.name` in place of `system`, `invoke_workflow` with `agent.name` in place of `workflow.name`.
`promptchain.*` is our own.
"""

from __future__ import annotations

# What spans are called: `chat gpt-5-mini`. Those of chains and steps are ours; the rest is the conventions'.
CHAIN_SPAN = "chain"
STEP_SPAN = "step"
ITEM_SPAN = "item"

OPERATION = "gen_ai.operation.name"
INVOKE_WORKFLOW = "invoke_workflow"
CHAT = "chat"
EMBEDDINGS = "embeddings"
RETRIEVAL = "retrieval"
EXECUTE_TOOL = "execute_tool"

PROVIDER = "gen_ai.provider.name"
AGENT_NAME = "gen_ai.agent.name"
AGENT_VERSION = "gen_ai.agent.version"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
OUTPUT_TYPE = "gen_ai.output.type"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
DATA_SOURCE = "gen_ai.data_source.id"
RETRIEVAL_TOP_K = "gen_ai.retrieval.top_k"
ERROR_TYPE = "error.type"

# What people wrote and models said: only where the user asks for it.
OUTPUT_MESSAGES = "gen_ai.output.messages"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"
DOCUMENTS = "gen_ai.retrieval.documents"
INPUTS = "promptchain.inputs"
OUTPUTS = "promptchain.outputs"

CHAIN = "promptchain.chain"
VERSION = "promptchain.version"
RUN = "promptchain.run.id"
REPLAY_OF = "promptchain.replay_of"
COMPILED = "promptchain.compiled"
EXAMPLE = "promptchain.example"
MODEL = "promptchain.model"
STATUS = "promptchain.status"
CALLS = "promptchain.calls"
COST = "promptchain.cost"
STEP = "promptchain.step"
KIND = "promptchain.step.kind"
ITEMS = "promptchain.step.items"
ITEM = "promptchain.item"
SAMPLE = "promptchain.sample"
TURN = "promptchain.turn"
CACHED = "promptchain.cached"

# Values of error.type, beside those of `errors.Fault`.
OTHER = "_OTHER"
UNUSABLE = "unusable_reply"
INTERRUPTED = "interrupted"

PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""Providers that the conventions call otherwise than litellm does."""

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The environment variable that asks for what people wrote and models said: `true`, `span_only`, `span_and_event`."""
