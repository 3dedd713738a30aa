"""Clauses of DuckDB's own, written out: GROUP BY ALL, UNION BY NAME, lists made into rows."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from lakeq.dialect import SPARK, refusal
from lakeq.dialect.types import LISTS, UNKNOWN, Kind, element, kind
from lakeq.dialect.write import fill

_AGGREGATES = """
count count_star count_if countif sum avg mean min max any_value arg_max argmax max_by
arg_min argmin min_by bool_and bool_or median quantile_cont stddev stddev_samp stddev_pop
variance var_samp var_pop corr covar_pop covar_samp string_agg group_concat listagg list
array_agg
"""
AGGREGATES = frozenset(_AGGREGATES.split())
TABLE_FUNCTIONS = ("range", "generate_series", "unnest")


def before(tree: exp.Expr, target: str) -> list[exp.Ordered]:
    """What must be gone before columns are looked up; returns the keys of ORDER BY ALL."""
    for table in list(tree.find_all(exp.Table)):
        if isinstance(table.this, exp.Anonymous):
            _table_function(table, target)
    for unnest in list(tree.find_all(exp.Unnest)):
        _unnest_in_from(unnest, target)
    for call in tree.find_all(exp.Anonymous):
        _distinct_first(call)
    everything: list[exp.Ordered] = []
    order = tree.args.get("order")
    if order is not None:
        everything = [
            key
            for key in order.expressions
            if isinstance(key.this, exp.Var) and key.this.name.upper() == "ALL"
        ]
    if everything:
        tree.set("order", None)
    return everything


def _distinct_first(call: exp.Anonymous) -> None:
    """`string_agg(DISTINCT x, ',')`: DISTINCT is about the first argument only."""
    only = call.expressions[0] if len(call.expressions) == 1 else None
    order = only if isinstance(only, exp.Order) else None
    distinct = order.this if order is not None else only
    if not isinstance(distinct, exp.Distinct) or len(distinct.expressions) < 2:
        return
    first, *others = distinct.expressions
    if order is not None:
        others[-1] = exp.Order(this=others[-1], expressions=order.expressions)
    call.set("expressions", [exp.Distinct(expressions=[first]), *others])


def _table_function(table: exp.Table, target: str) -> None:
    """`FROM range(3) AS r (i)` as a list that a subquery makes into rows."""
    call = table.this
    name = call.name.lower()
    if name not in TABLE_FUNCTIONS:
        raise refusal(f"the table function {name}()", target)
    alias = table.args.get("alias")
    column = alias.columns[0].name if alias is not None and alias.columns else name
    table_name = alias.name if alias is not None and alias.name else name
    values = call if name != "unnest" else call.expressions[0]
    made = exp.Anonymous(this="unnest", expressions=[values.copy()])
    query = exp.select(exp.alias_(made, column, quoted=True))
    new = exp.Subquery(this=query, alias=exp.TableAlias(this=exp.to_identifier(table_name)))
    for key in ("joins", "laterals"):
        if table.args.get(key):
            new.set(key, table.args[key])
    table.replace(new)


def _unnest_in_from(unnest: exp.Unnest, target: str) -> None:
    if unnest.args.get("offset"):
        raise refusal("unnest WITH ORDINALITY", target, "unnest(range(len(x))) beside unnest(x)")
    if not isinstance(unnest.parent, exp.From | exp.Join):
        return
    alias = unnest.args.get("alias")
    if len(unnest.expressions) != 1:
        raise refusal("unnest() of several lists in FROM", target, "unnest them in SELECT")
    if alias is None or not alias.columns:
        name = alias.name if alias is not None and alias.name else "unnest"
        unnest.set(
            "alias",
            exp.TableAlias(this=exp.to_identifier(name), columns=[exp.to_identifier("unnest")]),
        )


def after(tree: exp.Expr, target: str, order_all: list[exp.Ordered]) -> exp.Expr:
    """What needs columns and types."""
    for union in list(tree.find_all(exp.SetOperation)):
        if union.args.get("by_name"):
            _by_name(union, target)
    for select in list(tree.find_all(exp.Select)):
        _group_all(select)
        _group_positions(select)
    if order_all:
        _order_all(tree, order_all)
    for select in tree.find_all(exp.Select):
        _distinct_on(select, target)
    tree = _each(tree, target, lambda s: s.args.get("qualify") is not None, _qualified_rows)
    return _each(tree, target, lambda s: any(map(_unnested, s.expressions)), _rows_of_lists)


def _distinct_on(select: exp.Select, target: str) -> None:
    """The first row of each group, as QUALIFY says it; the order of the result stays."""
    distinct = select.args.get("distinct")
    keys = distinct.args.get("on") if distinct is not None else None
    if keys is None:
        return
    if select.args.get("qualify") is not None or select.args.get("group") is not None:
        raise refusal("DISTINCT ON beside GROUP BY or QUALIFY", target, "DISTINCT ON a subquery")
    shown = {p.alias_or_name: p.unalias() for p in select.expressions}
    order = select.args["order"].copy() if select.args.get("order") else None
    for column in list(order.find_all(exp.Column)) if order is not None else ():
        if not column.table and column.name in shown:  # a window does not know aliases
            column.replace(shown[column.name].copy())
    number = exp.Window(
        this=exp.Anonymous(this="row_number"),
        partition_by=[key.copy() for key in keys.expressions],
        order=order,
    )
    select.set("distinct", None)
    select.set("qualify", exp.Qualify(this=exp.EQ(this=number, expression=exp.Literal.number(1))))


def _each(
    tree: exp.Expr,
    target: str,
    wanted: Callable[[exp.Select], bool],
    change: Callable[[exp.Select, str], exp.Select],
) -> exp.Expr:
    """Change the SELECTs that are wanted, inner ones first."""
    for select in reversed(list(tree.find_all(exp.Select))):
        if wanted(select):
            new = change(select, target)
            if select is tree:
                tree = new
            else:
                select.replace(new)
    return tree


def finish(tree: exp.Expr, target: str) -> exp.Expr:
    """What is easier once expressions are rewritten: FROM unnest(...) of Spark."""
    for call in tree.find_all(exp.Anonymous):
        if call.name == "lakeq_months":
            raise refusal("an interval of months outside of time + interval", target)
    if target != SPARK:
        return tree
    for join in list(tree.find_all(exp.Join)):
        unnest = join.this
        if isinstance(unnest, exp.Unnest):
            _lateral_view(join, unnest, target)
    return tree


def _lateral_view(join: exp.Join, unnest: exp.Unnest, target: str) -> None:
    """`CROSS JOIN unnest(x) AS u (e)` as LATERAL VIEW explode(x) u AS e."""
    if join.args.get("side") or join.args.get("on"):
        raise refusal("an outer join with unnest()", target)
    select = join.parent
    if not isinstance(select, exp.Select) or select.args["joins"][-1] is not join:
        later = isinstance(select, exp.Select)
        if not later:
            raise refusal("unnest() in a nested join", target)
    alias = unnest.args["alias"]
    call = exp.Anonymous(this="EXPLODE", expressions=[unnest.expressions[0].copy()])
    view = exp.Lateral(
        this=call,
        view=True,
        alias=exp.TableAlias(this=alias.this.copy(), columns=[c.copy() for c in alias.columns]),
    )
    assert isinstance(select, exp.Select)
    joins = [other for other in select.args["joins"] if other is not join]
    if any(other.args.get("on") is not None and _names(other, alias.name) for other in joins):
        raise refusal("a join on what unnest() gives", target, "unnest in a subquery first")
    select.set("joins", joins)
    select.append("laterals", view)


def _names(node: exp.Expr, table: str) -> bool:
    return any(column.table == table for column in node.find_all(exp.Column))


def _by_name(union: exp.SetOperation, target: str) -> None:
    left, right = union.this.unnest(), union.expression.unnest()
    if not isinstance(left, exp.Select) or not isinstance(right, exp.Select):
        raise refusal("UNION BY NAME of more than two SELECTs", target)
    names = [*left.named_selects, *(n for n in right.named_selects if n not in left.named_selects)]
    for select in (left, right):
        found = dict(zip(select.named_selects, select.expressions, strict=True))
        select.set(
            "expressions",
            [found.get(name) or exp.alias_(exp.null(), name, quoted=True) for name in names],
        )
    union.set("by_name", False)


def _group_all(select: exp.Select) -> None:
    group = select.args.get("group")
    if group is None or not group.args.get("all"):
        return
    keys = [p.unalias().copy() for p in select.expressions if not _aggregates(p)]
    select.set("group", exp.Group(expressions=keys) if keys else None)


def _group_positions(select: exp.Select) -> None:
    """`CUBE (1, 2)` names projections by their place."""
    group = select.args.get("group")
    if group is None:
        return
    for literal in list(group.find_all(exp.Literal)):
        if literal.is_string or not isinstance(
            literal.parent, exp.Cube | exp.Rollup | exp.Tuple | exp.Paren | exp.Group
        ):
            continue
        place = int(literal.name) - 1
        if 0 <= place < len(select.expressions):
            literal.replace(select.expressions[place].unalias().copy())


def _aggregates(node: exp.Expr) -> bool:
    for call in node.find_all(exp.Anonymous):
        if call.name.lower() in AGGREGATES:
            over = call.find_ancestor(exp.Window, exp.Select)
            if not (isinstance(over, exp.Window) and over.this in (call, call.parent)):
                return True
    return False


def _order_all(tree: exp.Expr, keys: list[exp.Ordered]) -> None:
    assert isinstance(tree, exp.Query)
    key = keys[0]
    ordered = [
        exp.Ordered(
            this=exp.column(name, quoted=True),
            desc=key.args.get("desc"),
            nulls_first=key.args.get("nulls_first"),
        )
        for name in tree.named_selects
    ]
    tree.set("order", exp.Order(expressions=ordered))


def _unnested(projection: exp.Expr) -> exp.Expr | None:
    """The call of unnest() in a projection, if there is one."""
    for node in projection.find_all(exp.Anonymous, exp.Unnest):
        named = isinstance(node, exp.Unnest) or node.name.lower() == "unnest"
        if named and node.find_ancestor(exp.Select) is projection.find_ancestor(exp.Select):
            return node
    return None


def _rows_of_lists(select: exp.Select, target: str) -> exp.Select:
    """Lists of a SELECT side by side as rows, the shorter ones filled with NULL.

    An inner SELECT makes the lists, an outer one counts through them: `unnest(a), unnest(b)` of
    DuckDB. No engine's own way keeps structs, several lists and NULL lists alike.
    """
    lists: list[exp.Expr] = []
    outer: list[exp.Expr] = []
    inner: list[exp.Expr] = []
    for projection in select.expressions:
        name = projection.alias_or_name or "unnest"
        call = _unnested(projection)
        if call is None:
            value = projection.unalias().copy()
            inner.append(exp.alias_(value, name, quoted=True))
            outer.append(
                _typed(exp.column(name, "lakeq_q", quoted=True), projection.unalias().type)
            )
            continue
        if projection.unalias() is not call:
            raise refusal("unnest() inside of an expression", target, "unnest in a subquery first")
        if len(call.expressions) != 1:
            raise refusal("unnest() with options", target)
        values = call.expressions[0]
        if kind(values) not in LISTS | {Kind.UNKNOWN}:
            raise refusal(f"unnest() of {kind(values).value}", target)
        list_name = f"lakeq_l{len(lists)}"
        inner.append(exp.alias_(values.copy(), list_name, quoted=True))
        column = _typed(exp.column(list_name, "lakeq_q", quoted=True), values.type)
        lists.append(column)
        outer.append(exp.alias_(_at_place(column), name, quoted=True))
    return _counted(select, inner, outer, lists, target)


def _typed(node: exp.Expr, type_: exp.DataType | None) -> exp.Expr:
    node.type = type_ or UNKNOWN
    return node


def _at_place(values: exp.Expr) -> exp.Expr:
    number = exp.column("i", "lakeq_n", quoted=True)
    made = exp.Anonymous(this="list_extract", expressions=[values.copy(), number])
    return _typed(made, element(values.type))


def _counted(
    select: exp.Select,
    inner: list[exp.Expr],
    outer: list[exp.Expr],
    lists: list[exp.Expr],
    target: str,
) -> exp.Select:
    for clause in ("order", "limit", "offset", "distinct", "qualify"):
        if select.args.get(clause) is not None and clause in ("distinct", "qualify"):
            raise refusal(f"unnest() beside {clause.upper()}", target, "unnest in a subquery first")
    query = select.copy()
    with_ = query.args.get("with_") or query.args.get("with")
    for key in ("with_", "with", "order", "limit", "offset"):
        if key in query.arg_types:
            query.set(key, None)
    query.set("expressions", inner)
    new = exp.Select(expressions=outer)
    if with_ is not None:
        new.set("with_" if "with_" in new.arg_types else "with", with_.copy())
    table = exp.Subquery(
        this=query, alias=exp.TableAlias(this=exp.to_identifier("lakeq_q", quoted=True))
    )
    new = new.from_(table)
    _count_view(new, lists, target)
    _move_order(select, new, target)
    return new


def _move_order(select: exp.Select, new: exp.Select, target: str) -> None:
    """ORDER BY and LIMIT of a select that has become a subquery: by columns of the result only."""
    shown = {p.unalias(): p.alias_or_name for p in select.expressions}
    for key in ("order", "limit", "offset"):
        if select.args.get(key) is None:
            continue
        clause = select.args[key].copy()
        for part in clause.expressions if key == "order" else ():
            if part.this in shown:
                part.set("this", exp.column(shown[part.this], quoted=True))
            elif any(column.table for column in part.find_all(exp.Column)):
                hint = "name it in SELECT, or ORDER BY in a query around it"
                raise refusal("ORDER BY of what is not in SELECT, beside QUALIFY", target, hint)
        new.set(key, clause)


def _qualified_rows(select: exp.Select, target: str) -> exp.Select:
    """QUALIFY as a column of a subquery that WHERE looks at."""
    if select.args.get("distinct") is not None:
        raise refusal("DISTINCT beside QUALIFY", target, "DISTINCT in a query around it")
    query = select.copy()
    kept = query.args["qualify"].this
    with_key = "with_" if "with_" in query.arg_types else "with"
    with_ = query.args.get(with_key)
    for key in (with_key, "order", "limit", "offset", "qualify"):
        query.set(key, None)
    names = [p.alias_or_name for p in select.expressions]
    query.append("expressions", exp.alias_(kept, "lakeq_kept", quoted=True))
    outer = [
        exp.alias_(_typed(exp.column(n, "lakeq_q", quoted=True), p.unalias().type), n, quoted=True)
        for n, p in zip(names, select.expressions, strict=True)
    ]
    alias = exp.TableAlias(this=exp.to_identifier("lakeq_q", quoted=True))
    new = exp.Select(expressions=outer).from_(exp.Subquery(this=query, alias=alias))
    new = new.where(exp.column("lakeq_kept", "lakeq_q", quoted=True))
    if with_ is not None:
        new.set(with_key, with_.copy())
    _move_order(select, new, target)
    return new


def _count_view(new: exp.Select, lists: list[exp.Expr], target: str) -> None:
    """The numbers from 1 to the length of the longest list, for each row."""
    size = "SIZE" if target == SPARK else "CARDINALITY"
    sizes = [fill(target, f"COALESCE({size}({{0}}), 0)", values) for values in lists]
    longest = sizes[0] if len(sizes) == 1 else fill(target, "GREATEST({*})", *sizes)
    if target == SPARK:
        numbers = fill(
            target,
            "CASE WHEN {0} > 0 THEN SEQUENCE(1, {0}) ELSE CAST(ARRAY() AS ARRAY<INT>) END",
            longest,
        )
    else:
        numbers = fill(
            target,
            "CASE WHEN {0} > 0 THEN SEQUENCE(1, {0}) ELSE CAST(ARRAY[] AS ARRAY(BIGINT)) END",
            longest,
        )
    for call in numbers.find_all(exp.Anonymous):
        call.set("done", True)
    alias = exp.TableAlias(
        this=exp.to_identifier("lakeq_n", quoted=True),
        columns=[exp.to_identifier("i", quoted=True)],
    )
    if target == SPARK:
        explode = exp.Anonymous(this="EXPLODE", expressions=[numbers])
        explode.set("done", True)
        new.append("laterals", exp.Lateral(this=explode, view=True, alias=alias))
    else:
        unnest = exp.Unnest(expressions=[numbers], alias=alias)
        new.append("joins", exp.Join(this=unnest, kind="CROSS"))
