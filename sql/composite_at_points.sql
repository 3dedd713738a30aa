-- What is the cloud-free median reflectance at some points?
-- param: points geojson  GeoJSON, or a file of GeoJSON or GeoParquet: the points, named by their property name or their id
-- param: first_day date  first UTC day
-- param: last_day date  last UTC day
--
-- Of each scene (Level 2) the pixel whose middle is nearest to the point, at most 22 m away; the median over the scenes
-- in which it is clear. One row per point, in their order; scenes counts those that are clear, 0 where none is.
WITH features AS (
    SELECT unnest(from_json(json_extract($points, '$.features'), '["JSON"]')) AS feature
),

points AS (
    SELECT
        row_number() OVER () AS number,
        json_extract_string(feature, '$.properties.name') AS name,
        json_extract_string(feature, '$.id') AS id,
        CAST(json_extract(feature, '$.geometry.coordinates[0]') AS DOUBLE) AS lon,
        CAST(json_extract(feature, '$.geometry.coordinates[1]') AS DOUBLE) AS lat
    FROM features
),

near AS (
    SELECT
        points.number,
        pixels.product_id,
        pixels.blue,
        pixels.green,
        pixels.red,
        pixels.nir08,
        pixels.clear,
        row_number() OVER (
            PARTITION BY points.number, pixels.product_id
            ORDER BY
                (pixels.lat - points.lat) ^ 2
                + ((pixels.lon - points.lon) * cos(radians(points.lat))) ^ 2
        ) AS rank
    FROM landsat.surface_reflectance AS pixels
    JOIN points
        ON
            pixels.lat BETWEEN points.lat - 0.0002 AND points.lat + 0.0002
            AND pixels.lon BETWEEN points.lon - 0.0002 / cos(radians(points.lat))
            AND points.lon + 0.0002 / cos(radians(points.lat))
    WHERE
        pixels.acquired >= CAST($first_day AS TIMESTAMP WITH TIME ZONE)
        AND pixels.acquired < CAST($last_day + 1 AS TIMESTAMP WITH TIME ZONE)
),

clear AS (
    SELECT number, product_id, blue, green, red, nir08
    FROM near
    WHERE rank = 1 AND clear AND red IS NOT NULL
)

SELECT
    coalesce(points.name, points.id, CAST(points.number AS VARCHAR)) AS point,
    points.lon,
    points.lat,
    count(clear.product_id) AS scenes,
    median(clear.blue) AS blue,
    median(clear.green) AS green,
    median(clear.red) AS red,
    median(clear.nir08) AS nir08,
    median((clear.nir08 - clear.red) / (clear.nir08 + clear.red)) AS ndvi
FROM points
LEFT JOIN clear USING (number)
GROUP BY number, points.name, points.id, points.lon, points.lat
ORDER BY number
