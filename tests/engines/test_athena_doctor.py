"""`lakeq athena doctor`: moto's S3, STS and Glue, our own Athena, refusals in AWS's words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from pyiceberg.catalog.glue import GlueCatalog

import lakeq
from examples.make_cohort import MadeCohort
from lakeq.api import Lake
from lakeq.cli import run
from lakeq.engines import athena
from lakeq.engines._athena_doctor import HINT, OK, SKIPPED, WRONG, Check, checks
from lakeq.lake import IcebergLake
from tests.support.athena import FakeAthena
from tests.support.s3 import REGION, S3

TABLE = "clinvar.grch37"
USER = "arn:aws:iam::123456789012:user/who"


def denied(action: str, resource: str, why: str = "no identity-based policy allows") -> ClientError:
    """A refusal in AWS's words."""
    text = f"User: {USER} is not authorized to perform: {action} on resource: {resource}"
    text += f" because {why} the {action} action"
    return ClientError({"Error": {"Code": "AccessDeniedException", "Message": text}}, action)


class Refusing:
    """A client some of whose methods raise."""

    def __init__(self, client: Any, refusals: dict[str, Exception]) -> None:
        self._client, self._refusals = client, refusals

    def __getattr__(self, name: str) -> Any:
        if name in self._refusals:
            raise self._refusals[name]
        return getattr(self._client, name)


@dataclass
class Place:
    """A lake on S3, its Athena, and what AWS refuses."""

    lake: Lake
    fake: FakeAthena
    refusals: dict[str, Exception] = field(default_factory=dict)

    def found(self, **more: Any) -> dict[str, Check]:
        """The checks by name; those of one name count as the first that is not well."""
        given = {"athena_workgroup": "lab", "athena_output": self.results, **more}
        settings = lakeq.connect(self.lake.settings.lake, **given).settings
        found: dict[str, Check] = {}
        for check in checks(settings, IcebergLake(settings).metadata_files()):
            if check.name not in found or found[check.name].result == OK:
                found[check.name] = check
        return found

    @property
    def results(self) -> str:
        """Where results go."""
        bucket = self.lake.settings.warehouse.removeprefix("s3://").partition("/")[0]
        return f"s3://{bucket}/results/"

    @property
    def metadata_file(self) -> str:
        """The lake's own."""
        return IcebergLake(self.lake.settings).metadata_files()[TABLE]


@pytest.fixture(scope="module")
def ingested(
    s3: S3, tmp_path_factory: pytest.TempPathFactory, made_cohort: MadeCohort
) -> Iterator[Lake]:
    with pytest.MonkeyPatch.context() as patched:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patched.setenv(name, "testing-testing")
        lake = lakeq.connect(
            tmp_path_factory.mktemp("doctor") / "lake",
            warehouse=f"s3://{s3.bucket()}/lake",
            s3_endpoint_url=s3.endpoint_url,
        )
        lake.ingest(TABLE, [str(made_cohort.clinvar)])
        yield lake


