"""Random campaigns find nothing on the scripts as they are, and find every rule that is taken out of them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from loadtests.campaign.blocking import BlockingClient
from loadtests.campaign.campaign import Campaign, CampaignFailed
from loadtests.campaign.scenario import SCENARIOS
from ropeline.lua.loader import load_script, script_names
from tests.line.mirror import MirroredStore
from tests.line.mutations import RULES, Rule
from tests.servers import Server

STEPS = 300
SEEDS = 8


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_campaign_finds_no_broken_promise(blocking_client: BlockingClient, scenario: str) -> None:
    seen = Campaign(blocking_client, scenario, 1000).run(2 * STEPS)

    assert seen["admissions"] > 0


@pytest.mark.parametrize("scenario", ["mixed", "edits lost", "launches lost", "rated", "crowd"])
def test_a_campaign_runs_on_the_model_as_on_the_scripts(blocking_client: BlockingClient, scenario: str) -> None:
    store = MirroredStore(blocking_client, f"mirrored-{scenario.replace(' ', '-')}")

    assert Campaign(blocking_client, scenario, 2000, store=store).run(STEPS)["admissions"] > 0


def test_a_campaign_runs_on_the_model_as_on_redis_7(redis7: Server) -> None:
    client = BlockingClient(redis7.port)
    store = MirroredStore(client, "mirrored-on-redis-7")

    assert Campaign(client, "mixed", 2001, store=store).run(STEPS)["admissions"] > 0
    client.close()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_campaign_fails_without_the_rule(blocking_client: BlockingClient, rule: Rule) -> None:
    assert rule.unmatched() == []
    assert any(_fails(Campaign(blocking_client, rule.scenario, seed, rewrite=rule.rewrite)) for seed in range(SEEDS))


def _fails(campaign: Campaign) -> bool:
    try:
        campaign.run(STEPS)
    except CampaignFailed:
        return True
    return False


def test_each_patch_of_a_rule_changes_a_script_in_one_place() -> None:
    for rule in RULES:
        changed = [
            name for name in script_names() if rule.rewrite(name, load_script(name).text) != load_script(name).text
        ]
        assert changed, rule.name


def test_the_command_runs_campaigns_and_prints_one_json_object() -> None:
    command = [
        sys.executable,
        "-m",
        "loadtests.campaign",
        "--seeds",
        "1",
        "--steps",
        "20",
        "--scenario",
        "calm",
        "--json",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)

    report = json.loads(ended.stdout)
    assert (report["campaigns"], report["steps"], report["broken"]) == (1, 20, [])
