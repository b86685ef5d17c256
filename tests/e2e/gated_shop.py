"""The ticket shop behind the gate, as somebody would deploy it: uvicorn serves `app`, the environment has the settings."""

import os

from ropeline import GateMiddleware, GateSettings
from ropeline.examples.ticketshop.app import create_shop

app = GateMiddleware(create_shop(os.environ["PAYMENT_URL"]), settings=GateSettings.from_env())
