"""Who may cause work: the topics, buckets and keys that the catalog names, and no others.

A message is anybody's until its topic, bucket and key are those of a dataset; before that not one
request is made for it. What only looks forged is refused and counted; what is merely of no
interest (another file of the bucket, another site) is acknowledged and counted. A confirmation of
SNS is for a person to read: nothing is subscribed by what stands in a queue.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from typing import Literal

from lakeq.catalog import Dataset, Table
from lakeq.ingest.adapters import Adapter
from lakeq.ingest.messages import Event
from lakeq.keys import KeyTemplate, Wanted

Action = Literal["take", "skip", "refuse"]
Cause = Literal[
    "", "no object", "unknown topic", "unknown bucket", "requester pays", "other key", "skipped",
    "not selected", "confirmation",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of one event.

    `take` it for `dataset`; `skip` it: acknowledge and count; `refuse` it: to the dead letters
    with `reason`, and count it for the alarm. `cause` is the short form, for counters.
    """

    action: Action
    dataset: str = ""
    cause: Cause = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys of one bucket that one dataset has objects at."""

    dataset: str
    pattern: re.Pattern[str]
    skip: re.Pattern[str] | None
    pays: bool
    templates: tuple[KeyTemplate, ...]


@dataclass(frozen=True)
class AllowList:
    """What is let in of the events of `datasets`.

    `topics` are the user's own, beside those of the catalog; a message without a topic (raw
    delivery, EventBridge) is judged by its bucket and key alone. Unless `only` is empty, what none
    of it includes by the templates of a dataset's keys is left, such as other sites. Buckets whose
    reader pays are read only with `requester_pays`, since every message can then cost money.
    """

    datasets: Collection[Dataset]
    topics: Collection[str] = ()
    only: Sequence[Wanted] = ()
    requester_pays: bool = False

    @cached_property
    def adapters(self) -> Mapping[str, Adapter]:
        """How messages about scenes are read, by topic; under "" where there is but one way."""
        told = {t.arn: Adapter(t.objects) for d in self.datasets for t in d.topics if t.objects}
        ways = {t.objects for d in self.datasets for t in d.topics if t.objects}
        if len(ways) == 1:
            only = next(iter(told.values()))
            return {**dict.fromkeys(["", *self.topics], only), **told}
        return told

    @cached_property
    def _topics(self) -> frozenset[str]:
        named = (arn for dataset in self.datasets for arn in dataset.notifications)
        return frozenset(["", *named, *self.topics])

    @cached_property
    def _buckets(self) -> Mapping[str, list[_Keys]]:
        found: dict[str, list[_Keys]] = {}
        for dataset in self.datasets:
            for bucket, keys in _keys_of(dataset):
                found.setdefault(bucket, []).append(keys)
        return found

    def judge(self, event: Event) -> Verdict:
        """What is to become of `event`; asks nobody."""
        if event.topic not in self._topics:
            reason = f"topic {event.topic!r} is not one of {self._names}'s"
            return Verdict("refuse", "", "unknown topic", reason)
        if event.shape == "confirmation":
            return _of_confirmation(event)
        if event.kind == "other":
            return Verdict("skip", "", "no object", event.name)
        places = self._buckets.get(event.bucket)
        if places is None:
            reason = f"bucket {event.bucket!r} is not one of {self._names}'s"
            return Verdict("refuse", "", "unknown bucket", reason)
        for keys in places:
            if keys.pattern.fullmatch(event.key):
                return self._of_object(event, keys)
        return Verdict("skip", "", "other key", f"{event.uri!r} is no object of a table")

    def _of_object(self, event: Event, keys: _Keys) -> Verdict:
        if keys.pays and not self.requester_pays:
            reason = f"bucket {event.bucket!r} lets its readers pay, and that was not agreed to"
            return Verdict("refuse", keys.dataset, "requester pays", reason)
        if keys.skip is not None and keys.skip.match(event.key.rpartition("/")[2]):
            return Verdict("skip", keys.dataset, "skipped", "skipped by the catalog")
        if not self._is_wanted(event.uri, keys.templates):
            return Verdict("skip", keys.dataset, "not selected", "not among what was chosen")
        return Verdict("take", keys.dataset)

    def _is_wanted(self, uri: str, templates: Iterable[KeyTemplate]) -> bool:
        found = [told for template in templates if (told := template.match(uri))]
        return not self.only or any(wish.includes(*told) for wish in self.only for told in found)

    @property
    def _names(self) -> str:
        return ", ".join(sorted(dataset.name for dataset in self.datasets))


def _of_confirmation(event: Event) -> Verdict:
    """SNS asks whether a subscription shall be, or tells that it is no more: a person decides."""
    if event.name == "UnsubscribeConfirmation":
        reason = f"the subscription to {event.topic} was given up: nothing more comes from it"
    else:
        reason = (
            f"the subscription to {event.topic} waits for its confirmation: "
            f"aws sns confirm-subscription --topic-arn {event.topic} --token (Token of the message)"
        )
    return Verdict("refuse", "", "confirmation", reason)


def _keys_of(dataset: Dataset) -> Iterator[tuple[str, _Keys]]:
    """Each bucket of a dataset, with the patterns of all tables in one."""
    from lakeq.storage.s3 import glob_pattern, split_uri

    places: dict[tuple[str, bool], dict[str, None]] = {}
    for table in dataset.tables.values():
        for bucket, key in _objects(table):
            place = bucket, table.access == "requester_pays"
            places.setdefault(place, {})[glob_pattern(key).pattern] = None
    skip = re.compile("|".join(map(translate, dataset.skip))) if dataset.skip else None
    templates = tuple(KeyTemplate(text) for text in dataset.keys.values())
    for (bucket, pays), patterns in places.items():
        own = tuple(t for t in templates if split_uri(t.text)[0] == bucket)
        either = re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.DOTALL)
        yield bucket, _Keys(dataset.name, either, skip, pays, own)


def _objects(table: Table) -> Iterator[tuple[str, str]]:
    from lakeq.storage.s3 import split_uri

    yield from (split_uri(uri) for uri in table.objects if uri.startswith("s3://"))
