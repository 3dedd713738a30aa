-- Where were there cores of 50 dBZ or more, as hail makes them, and how large were they, by radar?
-- param: site string = ''  the radar, such as KTLX; empty for all
-- param: first_day date  first UTC day
-- param: days int = 1  number of days
-- param: least_dbz float = 50  reflectivity of a core, dBZ
--
-- A cell of 0.01 degrees belongs to a core when any gate above it has least_dbz or more; the area (km2) is that of such
-- cells, so it is what a composite of all sweeps shows. Far from the radar, where a gate is wider than a cell, it is too
-- small; it says nothing of hail near the ground, nor whether a core is rain.
WITH cores AS (
    SELECT
        site,
        volume_time,
        sum(power(1.112, 2) * cos(radians(latitude))) AS km2,
        max(dbzh_max) AS dbzh_max,
        arg_max(latitude, dbzh_max) AS latitude,
        arg_max(longitude, dbzh_max) AS longitude
    FROM nexrad.grid
    WHERE
        ($site = '' OR site = $site)
        AND date BETWEEN $first_day AND $first_day + CAST($days - 1 AS INTEGER)
        AND dbzh_max >= $least_dbz
    GROUP BY site, volume_time
)

SELECT
    v.site,
    count(*) AS volumes,
    count(c.km2) AS volumes_with_cores,
    round(max(c.km2), 1) AS largest_km2,
    arg_max(v.volume_time, c.km2) AS largest_at,
    max(c.dbzh_max) AS dbzh_max,
    arg_max(v.volume_time, c.dbzh_max) AS strongest_at,
    arg_max(c.latitude, c.dbzh_max) AS latitude,
    arg_max(c.longitude, c.dbzh_max) AS longitude
FROM nexrad.volumes AS v
LEFT JOIN cores AS c USING (site, volume_time)
WHERE
    ($site = '' OR v.site = $site)
    AND v.date BETWEEN $first_day AND $first_day + CAST($days - 1 AS INTEGER)
GROUP BY v.site
ORDER BY largest_km2 DESC NULLS LAST, v.site
