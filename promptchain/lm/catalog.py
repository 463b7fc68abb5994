"""What litellm knows of hosted models (prices, limits, providers), read from its data file without importing it.

Importing litellm costs seconds; reading the file that lies in its package costs some hundredths of one, once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from promptchain.errors import Fault, ModelError
from promptchain.lm.protocol import Capabilities, Price

_FILE = "model_prices_and_context_window_backup.json"
_TEXT_MODES = frozenset({"chat", "completion", "responses"})
# These take a schema for every model, whatever the file says (litellm.supports_response_schema).
_SCHEMA_PROVIDERS = frozenset({"predibase", "fireworks_ai", "lm_studio", "nebius", "databricks"})
# What may follow a model's name without making it another model: a fine-tune's owner, the date of a snapshot.
_SUFFIX = re.compile(r"(?<=^ft:)([^:/]+):.*|-\d{4}-?\d{2}-?\d{2}$")
# Bedrock names may carry a route and a region before the model: bedrock/converse/us-east-1/anthropic.claude-…
_BEDROCK_ROUTE = re.compile(r"^(?:(?:converse|invoke|[a-z]{2}(?:-gov)?-[a-z]+-\d)/)+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalog. name: as litellm takes it, with its provider. context, max_output: tokens. tools,
    images, files: what it takes, None where the file does not say."""

    name: str
    provider: str
    mode: str
    price: Price | None
    context: int | None
    max_output: int | None
    schema: bool
    tools: bool | None = None
    images: bool | None = None
    files: bool | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """Who serves models.

    keys: the environment variables it needs; each item is a group of which any one will do, the usual one first.
    url: where it answers unless told otherwise, None where that depends on the account.
    strict: whether a call without the keys is sure to fail; not where there are other ways in (AWS profiles, gcloud).
    """

    keys: tuple[tuple[str, ...], ...] = ()
    url: str | None = None
    strict: bool = True


_AWS = Provider((("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN"), ("AWS_SECRET_ACCESS_KEY",)), strict=False)

