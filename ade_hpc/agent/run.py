# SPDX-License-Identifier: Apache-2.0
"""Ask a language model one question. The only entrance to LangChain: whoever imports this module pays for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langsmith import tracing_context

from ade_hpc.agent.budget import Allowance, Meter
from ade_hpc.agent.deadline import Deadline
from ade_hpc.agent.loop import Bounds
from ade_hpc.agent.model import BudgetSpent, Caller, NoJudgement, chat_model, read_key
from ade_hpc.agent.prompt import Fence, first_message, system_prompt
from ade_hpc.agent.redact import redactor
from ade_hpc.agent.situation import Guard, Judgement, Situation
from ade_hpc.agent.tools import Desk, make_tools
from ade_hpc.metrics.text import printable
from ade_hpc.spec.site import Llm

WORDS_LIMIT = 800
STEPS_LIMIT = 100  # of LangGraph, which counts every hook; the budget ends the loop long before


def ask(
    situation: Situation,
    guard: Guard,
    allowance: Allowance,
    llm: Llm,
    environ: Mapping[str, str],
    *,
    seconds: float,
) -> Judgement:
    """One judgement, or "no judgement this time" with its reason. Never raises for what a model or its server does.

    guard: judges each proposal; its answer is what the model reads. environ: where keys and addresses are looked for.
    seconds: after them there is no judgement, whatever the server does.
    """
    meter = Meter(allowance)
    try:
        desk, model_name, model, caller = _prepare(situation, guard, meter, llm, environ, seconds)
    except NoJudgement as reason:
        return Judgement("failed", str(reason))
    outcome: Literal["answered", "failed", "spent"] = "answered"
    try:
        text = _converse(desk, model_name, model, caller, allowance)
    except BudgetSpent as reason:
        outcome, text = "spent", str(reason)
    except NoJudgement as reason:
        outcome, text = "failed", str(reason)
    except Exception as error:  # noqa: BLE001 - whatever a framework does with a hostile answer, the tick goes on
        outcome, text = "failed", f"the model's answer can't be used ({type(error).__name__})"
    return Judgement(
        outcome="answered" if desk.decided else outcome,
        text=printable(desk.redact(text), WORDS_LIMIT),
        decisions=tuple(desk.decisions),
        notes=tuple(desk.notes),
        usage=dict(meter.used),
        picture=situation.picture if desk.drawn else None,
    )


def _prepare(
    situation: Situation, guard: Guard, meter: Meter, llm: Llm, environ: Mapping[str, str], seconds: float
) -> tuple[Desk, str, Any, Caller]:
    agent = situation.preferences.agent
    if agent is None or agent.model is None:
        raise NoJudgement("preferences.md names no model")
    redact = redactor(environ, *([read_key(llm, environ)] if llm.key_file else []))
    timeout_s = min(llm.timeout_s, seconds)
    model = chat_model(agent.model, llm, environ, timeout_s=timeout_s)
    sees = agent.vision_model
    vision = (sees, chat_model(sees, llm, environ, timeout_s=timeout_s)) if sees else None
    caller = Caller(meter, Deadline.after(seconds), timeout_s, redact)
    author = f"model:{printable(agent.model, 60)}"
    desk = Desk(situation, guard, Fence(redact), redact, caller, author, vision)
    return desk, agent.model, model, caller


def _converse(desk: Desk, model_name: str, model: Any, caller: Caller, allowance: Allowance) -> str:
    """Run the loop; returns the model's last words. Raises NoJudgement."""
    situation = desk.situation
    graph: Any = create_agent(
        model,
        make_tools(desk),
        system_prompt=system_prompt(situation, desk.fence, allowance.calls),
        middleware=[Bounds(caller, desk, model_name, desk.redact)],
    )
    with tracing_context(enabled=False):  # the curves go to the model that the person named, and to nobody else
        state = graph.invoke(
            {"messages": [HumanMessage(first_message(situation, desk.fence))]}, config={"recursion_limit": STEPS_LIMIT}
        )
    spoken = [message.text for message in state["messages"] if isinstance(message, AIMessage) and message.text.strip()]
    return spoken[-1] if spoken else ""
