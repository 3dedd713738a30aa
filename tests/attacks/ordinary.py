"""Ordinary analytical queries as data, each with what plain Python makes of the same facts.

The facts are bcftools' and the panel's own: variants of chrMT as (pos, ref, alt, ac) with
multi-allelic records split and AC as the file states it, samples as (sample, population,
super_population, sex) in the order of the VCF's header.
"""

from __future__ import annotations

import re
import statistics
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from itertools import accumulate, groupby, pairwise
from typing import NamedTuple

Rows = list[tuple[object, ...]]


class Facts(NamedTuple):
    """Variants and samples, as independent readers give them."""

    v: list[tuple[int, str, str, int]]
    s: list[tuple[str, str, str, str]]


class Ordinary(NamedTuple):
    """A query over `V` and `S` and its rows, in any order."""

    name: str
    sql: str
    expected: Callable[[Facts], Iterable[tuple[object, ...]]]
    parameters: Mapping[str, object] = {}


V = "thousand_genomes.variants"
S = "thousand_genomes.samples"


def _one(value: object) -> Rows:
    return [(value,)]


def _items(counts: Mapping[object, object]) -> Rows:
    return [(*(k if isinstance(k, tuple) else (k,)), n) for k, n in counts.items()]


def _by_population(f: Facts) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for sample, population, _, _ in f.s:
        groups[population].append(sample)
    return groups


def _gaps(f: Facts) -> list[int]:
    positions = sorted({pos for pos, *_ in f.v})
    return [b - a for a, b in pairwise(positions)]


def _cube(f: Facts) -> Rows:
    both = Counter((sup, sex) for _, _, sup, sex in f.s)
    sups = Counter((sup, None) for _, _, sup, _ in f.s)
    sexes = Counter((None, sex) for _, _, _, sex in f.s)
    return _items({**both, **sups, **sexes, (None, None): len(f.s)})


def _top_two(f: Facts) -> Rows:
    best: Rows = []
    for ref in {v[1] for v in f.v if len(v[1]) == 1}:
        rows = sorted((v for v in f.v if v[1] == ref), key=lambda v: (-v[3], v[0], v[2]))
        best += [(ref, v[0], v[2]) for v in rows[:2]]
    return best


def _running(f: Facts) -> Rows:
    rows = sorted(f.v, key=lambda v: (v[0], v[1], v[2]))
    return list(zip((v[0] for v in rows), accumulate(v[3] for v in rows), strict=True))


def _asof(f: Facts) -> Rows:
    common = sorted({v[0] for v in f.v if v[3] > 1000})
    found: Rows = []
    for at in (1, 1000, 5000, 16000):
        place = bisect_right(common, at)
        if place:
            found.append((at, common[place - 1]))
    return found


def _overlaps(f: Facts) -> int:
    regions = [(100, 500), (400, 900)]
    return sum(low <= v[0] <= high for v in f.v for low, high in regions)


