"""Locust scenario: everybody comes at the same moment, once; the run ends when the last one has gone.

locust -f loadtests/stampede.py --headless -u 500 -r 500 -t 60s --host http://127.0.0.1:8000
"""

from locust import task
from locust.exception import StopUser

from loadtests.onlooker import ONLOOKER
from loadtests.visitors import Visitor

ONLOOKER.ends_with_the_last = True


class Stampede(Visitor):
    """One of a crowd that waited for the doors to open."""

    farewells = ("leave", "leave", "close")

    @task
    def come_once(self) -> None:
        """One visit, and home."""
        self.come_and_go()
        raise StopUser
