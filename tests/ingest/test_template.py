"""The CloudFormation template: valid, as narrow as it can be, and it does what it says on moto."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lakeq.catalog import Dataset, load
from lakeq.errors import UnknownName, UsageError
from lakeq.ingest import template_parts
from lakeq.ingest.allow import AllowList
from lakeq.ingest.messages import Event, parse
from lakeq.ingest.template import template
from tests.support.aws import Aws
from tests.support.data import real_file, real_files

CATALOG = load()
NEXRAD, LANDSAT = CATALOG.dataset("nexrad"), CATALOG.dataset("landsat")
SITE = {"site": ["KTLX"]}
PATH_ROW = {"path": ["115", "001"], "row": ["067", "005"]}


def own_topics(dataset: Dataset, aws: Aws) -> Dataset:
    """`dataset` with topics of the account that moto knows."""
    return replace(dataset, topics=tuple(replace(t, arn=aws.topic()) for t in dataset.topics))


def created(aws: Aws, told: Mapping[str, Any], **parameters: str) -> dict[str, Any]:
    """Outputs of the stack that moto makes of the template.

    moto's CloudFormation knows neither queue policies nor subscriptions nor alarms; those are made
    by the services' own calls from what the template says.
    """
    client = aws.client("cloudformation")
    stack = f"stack-{len(client.list_stacks()['StackSummaries'])}"
    given = [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()]
    with warnings.catch_warnings(action="ignore"):
        client.create_stack(
            StackName=stack,
            TemplateBody=json.dumps(told),
            Parameters=given,
            Capabilities=["CAPABILITY_IAM"],
        )
    (found,) = client.describe_stacks(StackName=stack)["Stacks"]
    assert found["StackStatus"] == "CREATE_COMPLETE"
    outputs = {item["OutputKey"]: item["OutputValue"] for item in found["Outputs"]}
    for resource in told["Resources"].values():
        properties = resource["Properties"]
        if resource["Type"] == "AWS::SNS::Subscription":
            names = {"FilterPolicy", "FilterPolicyScope"} & set(properties)
            own = {name: properties[name] for name in sorted(names)}
            texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in own.items()}
            aws.subscribe(properties["TopicArn"], outputs["QueueUrl"], **texts)
        elif resource["Type"] == "AWS::SQS::QueuePolicy":
            policy = json.dumps(properties["PolicyDocument"])
            attributes = {"Policy": policy}
            aws.client("sqs").set_queue_attributes(
                QueueUrl=outputs["QueueUrl"], Attributes=attributes
            )
        elif resource["Type"] == "AWS::CloudWatch::Alarm":
            plain = {k: v for k, v in properties.items() if k not in ("AlarmActions", "Dimensions")}
            aws.client("cloudwatch").put_metric_alarm(AlarmName=properties["MetricName"], **plain)
    return outputs


@pytest.mark.parametrize("function", [True, False])
@pytest.mark.parametrize(
    ("dataset", "chosen"), [(NEXRAD, SITE), (NEXRAD, {}), (LANDSAT, PATH_ROW), (LANDSAT, {})]
)
def test_cfn_lint_finds_nothing(
    dataset: Dataset, chosen: Mapping[str, Sequence[str]], function: bool
) -> None:
    from cfnlint import lint  # type: ignore[import-untyped]  # ships no annotations

    assert lint(json.dumps(template(dataset, chosen, function=function))) == []


def test_only_the_topics_may_send() -> None:
    policy = template(NEXRAD, SITE)["Resources"]["QueuePolicy"]["Properties"]["PolicyDocument"]
    allow, deny = policy["Statement"]
    assert allow["Principal"] == {"Service": ["sns.amazonaws.com"]}
    assert allow["Condition"] == {"ArnEquals": {"aws:SourceArn": list(NEXRAD.notifications)}}
    assert (deny["Effect"], deny["Action"]) == ("Deny", "sqs:*")


def test_a_topic_of_a_region_that_must_be_enabled_sends_under_its_own_name() -> None:
    arn = "arn:aws:sns:af-south-1:543785577597:deafrica-sentinel-2"
    dataset = replace(NEXRAD, topics=(replace(NEXRAD.topics[0], arn=arn),))
    policy = template(dataset)["Resources"]["QueuePolicy"]["Properties"]["PolicyDocument"]
    services = ["sns.amazonaws.com", "sns.af-south-1.amazonaws.com"]
    assert policy["Statement"][0]["Principal"] == {"Service": services}


def test_the_chunks_of_one_site_come_and_no_others(aws: Aws) -> None:
    dataset = own_topics(NEXRAD, aws)
    archive, chunks = dataset.notifications
    queue = created(aws, template(dataset, SITE, function=False))["QueueUrl"]
    told = json.loads(real_file("nexrad/sns/sqs_body_chunk_KTLX_20261009.json").read_text())
    for site in ("KTLX", "KFWS", "KTLX"):
        attributes = {"SiteID": {"DataType": "String", "StringValue": site}}
        message = told["Message"].replace("KTLX", site)
        aws.client("sns").publish(TopicArn=chunks, Message=message, MessageAttributes=attributes)
    sns = json.loads(real_file("nexrad/sns/lambda_event_archive_KBUF_20200310.json").read_text())
    volume = sns["Records"][0]["Sns"]["Message"]
    for suffix in ("_V06", "_V06_MDM"):
        aws.client("sns").publish(TopicArn=archive, Message=volume.replace("_V06", suffix))
    allowed = AllowList([dataset])
    found = [e for body in aws.bodies(queue) for e in parse(body, allowed.adapters)]
    keys = [event.key for event in found if isinstance(event, Event)]
    assert sorted(keys) == [
        "2020/03/10/KBUF/KBUF20200310_021645_V06",
        "KTLX/399/20261009-043037-048-I",
        "KTLX/399/20261009-043037-048-I",
    ]


def test_the_scenes_of_two_path_rows_come_and_no_others(aws: Aws) -> None:
    dataset = own_topics(LANDSAT, aws)
    queue = created(aws, template(dataset, PATH_ROW, function=False))["QueueUrl"]
    sent = [_scene(path) for path in real_files("landsat/sns/public-*.json")]
    for message in sent:
        aws.client("sns").publish(TopicArn=dataset.notifications[1], Message=message)
    allowed = AllowList([dataset], requester_pays=True)
    found = [e for body in aws.bodies(queue) for e in parse(body, allowed.adapters)]
    taken = [e.key for e in found if isinstance(e, Event) and allowed.judge(e).action == "take"]
    wanted = [m for m in sent if "_001005_" in m or "_115067_" in m]
    assert len(taken) == len(found) == len(wanted) == 3 * bool(sent)


def _scene(path: Path) -> str:
    told = json.loads(path.read_text())
    message = told["Records"][0]["Sns"]["Message"] if "Records" in told else path.read_text()
    return str(message).replace("LE07_L2SP_115067", "LC09_L2SP_115067")


def test_the_queue_gives_up_after_five_receives(aws: Aws) -> None:
    dataset = own_topics(NEXRAD, aws)
    outputs = created(aws, template(dataset, SITE, function=False), AlarmEmail="me@example.org")
    sqs = aws.client("sqs")
    asked = sqs.get_queue_attributes(QueueUrl=outputs["QueueUrl"], AttributeNames=["All"])
    redrive = json.loads(asked["Attributes"]["RedrivePolicy"])
    assert int(redrive["maxReceiveCount"]) == 5
    sqs.send_message(QueueUrl=outputs["QueueUrl"], MessageBody="poison")
    for _ in range(6):
        for message in sqs.receive_message(QueueUrl=outputs["QueueUrl"], WaitTimeSeconds=0).get(
            "Messages", ()
        ):
            sqs.change_message_visibility(
                QueueUrl=outputs["QueueUrl"],
                ReceiptHandle=message["ReceiptHandle"],
                VisibilityTimeout=0,
            )
    assert aws.bodies(outputs["DeadLettersUrl"]) == ["poison"]
    alarms = aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
    words = " ".join(alarm["AlarmDescription"] for alarm in alarms)
    assert "dlq ls" in words
    assert "reconcile" in words


def test_the_whole_stack_is_made(aws: Aws) -> None:
    aws.client("s3").create_bucket(Bucket="warehouse-of-ours")
    created(
        aws,
        template(own_topics(NEXRAD, aws), SITE),
        ImageUri="123456789012.dkr.ecr.us-east-1.amazonaws.com/lakeq@sha256:" + "0" * 64,
        Warehouse="s3://warehouse-of-ours/lake",
        WarehouseBucket="warehouse-of-ours",
        AccessPointArn="arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/fsap-0",
        SubnetIds="subnet-1",
        SecurityGroupIds="sg-1",
    )
    (function,) = aws.client("lambda").list_functions()["Functions"]
    assert function["Environment"]["Variables"]["LAKEQ_WAREHOUSE"] == "s3://warehouse-of-ours/lake"
    (source,) = aws.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert source["FunctionArn"] == function["FunctionArn"]
    assert source["BatchSize"] == 10


def test_the_function_is_fed_by_the_queue_and_may_little() -> None:
    told = template(NEXRAD, SITE)["Resources"]
    assert told["Source"]["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    lease = told["Queue"]["Properties"]["VisibilityTimeout"]
    assert lease == 6 * told["Function"]["Properties"]["Timeout"]
    variables = told["Function"]["Properties"]["Environment"]["Variables"]
    assert variables["LAKEQ_INGEST_ONLY"] == "site=KTLX"
    actions = [
        action
        for statement in told["Policy"]["Properties"]["PolicyDocument"]["Statement"]
        for action in statement["Action"]
    ]
    assert not any("*" in action for action in actions)


def test_what_cannot_be_made_says_so() -> None:
    with pytest.raises(UsageError, match="knows no topic"):
        template(CATALOG.dataset("clinvar"))
    with pytest.raises(UnknownName, match="NewNEXRADLevel2Archve"):
        template(NEXRAD, topics=["NewNEXRADLevel2Archve"])
    with pytest.raises(UsageError, match="SNS takes 150"):
        template(LANDSAT, {"path": ["001"] * 19, "row": ["001"] * 19})
    with pytest.raises(UsageError, match="same number of values"):
        template(LANDSAT, {"path": ["001"], "row": ["001", "002"]})
    one = template(NEXRAD, topics=[NEXRAD.notifications[1].rpartition(":")[2]])["Resources"]
    assert [key for key in one if key.startswith("Subscription")] == ["Subscription1"]


@pytest.mark.parametrize("name", ["nexrad", "clinvar", "landsat"])
def test_the_function_of_parts_is_valid_and_may_do_no_more_than_it_needs(name: str) -> None:
    from cfnlint import lint

    told = template_parts.template(CATALOG.dataset(name))
    assert lint(json.dumps(told)) == []
    statements = told["Resources"]["Policy"]["Properties"]["PolicyDocument"]["Statement"]
    actions = {action for statement in statements for action in statement["Action"]}
    assert actions <= {
        "s3:GetObject",
        "s3:GetObjectVersion",
        "s3:PutObject",
        "s3:AbortMultipartUpload",
    }
    assert "*" not in [statement["Resource"] for statement in statements]