@pytest.fixture
def place(
    ingested: Lake, s3: S3, aws_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    made = Place(ingested, FakeAthena(ingested))
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setattr(athena, "FIRST_WAIT_S", 0.001)
    new = athena.new_client

    def client(service: str, settings: Any) -> Any:
        if service == "athena":
            return made.fake
        return Refusing(new(service, settings), made.refusals)

    monkeypatch.setattr(athena, "new_client", client)
    glue = GlueCatalog("glue", **{"glue.endpoint": s3.endpoint_url, "glue.region": REGION,
                                  "s3.endpoint": s3.endpoint_url})  # fmt: skip
    glue.create_namespace("clinvar")
    glue.register_table(TABLE, made.metadata_file)
    yield made
    glue.drop_table(TABLE)
    glue.drop_namespace("clinvar")


def statement(check: Check) -> dict[str, Any]:
    """The line for the policy that a check says."""
    found: dict[str, Any] = json.loads(check.next[check.next.index("{") :])
    return found


def test_all_is_well(place: Place) -> None:
    found = place.found()
    assert {check.result for check in found.values()} == {OK}, found
    assert set(found) == {
        "credentials", "region", "price", "workgroup", "cut-off", "result bucket", "query",
        "cancel", "lake", f"glue {TABLE}"}  # fmt: skip
    assert found["workgroup"].detail == "lab, Athena engine version 3, no cut-off"
    assert found["price"].detail.startswith("$5.00 per TB scanned, us-east-1")
    assert [e.text for e in place.fake.executions.values()] == ["EXPLAIN SELECT 1"]
    updates = [arguments for name, arguments in place.fake.calls if name == "update_work_group"]
    assert updates == [{"WorkGroup": "lab"}]


@pytest.mark.parametrize(
    ("method", "action", "check", "result"),
    [
        ("get_work_group", "athena:GetWorkGroup", "workgroup", WRONG),
        ("update_work_group", "athena:UpdateWorkGroup", "cut-off", HINT),
        ("start_query_execution", "athena:StartQueryExecution", "query", WRONG),
        ("get_query_execution", "athena:GetQueryExecution", "query", WRONG),
        ("get_query_results", "athena:GetQueryResults", "query", WRONG),
        ("stop_query_execution", "athena:StopQueryExecution", "cancel", WRONG),
    ],
)
def test_a_right_at_athena_that_is_missing_is_a_line_of_the_policy(
    place: Place, method: str, action: str, check: str, result: str
) -> None:
    arn = "arn:aws:athena:us-east-1:123456789012:workgroup/lab"
    place.fake.errors[method] = denied(action, arn)
    found = place.found()[check]
    assert found.result == result
    line = statement(found)
    assert line["Effect"] == "Allow"
    assert action in line["Action"]
    assert line["Resource"] == [arn]


@pytest.mark.parametrize(
    ("method", "action", "check"),
    [
        ("get_bucket_location", "s3:GetBucketLocation", "result bucket"),
        ("list_objects_v2", "s3:ListBucket", "result bucket"),
        ("get_object", "s3:GetObject", "lake"),
        ("get_table", "glue:GetTable", f"glue {TABLE}"),
    ],
)
def test_a_right_elsewhere_that_is_missing_is_a_line_of_the_policy(
    place: Place, method: str, action: str, check: str
) -> None:
    plain = {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}
    place.refusals[method] = ClientError(plain, method)
    found = place.found()[check]
    assert found.result == WRONG
    assert action in statement(found)["Action"]
    service = action.partition(":")[0]
    assert all(arn.startswith(f"arn:aws:{service}:") for arn in statement(found)["Resource"])


def test_the_right_that_aws_names_is_the_one_that_is_said(place: Place) -> None:
    place.refusals["get_table"] = denied("glue:GetDatabase", "arn:aws:glue:us-east-1:1:catalog")
    line = statement(place.found()[f"glue {TABLE}"])
    assert (line["Action"], line["Resource"]) == (
        ["glue:GetDatabase", "glue:GetTable"],
        [f"arn:aws:glue:us-east-1:123456789012:{kind}"
         for kind in ("catalog", "database/clinvar", "table/clinvar/*")],
    )  # fmt: skip
    place.fake.errors["start_query_execution"] = denied("kms:Decrypt", "arn:aws:kms:us-east-1:1:k")
    assert statement(place.found()["query"])["Action"] == ["kms:Decrypt"]


def test_an_explicit_denial_is_not_mended_by_allowing(place: Place) -> None:
    why = "with an explicit deny in a service control policy for"
    place.fake.errors["get_work_group"] = denied("athena:GetWorkGroup", "arn:aws:athena:x", why)
    found = place.found()["workgroup"]
    assert found.result == WRONG
    assert "denies athena:GetWorkGroup outright" in found.next
    assert "{" not in found.next


def test_results_that_may_not_be_written(place: Place) -> None:
    place.fake.fail = f"Access denied when writing output to url: {place.results}x.csv"
    found = place.found()["query"]
    assert found.result == WRONG
    assert "s3:PutObject" in statement(found)["Action"]
    bucket = place.results.split("/")[2]
    assert statement(found)["Resource"] == [f"arn:aws:s3:::{bucket}/results/*"]


def test_workgroups_that_are_missing_off_or_old(place: Place) -> None:
    found = place.found(athena_workgroup="gone")
    assert "no such workgroup" in found["workgroup"].detail
    place.fake.state = "DISABLED"
    assert place.found()["workgroup"].detail == "lab is disabled"
    place.fake.state = "ENABLED"
    old = {"EngineVersion": {"EffectiveEngineVersion": "Athena engine version 2"}}
    place.fake.configuration = old
    assert place.found()["workgroup"].result == WRONG
    assert place.found(athena_workgroup="primary")["cut-off"].result == HINT


def test_result_buckets_that_are_missing_elsewhere_or_not_named(place: Place, s3: S3) -> None:
    found = place.found(athena_output="s3://is-not-there/x/")["result bucket"]
    assert (found.result, found.next) == (WRONG, "make the bucket, or name another")
    found_all = place.found(athena_output="")
    assert found_all["result bucket"].result == WRONG
    assert found_all["query"].result == SKIPPED
    far = boto3.client("s3", endpoint_url=s3.endpoint_url, region_name="eu-central-1")
    far.create_bucket(
        Bucket="lakeq-far", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    place.fake.configuration = {
        "EnforceWorkGroupConfiguration": True,
        "ResultConfiguration": {"OutputLocation": "s3://lakeq-far/x/"},
    }
    found = place.found()["result bucket"]  # the workgroup's word counts
    assert found.result == WRONG
    assert "lakeq-far/x/ is in eu-central-1" in found.detail
    place.fake.configuration = {"ManagedQueryResultsConfiguration": {"Enabled": True}}
    assert place.found()["result bucket"].detail == "Athena keeps the results itself"


def test_prices_of_another_region(place: Place) -> None:
    found = place.found(athena_region="us-west-2")["price"]
    assert (found.result, found.next) == (HINT, 'set prices.region = "us-west-2"')
    found = place.found(athena_region="eu-west-1")["price"]
    assert "prices.athena_usd_per_tb" in found.next
    own = {"athena_usd_per_tb": "6"}
    assert place.found(athena_region="eu-west-1", prices=own)["price"].result == OK


def test_tables_that_glue_lacks_or_has_older(place: Place, s3: S3) -> None:
    glue = boto3.client("glue", endpoint_url=s3.endpoint_url, region_name=REGION)
    was = glue.get_table(DatabaseName="clinvar", Name="grch37")["Table"]
    given = {"Name": "grch37", "Parameters": was["Parameters"] | {"metadata_location": "s3://old"}}
    glue.update_table(DatabaseName="clinvar", TableInput=given)
    found = place.found()[f"glue {TABLE}"]
    assert found.result == WRONG
    assert "s3://old" in found.detail
    assert place.metadata_file in found.detail
    glue.update_table(DatabaseName="clinvar", TableInput={"Name": "grch37"})
    assert "not an Iceberg table" in place.found()[f"glue {TABLE}"].detail
    glue.delete_table(DatabaseName="clinvar", Name="grch37")
    found = place.found()[f"glue {TABLE}"]
    assert place.metadata_file in found.detail
    assert "lakeq publish" in found.next
    glue.create_table(DatabaseName="clinvar", TableInput={"Name": "grch37"})


def test_lake_formation(place: Place) -> None:
    text = "Insufficient Lake Formation permission(s): Required Describe on grch37"
    place.refusals["get_table"] = ClientError(
        {"Error": {"Code": "AccessDeniedException", "Message": text}}, "GetTable"
    )
    found = place.found()[f"glue {TABLE}"]
    assert found.result == WRONG
    assert "aws lakeformation grant-permissions" in found.next
    assert "lakeformation:GetDataAccess" in found.next


def test_a_lake_on_this_machine(place: Place, cohort_lake: Lake) -> None:
    settings = cohort_lake.settings
    files = IcebergLake(settings).metadata_files()
    found = {check.name: check for check in checks(settings, files)}
    assert found["lake"].result == WRONG
    assert "lakeq publish" in found["lake"].next
    assert found["glue"].result == SKIPPED


def test_the_command(
    place: Place,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAKEQ_ATHENA_OUTPUT", place.results)
    arguments = ["athena", "doctor", "--lake", str(place.lake.settings.lake), "--format", "json"]
    assert run([*arguments, "--workgroup", "lab"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["result"] for row in rows} == {"ok"}
    assert run([*arguments, "--workgroup", "gone"]) == 1


def test_without_credentials_nothing_is_asked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    found = place.found()
    assert found["credentials"].result == WRONG
    assert "--profile" in found["credentials"].next
    assert {found[name].result for name in ("workgroup", "query", "glue")} == {SKIPPED}
    assert place.fake.calls == []
