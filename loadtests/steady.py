"""Locust scenario: visitors come and go for as long as the run lasts; each comes again as somebody new.

locust -f loadtests/steady.py --headless -u 200 -r 20 -t 120s --host http://127.0.0.1:8000
"""

from locust import between, task

from loadtests.visitors import Visitor


class Steady(Visitor):
    """One of those who drop in on an ordinary day; now and then one goes without a word."""

    farewells = ("leave",) * 60 + ("close",) * 39 + ("vanish",)
    wait_time = between(0, 4)

    @task
    def come_again(self) -> None:
        """One visit; the pause before the next one is Locust's."""
        self.come_and_go()