QUERIES = [
    # Counting and grouping
    Ordinary("count", f"select count(*) from {V}", lambda f: _one(len(f.v))),
    Ordinary("count_distinct", f"select count(distinct pos) from {V}",
             lambda f: _one(len({v[0] for v in f.v}))),
    Ordinary("sum_min_max", f"select sum(info_ac), min(pos), max(pos) from {V}",
             lambda f: [(sum(v[3] for v in f.v), min(f.v)[0], max(f.v)[0])]),
    Ordinary("group_by", f"select population, count(*) from {S} group by population",
             lambda f: _items(Counter(s[1] for s in f.s))),
    Ordinary("group_by_all", f"select super_population, sex, count(*) from {S} group by all",
             lambda f: _items(Counter((s[2], s[3]) for s in f.s))),
    Ordinary("having", f"select population from {S} group by 1 having count(*) > 100",
             lambda f: [(p,) for p, n in Counter(s[1] for s in f.s).items() if n > 100]),
    Ordinary("filter", f"select count(*) filter (sex = 'female'), count(*) from {S}",
             lambda f: [(sum(s[3] == "female" for s in f.s), len(f.s))]),
    Ordinary("cube", f"select super_population, sex, count(*) from {S} group by cube (1, 2)", _cube),
    Ordinary("rollup", f"select super_population, count(*) from {S} group by rollup (1)",
             lambda f: [*_items(Counter(s[2] for s in f.s)), (None, len(f.s))]),
    Ordinary("grouping_sets",
             f"select sex, grouping(sex), count(*) from {S} group by grouping sets ((sex), ())",
             lambda f: [*((k, 0, n) for k, n in Counter(s[3] for s in f.s).items()),
                        (None, 1, len(f.s))]),
    Ordinary("median", f"select median(info_ac) from {V}",
             lambda f: _one(float(statistics.median(v[3] for v in f.v)))),
    Ordinary("arg_max", f"select arg_max(pos, info_ac * 100000 - pos) from {V}",
             lambda f: _one(max(f.v, key=lambda v: v[3] * 100000 - v[0])[0])),
    Ordinary("histogram", f"select histogram(super_population) from {S}",
             lambda f: _one(sorted(Counter(s[2] for s in f.s).items()))),
    Ordinary("string_agg", f"select string_agg(sample, ',' order by sample) from {S}"
             " where population = 'GBR'",
             lambda f: _one(",".join(sorted(s[0] for s in f.s if s[1] == "GBR")))),
    Ordinary("list_by_group", f"select population, list(sample order by sample)[:2] from {S} group by 1",
             lambda f: [(p, sorted(names)[:2]) for p, names in _by_population(f).items()]),
    Ordinary("bool_and", f"select bool_and(pos > 0), bool_or(pos > 16569) from {V}",
             lambda f: [(True, any(v[0] > 16569 for v in f.v))]),
    Ordinary("mode", f"select mode(ref) from {V} where length(ref) = 1",
             lambda f: _one(Counter(v[1] for v in f.v if len(v[1]) == 1).most_common(1)[0][0])),
    # Filters
    Ordinary("between", f"select pos, ref, alt from {V} where pos between 100 and 200",
             lambda f: [v[:3] for v in f.v if 100 <= v[0] <= 200]),
    Ordinary("in_list", f"select pos, alt from {V} where ref in ('A', 'C') and pos < 300",
             lambda f: [(v[0], v[2]) for v in f.v if v[1] in ("A", "C") and v[0] < 300]),
    Ordinary("like", f"select sample from {S} where sample like 'HG0009_'",
             lambda f: [(s[0],) for s in f.s if re.fullmatch("HG0009.", s[0])]),
    Ordinary("ilike", f"select count(*) from {S} where sample ilike 'hg%'",
             lambda f: _one(sum(s[0].startswith("HG") for s in f.s))),
    Ordinary("regex", f"select count(*) from {S} where regexp_matches(sample, '^NA1[89]')",
             lambda f: _one(sum(bool(re.match("NA1[89]", s[0])) for s in f.s))),
    Ordinary("similar_to", f"select count(*) from {S} where sample similar to 'HG.*6'",
             lambda f: _one(sum(bool(re.fullmatch("HG.*6", s[0])) for s in f.s))),
    Ordinary("case", f"select case when length(ref) = length(alt) then 'same' else 'indel' end,"
             f" count(*) from {V} group by 1",
             lambda f: _items(Counter("same" if len(v[1]) == len(v[2]) else "indel" for v in f.v))),
    Ordinary("is_distinct_from", f"select count(*) from {S} where population is distinct from 'GBR'",
             lambda f: _one(sum(s[1] != "GBR" for s in f.s))),
    Ordinary("coalesce_nullif", f"select coalesce(nullif(sex, 'male'), 'm') as x, count(*) from {S}"
             " group by 1",
             lambda f: _items(Counter("m" if s[3] == "male" else s[3] for s in f.s))),
    Ordinary("distinct_on", f"select distinct on (population) population, sample from {S}"
             " order by population, sample",
             lambda f: [(p, min(names)) for p, names in _by_population(f).items()]),
    Ordinary("order_limit_offset", f"select sample from {S} order by sample desc limit 3 offset 2",
             lambda f: [(s,) for s in sorted((s[0] for s in f.s), reverse=True)[2:5]]),
    # Joins and subqueries
    Ordinary("self_join", f"select count(*) from {V} a join {V} b using (pos) where a.alt < b.alt",
             lambda f: _one(sum(
                 x[2] < y[2]
                 for _, g in groupby(sorted(f.v), key=lambda v: v[0])
                 for group in [list(g)] for x in group for y in group))),
    Ordinary("left_join_values", "select r.name, count(v.pos) from (values ('d', 1, 576),"
             f" ('x', 90000, 90001)) r (name, low, high) left join {V} v on v.pos between low and high"
             " group by 1",
             lambda f: [("d", sum(v[0] <= 576 for v in f.v)), ("x", 0)]),
    Ordinary("overlapping_regions", "with r (low, high) as (values (100, 500), (400, 900))"
             f" select count(*) from {V}, r where pos between low and high",
             lambda f: _one(_overlaps(f))),
    Ordinary("semi_join", f"select count(*) from {S} semi join (values ('GBR'), ('CHB')) p (population)"
             " using (population)",
             lambda f: _one(sum(s[1] in ("GBR", "CHB") for s in f.s))),
    Ordinary("anti_join", f"select count(*) from {S} anti join (values ('GBR')) p (population)"
             " using (population)",
             lambda f: _one(sum(s[1] != "GBR" for s in f.s))),
    Ordinary("asof_join", "select place, pos from (values (1), (1000), (5000), (16000)) q (place)"
             f" asof join (select distinct pos from {V} where info_ac > 1000) v on place >= pos",
             _asof),
    Ordinary("positional_join", f"select a.sample, b.i from (from {S} order by number limit 3) a"
             " positional join range(3) b (i)",
             lambda f: [(s[0], i) for i, s in enumerate(f.s[:3])]),
    Ordinary("lateral", f"select p, n from (values ('GBR'), ('TSI')) t (p),"
             f" lateral (select count(*) as n from {S} where population = p)",
             lambda f: [(p, sum(s[1] == p for s in f.s)) for p in ("GBR", "TSI")]),
    Ordinary("in_subquery", f"select count(*) from {S} where population in"
             f" (select population from {S} where sample = 'HG00096')",
             lambda f: _one(sum(s[1] == "GBR" for s in f.s))),
    Ordinary("exists", f"select count(*) from {V} a where exists"
             f" (from {V} b where b.pos = a.pos + 1 and b.info_ac > 100)",
             lambda f: _one(sum(
                 v[0] + 1 in {w[0] for w in f.v if w[3] > 100} for v in f.v))),
    Ordinary("scalar_subquery", f"select count(*) from {V} where info_ac > (select avg(info_ac) from {V})",
             lambda f: _one(sum(v[3] > sum(w[3] for w in f.v) / len(f.v) for v in f.v))),
    Ordinary("cte_chain", f"with a as (from {V} where info_ac > 10), b as (select pos, count(*) as n"
             " from a group by 1) select max(n), count(*) from b",
             lambda f: [(max(Counter(v[0] for v in f.v if v[3] > 10).values()),
                         len({v[0] for v in f.v if v[3] > 10}))]),
    Ordinary("recursive_cte", "with recursive t (n, total) as (select 1, 1 union all"
             " select n + 1, total + n + 1 from t where n < 10) select max(total) from t",
             lambda f: _one(55)),
    Ordinary("union_all_by_name", f"select count(*) from (select pos from {V} union all by name"
             f" select pos, ref from {V})",
             lambda f: _one(2 * len(f.v))),
    Ordinary("intersect", f"select count(*) from (select ref from {V} intersect select alt from {V})",
             lambda f: _one(len({v[1] for v in f.v} & {v[2] for v in f.v}))),
    Ordinary("except", f"select count(*) from (select alt from {V} except select ref from {V})",
             lambda f: _one(len({v[2] for v in f.v} - {v[1] for v in f.v}))),
    # Windows
    Ordinary("row_number_qualify", f"select ref, pos, alt from {V} where length(ref) = 1 qualify"
             " row_number() over (partition by ref order by info_ac desc, pos, alt) <= 2",
             _top_two),
    Ordinary("running_sum", f"select pos, sum(info_ac) over (order by pos, ref, alt rows unbounded"
             f" preceding) from {V}",
             _running),
    Ordinary("lag", f"select max(gap) from (select pos - lag(pos) over (order by pos) as gap from"
             f" (select distinct pos from {V}))",
             lambda f: _one(max(_gaps(f)))),
    Ordinary("ntile", f"select t, count(*) from (select ntile(4) over (order by sample) as t from {S})"
             " group by 1",
             lambda f: [(i + 1, len(f.s) // 4 + (i < len(f.s) % 4)) for i in range(4)]),
    Ordinary("named_window", f"select sample, rank() over w from {S} where population = 'CEU'"
             " window w as (order by sample desc)",
             lambda f: [(s, i) for i, s in enumerate(
                 sorted((s[0] for s in f.s if s[1] == "CEU"), reverse=True), 1)]),
    Ordinary("moving_window", f"select max(n) from (select count(*) over (order by pos range between"
             f" 10 preceding and 10 following) as n from {V})",
             lambda f: _one(max(sum(abs(v[0] - w) <= 10 for v in f.v)
                                for w in {v[0] for v in f.v}))),
    # Pivoting
    Ordinary("pivot", f"pivot {S} on sex in ('female', 'male') using count(*) group by super_population",
             lambda f: [(p, sum(s[2] == p and s[3] == "female" for s in f.s),
                         sum(s[2] == p and s[3] == "male" for s in f.s))
                        for p in {s[2] for s in f.s}]),
    Ordinary("pivot_in_from", f"select * from (select sex, super_population from {S})"
             " pivot (count(*) for super_population in ('EUR', 'AFR') group by sex)",
             lambda f: [(x, sum(s[2:] == ("EUR", x) for s in f.s),
                         sum(s[2:] == ("AFR", x) for s in f.s)) for x in {s[3] for s in f.s}]),
    Ordinary("unpivot", f"unpivot (select sample, population, sex from {S} where number < 2)"
             " on population, sex into name key value what",
             lambda f: [(s[0], k, x) for s in f.s[:2]
                        for k, x in (("population", s[1]), ("sex", s[3]))]),
    # Nested values
    Ordinary("unnest_list", f"select unnest([1, 2]), sample from {S} where number = 0",
             lambda f: [(1, f.s[0][0]), (2, f.s[0][0])]),
    Ordinary("unnest_from", f"select sample, letter from {S}, unnest(string_split(sample, '')) u (letter)"
             " where number = 0",
             lambda f: [(f.s[0][0], c) for c in f.s[0][0]]),
    Ordinary("lambda", "select list_transform([1, 2, 3], lambda x: x * 10),"
             " list_filter(range(10), lambda x: x % 4 = 0)",
             lambda f: [([10, 20, 30], [0, 4, 8])]),
    Ordinary("list_reduce", "select list_reduce([1, 2, 3, 4], lambda a, b: a * b)",
             lambda f: _one(24)),
    Ordinary("list_comprehension", "select [x + 1 for x in [1, 2, 3] if x <> 2]",
             lambda f: _one([2, 4])),
    Ordinary("carriers", "select sum(len(hemi)) from thousand_genomes.genotypes where pos = 263",
             lambda f: _one(sum(v[3] for v in f.v if v[0] == 263))),
    Ordinary("struct", "select s.a, s['b'], struct_extract(s, 'a') from (select {'a': 1, 'b': 'x'} as s)",
             lambda f: [(1, "x", 1)]),
    Ordinary("map", "select map {'a': 1, 'b': 2}['b'], map_keys(map {'k': 0})",
             lambda f: [(2, ["k"])]),
    Ordinary("json", """select json_extract_string('{"a": {"b": "x"}}', '$.a.b'), '[1,2]'::json->>1""",
             lambda f: [("x", "2")]),
    # Text, numbers, dates
    Ordinary("text_functions", f"select upper(sex), left(sample, 2), reverse(population) from {S}"
             " where number = 0",
             lambda f: [(f.s[0][3].upper(), f.s[0][0][:2], f.s[0][1][::-1])]),
    Ordinary("regexp_extract", f"select regexp_extract(sample, '([A-Z]+)', 1), count(*) from {S} group by 1",
             lambda f: _items(Counter(re.match("[A-Z]+", s[0])[0] for s in f.s))),  # type: ignore[index]  # each name begins with letters
    Ordinary("concat_format", "select 'a' || 'b', concat_ws('-', 1, 2), format('{:03d}', 7)",
             lambda f: [("ab", "1-2", "007")]),
    Ordinary("math", "select round(2.5), 7 // 2, 7 % 3, sqrt(16), greatest(1, 3, 2), -7 // 2",
             lambda f: [(3, 3, 1, 4.0, 3, -3)]),  # -3: // cuts towards zero
    Ordinary("dates", "select date '2024-02-28' + interval 2 days, date_diff('day', date '2024-01-01',"
             " date '2025-01-01'), extract(year from date '2020-05-06')",
             lambda f: [(datetime(2024, 3, 1), 366, 2020)]),
    Ordinary("date_functions", "select date_trunc('month', date '2024-02-28'), strftime(date '2024-02-28',"
             " '%d/%m/%y'), last_day(date '2024-02-01')",
             lambda f: [(datetime(2024, 2, 1), "28/02/24", date(2024, 2, 29))]),
    Ordinary("time_zones", "select timestamptz '2024-01-01 12:00:00+02' at time zone 'Asia/Kathmandu'",
             lambda f: _one(datetime(2024, 1, 1, 15, 45))),
    Ordinary("casts", "select '12'::int, try_cast('x' as int), cast(1.5 as varchar), 3::double",
             lambda f: [(12, None, "1.5", 3.0)]),
    # DuckDB's own
    Ordinary("exclude_replace", f"select * exclude (_source, objects) replace (lower(sex) as sex) from {S}"
             " where number = 0",
             lambda f: [(f.s[0][0], 0, *f.s[0][1:])]),
    Ordinary("columns", f"select min(columns('^(pos|info_ac)$')) from {V}",
             lambda f: [(min(v[0] for v in f.v), min(v[3] for v in f.v))]),
    Ordinary("from_first", f"from {S} select count(*)", lambda f: _one(len(f.s))),
    Ordinary("sample", f"select count(*) from {S} tablesample reservoir (10 rows) repeatable (3)",
             lambda f: _one(10)),
    Ordinary("range_function", "select sum(i) from range(1, 11) t (i)", lambda f: _one(55)),
    Ordinary("generate_series", "select count(*) from generate_series(date '2024-01-01',"
             " date '2024-01-31', interval 1 day)",
             lambda f: _one(31)),
    Ordinary("collate", f"select sample from {S} where population = 'gbr' collate nocase and number < 3",
             lambda f: [(s[0],) for s in f.s[:3] if s[1] == "GBR"]),
    Ordinary("alias_reuse", f"select length(ref) as n, n * 2 as m from {V} where m > 2",
             lambda f: [(len(v[1]), 2 * len(v[1])) for v in f.v if len(v[1]) > 1]),
    # Parameters
    Ordinary("parameter", f"select count(*) from {S} where population = $p",
             lambda f: _one(sum(s[1] == "GBR" for s in f.s)), {"p": "GBR"}),
    Ordinary("list_parameter", f"select count(*) from {S} where population in (select unnest($p))",
             lambda f: _one(sum(s[1] in ("GBR", "CHB") for s in f.s)), {"p": ["GBR", "CHB"]}),
    Ordinary("limit_parameter", f"select sample from {S} order by number limit :n",
             lambda f: [(s[0],) for s in f.s[:4]], {"n": 4}),
    Ordinary("time_parameter", "select $t + interval 1 hour",
             lambda f: _one(datetime(2024, 1, 1, 1, tzinfo=UTC)), {"t": datetime(2024, 1, 1, tzinfo=UTC)}),
    # Looking
    Ordinary("describe", f"select column_name, column_type from (describe select pos, ref from {V})",
             lambda f: [("pos", "BIGINT"), ("ref", "VARCHAR")]),
    Ordinary("summarize", f"select min, max, count from (summarize select pos from {V})",
             lambda f: [(str(min(f.v)[0]), str(max(f.v)[0]), len(f.v))]),
]  # fmt: skip
