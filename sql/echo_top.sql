-- How high do echoes of 18 dBZ reach, volume by volume?
-- param: site string  the radar, such as KTLX
-- param: first_day date  first UTC day
-- param: days int = 1  number of days
-- param: least_m float = 10000  also tell the area whose echo tops reach this altitude, m above sea level
--
-- The echo top of a cell of 0.01 degrees is the altitude (m above sea level) of the centre of its highest gate with 18
-- dBZ or more: beams lie apart, so the echo can reach up to the next beam, and near the radar above the highest one.
-- NULL: no echo of 18 dBZ. Area in km2: of the cells whose top is least_m or higher.
WITH tops AS (
    SELECT
        volume_time,
        max(echo_top_m) AS echo_top_m,
        arg_max(latitude, echo_top_m) AS latitude,
        arg_max(longitude, echo_top_m) AS longitude,
        sum(power(1.112, 2) * cos(radians(latitude))) FILTER (WHERE echo_top_m >= $least_m) AS km2
    FROM nexrad.grid
    WHERE
        site = $site
        AND date BETWEEN $first_day AND $first_day + CAST($days - 1 AS INTEGER)
        AND echo_top_m IS NOT NULL
    GROUP BY volume_time
)

SELECT
    v.volume_time,
    t.echo_top_m,
    t.latitude,
    t.longitude,
    coalesce(round(t.km2, 1), 0) AS area_km2,
    v.complete
FROM nexrad.volumes AS v
LEFT JOIN tops AS t USING (volume_time)
WHERE v.site = $site AND v.date BETWEEN $first_day AND $first_day + CAST($days - 1 AS INTEGER)
ORDER BY v.volume_time
