"""A CloudFormation template of the function that does the parts of an ingest: `aws_part`.

It needs no network of one's own, no file system and no queue: it reads the dataset's buckets and
writes below the lake's warehouse. Who ingests may call it; nobody else is given that here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeq.ingest.template import Node, allow, arn, log_group, ref, role, source_objects

if TYPE_CHECKING:
    from lakeq.catalog import Dataset

TIMEOUT_S = 900  # the longest that AWS Lambda allows
HANDLER = "lakeq.ingest.aws_part.handler"


def template(dataset: Dataset) -> Node:
    """The template for objects of `dataset`, as CloudFormation has it in JSON."""
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"lakeq: parts of ingests of {dataset.name}",
        "Parameters": _parameters(),
        "Resources": {
            "Role": role("AWSLambdaBasicExecutionRole"),
            "Policy": _policy(dataset),
            "Function": _function(),
            "FunctionLog": log_group(),
        },
        "Outputs": {
            "FunctionName": {
                "Value": ref("Function"),
                "Description": "lakeq ingest --executor lambda:FUNCTION",
            },
            "FunctionArn": {"Value": arn("Function"), "Description": "for lambda:InvokeFunction"},
        },
    }


def _parameters() -> Node:
    text = {"Type": "String"}
    return {
        "ImageUri": {**text, "Description": "The image made by docs/how-to/live.md, in ECR"},
        "Warehouse": {**text, "Description": "s3://bucket/prefix of the lake's data files",
                      "AllowedPattern": "s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^*?]+"},
        "WarehouseBucket": {**text, "Description": "The bucket of Warehouse"},
        "WarehousePrefix": {**text, "Description": "The prefix of Warehouse, no slash around it"},
        "MemoryMiB": {"Type": "Number", "Default": 3008, "MinValue": 1024, "MaxValue": 10240},
        "DiskMiB": {"Type": "Number", "Default": 4096, "MinValue": 512, "MaxValue": 10240},
        "AtOnce": {"Type": "Number", "Default": 50, "MinValue": 1, "MaxValue": 1000,
                   "Description": "Calls at a time; of the account's own quota"},
    }  # fmt: skip


def _function() -> Node:
    variables = {
        "LAKEQ_WAREHOUSE": ref("Warehouse"),
        # /tmp is the one folder that AWS Lambda lets a function write.
        "HOME": "/tmp",  # noqa: S108  # the one folder that Lambda may write
    }
    return {
        "Type": "AWS::Lambda::Function",
        "DependsOn": "Policy",
        "Properties": {
            "PackageType": "Image",
            "Code": {"ImageUri": ref("ImageUri")},
            "ImageConfig": {"Command": ["-m", "awslambdaric", HANDLER]},
            "Role": arn("Role"),
            "Architectures": ["x86_64"],
            "Timeout": TIMEOUT_S,
            "MemorySize": ref("MemoryMiB"),
            "EphemeralStorage": {"Size": ref("DiskMiB")},
            "ReservedConcurrentExecutions": ref("AtOnce"),
            "Environment": {"Variables": variables},
        },
    }


def _policy(dataset: Dataset) -> Node:
    """The least that it needs: the dataset's buckets to read, the warehouse's prefix to write."""
    own = {"Fn::Sub": "arn:${AWS::Partition}:s3:::${WarehouseBucket}/${WarehousePrefix}/*"}
    statements = [
        allow("Lake", own, "s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"),
    ]
    if sources := source_objects(dataset):
        statements.append(allow("Sources", sources, "s3:GetObject", "s3:GetObjectVersion"))
    return {
        "Type": "AWS::IAM::Policy",
        "Properties": {
            "PolicyName": "parts",
            "Roles": [ref("Role")],
            "PolicyDocument": {"Version": "2012-10-17", "Statement": statements},
        },
    }
