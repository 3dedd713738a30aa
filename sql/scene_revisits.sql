-- How long were the gaps between the Landsat scenes of a path and row?
-- param: path int  path of the Worldwide Reference System
-- param: row int  its row
-- param: first_day date = '1972-07-23'  first UTC day
-- param: last_day date = '2100-01-01'  last UTC day
-- param: wrs_type int = 2  1 for Landsat 1 to 3
-- param: max_cloud float = 100  only scenes with at most so much cloud, percent
--
-- One row per day on which the scene was taken, by time: which satellites took it, its least cloud cover (NULL where
-- unknown), and gap_days since the day before; NULL for the first.
WITH days AS (
    SELECT
        CAST(acquired AS DATE) AS day,
        string_agg(DISTINCT platform, ' ' ORDER BY platform) AS platforms,
        count(DISTINCT product_id) AS products,
        min(CAST(cloud_cover AS DOUBLE)) AS cloud_cover
    FROM landsat.scenes
    WHERE
        path = $path
        AND row = $row
        AND wrs_type = $wrs_type
        AND acquired >= CAST($first_day AS TIMESTAMP WITH TIME ZONE)
        AND acquired < CAST($last_day + 1 AS TIMESTAMP WITH TIME ZONE)
        AND ($max_cloud >= 100 OR cloud_cover <= $max_cloud)
    GROUP BY ALL
)

SELECT
    day,
    platforms,
    products,
    round(cloud_cover, 2) AS cloud_cover,
    CAST(day - lag(day) OVER (ORDER BY day) AS INTEGER) AS gap_days
FROM days
ORDER BY day
