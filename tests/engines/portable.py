"""Queries that every engine answers alike, as data; and what is refused elsewhere than on DuckDB."""

from __future__ import annotations

from lakeq.dialect.functions import FUNCTIONS
from lakeq.dialect.shape import AGGREGATES

V = "thousand_genomes.variants"
S = "thousand_genomes.samples"
G = "thousand_genomes.genotypes"
C = "clinvar.grch37"
R = "nexrad.grid"

# Rows with a NULL, an empty and a negative value in every column that can have one.
ROWS = """(values
    (1, 3, 2.5::double, 'abc', [1, 2, 3, null], timestamptz '2024-02-29 13:17:05.25+00',
     date '2024-02-29', {'a': 1, 'b': 'x'}, 'p', 1),
    (2, null, -2.5, 'Banana', [5], timestamptz '2023-12-31 23:59:59.999999+00',
     date '2023-12-31', {'a': 2, 'b': null::varchar}, 'p', 1),
    (7, 9, 0.125, '', [], timestamptz '2024-03-10 00:00:00+00',
     date '2024-03-10', {'a': null::int, 'b': 'z'}, 'q', 2),
    (4, 1, 3.5, 'xaay', null, timestamptz '1999-01-04 06:00:00+00',
     date '1999-01-04', null, 'q', 2),
    (5, 2, null, null, [null, 2], null, null, {'a': 5, 'b': 'w'}, 'r', 3)
) as t (i, k, x, s, l, t, d, r, g, n)"""


def examples() -> list[str]:
    """Each function's example: scalars and windows in one query, aggregates in two."""
    shown = [f for f in FUNCTIONS.values() if f.example]
    rows = [f.example for f in shown if f.name not in AGGREGATES]
    groups = [f.example for f in shown if f.name in AGGREGATES]
    return [
        *(f"select i, {', '.join(part)} from {ROWS} order by i" for part in _parts(rows)),
        *(
            f"select g, {', '.join(part)} from {ROWS} group by g order by g"
            for part in _parts(groups)
        ),
        *(f"select {', '.join(part)} from {ROWS} where i > 100" for part in _parts(groups)),
    ]


def _parts(texts: list[str], size: int = 40) -> list[list[str]]:
    named = [f"{text} as c{number}" for number, text in enumerate(texts)]
    return [named[start : start + size] for start in range(0, len(named), size)]


