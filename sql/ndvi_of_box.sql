-- How green was a box, scene by scene?
-- param: west float  western edge of the box, degrees
-- param: south float  southern edge, degrees
-- param: east float  eastern edge, degrees
-- param: north float  northern edge, degrees
-- param: first_day date  first UTC day
-- param: last_day date  last UTC day
--
-- NDVI of surface reflectance (Level 2), of the pixels whose middles lie in the box and that are clear: no fill, cloud,
-- cirrus, cloud shadow or snow. By time; ndvi is NULL where no pixel was clear.
WITH box AS (
    SELECT
        product_id,
        acquired,
        clear,
        CASE WHEN red > 0 AND nir08 > 0 THEN (nir08 - red) / (nir08 + red) END AS ndvi
    FROM landsat.surface_reflectance
    WHERE
        acquired >= CAST($first_day AS TIMESTAMP WITH TIME ZONE)
        AND acquired < CAST($last_day + 1 AS TIMESTAMP WITH TIME ZONE)
        AND lon BETWEEN $west AND $east
        AND lat BETWEEN $south AND $north
)

SELECT
    acquired,
    product_id,
    count(*) AS pixels,
    count(ndvi) FILTER (WHERE clear) AS clear_pixels,
    avg(ndvi) FILTER (WHERE clear) AS ndvi,
    stddev_samp(ndvi) FILTER (WHERE clear) AS ndvi_stddev
FROM box
GROUP BY acquired, product_id
ORDER BY acquired, product_id
