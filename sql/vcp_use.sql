-- Which volume coverage patterns did a radar run, day by day?
-- param: site string = ''  the radar, such as KTLX; empty for all
-- param: first_day date = 1991-06-01  first UTC day
-- param: last_day date = 2100-01-01  last UTC day
--
-- A volume counts on the UTC day of its start. The minutes between volumes are the median of the times from one start
-- to the next that begin with this pattern, gaps of an hour and more left out; NULL where there is none.
WITH starts AS (
    SELECT
        site,
        date,
        vcp,
        volume_time,
        complete,
        lead(volume_time) OVER (PARTITION BY site ORDER BY volume_time) - volume_time AS until_next
    FROM nexrad.volumes
    WHERE ($site = '' OR site = $site) AND date BETWEEN $first_day AND $last_day
)

SELECT
    site,
    date,
    vcp,
    count(*) AS volumes,
    count(*) / sum(count(*)) OVER (PARTITION BY site, date) AS share,
    count(*) FILTER (WHERE NOT complete) AS incomplete,
    min(volume_time) AS first_volume,
    max(volume_time) AS last_volume,
    round(
        median(epoch(until_next)) FILTER (WHERE until_next < INTERVAL 1 HOUR) / 60, 2
    ) AS minutes_between
FROM starts
GROUP BY site, date, vcp
ORDER BY site, date, volumes DESC, vcp
