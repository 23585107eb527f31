# SPDX-License-Identifier: Apache-2.0
"""From a name in preferences.md to a chat model, and one call of it that ends in time.

The key comes from the environment or from a file that nobody else can read, and goes nowhere but to the client.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from langchain.chat_models import init_chat_model
from langchain_core.exceptions import ModelError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from openai import Timeout
from pydantic import SecretStr

from ade_hpc.agent.budget import Meter, Spent, Usage
from ade_hpc.agent.deadline import Deadline, within
from ade_hpc.agent.redact import Redactor
from ade_hpc.errors import AdeError, StoreError
from ade_hpc.metrics.text import printable
from ade_hpc.spec.site import Llm
from ade_hpc.store.files import read_secret

MAX_OUTPUT_TOKENS = 1_000
RETRIES = 1
RETRY_AFTER_S = 1.0
RETRIED_STATUS = frozenset({408, 409, 425, 429, *range(500, 600)})
CONNECT_S = 10.0
GRACE_S = 1.0  # for a client's own timeout to come first: it knows whether there was a connection
# What Python and the providers' clients call it when there was none: nothing was asked, and nothing is billed
NOT_CONNECTED = frozenset(
    "ClientConnectorError ConnectError ConnectTimeout ConnectTimeoutError ConnectionRefusedError "
    "EndpointConnectionError NewConnectionError PoolTimeout UnsupportedProtocol gaierror".split()
)
# A model's own name may hold a colon too (llama3:8b), so not every prefix is a provider.
PROVIDERS = frozenset(
    "anthropic azure_ai azure_openai bedrock bedrock_converse cohere deepseek fireworks google_genai google_vertexai "
    "groq huggingface ibm mistralai nvidia ollama openai openrouter perplexity together xai".split()
)
A = TypeVar("A")


class NoJudgement(AdeError):
    """The model gave nothing that could be used this time; the question stays open."""

    exit_code = 3


class BudgetSpent(NoJudgement):
    """The model was not asked (again), because of what it has cost already."""


def chat_model(name: str, llm: Llm, environ: Mapping[str, str], *, timeout_s: float) -> BaseChatModel:
    """The chat model of this name. It never retries by itself: LangChain's client would obey a Retry-After of minutes.

    Raises NoJudgement where a key or a package is missing.
    """
    base_url = llm.base_url or environ.get("OPENAI_BASE_URL") or environ.get("OPENAI_API_BASE")
    provider, _, rest = name.partition(":")
    if base_url is None and rest and provider in PROVIDERS - {"openai"}:
        return _of_provider(name, llm, timeout_s)
    key = read_key(llm, environ)
    if not key and base_url is None:
        raise NoJudgement("no key for the model: set OPENAI_API_KEY, or `llm: {key_file: ...}` in site.yaml")
    try:
        return ChatOpenAI(
            model=rest if rest and provider == "openai" else name,
            base_url=base_url,
            api_key=SecretStr(key or "none"),
            timeout=Timeout(timeout_s, connect=min(CONNECT_S, timeout_s / 2)),
            max_retries=0,
            max_completion_tokens=MAX_OUTPUT_TOKENS,
        )
    except Exception as error:  # noqa: BLE001 - whatever a client finds wrong with its settings: an address, a proxy
        raise NoJudgement(f"the model {printable(name, 60)} can't be set up ({type(error).__name__})") from None


def _of_provider(name: str, llm: Llm, timeout_s: float) -> BaseChatModel:
    settings: dict[str, Any] = {"timeout": timeout_s, "max_retries": 0, "max_tokens": MAX_OUTPUT_TOKENS}
    if llm.key_file:
        settings["api_key"] = key_from(llm.key_file)
    try:
        model: BaseChatModel = init_chat_model(name, **settings)
        return model
    except ImportError:
        package = f"langchain-{name.partition(':')[0].replace('_', '-')}"
        raise NoJudgement(f"the model {printable(name, 60)} needs a package: pip install {package}") from None
    except Exception as error:  # noqa: BLE001 - the same, of clients that we don't know
        raise NoJudgement(f"the model {printable(name, 60)} can't be set up ({type(error).__name__})") from None


def read_key(llm: Llm, environ: Mapping[str, str]) -> str:
    """The key, or an empty text where there is none. Raises NoJudgement for a key file that others could read."""
    return key_from(llm.key_file) if llm.key_file else environ.get("OPENAI_API_KEY", "")


def key_from(path: Path) -> str:
    """The first line of the user's own file of mode 0600."""
    try:
        return read_secret(path)
    except StoreError as error:
        raise NoJudgement(str(error)) from None


