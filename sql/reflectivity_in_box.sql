-- How strong was the strongest echo over a box, volume by volume?
-- param: site string  the radar, such as KTLX
-- param: first_day date  first UTC day
-- param: days int = 1  number of days
-- param: south float  southern edge of the box, degrees
-- param: north float  northern edge, degrees
-- param: west float  western edge, degrees, negative in America
-- param: east float  eastern edge, degrees
--
-- From the cells of 0.01 degrees whose centre lies in the box: give edges in hundredths of a degree and the box is
-- exact. dbzh_max is the largest DBZH (dBZ) of all sweeps over the box, NULL where no gate reached its threshold;
-- latitude and longitude are the centre of its cell. Echo covers as many km2 as the cells that have any.
WITH box AS (
    SELECT volume_time, latitude, longitude, dbzh_max, gates, gates_50dbz
    FROM nexrad.grid
    WHERE
        site = $site
        AND date BETWEEN $first_day AND $first_day + CAST($days - 1 AS INTEGER)
        AND tile BETWEEN
            CAST((floor($south * 10) + 900) * 3600 + floor($west * 10) + 1800 AS INTEGER)
            AND CAST((floor($north * 10) + 900) * 3600 + floor($east * 10) + 1800 AS INTEGER)
        AND latitude BETWEEN $south AND $north
        AND longitude BETWEEN $west AND $east
),

strongest AS (
    SELECT
        volume_time,
        max(dbzh_max) AS dbzh_max,
        arg_max(latitude, dbzh_max) AS latitude,
        arg_max(longitude, dbzh_max) AS longitude,
        sum(gates) AS gates,
        sum(gates_50dbz) AS gates_50dbz,
        sum(power(1.112, 2) * cos(radians(latitude))) AS echo_km2
    FROM box
    GROUP BY volume_time
)

SELECT
    v.volume_time,
    b.dbzh_max,
    b.latitude,
    b.longitude,
    coalesce(b.gates, 0) AS gates,
    coalesce(b.gates_50dbz, 0) AS gates_50dbz,
    coalesce(round(b.echo_km2, 1), 0) AS echo_km2,
    v.complete
FROM nexrad.volumes AS v
LEFT JOIN strongest AS b USING (volume_time)
WHERE v.site = $site AND v.date BETWEEN $first_day AND $first_day + CAST($days - 1 AS INTEGER)
ORDER BY v.volume_time
