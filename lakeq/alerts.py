"""A budget is half, 80 % or wholly spent: told once in its period, on standard error and by SNS."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from lakeq import redact
from lakeq.cost import dollars

if TYPE_CHECKING:
    from lakeq.budget import Budget
    from lakeq.config import Settings


@dataclass(frozen=True, slots=True)
class Alert:
    """`percent` of a budget is spent: `spent` dollars by a `share` of spenders in a period."""

    budget: Budget
    share: tuple[tuple[str, str], ...]
    period: str
    percent: int
    spent: Decimal

    def __str__(self) -> str:
        share = ", ".join(f"{scope}={value}" for scope, value in self.share)
        whose = f" ({share})" if share else ""
        return (
            f"budget alert: {dollars(self.spent)} of {dollars(self.budget.usd)} "
            f"({self.percent} %) of {self.budget.title}{whose} are spent in {self.period}"
        )

    def message(self) -> str:
        """The alert as JSON, dollars as text."""
        facts = {
            "budget": self.budget.title,
            "usd": str(self.budget.usd),
            "scope": dict(self.share),
            "period": self.period,
            "percent": self.percent,
            "spent_usd": str(self.spent),
        }
        return json.dumps(facts, ensure_ascii=False)

    def send(self, settings: Settings) -> None:
        """Tell it on standard error and, where a topic is set, by SNS.

        It has been marked as told before, so a message that cannot be sent is not sent again;
        that it could not is told too.
        """
        tell(str(self))
        topic = self.budget.sns_topic or settings.sns_topic
        if not topic:
            return
        try:
            _publish(topic, f"lakeq budget alert: {self.percent} %", self.message(), settings)
        except Exception as error:  # noqa: BLE001  # whatever AWS says: the rows are there already
            tell(f"warning: the alert was not sent to {topic}: {redact.redacted(str(error))}")


def _publish(topic: str, subject: str, message: str, settings: Settings) -> None:
    import boto3

    region = topic.split(":")[3] if topic.count(":") >= 5 else None
    session = boto3.Session(profile_name=settings.s3.profile or None)
    redact.remember_session(session)
    redact.remember_session(session)
    client = session.client("sns", region_name=region)  # AWS_ENDPOINT_URL_SNS is boto3's own
    client.publish(TopicArn=topic, Subject=subject, Message=message)


def tell(text: str) -> None:
    """One message on standard error; a closed one is no reason to fail."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return