@dataclass(frozen=True)
class Caller:
    """Calls models within the budget and the deadline. ``name`` is how prices and the ledger know the model."""

    meter: Meter
    deadline: Deadline
    timeout_s: float
    redact: Redactor

    def call(self, name: str, estimate: int, work: Callable[[], A], message_of: Callable[[A], AIMessage | None]) -> A:
        """Make one call, and once more where it may help. estimate: of the tokens that it sends.

        Raises NoJudgement with a sentence about what went wrong.
        """
        for attempt in range(RETRIES + 1):
            ticket = self._reserve(name, estimate)
            answer, error = self._try(work)
            message = message_of(answer) if answer is not None else None
            self.meter.settle(ticket, _usage(message), billed=error is None or may_be_billed(error))
            if answer is not None:
                return answer
            wait = _retry_after(error) if error is not None else None
            if wait is None or attempt == RETRIES:
                break
            if wait >= self.deadline.left:
                raise NoJudgement(f"{self._sentence(error)}; it asks to wait {wait:.0f} s, longer than this tick lasts")
            time.sleep(wait)
        raise NoJudgement(self._sentence(error))

    def _reserve(self, name: str, estimate: int) -> int:
        if not self.deadline.left:
            raise NoJudgement("the time for this question is over")
        try:
            return self.meter.reserve(name, estimate, MAX_OUTPUT_TOKENS)
        except Spent as spent:
            raise BudgetSpent(str(spent)) from None

    def _try(self, work: Callable[[], A]) -> tuple[A | None, Exception | None]:
        try:
            return within(min(self.timeout_s + GRACE_S, self.deadline.left), work), None
        except Exception as error:  # noqa: BLE001 - a model may fail in every way there is; all of them end here
            return None, error

    def _sentence(self, error: Exception | None) -> str:
        """What a person should know. The server's own words are untrusted, and may hold our key."""
        status = getattr(error, "status_code", None)
        if isinstance(status, int):
            said = getattr(error, "body", None)
            words = said.get("message", "") if isinstance(said, dict) else ""
            more = f": {printable(self.redact(str(words)), 160)}" if words else ""
            return f"the model's server answered with HTTP status {status}{more}"
        if error is not None and not may_be_billed(error):
            return "the model's server can't be reached"
        if _is_timeout(error):
            return "the model's server gave no answer in time"
        if isinstance(error, json.JSONDecodeError):
            return "the model's server answered with something that is not JSON"
        if "Connection" in type(error).__name__:
            return "the model's server broke the connection off"
        return f"the model's answer can't be used ({type(error).__name__})"


def may_be_billed(error: Exception) -> bool:
    """Can a call that ended in this have reached the model? Not where its server refused it, or was never reached."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status >= 400:
        return False
    one: BaseException | None = error
    while one is not None:
        if type(one).__name__ in NOT_CONNECTED:
            return False
        one = one.__cause__ or one.__context__
    return True


def _is_timeout(error: Exception | None) -> bool:
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__


def _retry_after(error: Exception) -> float | None:
    """How long to wait before another try, or None where that would not help."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        if status not in RETRIED_STATUS:
            return None
        headers = getattr(getattr(error, "response", None), "headers", {})
        try:
            return max(0.0, float(headers.get("retry-after", RETRY_AFTER_S)))
        except ValueError:  # a date
            return RETRY_AFTER_S
    passing = isinstance(error, json.JSONDecodeError | ConnectionError) or (
        isinstance(error, ModelError) and error.is_retryable
    )
    return RETRY_AFTER_S if passing and not _is_timeout(error) else None


def _usage(message: AIMessage | None) -> Usage | None:
    counted = message.usage_metadata if message is not None else None
    if counted is None:
        return None
    read, written = counted["input_tokens"], counted["output_tokens"]
    return Usage(0, max(0, read), max(0, written)) if read or written else None
