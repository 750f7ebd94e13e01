"""Puts one of everything that MLflow's servers of 2026 hold beside the rest onto a server of the newest version."""

from __future__ import annotations

import json
from typing import Any

from support.seed import Seeder

SECRET = "sk-not-to-be-seen-0123456789"
MCP = "io.example/tools"
TRACE = "tr-00000000000000000000000000000001"


def seed_secret(uri: str) -> str:
    """Do by hand on a target what no migration can; return the secret's id."""
    body = {"secret_name": "key", "secret_value": {"api_key": SECRET[::-1]}, "provider": "openai",
            "auth_config": {"api_version": "2026-01"}}  # fmt: skip
    return str(Seeder(uri).call("POST", "gateway/secrets/create", body, version="3.0")["secret"]["secret_id"])


def seed_later(uri: str, experiment: str) -> None:
    """Write one of each; the trace :data:`TRACE`, which goes on and has no spans yet, is put into review."""
    seed = Seeder(uri)

    def post(path: str, **body: Any) -> Any:
        return seed.call("POST", path, body, version="3.0")

    run = seed.run(experiment, "detector")
    post("issues", experiment_id=experiment, name="slow", description="slow answers", status="pending",
         severity="high", root_causes=["db"], categories=["speed"], source_run_id=run, created_by="ada")  # fmt: skip
    options = {"categorical": {"options": ["good", "bad"]}}
    schema = post("label-schemas/create", experiment_id=experiment, name="tone", type="FEEDBACK", instruction="look",
                  input=options)["label_schema"]["schema_id"]  # fmt: skip
    # one that no queue asks
    post("label-schemas/create", experiment_id=experiment, name="length", type="FEEDBACK", input=options)
    queue = post("review-queues/create", experiment_id=experiment, name="first look", queue_type="CUSTOM",
                 users=["ada"], schema_ids=[schema])["review_queue"]["queue_id"]  # fmt: skip
    post("review-queues/update", queue_id=queue, new_owner="Ada")
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
    info = {"trace_id": TRACE, "trace_location": place, "request_time": "2026-01-01T00:00:00Z", "state": "IN_PROGRESS"}
    post("traces", trace={"trace_info": info})
    post("review-queues/items/add", queue_id=queue, item_type="TRACE", item_ids=[TRACE])
    secret = post("gateway/secrets/create", secret_name="key", secret_value={"api_key": SECRET}, provider="openai",
                  auth_config={"api_version": "2026-01"})["secret"]["secret_id"]  # fmt: skip
    model = post("gateway/model-definitions/create", name="gpt", secret_id=secret, provider="openai",
                 model_name="gpt-5")["model_definition"]["model_definition_id"]  # fmt: skip
    models = [{"model_definition_id": model, "linkage_type": "PRIMARY", "weight": 1.0}]
    endpoint = post("gateway/endpoints/create", name="chat", model_configs=models)["endpoint"]["endpoint_id"]
    post("gateway/endpoints/set-tag", endpoint_id=endpoint, key="team", value="growth")
    text = json.dumps({
        "name": "safe",
        "instructions_judge_pydantic_data": {"instructions": "is {{ outputs }} safe?", "model": "gateway:/chat"},
    })  # fmt: skip
    scorer = post("scorers/register", experiment_id=experiment, name="safe", serialized_scorer=text)["scorer_id"]
    for name in ("safe", "kind"):
        post("scorers/register", experiment_id=experiment, name=name, serialized_scorer=text.replace("safe", name))
    guard = post("gateway/guardrails/create", name="guard", scorer_id=scorer, scorer_version=1, stage="BEFORE",
                 action="SANITIZATION", action_endpoint_id=endpoint)["guardrail"]["guardrail_id"]  # fmt: skip
    post("gateway/guardrails/add-to-endpoint", endpoint_id=endpoint, guardrail_id=guard, execution_order=1)
    post("gateway/budgets/create", budget_unit="USD", budget_amount=10.0, duration={"unit": "DAYS", "value": 1},
         target_scope="ENDPOINT", target_value=endpoint, budget_action="ALERT")  # fmt: skip
    post("mcp-servers", name=MCP, description="tools")
    post(f"mcp-servers/{MCP}/tags", key="team", value="growth")
    for version, alias in (("0.9.0", "former"), ("1.0.0", "prod")):
        description = {"name": MCP, "version": version, "description": "described"}
        post(f"mcp-servers/{MCP}/versions", server_json=description, tools=[{"name": "add"}], status="active")
        post(f"mcp-servers/{MCP}/aliases", alias=alias, version=version)
    post(f"mcp-servers/{MCP}/versions/1.0.0/tags", key="checked", value="yes")
    post(f"mcp-servers/{MCP}/endpoints", url="https://mcp.example/x", server_alias="prod")
    seed.end(run)
