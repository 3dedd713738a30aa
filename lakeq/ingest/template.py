"""A CloudFormation template: what has to stand in an account of one's own to hear of new objects.

A queue and its dead letters, who may send to it, the subscriptions with their filters, the alarms,
and unless left out the function that ingests. What is filtered stands in the catalog, by topic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lakeq.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from lakeq.catalog import Dataset, Topic

MAX_VALUES = 150  # of all lists of a filter multiplied; Amazon SNS, "Filter policy constraints"
MAX_KEYS = 5
MAX_RECEIVES = 5
KEEP_S = 14 * 86_400  # the longest that SQS keeps a message: a worker may be down over a holiday
FUNCTION_TIMEOUT_S = 300
WORKER_LEASE_S = 120
LAG_ALARM_S = 900
SILENCE_MIN = 60  # archive volumes come every 4 to 10 minutes, chunks every 5 s, scenes in bursts

_FIELD = re.compile(r"\{([a-z0-9_]+)\}")
Node = dict[str, Any]


def template(
    dataset: Dataset,
    chosen: Mapping[str, Sequence[str]] | None = None,
    *,
    topics: Sequence[str] = (),
    function: bool = True,
) -> Node:
    """The template for `dataset`, as CloudFormation has it in JSON.

    `chosen` are values by name, such as `{"site": ["KTLX"]}`: they filter what a topic lets be
    filtered, and the function drops the rest. `topics` are ARNs or their last parts; all without
    it. With `function` False the queue is for a worker (`lakeq ingest watch`). Raises `UsageError`
    for a dataset without topics and for more values than SNS can filter by, `UnknownName` for a
    topic that the catalog does not have.
    """
    chosen = {name: list(values) for name, values in (chosen or {}).items() if values}
    wanted = _topics(dataset, topics)
    filters = [policy(topic, chosen) for topic in wanted]
    resources = _queues(wanted, function)
    for number, (topic, (scope, told)) in enumerate(zip(wanted, filters, strict=True), 1):
        resources[f"Subscription{number}"] = _subscription(topic, scope, told)
    resources |= _alarms(function)
    if function:
        resources |= _function(dataset, chosen)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"lakeq: new objects of {dataset.name}",
        "Parameters": _parameters(function),
        "Conditions": _conditions(function),
        "Resources": resources,
        "Outputs": {
            "QueueUrl": {"Value": ref("Queue"), "Description": "lakeq ingest watch --queue-url"},
            "QueueArn": {"Value": arn("Queue")},
            "DeadLettersUrl": {"Value": ref("DeadLetters"), "Description": "lakeq ingest dlq"},
        },
    }


def _topics(dataset: Dataset, names: Sequence[str]) -> list[Topic]:
    if not dataset.topics:
        hint = "announce the bucket's events to a topic of your own, and name it in a catalog"
        what = f"the catalog knows no topic that announces objects of {dataset.name}"
        raise UsageError(what, f"dataset {dataset.name}", hint)
    by_name = {name: t for t in dataset.topics for name in (t.arn, t.arn.rpartition(":")[2])}
    for name in names:
        if name not in by_name:
            known = [topic.arn.rpartition(":")[2] for topic in dataset.topics]
            raise UnknownName.among("topic", name, known, f"dataset {dataset.name}")
    return list({by_name[n].arn: by_name[n] for n in names}.values() or dataset.topics)


def policy(topic: Topic, chosen: Mapping[str, Sequence[str]]) -> tuple[str, Node]:
    """Scope and filter policy of a subscription to `topic`; an empty policy where none is possible.

    A filter that needs a value that was not chosen is left out.
    """
    told: Node = {}
    scope = "MessageAttributes" if topic.attributes else "MessageBody"
    for name, texts in (topic.attributes or topic.body).items():
        values = [value for text in texts for value in _filled(text, chosen)]
        if values:
            exact = bool(topic.attributes)
            _put(told, [name] if exact else name.split("."),
                 values if exact else [_rule(value) for value in values])  # fmt: skip
    count = _combinations(told)
    if count > MAX_VALUES:
        what = f"{count} values to filter by, and SNS takes {MAX_VALUES}"
        raise UsageError(what, topic.arn, "choose fewer, or make a template for each part of them")
    return scope, told


def _filled(text: str, chosen: Mapping[str, Sequence[str]]) -> list[str]:
    """`text` with each combination of the values chosen; those of one place go together.

    Path and row are chosen in pairs: the first path with the first row.
    """
    names = list(dict.fromkeys(_FIELD.findall(text)))
    if not names:
        return [text]
    if any(name not in chosen for name in names):
        return []
    lengths = {len(chosen[name]) for name in names}
    if len(lengths) > 1:
        what = f"{' and '.join(names)} do not have the same number of values"
        raise UsageError(what, "the filter", "give them in pairs, such as --path-row 115/067")
    rows = zip(*(chosen[name] for name in names), strict=True)
    found = [dict(zip(names, row, strict=True)) for row in rows]
    # mypy does not infer a lambda with a default
    return [_FIELD.sub(lambda m, row=row: row[m[1]], text) for row in found]  # type: ignore[misc]


def _rule(value: str) -> Node:
    """`*_V06` is what ends so, anything else what begins so."""
    return {"suffix": value[1:]} if value.startswith("*") else {"prefix": value}


def _put(told: Node, names: Sequence[str], values: list[Any]) -> None:
    for name in names[:-1]:
        told = told.setdefault(name, {})
    told[names[-1]] = values


def _combinations(told: Mapping[str, Any], depth: int = 1) -> int:
    """SNS multiplies the lengths of the lists, each by how deep it stands."""
    count = 1
    for value in told.values():
        if isinstance(value, dict):
            count *= _combinations(value, depth + 1)
        else:
            count *= len(value) * depth
    return count


def ref(name: str) -> Node:
    """A parameter or resource by its name."""
    return {"Ref": name}


def arn(name: str) -> Node:
    """The ARN of a resource."""
    return {"Fn::GetAtt": [name, "Arn"]}


def _parameters(function: bool) -> Node:
    text = {"Type": "String"}
    own = {
        "AlarmEmail": {**text, "Default": "", "Description": "Who is told of alarms; may be empty"}
    }
    if not function:
        return own
    return own | {
        "ImageUri": {**text, "Description": "The image made by docs/how-to/live.md, in ECR"},
        "Warehouse": {**text, "Description": "s3://bucket/prefix for the lake's data files",
                      "AllowedPattern": "s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^*?]+"},
        "WarehouseBucket": {**text, "Description": "The bucket of Warehouse"},
        "AccessPointArn": {**text, "Description": "EFS access point that holds the lake's catalog"},
        "SubnetIds": {"Type": "List<AWS::EC2::Subnet::Id>",
                      "Description": "Subnets with the file system and a gateway endpoint of S3"},
        "SecurityGroupIds": {"Type": "List<AWS::EC2::SecurityGroup::Id>",
                             "Description": "They must reach the file system (NFS) and S3"},
        "MemoryMiB": {"Type": "Number", "Default": 3008, "MinValue": 1024, "MaxValue": 10240},
        "BuryAtOnce": {**text, "Default": "no", "AllowedValues": ["yes", "no"],
                       "Description": "Whether the subnets reach SQS, for dead letters at once"},
    }  # fmt: skip


def _conditions(function: bool) -> Node:
    told: Node = {"HasEmail": {"Fn::Not": [{"Fn::Equals": [ref("AlarmEmail"), ""]}]}}
    if function:
        told["CanBury"] = {"Fn::Equals": [ref("BuryAtOnce"), "yes"]}
    return told


def _queues(topics: Sequence[Topic], function: bool) -> Node:
    # SQS asks for six times the function's timeout; a worker extends its lease itself
    lease = 6 * FUNCTION_TIMEOUT_S if function else WORKER_LEASE_S
    dead = {
        "Type": "AWS::SQS::Queue",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {"MessageRetentionPeriod": KEEP_S, "SqsManagedSseEnabled": True},
    }
    redrive = {"deadLetterTargetArn": arn("DeadLetters"), "maxReceiveCount": MAX_RECEIVES}
    queue = {
        "Type": "AWS::SQS::Queue",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Delete",
        "Properties": {
            "VisibilityTimeout": lease,
            "MessageRetentionPeriod": KEEP_S,
            "ReceiveMessageWaitTimeSeconds": 20,
            "SqsManagedSseEnabled": True,
            "RedrivePolicy": redrive,
        },
    }
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "OnlyTheseTopics",
                "Effect": "Allow",
                "Principal": {"Service": _services(topics)},
                "Action": "sqs:SendMessage",
                "Resource": [arn("Queue"), arn("DeadLetters")],
                "Condition": {"ArnEquals": {"aws:SourceArn": [topic.arn for topic in topics]}},
            },
            {
                "Sid": "OnlyOverTls",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sqs:*",
                "Resource": [arn("Queue"), arn("DeadLetters")],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }
    who = {
        "Type": "AWS::SQS::QueuePolicy",
        "Properties": {
            "Queues": [ref("Queue"), ref("DeadLetters")],
            "PolicyDocument": document,
        },
    }
    return {"DeadLetters": dead, "Queue": queue, "QueuePolicy": who}


OPT_IN = ("af-", "ap-east-", "ap-south-2", "ap-southeast-3", "ap-southeast-4", "ca-west-",
          "eu-central-2", "eu-south-", "il-", "me-", "mx-")  # fmt: skip


def _services(topics: Sequence[Topic]) -> list[str]:
    """SNS sends from regions that have to be enabled under their own names."""
    regions = [topic.arn.split(":")[3] for topic in topics]
    own = (f"sns.{region}.amazonaws.com" for region in regions if region.startswith(OPT_IN))
    return list(dict.fromkeys(["sns.amazonaws.com", *own]))


def _subscription(topic: Topic, scope: str, told: Node) -> Node:
    properties: Node = {
        "TopicArn": topic.arn,
        "Region": topic.arn.split(":")[3],
        "Protocol": "sqs",
        "Endpoint": arn("Queue"),
        "RedrivePolicy": {"deadLetterTargetArn": arn("DeadLetters")},
    }
    if told:
        properties |= {"FilterPolicyScope": scope, "FilterPolicy": told}
    return {
        "Type": "AWS::SNS::Subscription",
        "DependsOn": "QueuePolicy",
        "Properties": properties,
    }


def _alarms(function: bool) -> Node:
    found: Node = {
        "Alarms": {
            "Type": "AWS::SNS::Topic",
            "Condition": "HasEmail",
            "Properties": {"Subscription": [{"Protocol": "email", "Endpoint": ref("AlarmEmail")}]},
        },
        "DeadLettersAlarm": _alarm(
            "A message cannot be ingested: lakeq ingest dlq ls",
            "AWS/SQS", "ApproximateNumberOfMessagesVisible", _of_queue("DeadLetters"),
        ),
        "LagAlarm": _alarm(
            "Messages wait: is the worker up?",
            "AWS/SQS", "ApproximateAgeOfOldestMessage", _of_queue("Queue"),
            threshold=LAG_ALARM_S, periods=3,
        ),
        "SilenceAlarm": _alarm(
            f"Nothing was announced for {SILENCE_MIN} minutes: lakeq ingest reconcile",
            "AWS/SQS", "NumberOfMessagesSent", _of_queue("Queue"),
            statistic="Sum", below=1, periods=SILENCE_MIN // 5, missing="breaching",
        ),
    }  # fmt: skip
    if function:
        named = [{"Name": "FunctionName", "Value": ref("Function")}]
        found["ErrorsAlarm"] = _alarm(
            "The function fails: see its log", "AWS/Lambda", "Errors", named, statistic="Sum"
        )
    return found


def _of_queue(name: str) -> list[Node]:
    return [{"Name": "QueueName", "Value": {"Fn::GetAtt": [name, "QueueName"]}}]


def _alarm(  # noqa: PLR0913  # an alarm has so many parts
    words: str,
    namespace: str,
    metric: str,
    dimensions: list[Node],
    *,
    statistic: str = "Maximum",
    threshold: int = 0,
    below: int | None = None,
    periods: int = 1,
    missing: str = "notBreaching",
) -> Node:
    how = "GreaterThanThreshold" if below is None else "LessThanThreshold"
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmDescription": words,
            "Namespace": namespace,
            "MetricName": metric,
            "Dimensions": dimensions,
            "Statistic": statistic,
            "Period": 300,
            "EvaluationPeriods": periods,
            "Threshold": threshold if below is None else below,
            "ComparisonOperator": how,
            "TreatMissingData": missing,
            "AlarmActions": {"Fn::If": ["HasEmail", [ref("Alarms")], ref("AWS::NoValue")]},
        },
    }


def _function(dataset: Dataset, chosen: Mapping[str, Sequence[str]]) -> Node:
    environment = {
        "LAKEQ_INGEST_DATASET": dataset.name,
        "LAKEQ_INGEST_ONLY": " ".join(f"{n}={','.join(v)}" for n, v in chosen.items()),
        "LAKEQ_INGEST_DEAD_LETTERS": {
            "Fn::If": ["CanBury", ref("DeadLetters"), ref("AWS::NoValue")]
        },
        "LAKEQ_LAKE": "/mnt/lake/lakeq",
        "LAKEQ_WAREHOUSE": ref("Warehouse"),
        "HOME": "/tmp",  # noqa: S108  # all that a function may write besides its file system
    }
    if not environment["LAKEQ_INGEST_ONLY"]:
        del environment["LAKEQ_INGEST_ONLY"]
    function = {
        "Type": "AWS::Lambda::Function",
        "DependsOn": "Policy",
        "Properties": {
            "PackageType": "Image",
            "Code": {"ImageUri": ref("ImageUri")},
            "Role": arn("Role"),
            "Architectures": ["x86_64"],
            "Timeout": FUNCTION_TIMEOUT_S,
            "MemorySize": ref("MemoryMiB"),
            "EphemeralStorage": {"Size": 2048},
            "ReservedConcurrentExecutions": 2,
            "VpcConfig": {
                "SubnetIds": ref("SubnetIds"),
                "SecurityGroupIds": ref("SecurityGroupIds"),
            },
            "FileSystemConfigs": [{"Arn": ref("AccessPointArn"), "LocalMountPath": "/mnt/lake"}],
            "Environment": {"Variables": environment},
        },
    }
    source = {
        "Type": "AWS::Lambda::EventSourceMapping",
        "Properties": {
            "EventSourceArn": arn("Queue"),
            "FunctionName": ref("Function"),
            "BatchSize": 10,
            "MaximumBatchingWindowInSeconds": 5,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "ScalingConfig": {"MaximumConcurrency": 2},
        },
    }
    return {
        "Role": role("AWSLambdaVPCAccessExecutionRole"),
        "Policy": _policy(dataset),
        "Function": function,
        "FunctionLog": log_group(),
        "Source": source,
    }


def role(managed: str) -> Node:
    """A role for a function, with one of AWS's own policies by its name."""
    trusted = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"},
               "Action": "sts:AssumeRole"}  # fmt: skip
    policy = f"arn:${{AWS::Partition}}:iam::aws:policy/service-role/{managed}"
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trusted]},
            "ManagedPolicyArns": [{"Fn::Sub": policy}],
        },
    }


