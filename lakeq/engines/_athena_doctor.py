"""Is everything in place for Athena: each check that fails says what is missing.

The rights are tried, not read: IAM's simulator needs rights that few have, and knows neither
bucket policies nor Lake Formation. What is tried changes nothing and scans nothing; one EXPLAIN
runs, whose few bytes of result stay where Athena's results go. Actions and resources:
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonathena.html
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lakeq import cost, redact
from lakeq.engines import athena
from lakeq.engines._athena_errors import REGISTER, named
from lakeq.errors import LakeqError
from lakeq.storage import aws

if TYPE_CHECKING:
    from lakeq.config import Settings

OK, WRONG, HINT, SKIPPED = "ok", "wrong", "hint", "skipped"
PROBE = "EXPLAIN SELECT 1"
PROBE_WAIT_S = 60.0
ACCESS = {"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "403", "Forbidden"}
_ACTION = re.compile(r"not authorized to perform: ([\w-]+:\w+)(?: on resource: (arn:\S+))?")
_QUERY = ("Start", "Get", "Stop")
_WRITE = ("s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")


class Check(NamedTuple):
    """One thing that was looked at.

    `result` is `ok`, `wrong`, `hint` (it works, but not at its best) or `skipped` (what it needs
    is wrong). `next` is what to do: where a right is missing, the statement for the policy.
    """

    name: str
    result: str
    detail: str
    next: str = ""


def checks(
    settings: Settings, tables: Mapping[str, str], trouble: LakeqError | None = None
) -> Iterator[Check]:
    """Every check in order; `tables` are the lake's, each with its current metadata file.

    `trouble` is why they cannot be had.
    """
    doctor = _Doctor(settings, tables, trouble)
    first = doctor.credentials()
    yield first
    yield doctor.region_check()
    yield doctor.price()
    if first.result == WRONG:
        for name in ("workgroup", "result bucket", "query", "lake", "glue"):
            yield Check(name, SKIPPED, "needs credentials")
        return
    yield from doctor.workgroup_checks()
    yield from doctor.result_bucket()
    yield from doctor.query()
    yield from doctor.lake()
    yield from doctor.glue()


def statement(actions: Sequence[str], *resources: str) -> str:
    """The policy's line that allows `actions` on `resources`."""
    allowed = {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return f"add to the policy: {json.dumps(allowed)}"


class _Doctor:
    """What the checks learn from each other: the account, the workgroup's own settings."""

    def __init__(
        self, settings: Settings, tables: Mapping[str, str], trouble: LakeqError | None
    ) -> None:
        self.trouble = trouble
        self.settings = settings
        self.tables = tables
        self.workgroup = settings.athena.workgroup or "primary"
        self.output = settings.athena.output
        self.managed = False  # Athena keeps results itself
        self.region = ""
        self.account, self.partition = "*", "aws"
        self.has_workgroup = False

    def credentials(self) -> Check:
        """Who asks; STS answers whoever has valid credentials."""
        try:
            client = athena.new_client("sts", self.settings)
            self.region = str(client.meta.region_name)
            caller = client.get_caller_identity()
        except Exception as error:  # noqa: BLE001  # boto3 makes its errors' classes at run time
            found = named(error, self.workgroup)
            how = "give them with --profile or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            return Check("credentials", WRONG, found.what, f"log in, or {how}")
        self.account = str(caller["Account"])
        self.partition = str(caller["Arn"]).split(":")[1]
        return Check("credentials", OK, str(caller["Arn"]))

    def region_check(self) -> Check:
        """The region that Athena is asked in."""
        if not self.region:
            return Check("region", SKIPPED, "needs credentials")
        chosen = self.settings.athena.region or self.settings.s3.region
        if chosen:
            return Check("region", OK, self.region)
        detail = f"{self.region}: not set in lakeq, so the AWS settings', else us-east-1"
        return Check("region", OK, detail)

    def price(self) -> Check:
        """Whether dollars are counted at the price of the region."""
        try:
            book = cost.prices(self.settings.prices)
        except LakeqError as error:
            return Check("price", WRONG, error.what, error.hint)
        detail = f"${book.athena_usd_per_tb} per TB scanned, {book.region}, {book.date}"
        if not self.region or book.region == self.region or "athena_usd_per_tb" in book.overrides:
            return Check("price", OK, detail)
        hint = f'set prices.region = "{self.region}"'
        if self.region not in cost.document()["regions"]:
            hint = f"set prices.athena_usd_per_tb to what Athena asks in {self.region}"
        return Check("price", HINT, f"{detail}; but Athena is asked in {self.region}", hint)

    def workgroup_checks(self) -> Iterator[Check]:
        """Is it there and on, of engine version 3, and may its cut-off be set."""
        try:
            found = self._athena("get_work_group", WorkGroup=self.workgroup)["WorkGroup"]
        except LakeqError as error:
            yield self._failed("workgroup", error, ["athena:GetWorkGroup"], self._workgroup_arn())
            return
        self.has_workgroup = True
        own = found.get("Configuration", {})
        self.managed = own.get("ManagedQueryResultsConfiguration", {}).get("Enabled", False)
        location = own.get("ResultConfiguration", {}).get("OutputLocation", "")
        if own.get("EnforceWorkGroupConfiguration") or not self.output:
            self.output = location
        version = own.get("EngineVersion", {}).get("EffectiveEngineVersion", "")
        cut_off = own.get("BytesScannedCutoffPerQuery")
        detail = f"{self.workgroup}, {version or 'engine version not told'}"
        detail += f", cut-off {cut_off:,} bytes" if cut_off else ", no cut-off"
        if found.get("State", "ENABLED") != "ENABLED":
            hint = f"aws athena update-work-group --work-group {self.workgroup} --state ENABLED"
            yield Check("workgroup", WRONG, f"{self.workgroup} is disabled", hint)
        elif version and not version.endswith("version 3"):
            hint = "choose a workgroup of Athena engine version 3: athena.workgroup"
            yield Check("workgroup", WRONG, detail, hint)
        else:
            yield Check("workgroup", OK, detail)
        yield self._cut_off()

    def _cut_off(self) -> Check:
        name = "cut-off"
        if self.workgroup == "primary":
            hint = "set athena.workgroup to one of your own: its cut-off follows each query's plan"
            return Check(name, HINT, "lakeq leaves that of primary alone", hint)
        try:  # without a change: only the right is tried
            self._athena("update_work_group", WorkGroup=self.workgroup)
        except LakeqError as error:
            found = self._failed(name, error, ["athena:UpdateWorkGroup"], self._workgroup_arn())
            detail = f"{found.detail}; queries run, but only lakeq stops them"
            return found._replace(result=HINT, detail=detail)
        return Check(name, OK, "may be set from each query's plan")

    def result_bucket(self) -> Iterator[Check]:
        """Where results go: is it there, in the same region, and may it be listed."""
        name = "result bucket"
        if self.managed:
            yield Check(name, OK, "Athena keeps the results itself")
        elif self.output:
            yield from self._bucket(name, self.output, must_be_here=True)
        elif self.has_workgroup:
            hint = 'set athena.output = "s3://BUCKET/PREFIX/", or the location of the workgroup'
            yield Check(name, WRONG, "neither lakeq nor the workgroup names one", hint)
        else:
            yield Check(name, SKIPPED, "needs the workgroup, or athena.output")

    def query(self) -> Iterator[Check]:
        """A statement from beginning to end: it writes a result and reads it, and scans nothing."""
        name = "query"
        if not self.output and not self.managed:
            yield Check(name, SKIPPED, "needs a place for its result")
            return
        started = uuid.uuid4().hex
        arguments: dict[str, Any] = {"QueryString": PROBE, "ClientRequestToken": started}
        if not self.managed:
            arguments["ResultConfiguration"] = {"OutputLocation": self.output}
        actions = [f"athena:{word}QueryExecution" for word in _QUERY] + ["athena:GetQueryResults"]
        where = self._workgroup_arn()
        try:
            answer = self._athena("start_query_execution", WorkGroup=self.workgroup, **arguments)
            execution = {"QueryExecutionId": answer["QueryExecutionId"]}
            status = self._ended(execution)
            if status["State"] != "SUCCEEDED":
                yield self._unwell(name, str(status.get("StateChangeReason", status["State"])))
                return
            self._athena("get_query_results", **execution, MaxResults=1)
        except LakeqError as error:
            if "s3" in error.what.lower() and "athena:" not in error.what:
                yield self._unwell(name, error.what)
            else:
                yield self._failed(name, error, actions, where)
            return
        yield Check(name, OK, f"{PROBE} ran; nothing is billed for it")
        try:
            self._athena("stop_query_execution", **execution)
        except LakeqError as error:
            if "not authorized" in error.what or type(error).__name__ == "AccessDenied":
                found = self._failed("cancel", error, ["athena:StopQueryExecution"], where)
                yield found._replace(detail=f"{found.detail}; ^C would not stop a query")
                return
        yield Check("cancel", OK, "a query can be stopped")

    def _ended(self, execution: Mapping[str, Any]) -> Mapping[str, Any]:
        until = time.monotonic() + PROBE_WAIT_S
        while True:
            found = self._athena("get_query_execution", **execution)["QueryExecution"]
            status: Mapping[str, Any] = found["Status"]
            if status["State"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                return status
            if time.monotonic() > until:
                self._athena("stop_query_execution", **execution)
                return {"State": f"no answer within {PROBE_WAIT_S:.0f} s"}
            time.sleep(athena.FIRST_WAIT_S)

    def _unwell(self, name: str, reason: str) -> Check:
        """A statement that Athena ended: most often it may not write its result."""
        if "denied" not in reason.lower() and "not authorized" not in reason.lower():
            return Check(name, WRONG, redact.redacted(reason), "see the query in Athena's console")
        if "kms" in reason.lower():
            key = statement(["kms:Decrypt", "kms:GenerateDataKey"], "THE KEY'S ARN")
            return Check(name, WRONG, redact.redacted(reason), key)
        bucket, prefix = _split(self.output)
        arn = f"arn:{self.partition}:s3:::{bucket}"
        return Check(
            name, WRONG, redact.redacted(reason), _line(reason, _WRITE, f"{arn}/{prefix}*")
        )

    def lake(self) -> Iterator[Check]:
        """The lake's files: on S3, and readable with these credentials, which Athena uses."""
        if self.trouble is not None:
            yield Check("lake", WRONG, self.trouble.what, self.trouble.hint)
            return
        if not self.tables:
            yield Check("lake", SKIPPED, "the lake has no table yet")
            return
        local = [name for name, place in self.tables.items() if "://" not in place]
        if local:
            hint = "publish them: lakeq publish s3://BUCKET/PREFIX"
            detail = f"{len(local)} tables lie on this machine, such as {local[0]}"
            yield Check("lake", WRONG, f"{detail}: Athena reads S3 only", hint)
            return
        buckets = {_split(place)[0]: place for place in self.tables.values()}
        for place in buckets.values():
            yield from self._bucket("lake", place, must_be_here=False)

    def glue(self) -> Iterator[Check]:
        """Each table of the lake in Glue, with the lake's current metadata."""
        remote = {name: place for name, place in self.tables.items() if "://" in place}
        if not remote:
            yield Check("glue", SKIPPED, "no table of the lake lies on S3")
            return
        client = athena.new_client("glue", self.settings)
        for name, place in sorted(remote.items()):
            yield self._in_glue(client, name, place)

    def _in_glue(self, client: Any, name: str, place: str) -> Check:
        dataset, _, table = name.partition(".")
        database = self.settings.glue.prefix + dataset
        label = f"glue {name}"
        try:
            found = client.get_table(DatabaseName=database, Name=table)["Table"]
        except Exception as error:  # noqa: BLE001  # as above
            text = redact.redacted(str(error))
            if aws.code_of(error) == "EntityNotFoundException":
                detail = f"Glue has no such table; its metadata file is {place}"
                return Check(label, WRONG, detail, REGISTER)
            if "Lake Formation" in text:
                return Check(label, WRONG, text, _grant(database, table))
            kinds = ("catalog", f"database/{database}", f"table/{database}/*")
            arns = [self._arn("glue", kind) for kind in kinds]
            return self._failed(label, error, ["glue:GetDatabase", "glue:GetTable"], *arns)
        facts = found.get("Parameters", {})
        if facts.get("table_type", "").upper() != "ICEBERG":
            return Check(label, WRONG, "not an Iceberg table in Glue", REGISTER)
        if facts.get("metadata_location") != place:
            detail = f"Glue is behind or names another: {facts.get('metadata_location')}"
            return Check(label, WRONG, f"{detail}; the lake's is {place}", REGISTER)
        if found.get("IsRegisteredWithLakeFormation"):
            return Check(
                label, HINT, "there; Lake Formation guards its data", _grant(database, table)
            )
        return Check(label, OK, "there, with the lake's current metadata")

    def _bucket(self, name: str, uri: str, *, must_be_here: bool) -> Iterator[Check]:
        bucket, key = _split(uri)
        arn = f"arn:{self.partition}:s3:::{bucket}"
        s3 = athena.new_client("s3", self.settings)
        prefix = key if must_be_here else key.rpartition("/")[0]
        calls: list[tuple[list[str], str, Callable[[], Any]]] = [
            (["s3:GetBucketLocation"], arn, lambda: s3.get_bucket_location(Bucket=bucket)),
            (
                ["s3:ListBucket"],
                arn,
                lambda: s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1),
            ),
        ]
        if not must_be_here:

            def get() -> Any:
                return s3.get_object(Bucket=bucket, Key=key, Range="bytes=0-0")

            calls.append((["s3:GetObject"], f"{arn}/*", get))
        region, failures = "", []
        for actions, resource, call in calls:
            try:
                answer = call()
            except Exception as error:  # noqa: BLE001  # as above
                failures.append(self._failed(name, error, actions, resource, where=uri))
                if aws.code_of(error) in ("NoSuchBucket", "NoSuchKey"):
                    break
                continue
            if "LocationConstraint" in answer or actions == ["s3:GetBucketLocation"]:
                told = answer.get("LocationConstraint") or "us-east-1"
                region = "eu-west-1" if told == "EU" else str(told)
        yield from failures
        if failures:
            return
        if region == self.region:
            yield Check(name, OK, f"{uri}, {region}")
        elif must_be_here:
            detail = f"{uri} is in {region}, Athena is asked in {self.region}"
            hint = f'results stay in their region: another athena.output, or region = "{region}"'
            yield Check(name, WRONG, detail, hint)
        else:
            detail = f"{uri} is in {region}, Athena is asked in {self.region}"
            hint = f'set athena.region = "{region}": bytes between regions cost extra'
            yield Check(name, HINT, detail, hint)

    def _athena(self, method: str, **arguments: Any) -> Any:
        return athena.Engine(self.settings).call(method, **arguments)

    def _failed(
        self, name: str, error: Exception, actions: Sequence[str], *arns: str, where: str = ""
    ) -> Check:
        """A failed call: the policy line where a right is missing, else the error's own hint."""
        text = error.what if isinstance(error, LakeqError) else str(error)
        detail = redact.redacted(f"{where}: {text}" if where else text)
        code = aws.code_of(error) or aws.code_of(error.__cause__ or error)
        if code in ACCESS or type(error).__name__ == "AccessDenied":
            return Check(name, WRONG, detail, _line(text, actions, *arns))
        if code == "NoSuchBucket":
            return Check(name, WRONG, detail, "make the bucket, or name another")
        return Check(name, WRONG, detail, getattr(error, "hint", ""))

    def _arn(self, service: str, resource: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def _workgroup_arn(self) -> str:
        return self._arn("athena", f"workgroup/{self.workgroup}")


def _line(text: str, actions: Sequence[str], *arns: str) -> str:
    """The policy line for what AWS says is missing; it says which, and why, since 2021."""
    told = _ACTION.search(text)
    if told and told[1] not in actions:
        actions = [told[1]]
        arns = (told[2].rstrip(".,"),) if told[2] else arns
    if "explicit deny" in text:
        words = ", ".join(actions)
        return f"a policy denies {words} outright: ask who keeps it; to allow it does not help"
    return statement(actions, *arns)


def _grant(database: str, table: str) -> str:
    resource = json.dumps({"Table": {"DatabaseName": database, "Name": table}})
    return (
        "in Lake Formation: aws lakeformation grant-permissions --principal"
        " DataLakePrincipalIdentifier=YOUR-ROLE'S-ARN --permissions SELECT DESCRIBE"
        f" --resource '{resource}'; and {statement(['lakeformation:GetDataAccess'], '*')}"
    )


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key
