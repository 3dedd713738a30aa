-- What is NDVI within polygons that are drawn on the scenes' own map, scene by scene?
-- param: zones geojson  GeoJSON whose coordinates are x and y in metres: polygons, with holes or of several parts, named by their property name or their id
-- param: epsg int  the reference system of the coordinates, and of the scenes that are looked at: 32601 to 32660 or 3031
-- param: first_day date  first UTC day
-- param: last_day date  last UTC day
--
-- Of surface reflectance (Level 2): a pixel belongs to the polygon that its middle lies in. Each line of pixels is cut
-- where it crosses the edges, so no pixel is tested by itself: many polygons are fast. Polygons in longitude and
-- latitude: zonal_statistics. One row per polygon and scene: all its pixels, and count, mean, least, greatest and
-- standard deviation of NDVI of the clear ones.
WITH features AS (
    SELECT unnest(from_json(json_extract($zones, '$.features'), '["JSON"]')) AS feature
),

shapes AS (
    SELECT
        row_number() OVER () AS number,
        json_extract_string(feature, '$.properties.name') AS name,
        json_extract_string(feature, '$.id') AS id,
        CASE json_extract_string(feature, '$.geometry.type')
            WHEN 'MultiPolygon'
                THEN flatten(from_json(json_extract(feature, '$.geometry.coordinates'), '[[[["DOUBLE"]]]]'))
            ELSE from_json(json_extract(feature, '$.geometry.coordinates'), '[[["DOUBLE"]]]')
        END AS rings
    FROM features
),

rings AS (
    SELECT number, unnest(rings) AS ring FROM shapes
),

corners AS (
    SELECT number, ring, unnest(range(1, len(ring))) AS place FROM rings
),

edges AS (
    SELECT
        number,
        ring[place][1] AS x_1,
        ring[place][2] AS y_1,
        ring[place + 1][1] AS x_2,
        ring[place + 1][2] AS y_2
    FROM corners
),

grids AS (
    SELECT DISTINCT y_origin, y_step
    FROM landsat.tiles
    WHERE
        level = 0 AND band <> 'pan' AND epsg = $epsg
        AND acquired >= CAST($first_day AS TIMESTAMP WITH TIME ZONE)
        AND acquired < CAST($last_day + 1 AS TIMESTAMP WITH TIME ZONE)
),

lines AS (
    SELECT
        edges.*,
        grids.y_origin,
        grids.y_step,
        unnest(range(
            CAST(floor((greatest(y_1, y_2) - y_origin) / y_step - 0.5) AS BIGINT),
            CAST(ceil((least(y_1, y_2) - y_origin) / y_step - 0.5) AS BIGINT) + 1
        )) AS line
    FROM edges
    CROSS JOIN grids
),

places AS (
    SELECT DISTINCT number, x_1, y_1, x_2, y_2, y_step * (line + 0.5) + y_origin AS y FROM lines
),

cuts AS (
    SELECT number, y, list_sort(list((x_2 - x_1) * (y - y_1) / (y_2 - y_1) + x_1)) AS cut
    FROM places
    WHERE (y_1 > y) <> (y_2 > y)
    GROUP BY number, y
),

pairs AS (
    SELECT number, y, cut, unnest(range(1, len(cut), 2)) AS place FROM cuts
),

spans AS (
    SELECT number, y, cut[place] AS west, cut[place + 1] AS east FROM pairs
),

inside AS (
    SELECT
        spans.number,
        pixels.acquired,
        pixels.product_id,
        pixels.clear,
        CASE
            WHEN pixels.red > 0 AND pixels.nir08 > 0
                THEN (pixels.nir08 - pixels.red) / (pixels.nir08 + pixels.red)
        END AS ndvi
    FROM landsat.surface_reflectance AS pixels
    JOIN spans
        ON
            pixels.y = spans.y
            AND pixels.x >= spans.west
            AND pixels.x < spans.east
    WHERE
        pixels.epsg = $epsg
        AND pixels.acquired >= CAST($first_day AS TIMESTAMP WITH TIME ZONE)
        AND pixels.acquired < CAST($last_day + 1 AS TIMESTAMP WITH TIME ZONE)
)

SELECT
    coalesce(shapes.name, shapes.id, CAST(shapes.number AS VARCHAR)) AS zone,
    inside.acquired,
    inside.product_id,
    count(*) AS pixels,
    count(inside.ndvi) FILTER (WHERE inside.clear) AS clear_pixels,
    avg(inside.ndvi) FILTER (WHERE inside.clear) AS ndvi_mean,
    min(inside.ndvi) FILTER (WHERE inside.clear) AS ndvi_min,
    max(inside.ndvi) FILTER (WHERE inside.clear) AS ndvi_max,
    stddev_pop(inside.ndvi) FILTER (WHERE inside.clear) AS ndvi_stddev
FROM inside
JOIN shapes USING (number)
GROUP BY shapes.number, shapes.name, shapes.id, inside.acquired, inside.product_id
ORDER BY shapes.number, inside.acquired