# With an ORDER BY that leaves no ties, or none at all.
QUERIES = [
    # Division, rounding, types of numbers
    f"select i, i / 2, i // 2, i % 3, -i // 2, i / 0, i % 0, 0 / 0, -i / 0 from {ROWS} order by i",
    f"select i, x / 3, x * 1.1, x + 1, x - 0.1, 2 ** i, x / nullif(i - 1, 0) from {ROWS} order by i",
    f"select i, cast(x as int), cast(x * 10 as bigint), cast(2.5 as int), cast(x as float) from {ROWS}"
    " order by i",
    f"select i, x::float / 3, x::float * 0.1, x::float + i, x::float > 0.1 from {ROWS} order by i",
    "select 0.1::float = 0.1, 0.1::float in (0.1), 0.1::float between 0.1 and 0.2, 0.1 + 0.2 = 0.3",
    f"select i, round(x, 1), round(x * 1.005, 2), floor(x), ceil(x), round(-x) from {ROWS} order by i",
    f"select i, 2147483640 + i, i * 306783378 from {ROWS} order by i",
    "select sum(x), count(*) from (values (9223372036854775807), (9223372036854775807)) t (x)",
    f"select g, sum(i) / count(*), avg(k), sum(x), sum(distinct n), avg(distinct n) from {ROWS}"
    " group by g order by g",
    f"select 1.5 * i, 1.25 + i, i - 0.5, -1.5 from {ROWS} order by i",
    # NULLs and order
    f"select k from {ROWS} order by k",
    f"select k from {ROWS} order by k desc",
    f"select k from {ROWS} order by k nulls first",
    f"select k from {ROWS} order by k desc nulls first",
    f"select i, k, row_number() over (order by k, i), rank() over (order by k desc), lag(k) over"
    f" (order by i) from {ROWS} order by i",
    f"select g, first_value(k) over (partition by g order by k, i), sum(i) over (partition by g order"
    f" by i) from {ROWS} order by i",
    f"select i, greatest(k, 2), least(k, 2), k is distinct from 3, k is not distinct from null, k in"
    f" (1, 2), k not in (1, 2), coalesce(k, -1) from {ROWS} order by i",
    f"select i, concat(s, '-', k), s || '!', concat_ws(',', s, null, g) from {ROWS} order by i",
    f"select count(k), count(*), count(distinct g), min(s), max(s) from {ROWS}",
    f"select count(*) from {ROWS} where not (k > 1)",
    "select x from (values ('a'), ('B'), (null), ('é'), ('Z'), ('')) t (x) order by x",
    "select x from (values (1.5::double), ('nan'::double), (null), ('-inf'::double)) t (x) order by x",
    # Lists
    f"select i, l[1], l[-1], l[9], l[0], l[2:3], l[:2], l[2:], len(l) from {ROWS} order by i",
    f"select i, list_sum(l), list_avg(l), list_contains(l, 2), list_contains(l, null) from {ROWS} order by i",
    f"select i, list_sum([x, 0.5::double]), l || [7], list_concat(l, [8]) from {ROWS} order by i",
    f"select i, u from (select i, unnest(l) as u from {ROWS}) order by i, u",
    f"select i, unnest(l) as a, unnest([10, 20]) as b, unnest(range(3)) as c from {ROWS} order by i, c, b, a",
    f"select i, e from {ROWS} cross join unnest(l) as u (e) order by i, e",
    f"select i, range(i), range(i, 5), range(5, i, -1), generate_series(1, i) from {ROWS} order by i",
    "select sum(i) from range(1, 11) t (i)",
    "select i from generate_series(3, 1) t (i)",
    f"select i, list_transform(l, e -> e * 2), list_filter(l, e -> e > 1) from {ROWS} order by i",
    f"select g, list(k order by i), array_agg(s order by i desc) from {ROWS} group by g order by g",
    f"select i from {ROWS} where i in (select unnest([1, 4, 99])) order by i",
    # Structs
    f"select i, r.a, r.b, r['a'] from {ROWS} order by i",
    f"select i, struct_pack(p := i, q := s).q, {{'z': i}}.z from {ROWS} order by i",
    f"select g, arg_max(struct_pack(a := i, b := s), i).b from {ROWS} group by g order by g",
    # Text
    f"select i, s like 'a%', s ilike 'B%', s not like '%a%', lower(s), strpos(s, 'a') from {ROWS} order by i",
    f"select i, regexp_replace(s, '([ab])(.)', '\\2\\1', 'g'), regexp_extract(s, 'z+') from {ROWS} order by i",
    f"select i, string_split('a.b.' || coalesce(s, ''), '.'), split_part('a|b', '|', 3) from {ROWS} order by i",
    f"select g, string_agg(s, '; ' order by i desc), string_agg(s, '' order by s) from {ROWS} group by g"
    " order by g",
    "select 'it''s', 'back\\slash', 'new\nline', '\"', '%', 'ünï', '\\n', 'a\\''b'",
    "select length('ünï'), reverse('abc'), substr('ünïcode', 2, 3), left('ab', 5), right('abc', 2)",
    # Times
    f"select i, date_trunc('month', t), date_trunc('week', t), date_trunc('day', d) from {ROWS} order by i",
    f"select i, t + interval 90 minutes, t - interval 2 days, d + 3, d - 1, d + interval 1 day from {ROWS}"
    " order by i",
    f"select i, t + interval 1 month, d - interval 1 year from {ROWS} order by i",
    f"select i, date_diff('day', t, timestamptz '2024-03-01 00:00:00+00'), date_diff('year', t, now_),"
    f" date_diff('hour', t, now_), date_diff('week', d, date '2024-03-01') from {ROWS},"
    " (select timestamptz '2024-03-01 00:30:00+00' as now_) order by i",
    f"select i, epoch(t), epoch_ms(t), epoch_us(t), epoch(timestamptz '2024-03-01 00:00:00+00' - t)"
    f" from {ROWS} order by i",
    f"select i, time_bucket(interval 6 hours, t), extract(year from t), date_part('isodow', d),"
    f" dayofyear(d), date_part('dow', t), date_part('week', t) from {ROWS} order by i",
    f"select i, d - date '2024-01-01', t > timestamptz '2024-01-01 00:00:00+00', d = date '1999-01-04'"
    f" from {ROWS} order by i",
    "select unnest(generate_series(timestamptz '2024-01-01 00:00:00+00', timestamptz"
    " '2024-01-01 02:30:00+00', interval 1 hour)) as h order by h",
    "select date '2024-01-31' + interval 1 month, make_date(2024, 2, 29), last_day(date '2023-02-01')",
    # Clauses of DuckDB's own
    f"select g, n, count(*) from {ROWS} group by all order by all",
    f"select g, n, sum(i) from {ROWS} group by cube (g, n) order by g, n, 3",
    f"select g, grouping(g), sum(i) from {ROWS} group by rollup (g) order by g, 2",
    f"select * exclude (l, r, t, d) from {ROWS} order by all desc",
    f"select * exclude (l, r, t, d) replace (i * 2 as i) from {ROWS} order by i",
    f"select i, s from {ROWS} qualify row_number() over (partition by g order by i desc) = 1 order by i",
    f"select distinct on (g) g, i from {ROWS} order by g, i desc",
    f"select i, i * 2 as twice, twice + 1 as more from {ROWS} where twice > 4 order by i",
    f"from {ROWS} select i order by i limit 2 offset 1",
    f"select i, g from {ROWS} union all by name select 'z' as g, 0 as i order by i",
    f"select count(*) filter (where k > 1), sum(i) filter (where g = 'p'), max(x) filter (k > 1) from {ROWS}",
    f"select count(*) from {ROWS} semi join (values (1), (7)) b (i) using (i)",
    f"select g from {ROWS} group by g having count(*) > 1 and max(k) is not null order by g",
    f"select case when i > 4 then 'big' when k is null then null else 'small' end as c, count(*) from {ROWS}"
    " group by 1 order by 1",
    # The real tables
    f"select contig, count(*), sum(ac), avg(af), min(pos), max(pos) from {V} group by contig order by contig",
    f"select significance_rank, count(*), count(distinct gene) from {C} group by 1 order by 1",
    f"select gene, count(*) as n from {C} where is_pathogenic group by gene order by n desc, gene limit 20",
    f"select contig, pos, ref, alt, list_sum(het), len(hom_alt), len(hemi), hemi[1:3] from {G}"
    " order by contig, pos, ref, alt limit 50",
    f"select super_population, sex, count(*) from {S} group by all order by all",
    f"select volume_time, count(*), max(dbzh_max), avg(latitude), sum(gates), min(longitude), max(tile)"
    f" from {R} group by volume_time order by volume_time",
    f"select round(latitude, 1) as lat, max(dbzh_max) from {R} group by 1 order by 1",
    f"select date, site, median(dbzh_max), quantile_cont(dbzh_max, 0.9), stddev(dbzh_max) from {R}"
    " group by all order by all",
    "select sweep_number, count(*), max(dbzh_max), min(azimuth), sum(len(dbzh)), max(dbzh[3]),"
    " max(dbzh_coding.scale) from nexrad.rays group by 1 order by 1",
]  # fmt: skip

