"""The functions that mean the same on every engine, and how Spark and Trino write each of them.

A function that is not here is refused there: it has no counterpart, or one that gives something
else. `{0}`, `{1}` are arguments, `{*}` all of them. A template that begins with `!` says why this
engine refuses the function. `returns` is DuckDB's type: a name, `=N` (that of argument N), `elemN`
(its elements'), `listN` (a list of it). A test runs every example on DuckDB and on Spark.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Function(NamedTuple):
    """One function of DuckDB with so many arguments; `example` is one for documents and tests."""

    name: str
    arguments: int
    returns: str
    spark: str
    trino: str
    example: str = ""

    def template(self, target: str) -> str:
        """How `target` writes it."""
        return self.spark if target == "spark" else self.trino


# name/arguments | returns | Spark | Trino ("" as Spark writes it) | example
# ROUND2, MEDIAN and other words in capitals with a sign @ are written by `lakeq.dialect.special`.
_TABLE = r"""
abs/1 | =0 | ABS({0}) | | abs(x)
sign/1 | tinyint | CAST(SIGN({0}) AS TINYINT) | | sign(x)
ceil/1 | =0 | @CEIL | | ceil(x)
ceiling/1 | =0 | @CEIL | | ceiling(x)
floor/1 | =0 | @FLOOR | | floor(x)
round/1 | =0 | ROUND({0}) | | round(x)
round/2 | =0 | @ROUND2 | | round(x, 2)
sqrt/1 | double | SQRT(CAST({0} AS DOUBLE)) | | sqrt(abs(x))
cbrt/1 | double | CBRT(CAST({0} AS DOUBLE)) | | cbrt(x)
exp/1 | double | EXP(CAST({0} AS DOUBLE)) | | exp(x)
ln/1 | double | LN(CAST({0} AS DOUBLE)) | | ln(abs(x) + 1)
log/1 | double | LOG10(CAST({0} AS DOUBLE)) | | log(abs(x) + 1)
log10/1 | double | LOG10(CAST({0} AS DOUBLE)) | | log10(abs(x) + 1)
log2/1 | double | LOG2(CAST({0} AS DOUBLE)) | | log2(abs(x) + 1)
pow/2 | double | POWER(CAST({0} AS DOUBLE), CAST({1} AS DOUBLE)) | | pow(x, 2)
power/2 | double | POWER(CAST({0} AS DOUBLE), CAST({1} AS DOUBLE)) | | power(x, 2)
sin/1 | double | SIN(CAST({0} AS DOUBLE)) | | sin(x)
cos/1 | double | COS(CAST({0} AS DOUBLE)) | | cos(x)
tan/1 | double | TAN(CAST({0} AS DOUBLE)) | | tan(x)
asin/1 | double | ASIN(CAST({0} AS DOUBLE)) | | asin(x / 1000)
acos/1 | double | ACOS(CAST({0} AS DOUBLE)) | | acos(x / 1000)
atan/1 | double | ATAN(CAST({0} AS DOUBLE)) | | atan(x)
atan2/2 | double | ATAN2(CAST({0} AS DOUBLE), CAST({1} AS DOUBLE)) | | atan2(x, i)
sinh/1 | double | SINH(CAST({0} AS DOUBLE)) | | sinh(x / 100)
cosh/1 | double | COSH(CAST({0} AS DOUBLE)) | | cosh(x / 100)
tanh/1 | double | TANH(CAST({0} AS DOUBLE)) | | tanh(x / 100)
degrees/1 | double | DEGREES(CAST({0} AS DOUBLE)) | | degrees(x)
radians/1 | double | RADIANS(CAST({0} AS DOUBLE)) | | radians(x)
pi/0 | double | PI() | | pi()
isnan/1 | bool | CASE WHEN {0} IS NULL THEN NULL ELSE ISNAN({0}) END | IS_NAN({0}) | isnan(x)
mod/2 | =0 | @MOD | | mod(i, 3)
greatest/n | =0 | GREATEST({*}) | ARRAY_MAX(FILTER(ARRAY[{*}], e -> e IS NOT NULL)) | greatest(i, 3, k)
least/n | =0 | LEAST({*}) | ARRAY_MIN(FILTER(ARRAY[{*}], e -> e IS NOT NULL)) | least(i, 3, k)
coalesce/n | =0 | COALESCE({*}) | | coalesce(k, i)
ifnull/2 | =0 | COALESCE({0}, {1}) | | ifnull(k, i)
nullif/2 | =0 | NULLIF({0}, {1}) | | nullif(i, 3)
if/3 | =1 | IF({0}, {1}, {2}) | | if(i > 3, 'a', 'b')
lower/1 | text | LOWER({0}) | | lower(s)
lcase/1 | text | LOWER({0}) | | lcase(s)
upper/1 | text | UPPER({0}) | | upper(s)
ucase/1 | text | UPPER({0}) | | ucase(s)
len/1 | bigint | @LEN | | len(l)
length/1 | bigint | @LEN | | length(s)
char_length/1 | bigint | CAST(CHAR_LENGTH({0}) AS BIGINT) | LENGTH({0}) | char_length(s)
strlen/1 | bigint | CAST(OCTET_LENGTH({0}) AS BIGINT) | LENGTH(TO_UTF8({0})) | strlen(s)
trim/1 | text | TRIM({0}) | | trim('  a ')
ltrim/1 | text | LTRIM({0}) | | ltrim('  a ')
rtrim/1 | text | RTRIM({0}) | | rtrim('  a ')
substr/2 | text | @SUBSTR | | substr(s, 2)
substr/3 | text | @SUBSTR | | substr(s, 2, 2)
substring/2 | text | @SUBSTR | | substring(s, 2)
substring/3 | text | @SUBSTR | | substring(s, 2, 2)
left/2 | text | @LEFT | | left(s, 2)
right/2 | text | @RIGHT | | right(s, 2)
strpos/2 | bigint | CAST(INSTR({0}, {1}) AS BIGINT) | STRPOS({0}, {1}) | strpos(s, 'a')
instr/2 | bigint | CAST(INSTR({0}, {1}) AS BIGINT) | STRPOS({0}, {1}) | instr(s, 'a')
position/2 | bigint | CAST(INSTR({0}, {1}) AS BIGINT) | STRPOS({0}, {1}) | position('a' in s)
contains/2 | bool | @CONTAINS | | contains(s, 'a')
starts_with/2 | bool | STARTSWITH({0}, {1}) | STARTS_WITH({0}, {1}) | starts_with(s, 'a')
prefix/2 | bool | STARTSWITH({0}, {1}) | STARTS_WITH({0}, {1}) | prefix(s, 'a')
ends_with/2 | bool | ENDSWITH({0}, {1}) | STARTS_WITH(REVERSE({0}), REVERSE({1})) | ends_with(s, 'a')
suffix/2 | bool | ENDSWITH({0}, {1}) | STARTS_WITH(REVERSE({0}), REVERSE({1})) | suffix(s, 'a')
replace/3 | text | REPLACE({0}, {1}, {2}) | | replace(s, 'a', 'bb')
reverse/1 | text | REVERSE({0}) | | reverse(s)
concat/n | text | @CONCAT | | concat(s, 'a', n)
concat_ws/n | text | CONCAT_WS({*}) | | concat_ws('-', s, 'a')
repeat/2 | text | REPEAT({0}, {1}) | CASE WHEN {0} IS NULL THEN NULL ELSE ARRAY_JOIN(REPEAT({0}, {1}), '') END | repeat(s, 2)
split_part/3 | text | @SPLIT_PART | | split_part('a,b', ',', 2)
string_split/2 | list<text> | @SPLIT | | string_split('a.b', '.')
str_split/2 | list<text> | @SPLIT | | str_split('a.b', '.')
split/2 | list<text> | @SPLIT | | split('a.b', '.')
string_to_array/2 | list<text> | @SPLIT | | string_to_array('a.b', '.')
regexp_matches/2 | bool | @REGEXP_MATCHES | | regexp_matches(s, '^a')
regexp_full_match/2 | bool | @REGEXP_FULL | | regexp_full_match(s, 'a.*')
regexp_extract/2 | text | @REGEXP_EXTRACT | | regexp_extract(s, '[a-c]+')
regexp_extract/3 | text | @REGEXP_EXTRACT | | regexp_extract(s, '([a-c])(.)', 2)
regexp_replace/4 | text | @REGEXP_REPLACE | | regexp_replace(s, '([a-c])', '<\1>', 'g')
ascii/1 | int | @ASCII | | ascii(s)
chr/1 | text | CHR({0}) | | chr(97)
md5/1 | text | MD5({0}) | LOWER(TO_HEX(MD5(TO_UTF8({0})))) | md5(s)
list_value/n | list0 | ARRAY({*}) | ARRAY[{*}] | [1, 2, i]
list_pack/n | list0 | ARRAY({*}) | ARRAY[{*}] | list_pack(1, 2, i)
array_length/1 | bigint | @LEN | | array_length(l)
list_contains/2 | bool | @LIST_CONTAINS | | list_contains(l, 2)
list_has/2 | bool | @LIST_CONTAINS | | list_has(l, 2)
array_contains/2 | bool | @LIST_CONTAINS | | array_contains(l, 2)
array_has/2 | bool | @LIST_CONTAINS | | array_has(l, 2)
list_extract/2 | elem0 | @ELEMENT | | list_extract(l, 2)
list_element/2 | elem0 | @ELEMENT | | list_element(l, 2)
array_extract/2 | elem0 | @ELEMENT | | array_extract(l, 2)
list_slice/3 | =0 | @SLICE | | l[2:3]
array_slice/3 | =0 | @SLICE | | array_slice(l, 1, 2)
list_sum/1 | sum0 | @LIST_SUM | | list_sum(l)
list_avg/1 | double | @LIST_AVG | | list_avg(l)
list_min/1 | elem0 | ARRAY_MIN({0}) | ARRAY_MIN(FILTER({0}, e -> e IS NOT NULL)) | list_min(l)
list_max/1 | elem0 | ARRAY_MAX({0}) | ARRAY_MAX(FILTER({0}, e -> e IS NOT NULL)) | list_max(l)
list_concat/2 | =0 | @LIST_CONCAT | | list_concat(l, [9])
list_cat/2 | =0 | @LIST_CONCAT | | list_cat(l, [9])
array_concat/2 | =0 | @LIST_CONCAT | | array_concat(l, [9])
list_intersect/2 | =0 | @INTERSECT | | len(list_intersect(l, [2, 3]))
array_intersect/2 | =0 | @INTERSECT | | len(array_intersect(l, [2, 3]))
list_transform/2 | lambda | TRANSFORM({0}, {1}) | | list_transform(l, lambda e: e + 1)
list_apply/2 | lambda | TRANSFORM({0}, {1}) | | list_apply(l, lambda e: e + 1)
array_transform/2 | lambda | TRANSFORM({0}, {1}) | | array_transform(l, lambda e: e + 1)
list_filter/2 | =0 | FILTER({0}, {1}) | | list_filter(l, lambda e: e > 1)
array_filter/2 | =0 | FILTER({0}, {1}) | | array_filter(l, lambda e: e > 1)
flatten/1 | elem0 | FLATTEN({0}) | | flatten([[1], [2, i]])
range/1 | list<bigint> | @RANGE | | range(3)
range/2 | list<bigint> | @RANGE | | range(1, i)
range/3 | @range | @RANGE | | range(1, i, 2)
generate_series/1 | list<bigint> | @RANGE | | generate_series(3)
generate_series/2 | list<bigint> | @RANGE | | generate_series(1, i)
generate_series/3 | @range | @RANGE | | generate_series(t, t + interval 2 hours, interval 1 hour)
struct_extract/2 | field | @FIELD | | struct_extract(r, 'a')
struct_pack/n | struct | @STRUCT | | struct_pack(a := i, b := s).b
date_trunc/2 | trunc | @DATE_TRUNC | | date_trunc('hour', t)
date_part/2 | bigint | @DATE_PART | | date_part('year', t)
year/1 | bigint | CAST(YEAR({0}) AS BIGINT) | YEAR({0}) | year(t)
month/1 | bigint | CAST(MONTH({0}) AS BIGINT) | MONTH({0}) | month(t)
day/1 | bigint | CAST(DAY({0}) AS BIGINT) | DAY({0}) | day(t)
hour/1 | bigint | CAST(HOUR({0}) AS BIGINT) | HOUR({0}) | hour(t)
minute/1 | bigint | CAST(MINUTE({0}) AS BIGINT) | MINUTE({0}) | minute(t)
second/1 | bigint | CAST(SECOND({0}) AS BIGINT) | SECOND({0}) | second(t)
dayofyear/1 | bigint | CAST(DAYOFYEAR({0}) AS BIGINT) | DAY_OF_YEAR({0}) | dayofyear(t)
quarter/1 | bigint | CAST(QUARTER({0}) AS BIGINT) | QUARTER({0}) | quarter(t)
last_day/1 | date | LAST_DAY({0}) | LAST_DAY_OF_MONTH({0}) | last_day(d)
make_date/3 | date | MAKE_DATE({0}, {1}, {2}) | @MAKE_DATE | make_date(2024, 2, 3)
epoch/1 | double | @EPOCH | | epoch(t)
epoch_ms/1 | bigint | @EPOCH_MS | | epoch_ms(t)
epoch_us/1 | bigint | @MICROS | | epoch_us(t)
to_timestamp/1 | timestamptz | @TO_TIMESTAMP | | to_timestamp(1.5 * i)
date_diff/3 | bigint | @DATE_DIFF | | date_diff('month', date '2023-12-31', d)
datediff/3 | bigint | @DATE_DIFF | | datediff('day', date '2023-12-31', d)
time_bucket/2 | =1 | @TIME_BUCKET | | time_bucket(interval 15 minutes, t)
grouping/1 | bigint | CAST(GROUPING({0}) AS BIGINT) | |
count/n | bigint | COUNT({*}) | | count(k)
count_star/0 | bigint | COUNT(*) | | count(*)
count_if/1 | hugeint | SUM(CAST(CASE WHEN {0} THEN 1 ELSE 0 END AS BIGINT)) | | count_if(i > 3)
countif/1 | hugeint | SUM(CAST(CASE WHEN {0} THEN 1 ELSE 0 END AS BIGINT)) | | countif(i > 3)
sum/1 | sum | @SUM | | sum(i)
avg/1 | double | AVG(CAST({0} AS DOUBLE)) | | avg(i)
mean/1 | double | AVG(CAST({0} AS DOUBLE)) | | mean(i)
min/1 | =0 | MIN({0}) | | min(s)
max/1 | =0 | MAX({0}) | | max(x)
any_value/1 | =0 | @ANY_VALUE | | any_value(1)
arg_max/2 | =0 | @ARG_MAX | | arg_max(s, i)
argmax/2 | =0 | @ARG_MAX | | argmax(s, i)
max_by/2 | =0 | @ARG_MAX | | max_by(s, i)
arg_min/2 | =0 | @ARG_MIN | | arg_min(s, i)
argmin/2 | =0 | @ARG_MIN | | argmin(s, i)
min_by/2 | =0 | @ARG_MIN | | min_by(s, i)
bool_and/1 | bool | BOOL_AND({0}) | | bool_and(i > 1)
bool_or/1 | bool | BOOL_OR({0}) | | bool_or(i > 1)
median/1 | quantile | @MEDIAN | | median(x)
quantile_cont/2 | quantile | @QUANTILE | | quantile_cont(x, 0.3)
stddev/1 | double | STDDEV_SAMP(CAST({0} AS DOUBLE)) | | stddev(x)
stddev_samp/1 | double | STDDEV_SAMP(CAST({0} AS DOUBLE)) | | stddev_samp(x)
stddev_pop/1 | double | STDDEV_POP(CAST({0} AS DOUBLE)) | | stddev_pop(x)
variance/1 | double | VAR_SAMP(CAST({0} AS DOUBLE)) | | variance(x)
var_samp/1 | double | VAR_SAMP(CAST({0} AS DOUBLE)) | | var_samp(x)
var_pop/1 | double | VAR_POP(CAST({0} AS DOUBLE)) | | var_pop(x)
corr/2 | double | CORR(CAST({0} AS DOUBLE), CAST({1} AS DOUBLE)) | | corr(x, i)
covar_pop/2 | double | COVAR_POP(CAST({0} AS DOUBLE), CAST({1} AS DOUBLE)) | | covar_pop(x, i)
covar_samp/2 | double | COVAR_SAMP(CAST({0} AS DOUBLE), CAST({1} AS DOUBLE)) | | covar_samp(x, i)
string_agg/2 | text | @STRING_AGG | | string_agg(s, ',' order by i)
group_concat/2 | text | @STRING_AGG | | group_concat(s, ',' order by i)
listagg/2 | text | @STRING_AGG | | listagg(s, ',' order by i)
list/1 | list0 | @LIST | | list(k order by i)
array_agg/1 | list0 | @LIST | | array_agg(k order by i)
row_number/0 | bigint | ROW_NUMBER() | | row_number() over (order by i)
rank/0 | bigint | RANK() | | rank() over (order by g)
dense_rank/0 | bigint | DENSE_RANK() | | dense_rank() over (order by g)
percent_rank/0 | double | PERCENT_RANK() | | percent_rank() over (order by g)
cume_dist/0 | double | CUME_DIST() | | cume_dist() over (order by g)
ntile/1 | bigint | NTILE({0}) | | ntile(3) over (order by i)
lag/1 | =0 | LAG({0}) | | lag(s) over (order by i)
lag/2 | =0 | LAG({0}, {1}) | | lag(s, 2) over (order by i)
lag/3 | =0 | LAG({0}, {1}, {2}) | | lag(s, 2, 'none') over (order by i)
lead/1 | =0 | LEAD({0}) | | lead(s) over (order by i)
lead/2 | =0 | LEAD({0}, {1}) | | lead(s, 2) over (order by i)
lead/3 | =0 | LEAD({0}, {1}, {2}) | | lead(s, 2, 'none') over (order by i)
first_value/1 | =0 | FIRST_VALUE({0}) | | first_value(s) over (order by i)
last_value/1 | =0 | LAST_VALUE({0}) | | last_value(s) over (order by i)
nth_value/2 | =0 | NTH_VALUE({0}, {1}) | | nth_value(s, 2) over (order by i)
"""

ANY = -1  # arguments, in any number


def _read() -> dict[tuple[str, int], Function]:
    found = {}
    for line in filter(None, _TABLE.splitlines()):
        head, returns, spark, trino, example = (part.strip() for part in line.split(" |", 4))
        name, _, count = head.partition("/")
        arguments = ANY if count == "n" else int(count)
        made = Function(name, arguments, returns, spark, trino or spark, example)
        found[name, arguments] = made
    return found


FUNCTIONS: Mapping[tuple[str, int], Function] = MappingProxyType(_read())
NAMES = frozenset(name for name, _ in FUNCTIONS)

# What to write instead of a function that is not portable.
INSTEAD = {
    "approx_count_distinct": "count(DISTINCT x), which is exact",
    "approx_quantile": "quantile_cont(x, q), which is exact",
    "quantile_disc": "quantile_cont(x, q)",
    "quantile": "quantile_cont(x, q)",
    "mode": "count by value, ORDER BY count(*) DESC LIMIT 1",
    "histogram": "GROUP BY the value, and count(*)",
    "first": "arg_min(x, order) says which one is first",
    "last": "arg_max(x, order) says which one is last",
    "list_reduce": "list_sum, list_min or list_max, or unnest and aggregate",
    "reduce": "list_sum, list_min or list_max, or unnest and aggregate",
    "list_distinct": "unnest, and SELECT DISTINCT",
    "list_sort": "unnest, and ORDER BY",
    "list_aggregate": "list_sum, list_min, list_max or list_avg",
    "date_sub": "date_diff counts the boundaries that are crossed",
    "strftime": "date_trunc, date_part, or format the rows afterwards",
    "strptime": "CAST(text AS DATE) of ISO dates",
    "format": "|| of text, or format the rows afterwards",
    "printf": "|| of text, or format the rows afterwards",
    "json_extract": "columns of a type",
    "json_extract_string": "columns of a type",
    "now": "a parameter: $now",
    "today": "a parameter: $today",
    "random": "a column that is spread evenly, such as pos % 100",
    "trunc": "CAST(x - 0.5 * sign(x) AS BIGINT), or floor and ceil",
    "regexp_replace": "regexp_replace(text, pattern, replacement, 'g')",
    "list_position": "list_contains, or unnest",
    "product": "exp(sum(ln(x)))",
    "->>": "columns of a type",
    "->": "columns of a type",
    "map": "a struct, or two columns",
    "//": "floor(a / b) of numbers that are not whole",
}


def find(name: str, arguments: int) -> Function | None:
    """The portable function of that name with so many arguments."""
    name = name.lower()
    return FUNCTIONS.get((name, arguments)) or FUNCTIONS.get((name, ANY))
