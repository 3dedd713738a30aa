-- What is NDVI within some polygons, scene by scene?
-- param: zones geojson  GeoJSON, or a file of GeoJSON or GeoParquet: the polygons, with holes or of several parts, named by their property name or their id
-- param: first_day date  first UTC day
-- param: last_day date  last UTC day
--
-- Of surface reflectance (Level 2): a pixel belongs to the polygon that its middle lies in. One row per polygon and
-- scene: all its pixels, and count, mean, least, greatest and standard deviation of NDVI of the clear ones.
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
        list({
            'x_1': ring[place][1],
            'y_1': ring[place][2],
            'x_2': ring[place + 1][1],
            'y_2': ring[place + 1][2]
        }) AS edges,
        min(ring[place][1]) AS west,
        max(ring[place][1]) AS east,
        min(ring[place][2]) AS south,
        max(ring[place][2]) AS north
    FROM corners
    GROUP BY number
),

inside AS (
    SELECT
        edges.number,
        pixels.acquired,
        pixels.product_id,
        pixels.clear,
        CASE
            WHEN pixels.red > 0 AND pixels.nir08 > 0
                THEN (pixels.nir08 - pixels.red) / (pixels.nir08 + pixels.red)
        END AS ndvi
    FROM landsat.surface_reflectance AS pixels
    JOIN edges
        ON
            pixels.lon BETWEEN edges.west AND edges.east
            AND pixels.lat BETWEEN edges.south AND edges.north
    WHERE
        pixels.acquired >= CAST($first_day AS TIMESTAMP WITH TIME ZONE)
        AND pixels.acquired < CAST($last_day + 1 AS TIMESTAMP WITH TIME ZONE)
        AND len(list_filter(
            edges.edges,
            LAMBDA e : (e.y_1 > pixels.lat) <> (e.y_2 > pixels.lat)
                AND pixels.lon < (e.x_2 - e.x_1) * (pixels.lat - e.y_1) / (e.y_2 - e.y_1) + e.x_1
        )) % 2 = 1
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