# Each with a word of the refusal.
REFUSED = [
    (f"select histogram(i) from {ROWS}", "histogram"),
    (f"select mode(i) from {ROWS}", "mode"),
    (f"select approx_count_distinct(i) from {ROWS}", "approx_count_distinct"),
    (f"select first(i) from {ROWS}", "first"),
    (f"select list_reduce([1, i], (a, b) -> a + b) from {ROWS}", "list_reduce"),
    (f"select [e + 1 for e in l] from {ROWS}", "comprehension"),
    ("select map {'a': 1}['a']", "Map|map"),
    ("select strftime(date '2024-01-02', '%d')", "strftime"),
    ("select format('{}', 1)", "format"),
    ("select json_extract('{}', '$.a')", "json_extract"),
    ("select regexp_replace('aa', 'a', 'b')", "regexp_replace"),
    ("select regexp_matches('a', '(?i)A')", "regular expression"),
    (f"select l[i:] from {ROWS}", "slice"),
    (f"select cast(x as varchar) from {ROWS}", "CAST"),
    (f"select x // 2 from {ROWS}", "//"),
    (f"select * from {ROWS} tablesample 10%", "TABLESAMPLE"),
    (f"select * from {ROWS} asof join (values (1)) u (z) on i >= z", "ASOF"),
    (f"select * from {ROWS} positional join range(5) u (z)", "POSITIONAL"),
    (f"select columns('i') from {ROWS}", "COLUMNS"),
    (f"select s collate nocase from {ROWS}", "COLLATE"),
    ("with recursive a as (select 1 as n union all select n + 1 from a where n < 3) from a", "RECURSIVE"),
    (f"select * from (select g, n, i from {ROWS}) pivot (sum(i) for g in ('p', 'q') group by n)", "PIVOT"),
    (f"select array_agg(i order by i)[1:2], list(i)[1] from {ROWS}", "list"),
]  # fmt: skip