PROVIDERS: Mapping[str, Provider] = {
    "ai21": Provider((("AI21_API_KEY",),), "https://api.ai21.com/studio/v1"),
    "anthropic": Provider((("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),), "https://api.anthropic.com"),
    "azure": Provider(
        (("AZURE_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_AD_TOKEN", "AZURE_CLIENT_ID"), ("AZURE_API_BASE",)),
    ),
    "azure_ai": Provider((("AZURE_AI_API_KEY",), ("AZURE_AI_API_BASE",)), strict=False),
    "bedrock": _AWS,
    "cerebras": Provider((("CEREBRAS_API_KEY",),), "https://api.cerebras.ai/v1"),
    "codestral": Provider((("CODESTRAL_API_KEY",),), "https://codestral.mistral.ai/v1"),
    "cohere": Provider((("COHERE_API_KEY", "CO_API_KEY"),), "https://api.cohere.ai"),
    "dashscope": Provider((("DASHSCOPE_API_KEY",),), "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    "databricks": Provider((("DATABRICKS_API_KEY",), ("DATABRICKS_API_BASE",)), strict=False),
    "deepinfra": Provider((("DEEPINFRA_API_KEY",),), "https://api.deepinfra.com/v1/openai"),
    "deepseek": Provider((("DEEPSEEK_API_KEY",),), "https://api.deepseek.com"),
    "fireworks_ai": Provider(
        (("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),),
        "https://api.fireworks.ai/inference/v1",
    ),
    "gemini": Provider((("GEMINI_API_KEY", "GOOGLE_API_KEY"),), "https://generativelanguage.googleapis.com"),
    "github": Provider((("GITHUB_API_KEY",),), "https://models.inference.ai.azure.com"),
    "groq": Provider((("GROQ_API_KEY",),), "https://api.groq.com/openai/v1"),
    "hosted_vllm": Provider((("HOSTED_VLLM_API_BASE",),), strict=False),
    "huggingface": Provider((("HUGGINGFACE_API_KEY", "HF_TOKEN"),), "https://router.huggingface.co", strict=False),
    "litellm_proxy": Provider((("LITELLM_PROXY_API_KEY",), ("LITELLM_PROXY_API_BASE",)), strict=False),
    "llamafile": Provider((), "http://127.0.0.1:8080/v1"),
    "lm_studio": Provider((("LM_STUDIO_API_BASE",),), strict=False),
    "mistral": Provider((("MISTRAL_API_KEY",),), "https://api.mistral.ai/v1"),
    "moonshot": Provider((("MOONSHOT_API_KEY",),), "https://api.moonshot.ai/v1"),
    "nebius": Provider((("NEBIUS_API_KEY",),), "https://api.studio.nebius.ai/v1"),
    "novita": Provider((("NOVITA_API_KEY",),), "https://api.novita.ai/v3/openai"),
    "nvidia_nim": Provider((("NVIDIA_NIM_API_KEY",),), "https://integrate.api.nvidia.com/v1"),
    "ollama": Provider((), "http://localhost:11434"),
    "ollama_chat": Provider((), "http://localhost:11434"),
    "openai": Provider((("OPENAI_API_KEY",),), "https://api.openai.com/v1"),
    "openrouter": Provider((("OPENROUTER_API_KEY", "OR_API_KEY"),), "https://openrouter.ai/api/v1"),
    "perplexity": Provider((("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),), "https://api.perplexity.ai"),
    "replicate": Provider((("REPLICATE_API_KEY",),), "https://api.replicate.com/v1"),
    "sagemaker": _AWS,
    "sambanova": Provider((("SAMBANOVA_API_KEY",),), "https://api.sambanova.ai/v1"),
    "together_ai": Provider(
        (("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"),),
        "https://api.together.xyz/v1",
    ),
    "vertex_ai": Provider((("VERTEXAI_PROJECT",), ("VERTEXAI_LOCATION",)), strict=False),
    "watsonx": Provider((("WATSONX_API_KEY", "WATSONX_TOKEN"), ("WATSONX_API_BASE", "WATSONX_URL")), strict=False),
    "xai": Provider((("XAI_API_KEY",),), "https://api.x.ai/v1"),
}
_FAMILY = re.compile(r"^(vertex_ai|fireworks_ai|bedrock|sagemaker|cohere|ai21)(?:-.*|_converse|_chat|_beta)$")
_MAKERS = ("openai/", "anthropic/", "gemini/", "mistral/", "cohere/", "deepseek/", "xai/", "ai21/")
# Providers that litellm takes but that have no models of their own in its file, for they serve the user's.
_UNLISTED = frozenset({"custom_openai", "openai_like", "vllm", "xinference", "text-completion-openai"})


@lru_cache(maxsize=1024)
def lookup(model: str) -> Entry | None:
    """The catalog's entry for `model`, found as litellm finds it: by the whole name, then without its provider."""
    provider, bare = _split(model)
    if provider == "bedrock":
        bare = _BEDROCK_ROUTE.sub("", bare)
    for name in dict.fromkeys((model, bare, f"{provider}/{bare}")):
        for key in (name, _SUFFIX.sub(r"\1", name)):
            raw = _catalog().get(key)
            # "groq/gpt-4o" must not get the prices of OpenAI's gpt-4o.
            if raw is not None and provider in (None, _provider(raw)):
                return _entry(key, raw)
    return None


@lru_cache(maxsize=1024)
def capabilities(model: str) -> Capabilities:
    """What the catalog says `model` can do; the most cautious answer for one it does not have."""
    entry = lookup(model)
    if entry is None:
        return Capabilities(schema=provider_of(model) in _SCHEMA_PROVIDERS)
    return Capabilities(
        schema=entry.schema,
        price=entry.price,
        max_output=entry.max_output,
        tools=entry.tools is True,  # where that is not known, calls are written into the reply, which any model can
        images=entry.images,
        files=entry.files,
    )


@lru_cache(maxsize=1024)
def provider_of(model: str) -> str | None:
    """The provider that `model` names, or that a bare name of the catalog belongs to; None where neither is known."""
    provider, bare = _split(model)
    if provider is not None:
        return provider
    raw = _catalog().get(bare) or _catalog().get(_SUFFIX.sub(r"\1", bare))
    return _provider(raw) if raw is not None else None


@cache
def known_models() -> tuple[str, ...]:
    """Every model that writes text, sorted, as "provider/model"."""
    return tuple(sorted({_full_name(key, raw) for key, raw in _catalog().items() if raw.get("mode") in _TEXT_MODES}))


def nearest_model(name: str) -> str | None:
    """The known model whose name is nearest to a misspelt `name`, or None where none is near.

    >>> nearest_model("openai/gpt-4o-mni")
    'openai/gpt-4o-mini'
    """
    provider, bare = _split(name)
    if provider is not None:
        choices = {
            full.removeprefix(f"{provider}/"): full for full in known_models() if full.startswith(f"{provider}/")
        }
    elif "/" in name:
        choices = {full: full for full in known_models()}
    else:
        # Without a provider, look at those who make models, so that "gpt-4" finds OpenAI's and no reseller's.
        choices = {full.partition("/")[2]: full for full in known_models() if full.startswith(_MAKERS)}
    matches = get_close_matches(bare.lower(), choices, n=1, cutoff=0.6)
    return choices[matches[0]] if matches else None


def credentials(provider: str) -> tuple[str, ...]:
    """The environment variables that `provider` needs, by their usual names; () where it needs none or is unknown."""
    found = PROVIDERS.get(_family(provider))
    return tuple(group[0] for group in found.keys) if found else ()


def missing_credentials(provider: str) -> tuple[str, ...]:
    """Those of `credentials` that are not set, nor any variable that stands in for them."""
    found = PROVIDERS.get(_family(provider))
    if found is None:
        return ()
    return tuple(group[0] for group in found.keys if not any(os.environ.get(name) for name in group))


def endpoint(provider: str) -> str | None:
    """The address that the environment names for `provider` in place of its own, as litellm reads it."""
    name = re.sub(r"\W", "_", provider).upper()
    names = [f"{name}_API_BASE", f"{name}_BASE_URL"]
    if provider == "openai":
        names.reverse()
    if provider == "fireworks_ai":
        names.insert(0, "FIREWORKS_API_BASE")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def api_base(provider: str, params: Mapping[str, Any]) -> str | None:
    """The endpoint that a request's params or the environment name; None for the provider's own."""
    return params.get("api_base") or params.get("base_url") or endpoint(provider)


def has_key(model: str, params: Mapping[str, Any]) -> bool:
    """Whether there is a key for `model`, so far as one is needed; False for an endpoint of one's own without one.

    Raises ModelError where the provider itself would be called without a key, and for a key among the params.
    """
    provider = provider_of(model) or ""
    if "api_key" in params:
        hint = "set the environment variable " + (" and ".join(credentials(provider)) or "of the provider")
        raise ModelError("a key does not belong in params", fault=Fault.BAD_REQUEST, model=model, hint=hint)
    missing = missing_credentials(provider)
    if not missing or not PROVIDERS[_family(provider)].strict:
        return True
    if api_base(provider, params) is not None:
        return False
    hint = f"set {' and '.join(missing)}, or api_base for a server of your own"
    raise ModelError(f"{model} needs a key for {provider}", fault=Fault.AUTH, model=model, hint=hint)


def data_file() -> Path | None:
    """litellm's data file, or None where litellm is not installed. Finding it does not run the package."""
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name(_FILE)
    return path if path.is_file() else None


@cache
def _catalog() -> Mapping[str, Mapping[str, Any]]:
    path = data_file()
    if path is None:
        return {}
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError):  # a broken installation; the import of litellm will say so
        return {}
    # Two keys are no models: a template for contributors, and rules for models that are newer than the file.
    return {name: entry for name, entry in raw.items() if "litellm_provider" in entry and name != "sample_spec"}


@cache
def _known_providers() -> frozenset[str]:
    listed = {str(raw["litellm_provider"]) for raw in _catalog().values()}
    return frozenset(listed | {_family(name) for name in listed} | PROVIDERS.keys() | _UNLISTED)


def _split(model: str) -> tuple[str | None, str]:
    """The provider that `model` names, if it names one, and the rest."""
    head, slash, rest = model.partition("/")
    return (_family(head), rest) if slash and head in _known_providers() else (None, model)


def _family(provider: str) -> str:
    """The provider by its plain name: litellm's file splits some of them by what they serve."""
    return _FAMILY.sub(r"\1", provider)


def _provider(raw: Mapping[str, Any]) -> str:
    return _family(str(raw["litellm_provider"]))


def _full_name(key: str, raw: Mapping[str, Any]) -> str:
    provider = _provider(raw)
    return key if key.startswith(f"{provider}/") else f"{provider}/{key}"


def _entry(key: str, raw: Mapping[str, Any]) -> Entry:
    provider = _provider(raw)
    name = _full_name(key, raw)
    # Where the provider's own entry does not say, litellm asks the one that has the model's bare name.
    bare = _catalog().get(name.partition("/")[2], {})

    def able(what: str) -> bool | None:
        told = raw.get(f"supports_{what}", bare.get(f"supports_{what}"))
        return told if isinstance(told, bool) else None

    prompt, completion = raw.get("input_cost_per_token"), raw.get("output_cost_per_token")
    priced = isinstance(prompt, int | float) and isinstance(completion, int | float)
    return Entry(
        name=name,
        provider=provider,
        mode=str(raw.get("mode", "chat")),
        price=Price(float(prompt or 0), float(completion or 0)) if priced else None,
        context=_count(raw.get("max_input_tokens") or raw.get("max_tokens")),
        max_output=_count(raw.get("max_output_tokens") or raw.get("max_tokens")),
        schema=able("response_schema") is True or provider in _SCHEMA_PROVIDERS,
        tools=able("function_calling"),
        images=able("vision"),
        files=able("pdf_input"),
    )


def _count(value: object) -> int | None:
    """Some counts are written as floats, some as text."""
    return int(value) if isinstance(value, int | float) and value > 0 else None
