-- Where did NDVI change between two scenes?
-- param: before string  product identifier of the earlier scene
-- param: after string  that of the later one, on the same map (UTM zone)
-- param: west float  western edge of the box, degrees
-- param: south float  southern edge, degrees
-- param: east float  eastern edge, degrees
-- param: north float  northern edge, degrees
-- param: least float = 0.2  least change to show, up or down
--
-- One row per pixel that is clear in both scenes and changed so much, the greatest loss first. x, y and lon, lat are
-- its middle.
WITH earlier AS (
    SELECT epsg, x, y, lon, lat, (nir08 - red) / (nir08 + red) AS ndvi
    FROM landsat.surface_reflectance
    WHERE
        product_id = $before
        AND clear
        AND red > 0
        AND nir08 > 0
        AND lon BETWEEN $west AND $east
        AND lat BETWEEN $south AND $north
),

later AS (
    SELECT epsg, x, y, (nir08 - red) / (nir08 + red) AS ndvi
    FROM landsat.surface_reflectance
    WHERE
        product_id = $after
        AND clear
        AND red > 0
        AND nir08 > 0
        AND lon BETWEEN $west AND $east
        AND lat BETWEEN $south AND $north
)

SELECT
    x,
    y,
    lon,
    lat,
    earlier.ndvi AS ndvi_before,
    later.ndvi AS ndvi_after,
    later.ndvi - earlier.ndvi AS change
FROM earlier
JOIN later USING (epsg, x, y)
WHERE abs(later.ndvi - earlier.ndvi) >= $least
ORDER BY change, y DESC, x
