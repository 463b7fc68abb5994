import subprocess
import sys

import pytest

from promptchain.errors import Fault, ModelError
from promptchain.lm import catalog
from promptchain.lm.protocol import Usage
from tests.patience import at_most


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in catalog.PROVIDERS.values():
        for name in (name for group in provider.keys for name in group):
            monkeypatch.delenv(name, raising=False)
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_reads_without_importing_litellm_and_fast() -> None:
    code = (
        "import sys, time; from promptchain.lm import catalog\n"
        "started = time.process_time(); catalog.lookup('gpt-4o'); took = time.process_time() - started\n"
        "assert not {'litellm', 'httpx', 'openai'} & set(sys.modules); print(took)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.3  # about 0.02 s


@pytest.mark.parametrize("name", ["gpt-4o", "openai/gpt-4o", "openai/gpt-4o-2099-01-31"])
def test_a_model_is_found_by_any_of_its_names(name: str) -> None:
    entry = catalog.lookup(name)
    assert entry is not None
    assert (entry.name, entry.provider, entry.schema) == ("openai/gpt-4o", "openai", True)
    assert entry.price is not None
    assert entry.price.of(Usage(1_000_000, 0)) == pytest.approx(2.5)


def test_a_fine_tune_has_the_entry_of_fine_tunes() -> None:
    entry = catalog.lookup("ft:gpt-4o-2024-08-06:me::abc123")
    assert entry is not None
    assert entry.name == "openai/ft:gpt-4o-2024-08-06"


@pytest.mark.parametrize("name", ["groq/gpt-4o", "hosted_vllm/gpt-4o", "openai/no-such", "no-such", "", "/", "a/b/c"])
def test_another_providers_prices_are_not_taken(name: str) -> None:
    assert catalog.lookup(name) is None
    assert catalog.capabilities(name).price is None


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o-mini", "openai"),
        ("claude-opus-4-6", "anthropic"),
        ("openai/anything", "openai"),
        ("azure/my-deployment", "azure"),
        ("bedrock/anthropic.claude-opus-4-6-v1", "bedrock"),
        ("bedrock/converse/us-east-1/anthropic.claude-opus-4-6-v1", "bedrock"),
        ("vertex_ai/gemini-2.5-pro", "vertex_ai"),
        ("cohere_chat/command-a", "cohere"),
        ("hosted_vllm/mine", "hosted_vllm"),
        ("mine", None),
        ("nobody/mine", None),
    ],
)
def test_provider_of(model: str, provider: str | None) -> None:
    assert catalog.provider_of(model) == provider


def test_routes_and_regions_of_bedrock() -> None:
    plain = catalog.lookup("bedrock/anthropic.claude-opus-4-6-v1")
    assert plain is not None
    assert catalog.lookup("bedrock/converse/anthropic.claude-opus-4-6-v1") == plain


def test_tools_images_and_files_are_as_the_data_say() -> None:
    able = catalog.capabilities("openai/gpt-4o")
    assert (able.tools, able.images, able.files) == (True, True, True)
    able = catalog.capabilities("gpt-3.5-turbo-instruct")
    assert (able.tools, able.images, able.files) == (False, None, None)
    able = catalog.capabilities("hosted_vllm/mine")
    assert (able.tools, able.images, able.files) == (False, None, None)


def test_capabilities_of_an_unknown_model_are_cautious() -> None:
    unknown = catalog.capabilities("openai/no-such")
    assert (unknown.schema, unknown.grammar, unknown.price, unknown.max_output) == (False, False, None, None)


def test_known_models_carry_their_provider_and_are_found_again() -> None:
    models = catalog.known_models()
    assert len(models) > 1000
    assert {"openai/gpt-4o", "anthropic/claude-opus-4-6", "gemini/gemini-2.5-flash"} <= set(models)
    assert list(models) == sorted(set(models))
    for model in models:
        entry = catalog.lookup(model)
        assert entry is not None, model
        assert catalog.provider_of(model) == entry.provider == model.partition("/")[0]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("openai/gpt-4oo", "openai/gpt-4o"),
        ("opnai/gpt-4o", "openai/gpt-4o"),
        ("gtp-4o-mini", "openai/gpt-4o-mini"),
        ("anthropic/claude-opus4.6", "anthropic/claude-opus-4-6"),
        ("openai/zzzzzzzzz", None),
    ],
)
def test_nearest_model(name: str, near: str | None) -> None:
    with at_most(1):
        assert catalog.nearest_model(name) == near


def test_credentials() -> None:
    assert catalog.credentials("openai") == ("OPENAI_API_KEY",)
    assert catalog.credentials("azure") == ("AZURE_API_KEY", "AZURE_API_BASE")
    assert catalog.credentials("ollama") == ()
    assert catalog.credentials("no-such-provider") == ()


def test_missing_credentials_know_of_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert catalog.missing_credentials("gemini") == ("GEMINI_API_KEY",)
    monkeypatch.setenv("GOOGLE_API_KEY", "x")
    assert catalog.missing_credentials("gemini") == ()


def test_endpoint_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert catalog.endpoint("openai") is None
    monkeypatch.setenv("OPENAI_API_BASE", "http://one/v1")
    assert catalog.endpoint("openai") == "http://one/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://two/v1")  # litellm looks at it first
    assert catalog.endpoint("openai") == "http://two/v1"
    assert catalog.api_base("openai", {"api_base": "http://three/v1"}) == "http://three/v1"


def test_has_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="openai/gpt-4o needs a key for openai; set OPENAI_API_KEY") as raised:
        catalog.has_key("openai/gpt-4o", {})
    assert raised.value.fault is Fault.AUTH
    assert not catalog.has_key("openai/gpt-4o", {"api_base": "http://127.0.0.1:1/v1"})
    assert catalog.has_key("bedrock/anthropic.claude-opus-4-6-v1", {})  # perhaps there is a profile
    assert catalog.has_key("ollama/llama3", {})
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert catalog.has_key("openai/gpt-4o", {})
    with pytest.raises(ModelError, match="a key does not belong in params"):
        catalog.has_key("openai/gpt-4o", {"api_key": "x"})


# Not asked of all: for some providers litellm would go to the network, or start a login.
SAME = ("openai", "anthropic", "gemini", "mistral", "groq", "deepseek", "xai", "cohere", "azure", "together_ai")
QUIRKS = {"azure/mistral-large-latest"}  # litellm takes it for a model of OpenAI's, and then does not find it


@pytest.mark.filterwarnings("ignore:Item.* on TypedDict class:UserWarning")
@pytest.mark.parametrize("provider", [*SAME, "bedrock", "vertex_ai", "fireworks_ai", "perplexity"])
def test_litellm_itself_says_the_same(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.setenv("LITELLM_MODE", "PRODUCTION")
    import litellm

    for model in (name for name in catalog.known_models() if name.startswith(f"{provider}/") and name not in QUIRKS):
        entry = catalog.lookup(model)
        info = litellm.get_model_info(model)
        assert entry is not None
        if entry.price is not None:
            assert entry.price.prompt == info["input_cost_per_token"], model
            assert entry.price.completion == info["output_cost_per_token"], model
        assert entry.schema == bool(litellm.supports_response_schema(model)), model
