"""The functions that the translations use, as Spark and Trino have them.

Every name was looked up. Spark: in `pyspark.sql.functions` of Spark Connect's client 4.2.0, which a
test repeats; `if` is a function of its SQL alone. Trino: in docs/src/main/sphinx/functions/list.md
of trinodb/trino at 01e94c03cffc; `row` is a constructor of values, `grouping` an operation of
GROUP BY. Athena engine version 3 has the functions of Trino, says
https://docs.aws.amazon.com/athena/latest/ug/functions-env3.html, which names none that it lacks.
"""

from __future__ import annotations

_COMMON = """
abs acos array_intersect array_max array_min asin atan atan2 avg bool_and bool_or cbrt ceil
chr coalesce concat concat_ws corr cos cosh count count_if covar_pop covar_samp cume_dist date_trunc
day degrees dense_rank exp filter first_value flatten floor greatest grouping hour if lag last_value
lead least ln log10 log2 lower lpad ltrim max max_by md5 min min_by minute month nth_value ntile
nullif percent_rank pi power quarter radians rank regexp_extract regexp_replace repeat replace
reverse round row_number rpad rtrim second sequence sign sin sinh slice split split_part sqrt
stddev_pop stddev_samp substr sum tan tanh transform trim upper var_pop var_samp year
"""
_SPARK = """
aggregate array array_contains array_sort ascii char_length collect_list contains dayofmonth
dayofweek dayofyear endswith explode instr isnan last_day listagg make_date named_struct
octet_length percentile posexplode repeat right size startswith timestamp_micros try_element_at
unix_micros weekday weekofyear date_add datediff any_value array_join collect_set sort_array
"""
_TRINO = """
arbitrary array_agg array_join array_sort cardinality codepoint contains date_add date_diff
day_of_week day_of_year element_at from_unixtime_nanos is_nan last_day_of_month length reduce
regexp_like row starts_with strpos to_hex to_unixtime to_utf8 week
"""
KNOWN = {
    "spark": frozenset((_COMMON + _SPARK).split()),
    "trino": frozenset((_COMMON + _TRINO).split()),
}