def log_group() -> Node:
    """The function's log, which goes with it."""
    return {
        "Type": "AWS::Logs::LogGroup",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Delete",
        "Properties": {
            "LogGroupName": {"Fn::Sub": "/aws/lambda/${Function}"},
            "RetentionInDays": 30,
        },
    }


def _policy(dataset: Dataset) -> Node:
    """The least that the function needs: its queue, the dataset's buckets to read, its own."""
    objects = source_objects(dataset)
    own = {"Fn::Sub": "arn:${AWS::Partition}:s3:::${WarehouseBucket}"}
    own_objects = {"Fn::Sub": "arn:${AWS::Partition}:s3:::${WarehouseBucket}/*"}
    statements = [
        allow("Messages", arn("Queue"), "sqs:ReceiveMessage", "sqs:DeleteMessage",
               "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility", "sqs:SendMessage"),
        allow("Dead", arn("DeadLetters"), "sqs:SendMessage"),
        allow("Sources", objects, "s3:GetObject", "s3:GetObjectVersion"),
        allow("Lake", own_objects, "s3:GetObject", "s3:PutObject", "s3:DeleteObject",
               "s3:AbortMultipartUpload"),
        allow("LakeList", own, "s3:ListBucket", "s3:GetBucketLocation"),
        allow("Catalog", "*", "elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite")
        | {"Condition": {"StringEquals":
                         {"elasticfilesystem:AccessPointArn": ref("AccessPointArn")}}},
    ]  # fmt: skip
    return {
        "Type": "AWS::IAM::Policy",
        "Properties": {
            "PolicyName": "ingest",
            "Roles": [ref("Role")],
            "PolicyDocument": {"Version": "2012-10-17", "Statement": statements},
        },
    }


def source_objects(dataset: Dataset) -> list[Node]:
    """The ARNs of all objects of the buckets that the catalog names."""
    uris = (uri for table in dataset.tables.values() for uri in table.objects)
    buckets = dict.fromkeys(uri.split("/")[2] for uri in uris if uri.startswith("s3://"))
    return [{"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{bucket}/*"} for bucket in buckets]


def allow(sid: str, resource: object, *actions: str) -> Node:
    """A statement that allows these actions."""
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}
